"""Syntax that only a newer Python parses."""

from __future__ import annotations

import ast

import pytest

from unhush.codemods.engine import check_bytes
from unhush.codemods.newer import downgrade
from unhush.codemods.rules import default_codes
from unhush.codemods.settings import Settings

_FUNCTION = "def f():\n    try:\n        %s\n        commit()\n    except %s:\n        pass\n"


@pytest.mark.parametrize(
    "text",
    [
        "try: x()\nexcept A, B: pass\n",
        "try: x()\nexcept A,B: pass\n",
        "try: x()\nexcept* A, B.c: pass\n",
        "def f[T: int, *Ts](a): pass\nclass A[T](B): pass\n",
        "type X[T] = list[T]\n",
        "x = f\"{a[\"b\"]}é\"; y = f'{'\\n'.join(a)}'\n",
        'x = f"{\n  a["b"]\n}"\ny = 1\n',
        'x = t"a{b}c"\n',
        "lazy import a, b\n",
        "lazy from a import b\n",
    ],
)
def test_rows_and_columns_stay(text: str) -> None:
    """The rewritten text parses here, and is as long in code points, row for row."""
    older = downgrade(text.encode())
    assert older is not None
    ast.parse(older)
    assert [len(line) for line in older.decode().split("\n")] == [len(line) for line in text.split("\n")]


@pytest.mark.parametrize(
    "text", ["print 'a'\n", "x = = 1\n", "x = " + "(" * 500 + ")" * 500 + "\n", "x = 1" + "+1" * 3000]
)
def test_what_no_python_parses_is_refused(text: str) -> None:
    """Other errors, and what would take LibCST too long or too deep, give no text."""
    assert downgrade(text.encode()) is None


def check(text: str) -> tuple[object, ...]:
    report = check_bytes(text.encode(), "/a.py", Settings(select=default_codes()))
    return report.findings, report.errors


def test_newer_syntax_is_found_and_not_fixed() -> None:
    """A handler within syntax that this Python does not parse is reported in its place, without a fix."""
    for text in (_FUNCTION % ("a", "Exception, B"), _FUNCTION % ('f"{a["b"]}"', "Exception")):
        if not _parses(text):
            ((finding,), errors) = check(text)
            assert errors == ()
            assert (finding.row, finding.column, finding.end_row, finding.end_column) == (5, 5, 6, 13)
            assert (finding.fix, finding.fix_reason is None) == (None, False)
    ((finding,), _) = check(_FUNCTION % ("a", "Exception"))
    assert finding.fix == "safe"


def test_methods_of_a_class_with_newer_syntax_in_its_header_are_checked() -> None:
    """A class whose own line only a newer Python parses hides none of its methods, nor any that stands below it."""
    method = "".join(f"    {line}\n" for line in (_FUNCTION % ("a", "Exception")).splitlines())
    text = f"class A[T: int](B[T], C):\n{method}class D(B):\n{method}"
    if not _parses(text):
        findings, errors = check(text)
        assert errors == ()
        assert [(finding.row, finding.qualname, finding.fix) for finding in findings] == [
            (6, "A.f", None),
            (13, "D.f", None),
        ]
    findings, _ = check(text.replace("[T: int]", "").replace("[T]", ""))
    assert [(finding.row, finding.fix) for finding in findings] == [(6, "safe"), (13, "safe")]


def test_a_file_that_has_to_be_read_whole_is_read_as_a_newer_pythons() -> None:
    """A form feed, which leaves no piece of a file to be read alone, does not make newer syntax an error."""
    text = "type X[T] = int\n\x0c" + _FUNCTION % ("a", "Exception")
    if not _parses(text):
        ((finding,), errors) = check(text)
        assert (errors, finding.row, finding.qualname, finding.fix) == ((), 6, "f", None)
    ((finding,), _) = check(text.replace("type X[T] = int", "X = int"))
    assert (finding.row, finding.fix) == (6, "safe")


def test_what_no_python_parses_is_an_error_with_its_place() -> None:
    """Python 2 is reported with row and reason, not with findings."""
    findings, (error,) = check(_FUNCTION % ("print 'a'", "Exception, e"))
    assert findings == ()
    assert (error.row, error.reason.startswith("syntax error: ")) == (3, True)


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True

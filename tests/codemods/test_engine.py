"""From bytes to findings: places, names, fingerprints, and what goes wrong."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from unhush.codemods.engine import check_bytes, check_file, visible
from unhush.codemods.model import FileReport, Finding
from unhush.codemods.perfile import Named
from unhush.codemods.rules import default_codes
from unhush.codemods.settings import Settings

Tree = Callable[[dict[str, str | bytes]], Path]

SETTINGS = Settings(select=default_codes(), root="/app")
SILENT = "def save(path):\n    try:\n        commit(path)\n    except Exception:\n        pass\n"

NESTED = "".join(f"{' ' * n}try:\n" for n in range(1000)) + "".join(
    f"{' ' * (n + 1)}commit()\n{' ' * n}except Exception:\n{' ' * n} pass\n" for n in range(999, -1, -1)
)


def check(text: str | bytes, filename: str = "/app/a.py", settings: Settings = SETTINGS) -> FileReport:
    return check_bytes(text if isinstance(text, bytes) else text.encode(), filename, settings)


def only(text: str | bytes, filename: str = "/app/a.py") -> Finding:
    (finding,) = check(text, filename).findings
    return finding


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (SILENT, (4, 5, 5, 13)),
        (SILENT.replace("\n", "\r\n"), (4, 5, 5, 13)),
        (SILENT.replace("\n", "\r"), (4, 5, 5, 13)),
        (b"\xef\xbb\xbf" + SILENT.encode(), (4, 5, 5, 13)),
        (SILENT.replace("    ", "\t"), (4, 2, 5, 7)),
        ("# coding: latin-1\n'é'\n".encode("latin-1") + SILENT.encode(), (6, 5, 7, 13)),
        ("def f():\n    try: commit()\n    except Exception: x = 'é𝒳'\n", (3, 5, 3, 31)),
        ("class A:\n  x = [\n]\n  try: commit()\n  except Exception: pass\n", (5, 3, 5, 25)),
    ],
)
def test_places_are_rows_and_columns_of_the_file(text: str | bytes, place: tuple[int, ...]) -> None:
    """Rows and columns are 1-based code points of the file as it is, and the end is exclusive."""
    finding = only(text)
    assert (finding.row, finding.column, finding.end_row, finding.end_column) == place


def test_names_and_loops() -> None:
    """The qualified name is Python's own, and a handler in a loop of its own function is marked."""
    text = "class A(B):\n    def f(self):\n        for x in y:\n            def g():\n" + "".join(
        f"                {line}\n" for line in SILENT.replace("def save(path)", "while 1").splitlines()
    )
    finding = only(text)
    assert (finding.qualname, finding.in_loop) == ("A.f.<locals>.g", True)
    assert (only(SILENT).qualname, only(SILENT).in_loop) == ("save", False)
    assert only("try: commit()\nexcept Exception: pass\n").qualname == "<module>"


def test_a_fingerprint_survives_moves_within_the_file() -> None:
    """Rows, layout and neighbours do not change a fingerprint; the handler's text, function and file do."""
    mark = only(SILENT).fingerprint
    assert only("import os\n\n\n" + SILENT).fingerprint == mark
    assert only(SILENT.replace("    ", "  ")).fingerprint == mark
    assert only(SILENT.replace("\n", "\r\n")).fingerprint == mark
    assert only(SILENT.replace("pass", "...")).fingerprint != mark
    assert only(SILENT.replace("save", "load")).fingerprint != mark
    assert only(SILENT, "/app/b.py").fingerprint != mark
    moved = check_bytes(SILENT.encode(), "/elsewhere/a.py", Settings(select=default_codes(), root="/elsewhere"))
    assert moved.findings[0].fingerprint == mark


def test_equal_handlers_have_fingerprints_of_their_own() -> None:
    """Findings that are equal but for their place are numbered, so that each keeps its own."""
    body = "    try:\n        commit(path)\n    except Exception:\n        pass\n"
    found = check("def save(path):\n" + body * 3).findings
    assert len({finding.fingerprint for finding in found}) == len(found) == 3
    assert found[0].fingerprint == only("def save(path):\n" + body).fingerprint


def test_severity_decides_what_is_visible() -> None:
    """A report holds all findings; `visible` leaves out those below the least severity asked for."""
    finding = only(SILENT)
    high, low = replace(finding, severity="high"), replace(finding, severity="low")
    report = FileReport("/app/a.py", (high, low))
    assert visible(report, Settings(min_severity="low")) == (high, low)
    assert visible(report, Settings(min_severity="medium")) == visible(report, Settings(min_severity="high")) == (high,)


def test_generated_files_are_left_out_unless_named(write_tree: Tree) -> None:
    """A file whose comments say that a program wrote it has no findings, unless the user named it."""
    path = str(write_tree({"a.py": "# @generated\n" + SILENT}) / "a.py")
    assert check_file(path, SETTINGS) == FileReport(path)
    assert len(check_file(Named(path), SETTINGS).findings) == 1


@pytest.mark.parametrize(
    ("data", "row", "reason"),
    [
        (SILENT + "# \0\n", 6, "null bytes"),
        (SILENT.encode() + b"# \xe9\n", 6, "not valid utf-8"),
        ("# coding: nonsense\n" + SILENT, 1, "unknown encoding 'nonsense'"),
        ("# coding: rot13\n" + SILENT, 1, "unknown encoding 'rot13'"),
        ("# coding: utf-16\n" + SILENT, 1, "no encoding for source code"),
        (b"\xef\xbb\xbf# coding: latin-1\n" + SILENT.encode(), 1, "byte order mark"),
        (b"# coding: shift_jis\n# \x81\n" + SILENT.encode(), 2, "not valid shift-jis"),
        (SILENT.replace("commit(path)", "print path"), 3, "syntax error"),
        (SILENT.replace("commit(path)", "x = (("), 3, "syntax error"),
        (NESTED, 101, "syntax error: too many levels of indentation"),
        (SILENT.replace("path)\n", "x" + "+1" * 100_000 + ")\n"), None, "nested too deeply"),
    ],
)
def test_what_can_not_be_read_is_one_line(data: str | bytes, row: int | None, reason: str) -> None:
    """A file that a candidate sends to the parser in vain has an error with row and reason, and no findings."""
    report = check(data)
    (error,) = report.errors
    assert report.findings == ()
    assert (error.row, reason in error.reason, "\n" in error.reason) == (row, True, False)


def test_what_no_candidate_needs_is_not_parsed() -> None:
    """Without a candidate nothing is parsed: syntax errors stay unseen."""
    assert check("print 'a'\ntry: x()\nexcept ValueError: raise\n") == FileReport("/app/a.py")
    assert check(b"\0\xff\xfe except") == FileReport("/app/a.py")


def test_missing_and_forbidden_files_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses is reported, not raised."""
    gone = check_file(str(tmp_path / "gone.py"), SETTINGS)
    assert [error.reason for error in gone.errors] == ["can't be read: no such file or directory"]
    folder = check_file(str(tmp_path), SETTINGS)
    assert [error.reason for error in folder.errors] == ["can't be read: is a directory"]

    def refuse(*args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    forbidden = check_file(str(tmp_path / "gone.py"), SETTINGS)
    assert [error.reason for error in forbidden.errors] == ["can't be read: permission denied"]


def test_the_parsers_warnings_stay_quiet() -> None:
    """Code that the compiler would warn of is checked without a word, even where warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(check(SILENT.replace("commit(path)", "commit('\\d'); 1if path else 2")).findings) == 1


def test_big_files_of_one_line(tmp_path: Path) -> None:
    """A file of megabytes in one line is checked like any other."""
    path = tmp_path / "big.py"
    path.write_text("x = [" + "(1, 'except Exception: pass'), " * 100_000 + "]\n" + SILENT)
    assert len(check_file(str(path), SETTINGS).findings) == 1


def test_severity_does_not_depend_on_where_the_project_lies(tmp_path):
    """The same file is judged alike in any folder, but as test code below the project's own tests."""
    data = b"def f(db, row):\n    try:\n        db.parse(row)\n    except Exception:\n        return None\n"

    def judged(root, path):
        settings = Settings(select=frozenset({"UNH102"}), min_severity="low", root=str(root))
        return check_bytes(data, str(root / path), settings).findings[0].severity_reasons

    plain = judged(tmp_path / "app", "store.py")
    assert judged(tmp_path / "tests" / "tools" / "test_app", "store.py") == plain
    assert "test or example code" in str(signals_of(data, "tests/store.py"))


def signals_of(data, name):
    settings = Settings(select=frozenset({"UNH102"}), min_severity="low")
    return check_bytes(data.replace(b"db.parse(row)", b"int(row)"), name, settings).findings[0].severity_reasons


def test_a_file_that_is_parsed_whole_keeps_its_functions_apart() -> None:
    """Where a module's own handler makes the whole file be parsed, what functions hold is still found in them."""
    text = (
        b"from contextlib import suppress\ntry:\n    x()\nexcept Exception:\n    pass\n\n\nclass A:\n    def f(self):\n"
        b"        try:\n            g()\n\\\n        except E as e:\n            print(e)\n\n    def h(self):\n"
        b"        with suppress(Exception):\n            self.save()\n            self.commit()\n"
    )
    settings = Settings(select=frozenset({"UNH102", "UNH201"}), min_severity="low")
    assert [(found.code, found.qualname) for found in check_bytes(text, "/a.py", settings).findings] == [
        ("UNH102", "<module>"),
        ("UNH201", "A.h"),
    ]

"""Strings, heads and scopes told from bytes: exact where they say something, a whole parse where they can't."""

from __future__ import annotations

import ast
import sys
import textwrap

import pytest

from unhush.codemods.parsing import ParseFailure
from unhush.codemods.pieces import Pieces
from unhush.codemods.scope import Scope
from unhush.codemods.source import Source
from unhush.codemods.strings import long_strings


def strings(text: str) -> list[str] | None:
    found = long_strings(text.encode())
    return found and [text[start:end] for start, end in zip(found.starts, found.ends, strict=True)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('x = """a"""\n', ['"""a"""']),
        ("x = '''a\"\"\"''' + \"\"\"b'''\"\"\"\n", ["'''a\"\"\"'''", '"""b\'\'\'"""']),
        ('x = """a\\""""\n', ['"""a\\""""']),
        ('x = """a\\\\"""\n', ['"""a\\\\"""']),
        ("# don't \"\"\"\ny = '''b'''\n", ["'''b'''"]),
        ("x = '\"\"\"'; y = '''b'''\n", ["'''b'''"]),
        ("x = 'a\\\n\"\"\"'\ny = '''b'''\n", ["'''b'''"]),
        ('x = "a" """b"""  # """\n', ['"""b"""']),
        ("x = ''\n", []),
    ],
)
def test_long_strings_are_told_from_what_looks_like_them(text: str, wanted: list[str]) -> None:
    """Triple quotes in comments, in other strings and behind backslashes do not begin or end a string."""
    assert strings(text) == wanted


def test_what_only_a_lexer_could_tell_is_left_open() -> None:
    """An unterminated string gives no answer, and nor do nested quotes where this Python allows them."""
    assert strings('x = """a\n') is None
    nested = 'x = f"""{y["""a"""]}"""\n'
    assert (strings(nested) is None) is (sys.version_info >= (3, 12))


def scope_at(text: str, mark: str = "HERE") -> Scope:
    """The scope that holds the first place of a mark."""
    source = Source(textwrap.dedent(text).encode(), "a.py")
    ((scope, _),) = Pieces(source, [source.utf8.index(mark.encode())]).scopes()
    return scope


def described(scope: Scope) -> tuple[object, ...]:
    name = getattr(scope.tree, "name", "<module>")
    return (
        name,
        [(header.name, *header.bases) for header in scope.classes],
        scope.tree.body[0].lineno + scope.row_offset,
    )


def test_the_outermost_function_is_cut_out_with_its_classes() -> None:
    """A place in a nested function belongs to the outermost one, whose classes are kept by name and bases."""
    text = """
        def before(): pass

        class A(B, c.D[int], metaclass=M):
            '''
        def no(): pass
            '''
            class E:
                @decorated(
                    1
                )
                async def f(self):
                    x = (
            1, )
                    def g():
                        HERE
                    return g

                def after(self): pass
        """
    scope = scope_at(text)
    assert described(scope) == ("f", [("A", "B", "c.D"), ("E",)], 13)
    assert isinstance(scope.tree, ast.AsyncFunctionDef)
    assert len(scope.tree.decorator_list) == 1
    assert ast.unparse(scope.tree.body[-1]) == "return g"


@pytest.mark.parametrize(
    "text",
    [
        "if x:\n    def f():\n        HERE\n",
        "def a(): pass\nif x:\n    class B: pass\n    def f():\n        HERE\n",
        "def f():\n    x = [1,\n2]\n    HERE\n",
        "def f():\n    x = 1 + \\\n2\n    HERE\n",
        "def f():\n\f    HERE\n",
        "\\\ndef f():\n    HERE\n",
        "def\tf():\n    HERE\n",
        "def f(\na,\n):\n    HERE\n",
    ],
)
def test_odd_layouts_lead_to_the_same_function(text: str) -> None:
    """Whatever hides where a function begins or ends, the function is found."""
    assert described(scope_at(text))[0] == "f"


def test_code_outside_functions_belongs_to_the_module() -> None:
    """The module's tree holds the code outside functions on its own rows, whatever the functions hold."""
    scope = scope_at(
        "def f():\n    a\n    b\n\nclass A:\n    def g(self):\n        a\n\n    try: HERE\n    except E: pass\n"
    )
    assert described(scope)[0] == "<module>"
    site = scope.site_at(10)
    assert site is not None
    assert ast.unparse(site.handler) == "except E:\n    pass"


def test_scopes_come_in_order_and_once() -> None:
    """Each scope comes once with all its offsets, functions in order and the module last; strings are left out."""
    text = b"A\ndef f():\n    '''\n    B\n    '''\n    C\n    D\n\ndef g():\n    E\n\nF\n"
    offsets = [text.index(mark) for mark in (b"A\n", b"B", b"C", b"D", b"E", b"F")]
    found = [
        (described(scope)[0], [text[at : at + 1] for at in held])
        for scope, held in Pieces(Source(text, "a.py"), offsets).scopes()
    ]
    assert found == [("f", [b"C", b"D"]), ("g", [b"E"]), ("<module>", [b"A", b"F"])]


def test_no_handler_is_seen_where_none_stands() -> None:
    """`except` within a string is no handler, the one beside it is."""
    text = "def f():\n    x = 'a\\\n    except E: pass'\n    try: HERE\n    except E: pass\n"
    scope = scope_at(text)
    assert scope.site_at(3) is None
    assert scope.site_at(5) is not None


def test_a_file_that_does_not_parse_says_where() -> None:
    """Where a piece does not parse the whole file is parsed, and its failure names the row."""
    with pytest.raises(ParseFailure) as caught:
        scope_at("x = 1\n\ndef f():\n    HERE\n    print 'a'\n")
    assert caught.value.row == 5


@pytest.mark.parametrize("indent", ["", "    "])
def test_a_lone_backslash_does_not_end_a_function(indent: str) -> None:
    """A line that is but a backslash, however far to the left, leaves the clauses below it in their function."""
    text = "class A:\n" * bool(indent) + textwrap.indent(
        "def f():\n    try:\n        HERE\n    except OSError:\n        pass\n\\\n    except TypeError:\n        pass\n",
        indent,
        lambda line: line != "\\\n",
    )
    (try_,) = scope_at(text).tree.body
    assert isinstance(try_, ast.Try)
    assert len(try_.handlers) == 2

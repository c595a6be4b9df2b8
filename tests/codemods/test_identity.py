from __future__ import annotations

import ast
from dataclasses import replace

import pytest

from unhush.codemods.engine import check_bytes
from unhush.codemods.identity import canonical, identities
from unhush.codemods.rules import all_rules
from unhush.codemods.settings import Settings
from unhush.codemods.source import Source

ALL = Settings(select=frozenset(all_rules()), min_severity="low")


def identity(text: str):
    """The identity of the one finding of a module."""
    source = Source(text.encode(), "/app/a.py")
    [found] = identities(source, check_bytes(source.data, source.filename, ALL).findings)
    return found


def in_function(body: str, name: str = "f") -> str:
    return f"def {name}(x, y):\n" + "".join(f"    {line}\n" for line in body.split("\n"))


TRY = "try:\n    x.a(1)\nexcept Exception:\n    y = 'no'"
SUPPRESS = "with contextlib.suppress(Exception):\n    x.a(1)"
FINALLY = "try:\n    x.a(1)\nfinally:\n    return 1"


@pytest.mark.parametrize(
    "other",
    [
        "try:\n    # why\n    x . a( 1, )\nexcept (Exception):  # so\n\n    y = \"no\"",
        "try:\n        (x.a)(0x1)\nexcept Exception:\n  y = ('n'\n 'o')",
        "if y:\n    try: x.a(1)\n    except Exception: y = '''no'''",
        "z = 1\n\n\ntry:\n    x.a(\n        1\n    )\nexcept \\\n  Exception:\n    y = u'no';",
    ],
)  # fmt: skip
def test_layout_is_no_part_of_it(other):
    """Blanks, comments, quotes, brackets, spelling of literals and indentation change neither hash."""
    assert identity(in_function(other)) == identity(in_function(TRY, "renamed"))


def test_type_annotations_are_no_part_of_it():
    """Code that gets annotations keeps both hashes, in the handler and in functions around it; a bare name does not."""
    before = "try:\n    def g(a, *b): x.a(1)\n    z = 1\nexcept Exception:\n    y = 'no'"
    after = (
        "try:\n    def g(a: int, *b: str) -> None: x.a(1)\n    z: int = 1\nexcept Exception:\n    y: str | None = 'no'"
    )
    assert identity(in_function(after)) == identity(in_function(before))
    assert identity(in_function(after.replace("z: int", "w: int"))).around != identity(in_function(before)).around


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("'no'", "'yes'"),
        ("'no'", "b'no'"),
        ("'no'", "y"),
        ("y = 'no'", "y.b = 'no'"),
        ("y = 'no'", "y = 'no'\n    y = 2"),
        ("Exception", "BaseException"),
        ("Exception:", "Exception as e:"),
    ],
)
def test_another_handler_is_another(old, new):
    """What the handler does or catches makes another of it; what is around stays."""
    one, other = identity(in_function(TRY)), identity(in_function(TRY.replace(old, new)))
    assert one.own != other.own
    assert one.around == other.around


@pytest.mark.parametrize(
    ("text", "old", "new"), [(TRY, "a(1)", "a(2)"), (SUPPRESS, "a(1)", "a(2)"), (FINALLY, "a(1)", "b")]
)
def test_other_code_around_keeps_the_own_hash(text, old, new):
    """Other statements in the `try`, or under the `with`, make other surroundings of the same finding."""
    one, other = identity(in_function(text)), identity(in_function(text.replace(old, new)))
    assert one.own == other.own
    assert one.around != other.around


def test_the_rule_is_part_of_it():
    """Equal text that another rule blames is another finding."""
    source = Source(in_function(TRY).encode(), "/app/a.py")
    [found] = check_bytes(source.data, source.filename, ALL).findings
    one, other = identities(source, [found, replace(found, code="UNH999")])
    assert one.own != other.own
    assert one.around == other.around


def test_what_formatters_change_in_the_tree():
    """Docstrings' indentation, the brackets of `del` and the prefix `u` have no words; real differences do."""
    one = 'def f():\n    """a\n    b"""\n    del (x, y)\n    z = u"a"\n'
    other = 'def f():\n        """a\n        b"""\n        del x, y\n        z = "a"\n'
    assert words(one) == words(other)
    assert words(one) != words(other.replace("del x, y", "del x"))


def test_names_and_strings_are_told_apart():
    """A string is no name, a number no string, and a list's end counts."""
    texts = [
        "a = b",
        "a = 'b'",
        "a = 1",
        "a = '1'",
        "a = True",
        "a = [b, c]",
        "a = [b]; c",
        "a = [[b], c]",
        "a = [[b, c]]",
    ]
    assert len({tuple(words(text)) for text in texts}) == len(texts)


def test_any_depth_and_size():
    """Long chains, deep brackets and huge integers end in an identity."""
    deep = "+".join("x" for _ in range(900))
    assert words(deep) != words(deep + "+x")
    assert words("9" * 4000) != words("9" * 4000 + "8")
    assert words("x = 0x" + "f" * 9000)


def test_syntax_of_a_newer_python():
    """A handler in syntax that this Python may not know has an identity too, and the same for any layout."""
    newer = TRY.replace("except Exception", "except KeyError, Exception")
    assert identity(in_function(newer)) == identity(in_function(f"# more\n{newer}"))


def words(text: str) -> list[str]:
    return list(canonical([ast.parse(text)]))

"""Suppressions written and taken out: only comments change, whatever the file looks like."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unhush.codemods.commenting import CommentFailure, with_ignores, without_unused
from unhush.codemods.engine import check_bytes, visible
from unhush.codemods.fixer import fix_bytes
from unhush.codemods.fixreport import Changed
from unhush.codemods.model import Finding
from unhush.codemods.rules import all_rules
from unhush.codemods.settings import Settings

ALL = frozenset(all_rules()) - {"UNH901"}
EVERYTHING = Settings(select=ALL, min_severity="low", foreign_suppressions=False)
LINES = 2  # the empty lines between snippets

SNIPPETS = [
    "try:{0}\n    db.commit()\nexcept Exception:{1}\n    pass{2}\n",
    "try:\n    db.commit()\nexcept (\n    ValueError,{0}\n    Exception,\n) as error:{1}\n    pass{2}\n",
    "try:\n    db.commit()\nexcept \\\n    Exception:{0}\n    pass\n",
    "try:\n    db.commit()\nexcept: pass{0}\n",
    "try: db.commit()\nexcept Exception: x = [\n    1,{0}\n    2]{1}\n",
    "try: db.commit()\nexcept Exception: x = '''\n# not a comment\n'''; y = 2{0}\n",
    "with suppress(Exception), open('x') as file:{0}\n    db.commit()\n",
    "with suppress(\n    Exception,{0}\n):{1}\n    db.commit()\n",
    "def f():\n    try:\n        return db.commit()\n    finally:\n        return (\n            None{0}\n        ){1}\n",
    "async def g():\n    asyncio.create_task(\n        work(){0}\n    ){1}\n",
    "async def h():\n    await asyncio.gather(a(), b(), return_exceptions=True){0}\n",
    "class C:\n    def __exit__(self, *a):\n        self.x()\n        return True{0}\n",
    "class D:\n    def m(self):\n        for a in b:\n            try:\n                s(a)\n            except Exception:{0}\n"
    "                continue\n",
]
COMMENTS = [
    "",
    "   ",
    "  # noqa: E501",
    "  # type: ignore",
    "  # pragma: no cover",
    " \t# why",
    "  # unhush: ignore[UNH203] old",
    "  # unhush: ignore[UNH203]  # noqa",
    "  # é # unhush: ignore[] ",
    "\f # x",
]
WRITTEN = re.compile(rb"  # unhush: ignore\[[A-Z0-9, ]+\](?: a reason)?(?=\r|\n|$)")


@st.composite
def modules(draw: st.DrawFn) -> bytes:
    """Modules of snippets with comments in their gaps, in several encodings, newlines and kinds of indentation."""
    parts = []
    for snippet in draw(st.lists(st.sampled_from(SNIPPETS), min_size=1, max_size=4)):
        text = snippet.format(*(draw(st.sampled_from(COMMENTS)) for _ in range(3)))
        parts.append(text)
    head, encoding, bom = draw(
        st.sampled_from(
            [
                ("", "utf-8", b""),
                ("# coding: latin-1\n", "latin-1", b""),
                ("", "utf-8", b"\xef\xbb\xbf"),
                ("#\f\n", "utf-8", b""),
            ]
        )
    )
    text = head + "import asyncio\nfrom contextlib import suppress\n" + ("\n" * LINES).join(parts)
    if draw(st.booleans()):
        text = re.sub(r"^(?:    )+", lambda found: "\t" * (len(found[0]) // 4), text, flags=re.M)
    if draw(st.booleans()):
        text = text.rstrip("\n")
    return bom + text.replace("\n", draw(st.sampled_from(["\n", "\r\n", "\r"]))).encode(encoding)


def shown(data: bytes, chosen: Settings = EVERYTHING) -> list[Finding]:
    """What is found, but for findings about comments."""
    report = check_bytes(data, "/m.py", chosen)
    assert not report.errors
    return [finding for finding in visible(report, chosen) if not finding.code.startswith("UNH9")]


def tree(data: bytes) -> str:
    """What Python makes of a file."""
    return ast.dump(ast.parse(data))


def code_tokens(data: bytes) -> list[tuple[int, str]]:
    """The tokens of a file that are no comments."""
    tokens = tokenize.tokenize(io.BytesIO(data).readline)
    return [(one.type, one.string) for one in tokens if one.type not in (tokenize.COMMENT, tokenize.NL)]


@given(modules(), st.sampled_from(["", "a reason"]))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_laws_of_written_suppressions(data: bytes, reason: str) -> None:
    """The findings are gone, the tree is the same, a second run has nothing to do, and only comments were added."""
    found = shown(data)
    assert found
    new = with_ignores(data, "/m.py", EVERYTHING, found, reason)
    assert shown(new) == []
    assert tree(new) == tree(data)
    if b"\r" not in data:  # of newlines Python's own tokenizer tells them apart
        assert code_tokens(new) == code_tokens(data)
    assert with_ignores(new, "/m.py", EVERYTHING, shown(new), reason) == new
    if b"unhush:" not in data:
        assert WRITTEN.sub(b"", new) == data
        assert len(new) > len(data)


@given(modules())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_laws_of_removed_suppressions(data: bytes) -> None:
    """Unused comments go, used ones stay: nothing is found that was not found, and a second run has nothing to do."""
    new = with_ignores(data, "/m.py", EVERYTHING, shown(data), "a reason")
    clean, count = without_unused(new, "/m.py", EVERYTHING)
    assert shown(clean) == []
    assert tree(clean) == tree(data)
    assert without_unused(clean, "/m.py", EVERYTHING) == (clean, 0)
    assert (count > 0) == any(one.code == "UNH902" for one in check_bytes(new, "/m.py", EVERYTHING).findings)


BROAD = "def f():\n    try:\n        db.commit()\n    except Exception:{0}\n        pass\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "  # unhush: ignore[UNH102] why"),
        ("  # noqa: X100", "  # noqa: X100  # unhush: ignore[UNH102] why"),
        ("  # type: ignore", "  # type: ignore  # unhush: ignore[UNH102] why"),
        ("  # unhush: ignore[UNH203] old reason", "  # unhush: ignore[UNH203, UNH102] old reason"),
        ("  # unhush: ignore[] old", "  # unhush: ignore[UNH102] old"),
        ("  # unhush: ignore[UNH2]  # nosec B602", "  # unhush: ignore[UNH2, UNH102]  # nosec B602"),
    ],
)
def test_where_a_suppression_is_written(before: str, after: str) -> None:
    """It goes behind other comments, and into the brackets of a suppression that is there."""
    chosen = Settings(select=frozenset({"UNH102"}))
    data = BROAD.format(before).encode()
    new = with_ignores(data, "/m.py", chosen, shown(data, chosen), "why")
    assert new.decode() == BROAD.format(after)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("x = 1  # unhush: ignore", "x = 1"),
        ("x = 1  # unhush: ignore[UNH102] see #12, it is fine", "x = 1"),
        ("x = 1  # unhush: ignore[UNH102] why  # noqa: E1", "x = 1  # noqa: E1"),
        ("x = 1  # noqa: E1 # unhush: ignore[UNH102]", "x = 1  # noqa: E1"),
        ("x = '# unhush: ignore'  # unhush: ignore", "x = '# unhush: ignore'"),
        ("x = 1  # unhush: ignore  # unhush: ignore", "x = 1  # unhush: ignore"),
        ("x = 1\t# unhush: ignore[UNH9]", "x = 1\t# unhush: ignore[UNH9]"),
        ("x = 1  # unhush: ignore-file", "x = 1  # unhush: ignore-file"),
        ("x = 1  # noqa: UNH102", "x = 1  # noqa: UNH102"),
        ("x = 1  # nosec", "x = 1  # nosec"),
    ],
)
def test_what_is_taken_out(line: str, left: str) -> None:
    """Unused comments of unhush's own go alone; those of others, and those about this rule, stay."""
    assert without_unused(f"{line}\n".encode(), "/m.py", Settings(select=ALL))[0] == f"{left}\n".encode()


def test_a_line_of_its_own_goes_whole() -> None:
    """A comment alone on its line takes the line with it; the fix tells its old place and that of what stays."""
    data = b"# unhush: ignore[UNH102] once needed\r\ntry:\r\n    go()\r\nfinally:\r\n    x()  # unhush: ignore\r\n"
    report = fix_bytes(data, "/m.py", Settings(select=ALL))
    assert isinstance(report, Changed)
    assert report.new == b"try:\r\n    go()\r\nfinally:\r\n    x()\r\n"
    assert [(one.finding.code, one.finding.row) for one in report.fixed] == [("UNH902", 1), ("UNH902", 5)]
    assert (report.verdict, report.remaining) == ("proved", ())


def test_unused_words_go_and_used_ones_stay() -> None:
    """Of a list only what suppresses something is kept, with the reason; unknown names are told."""
    data = BROAD.format("  # unhush: ignore[UNH203, silent-broad-except, UNH999] why").encode()
    chosen = Settings(select=frozenset({"UNH102", "UNH902"}))
    (finding,) = check_bytes(data, "/m.py", chosen).findings
    assert finding.message == (
        "UNH203, UNH999 in `# unhush: ignore[UNH203, silent-broad-except, UNH999]` suppresses nothing here; "
        "no rule has the name UNH999"
    )
    assert without_unused(data, "/m.py", chosen)[0].decode() == BROAD.format(
        "  # unhush: ignore[silent-broad-except] why"
    )


def test_rules_that_are_not_selected_count_as_used() -> None:
    """A comment for an opt-in rule is not called unused by a run that does not select it."""
    data = BROAD.replace("Exception", "OSError").format("  # unhush: ignore[UNH103] why").encode()
    assert check_bytes(data, "/m.py", Settings(select=frozenset({"UNH902"}))).findings == ()
    other = data.replace(b"UNH103", b"UNH104")
    assert len(check_bytes(other, "/m.py", Settings(select=frozenset({"UNH902"}))).findings) == 1


def test_comments_about_the_rules_on_comments() -> None:
    """A comment that names UNH901 or UNH902 is not asked for a reason or a use; a file's comment needs a reason."""
    strict = Settings(select=frozenset({"UNH901", "UNH902"}))

    def codes(text: str) -> list[str]:
        return [one.code for one in check_bytes(text.encode(), "/m.py", strict).findings]

    assert codes("x = 1  # unhush: ignore[UNH102]\n") == ["UNH901", "UNH902"]
    assert codes("x = 1  # unhush: ignore[UNH102, UNH902]\n") == ["UNH901"]
    assert codes("x = 1  # unhush: ignore[UNH102, UNH901, UNH902]\n") == []
    assert codes("# unhush: ignore-file\nx = 1  # unhush: ignore\n") == ["UNH901"]
    assert codes("# unhush: ignore-file generated\nx = 1  # unhush: ignore\n") == []
    assert codes("x = (  # unhush: ignore\n") == []  # nobody can tell in a file that does not parse


def test_logging_is_inserted_and_comments_taken_out_together() -> None:
    """A file with both kinds of findings is fixed in one go, each at its place."""
    data = ("x = 1  # unhush: ignore\n" + BROAD.format("")).encode()
    report = fix_bytes(data, "/m.py", Settings(select=ALL))
    assert isinstance(report, Changed)
    assert b"ignore[" not in report.new
    assert b"# unhush" not in report.new
    assert b"exc_info=True" in report.new
    assert [(one.finding.code, one.finding.row) for one in report.fixed] == [("UNH902", 1), ("UNH102", 5)]
    again = fix_bytes(report.new, "/m.py", Settings(select=ALL))
    assert not isinstance(again, Changed)


@pytest.mark.parametrize(
    ("data", "reason", "text"),
    [
        (b"# coding: latin-1\n" + BROAD.format("").encode(), "\u2013 no", "can't be written in iso8859-1"),
        (BROAD.replace("Exception", "A, Exception").format("").encode(), "", "can't parse the file"),
    ],
)
def test_what_cannot_be_written_is_told(data: bytes, reason: str, text: str) -> None:
    """A reason that the encoding lacks and syntax that can't be proved leave the file as it is; else it is written."""
    chosen = Settings(select=frozenset({"UNH102"}), min_severity="low")
    found = list(check_bytes(data, "/m.py", chosen).findings)
    assert found
    with pytest.raises(CommentFailure, match=text):
        with_ignores(data, "/m.py", chosen, found, reason)
    plain = BROAD.format("").encode()
    assert with_ignores(plain, "/m.py", chosen, shown(plain, chosen), reason) != plain


def test_a_cookie_that_would_come_into_force_keeps_the_file() -> None:
    """Where a removed line would make Python read another encoding, the proof fails and nothing is changed."""
    data = b"# unhush: ignore\n# two\n# coding: latin-1\nx = 1\n"
    with pytest.raises(CommentFailure, match="another encoding"):
        without_unused(data, "/m.py", Settings(select=ALL))
    assert without_unused(data.replace(b"coding", b"colour"), "/m.py", Settings(select=ALL))[1] == 1


def test_rules_left_out_by_name_are_left_out_here_too() -> None:
    """`per_file_ignores` holds for the rules on comments."""
    chosen = replace(Settings(select=ALL), per_file_ignores=(("/", "m.py", frozenset({"UNH902"})),))
    assert check_bytes(b"x = 1  # unhush: ignore\n", "/m.py", chosen).findings == ()
    assert len(check_bytes(b"x = 1  # unhush: ignore\n", "/n.py", chosen).findings) == 1

"""Comments that take a finding away, and those that do not."""

from __future__ import annotations

import pytest

from unhush.codemods.engine import check_bytes
from unhush.codemods.rules import all_rules
from unhush.codemods.settings import Settings

_HANDLER = """\
def f():
    {0}
    try:  {1}
        commit()
    except Exception:  {2}
        pass  {3}
"""
_UNSEEN = """\
{0}
def f():  {1}
    {2}
    try:
        commit()
    except Exception:  {3}
        count()
"""
_SUPPRESS = """\
from contextlib import suppress
def f():
    with suppress(  {0}
        Exception,  {1}
    ):  {2}
        commit()  {3}
"""


def codes(text: str, *comments: str, select: str = "UNH102", foreign: bool = True) -> list[str]:
    """The codes of the findings in a text with comments put in; without comments there must be one."""
    settings = Settings(select=frozenset({select}), foreign_suppressions=foreign)
    plain = check_bytes(text.format("", "", "", "").encode(), "/a.py", settings)
    assert [one.code for one in plain.findings] == [select]
    filled = text.format(*comments, *[""] * (4 - len(comments)))
    return [one.code for one in check_bytes(filled.encode(), "/a.py", settings).findings]


@pytest.mark.parametrize(
    "comment",
    [
        "# unhush: ignore[UNH102] it is only a probe",
        "#unhush:ignore[UNH102]",
        "# unhush: ignore[silent-broad-except, UNH501] why",
        "# unhush: ignore[UNH1] the whole family",
        "# unhush: ignore",
        "# noqa: UNH102",
        "# type: ignore # noqa:E501,UNH102 - why",
    ],
)
def test_own_comments_on_the_header_hold_always(comment: str) -> None:
    """unhush's own comments take a finding away, also where other tools' are not to count; on the header alone."""
    assert codes(_HANDLER, "", "", comment) == []
    assert codes(_HANDLER, "", "", comment, foreign=False) == []
    assert codes(_HANDLER, comment, comment, "", comment) == ["UNH102"]


@pytest.mark.parametrize(
    "comment",
    [
        "# unhush: ignore[UNH101]",
        "# unhush: ignore-next",
        "# noqa: E501",
        "# noqa: because",
        "# nosec B602",
        "# see noqa",
        "# pylint: disable=broad-except",
        "# noqa: BLE001",
    ],
)
def test_comments_about_something_else_do_not(comment: str) -> None:
    """Other codes, prose and what silences another defect leave a finding as it is."""
    assert codes(_HANDLER, "", "", comment) == ["UNH102"]


@pytest.mark.parametrize(
    "comment",
    ["# noqa", "# NOQA", "# noqa: S110", "# noqa:E501, S112", "# nosec", "# nosec B110", "# nosec: B101,B112"],
)
def test_other_tools_comments_hold_unless_unwanted(comment: str) -> None:
    """What means the same to ruff, flake8 or bandit counts, on the header or where a handler's only statement stands."""
    assert codes(_HANDLER, "", "", comment) == []
    assert codes(_HANDLER, "", "", comment, foreign=False) == ["UNH102"]
    assert codes(_HANDLER, comment) == ["UNH102"]


def test_a_comment_beside_the_only_statement_counts_if_it_names_the_defect() -> None:
    """bandit's users write theirs beside `pass`; a bare noqa there is about that line."""
    assert codes(_HANDLER, "", "", "", "# nosec") == []
    assert codes(_HANDLER, "", "", "", "# noqa: S110") == []
    assert codes(_HANDLER, "", "", "", "# noqa") == ["UNH102"]


def test_ruffs_comment_on_the_try_counts_for_its_own_rule() -> None:
    """SIM105 is reported at the `try`, so that its noqa stands there; no other one counts there."""
    assert codes(_HANDLER, "", "# noqa: SIM105") == []
    assert codes(_HANDLER, "", "# noqa: SIM105", foreign=False) == ["UNH102"]
    assert codes(_HANDLER, "", "# noqa: S110") == ["UNH102"]


def test_every_line_of_a_header_counts() -> None:
    """A comment may stand on any line of an `except`, and of the logical line that holds a call."""
    header = "def f():\n    try: commit()\n    except (\n        Exception,  # unhush: ignore\n    ):\n        pass\n"
    settings = Settings(select=frozenset({"UNH102"}))
    assert check_bytes(header.encode(), "/a.py", settings).findings == ()
    assert len(check_bytes(header.replace("unhush: ", "").encode(), "/a.py", settings).findings) == 1
    for at in range(3):
        assert codes(_SUPPRESS, *[""] * at, "# unhush: ignore[UNH201]", select="UNH201") == []
    assert codes(_SUPPRESS, "", "", "", "# unhush: ignore[UNH201]", select="UNH201") == ["UNH201"]


def test_text_in_strings_is_no_comment() -> None:
    """Only real comments count."""
    text = "def f():\n    try: commit()\n    except Exception: x = '# unhush: ignore'; y = 1\n"
    settings = Settings(select=frozenset({"UNH102"}))
    assert len(check_bytes(text.encode(), "/a.py", settings).findings) == 1
    assert check_bytes(text.replace("; y = 1", "  # unhush: ignore").encode(), "/a.py", settings).findings == ()


def test_a_whole_file_can_be_left_out() -> None:
    """`unhush: ignore-file` anywhere in a file's comments takes all away, errors of the file too."""
    assert codes(_HANDLER, "# unhush: ignore-file generated") == []
    assert codes(_HANDLER, "'# unhush: ignore-file'") == ["UNH102"]
    broken = "try: x()\nexcept Exception: pass\nprint 'a'\n"
    settings = Settings(select=frozenset({"UNH102"}))
    assert check_bytes(broken.encode(), "/a.py", settings).errors
    assert not check_bytes(b"# unhush: ignore-file\n" + broken.encode(), "/a.py", settings).errors


@pytest.mark.parametrize(
    "comment", ["# ruff: noqa", "# flake8: noqa", "# ruff: noqa: S110", "# flake8: noqa: E501,S110"]
)
def test_other_tools_leave_out_whole_files_too(comment: str) -> None:
    """What leaves out a file for ruff or flake8 does so here, unless other tools' comments are not to count."""
    assert codes(_HANDLER, comment) == []
    assert codes(_HANDLER, comment, foreign=False) == ["UNH102"]
    assert codes(_HANDLER, comment.replace("noqa", "noqa: E501").replace(": E501:", ":").replace("S110", "S101")) == [
        "UNH102"
    ]


@pytest.mark.parametrize(
    ("comments", "hushed"),
    [
        (("# pylint: disable=broad-except",), True),
        (("# pylint: disable=W0718,C0103",), True),
        (("# pylint: disable=missing-docstring",), False),
        (("", "# pylint: disable=broad-exception-caught"), True),
        (("", "", "# pylint: disable=broad-except"), True),
        (("", "", "# pylint: disable-next=broad-except"), False),
        (("", "", "x = 1  # pylint: disable=broad-except"), False),
        (("", "", "", "# pylint: disable=broad-except"), True),
        (("# pylint: disable=broad-except", "", "# pylint: enable=broad-except"), False),
        (("def g():\n    # pylint: disable=broad-except\n    pass",), False),
        (("", "", "", "# noqa: BLE001"), True),
        (("", "", "", "# noqa: S110"), False),
    ],
)
def test_pylints_comments_hold_for_lines_and_blocks(comments: tuple[str, ...], hushed: bool) -> None:
    """For a handler that acts unseen pylint's comments hold as in pylint: for a line, its block, or what follows."""
    assert codes(_UNSEEN, *comments, select="UNH104") == ([] if hushed else ["UNH104"])


def test_every_foreign_code_belongs_to_a_rule() -> None:
    """The table of other tools' codes names rules that exist."""
    from unhush.codemods.suppressions import FOREIGN

    assert set(FOREIGN) <= set(all_rules())

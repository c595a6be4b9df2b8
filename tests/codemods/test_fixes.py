from __future__ import annotations

from dataclasses import replace

import pytest

from unhush.codemods.engine import check_bytes, visible
from unhush.codemods.fixer import fix_bytes
from unhush.codemods.fixes import replacements
from unhush.codemods.settings import Settings

SETTINGS = Settings(select=frozenset({"UNH101", "UNH102", "UNH201"}), min_severity="low", backend="stdlib")
ONE = """import os


def save(order, database):
    text = "\u00e4\u00f6"
    try:
        database.insert(order)
        database.commit()
    except Exception: {comment}
        pass
"""
MORE = """

def load(database):
    try:
        return database.load()
    except Exception:
        return None
"""


def fixes_of(data, settings=SETTINGS):
    findings = visible(check_bytes(data, "/app/a.py", settings), settings)
    return findings, replacements(data, "/app/a.py", settings, findings)


def applied(text, made):
    """What an editor makes of a text and replacements, whose columns count code points."""
    lines = text.splitlines(True)
    starts = [sum(map(len, lines[:at])) for at in range(len(lines) + 1)]
    for one in reversed(made):
        start, end = starts[one.row - 1] + one.column - 1, starts[one.end_row - 1] + one.end_column - 1
        text = text[:start] + one.text + text[end:]
    return text


@pytest.mark.parametrize(
    ("encoding", "newline", "comment"),
    [
        ("utf-8", "\n", "# \u4e16"),
        ("utf-8", "\r\n", "# \u4e16"),
        ("utf-8-sig", "\n", "# x"),
        ("latin-1", "\n", "# \u00fc"),
        ("latin-1", "\r\n", "# \u00fc"),
    ],
)
def test_one_fix_is_what_fix_writes(encoding, newline, comment):
    """Applied as text, the replacements of a file's only finding give the very file that `unhush fix` writes."""
    cookie = "# -*- coding: latin-1 -*-\n" if encoding == "latin-1" else ""
    text = (cookie + ONE.format(comment=comment)).replace("\n", newline)
    data = text.encode(encoding)
    findings, (made,) = fixes_of(data)
    assert len(findings) == 1
    assert applied(text, made).encode(encoding) == fix_bytes(data, "/app/a.py", SETTINGS).new != data


def test_each_fix_stands_alone():
    """Of several findings each fix takes away its own and leaves the others, with the import that it needs."""
    text = ONE.format(comment="") + MORE
    findings, made = fixes_of(text.encode())
    assert [finding.qualname for finding in findings] == ["save", "load"]
    for finding, fix in zip(findings, made, strict=True):
        new = applied(text, fix)
        left = check_bytes(new.encode(), "/app/a.py", SETTINGS).findings
        assert {one.qualname for one in left} == {"save", "load"} - {finding.qualname}
        assert new.count("import logging") == 1


def test_what_has_no_safe_fix_has_no_replacements():
    """A finding that `unhush fix` leaves alone has none, beside one that has some."""
    jump = "\n\ndef g():\n    try:\n        go()\n    finally:\n        return 1\n"
    settings = Settings(select=frozenset({"UNH102", "UNH203"}), min_severity="low", backend="stdlib")
    findings, made = fixes_of((ONE.format(comment="") + jump).encode(), settings)
    assert [finding.code for finding in findings] == ["UNH102", "UNH203"]
    assert [bool(fix) for fix in made] == [True, False]


UNUSED = """def warm(cache):  # unhush: ignore[UNH102, UNH201]
    # unhush: ignore
    try:
        cache.fill()
    except Exception:  # unhush: ignore[UNH102, UNH201] \u4e16 it may be cold
        pass
    except OSError as error:  # noqa: BLE001  # unhush: ignore[UNH102]
        raise CacheError from error
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_unused_suppressions_have_fixes_too(newline):
    """Each takes out what suppresses nothing; all applied, they give the very file that `unhush fix` writes."""
    settings = replace(SETTINGS, select=SETTINGS.select | {"UNH902"})
    text = UNUSED.replace("\n", newline)
    findings, made = fixes_of(text.encode(), settings)
    assert [finding.code for finding in findings] == ["UNH902"] * 4
    assert all(len(one) == 1 for one in made)
    assert applied(text, made[0]).startswith("def warm(cache):" + newline)
    whole = applied(text, [one for (one,) in made])
    assert whole.encode() == fix_bytes(text.encode(), "/app/a.py", settings).new
    assert whole.count("unhush: ignore") == 1

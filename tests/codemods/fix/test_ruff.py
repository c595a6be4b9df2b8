"""`ruff format --range`: the inserted lines follow the project's ruff, the user's own lines stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixcases import everything

from unhush.codemods import ruffrange
from unhush.codemods.fixer import fix_file
from unhush.codemods.fixreport import Changed

OLD = (
    "import  os\n\ndef save( db,row ):\n    try:\n        db.write( row )\n        db.commit()\n"
    "    except   Exception:\n        x = [ 'a' ,\n          'b' ]\n        return x\n"
)
SETTINGS = everything()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An oddly laid out file, in a folder of its own."""
    if ruffrange._ruff() is None:
        pytest.skip("ruff is not installed")
    ruffrange._configured.cache_clear()
    path = tmp_path / "store.py"
    path.write_text(OLD)
    return path


def inserted(path: Path) -> list[str]:
    """The lines that the fix adds; the others must be those of the old text."""
    report = fix_file(str(path), SETTINGS, write=False)
    assert isinstance(report, Changed)
    assert report.verdict == "proved"
    old, new = OLD.splitlines(), report.new.decode().splitlines()
    rest = iter(old)
    expected = next(rest, None)
    added = []
    for line in new:
        if line == expected:
            expected = next(rest, None)
        else:
            added.append(line)
    assert expected is None, report.new.decode()
    return [line for line in added if line]


def test_without_configuration_the_lines_are_ours(path):
    """Where the project does not configure ruff, the inserted lines keep double quotes."""
    assert '        logger.warning("save.exception_ignored", exc_info=True)' in inserted(path)


@pytest.mark.parametrize("name", ["ruff.toml", "pyproject.toml"])
def test_quotes_follow_the_project(path, name):
    """Where it does, the inserted lines take its quote style, and no other line changes."""
    table = "[format]" if name == "ruff.toml" else "[tool.ruff.format]"
    (path.parent / name).write_text(f"{table}\nquote-style = 'single'\n")
    assert "        logger.warning('save.exception_ignored', exc_info=True)" in inserted(path)


def test_long_lines_are_wrapped_as_the_project_wraps(path):
    """A line that is too long for the project is laid out over several ones."""
    (path.parent / "ruff.toml").write_text("line-length = 40\n")
    added = inserted(path)
    assert "        logger.warning(" in added
    assert '            "save.exception_ignored",' in added


def test_what_ruff_refuses_stays_ours(path, monkeypatch):
    """Where ruff fails, or would touch more than the inserted lines, they stay as unhush wrote them."""
    (path.parent / "ruff.toml").write_text("[format]\nquote-style = 'single'\n")
    monkeypatch.setattr(ruffrange, "_ruff", lambda: "false")
    assert '        logger.warning("save.exception_ignored", exc_info=True)' in inserted(path)
    monkeypatch.setattr(ruffrange, "_ruff", lambda: "echo")
    assert '        logger.warning("save.exception_ignored", exc_info=True)' in inserted(path)

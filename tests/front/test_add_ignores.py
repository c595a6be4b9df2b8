"""`unhush check --add-ignores`, as a user meets it."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[dict[str, str | bytes]], Path]
Run = Callable[..., subprocess.CompletedProcess[bytes]]

BROAD = "def save():\n    try:\n        db.write()\n        db.commit()\n    except Exception:\n        pass\n"
LOW = "def f(a):\n    try:\n        return int(a)\n    except Exception:\n        return None\n"
HUSHED = BROAD.replace("Exception:", "Exception:  # unhush: ignore[UNH102] old")


def test_what_is_shown_is_suppressed(write_tree: Write, unhush: Run) -> None:
    """Suppressions are written for what `check` shows and for nothing else; a second run has nothing to do."""
    folder = write_tree({"a.py": BROAD, "sub/b.py": BROAD.replace("\n", "\r\n"), "low.py": LOW, "clean.py": ""})
    os.chmod(folder / "a.py", 0o750)
    result = unhush("check", "--add-ignores", "--reason", "old")
    assert (result.returncode, result.stdout.decode()) == (0, "a.py: 1 suppressed\nsub/b.py: 1 suppressed\n")
    assert result.stderr.decode() == "Suppressed 2 findings in 2 files.\n"
    assert (folder / "a.py").read_text() == HUSHED
    assert (folder / "sub" / "b.py").read_bytes() == HUSHED.replace("\n", "\r\n").encode()
    assert (folder / "low.py").read_text() == LOW
    assert stat.S_IMODE((folder / "a.py").stat().st_mode) == 0o750
    again = unhush("check", "--add-ignores", "--reason", "old")
    assert (again.returncode, again.stdout) == (0, b"")
    assert (folder / "a.py").read_text() == HUSHED
    assert unhush("check").returncode == 0


def test_a_file_that_cannot_be_written_is_left(write_tree: Write, unhush: Run) -> None:
    """It is named with the reason and stays; the others are written; the exit code says that something is left."""
    newer = BROAD.replace("Exception", "Exception, OSError")
    folder = write_tree({"a.py": newer, "b.py": BROAD, "c.py": "try:\n    x()\nexcept Exception: pass\nprint 'a'\n"})
    result = unhush("check", "--add-ignores")
    assert result.returncode == 2
    assert b"b.py: 1 suppressed" in result.stdout
    lines = result.stderr.decode().splitlines()
    assert any(
        line.startswith("error: a.py:5: no suppressions were written: this Python can't parse") for line in lines
    )
    assert any(line.startswith("error: c.py:4") for line in lines)
    assert (folder / "a.py").read_text() == newer
    assert (folder / "b.py").read_text() == BROAD.replace("Exception:", "Exception:  # unhush: ignore[UNH102]")


def test_findings_about_comments_stay(write_tree: Write, unhush: Run) -> None:
    """What is said of comments is shown, not suppressed, and makes exit code 1; `fix` then takes unused ones out."""
    folder = write_tree({"a.py": HUSHED.replace("    except Exception", "    except ValueError"), "b.py": BROAD})
    result = unhush("check", "--add-ignores")
    assert result.returncode == 1
    assert b"a.py:5:25: UNH902 medium [*]" in result.stdout
    assert unhush("fix", "a.py").returncode == 0
    assert (folder / "a.py").read_text() == BROAD.replace("Exception", "ValueError")
    assert unhush("check").returncode == 0


def test_strict_asks_for_the_reason(write_tree: Write, unhush: Run) -> None:
    """With the preset `strict` a suppression without reason is a finding, with one it is none."""
    folder = write_tree({"a.py": BROAD, "unhush.toml": "preset = 'strict'"})
    assert unhush("check", "--add-ignores").returncode == 0
    result = unhush("check", "--output-format", "concise")
    assert result.returncode == 1
    assert b"UNH901" in result.stdout
    (folder / "a.py").write_text(HUSHED)
    assert unhush("check").returncode == 0


def test_own_settings_of_folders_count(write_tree: Write, unhush: Run) -> None:
    """A folder's own settings decide what is suppressed there."""
    folder = write_tree({"unhush.toml": "", "sub/unhush.toml": "select = ['UNH101']", "sub/a.py": BROAD, "b.py": BROAD})
    assert unhush("check", "--add-ignores").returncode == 0
    assert (folder / "sub" / "a.py").read_text() == BROAD
    assert (folder / "b.py").read_text() != BROAD


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--reason", "x"), "--reason needs --add-ignores"),
        (("--add-ignores", "-"), "'-' (stdin) has none"),
        (("--add-ignores", "--statistics"), "can't be combined with --statistics"),
        (("--add-ignores", "--staged"), "can't be combined with --staged"),
        (("--add-ignores", "--reason", "a\nb"), "--reason must be a text of one line"),
        (("--add-ignores", "--reason", "a # noqa"), "--reason must be a text of one line"),
        (("--add-ignores", "--reason", " "), "--reason must be a text of one line"),
    ],
)
def test_wrong_use_is_refused(write_tree: Write, unhush: Run, arguments: tuple[str, ...], text: str) -> None:
    """Options that make no sense together, and reasons that no comment can hold, end with 2; nothing is written."""
    folder = write_tree({"a.py": BROAD})
    result = unhush("check", *arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert text in result.stderr.decode()
    assert (folder / "a.py").read_text() == BROAD
    assert unhush("check", "--add-ignores", "--reason", "see #12").returncode == 0

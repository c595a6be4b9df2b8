from __future__ import annotations

import shutil
import subprocess

import pytest

OLD = "def save(db):\n    try:\n        db.commit()\n        db.close()\n    except Exception:\n        pass\n"
LOGGED = (
    "import logging\n\nlogger = logging.getLogger(__name__)\n\n\n"
    + OLD.replace("pass", 'logger.warning("save.exception_ignored", exc_info=True)')
)  # fmt: skip


@pytest.fixture
def two(write_tree):
    """Writes an old and a new folder, each given by name and content, and returns the folder above."""
    return lambda old, new: write_tree(
        {f"old/{name}": text for name, text in old.items()} | {f"new/{name}": text for name, text in new.items()}
    )


@pytest.fixture
def repository(write_tree):
    """Makes a git repository in which these files are committed."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")

    def make(files):
        folder = write_tree(files)
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        for args in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "old"]):
            subprocess.run(["git", *args], cwd=folder, check=True)
        return folder

    return make


def test_inserted_logging_is_proved(unhush, two):
    """Two folders that differ by logging alone: exit code 0, each file listed with what was inserted."""
    two({"a.py": OLD, "b.py": OLD}, {"a.py": LOGGED, "b.py": OLD})
    result = unhush("prove", "--against", "old", "new")
    assert result.returncode == 0
    lines = result.stdout.decode().splitlines()
    assert lines[0] == "a.py: proved"
    assert '    11 + logger.warning("save.exception_ignored", exc_info=True)' in lines
    assert result.stderr == b"Proved: 1 file differs by inserted logging alone, nothing else differs.\n"


def test_what_fix_does_is_proved(unhush, write_tree):
    """The rewrite of `unhush fix` satisfies `unhush prove`."""
    write_tree({"old/a.py": OLD, "new/a.py": OLD})
    assert unhush("fix", "new").returncode == 0
    result = unhush("prove", "--against", "old", "new")
    assert (result.returncode, result.stdout.splitlines()[0]) == (0, b"a.py: proved")


def test_equal_folders_are_proved(unhush, two):
    """Where nothing differs that is proved too."""
    two({"a.py": OLD}, {"a.py": OLD})
    result = unhush("prove", "--against", "old", "new")
    assert (result.returncode, result.stdout) == (0, b"")
    assert result.stderr == b"Proved: nothing differs.\n"


@pytest.mark.parametrize(
    ("new", "line"),
    [
        ({"a.py": LOGGED.replace("db.close()", "db.close(1)")}, b"a.py:9: not logging: "),
        ({"a.py": LOGGED, "data.txt": "2"}, b"data.txt: not logging: "),
        ({"a.py": LOGGED, "data.txt": "1", "more.bin": "x"}, b"more.bin: not logging: "),
        ({"data.txt": "1"}, b"a.py: not logging: "),
    ],
)
def test_every_other_difference_is_listed(unhush, two, new, line):
    """A changed statement, a changed file that is no Python, an added or removed file: exit code 1, and its line."""
    two({"a.py": OLD, "data.txt": "1"}, new)
    result = unhush("prove", "--against", "old", "new")
    assert result.returncode == 1
    assert any(found.startswith(line) for found in result.stdout.splitlines())
    assert result.stderr.startswith(b"Not proved: ")


def test_against_a_git_revision(unhush, repository):
    """A revision stands for the repository's root; the working tree is compared with it."""
    folder = repository({"a.py": OLD, "data.txt": "1"})
    (folder / "a.py").write_text(LOGGED)
    assert unhush("prove", "--against", "HEAD").returncode == 0
    (folder / "data.txt").write_text("2")
    assert unhush("prove", "--against", "HEAD").returncode == 1
    assert unhush("prove", "--against", "HEAD", "a.py").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "error: Missing option '--against'."),
        (["--against", "old", "a", "b"], "error: the folder 'old' corresponds to exactly one path: name it"),
        (["--against", "no-such-revision"], "error: 'no-such-revision' is no"),
        (["--against", "HEAD", "nowhere"], "error: 'nowhere' does not exist"),
    ],
)
def test_wrong_use_exits_with_2(unhush, two, arguments, line):
    """Wrong use is one line that says so, and exit code 2."""
    two({"a.py": OLD}, {"a.py": OLD})
    result = unhush("prove", *arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode().startswith(line)
    assert result.stderr.count(b"\n") == 1

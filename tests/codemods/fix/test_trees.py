"""`prove` on whole trees: a folder with a folder, and a git revision with the working tree."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fixcases import everything

from unhush.codemods.prove import ProofReport, prove_trees
from unhush.codemods.trees import TreeFailure, trees_for

SETTINGS = everything()
OLD = (
    "import logging\n\nlog = logging.getLogger(__name__)\n\n\ndef f(x):\n    try:\n        x()\n"
    "    except OSError:\n        pass\n"
)
NEW = OLD.replace("        pass\n", '        log.debug("f", exc_info=True)\n')


def prove(against: str | Path, *paths: str | Path) -> ProofReport:
    """The comparison that the command line's arguments ask for."""
    old, new = trees_for(str(against), [str(path) for path in paths])
    return prove_trees(old, new, SETTINGS)


def said(report: ProofReport) -> dict[str, str]:
    """What is said of each file that differs in some other way."""
    return {difference.filename: difference.what for difference in report.differences}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal folders."""
    for name in ("old", "new"):
        folder = tmp_path / name
        (folder / "pkg").mkdir(parents=True)
        (folder / "pkg" / "a.py").write_text(OLD)
        (folder / "pkg" / "data.bin").write_bytes(b"\0\1")
        (folder / "run").write_text("#!/usr/bin/env python3\n" + OLD)
        (folder / "README").write_text("words\n")
    return tmp_path / "old", tmp_path / "new"


def test_caches_do_not_count(folders):
    """What stands in a `__pycache__` or `.unhush_cache` is no difference; the same file in any other folder is."""
    old, new = folders
    (new / ".unhush_cache").mkdir()
    (new / ".unhush_cache" / "unhush-00000000.cache").write_bytes(b"x")
    (new / "pkg" / "__pycache__").mkdir()
    (new / "pkg" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"x")
    assert prove(old, new).proved
    (new / "pkg" / "a.pyc").write_bytes(b"x")
    assert said(prove(old, new)) == {"pkg/a.pyc": "was added"}


@pytest.mark.parametrize("users", [2, 3])
def test_a_library_is_there_when_enough_old_files_import_it(folders, users):
    """An import of a library that no file declares is proved where three old files import it; new ones count not."""
    old, new = folders
    for folder in folders:
        (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n")
        for at in range(users):
            (folder / "pkg" / f"user{at}.py").write_text("import structlog\n")
    text = OLD.partition("\n\n\n")[2]
    for name in ("b.py", "c.py"):
        (old / "pkg" / name).write_text(text)
        added = "import structlog\n\nlog = structlog.get_logger()\n\n\n"
        (new / "pkg" / name).write_text(
            added + text.replace("        pass\n", '        log.debug("f", exc_info=True)\n')
        )
    assert prove(old, new).proved == (users == 3)


def test_equal_folders_are_proved(folders):
    """Folders without any difference are proved, with nothing to list."""
    report = prove(*folders)
    assert report.proved
    assert report.files == ()


def test_inserted_logging_is_proved(folders):
    """Files that differ by inserted logging are listed as proved, scripts without extension too."""
    old, new = folders
    (new / "pkg" / "a.py").write_text(NEW)
    (new / "run").write_text("#!/usr/bin/env python3\n" + NEW)
    report = prove(old, new)
    assert report.proved
    assert [file.filename for file in report.files] == ["pkg/a.py", "run"]
    assert report.files[0].inserted[0].text == 'log.debug("f", exc_info=True)'


def _add(new: Path) -> None:
    (new / ".hidden.py").write_text(OLD)


def _remove(new: Path) -> None:
    (new / "README").unlink()


def _rename(new: Path) -> None:
    (new / "README").rename(new / "pkg" / "READ")


def _mode(new: Path) -> None:
    (new / "run").chmod(0o755)


def _data(new: Path) -> None:
    (new / "pkg" / "data.bin").write_bytes(b"\0\2")


def _link(new: Path) -> None:
    (new / "README").unlink()
    (new / "README").symlink_to("run")


def _excluded(new: Path) -> None:
    (new / "node_modules").mkdir()
    (new / "node_modules" / "x.py").write_text("")


def _fifo(new: Path) -> None:
    os.mkfifo(new / "pipe")


def _shebang(new: Path) -> None:
    (new / "run").write_text("#!/bin/sh\n" + NEW)


CHANGES: list[tuple[Callable[[Path], None], dict[str, str]]] = [
    (_add, {".hidden.py": "was added"}),
    (_remove, {"README": "was removed"}),
    (_rename, {"README": "was removed", "pkg/READ": "was renamed from README"}),
    (_mode, {"run": "the mode changed from 0 to 111"}),
    (_data, {"pkg/data.bin": "was changed, and is no Python file"}),
    (_link, {"README": "was a file, is a link"}),
    (_excluded, {"node_modules/x.py": "was added"}),
    (_fifo, {"pipe": "was added"}),
    (_shebang, {"run": "was changed, and is no Python file"}),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES, ids=[change.__name__[1:] for change, _ in CHANGES])
def test_every_other_difference_is_listed(folders, change, expected):
    """Whatever else differs between folders is listed: added, removed, renamed, mode, data, links, excluded files."""
    old, new = folders
    change(new)
    report = prove(old, new)
    assert said(report) == expected
    assert not report.proved


def test_links_are_compared_by_their_target(folders):
    """Symbolic links are not followed: equal targets are equal, others are a difference, loops do no harm."""
    old, new = folders
    for folder in folders:
        (folder / "loop").symlink_to(".")
        (folder / "link").symlink_to("nowhere")
    assert prove(old, new).proved
    (new / "link").unlink()
    (new / "link").symlink_to("elsewhere")
    assert said(prove(old, new)) == {"link": "the link points elsewhere"}


def test_unreadable_files_are_errors(folders, monkeypatch):
    """A file that can't be read is an error, and the rest is still compared."""
    old, new = folders
    (new / "pkg" / "a.py").write_text(NEW)
    (new / "README").write_text("other\n")
    import builtins

    true_open = builtins.open

    def guarded(path, *args, **kwargs):
        if str(path).endswith("README"):
            raise PermissionError(13, "Permission denied")
        return true_open(path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", guarded)
    report = prove(old, new)
    assert [error.filename for error in report.errors] == ["README"]
    assert [file.filename for file in report.files] == ["pkg/a.py"]
    assert not report.proved


def git(folder: Path, *args: str) -> None:
    """Runs git without the user's own settings."""
    subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false", *args],
        cwd=folder,
        check=True,
        capture_output=True,
    )


@pytest.fixture
def repository(folders) -> Path:
    """A repository whose HEAD holds the files of a folder, and an ignored file."""
    folder = folders[1]
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one")
    (folder / "x.log").write_text("ignored\n")
    return folder


def test_a_revision_is_proved(repository):
    """A working tree that differs from HEAD by inserted logging alone is proved, ignored files left out."""
    assert prove("HEAD", repository).proved
    (repository / "pkg" / "a.py").write_text(NEW)
    report = prove("HEAD", repository)
    assert report.proved
    assert [file.filename for file in report.files] == ["pkg/a.py"]


@pytest.mark.parametrize("staged", [False, True])
def test_differences_from_a_revision(repository, staged):
    """Added, removed, changed and executable files are listed, staged or not."""
    (repository / "new.txt").write_text("x")
    (repository / "README").unlink()
    (repository / "run").chmod(0o755)
    (repository / "pkg" / "a.py").write_text(NEW.replace("x()", "x(1)"))
    if staged:
        git(repository, "add", "-A")
    report = prove("HEAD", repository)
    assert set(said(report)) == {"new.txt", "README", "run", "pkg/a.py"}


def test_index_flags_hide_nothing(repository):
    """A file that the index is told to take for unchanged is looked at all the same."""
    git(repository, "update-index", "--assume-unchanged", "README")
    assert prove("HEAD", repository).proved
    (repository / "README").write_text("other\n")
    assert said(prove("HEAD", repository)) == {"README": "was changed, and is no Python file"}


def test_paths_narrow_a_revision(repository):
    """With paths only what lies below them is compared."""
    (repository / "README").write_text("other\n")
    assert prove("HEAD", repository / "pkg").proved
    assert not prove("HEAD", repository / "pkg", repository / "README").proved


def test_line_endings_that_git_converts_are_no_difference(repository):
    """Where git checks a file out with other newlines than it stores, the checked-out form counts."""
    (repository / ".gitattributes").write_text("README text eol=crlf\n")
    git(repository, "add", ".gitattributes")
    git(repository, "commit", "-q", "-m", "two")
    (repository / "README").write_bytes(b"words\r\n")
    assert prove("HEAD", repository).proved
    (repository / "README").write_bytes(b"word\r\n")
    assert not prove("HEAD", repository).proved


def test_a_folder_wins_over_a_revision(repository, folders, monkeypatch):
    """A name that is both a folder and a branch is taken for the folder."""
    git(repository, "branch", "old")
    monkeypatch.chdir(folders[0].parent)
    report = prove("old", "new")
    assert ".gitignore" in said(report)


@pytest.mark.parametrize(
    ("against", "paths", "message"),
    [
        ("old", [], "exactly one path"),
        ("old", ["new", "new"], "exactly one path"),
        ("old", ["new/README"], "is no folder"),
        ("no-such-ref", ["new"], "neither a folder nor a revision"),
        ("--help", ["new"], "neither a folder nor a revision"),
        ("HEAD", ["old"], "lies in no git repository"),
        ("HEAD", ["missing"], "does not exist"),
        ("HEAD", ["new", "old"], "must lie in the git repository"),
    ],
)
def test_bad_arguments(repository, folders, monkeypatch, against, paths, message):
    """What can't be compared gives one clear line."""
    monkeypatch.chdir(folders[0].parent)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folders[0].parent.parent))
    with pytest.raises(TreeFailure, match=message):
        prove(against, *paths)

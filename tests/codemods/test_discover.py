"""Which files a run reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from unhush.codemods.discover import discover, is_generated
from unhush.codemods.model import FileError
from unhush.codemods.perfile import Named
from unhush.codemods.settings import Settings

Tree = Callable[[dict[str, str | bytes]], Path]


def names(root: Path, *paths: str, **settings: object) -> list[str]:
    """What is found, relative to the root; errors as `!name reason`."""
    wanted = [str(root / path) for path in paths] or [str(root)]
    found = discover(wanted, Settings(root=str(root), **settings))  # type: ignore[arg-type]
    return [
        f"!{Path(one.filename).relative_to(root)} {one.reason}"
        if isinstance(one, FileError)
        else Path(one).relative_to(root).as_posix()
        for one in found
    ]


def test_python_files_stubs_and_scripts_are_found_in_order(write_tree: Tree) -> None:
    """A folder's Python files, stubs and extensionless Python scripts come out, sorted by their path's components."""
    root = write_tree(
        {
            "b.py": "",
            "a/z.py": "",
            "a/b/c.pyi": "",
            "a.py": "",
            "run": "#!/usr/bin/env python3\n",
            "pypy": b"#!/opt/pypy -u\n\xff",
            "shell": "#!/bin/sh\n",
            "data": "text",
            "notes.txt": "#!/usr/bin/python\n",
        }
    )
    assert names(root) == ["a/b/c.pyi", "a/z.py", "a.py", "b.py", "pypy", "run"]


@pytest.mark.parametrize(
    "folder",
    [
        ".git",
        ".venv",
        "venv",
        ".tox",
        ".nox",
        "build",
        "dist",
        "node_modules",
        "site-packages",
        "_vendor",
        "__pycache__",
    ],
)
def test_folders_of_others_are_skipped_unless_named(write_tree: Tree, folder: str) -> None:
    """Folders that hold no code of the project's own are passed over within a walk, and walked when they are named."""
    root = write_tree({f"pkg/{folder}/a.py": "", "pkg/own.py": ""})
    assert names(root) == ["pkg/own.py"]
    assert names(root, f"pkg/{folder}") == [f"pkg/{folder}/a.py"]


def test_protocol_buffers_are_skipped_unless_named(write_tree: Tree) -> None:
    """Generated `*_pb2.py` are passed over, but for one that is named."""
    root = write_tree({"a_pb2.py": "", "a_pb2_own.py": ""})
    assert names(root) == ["a_pb2_own.py"]
    assert names(root, "a_pb2.py") == ["a_pb2.py"]


def test_nested_ignore_files_are_honoured(write_tree: Tree) -> None:
    """The nearest .gitignore has the last word; patterns with slashes hold from their own folder on."""
    root = write_tree(
        {
            ".gitignore": "*_gen.py\n/top.py\nlocal/\n# top.py\n\ndocs/*.py\n",
            "top.py": "",
            "a_gen.py": "",
            "pkg/top.py": "",
            "pkg/b_gen.py": "",
            "pkg/.gitignore": "!b_gen.py\nx[12].py\n",
            "pkg/x1.py": "",
            "pkg/x3.py": "",
            "pkg/local/c.py": "",
            "docs/conf.py": "",
            "docs/sub/conf.py": "",
            "x1.py": "",
            "local.py": "",
        }
    )
    assert names(root) == ["docs/sub/conf.py", "local.py", "pkg/b_gen.py", "pkg/top.py", "pkg/x3.py", "x1.py"]


def test_ignore_files_above_count_up_to_the_repository(write_tree: Tree) -> None:
    """A subfolder that is named obeys the .gitignore of its repository, and not what stands above that."""
    root = write_tree(
        {
            ".gitignore": "*.py\n",
            "repo/.git/HEAD": "",
            "repo/.gitignore": "a.py\n",
            "repo/src/a.py": "",
            "repo/src/b.py": "",
            "repo/nested/.git/HEAD": "",
            "repo/nested/a.py": "",
        }
    )
    assert names(root, "repo/src") == ["repo/src/b.py"]
    assert names(root, "repo") == ["repo/nested/a.py", "repo/src/b.py"]


def test_a_named_file_is_read_whatever_excludes_it(write_tree: Tree) -> None:
    """Excludes, ignore files and endings do not keep away a file that the user names, but with force_exclude."""
    root = write_tree({".gitignore": "a.py\n", "a.py": "", "b.txt": "", "build/c.py": "", "b.py": ""})
    (found,) = discover([str(root / "a.py")], Settings(root=str(root)))
    assert isinstance(found, Named)
    assert names(root, "a.py", "b.txt", "build/c.py", exclude=("a.py",)) == ["a.py", "b.txt", "build/c.py"]
    assert names(root, "b.py", "a.py", "build/c.py", exclude=("a.py",), force_exclude=True) == ["b.py"]


def test_excludes_are_patterns_relative_to_the_root(write_tree: Tree) -> None:
    """An exclude is a gitignore pattern from the settings' root on, whatever folder is walked."""
    root = write_tree({"a/migrations/b.py": "", "a/c.py": "", "a/d/e.py": "", "c.py": ""})
    assert names(root, exclude=("migrations", "/c.py", "a/d/*.py")) == ["a/c.py"]
    assert names(root, "a", exclude=("a/d",)) == ["a/c.py", "a/migrations/b.py"]


def test_each_file_comes_out_once(write_tree: Tree) -> None:
    """Paths that overlap give each file once, in a fixed order."""
    root = write_tree({"a/b.py": "", "a/c.py": "", "d.py": ""})
    assert names(root, "d.py", "a/c.py", "a", "a/b.py", "a") == ["a/b.py", "a/c.py", "d.py"]


def test_what_is_not_there_is_an_error(write_tree: Tree) -> None:
    """A name that leads nowhere comes out as an error that says so, and the others are found."""
    root = write_tree({"a.py": ""})
    os.mkfifo(root / "pipe")
    assert names(root, "gone.py", "a.py", "pipe") == [
        "a.py",
        "!gone.py does not exist: check the spelling",
        "!pipe is neither a file nor a folder: name a Python file",
    ]


def test_links(write_tree: Tree) -> None:
    """Links to files are read, links to folders are not followed, links that lead nowhere are errors."""
    root = write_tree({"real/a.py": ""})
    (root / "a.py").symlink_to(root / "real/a.py")
    (root / "again").symlink_to(root)
    (root / "broken.py").symlink_to(root / "gone.py")
    (root / ".#lock.py").symlink_to("user@host.123")
    (root / "loop.py").symlink_to(root / "loop.py")
    assert names(root) == [
        "a.py",
        "!broken.py is a link to something that does not exist: remove or exclude it",
        "!loop.py is a link that leads back to itself: remove or exclude it",
        "real/a.py",
    ]
    assert names(root / "again") == names(root)


def test_a_folder_without_permission_is_an_error(write_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that can't be listed is reported, and the walk goes on."""
    root = write_tree({"a/b.py": "", "c.py": ""})
    listing = os.scandir

    def scandir(path: str) -> object:
        if path == str(root / "a"):
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert names(root) == ["!a can't be read: permission denied", "c.py"]


@pytest.mark.parametrize(
    "head",
    [
        b"# @generated\n",
        b"#!/usr/bin/python\n# Generated by the protocol buffer compiler.  DO NOT EDIT!\n",
        b"# Do not edit.\r\n# This file was generated by a program.\r\n",
    ],
)
def test_generated_files_are_known_by_their_comments(head: bytes) -> None:
    """The comments at the top of a file tell that a program wrote it."""
    assert is_generated(head + b"import os\n")
    assert not is_generated(b"import os\n" + head)


def test_comments_about_generation_are_no_marker() -> None:
    """Neither prose in a string nor a comment that only mentions generation is taken for the marker."""
    assert not is_generated(b'"""@generated"""\n')
    assert not is_generated(b"# Tests of generated code.\n")

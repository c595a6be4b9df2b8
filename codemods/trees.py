"""Trees of files to compare: a folder, a git revision, and a git repository's working tree."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

CACHES = frozenset({"__pycache__", ".unhush_cache"})
Kind = Literal["file", "link", "submodule", "special"]
# Of a mode only what changes how a file runs: execution, set-uid, set-gid, sticky.
_MODE = 0o7111


class TreeFailure(Exception):
    """A tree or a part of it can't be read; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a tree. `identity` is equal for two entries of equal content, where it is known without reading."""

    kind: Kind
    mode: int
    identity: str | None = None


class Tree(Protocol):
    """A tree of files, whose names are relative to its root, with `/`."""

    root: str

    def entries(self) -> dict[str, Entry]:
        """Every file of the tree by name. Raises TreeFailure."""
        ...

    def read(self, name: str) -> bytes:
        """A file's bytes, or the target of a link. Raises TreeFailure and OSError."""
        ...


class Folder:
    """All files below a folder, whatever is ignored or hidden, but for `.git` and the caches of Python and unhush."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def entries(self) -> dict[str, Entry]:
        """Every file below the folder; links are not followed."""
        found: dict[str, Entry] = {}
        for folder, names, files in os.walk(self.root, onerror=_fail):
            links = [name for name in names if os.path.islink(os.path.join(folder, name))]
            names[:] = [name for name in names if name != ".git" and name not in CACHES and name not in links]
            for name in (*files, *links):
                path = os.path.join(folder, name)
                if name != ".git":
                    found[os.path.relpath(path, self.root).replace(os.sep, "/")] = entry_of(path)
        return found

    def read(self, name: str) -> bytes:
        """A file's bytes, or the target of a link."""
        return read_path(os.path.join(self.root, name))


class Revision:
    """The files of a git revision, below the given paths (relative to the repository's root, with `/`)."""

    def __init__(self, root: str, ref: str, paths: Sequence[str]) -> None:
        self.root, self.ref, self.paths = root, ref, paths
        self._blobs: dict[str, str] = {}

    def entries(self) -> dict[str, Entry]:
        """Every file of the revision."""
        found: dict[str, Entry] = {}
        listed = git(self.root, "ls-tree", "-r", "-z", "--full-tree", self.ref)
        for line in listed.split(b"\0"):
            if not line:
                continue
            head, _, raw = line.partition(b"\t")
            mode, _, blob = head.decode().split()
            name = os.fsdecode(raw)
            if is_below(name, self.paths) and not _is_cached(name):
                self._blobs[name] = blob
                found[name] = Entry(_git_kind(mode), 0o111 if mode == "100755" else 0, blob)
        return found

    def read(self, name: str) -> bytes:
        """A blob as git would check it out: with the line endings and filters that the repository asks for."""
        blob = self._blobs[name]
        raw = git(self.root, "cat-file", "blob", blob)
        path = os.path.join(self.root, name)
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as file:
                if file.read() != raw:
                    return git(self.root, "cat-file", "--filters", f"{self.ref}:{name}")
        return raw


class WorkingTree:
    """The files of a git working tree that git tracks or would: not those that it ignores."""

    def __init__(self, root: str, paths: Sequence[str], algorithm: str) -> None:
        self.root, self.paths, self._algorithm = root, paths, algorithm

    def entries(self) -> dict[str, Entry]:
        """Every tracked and untracked file that exists, whatever the index says of it."""
        found: dict[str, Entry] = {}
        listed = git(self.root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        for raw in set(listed.split(b"\0")):
            name = os.fsdecode(raw).rstrip("/")
            path = os.path.join(self.root, name)
            if name and is_below(name, self.paths) and not _is_cached(name) and os.path.lexists(path):
                found[name] = self._entry(path)
        return found

    def _entry(self, path: str) -> Entry:
        if os.path.isdir(path) and not os.path.islink(path):
            commit = git(path, "rev-parse", "HEAD").decode().strip()
            dirty = git(path, "status", "--porcelain").strip()
            return Entry("submodule", 0, commit + ("+" if dirty else ""))
        entry = entry_of(path)
        mode = 0o111 if entry.kind == "file" and entry.mode & 0o100 else 0
        if entry.kind not in ("file", "link"):
            return entry
        data = read_path(path)
        digest = hashlib.new(self._algorithm, b"blob %d\0" % len(data), usedforsecurity=False)
        digest.update(data)
        return Entry(entry.kind, mode, digest.hexdigest())

    def read(self, name: str) -> bytes:
        """A file's bytes, or the target of a link."""
        return read_path(os.path.join(self.root, name))


def trees_for(against: str, paths: Sequence[str]) -> tuple[Tree, Tree]:
    """The old and the new tree that `--against` and the paths name.

    A folder stands for the one path that is given; anything else is a git revision of the repository that the paths
    are in, and stands for its root. Raises TreeFailure with what is wrong.
    """
    if os.path.isdir(against):
        if len(paths) != 1:
            raise TreeFailure(f"the folder {against!r} corresponds to exactly one path: name it")
        if not os.path.isdir(paths[0]):
            raise TreeFailure(f"{paths[0]!r} is no folder: {against!r} can only be compared with one")
        return Folder(against), Folder(paths[0])
    for path in paths:
        if not os.path.lexists(path):
            raise TreeFailure(f"{path!r} does not exist")
    folder = paths[0] if os.path.isdir(paths[0]) else os.path.dirname(os.path.abspath(paths[0]))
    try:
        root = os.fsdecode(git(folder, "rev-parse", "--show-toplevel")).rstrip("\n")
    except TreeFailure:
        raise TreeFailure(f"{against!r} is no folder, and {folder!r} lies in no git repository") from None
    try:
        ref = git(root, "rev-parse", "--verify", "--end-of-options", f"{against}^{{commit}}").decode().strip()
    except TreeFailure:
        raise TreeFailure(f"{against!r} is neither a folder nor a revision that git knows") from None
    below = [os.path.relpath(os.path.realpath(path), os.path.realpath(root)).replace(os.sep, "/") for path in paths]
    if any(name == ".." or name.startswith("../") for name in below):
        raise TreeFailure(f"all paths must lie in the git repository {root!r}")
    return Revision(root, ref, below), WorkingTree(root, below, "sha256" if len(ref) == 64 else "sha1")


def git(folder: str, *args: str) -> bytes:
    """What a git command prints. Raises TreeFailure with the first line that it complains of."""
    try:
        done = subprocess.run(["git", "-C", folder, *args], capture_output=True, check=False)
    except FileNotFoundError:
        raise TreeFailure("git is not installed: compare with a folder instead") from None
    if done.returncode:
        first = done.stderr.decode("utf-8", "replace").strip().splitlines()[:1]
        raise TreeFailure(f"git {args[0]} failed: {first[0] if first else done.returncode}")
    return done.stdout


def entry_of(path: str) -> Entry:
    """The entry of a path, which is not followed where it is a link."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return Entry("link", 0)
    kind: Kind = "file" if stat.S_ISREG(status.st_mode) else "special"
    return Entry(kind, status.st_mode & _MODE)


def read_path(path: str) -> bytes:
    """A file's bytes, or the target of a link. Raises OSError."""
    if os.path.islink(path):
        return os.fsencode(os.readlink(path))
    with open(path, "rb") as file:
        return file.read()


def _is_cached(name: str) -> bool:
    """Whether a name lies in a cache of Python's or unhush's, which is no part of a program's source."""
    return not CACHES.isdisjoint(name.split("/")[:-1])


def is_below(name: str, paths: Sequence[str]) -> bool:
    """Whether a name is one of the paths, or lies below one."""
    return any(path == "." or name == path or name.startswith(f"{path}/") for path in paths)


def _git_kind(mode: str) -> Kind:
    kinds: dict[str, Kind] = {"120000": "link", "160000": "submodule"}
    return kinds.get(mode, "file")


def _fail(error: OSError) -> None:
    raise TreeFailure(f"{error.filename}: can't be listed: {error.strerror}")

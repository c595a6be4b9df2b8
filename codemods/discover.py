"""Which files a run reads: those named, and those that the named folders hold."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import Protocol

from .ignore import Ignore
from .lazy import lazy_pattern
from .model import FileError
from .perfile import Named, Placed
from .settings import Settings

SKIPPED_FOLDERS = frozenset(
    (
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
    )
)
SKIPPED_SUFFIX = "_pb2.py"
_PYTHON = (".py", ".pyi")
_SHEBANG = lazy_pattern(rb"#![^\n]*\b(?:python|pypy)")
_HEAD = lazy_pattern(rb"(?>(?:[ \t]*(?:#[^\n]*)?\r?\n)*)")
_GENERATED = lazy_pattern(
    rb"@generated\b|\bgenerated\b(?s:.{0,400}?)\bdo not (?:edit|modify|change)\b"
    rb"|\bdo not (?:edit|modify|change)\b(?s:.{0,400}?)\bgenerated\b",
    re.I,
)


_TELLING = frozenset((".git", ".gitignore", ".unhush.toml", "unhush.toml", "pyproject.toml"))
_MAY_SET = _TELLING - {".git", ".gitignore"}


class Nearest(Protocol):
    """Who knows which settings hold in which folder."""

    def above(self, folder: str) -> Settings:
        """The settings that hold in a folder."""

    def own(self, folder: str) -> Settings | None:
        """The settings that a folder's own settings file makes; None where it has none."""


def discover(paths: Sequence[str], settings: Settings, nearest: Nearest | None = None) -> Iterator[str | FileError]:
    """Yields the absolute names of the files to read, each once, in order of their path's components.

    Folders are walked without following links to folders. Named files come out as `Named`, unless
    `settings.force_exclude` subjects them to the excludes. A name that leads nowhere and a folder that can't be
    listed come out as FileError. A file for which `nearest` knows other settings than these comes out as `Placed`.
    """
    walk = _Walk(settings, nearest)
    roots = sorted(dict.fromkeys(os.path.abspath(path) for path in paths or (".",)), key=_components)
    seen: set[str] | None = set() if len(roots) > 1 else None
    for root in roots:
        for found in walk.root(root):
            if seen is not None and isinstance(found, str):
                if found in seen:
                    continue
                seen.add(found)
            yield found


def is_generated(data: bytes) -> bool:
    """Whether the comments at the top of a file say that a program wrote it: `@generated`, or "do not edit" """
    head = _HEAD.match(data[:4096])
    return head is not None and _GENERATED.search(head[0]) is not None


def _components(path: str) -> list[str]:
    return path.split(os.sep)


class _Here:
    """What holds in a folder: its settings, and the patterns of what is skipped; `own` where these aren't the run's."""

    def __init__(self, settings: Settings, own: bool) -> None:
        self.settings, self.own = settings, own
        groups = [(os.path.abspath(settings.root), settings.exclude), *settings.excludes]
        self._excludes = [(base.rstrip(os.sep) + os.sep, Ignore(base, lines)) for base, lines in groups if lines]

    def excludes(self, path: str, name: str, folder: bool) -> bool:
        """Whether the settings leave a path out; patterns tied to a folder speak of what lies below it."""
        for base, ignore in self._excludes:  # noqa: SIM110 - a generator costs more than the loop, for every file
            if path.startswith(base) and ignore.verdict(path, name, folder):
                return True
        return False

    def placed(self, path: str) -> str:
        """A file's name, with its settings where these are not the run's."""
        return Placed.under(path, self.settings) if self.own else path


_Item = tuple[str, tuple[Ignore, ...], _Here]


class _Walk:
    """One run's discovery: the excludes, and the ignore files of the folders that are being walked."""

    def __init__(self, settings: Settings, nearest: Nearest | None) -> None:
        self._settings, self._nearest = settings, nearest
        self._root = os.path.abspath(settings.root)
        self._known = {id(settings): _Here(settings, own=False)}

    def _at(self, settings: Settings) -> _Here:
        if id(settings) not in self._known:
            self._known[id(settings)] = _Here(settings, own=True)
        return self._known[id(settings)]

    def _above(self, folder: str) -> _Here:
        return self._at(self._nearest.above(folder) if self._nearest else self._settings)

    def root(self, path: str) -> Iterator[str | FileError]:
        """What one path of the command line stands for."""
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            yield FileError(path, _reason(error, path))
            return
        is_folder = stat.S_ISDIR(mode)
        if self._settings.force_exclude and self._is_excluded_by_name(path, is_folder):
            return
        here = self._above(path if is_folder else os.path.dirname(path))
        if is_folder:
            yield from self._folder(path, here)
        elif stat.S_ISREG(mode):
            yield here.placed(path if self._settings.force_exclude else Named(path))
        else:
            yield FileError(path, "is neither a file nor a folder: name a Python file")

    def _is_excluded_by_name(self, path: str, folder: bool) -> bool:
        """Whether the path or a folder above it, up to the settings' root, is excluded by what holds where it lies."""
        if not path.startswith(self._root + os.sep):
            parts, at = [os.path.basename(path)], os.path.dirname(path)
        else:
            parts, at = path[len(self._root) + 1 :].split(os.sep), self._root
        for number, name in enumerate(parts, 1):
            here, at = self._above(at), os.path.join(at, name)
            is_folder = folder or number < len(parts)
            if (is_folder and name in SKIPPED_FOLDERS) or (not is_folder and name.endswith(SKIPPED_SUFFIX)):
                return True
            if here.excludes(at, name, is_folder):
                return True
        return False

    def _folder(self, top: str, here: _Here) -> Iterator[str | FileError]:
        """The files below a folder. A stack holds what is still to be looked at, the next one last."""
        above = _ignores_above(top)
        stack: list[_Item | str | FileError] = [(top, above, here)]
        while stack:
            item = stack.pop()
            if not isinstance(item, tuple):
                yield item
                continue
            found = list(self._entries(*item))
            found.reverse()
            stack += found

    def _entries(self, folder: str, ignores: tuple[Ignore, ...], here: _Here) -> Iterator[_Item | str | FileError]:
        """What one folder holds that is to be read or walked, in order of name."""
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=_name)
        except OSError as error:
            yield FileError(folder, _reason(error, folder))
            return
        telling = _TELLING.intersection([entry.name for entry in entries])
        if telling:
            ignores = _with_own(folder, ignores, telling)
            if self._nearest and not _MAY_SET.isdisjoint(telling) and (own := self._nearest.own(folder)):
                here = self._at(own)
        for entry in entries:
            name = entry.name
            if entry.is_dir(follow_symlinks=False):
                if name not in SKIPPED_FOLDERS and not _is_left_out(entry.path, name, True, ignores, here):
                    yield entry.path, ignores, here
            elif name.endswith(_PYTHON):
                if not name.endswith(SKIPPED_SUFFIX) and not _is_left_out(entry.path, name, False, ignores, here):
                    yield from _regular(entry, here)
            elif _may_be_script(entry, ignores, here) and _is_script(entry.path):
                yield here.placed(entry.path)


def _may_be_script(entry: os.DirEntry[str], ignores: tuple[Ignore, ...], here: _Here) -> bool:
    """Whether an entry is a file without extension that nothing leaves out."""
    if "." in entry.name or not entry.is_file():
        return False
    return not _is_left_out(entry.path, entry.name, False, ignores, here)


def _is_left_out(path: str, name: str, folder: bool, ignores: tuple[Ignore, ...], here: _Here) -> bool:
    """Whether a setting or an ignore file leaves the path out; the nearest ignore file has the last word."""
    if here.excludes(path, name, folder):
        return True
    for ignore in ignores:
        if (verdict := ignore.verdict(path, name, folder)) is not None:
            return verdict
    return False


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _regular(entry: os.DirEntry[str], here: _Here) -> Iterator[str | FileError]:
    """The entry's path if it is a file, an error if it is a link that leads nowhere, else nothing."""
    if entry.is_symlink() and not entry.name.startswith(".#"):  # the lock files of Emacs are broken links by design
        try:
            os.stat(entry.path)
        except OSError as error:
            yield FileError(entry.path, _reason(error, entry.path))
            return
    if entry.is_file():
        yield here.placed(entry.path)


def _is_script(path: str) -> bool:
    """Whether a file starts with a shebang that names Python. One that can't be opened is taken for no script."""
    try:
        with open(path, "rb", buffering=0) as file:
            return _SHEBANG.match(file.read(128)) is not None
    except OSError:
        return False


def _with_own(folder: str, ignores: tuple[Ignore, ...], names: frozenset[str]) -> tuple[Ignore, ...]:
    """The ignore files that count in a folder, the nearest first. Those of an outer repository end at its border."""
    if ".git" in names:
        ignores = ()
    return (*_read_ignore(folder), *ignores) if ".gitignore" in names else ignores


def _ignores_above(top: str) -> tuple[Ignore, ...]:
    """The ignore files of the folders above, up to the root of the repository that holds `top`; else none."""
    found: list[Ignore] = []
    folder = top
    while not os.path.exists(os.path.join(folder, ".git")):
        parent = os.path.dirname(folder)
        if parent == folder:
            return ()
        found += _read_ignore(parent)
        folder = parent
    return tuple(found)


def _read_ignore(folder: str) -> tuple[Ignore, ...]:
    """The ignore file of a folder; none where there is none or it can't be read, which git lets pass too."""
    try:
        with open(os.path.join(folder, ".gitignore"), encoding="utf-8", errors="surrogateescape") as file:
            return (Ignore(folder, file.read().splitlines()),)
    except OSError:
        return ()


def _reason(error: OSError, path: str) -> str:
    """One line that says why a path can't be used, and what to do."""
    if error.errno == errno.ELOOP:
        return "is a link that leads back to itself: remove or exclude it"
    if error.errno == errno.ENOENT:
        if os.path.islink(path):
            return "is a link to something that does not exist: remove or exclude it"
        return "does not exist: check the spelling"
    return f"can't be read: {(error.strerror or str(error)).lower()}"

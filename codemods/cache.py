"""What was found in files before, kept in a folder: looked up by a file's state, else by its content's digest.

A result counts for the same content at the same place under the same settings, tool and Python. A file whose state
(times, size and number, as the system keeps them) is that of the last time is not read again. That is safe, since no
program can set the time at which a file's entry changed, and since a state is trusted only if it was old enough, when
the file was read, for every later change to get another time. Not kept are errors, and results for which more was
asked than the file itself.
"""

from __future__ import annotations

import os
import sys
import tempfile
import zlib
from dataclasses import fields
from typing import Any, NamedTuple

from ..version import __version__
from . import shelf
from .model import FileReport, Finding
from .perfile import Named, settings_for
from .settings import Settings
from .shelf import RECORD, STATE, UNSETTLED, Content

_TAG = """Signature: 8a477f597d28d172789f06886806bc55
# This folder is unhush's cache. It may be removed at any time.
"""
_BESIDE = ((".gitignore", "*\n"), ("CACHEDIR.TAG", _TAG))
# Times of files may be that coarse, and clocks of file servers tick apart by less than that.
_SETTLED_AFTER = 2_000_000_000
_KEPT_SECONDS = 30 * 86_400
_HAS_CHANGE_TIME = os.name != "nt"  # there st_ctime is the time at which the file was made


class Known(NamedTuple):
    """What is known of a file: what it holds, if it is unchanged; else the digest of some content, and what that holds."""

    found: tuple[Finding, ...] | None
    digest: bytes = b""
    content: tuple[Finding, ...] = ()


_NOTHING, _CLEAN = Known(None), Known(())


class Cache:
    """The results kept in a folder, which is made when there is something to keep."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._shelves: dict[int, _Shelf] = {}  # by identity of the settings, which the shelf holds on to
        self._clock: int | None = None

    def find(self, path: str, settings: Settings) -> Known:
        """What is known of a file that is about to be checked."""
        return self._shelf(path, settings).find(path)

    def keep(self, path: str, settings: Settings, record: bytes, report: FileReport | None) -> None:
        """Keeps what was found in a file with this state and digest; with no record there is nothing to keep."""
        self._shelf(path, settings).keep(path, self._settled(record), report.findings if report else ())

    def start(self) -> None:
        """Makes the folder and asks its file system for the time, before a file is read. Raises OSError."""
        if self._clock is not None:
            return
        if not os.path.isdir(self.folder) or not os.listdir(self.folder):
            os.makedirs(self.folder, exist_ok=True)
            for name, text in _BESIDE:
                with open(os.path.join(self.folder, name), "w", encoding="ascii", newline="\n") as file:
                    file.write(text)
        with tempfile.TemporaryFile(prefix=shelf.PREFIX, suffix=shelf.SPARE, dir=self.folder) as file:
            self._clock = os.fstat(file.fileno()).st_mtime_ns

    def save(self) -> None:
        """Writes what is new, over what other processes have written meanwhile. Raises OSError."""
        changed = [one for one in self._shelves.values() if one.is_changed]
        if changed:
            self.start()
            _drop_old(self.folder)
        for one in changed:
            one.save()

    def _shelf(self, path: str, settings: Settings) -> _Shelf:
        settings = settings_for(path, settings)
        found = self._shelves.get(id(settings))
        if found is None:
            found = self._shelves[id(settings)] = _Shelf(self.folder, settings)
        return found

    def _settled(self, record: bytes) -> bytes:
        """The record, its state left out where a change might not have shown in it."""
        if record and (not self._clock or shelf.last_change(record) > self._clock - _SETTLED_AFTER):
            return UNSETTLED + record[STATE:]
        return record


class _Shelf:
    """The results under the same settings."""

    def __init__(self, folder: str, settings: Settings) -> None:
        self.settings = settings
        self._key = f"unhush {__version__} {tool_state()}\n{sys.version}\n{_spelt(settings)}"
        self._file = shelf.shelf_file(folder, self._key)
        self._root = os.path.abspath(settings.root).rstrip(os.sep) + os.sep
        self._version = _version_of(self._file)
        content = shelf.load(self._file, self._key)
        self._records, self._texts = content.records, content.texts
        self._seen: set[str] = set()
        self._new: set[str] = set()

    @property
    def is_changed(self) -> bool:
        """Whether something is to be written."""
        return bool(self._new)

    def _name(self, path: str) -> str:
        """A file's name here: named files are apart, since of those generated ones are shown too; none elsewhere."""
        if not path.startswith(self._root):
            return ""
        name = path[len(self._root) :]
        return f"./{name}" if isinstance(path, Named) else name

    def find(self, path: str) -> Known:
        """As `Cache.find`."""
        name = self._name(path)
        record = self._records.get(name)
        if record is None:
            return _NOTHING
        self._seen.add(name)
        text = self._texts.get(name)
        found = shelf.parse(text, path) if text is not None else ()
        if found is None:
            return _NOTHING
        if _HAS_CHANGE_TIME and record.startswith(_state(path)):
            return Known(found) if found else _CLEAN
        return Known(None, record[STATE:], found)

    def keep(self, path: str, record: bytes, findings: tuple[Finding, ...]) -> None:
        """As `Cache.keep`."""
        name = self._name(path)
        if not name or (self._records.get(name, b"") == record):
            return
        self._new.add(name)
        self._texts.pop(name, None)
        self._records.pop(name, None)
        if record:
            self._records[name] = record
            if findings:
                self._texts[name] = shelf.dump(findings)

    def save(self) -> None:
        """Writes the shelf, without the files that are gone."""
        content = Content(self._records, self._texts)
        if _version_of(self._file) != self._version:
            content = self._merged(shelf.load(self._file, self._key))
        known = self._seen | self._new
        for name in [name for name in content.records if name not in known]:
            if not os.path.lexists(self._root + name):
                del content.records[name]
                content.texts.pop(name, None)
        shelf.save(self._file, self._key, content)

    def _merged(self, other: Content) -> Content:
        """What another process wrote, with this one's news over it."""
        for name in self._new:
            other.records.pop(name, None)
            other.texts.pop(name, None)
            if name in self._records:
                other.records[name] = self._records[name]
            if name in self._texts:
                other.texts[name] = self._texts[name]
        return other


def _state(path: str) -> bytes:
    """A file's state now; one that no record has where there is no such file."""
    try:
        return shelf.state_of(os.stat(path))
    except OSError:
        return bytes(RECORD + 1)


def _version_of(path: str) -> tuple[int, int] | None:
    """What tells that another process has put a new file there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def tool_state() -> str:
    """What tells apart states of the tool's own source under one version.

    Installed, that is what the installer recorded of its files; while it is worked on, their sizes and times.
    """
    folder = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(os.path.dirname(os.path.dirname(folder)), f"unhush-{__version__}.dist-info", "RECORD")
    if os.path.isfile(installed):
        with open(installed, "rb") as file:
            return f"{zlib.crc32(file.read()):08x}"
    words = []
    for place in (folder, os.path.join(folder, "rules")):
        with os.scandir(place) as listing:
            entries = sorted((entry.name, entry.stat()) for entry in listing if entry.name.endswith(".py"))
        words += [f"{name} {status.st_size} {status.st_mtime_ns}" for name, status in entries]
    return f"{zlib.crc32(chr(10).join(words).encode()):08x}"


def _spelt(value: Any) -> str:
    """Settings as text that is the same for equal ones in every process."""
    if isinstance(value, Settings):
        return "\n".join(f"{one.name} = {_spelt(getattr(value, one.name))}" for one in fields(value))
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_spelt, value)))}}}"
    return f"({', '.join(map(_spelt, value))})" if isinstance(value, tuple) else ascii(value)


def _drop_old(folder: str) -> None:
    """Removes what was not written for a month: by other settings, other versions, or runs that were cut off."""
    with os.scandir(folder) as listing:
        own = [entry for entry in listing if is_own(entry.name)]
    newest = max((entry.stat().st_mtime for entry in own), default=0.0)
    for entry in own:
        if entry.stat().st_mtime < newest - _KEPT_SECONDS and os.path.exists(entry.path):
            os.unlink(entry.path)


def clear(folder: str) -> bool:
    """Removes what the cache wrote in a folder, and the folder if that was all. Whether it is there. Raises OSError."""
    if not os.path.isdir(folder):
        return False
    names = [name for name in os.listdir(folder) if is_own(name)]
    names += [name for name, text in _BESIDE if _holds(os.path.join(folder, name), text)]
    for name in names:
        os.unlink(os.path.join(folder, name))
    if not os.listdir(folder) and not os.path.islink(folder):
        os.rmdir(folder)
    return True


def _holds(path: str, text: str) -> bool:
    """Whether a file holds just this text."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(text) + 1) == text.encode()


def is_own(name: str) -> bool:
    """Whether a file of a cache folder, by its name, is one that the cache has written."""
    return name.startswith(shelf.PREFIX) and name.endswith((shelf.SUFFIX, shelf.SPARE))

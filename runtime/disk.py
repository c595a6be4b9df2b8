"""Files that are locked while they are used, and synced before anything is said about them."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 2**30  # beyond what a file holds here: nobody can read a locked byte there

    def _lock(file: int) -> None:
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(errno.EAGAIN, "the file is held by another") from error

    def _unlock(file: int) -> None:
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


_BINARY = getattr(os, "O_BINARY", 0)  # without it Windows writes "\n" as two bytes
_held: set[int] = set()


@contextmanager
def locked(path: Path, flags: int) -> Iterator[int]:
    """The open file (made with mode 0600), locked against every process; BlockingIOError where another holds it."""
    file = os.open(path, flags | _BINARY, 0o600)
    _held.add(file)
    try:
        _lock(file)
        try:
            yield file
        finally:
            _unlock(file)  # closing would not do: a process forked meanwhile shares the lock
    finally:
        _held.discard(file)
        os.close(file)


def read_all(file: int) -> bytes:
    """The file's bytes from its beginning."""
    os.lseek(file, 0, os.SEEK_SET)
    with os.fdopen(os.dup(file), "rb") as reader:
        return reader.read()


def write_all(file: int, data: bytes) -> None:
    """Writes all of it, or raises OSError after a part."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def replace(path: Path, data: bytes) -> None:
    """Puts a file of mode 0600 there, whole and synced, in place of any other. One process at a time may do so."""
    fresh = path.with_name(f"{path.name}.tmp")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o600)
    try:
        write_all(file, data)
        os.fsync(file)
    finally:
        os.close(file)
    os.replace(fresh, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes new names in the folder last; Windows can't, and needs not."""
    if sys.platform != "win32":
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _let_go() -> None:
    """In a forked child: closes the parent's files, whose locks it would otherwise keep if the parent is killed."""
    for file in _held:
        os.close(file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)

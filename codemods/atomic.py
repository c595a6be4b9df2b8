"""Writing a file so that it is at any moment either the old one or the new one, with its mode, owner and links."""

from __future__ import annotations

import os
import stat
import tempfile


class WriteFailure(Exception):
    """A file could not be written and is as it was; the message is one line that says why."""


def write_atomic(filename: str, data: bytes, expected: bytes) -> None:
    """Writes `data` in the place of `expected`, which the file must still hold.

    A new file in the same folder takes the old one's place when it is safely on the disk. A symbolic link stays and
    its target is written. A file with several hard links, or one whose owner can't be given to a new file, is
    overwritten in place, for its identity counts: the new text is first laid down beside it, so that a full disk is
    met before the file is touched, and what is left after a crash holds the new text. Raises WriteFailure.
    """
    target = os.path.realpath(filename)
    try:
        status = os.stat(target)
        _refuse(target, status, expected)
        spare = _spare(target, data, status)
        try:
            _refuse(target, os.stat(target), expected)
            if status.st_nlink > 1 or not _owned_alike(spare, status):
                _overwrite(target, data, expected)
            else:
                os.replace(spare, target)
                _sync_folder(os.path.dirname(target))
        finally:
            if os.path.exists(spare):
                os.unlink(spare)
    except OSError as error:
        raise WriteFailure(f"can't be written, left as it was: {error.strerror or error}") from None


def write_new(filename: str, data: bytes) -> None:
    """Writes a file that is not there yet, whole or not at all. Raises WriteFailure."""
    draft = f"{filename}.{os.getpid()}.tmp"
    try:
        with open(draft, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, filename)
        _sync_folder(os.path.dirname(os.path.abspath(filename)))
    except OSError as error:
        raise WriteFailure(f"can't be written: {(error.strerror or str(error)).lower()}") from None
    finally:
        if os.path.exists(draft):
            os.unlink(draft)


def _refuse(target: str, status: os.stat_result, expected: bytes) -> None:
    """Raises WriteFailure for a file that is not to be written, or no longer holds what was read."""
    if not stat.S_ISREG(status.st_mode):
        raise WriteFailure("is no regular file, left as it is")
    if not os.access(target, os.W_OK):
        raise WriteFailure("is read-only, left as it is: make it writable first")
    with open(target, "rb") as file:
        if file.read(len(expected) + 1) != expected:
            raise WriteFailure("changed since it was read, left as it is: run the fix again")


def _spare(target: str, data: bytes, status: os.stat_result) -> str:
    """A file beside the target that holds the data on disk, with the target's mode and, where allowed, owner."""
    handle, spare = tempfile.mkstemp(
        prefix=f".{os.path.basename(target)[:100]}.", suffix=".unhush", dir=os.path.dirname(target)
    )
    done = False
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            own = os.fstat(file.fileno())
            if (
                hasattr(os, "fchown")
                and (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid)
                and os.geteuid() == 0
            ):
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            os.chmod(spare, stat.S_IMODE(status.st_mode))
            os.fsync(file.fileno())
        done = True
    finally:
        if not done:
            os.unlink(spare)
    return spare


def _owned_alike(spare: str, status: os.stat_result) -> bool:
    own = os.stat(spare)
    return (own.st_uid, own.st_gid) == (status.st_uid, status.st_gid)


def _overwrite(target: str, data: bytes, expected: bytes) -> None:
    """Writes into the file itself; puts the old text back if that fails."""
    with open(target, "r+b", buffering=0) as file:
        done = False
        try:
            if hasattr(os, "posix_fallocate") and len(data) > len(expected):
                os.posix_fallocate(file.fileno(), 0, len(data))
            _write_all(file.fileno(), data)
            done = True
        finally:
            if not done:
                _write_all(file.fileno(), expected)


def _write_all(handle: int, data: bytes) -> None:
    os.lseek(handle, 0, os.SEEK_SET)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]
    os.ftruncate(handle, len(data))
    os.fsync(handle)


def _sync_folder(folder: str) -> None:
    """Puts a rename on the disk, where folders can be opened for that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

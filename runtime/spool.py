"""Records kept on this host's disk while the database can't take them, and put into it later.

Each process appends checksummed lines to a file of its own; a drainer takes whole files, each under a lock that no writer
ever waits for. A line is synced to disk before `append` returns, and its file goes only when each of its lines is
stored. A crash in between stores some lines twice, so what stores them must know a record that it already has.

Names: `NAME.v1` waits (v1 is the format), `corrupt-NAME.v1` holds lines that can't be read, `refused-NAME.v1` lines that
the database will not have, each under its reason. Nothing but a stored line is ever deleted.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import structlog

from . import disk
from .telling import first_line

Record = dict[str, Any]  # JSON values

LIMIT_BYTES = 256 * 2**20
FILE_BYTES = 2**20  # a file this large is followed by a new one, so that a drain that is cut off repeats little
RECOUNT_SECONDS = 0.5  # how old the sum of all processes' files may be when the limit is checked
FAILURES_IN_A_ROW = 3  # of an unknown kind: so many records end a file's drain, so many fruitless files the whole
NEW_FILE_TRIES = 20  # a drainer may take a new file before it is locked: it is empty then, and soon gone

_SUFFIX = ".v1"
_WAITING = re.compile(r"(letters-[0-9]+-[0-9]+-[0-9a-f]+)-[0-9]+\.v([0-9]+)", re.ASCII)
_OURS = re.compile(r"(corrupt-|refused-)?letters-[-0-9a-f]+\.v[0-9]+(\.tmp)?", re.ASCII)
_REASON = b"#refused "

_log = structlog.get_logger(__name__)
_spools: WeakSet[Spool] = WeakSet()


class SpoolError(OSError):
    """The spool can't be used; the text is one line that says why, and `__cause__` the system's error if there is one."""


class SpoolFull(SpoolError):
    """The spool holds as much as it may; the text is one line that says what to do."""


class StoreDown(Exception):
    """Raised by `store` where the database can't be reached: the drain ends, and every record stays."""


class StoreRefused(Exception):
    """Raised by `store` for a record that the database will never take; the text says why. It is set aside."""


@dataclass(frozen=True, slots=True)
class SpoolSize:
    """What a spool holds: records that wait, bytes of all its files, and lines set aside as corrupt or refused."""

    records: int
    bytes: int
    corrupt: int
    refused: int


@dataclass(slots=True)
class Drained:
    """What a drain did.

    `stored`, `corrupt` and `refused` count this drain's records; `kept` those that wait in the spool at its end;
    `skipped` the files left alone: held by another process, of another format, or unreadable (which is logged).
    """

    stored: int = 0
    kept: int = 0
    corrupt: int = 0
    refused: int = 0
    skipped: int = 0


class Spool:
    """A folder of records that wait for the database; may be used by many threads and processes at once.

    Nothing is made or read before the first call. Other processes' writes count towards `limit_bytes` within half a
    second, so that many writers may pass it by what they write in that time.
    """

    def __init__(self, folder: str | os.PathLike[str], limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = Path(folder)
        self.limit_bytes = limit_bytes
        self._counted: dict[str, tuple[int, int]] = {}
        self._renew()
        _spools.add(self)

    def _renew(self) -> None:
        """Starts afresh, as a new process: with a lock and file names of its own."""
        self._lock = threading.Lock()
        self._writer = f"letters-{time.time_ns():020}-{os.getpid()}-{secrets.token_hex(4)}"
        self._number = 0
        self._path: Path | None = None
        self._used = 0
        self._count_again_at = 0.0

    def prepare(self) -> None:
        """Makes the folder, which only its owner may enter.

        An existing one that others may enter is closed to them, if it holds nothing but a spool's files. Raises
        SpoolError where that can't be.
        """
        with _one_line(f"the spool folder {self.folder} can't be used"):
            try:
                self.folder.mkdir(mode=0o700, parents=True)
            except FileExistsError:
                self._close_to_others()
            else:
                disk.sync_folder(self.folder.parent)

    def _close_to_others(self) -> None:
        found = os.stat(self.folder)
        if sys.platform == "win32" or not found.st_mode & 0o077:
            return
        strangers = [name for name in os.listdir(self.folder) if not _OURS.fullmatch(name)]
        if strangers or found.st_uid != os.geteuid() or found.st_mode & stat.S_ISVTX:
            raise SpoolError(
                f"the spool folder {self.folder} is open to others (mode {stat.S_IMODE(found.st_mode):o}): "
                "name a folder of its own, or close it by chmod 700"
            )
        os.chmod(self.folder, 0o700)

    def append(self, record: Record) -> None:
        """Puts a record of JSON values on disk. Raises SpoolFull or another SpoolError; the record is not there then."""
        line = _line(record)
        with self._lock, _one_line(f"can't write to the spool {self.folder}"):
            self._check_room(len(line))
            if not (self._path and self._append_to(self._path, line, os.O_RDWR)):
                self._append_to_new(line)
            self._used += len(line)

    def _check_room(self, wanted: int) -> None:
        now = time.monotonic()
        if now >= self._count_again_at or self._used + wanted > self.limit_bytes:
            self._used = sum(size for _, size in self._files())
            self._count_again_at = now + RECOUNT_SECONDS
        if self._used + wanted > self.limit_bytes:
            raise SpoolFull(
                f"the spool {self.folder} holds {self._used} of {self.limit_bytes} bytes, and {wanted} more do not fit: "
                "drain it (unhush dlq drain), or raise its limit",
            )

    def _append_to_new(self, line: bytes) -> None:
        for _ in range(NEW_FILE_TRIES):
            self.prepare()
            path = self._new_path()
            if self._append_to(path, line, os.O_RDWR | os.O_CREAT | os.O_EXCL):
                self._path = path
                return
        raise BlockingIOError(errno.EAGAIN, "each new file was taken or removed before it could be locked")

    def _new_path(self) -> Path:
        self._number += 1
        return self.folder / f"{self._writer}-{self._number:08}{_SUFFIX}"

    def _append_to(self, path: Path, line: bytes, flags: int) -> bool:
        """Whether the line went into the file; False where the file is large, gone, or held by a drainer."""
        new = bool(flags & os.O_CREAT)
        try:
            with disk.locked(path, flags | os.O_APPEND) as file:
                found = os.fstat(file)
                if not found.st_nlink or (not new and not 0 < found.st_size < FILE_BYTES):
                    return False
                try:
                    disk.write_all(file, line)
                    os.fsync(file)
                    if new:
                        disk.sync_folder(self.folder)
                except BaseException:
                    self._cut_back(path, file, found.st_size)
                    raise
        except (FileNotFoundError, BlockingIOError):
            return False
        return True

    def _cut_back(self, path: Path, file: int, size: int) -> None:
        """Undoes part of a write. Later lines go to a new file, so that even what can't be undone breaks none of them."""
        self._path = None
        try:
            os.ftruncate(file, size)
            if not size:
                path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("dead_letter.spool_cut_back_failed", file=path.name, error=str(error))

    def drain(self, store: Callable[[Record], None]) -> Drained:
        """Stores the records that wait, each writer's in their order, and removes files that are stored whole.

        `store` puts one record into the database for good before it returns, and does nothing about one that is there.
        StoreDown ends the drain; StoreRefused sets the record aside; after any other exception, which is logged, the
        record stays and the next is tried, but for a few such in a row: those end the drain too.
        """
        drained = Drained()
        held: set[str] = set()
        fruitless = 0
        for path, writer in self._waiting(drained):
            if writer in held:
                drained.skipped += 1
                continue
            try:
                result = self._drain_file(path, store, drained)
            except FileNotFoundError:
                continue  # another drainer finished it
            except BlockingIOError:
                held.add(writer)
                drained.skipped += 1
                continue
            except OSError as error:
                _log.error("dead_letter.spool_file_failed", file=path.name, error=str(error))
                drained.skipped += 1
                continue
            fruitless = fruitless + 1 if result.failed and not result.stored else 0
            if result.down or fruitless == FAILURES_IN_A_ROW:
                break
        drained.kept = self.size().records
        return drained

    def _waiting(self, drained: Drained) -> Iterator[tuple[Path, str]]:
        """The files that wait, oldest writer first, each with its writer."""
        for name, _ in sorted(self._files()):
            match = _WAITING.fullmatch(name)
            if match and name.endswith(_SUFFIX):
                yield self.folder / name, match[1]
            elif match:
                _log.warning("dead_letter.spool_format_unknown", file=name)
                drained.skipped += 1

    def _drain_file(self, path: Path, store: Callable[[Record], None], drained: Drained) -> _Pass:
        result = _Pass(store)
        with disk.locked(path, os.O_RDWR) as file:
            result.run(disk.read_all(file).split(b"\n"))
            drained.stored += result.stored
            if result.down or result.failed:
                return result
            # Set aside before the file goes, and whole each time: a drain that was cut off here is simply repeated.
            self._set_aside("corrupt", path, result.corrupt)
            self._set_aside("refused", path, result.refused)
            drained.corrupt += len(result.corrupt)
            drained.refused += sum(not line.startswith(_REASON) for line in result.refused)
            os.ftruncate(file, 0)  # an empty file counts as gone, also where an open one can't be removed
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            if sys.platform != "win32":
                raise
        return result

    def _set_aside(self, why: str, path: Path, lines: list[bytes]) -> None:
        if not lines:
            return
        aside = path.with_name(f"{why}-{path.name}")
        disk.replace(aside, b"".join(line + b"\n" for line in lines))
        _log.error("dead_letter.spool_set_aside", why=why, file=str(aside), lines=len(lines))

    def readmit(self) -> int:
        """Puts files of refused records back to wait, say after an upgrade; returns how many files."""
        with self._lock, _one_line(f"can't rename in the spool {self.folder}"):
            names = [
                name for name, _ in sorted(self._files()) if name.startswith("refused-") and name.endswith(_SUFFIX)
            ]
            for name in names:
                os.rename(self.folder / name, self._new_path())
        return len(names)

    def size(self) -> SpoolSize:
        """What the spool holds; of files that it counted before, only what was added is read. Raises OSError.

        A file that this user can't read counts as one record.
        """
        lines = {"letters": 0, "corrupt": 0, "refused": 0}
        files = self._files()
        counted = {}
        for name, size in files:
            kind = name.partition("-")[0]
            if kind in lines and name.endswith(_SUFFIX):
                counted[name] = self._count(name, size)
                lines[kind] += counted[name][1]
        self._counted = counted
        return SpoolSize(lines["letters"], sum(size for _, size in files), lines["corrupt"], lines["refused"])

    def _count(self, name: str, size: int) -> tuple[int, int]:
        """Up to where a file was counted, and the records up to there."""
        end, records = self._counted.get(name, (0, 0))
        if end > size:  # a write was cut back
            end, records = 0, 0
        if end == size:
            return end, records
        try:
            with (self.folder / name).open("rb") as file:
                file.seek(end)
                added = file.read(size - end)
        except FileNotFoundError:
            return 0, 0  # drained meanwhile
        except PermissionError:
            return 0, 1  # another user's, as after a drain by root: what is in it can't be known, but it is not nothing
        whole = added[: added.rfind(b"\n") + 1]
        return end + len(whole), records + whole.count(b"\n") - (b"\n" + whole).count(b"\n" + _REASON)

    def _files(self) -> list[tuple[str, int]]:
        """Name and size of each of the spool's files."""
        try:
            with os.scandir(self.folder) as entries:
                return [(entry.name, _size(entry)) for entry in entries if _OURS.fullmatch(entry.name)]
        except FileNotFoundError:
            return []


class _Pass:
    """One pass over a file's lines, and what became of them."""

    def __init__(self, store: Callable[[Record], None]) -> None:
        self.store = store
        self.stored = 0
        self.failed = 0
        self.failed_in_a_row = 0
        self.down = False
        self.corrupt: list[bytes] = []
        self.refused: list[bytes] = []  # each under its reason

    def run(self, lines: Iterable[bytes]) -> None:
        """Goes through the lines, up to where the database is down or too many failed in a row."""
        for line in lines:
            if not line or line.startswith(_REASON):
                continue
            record = _record(line)
            if record is None:
                self.corrupt.append(line)
                continue
            self._put(record, line)
            if self.down or self.failed_in_a_row == FAILURES_IN_A_ROW:
                return

    def _put(self, record: Record, line: bytes) -> None:
        try:
            self.store(record)
        except StoreDown as error:
            _log.warning("dead_letter.spool_store_down", error=first_line(error))
            self.down = True
        except StoreRefused as error:
            self.refused += [_REASON + ascii(str(error)).encode(), line]
            self.failed_in_a_row = 0
        except Exception as error:  # noqa: BLE001 - whatever it is, the record stays, and the others have their turn
            # Without a traceback: what a database driver says there may hold the record's values.
            _log.error("dead_letter.spool_store_failed", error_type=type(error).__qualname__, error=first_line(error))
            self.failed += 1
            self.failed_in_a_row += 1
        else:
            self.stored += 1
            self.failed_in_a_row = 0


def _line(record: Record) -> bytes:
    data = json.dumps(record, separators=(",", ":")).encode("ascii")
    return b"%s %s\n" % (_checksum(data), data)


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest()[:16].encode("ascii")


def _record(line: bytes) -> Record | None:
    """The record of a line; None where it can't be read."""
    checksum, _, data = line.partition(b" ")
    if _checksum(data) != checksum:
        return None
    try:
        record = json.loads(data)
    except ValueError as error:
        _log.warning("dead_letter.spool_line_unreadable", error=str(error))
        return None
    return record if isinstance(record, dict) else None


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # drained meanwhile
        return 0


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turns an OSError into a SpoolError that says in one line what could not be done."""
    try:
        yield
    except SpoolError:
        raise
    except OSError as error:
        raise SpoolError(f"{what}: {error.strerror or error}") from error


def _renew_all() -> None:
    for spool in list(_spools):
        spool._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)

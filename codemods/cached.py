"""Checks files with the help of a cache: what is known of a file need not be found again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial

from . import beyond
from .cache import Cache, Known
from .engine import check_content, check_file, read_with_status
from .model import FileError, FileReport
from .pool import Warn, map_files
from .settings import Settings
from .shelf import STATE, state_of

_Item = tuple[str, bytes]  # a file, and the digest of the content that is known
_Outcome = tuple[bytes, FileReport | None]  # a record, empty where nothing is to be kept; None where nothing was found


def check_through(
    cache: Cache,
    files: Iterable[str],
    settings: Settings,
    jobs: int | None = None,
    warn: Warn | None = None,
    remark: Warn | None = None,
) -> Iterator[FileReport]:
    """What `pool.check_paths` yields; what was new is kept in the cache. `remark` is told where that can't be done."""
    waiting: deque[tuple[str, Known]] = deque()
    problems: list[OSError] = []
    unknown = _unknown(cache, files, settings, waiting, problems)
    for (file, _), outcome in map_files(partial(_check, settings), unknown, jobs, lost=_lost, warn=warn):
        yield from _at_once(waiting)
        yield _report(cache, file, settings, waiting.popleft()[1], outcome)
    yield from _at_once(waiting)
    if not problems:
        _save(cache, problems)
    if problems and remark:
        remark(f"the cache can't be written, see --cache-dir: {cache.folder}: {problems[0].strerror}")


def _unknown(
    cache: Cache,
    files: Iterable[str],
    settings: Settings,
    waiting: deque[tuple[str, Known]],
    problems: list[OSError],
) -> Iterator[_Item]:
    """The files that have to be read. All of them are put in the queue, with what is known."""
    for file in files:
        known = cache.find(file, settings)
        if known.found is None and not problems:
            try:
                cache.start()
            except OSError as error:
                problems.append(error)
        waiting.append((file, known))
        if known.found is None:
            yield file, known.digest


def _at_once(waiting: deque[tuple[str, Known]]) -> Iterator[FileReport]:
    """The reports at the head of the queue that need no work."""
    while waiting and (found := waiting[0][1].found) is not None:
        yield FileReport(waiting.popleft()[0], found)


def _report(cache: Cache, file: str, settings: Settings, known: Known, outcome: _Outcome) -> FileReport:
    """The report of a file that was read, kept for the next time."""
    record, report = outcome
    if known.digest and record[STATE:] == known.digest:
        report = FileReport(file, known.content)
    cache.keep(file, settings, record, report)
    return report or FileReport(file)


def _check(settings: Settings, item: _Item) -> _Outcome:
    """Reads a file, and checks it unless its content is the one that is known."""
    from hashlib import sha256

    path, known = item
    try:
        data, status = read_with_status(path)
    except OSError:
        return b"", check_file(path, settings)
    digest = sha256(data).digest()[:16]
    record = state_of(status) + digest
    if digest == known:
        return record, None
    before = beyond.times_asked()
    report = check_content(data, path, settings)
    if report.errors or beyond.times_asked() != before:
        return b"", report
    return record, report if report.findings else None


def _lost(item: _Item, reason: str) -> _Outcome:
    return b"", FileReport(item[0], errors=(FileError(item[0], reason),))


def _save(cache: Cache, problems: list[OSError]) -> None:
    try:
        cache.save()
    except OSError as error:
        problems.append(error)

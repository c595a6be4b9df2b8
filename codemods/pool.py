"""Files spread over processes: results in the order of the files, whatever becomes of a process.

Where it is safe to fork (Linux and kin) workers are forked, and begin while the files are still being found; elsewhere
they are spawned. Few files are done in this process.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

from .engine import check_file
from .model import FileError, FileReport
from .settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import Future

F = TypeVar("F")
T = TypeVar("T")
Warn = Callable[[str], None]
Lost = Callable[[F, str], T]

CHUNK = 48  # files that a worker is given at a time: a few milliseconds of work


def check_paths(
    files: Iterable[str], settings: Settings, jobs: int | None = None, warn: Warn | None = None
) -> Iterator[FileReport]:
    """Checks files in `jobs` processes (default: one for each usable core); yields a report each, in their order.

    `warn` is told, in one line, of a worker that died (default: a line on stderr). Files are taken from the iterable
    as they are needed, and no more reports are held back than the order asks for.
    """
    pairs = map_files(partial(_dirty_report, settings), files, jobs, lost=_lost_report, warn=warn)
    return (FileReport(file) if report is None else report for file, report in pairs)


def _dirty_report(settings: Settings, file: str) -> FileReport | None:
    """The report of a file, or None where there is nothing to report: most reports need not be sent then."""
    report = check_file(file, settings)
    return report if report.findings or report.errors else None


def _lost_report(file: str, reason: str) -> FileReport:
    return FileReport(file, errors=(FileError(file, reason),))


def map_files(
    function: Callable[[F], T],
    files: Iterable[F],
    jobs: int | None = None,
    *,
    lost: Lost[F, T],
    warn: Warn | None = None,
    chunk: int = CHUNK,
) -> Iterator[tuple[F, T]]:
    """Yields each file, or whatever stands for one, with the function's result, in their order.

    `chunk` is the number of files that a worker is given at a time; no more than two chunks stay in this process.
    The files of a worker that dies are done again, one by one; one that kills its worker again gets
    `lost(file, reason)` as its result. Function, results and what stands for a file must pickle where processes are spawned.
    """
    jobs = jobs or usable_cores()
    files = iter(files)
    first = list(islice(files, 2 * chunk + 1)) if jobs > 1 else []
    files = chain(first, files)
    if jobs == 1 or len(first) <= 2 * chunk:
        return ((file, function(file)) for file in files)
    warn = warn or _to_stderr
    if can_fork():
        from .forked import ForkPool

        return ForkPool(function, jobs, lost, warn, chunk).run(files)
    return _spawned(function, files, jobs, warn, chunk)


def usable_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def can_fork() -> bool:
    """Whether forking is safe here: macOS has it, but its system libraries do not survive it."""
    return hasattr(os, "fork") and sys.platform != "darwin"


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


def _spawned(
    function: Callable[[F], T], files: Iterable[F], jobs: int, warn: Warn, chunk: int
) -> Iterator[tuple[F, T]]:
    """The same with processes that start afresh; after the death of one this process goes on alone."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    files = iter(files)
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    parts: deque[list[F]] = deque()  # handed out, results not yet yielded
    futures: deque[Future[list[T]]] = deque()
    try:
        for part in chain(iter(lambda: list(islice(files, chunk)), []), [[]] * 4 * jobs):
            if part:
                parts.append(part)
                futures.append(pool.submit(_all, function, part))
            if parts and (not part or len(parts) > 4 * jobs):
                yield from zip(parts[0], futures.popleft().result(), strict=True)
                parts.popleft()
    except BrokenProcessPool:
        warn("a worker process died; its files are done again, and the rest too, in this process")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    for file in chain(*parts, files):
        yield file, function(file)


def _all(function: Callable[[F], T], files: list[F]) -> list[T]:
    return [function(file) for file in files]

"""A pool of forked processes: nothing to import or to unpickle at the start, and every death is seen."""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, TypeVar

F = TypeVar("F")
T = TypeVar("T")

_AHEAD = 2  # chunks that a worker has at hand, so that it never waits for this process
_HELD_BACK = 256  # chunks whose results may wait for an earlier one: what keeps memory flat
_LENGTH = 8


class _Chunk(Generic[F, T]):
    """Some files in a row, their results once they are there, and whether they have cost a worker's life."""

    __slots__ = ("deadly", "files", "results")

    def __init__(self, files: list[F], deadly: bool = False) -> None:
        self.files, self.deadly = files, deadly
        self.results: list[T] | None = None


class _Worker(Generic[F, T]):
    """One forked process: pipes to and from it, the chunks that it has (first come, first served), bytes on the way."""

    def __init__(self, pid: int, tasks: int, results: int) -> None:
        self.pid, self.tasks, self.results = pid, tasks, results
        self.chunks: deque[_Chunk[F, T]] = deque()
        self.unsent = bytearray()
        self.received = bytearray()


class ForkPool(Generic[F, T]):
    """Does `function` for each file in `jobs` forked workers. See `pool.map_files` for the arguments."""

    def __init__(
        self,
        function: Callable[[F], T],
        jobs: int,
        lost: Callable[[F, str], T],
        warn: Callable[[str], None],
        chunk: int,
    ) -> None:
        self._function, self._jobs, self._lost, self._warn, self._size = function, jobs, lost, warn, chunk
        self._workers: list[_Worker[F, T]] = []
        self._todo: deque[_Chunk[F, T]] = deque()  # chunks that a dead worker left behind
        self._order: deque[_Chunk[F, T]] = deque()  # chunks whose results are still to be yielded

    def run(self, files: Iterator[F]) -> Iterator[tuple[F, T]]:
        """Yields each file with its result, in order. Whatever ends the run ends the workers too."""
        try:
            self._workers = [self._fork() for _ in range(self._jobs)]
            self._hand_out(files)
            while self._order:
                self._wait()
                self._hand_out(files)
                while self._order and self._order[0].results is not None:
                    chunk = self._order.popleft()
                    yield from zip(chunk.files, chunk.results, strict=True)  # type: ignore[arg-type]
                self._hand_out(files)
        finally:
            for worker in self._workers:
                self._close(worker)
                os.kill(worker.pid, signal.SIGKILL)
                os.waitpid(worker.pid, 0)

    def _fork(self) -> _Worker[F, T]:
        """Starts a worker. It ends when its pipe of tasks does, also where this process is killed."""
        task_end, tasks = os.pipe()
        results, result_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                for other in self._workers:
                    self._close(other)
                os.close(tasks)
                os.close(results)
                _serve(self._function, task_end, result_end)
                status = 0
            finally:
                if status:
                    sys.excepthook(*sys.exc_info())
                os._exit(status)
        os.close(task_end)
        os.close(result_end)
        os.set_blocking(tasks, False)
        return _Worker(pid, tasks, results)

    def _close(self, worker: _Worker[F, T]) -> None:
        os.close(worker.tasks)
        os.close(worker.results)

    def _hand_out(self, files: Iterator[F]) -> None:
        """Gives chunks to every worker that has less than it may hold."""
        for number in range(_AHEAD):
            for worker in self._workers:
                if len(worker.chunks) <= number and (chunk := self._next(files)):
                    worker.chunks.append(chunk)
                    self._queue(worker, chunk)

    def _next(self, files: Iterator[F]) -> _Chunk[F, T] | None:
        if self._todo:
            return self._todo.popleft()
        if len(self._order) >= _HELD_BACK or not (part := list(islice(files, self._size))):
            return None
        self._order.append(_Chunk(part))
        return self._order[-1]

    def _queue(self, worker: _Worker[F, T], chunk: _Chunk[F, T]) -> None:
        worker.unsent += _message(chunk.files)
        self._send(worker)

    def _send(self, worker: _Worker[F, T]) -> None:
        """Writes as much as the pipe takes. A dead worker's pipe takes nothing: its end is seen when reading."""
        try:
            del worker.unsent[: os.write(worker.tasks, worker.unsent)]
        except (BlockingIOError, BrokenPipeError) as error:
            if isinstance(error, BrokenPipeError):
                worker.unsent.clear()

    def _wait(self) -> None:
        """Waits until a worker has something to say, or can be told more."""
        by_results = {worker.results: worker for worker in self._workers}
        by_tasks = {worker.tasks: worker for worker in self._workers if worker.unsent}
        readable, writable, _ = select.select([*by_results], [*by_tasks], [])
        for end in writable:
            self._send(by_tasks[end])
        for end in readable:
            self._receive(by_results[end])

    def _receive(self, worker: _Worker[F, T]) -> None:
        data = os.read(worker.results, 1 << 20)
        if not data:
            self._bury(worker)
            return
        received = worker.received
        received += data
        while len(received) >= _LENGTH:
            end = _LENGTH + int.from_bytes(received[:_LENGTH], "little")
            if len(received) < end:
                break
            worker.chunks.popleft().results = pickle.loads(received[_LENGTH:end])
            del received[:end]

    def _bury(self, worker: _Worker[F, T]) -> None:
        """Takes a dead worker's chunks back, and puts another in its place.

        The files that it was at are done one by one: the one that kills its worker again is lost, with a reason.
        """
        _, status = os.waitpid(worker.pid, 0)
        self._close(worker)
        self._workers.remove(worker)
        how = _manner(os.waitstatus_to_exitcode(status))
        if how is None:
            raise KeyboardInterrupt
        if worker.chunks:
            self._todo.extendleft(reversed(list(worker.chunks)[1:]))
            self._retry(worker.chunks[0], how)
        self._workers.append(self._fork())

    def _retry(self, chunk: _Chunk[F, T], how: str) -> None:
        if chunk.deadly and len(chunk.files) == 1:
            chunk.results = [self._lost(chunk.files[0], f"the process that worked on it {how}, twice")]
            return
        self._warn(f"a worker process {how}: the files that it was at are done again")
        at = self._order.index(chunk)
        singles: list[_Chunk[F, T]] = [_Chunk([file], deadly=True) for file in chunk.files]
        del self._order[at]
        for single in reversed(singles):
            self._order.insert(at, single)
        self._todo.extendleft(reversed(singles))


def _manner(code: int) -> str | None:
    """How a process came to its end, as part of a sentence; None where Ctrl-C ended it."""
    if code == -signal.SIGINT:
        return None
    return f"was killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"ended with status {code}"


def _serve(function: Callable[[F], T], tasks: int, results: int) -> None:
    """A worker's life: reads chunks of files, writes their results, until nobody sends or listens any more."""
    with open(tasks, "rb") as source:
        while head := source.read(_LENGTH):
            files = pickle.loads(source.read(int.from_bytes(head, "little")))
            data = _message([function(file) for file in files])
            while data:
                data = data[os.write(results, data) :]


def _message(value: object) -> bytes:
    data = pickle.dumps(value, protocol=5)
    return len(data).to_bytes(_LENGTH, "little") + data

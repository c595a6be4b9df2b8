"""A few threads for what may hang, so that nobody waits for it longer than they want to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

MOST = 4  # fewer than the connections of a pool, so that captures never wait for each other's connection


class Workers:
    """Threads that are started when they are needed, and that never keep the process from ending.

    A call that nobody waits for any more is dropped if it has not begun; one that has begun goes on.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads = 0
        self._busy = 0  # calls that wait or run

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Has the call done. Raises RuntimeError where the interpreter is ending."""
        if self._pid != os.getpid():
            self._reset()  # a forked child has none of its parent's threads
        future: Future[T] = Future()
        with self._lock:
            self._busy += 1
            more = self._threads < min(self._busy, self._most)
            self._threads += more
        if more:
            self._start()
        self._calls.put((future, call))
        return future

    def _start(self) -> None:
        try:
            threading.Thread(target=self._work, name="unhush-capture", daemon=True).start()
        except RuntimeError:
            with self._lock:
                self._threads -= 1
                self._busy -= 1
            raise

    def _work(self) -> None:
        calls = self._calls
        while (work := calls.get()) is not None:
            future, call = work
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # noqa: BLE001 - the one who asked gets it
                    self._done()
                    future.set_exception(error)
                else:
                    self._done()
                    future.set_result(result)
            else:
                self._done()
            del work, future, call  # else they would live on until the next call

    def _done(self) -> None:
        with self._lock:
            self._busy -= 1

    def close(self) -> None:
        """Ends the threads after what they are doing; does not wait for them."""
        with self._lock:
            threads, self._threads = self._threads, 0
        for _ in range(threads):
            self._calls.put(None)

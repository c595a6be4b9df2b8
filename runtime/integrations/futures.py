"""Executors of concurrent.futures: calls that fail become letters, and letters are called again in the executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from ..dlq import DeadLetterQueue
from ..letters import DeadLetterError, Letter
from . import carrying

T = TypeVar("T")


def watch(
    executor: Executor, dlq: DeadLetterQueue, *, queue: str = "futures", functions: Iterable[Callable[..., Any]] = ()
) -> WatchedExecutor:
    """An executor that captures the calls that fail in `executor`, threads or processes.

    `functions` are those whose letters can be redriven at once; others can from their first call on. Nothing happens
    while the flag is off.
    """
    return WatchedExecutor(executor, dlq, queue, functions)


class WatchedExecutor(Executor):
    """Hands all calls on to another executor, and captures those that raise, or whose process is killed.

    A call that is cancelled before it runs did not fail. A failure is captured by a callback of its future, in the
    executor's own thread: `shutdown()` waits for it, `result()` may be sooner.
    """

    def __init__(
        self, executor: Executor, dlq: DeadLetterQueue, queue: str, functions: Iterable[Callable[..., Any]] = ()
    ) -> None:
        self._executor = executor
        self._dlq = carrying.blocking(dlq)
        self._queue = queue
        self._functions: dict[str, Callable[..., Any] | None] = {}  # None: several have the name
        for function in functions:
            self._know(function)

    def _know(self, function: Callable[..., Any]) -> str:
        """The name under which the function's letters are called again."""
        module = getattr(function, "__module__", None)
        name = f"{module}.{getattr(function, '__qualname__', type(function).__qualname__)}"
        if name not in self._functions:
            self._functions[name] = function
            self._dlq.register(self._queue, self._run_again, job_name=name)
        elif self._functions[name] != function:
            self._functions[name] = None
        return name

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As the executor's own. A call that the executor refuses, say since it is shut down, raises and is no letter."""
        while isinstance(fn, partial):
            args, kwargs, fn = (*fn.args, *args), fn.keywords | kwargs, fn.func
        name, job_id = self._know(fn), str(uuid4())
        future = self._executor.submit(fn, *args, **kwargs)
        future.add_done_callback(lambda done: self._ended(done, name, job_id, args, kwargs))
        return future

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """As the executor's own, one call a future: `chunksize` is not used, so that each call has its own letter."""
        return super().map(fn, *iterables, timeout=timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As the executor's own."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)

    def _ended(self, future: Future[Any], name: str, job_id: str, args: Any, kwargs: Any) -> None:
        if future.cancelled() or (error := future.exception()) is None or not isinstance(error, Exception):
            return
        try:
            carrying.keep(
                self._dlq,
                queue=self._queue,
                job_name=name,
                job_id=job_id,
                error=error,
                attempts=1,
                payload={"args": list(args), "kwargs": kwargs},
                headers={},
            )
        except Exception as trouble:  # noqa: BLE001 - logged; whoever waits for the future has the exception
            carrying.not_kept(self._dlq, self._queue, name, job_id, trouble)

    def _run_again(self, letter: Letter) -> None:
        """Calls the function in the executor, waits for its end, and says of which error the job failed again."""
        function = self._functions[letter.job_name]
        if function is None:
            raise DeadLetterError(
                f"several functions are called {letter.job_name}: only one of that name can be redriven"
            )
        future = self._executor.submit(function, *letter.payload["args"], **letter.payload["kwargs"])
        try:
            future.result()
        except Exception as error:
            self._dlq.put(queue=letter.queue, job_name=letter.job_name, job_id=letter.job_id, error=error)
            raise

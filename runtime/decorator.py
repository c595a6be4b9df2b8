"""Captures the failures of a function or a block: the decorator and context manager of both queues.

Nothing here imports more than the standard library before something fails.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

if TYPE_CHECKING:
    from .core import Core

P = ParamSpec("P")
T = TypeVar("T")

# Puts a failure where it is safe; `spool` says to leave the database alone.
Put = Callable[..., Any]


class DeadLetters:
    """What `dead_letter(...)` gives: decorates a function, or guards the block of a `with`.

    What the job raises goes on unchanged, whatever becomes of the capture. KeyboardInterrupt, SystemExit and
    CancelledError are no failures of a job, and are not captured.
    """

    def __init__(
        self,
        core: Core,
        put: Put,
        *,
        queue: str,
        job_name: str | None = None,
        job_id: Any = None,
        attempts: Any = 1,
        payload: Any = None,
        headers: Any = None,
    ) -> None:
        self._core = core
        self._put = put
        self._queue = queue
        self._job_name = job_name
        self._job_id = job_id
        self._attempts = attempts
        self._payload = payload
        self._headers = headers

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """The function, whose failures are captured; it also becomes the handler of its own letters."""
        if inspect.isasyncgenfunction(function):
            raise TypeError("an async generator function can't be guarded: guard what iterates over it")
        job = self._named(function)
        guarded = job._around_coroutine(function) if inspect.iscoroutinefunction(function) else job._around(function)
        if self._payload is None:
            self._core.register_job(job._queue, job._job_name or "", self._runnable(function))
        return guarded

    def _runnable(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as a redrive by this kind of queue can call it."""
        if not inspect.iscoroutinefunction(function):
            return function

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            return asyncio.run(function(*args, **kwargs))

        return run

    def _named(self, function: Callable[..., Any]) -> Self:
        """A copy for one function: the same `dead_letter(...)` may decorate several."""
        job = object.__new__(type(self))
        job.__dict__.update(self.__dict__)
        job._job_name = self._job_name or getattr(function, "__qualname__", None)
        job._check_name()
        return job

    def _around(self, function: Callable[P, T]) -> Callable[P, T]:
        if inspect.isgeneratorfunction(function):
            return self._around_generator(function)
        return self._around_function(function)

    def _around_function(self, function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                self._failed(error, args, kwargs)
                raise

        return guarded

    def _around_generator(self, function: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., Any]:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            try:
                return (yield from function(*args, **kwargs))
            except Exception as error:
                self._failed(error, args, kwargs)
                raise

        return guarded

    def _around_coroutine(self, function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except Exception as error:
                await _to_its_end(asyncio.to_thread(self._failed, error, args, kwargs))
                raise

        return guarded

    def __enter__(self) -> Self:
        self._check_name()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, Exception):
            self._failed(error)

    def _check_name(self) -> None:
        if self._job_name is None:
            raise TypeError("dead_letter() needs a job_name here: there is no function to take it from")

    def _failed(self, error: Exception, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> None:
        """Captures the failure if the flag says so. Never raises: the job's own exception is on its way."""
        try:
            self._capture(error, args, kwargs)
        except Exception as trouble:  # noqa: BLE001 - logged; the job's own exception must not be masked
            self._report(trouble)

    def _capture(self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
        wanted = self._asked(args, kwargs)
        return None if wanted is None else self._put(error=error, **wanted)

    def _report(self, trouble: BaseException) -> None:
        from .keeping import why

        self._core.log.warning(
            "dead_letter.decorator_failed", queue=self._queue, job_name=self._job_name, **why(trouble)
        )

    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> dict[str, Any] | None:
        """What is to be put, or None where the flag is off."""
        from .context import with_variant
        from .flags import State

        job_id = self._of_call("job_id", self._job_id, args, kwargs, None)
        state, variant = self._core.flag.word(None if job_id is None else str(job_id))
        if state is State.OFF:
            return None
        call = None if kwargs is None else {"args": list(args), "kwargs": kwargs}
        return {
            "queue": self._queue,
            "job_name": self._job_name,
            "job_id": job_id,
            "attempts": self._of_call("attempts", self._attempts, args, kwargs, 1),
            "payload": call if self._payload is None else self._of_call("payload", self._payload, args, kwargs, call),
            "headers": with_variant(self._of_call("headers", self._headers, args, kwargs, None), variant),
            "spool_first": state is State.UNREACHABLE_WAS_ON,
        }

    def _of_call(
        self, name: str, given: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None, otherwise: Any
    ) -> Any:
        """The value given, or what the function given says of this call."""
        if not callable(given):
            return given
        try:
            return given(*args, **(kwargs or {}))
        except Exception as error:  # noqa: BLE001 - logged; the failure is captured without it
            self._core.log.warning("dead_letter.record_incomplete", part=name, error_type=type(error).__qualname__)
            return otherwise


class AsyncDeadLetters(DeadLetters):
    """The same for the asyncio queue: decorates coroutine functions, or guards the block of an `async with`."""

    def _runnable(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def _around(self, function: Callable[P, T]) -> Callable[P, T]:
        raise TypeError(f"{self._job_name} is no coroutine function: use a DeadLetterQueue for it")

    def _around_coroutine(self, function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except Exception as error:
                await self._failed_async(error, args, kwargs)
                raise

        return guarded

    def __enter__(self) -> Self:
        raise TypeError("use `async with` for the asyncio queue")

    async def __aenter__(self) -> Self:
        self._check_name()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            await self._failed_async(error)

    async def _failed_async(
        self, error: Exception, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> None:
        try:
            captured = self._capture(error, args, kwargs)
            if captured is not None:
                await _to_its_end(captured)
        except Exception as trouble:  # noqa: BLE001 - logged; the job's own exception must not be masked
            self._report(trouble)


async def _to_its_end(capture: Any) -> None:
    """Waits for a capture. If the task is cancelled meanwhile, the job's own exception goes first.

    The capture goes on by itself, and the task is cancelled anew at its next await.
    """
    work = asyncio.ensure_future(capture)
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        if work.cancelled():
            raise
        work.add_done_callback(_retrieve)
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
            task.cancel()


def _retrieve(work: asyncio.Future[Any]) -> None:
    """Takes note of the end of a capture that nobody waits for: its trouble is logged where it happens."""
    if not work.cancelled():
        work.exception()

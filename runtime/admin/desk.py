"""The queue as the routes use it, blocking or asyncio: nothing here blocks the event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from ..async_dlq import AsyncDeadLetterQueue
from ..core import Core
from ..dlq import DeadLetterQueue
from ..letters import DeadLetterError
from ..telling import first_line

THREADS = 8  # bulk acts of a blocking queue that are worked on at once; more wait
SHUTDOWN_SECONDS = 10.0  # how long the letters that are being redriven may take when the server shuts down

_log = structlog.get_logger("unhush.runtime")


class Desk:
    """Calls the queue's methods, and works on bulk acts beside the requests."""

    def __init__(self, dlq: DeadLetterQueue | AsyncDeadLetterQueue) -> None:
        self.dlq = dlq
        self._turns = threading.BoundedSemaphore(THREADS)
        self._lock = threading.Lock()
        self._at_work: set[str] = set()
        self._asked_again: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio itself does not hold them

    @property
    def core(self) -> Core:
        """The queue's options and handlers."""
        return self.dlq._core

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a method of the queue."""
        bound = getattr(self.dlq, method)
        if inspect.iscoroutinefunction(bound):
            return await bound(*args, **kwargs)
        return await run_in_threadpool(bound, *args, **kwargs)

    async def read(self, act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Does an act on the database in a transaction that changes nothing."""
        return await self.call("_read", act, *args, **kwargs)

    async def write(self, act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Does an act on the database in one transaction."""
        return await self.call("_write", act, *args, **kwargs)

    def begin_work(self, operation_id: str) -> None:
        """Works on a bulk act beside the requests; another process's lease on it stops that."""
        with self._lock:
            if operation_id in self._at_work:
                self._asked_again.add(operation_id)
                return
            self._at_work.add(operation_id)
        if isinstance(self.dlq, AsyncDeadLetterQueue):
            task = asyncio.create_task(self._async_work(self.dlq, operation_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        work = threading.Thread(target=self._work, args=(self.dlq, operation_id), name="unhush-admin", daemon=True)
        try:
            work.start()
        except RuntimeError:  # no more threads: whoever resumes the act finds it free
            self._at_work.discard(operation_id)
            raise

    def _work(self, dlq: DeadLetterQueue, operation_id: str) -> None:
        again = True
        while again:
            try:
                with self._turns:
                    dlq.work(operation_id)
            except (DeadLetterError, SQLAlchemyError) as error:
                _told(operation_id, error)
            finally:
                again = self._once_more(operation_id)

    async def _async_work(self, dlq: AsyncDeadLetterQueue, operation_id: str) -> None:
        again = True
        while again:
            try:
                await dlq.work(operation_id)
            except (DeadLetterError, SQLAlchemyError) as error:
                _told(operation_id, error)
            finally:
                again = self._once_more(operation_id)

    def _once_more(self, operation_id: str) -> bool:
        """Whether somebody asked for the work again meanwhile, as who resumes an act that is just being left."""
        with self._lock:
            if operation_id in self._asked_again:
                self._asked_again.discard(operation_id)
                return True
            self._at_work.discard(operation_id)
            return False

    async def close(self) -> None:
        """Pauses the bulk acts that this process works on, and waits for the letters that are being redriven."""
        for operation_id in list(self._at_work):
            try:
                await self.call("pause", operation_id, actor="unhush", reason="its server shut down: resume it")
            except (DeadLetterError, SQLAlchemyError) as error:
                _told(operation_id, error)
        end = time.monotonic() + SHUTDOWN_SECONDS
        while self._at_work and time.monotonic() < end:
            await asyncio.sleep(0.05)


def _told(operation_id: str, error: Exception) -> None:
    _log.warning("dead_letter.operation_left", operation_id=operation_id, error=first_line(error))

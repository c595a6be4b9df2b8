"""How an act that takes several transactions is driven, blocking or with asyncio, from one description of it.

Such an act is a generator: it yields steps, is sent what each gave or has its error thrown in, and returns the act's
result. So its logic is written once, and its waiting can be tested without any.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from .acts import async_retried, retried
from .claims import Claim
from .context import redriving
from .engine import thread_bound
from .failure import Failure
from .letters import DeadLetterError, InDoubt

T = TypeVar("T")

_log = structlog.get_logger("unhush.runtime")


class JobFailed(Exception):
    """The redriven job failed within its handler, which did not let the error through."""

    def __init__(self, failure: Failure) -> None:
        super().__init__("the job failed")
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Write:
    """Do this in one transaction."""

    act: Callable[[Connection], Any]


@dataclass(frozen=True, slots=True)
class Read:
    """Do this in one transaction that changes nothing."""

    act: Callable[[Connection], Any]


@dataclass(frozen=True, slots=True)
class Run:
    """Call the claim's handler, and `renew` the claim every so many seconds meanwhile, until that says False."""

    claim: Claim
    renew: Callable[[Connection], bool]
    every: float


@dataclass(frozen=True, slots=True)
class RunInside:
    """Do `first`, call the claim's handler with a session, do `last`, and commit all of it or nothing."""

    claim: Claim
    first: Callable[[Connection], Any]
    last: Callable[[Connection], Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """Let this many seconds pass."""

    seconds: float


Step = Write | Read | Run | RunInside | Wait
Steps = Generator[Step, Any, T]


def drive(steps: Steps[T], queue: Any, *, sleep: Callable[[float], None] = time.sleep) -> T:
    """Takes the steps on a DeadLetterQueue and gives their result."""
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as end:
            return end.value
        answer, error = None, None
        try:
            answer = _take(step, queue, sleep)
        except BaseException as problem:  # noqa: BLE001 - thrown into the steps, which raise what they don't handle
            error = problem


async def async_drive(steps: Steps[T], queue: Any, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> T:
    """Takes the steps on an AsyncDeadLetterQueue and gives their result."""
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as end:
            return end.value
        answer, error = None, None
        try:
            answer = await _async_take(step, queue, sleep)
        except BaseException as problem:  # noqa: BLE001 - thrown into the steps, which raise what they don't handle
            error = problem


def _take(step: Step, queue: Any, sleep: Callable[[float], None]) -> Any:
    match step:
        case Write(act):
            return queue._write(act)
        case Read(act):
            return queue._read(act)
        case Run(claim, renew, every):
            with _renewed(queue, renew, every), _redriving(claim):
                return _no_coroutine(claim.handler.call(claim.letter))
        case RunInside():
            return retried(lambda: _run_inside(step, queue.engine))
        case Wait(seconds):
            return sleep(seconds)


async def _async_take(step: Step, queue: Any, sleep: Callable[[float], Awaitable[None]]) -> Any:
    match step:
        case Write(act):
            return await queue._write(act)
        case Read(act):
            return await queue._read(act)
        case Run(claim, renew, every):
            async with _async_renewed(queue, renew, every):
                with _redriving(claim):
                    return await _awaited(claim.handler.call(claim.letter))
        case RunInside():
            return await async_retried(lambda: _async_run_inside(step, queue.engine))
        case Wait(seconds):
            return await sleep(seconds)


def _run_inside(step: RunInside, engine: Engine) -> Any:
    with engine.begin() as connection:
        step.first(connection)
        # What the handler commits becomes durable with our own commit, not before.
        with Session(connection, join_transaction_mode="create_savepoint") as session, _redriving(step.claim):
            _no_coroutine(step.claim.handler.call(step.claim.letter, session))
            session.commit()
        return step.last(connection)


async def _async_run_inside(step: RunInside, engine: AsyncEngine) -> Any:
    async with engine.begin() as connection:
        await connection.run_sync(step.first)
        async with AsyncSession(connection, join_transaction_mode="create_savepoint") as session:
            with _redriving(step.claim):
                await _awaited(step.claim.handler.call(step.claim.letter, session))
            await session.commit()
        return await connection.run_sync(step.last)


@contextmanager
def _redriving(claim: Claim) -> Iterator[None]:
    """Raises JobFailed for a job whose failure was captured within its handler, whatever the handler made of it."""
    with redriving(claim.letter) as redrive:
        try:
            yield
        except Exception as error:
            if redrive.failure is None or isinstance(error, InDoubt):
                raise
            raise JobFailed(redrive.failure) from error
    if redrive.failure is not None:
        raise JobFailed(redrive.failure)


def _no_coroutine(result: Any) -> Any:
    """The result of a handler. Raises TypeError for one that did nothing yet but return a coroutine."""
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError("the handler is asynchronous: register it with an AsyncDeadLetterQueue")
    return result


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


@contextmanager
def _renewed(queue: Any, renew: Callable[[Connection], bool], every: float) -> Iterator[None]:
    """Renews a claim from a thread, so that a handler that works for long keeps it."""
    if thread_bound(queue.engine):  # a database in this process's memory: nobody else could take the letter
        yield
        return
    over = threading.Event()

    def keep() -> None:
        while not over.wait(every):
            try:
                if not queue._write(renew):
                    return
            except (SQLAlchemyError, DeadLetterError):
                _log.exception("dead_letter.renewal_failed")

    with ExitStack() as stack:
        thread = threading.Thread(target=keep, name="unhush-lease", daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(over.set)
        yield


@asynccontextmanager
async def _async_renewed(queue: Any, renew: Callable[[Connection], bool], every: float) -> Any:
    """The same from a task."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(every)
            try:
                if not await queue._write(renew):
                    return
            except (SQLAlchemyError, DeadLetterError):
                _log.exception("dead_letter.renewal_failed")

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])

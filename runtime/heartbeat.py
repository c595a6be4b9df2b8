"""Heartbeats as a service uses them: a running job proves that it lives and how far it is.

Modules that need SQLAlchemy are imported where they are used: a service whose flag is off never loads them.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
import math
import threading
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypedDict, TypeVar

from .beat import CURRENT, Beat
from .beat_errors import HeartbeatError
from .core import check_scheme
from .flags import Flag, State, Word, provider_is_set
from .letters import check_text
from .states import INTERVALS

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

    from .async_dlq import AsyncDeadLetterQueue
    from .beater import Beater
    from .dlq import DeadLetterQueue
    from .record import Record

P = ParamSpec("P")
T = TypeVar("T")

FLAG = "JOB_HEARTBEAT"
LEAST_EVERY = 0.05  # seconds
MOST_SECONDS = 100 * 365 * 24 * 3600.0  # databases know no date that is much later


class Limits(TypedDict, total=False):
    """What a job promises: seconds, None for no limit.

    deadline: after which it should have ended.
    stalled_after: after which it should have told other progress.
    """

    deadline: float | None
    stalled_after: float | None


def checked(limits: Limits) -> Limits:
    """The limits. Raises ValueError for one that is no number of seconds above 0, TypeError for an unknown one."""
    for name, limit in limits.items():
        if name not in Limits.__annotations__:
            raise TypeError(f"unknown limit {name!r}: there are {' and '.join(Limits.__annotations__)}")
        if limit is not None:
            seconds(name, limit, 0)  # type: ignore[arg-type]
    return limits


class Heartbeats:
    """Beats for the jobs of a process.

    `database` is a SQLAlchemy URL or Engine; default `$UNHUSH_DATABASE_URL`, else `sqlite:///unhush.db`. `every` is the
    seconds between two beats, `name` what the process is called in lists, `patience` how many seconds the beginning and
    the end of a job wait for the database. With `own_process` a second process beats while C code keeps this one's
    threads from running; it needs a URL. With `dlq`, a queue on the same database, jobs are kept with their payload while
    they run, redacted or encrypted as that does it, so that one that dies can be redriven. With `jobs_table`, a table of
    your own that `unhush db upgrade --jobs-table` has prepared, its rows show the beats too: those whose `key_column`
    equals the job's id, whatever its kind. The flag is asked once for each job.
    """

    def __init__(
        self,
        database: str | URL | Engine | None = None,
        *,
        every: float = 15.0,
        name: str | None = None,
        patience: float = 5.0,
        own_process: bool = False,
        dlq: DeadLetterQueue | AsyncDeadLetterQueue | None = None,
        jobs_table: str | None = None,
        key_column: str = "id",
        flag: Flag | None = None,
    ) -> None:
        if isinstance(database, str):
            check_scheme(database)
        check_text("name", name)
        check_text("jobs_table", jobs_table)
        check_text("key_column", key_column)
        self.every = seconds("every", every, LEAST_EVERY)
        self._database = database
        self._name = name
        self._patience = patience
        self._own_process = own_process
        self._dlq = dlq
        self._own = None if jobs_table is None else (jobs_table, key_column)
        if own_process and hasattr(database, "connect"):
            raise TypeError("own_process needs a URL: an Engine can't go to another process")
        self._flag = flag or Flag(FLAG)
        self._lock = threading.Lock()
        self._beater: Beater | None = None

    def job(
        self,
        job_id: object,
        *,
        kind: str,
        deadline: float | None = None,
        stalled_after: float | None = None,
        payload: Any = None,
    ) -> Job:
        """A `with` or `async with` block in which the job runs and beats; it gives the beat.

        `deadline` is the seconds after which the job should have ended, `stalled_after` those after which it should
        have told other progress. `payload` is what its dead letter holds, in the queue and under the job name `kind`;
        None for kind and id alone. Raises AlreadyRunning from the block's beginning while another run of the same kind
        and id is alive. What the block raises goes on unchanged. A payload needs the heartbeats' `dlq`: TypeError.
        """
        identity = str(job_id)
        check_text("job_id", identity)
        letter = None
        if payload is not None:
            if self._dlq is None:
                raise TypeError("a payload needs a dead letter queue: Heartbeats(..., dlq=dlq)")
            letter = functools.partial(_own_letter, self._dlq, kind, identity, payload)
        return self.framework_job(
            identity, kind=kind, limits={"deadline": deadline, "stalled_after": stalled_after}, letter=letter
        )

    def framework_job(
        self,
        job_id: str,
        *,
        kind: str,
        limits: Limits,
        letter: Callable[[], Record | None] | None = None,
        ended: Collection[str] = (),
    ) -> Job:
        """As `job`, for integrations: `letter` makes what is kept of it, where the flag is on for it.

        Where the job has one of the statuses `ended`, this is another delivery of it: the beginning raises AlreadyEnded.
        """
        check_text("job_id", job_id)
        check_text("kind", kind)
        return Job(self, kind, job_id, checked(limits), letter, ended)

    def watched(
        self,
        *,
        kind: str | None = None,
        job_id: Any = None,
        deadline: float | None = None,
        stalled_after: float | None = None,
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Decorates a function, sync or async, whose calls are jobs.

        `job_id` is a function of the call's arguments, or the id itself; `kind` is by default the function's qualified
        name. Inside, `current_beat()` is the call's beat. With the heartbeats' `dlq` the arguments are the job's payload,
        and a redrive of its letter calls the function again.
        """
        if job_id is None:
            raise TypeError("watched() needs a job_id: a function of the job's arguments")

        def decorate(function: Callable[P, T]) -> Callable[P, T]:
            if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
                raise TypeError("a generator function can't be watched: watch what iterates over it")

            named = kind or function.__qualname__

            def begun(args: Any, kwargs: Any) -> Job:
                identity = job_id(*args, **kwargs) if callable(job_id) else job_id
                payload = None if self._dlq is None else {"args": list(args), "kwargs": kwargs}
                return self.job(identity, kind=named, deadline=deadline, stalled_after=stalled_after, payload=payload)

            if inspect.iscoroutinefunction(function):

                @functools.wraps(function)
                async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                    async with begun(args, kwargs):
                        return await function(*args, **kwargs)

                self._take_letters(named, run_async)
                return run_async  # type: ignore[return-value]

            @functools.wraps(function)
            def run(*args: P.args, **kwargs: P.kwargs) -> T:
                with begun(args, kwargs):
                    return function(*args, **kwargs)

            self._take_letters(named, run)
            return run

        return decorate

    def _take_letters(self, kind: str, function: Callable[..., Any]) -> None:
        """Makes the function what a redrive of its letters calls."""
        if self._dlq is not None:
            runnable = self._dlq.dead_letter(queue=kind, job_name=kind)._runnable(function)
            self._dlq._core.register_job(kind, kind, runnable)

    @cached_property
    def engine(self) -> Engine:
        """The engine in use; made when the first job begins to beat."""
        from .engine import make_engine

        if hasattr(self._database, "connect"):
            return self._database  # type: ignore[return-value]
        return make_engine(self._database, idle_seconds=INTERVALS * self.every)  # before anybody is lost

    def close(self) -> None:
        """Writes what still waits, and that the process ends; jobs that still run beat no more."""
        with self._lock:
            beater, self._beater = self._beater, None
        if beater is not None:
            beater.stop(self._patience)
            if self.engine is not self._database:
                self.engine.dispose()
                del self.engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def export_metrics(self, **where: Any) -> None:
        """Shows in Prometheus and OpenTelemetry whether this process's beats fail to reach the database.

        `registry`, `meter_provider` and `exporters` are as for the dead letter queue's `Metrics`. Raises ValueError where
        the Prometheus registry has this metric already.
        """
        from .beat_metrics import export_failing

        export_failing(lambda: self._beater is not None and self._beater.failing, **where)

    def after_fork(self) -> None:
        """In a forked child: a process of its own, that neither beats nor ends its parent's jobs."""
        from .engine import abandon_connections

        self._lock = threading.Lock()
        if self._beater is not None:
            self._beater.let_go()
            self._beater = None
        abandon_connections(self.engine)

    def _beating(self) -> Beater:
        """The process's beater, which is started by the first job."""
        from .beater import Beater
        from .engine import survive_fork, thread_bound

        with self._lock:
            if self._beater is None or not self._beater.alive:
                if thread_bound(self.engine):
                    raise HeartbeatError(
                        "in-memory SQLite can't hold heartbeats: their thread has a database of its own"
                    )
                survive_fork(self)
                self._beater = Beater(self.engine, self._name, self.every, own_process=self._own_process, own=self._own)
                atexit.register(_close, weakref.ref(self))
            return self._beater


def _close(reference: weakref.ref[Heartbeats]) -> None:
    heartbeats = reference()
    if heartbeats is not None:
        heartbeats.close()


class Job:
    """What `Heartbeats.job(...)` gives: the block in which a job runs."""

    def __init__(
        self,
        heartbeats: Heartbeats,
        kind: str,
        job_id: str,
        limits: Limits,
        letter: Callable[[], Record | None] | None = None,
        ended: Collection[str] = (),
    ) -> None:
        self._heartbeats = heartbeats
        self._what = (kind, job_id, limits.get("deadline"), limits.get("stalled_after"))
        self._letter = letter
        self._ended = ended
        self._beat: Beat | None = None
        self._outer: Beat | None = None

    def __enter__(self) -> Beat:
        beat = Beat(*self._what, threading.current_thread(), ended=self._ended)
        word = self._heartbeats._flag.word(beat.job_id)
        if word.state is State.ON:
            beat.variant = word.variant
            beat.letter = self._letter and self._letter()
            beat.begin(self._heartbeats._beating())
            with _withdrawn(beat):
                beat.wait_for_claim(self._heartbeats._patience)
        return self._entered(beat)

    async def __aenter__(self) -> Beat:
        beat = Beat(*self._what, asyncio.current_task(), asyncio.get_running_loop(), ended=self._ended)
        word = await _asked(self._heartbeats._flag, beat.job_id)
        if word.state is State.ON:
            beat.variant = word.variant
            beat.letter = self._letter and self._letter()
            beat.begin(self._heartbeats._beating())
            with _withdrawn(beat):
                await beat.claim_awaited(self._heartbeats._patience)
        return self._entered(beat)

    def _entered(self, beat: Beat) -> Beat:
        self._beat = beat
        self._outer = CURRENT.get()
        CURRENT.set(beat)
        return beat

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._left(error).wait_for_end(self._heartbeats._patience)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._left(error).end_awaited(self._heartbeats._patience)

    def _left(self, error: BaseException | None) -> Beat:
        """Has the job's end written; what waits for that is the beat that it gives."""
        assert self._beat is not None, "the block was not entered"
        CURRENT.set(self._outer)  # not by a token: that must not be used in another context
        self._beat.end(error)
        return self._beat


async def _asked(flag: Flag, job_id: str) -> Word:
    """The flag's word. A provider may take two seconds to answer, so it is asked in a thread where there is one."""
    if provider_is_set():
        return await asyncio.to_thread(flag.word, job_id)
    return flag.word(job_id)


@contextmanager
def _withdrawn(beat: Beat) -> Iterator[None]:
    """Ends what was begun, where the wait for the claim is interrupted or refused: the job does not run then."""
    try:
        yield
    except BaseException as error:
        beat.end(error)
        raise


def seconds(name: str, value: float, least: float = 0) -> float:
    """The value, where it is a length of time that databases know. Raises ValueError."""
    if value > MOST_SECONDS:
        raise ValueError(f"{name} must be less than a hundred years")
    if not math.isfinite(value) or value < least or value == 0:
        raise ValueError(f"{name} must be a number of seconds{f' of {least} or more' if least else ' above 0'}")
    return float(value)


def _own_letter(dlq: DeadLetterQueue | AsyncDeadLetterQueue, kind: str, job_id: str, payload: Any) -> Record:
    """What is kept of a job that no framework runs; of one that a redrive runs here, with the way to its letter."""
    from . import beat_letters, context

    redrive = context.current()
    failure = {"queue": kind, "job_name": kind, "job_id": job_id, "payload": payload, "attempts": beat_letters.BY_FENCE}
    return beat_letters.build(
        dlq._core, failure | {"headers": context.redrive_headers(redrive.letter) if redrive is not None else None}
    )

"""A running job's beat: what the job tells, and the beater's side of it."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Collection
from concurrent import futures
from concurrent.futures import Future
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .beat_errors import HeartbeatError, LeaseLost
from .letters import UNSTORABLE

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from .beater import Beater
    from .beats import Claim, Pulse, Terms
    from .record import Record

LOCKED_SECONDS = 0.5  # how long the end of a job waits whose row its own transaction may still hold


def promise() -> Future[None]:
    """What another thread will say. Who stops waiting for it doesn't cancel it."""
    said: Future[None] = Future()
    said.set_running_or_notify_cancel()
    return said


async def _said(promised: Future[None], seconds: float) -> None:
    """Waits for it with asyncio, so many seconds at most. No thread waits: jobs may be many, and a loop's threads are few."""
    waiter = asyncio.wrap_future(promised)
    try:
        await asyncio.wait([waiter], timeout=seconds)
    finally:
        waiter.cancel()  # the loop may be closed when it is said


CURRENT: ContextVar[Beat | None] = ContextVar("unhush_beat", default=None)


def current_beat() -> Beat:
    """The beat of the job that runs here. Raises HeartbeatError outside of one."""
    beat = CURRENT.get()
    if beat is None:
        raise HeartbeatError("no job runs here: call it within `with beats.job(...)` or a watched function")
    return beat


class Beat:
    """A running job's beat. Where the flag is off for the job, all that it does is nothing.

    Called, it tells how far the job is. It may be used by any thread.
    """

    def __init__(
        self,
        kind: str,
        job_id: str,
        deadline: float | None,
        stalled_after: float | None,
        runner: Any,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        ended: Collection[str] = (),
    ) -> None:
        self.kind = kind
        self.job_id = job_id
        self.loop = loop
        self.claim: Claim | None = None
        self.outcome = ""
        """How the job ended, once its block was left."""
        self.finishing = False
        """Whether the caller's transaction says how the job ended."""
        self.letter: Record | None = None
        """The dead letter that it would be, where one is kept."""
        self.variant: str | None = None
        """Which setting of the flag let it beat."""
        self._limits = (deadline, stalled_after)
        self._ended = ended
        self._runner = runner
        self._beater: Beater | None = None
        self._begun: Future[None]
        self._deciding: threading.Lock
        self._written: Future[None] | None = None
        self._refusal: HeartbeatError | None = None
        self._lost = False
        self._guarded = False
        self._progress: float | None = None
        self._told: float | None = None
        self._note: str | None = None
        self._noted: str | None = None
        self._silent: Pulse | None = None
        self._until: float | None = None
        """When it should have ended, by this host's clock that nobody can set."""

    def __call__(self, progress: float | None = None, note: str | None = None) -> None:
        """Tells how far the job is; the next beat carries it to the database.

        `progress` is any number; only when it changes does the job count as moving. A note is shown, cut at 255
        characters, and proves nothing. Raises ValueError for a progress that is no finite number.
        """
        if progress is not None:
            if not math.isfinite(progress):
                raise ValueError(f"progress must be a finite number, not {progress!r}")
            self._progress = float(progress)
        if note is not None:
            self._note = UNSTORABLE.sub("\ufffd", note)[:255]

    @property
    def lost(self) -> bool:
        """Whether the job was given away: stop, what is written under `guard` is refused."""
        return self._lost

    def guard(self, session: Session | Connection) -> None:
        """Keeps the job from being given away until the session's transaction ends.

        With an AsyncSession: `await session.run_sync(beat.guard)`. Raises LeaseLost where it was given away already, or
        was never claimed because the database did not answer when it began.
        """
        if self._beater is not None:
            from . import beats

            self._guarded = True
            beats.guard(session, self._held())

    def finish(self, session: Session | Connection) -> None:
        """Marks the job as finished in the session's transaction: both stand, or neither. Raises as `guard` does."""
        if self._beater is not None:
            from . import beats

            self._guarded = True
            beats.finish(session, self._held())
            self.finishing = True

    def _held(self) -> Claim:
        if self._lost or self.claim is None:
            why = "was given away" if self._lost else "was not claimed yet: the database did not answer when it began"
            raise LeaseLost(f"job {self.job_id!r} of kind {self.kind!r} {why}")
        return self.claim

    # What follows is the beater's side.

    def begin(self, beater: Beater) -> None:
        """Has the job claimed."""
        self._begun, self._deciding = promise(), threading.Lock()
        self._beater = beater
        beater.begin(self)

    def wait_for_claim(self, patience: float) -> None:
        """Waits until the job is claimed, or the database seems to be away. Raises AlreadyRunning."""
        futures.wait([self._begun], self._unless_in_trouble(patience))
        self._raise_refusal()

    async def claim_awaited(self, patience: float) -> None:
        """As `wait_for_claim`, with asyncio."""
        await _said(self._begun, self._unless_in_trouble(patience))
        self._raise_refusal()

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _unless_in_trouble(self, seconds: float) -> float:
        assert self._beater is not None
        return 0 if self._beater.in_trouble else seconds

    def end(self, error: BaseException | None) -> None:
        """Has written how the job ended."""
        if self._beater is None or self._beater.process.pid != os.getpid():
            return
        from .beat_tables import FAILED, FINISHED

        self.outcome = FINISHED if error is None else FAILED
        self._written = self._beater.end(self, None if self.finishing and error is None else self.outcome)

    def wait_for_end(self, patience: float) -> None:
        """Waits until it is written how the job ended; the database may be away, so not for long."""
        if self._written is not None:
            futures.wait([self._written], self._until_written(patience))

    async def end_awaited(self, patience: float) -> None:
        """As `wait_for_end`, with asyncio."""
        if self._written is not None and not self._written.done():
            await _said(self._written, self._until_written(patience))

    def _until_written(self, patience: float) -> float:
        return self._unless_in_trouble(LOCKED_SECONDS if self._guarded else patience)

    @property
    def terms(self) -> Terms:
        """What the job promises."""
        from .beats import Terms

        return Terms(
            kind=self.kind,
            job_id=self.job_id,
            deadline=self._limits[0],
            stalled_after=self._limits[1],
            letter=self.letter,
            ended=self._ended,
            variant=self.variant,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What log lines say of the job."""
        return {"kind": self.kind, "job_id": self.job_id}

    def take(self, claim: Claim) -> None:
        """The job is this run's."""
        self.claim = claim
        if self._limits[0] is not None:
            self._until = time.monotonic() + self._limits[0]
        self.go_on()

    def refuse(self, refusal: HeartbeatError) -> None:
        """Another run of the job is alive; where this one has begun already, it has lost the job."""
        self._refusal = refusal
        self._lost = True
        self.go_on()

    def go_on(self) -> None:
        """The job need not wait for its claim any more: where it has none, it is claimed when the database answers."""
        with self._deciding:
            if not self._begun.done():
                self._begun.set_result(None)

    def lose(self) -> None:
        """The job was given away."""
        self._lost = True

    def abandoned(self) -> bool:
        """Whether the thread or task that began the job has gone."""
        return self._runner.done() if isinstance(self._runner, asyncio.Future) else not self._runner.is_alive()

    def pulse(self) -> Pulse:
        """The next beat; one that tells nothing is made once, as it is what most jobs have for most of the time."""
        progress, note, guarded = self._progress, self._note, self._guarded
        moved, noted = progress != self._told, note != self._noted
        if self._silent is not None and not (moved or noted or guarded or self._until):
            return self._silent
        from .beats import Pulse

        assert self.claim is not None
        pulse = Pulse(
            claim=self.claim,
            progress=progress if moved else None,
            note=note if noted else None,
            moved=moved,
            guarded=guarded,
            left=self._until and self._until - time.monotonic(),
        )
        if not (moved or noted or guarded or self._until):
            self._silent = pulse
        return pulse

    def sent(self, pulse: Pulse) -> None:
        """The beat is in the database."""
        if pulse.moved:
            self._told = pulse.progress
        if pulse.note is not None:
            self._noted = pulse.note

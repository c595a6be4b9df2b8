"""The one thread of a process that writes the beats of all its jobs, and everything else that heartbeats write."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from sqlalchemy import Connection, Engine
from uuid_utils import uuid7

from unhush.sql.errors import SchemaProblem
from unhush.sql.runner import require_schema

from . import acts, beats
from .beat import Beat, promise
from .beat_batches import BATCH, Writer, in_parts, may_be_one
from .beat_claims import Outcomes
from .beat_ends import Ends
from .beats import Claim, Clock, Process, Terms
from .columns import database_now
from .loop_lags import LoopLags
from .own_rows import OwnRows
from .standin import StandIn
from .telling import first_line, log

SCHEMA = 2  # the migration that makes the tables
FIRST_PAUSE = 0.2  # seconds after a first failure; doubled with each, up to the interval between beats
LOCKED_PAUSE = 0.2  # seconds after which an end is tried again whose row is locked by the job's own transaction


@dataclass(eq=False, slots=True)
class _End:
    """How a run ended, until that is written; `not_before` is when its row may be free that was locked."""

    beat: Beat
    claim: Claim
    status: str
    done: Future[None]
    not_before: float = 0.0


class Beater:
    """Beats for a process. Its thread alone talks to the database, so that one that hangs holds no job.

    `name` is what the process is called, `every` the seconds between two beats; with `own_process` another process beats
    where this one's thread gets no turn. `own` is a table of the user's own, and its key, that shows the beats too.
    """

    def __init__(
        self,
        engine: Engine,
        name: str | None,
        every: float,
        *,
        own_process: bool = False,
        own: tuple[str, str] | None = None,
        clock: Clock = database_now,
    ) -> None:
        self.process = Process(id=str(uuid7()), name=name, host=socket.gethostname(), pid=os.getpid(), every=every)
        self._engine = engine
        self._clock = clock
        self._writer = Writer(engine, self.process, _Known(self), clock)
        self._awake = threading.Condition()
        self._jobs: dict[Beat, None] = {}  # in order: beats of neighbouring rows go together
        self._claims: dict[Beat, None] = {}  # those that wait for one, in order
        self._ends: dict[_End, None] = {}
        self._lags = LoopLags()
        self._own_process = own_process
        self._stand_in: StandIn | None = None
        self._own = own
        self._own_rows = None if own is None else OwnRows(engine, *own)
        self._said: set[Claim] = set()
        self._stopping = False
        self._ready = False
        self._failures = 0
        self._next_beat = time.monotonic()
        self._not_before = 0.0
        self._thread = threading.Thread(target=self._run, name="unhush-beats", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def in_trouble(self) -> bool:
        """Whether the database did not answer the last time."""
        return self._failures > 0

    @property
    def failing(self) -> bool:
        """Whether beats do not reach the database: it did not answer, it hangs, or the thread has gone."""
        if self._stopping:
            return False
        return self.in_trouble or not self.alive or time.monotonic() > self._next_beat + 2 * self.process.every

    def begin(self, beat: Beat) -> None:
        """Has the job claimed, and beats for it from then on; `beat.claimed` tells when."""
        with self._awake:
            self._jobs[beat] = None
            self._claims[beat] = None
            if beat.loop is not None:
                self._lags.watch(beat.loop)
            self._awake.notify()

    def end(self, beat: Beat, status: str | None) -> Future[None]:
        """Stops beating for the job and has it written how it ended; None where the caller's transaction says that."""
        done = promise()
        with self._awake:
            self._jobs.pop(beat, None)
            if beat in self._claims:
                del self._claims[beat]
                beat.go_on()
            if beat.claim is None or status is None:
                done.set_result(None)
            else:
                self._ends[_End(beat, beat.claim, status, done)] = None
                self._awake.notify()
        return done

    def stop(self, timeout: float) -> None:
        """Writes what still waits and that the process ends, for so many seconds at most."""
        with self._awake:
            self._stopping = True
            self._awake.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while self._wait():
            try:
                self._round()
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever the database does
                self._failed(error)
            else:
                self._succeeded()
        if self._stand_in is not None:
            self._stand_in.stop()
        if self._ready:
            if self._own_rows is not None and not self._failures:
                self._own_rows.show(self._held(), beaten=True)
            self._say_goodbye()

    def _wait(self) -> bool:
        """Waits until there is something to do. False when all is done that can be done before the process ends."""
        with self._awake:
            while True:
                now = time.monotonic()
                if self._stopping and (self._failures or not (self._claims or self._ends)):
                    return False
                soonest = self._soonest()
                if now >= soonest:
                    return True
                self._awake.wait(soonest - now)

    def _soonest(self) -> float:
        """When the next thing is to be done."""
        ends = min((end.not_before for end in self._ends), default=self._next_beat)
        return max(self._not_before, min(self._next_beat, ends, 0.0 if self._claims else ends))

    def _round(self) -> None:
        if not self._ready:
            acts.read(self._engine, _check_schema)
            self._writer.write(beats.beat_process, self.process, None, self._clock)
            self._ready = True
            if self._own_process:
                url = self._engine.url.render_as_string(hide_password=False)
                self._stand_in = StandIn(url, self.process, self._own)
        beaten = time.monotonic() >= self._next_beat
        if beaten:  # those that run already come first
            self._beat()
            self._next_beat = time.monotonic() + self.process.every
        self._settle()
        self._tell(beaten)

    def _tell(self, beaten: bool) -> None:
        """Tells of a beat, and of jobs that began or ended, the stand-in and the user's own table."""
        if self._stand_in is None and self._own_rows is None:
            return
        claims = self._held()
        stand_in = self._stand_in
        if stand_in is not None and (beaten or claims != self._said):
            stand_in.tell(claims)
            self._said = claims
        if self._own_rows is not None:
            self._own_rows.show(claims, beaten)

    def _held(self) -> set[Claim]:
        with self._awake:
            return {beat.claim for beat in self._jobs if beat.claim is not None}

    def let_go(self) -> None:
        """In a forked child: leaves the parent's stand-in to the parent."""
        if self._stand_in is not None:
            self._stand_in.let_go()

    def _settle(self) -> None:
        """Writes ends and makes claims, of as many as wait; those that come meanwhile are the next round's."""
        now = time.monotonic()
        with self._awake:  # both at once: what began again after its end has that among these, or written before
            ready = [end for end in self._ends if end.not_before <= now]
            beats = list(self._claims) if len(ready) <= BATCH else []
        first: dict[tuple[str, str], Beat] = {}
        for beat in beats:
            first.setdefault((beat.kind, beat.job_id), beat)  # another one of the same job is the next round's
        ends, claims = ready[:BATCH], list(first.values())[:BATCH]
        if not (ends and claims and self._settled_together(ends, claims)):
            in_parts(self._write_ends, ends)
            in_parts(self._make_claims, claims, self._refused)

    def _settled_together(self, ends: Sequence[_End], claims: Sequence[Beat]) -> bool:
        """Writes both in one transaction, as what costs most is its end; False where that is refused for one of them."""
        try:
            found, outcomes = self._writer.end_and_claim(_said(ends), _asked(claims))
        except Exception as error:
            if not may_be_one(error):
                raise
            return False
        self._ended(ends, found)
        self._begun(claims, outcomes)
        return True

    def _make_claims(self, waiting: Sequence[Beat]) -> None:
        self._begun(waiting, self._writer.claim(_asked(waiting)))

    def _write_ends(self, waiting: Sequence[_End]) -> None:
        self._ended(waiting, self._writer.end(_said(waiting)))

    def _begun(self, waiting: Sequence[Beat], outcomes: Outcomes) -> None:
        for beat in waiting:
            outcome = outcomes[beat.kind, beat.job_id]
            if isinstance(outcome, Claim):
                self._take(beat, outcome)
            else:
                self._forget(beat)
                beat.refuse(outcome)

    def _refused(self, beat: Beat, error: Exception) -> None:
        """The database does not take what is to be written of this one job."""
        if beat.letter is not None:  # it may be this that is too large
            beat.letter = None
            log("error", "heartbeat.letter_refused", **_trouble(error), **beat.facts)
            return
        self._forget(beat)
        beat.go_on()
        log("error", "heartbeat.claim_failed", **_trouble(error), **beat.facts)

    def known(self) -> set[Claim]:
        """The claims that this process knows itself to hold."""
        with self._awake:
            return {other.claim for other in self._jobs if other.claim} | {end.claim for end in self._ends}

    def _take(self, beat: Beat, claim: Claim) -> None:
        """Gives the job its claim, or ends the run where the block was left meanwhile."""
        with self._awake:
            if beat in self._claims:
                del self._claims[beat]
                beat.take(claim)
            else:
                self._ends[_End(beat, claim, beat.outcome, Future())] = None

    def _ended(self, waiting: Sequence[_End], found: Ends) -> None:
        for end in waiting:
            if end.claim not in found.written | found.lost:
                end.not_before = time.monotonic() + LOCKED_PAUSE
                continue
            with self._awake:
                del self._ends[end]
            if end.claim in found.lost:
                end.beat.lose()
                log("warning", "heartbeat.came_back", outcome=end.status, fence=end.claim.fence, **end.beat.facts)
            end.done.set_result(None)

    def _beat(self) -> None:
        self._writer.write(beats.beat_process, self.process, self._lags.worst_ms(), self._clock)
        with self._awake:
            running = [beat for beat in self._jobs if beat.claim is not None]
        for beat in [beat for beat in running if beat.abandoned()]:
            assert beat.claim is not None
            self._writer.write(beats.mark_orphaned, beat.claim, self._clock)
            self._forget(beat)
            log("warning", "heartbeat.orphaned", **beat.facts)
        for start in range(0, len(running), beats.BATCH):
            pulses = {beat: beat.pulse() for beat in running[start : start + beats.BATCH] if beat in self._jobs}
            lost = self._writer.write(beats.beat_jobs, list(pulses.values()), self._clock)
            for beat, pulse in pulses.items():
                if lost and pulse.claim in lost:
                    self._forget(beat)
                    if not beat.finishing:
                        beat.lose()
                else:
                    beat.sent(pulse)

    def _forget(self, beat: Beat) -> None:
        with self._awake:
            self._jobs.pop(beat, None)
            self._claims.pop(beat, None)

    def _failed(self, error: Exception) -> None:
        if not self._failures:
            log("warning", "heartbeat.database_lost", **_trouble(error), jobs=len(self._jobs))
        self._failures += 1
        pause = min(FIRST_PAUSE * 2 ** (self._failures - 1), self.process.every)
        self._not_before = time.monotonic() + pause
        with self._awake:
            waiting = list(self._claims)
        for beat in waiting:
            beat.go_on()

    def _succeeded(self) -> None:
        if self._failures:
            self._failures = 0
            log("info", "heartbeat.database_back", jobs=len(self._jobs))

    def _say_goodbye(self) -> None:
        try:
            self._writer.write(beats.stop_process, self.process.id, self._clock)
        except Exception as error:  # noqa: BLE001 - the process ends anyway; its silence says so too
            log("warning", "heartbeat.goodbye_failed", **_trouble(error))


def _check_schema(connection: Connection) -> None:
    require_schema(connection, SCHEMA)


def _trouble(error: Exception) -> dict[str, str]:
    line = str(error) if isinstance(error, SchemaProblem) else first_line(error)
    return {"error_type": type(error).__qualname__, "error": line}


def _said(ends: Sequence[_End]) -> list[tuple[Claim, str]]:
    return [(end.claim, end.status) for end in ends]


def _asked(beats: Sequence[Beat]) -> list[Terms]:
    return [beat.terms for beat in beats]


class _Known:
    """The claims that a process holds: looked through when somebody asks, which is seldom, and not for each new job."""

    def __init__(self, beater: Beater) -> None:
        self._beater = beater

    def __contains__(self, claim: object) -> bool:
        return claim in self._beater.known()

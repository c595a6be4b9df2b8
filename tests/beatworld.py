"""A world with a clock of its own: processes that beat, die, pause or lose the database, on a real one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, select
from uuid_utils import uuid7

from unhush.runtime import Watchdog, acts, beats
from unhush.runtime.beat_errors import LeaseLost
from unhush.runtime.beat_tables import FINISHED, jobs
from unhush.runtime.beats import Claim, Process, Pulse, Terms

EVERY = 15.0


class World:
    """The clock, and what happens in it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.processes: list[Worker] = []

    def clock(self) -> datetime:
        """The time."""
        return self.now

    def worker(self, *job_ids: object, kind: str = "mail", every: float = EVERY, **terms: Any) -> Worker:
        """A new process that runs these jobs."""
        worker = Worker(self, every)
        self.processes.append(worker)
        for job_id in job_ids:
            worker.begin(job_id, kind=kind, **terms)
        return worker

    def watchdog(self, **options: Any) -> Watchdog:
        """A watchdog of this world; it is to run every 15 seconds."""
        return Watchdog(self.engine, clock=self.clock, **{"stuck_after": 60, "every": EVERY, **options})

    def pass_time(self, seconds: float, *watchdogs: Watchdog, step: float = EVERY) -> list[Any]:
        """Lets time go by: who lives beats, and the watchdogs run, every 15 seconds; their verdicts, in order."""
        verdicts = []
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            self.now = min(end, self.now + timedelta(seconds=step))
            self.beat_all()
            for watchdog in watchdogs:
                verdicts += watchdog.run_once()
        return verdicts

    def beat_all(self) -> None:
        """Has all beat that live."""
        for worker in self.processes:
            if worker.beating:
                worker.beat()

    def act(self, act: Any, *args: Any) -> Any:
        """Does an act in a transaction of its own."""
        return acts.write(self.engine, act, *args)

    def row(self, job_id: object) -> Any:
        """A job's row."""
        with self.engine.connect() as connection:
            return connection.execute(select(jobs).where(jobs.c.job_id == str(job_id))).one()


class Worker:
    """A process with its jobs. What is set on it says how it is."""

    def __init__(self, world: World, every: float) -> None:
        self.world = world
        self.process = Process(id=str(uuid7()), name=None, host="host", pid=7, every=every)
        self.beating = True
        self.moving = True
        self.progress = 0.0
        self.claims: dict[str, Claim] = {}
        self.lost: set[str] = set()
        world.act(beats.beat_process, self.process, None, world.clock)

    def begin(self, job_id: object, *, kind: str = "mail", **terms: Any) -> Claim:
        """Begins a job. Raises AlreadyRunning."""
        found = self.world.act(
            beats.claim,
            Terms(kind=kind, job_id=str(job_id), **terms),
            self.process,
            set(self.claims.values()),
            self.world.clock,
        )
        self.claims[str(job_id)] = found
        return found

    def beat(self) -> None:
        """Beats as a beater does."""
        self.progress += self.moving
        self.world.act(beats.beat_process, self.process, None, self.world.clock)
        pulses = [
            Pulse(claim=claim, progress=self.progress, moved=self.moving, left=self.left(job_id))
            for job_id, claim in self.claims.items()
        ]
        for start in range(0, len(pulses), beats.BATCH):
            gone = self.world.act(beats.beat_jobs, pulses[start : start + beats.BATCH], self.world.clock)
            self.drop(job_id for job_id, claim in list(self.claims.items()) if claim in gone)

    def left(self, job_id: str) -> float | None:
        """Seconds until a job's deadline by the process's own clock, where that isn't the database's."""
        return None

    def drop(self, job_ids: Iterable[str]) -> None:
        """Learns that these jobs were given away."""
        for job_id in job_ids:
            self.lost.add(job_id)
            del self.claims[job_id]

    def finish(self, job_id: object) -> bool:
        """Ends a job by a fenced transaction; False where it was given away."""
        try:
            self.world.act(beats.finish, self.claims.pop(str(job_id)), self.world.clock)
        except LeaseLost:
            self.lost.add(str(job_id))
            return False
        return True

    def end(self, job_id: object) -> None:
        """Ends a job as the beater does when its block is left."""
        self.world.act(beats.end, self.claims.pop(str(job_id)), FINISHED, self.world.clock)

    def die(self) -> None:
        """Beats no more."""
        self.beating = False

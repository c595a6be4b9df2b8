"""Thousands of jobs in a world with a clock of its own, in which processes die, pause, block and lose their database.

`python tests/runtime/heartbeat/simulation.py --jobs 10000 --seed 1` runs it alone on SQLite, or on `--url`; the tests run
a short form. What is true of each job is in `simtruth.py`; the watchdog sees only the database.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))
import structlog
from beatworld import EVERY, Worker, World
from simtruth import STEP, STUCK_AFTER, Report, Run, Truth, summary
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, event, select
from sqlalchemy.exc import OperationalError

from unhush.runtime import DeadLetterQueue, Verdict, Watchdog, beats
from unhush.runtime.beat_errors import AlreadyRunning, LeaseLost
from unhush.runtime.beat_tables import FAILED, watchdogs

PHASES = int(EVERY / STEP)
# What happens to single processes, and how often one is hit in an interval. Short is shorter than the threshold, long is
# longer: who is away for long is dead by definition, and comes back to find out.
DAMAGE = (
    "killed",
    "paused shortly",
    "paused for long",
    "cut off shortly",
    "cut off for long",
    "paused in a transaction",
    "loop blocked",
    "interpreter's lock held",
    "interpreter's lock held, with a stand-in",
)
HIT = 0.003
# What happens to all, and its chance in an interval.
CALAMITY = {
    "fleet paused": 0.006,
    "half of the fleet cut off": 0.006,
    "database stopped": 0.012,
    "clock jumped": 0.012,
    "watchdog killed": 0.02,
    "watchdog cut off": 0.01,
    "watchdog paused": 0.01,
}
JUMPS = (-3, -1, 1, 5)  # hours
# What must have come of it.
SHOWN = (
    "rescued lost",
    "rescued stuck",
    "rescued stalled",
    "recovered before the act",
    "jobs that learnt that they are lost",
    "late results refused",
    "late ends that changed nothing",
    "second runs refused",
    "runs that failed",
    "clock jumped back",
    "clock jumped forward",
)
results = Table("sim_result", MetaData(), Column("job_id", String(64), primary_key=True), Column("fence", Integer))


@dataclass(eq=False)
class Dog:
    """A watchdog, when it runs next, and until when it can't, in true seconds."""

    watchdog: Watchdog
    next: float
    back_at: float = 0.0
    cut_off: bool = False
    """Whether it runs until then, and does not reach its database."""


class Simulation:
    """Processes with jobs, and two watchdogs."""

    def __init__(
        self, engine: Engine, number: int, seed: int, *, per_process: int = 50, rate: float = 1.0, brake: bool = True
    ) -> None:
        self.random = random.Random(seed)
        self.rate = rate
        self.per_process = per_process
        self.brake = brake
        self.world = World(engine)
        self.report = Report(jobs=number)
        self.truth = Truth(self.report)
        self.spool = tempfile.TemporaryDirectory()
        self.dlq = DeadLetterQueue(engine, spool=self.spool.name)
        self.reachable = True
        event.listen(engine, "begin", self._begins)
        results.create(engine)
        self.phase: dict[Worker, int] = {}
        self.away: dict[Worker, float] = {}
        self.holding: dict[Worker, tuple[Connection, Run, int]] = {}
        self.waiting: list[str] = []
        self.database_back = 0.0
        self.none_at = 0.0
        """When no watchdog could look, the last time."""
        self.dogs = [self.make_dog() for _ in range(2)]
        for start in range(0, number, per_process):
            self.start_worker([str(job) for job in range(start, min(start + per_process, number))])

    def _begins(self, _connection: Connection) -> None:
        if not self.reachable:
            raise OperationalError("BEGIN", None, ConnectionError("it is stopped"))

    @property
    def time(self) -> float:
        """True seconds since the beginning."""
        return self.truth.time

    def make_dog(self) -> Dog:
        """A watchdog with a phase of its own."""
        watchdog = self.world.watchdog(
            actions={"mail": "requeue", "report": self.hook, "bill": "dead_letter"},
            stuck_after=STUCK_AFTER,
            max_rescues=1_000_000,
            dlq=self.dlq,
            **({} if self.brake else {"brake_share": 1.0}),
        )
        return Dog(watchdog, next=self.time + STEP * self.random.randint(1, PHASES))

    def hook(self, verdict: Verdict) -> None:
        """Takes a job back; fails now and then."""
        if self.random.random() < 0.1:
            raise ConnectionError("no broker")

    def start_worker(self, job_ids: list[str]) -> Worker:
        """A new process with these jobs."""
        worker = self.world.worker()
        worker.left = lambda job_id: self.left(worker, job_id)  # type: ignore[method-assign]
        self.truth.heard_of(worker)
        self.phase[worker] = self.random.randrange(PHASES)
        for job_id in job_ids:
            self.begin(worker, job_id)
        return worker

    def begin(self, worker: Worker, job_id: str) -> None:
        """A job begins; what it promises hangs on its number."""
        number = int(job_id.partition(".")[0])
        terms = {0: {"deadline": 600.0}, 1: {"stalled_after": 120.0}}.get(number % 10, {})
        kind = {2: "report", 3: "bill"}.get(number % 10, "mail")
        claim = worker.begin(job_id, kind=kind, **terms)
        self.truth.begun(Run(job_id, worker, claim, self.time, **terms))

    def nothing_to_show(self) -> list[str]:
        """What should have happened in a long simulation and did not."""
        shown = [*DAMAGE, *(what for what in CALAMITY if what != "clock jumped"), *SHOWN]
        if self.world.engine.dialect.name == "sqlite":
            shown = [what for what in shown if "in a transaction" not in what]
        return [what for what in shown if not self.report.counts[what]]

    def left(self, worker: Worker, job_id: str) -> float | None:
        """Seconds until the job's deadline, in true time."""
        run = self.truth.runs.get(job_id)
        if run is None or run.worker is not worker or run.deadline is None:
            return None
        return run.begun + run.deadline - self.time

    # Time goes by.

    def run(self, minutes: float, calm: float = 15, whole: bool = False) -> Report:
        """Some time of trouble, then some in which nothing more happens; what came of it. `whole` wants each kind of it."""
        for _ in range(int(minutes * 60 / STEP)):
            self.step(trouble=True)
        for what in self.nothing_to_show() if whole else ():
            self.make_up(what)
            for _ in range(int(5 * 60 / STEP)):
                self.step(trouble=False)
        for _ in range(int(calm * 60 / STEP)):
            self.step(trouble=False)
        return self.report

    def step(self, trouble: bool) -> None:
        """Three seconds."""
        self.world.now += timedelta(seconds=STEP)
        self.truth.time += STEP
        self.reachable = self.time >= self.database_back
        self.come_back()
        if trouble:
            self.make_trouble()
        if not self.reachable:
            self.truth.blind(self.time + STEP)
            self.truth.disturb(STEP)
        else:
            self.beat_some()
            self.work()
        if not self.reachable or all(dog.back_at > self.time for dog in self.dogs):
            self.none_at = self.time
        self.truth.look()
        for dog in self.random.sample(self.dogs, len(self.dogs)):
            if self.time >= dog.next and (self.time >= dog.back_at or dog.cut_off):
                self.watch(dog)
        if self.reachable:
            self.restart_some()

    def beat_some(self) -> None:
        """A fifth of all beat."""
        phase = round(self.time / STEP) % PHASES
        for worker in [worker for worker in self.world.processes if worker.beating and self.phase[worker] == phase]:
            self.beat(worker)

    def beat(self, worker: Worker) -> None:
        """One process beats, and tells nothing new where it is blocked."""
        had = set(worker.claims)
        worker.beat()
        self.truth.heard_of(worker)
        lost = had - set(worker.claims)
        self.report.counts["jobs that learnt that they are lost"] += len(lost)
        for job_id in lost:
            run = self.truth.runs.get(job_id)
            if run is not None and run.worker is worker:
                self.report.violated("living job lost", job_id)

    def watch(self, dog: Dog) -> None:
        """A run of a watchdog."""
        self.reachable = self.time >= self.database_back and not dog.cut_off
        try:
            verdicts = dog.watchdog.run_once()
        except OperationalError:
            self.report.counts["runs that failed"] += 1
            verdicts = []
        else:
            with self.world.engine.connect() as connection:
                row = connection.execute(select(watchdogs)).one()
            if row.holder == dog.watchdog.holder and row.last_run_at == self.world.now:
                self.report.counts["runs that led"] += 1
                self.truth.looked(self.none_at)
        finally:
            dog.next = self.time + max(STEP, STEP * round(dog.watchdog.pause / STEP + 0.49))
            self.reachable = self.time >= self.database_back
        given = self.truth.judge(verdicts)
        parked = {verdict.job_id for verdict in verdicts if verdict.done in ("dead_lettered", "parked")}
        # A dead-lettered job is at its end; another of its kind begins in its stead.
        self.waiting += [
            f"{job_id.partition('.')[0]}.{self.time:.0f}" if job_id in parked else job_id for job_id in given
        ]

    # Trouble.

    def make_trouble(self) -> None:
        """Hits single processes, and now and then all of them, the database, its clock or a watchdog."""
        chance = HIT / PHASES * self.rate
        for worker in [worker for worker in self.world.processes if worker.beating and worker.claims]:
            if worker.moving and self.random.random() < chance:
                self.hurt(worker, self.random.choice(DAMAGE))
        for what, share in CALAMITY.items():
            if self.random.random() < share / PHASES * max(1.0, self.rate / 4):
                self.befall(what)

    def make_up(self, what: str) -> None:
        """Has something happen that chance has left out."""
        if what in DAMAGE:
            able = [worker for worker in self.world.processes if worker.beating and worker.claims and worker.moving]
            self.hurt(self.random.choice(able), what)
        elif what in CALAMITY:
            self.befall(what)
        elif what.startswith("clock jumped"):
            self.jump(-1 if what.endswith("back") else 1)

    def hurt(self, worker: Worker, how: str) -> None:
        """Something happens to one process."""
        if how == "paused in a transaction" and (self.world.engine.dialect.name == "sqlite" or len(self.holding) > 2):
            how = "paused for long"
        self.report.counts[how] += 1
        silent = self.time - self.truth.heard[worker]
        short = STUCK_AFTER - EVERY - silent  # it beats within an interval once it is back
        long = self.random.uniform(STUCK_AFTER, 400)
        if how == "killed":
            worker.die()
        elif how in ("loop blocked", "interpreter's lock held, with a stand-in"):
            worker.moving = False
            self.away[worker] = self.time + self.random.uniform(10, 300)
        elif how == "paused in a transaction":
            self.hold(worker, self.time + long)
        else:
            brief = "shortly" in how or (how == "interpreter's lock held" and self.random.random() < 0.5)
            self.leave(worker, self.time + (self.random.uniform(1, short) if brief else long))

    def leave(self, worker: Worker, until: float) -> None:
        """It beats no more until then, and lives."""
        worker.beating = False
        self.away[worker] = until

    def hold(self, worker: Worker, until: float) -> None:
        """It is paused in the middle of a transaction that guards a result."""
        if not self.reachable:
            return
        run = self.truth.runs.get(self.random.choice(list(worker.claims)))
        if run is None or run.worker is not worker:
            return
        connection = self.world.engine.connect()
        beats.guard(connection, run.claim, self.world.clock)
        run.guarded = self.time
        before = connection.scalar(select(results.c.fence).where(results.c.job_id == run.job_id)) or 0
        self.holding[worker] = (connection, run, before)
        run.locked_until = STEP * round(until / STEP + 0.49)
        self.leave(worker, until)

    def let_go(self, worker: Worker, commit: bool) -> None:
        """The transaction that it held ends."""
        connection, run, before = self.holding.pop(worker)
        if commit:
            self.store(connection, run.job_id, run.claim.fence, before)
            connection.commit()
            self.report.counts["results written after a pause in the transaction"] += 1
        connection.close()
        run.locked_until = self.time

    def befall(self, what: str) -> None:
        """Something happens to many."""
        if what in ("fleet paused", "half of the fleet cut off"):
            if not self.pause_fleet(1.0 if what == "fleet paused" else 0.5):
                return
        elif what == "database stopped":
            self.database_back = self.time + self.random.uniform(20, 600)
            self.reachable = False
            for worker in list(self.holding):
                self.let_go(worker, commit=False)
        elif what == "clock jumped":
            self.jump(self.random.choice(JUMPS))
            return
        elif what == "watchdog killed":
            self.dogs[self.random.randrange(2)] = self.make_dog()
        else:
            dog = self.random.choice(self.dogs)
            if dog.back_at > self.time:
                return
            dog.cut_off = what == "watchdog cut off"
            until = self.time + self.random.uniform(20, 200)
            dog.back_at = until
        self.report.counts[what] += 1

    def pause_fleet(self, share: float) -> bool:
        """Many are away at once, for longer than the threshold: the brake must keep them their jobs."""
        if self.truth.fleet_paused:
            return False
        until = self.time + self.random.uniform(30, 400)
        for worker in self.world.processes:
            if worker.beating and worker.claims and self.random.random() < share:
                worker.moving = True
                self.leave(worker, until)
                self.truth.fleet_paused.add(worker)
        return True

    def jump(self, hours: int) -> None:
        """The database's clock jumps; true time does not."""
        self.world.now += timedelta(hours=hours)
        self.report.counts["clock jumped back" if hours < 0 else "clock jumped forward"] += 1
        if hours < 0:
            self.truth.jumped_back = self.time + EVERY
        self.truth.disturb(EVERY)
        self.truth.blind(self.time + EVERY)

    def come_back(self) -> None:
        """Who was away is back; first thing, it writes results, though it may have lost its jobs meanwhile."""
        for worker in [worker for worker, until in self.away.items() if until <= self.time]:
            if not self.reachable and not worker.beating:
                continue
            del self.away[worker]
            self.truth.fleet_paused.discard(worker)
            if worker in self.holding:
                self.let_go(worker, commit=True)
            self.truth.back[worker] = self.time
            was_silent, worker.moving, worker.beating = not worker.beating, True, True
            if was_silent:
                self.act_as_zombie(worker)
                self.beat(worker)
        for dog in self.dogs:
            if dog.back_at <= self.time:
                dog.cut_off = False

    def act_as_zombie(self, worker: Worker) -> None:
        """What a process does that doesn't know yet for how long it was away."""
        for job_id in self.random.sample(sorted(worker.claims), min(4, len(worker.claims))):
            self.write(worker, job_id, finish=self.random.random() < 0.5)
        gone = [job_id for job_id in worker.claims if not self.is_its(worker, job_id)]
        if gone:
            job_id = self.random.choice(gone)
            claim = worker.claims.pop(job_id)
            before = self.world.row(job_id)
            with suppress(LeaseLost):
                self.world.act(beats.end, claim, FAILED, self.world.clock)
            self.report.counts["late ends that changed nothing"] += 1
            if self.world.row(job_id) != before:
                self.report.violated("ended by an older run", job_id)

    def is_its(self, worker: Worker, job_id: str) -> bool:
        """Whether the job is still this process's."""
        run = self.truth.runs.get(job_id)
        return run is not None and run.worker is worker and run.claim == worker.claims.get(job_id)

    # Work.

    def restart_some(self) -> None:
        """Jobs that were given away, and new ones, are run by new processes, as their broker would have it."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        free = [
            worker
            for worker in self.world.processes
            if worker.beating and worker.moving and len(worker.claims) < self.per_process
        ]
        for job_id in waiting:
            worker = next((worker for worker in free if job_id not in worker.claims), None)
            if worker is None:
                worker = self.start_worker([])
                free.append(worker)
            try:
                self.begin(worker, job_id)
            except AlreadyRunning:
                self.report.violated("job that has ended runs on", job_id)
                continue
            if len(worker.claims) >= self.per_process:
                free.remove(worker)
        self.world.processes = [worker for worker in self.world.processes if worker.beating or worker in self.away]

    def work(self) -> None:
        """Some jobs write a result under guard, some end; and some are delivered a second time while they run."""
        living = [worker for worker in self.world.processes if worker.beating and worker.claims and worker.moving]
        for worker in self.random.sample(living, min(3, len(living))):
            job_id = self.random.choice(list(worker.claims))
            finish = self.random.random() < 0.5
            if self.write(worker, job_id, finish=finish) and finish:
                self.waiting.append(job_id)
        living = [worker for worker in living if worker.claims]
        if len(living) > 1:
            first, second = self.random.sample(living, 2)
            job_id = self.random.choice(list(first.claims))
            if self.is_its(first, job_id) and job_id not in second.claims:
                self.deliver_again(second, job_id)

    def deliver_again(self, worker: Worker, job_id: str) -> None:
        """A second run of a job that lives must not begin."""
        row = self.world.row(job_id)
        try:
            worker.begin(job_id, kind=row.kind)
        except AlreadyRunning:
            self.report.counts["second runs refused"] += 1
        else:
            self.report.violated("second run begun", job_id)

    def write(self, worker: Worker, job_id: str, *, finish: bool) -> bool:
        """Writes a job's result under guard; False where it was refused."""
        claim, its = worker.claims[job_id], self.is_its(worker, job_id)
        try:
            with self.world.engine.begin() as connection:
                before = connection.scalar(select(results.c.fence).where(results.c.job_id == job_id)) or 0
                (beats.finish if finish else beats.guard)(connection, claim, self.world.clock)
                self.store(connection, job_id, claim.fence, before)
        except LeaseLost:
            self.report.counts["late results refused"] += 1
            worker.drop([job_id])
            if its:
                self.report.violated("living job lost", job_id)
            return False
        self.report.counts["results written"] += 1
        if its:
            self.truth.runs[job_id].guarded = self.time
        else:
            self.report.violated("late result written", job_id)
        if finish:
            del worker.claims[job_id]
            self.truth.ended(job_id)
        return True

    def store(self, connection: Connection, job_id: str, fence: int, before: int) -> None:
        """Stores a result in the caller's transaction."""
        if before > fence:
            self.report.violated("result overwritten by an older run", f"{job_id}: {before} by {fence}")
        connection.execute(results.delete().where(results.c.job_id == job_id))
        connection.execute(results.insert().values(job_id=job_id, fence=fence))


@contextmanager
def flag_on() -> Any:
    """Turns heartbeats on, for this process."""
    os.environ["FEATURE_FLAG_JOB_HEARTBEAT"] = "true"
    yield
    del os.environ["FEATURE_FLAG_JOB_HEARTBEAT"]


def hasten(engine: Engine) -> None:
    """Has the database wait for no disk: nothing is cut off in a simulation."""
    how = {"sqlite": "PRAGMA synchronous = OFF", "postgresql": "SET synchronous_commit = off"}.get(engine.dialect.name)
    if how is None:
        return

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.execute(how)
        connection.commit()


def main() -> int:
    """Runs the simulation and prints its report as JSON; 1 where something happened that must not, or nothing did."""
    from unhush.runtime.engine import make_engine
    from unhush.sql.runner import upgrade

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--per-process", type=int, default=50, help="jobs of each process")
    parser.add_argument("--rate", type=float, default=1.0, help="how many times as much trouble")
    parser.add_argument("--url", default="", help="an empty database; by default a SQLite file")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, flag_on():
        engine = make_engine(asked.url or f"sqlite:///{folder}/simulation.db")
        hasten(engine)
        upgrade(engine)
        simulation = Simulation(engine, asked.jobs, asked.seed, per_process=asked.per_process, rate=asked.rate)
        report = simulation.run(asked.minutes, whole=True)
        engine.dispose()
    missing = simulation.nothing_to_show()
    print(
        json.dumps(
            summary(report) | {"nothing to show": missing, "seconds": round(time.monotonic() - started)}, indent=2
        )
    )
    return int(bool(report.violations or missing))


if __name__ == "__main__":
    sys.exit(main())

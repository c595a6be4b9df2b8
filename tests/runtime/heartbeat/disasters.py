"""Processes with jobs are killed, stopped, blocked and cut off while their database goes away; then each promise is checked.

    python tests/runtime/heartbeat/disasters.py [--database postgresql,sqlite] [--minutes 5] [--jobs 4] [--seed 1]

PostgreSQL is a server of the program's own, in a temporary folder; its programs (initdb, pg_ctl) must be installed. Hosts
are network namespaces, which need root and iproute2; without them nothing is cut off, and the program says why. Prints one
line of counts for each database; exit status 1 where a promise was broken or a disaster had nothing to show.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from disasterhosts import Host, Postgresql, Sqlite, alive, children, database, hosts
from disasterjobs import EVERY, STUCK_AFTER
from disasterjudge import OVER, Evidence, Reader, Verdict, judge
from sqlalchemy import create_engine, text

from unhush.runtime.engine import make_engine
from unhush.sql.runner import upgrade

SHORT, LONG = STUCK_AFTER / 3, STUCK_AFTER + 4 * EVERY  # seconds: less than the threshold, and surely more
SEATS = ("thread", "async", "own", "thread", "async")
PATIENCE = 120.0  # seconds for which something that must happen is waited for
# What happens, and to which kinds of workers it can: a stand-in beats on for one that is stopped.
ON_WORKERS = {
    "killed": ("thread", "async", "own"),
    "stopped shortly": ("thread", "async"),
    "stopped for long": ("thread", "async"),
    "loop blocked": ("async",),
    "lock held": ("thread", "async"),
    "lock held with stand-in": ("own",),
}
IN_TRANSACTION = "stopped in a transaction"  # SQLite has one writer: there all others wait until it goes on
ON_WATCHDOGS = ("watchdog killed", "watchdog stopped")
ON_HOSTS = ("host cut off shortly", "host cut off for long", "watchdog cut off")
Run = tuple[str, int]  # a job and its fence


@dataclass(eq=False)
class Seat:
    """A worker or watchdog, and what happened to it: from when to when it was silent."""

    name: str
    how: str
    """How a worker runs its jobs; empty for a watchdog."""
    host: Host | None
    process: subprocess.Popen[str]
    told: Reader
    silent: list[list[float]] = field(default_factory=list)
    stood_in: list[tuple[float, float]] = field(default_factory=list)
    """When another process was to beat for it."""
    jobs: set[str] = field(default_factory=set)

    def say(self, what: str) -> None:
        """Tells it what to do."""
        assert self.process.stdin
        print(what, file=self.process.stdin, flush=True)

    def runs(self, *words: str) -> set[Run]:
        """The runs of which it told so."""
        return {(line["job"], line["fence"]) for line in self.told.lines() if line["what"] in words}

    def running(self) -> set[Run]:
        """The runs that are under way, as far as it told."""
        return self.runs("begun") - self.runs(*OVER)


class Disasters:
    """The processes, their database, and what is done to them."""

    def __init__(self, where: Postgresql | Sqlite, folder: Path, jobs: int, seed: int, found: list[Host] | str) -> None:
        self.where = where
        self.folder = folder
        self.jobs = jobs
        self.random = random.Random(seed)
        self.why_not = found if isinstance(found, str) else ""
        self.hosts = found if isinstance(found, list) else []
        self.engine = _tables(where.url)
        self.next_job = 0
        self.done: dict[str, int] = {}
        self.outages: list[tuple[float, float]] = []
        self.again: dict[str, int] = {}
        """The run that lost the job when it was given to somebody else the last time."""
        self.all: list[Seat] = []
        self.seats = [self.start("work", how) for how in SEATS]
        self.dogs = [self.start("watch"), self.start("watch", host=self.hosts[0] if self.hosts else None)]
        if self.hosts:
            self.seats.append(self.start("work", "thread", self.hosts[1]))

    def start(self, role: str, how: str = "", host: Host | None = None) -> Seat:
        """Starts a worker or a watchdog, on a host of its own or here."""
        ledger = self.folder / f"{role}-{len(self.all) + 1}"
        url = self.where.url_from(host.peer) if host and isinstance(self.where, Postgresql) else self.where.url
        program = str(Path(__file__).with_name("disasterjobs.py"))
        command = [*(host.prefix if host else []), sys.executable, program, role, url, str(ledger), how]
        env = os.environ | {"FEATURE_FLAG_JOB_HEARTBEAT": "true"}
        process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env=env)
        seat = Seat(ledger.name, how, host, process, Reader(ledger))
        self.all.append(seat)
        return seat

    # What happens.

    def kinds(self) -> list[str]:
        """What can happen here."""
        served = (IN_TRANSACTION,) if isinstance(self.where, Postgresql) else ()
        return [*ON_WORKERS, *served, *ON_WATCHDOGS, *self.where.outages, *(ON_HOSTS if self.hosts else ())]

    def run(self, minutes: float, kinds: Collection[str] = ()) -> Verdict:
        """Lets one thing happen after another, each kind once in an order of its own, until the time is over."""
        end = time.monotonic() + minutes * 60
        self.settle()
        self.wait(self.steady, "a watchdog whose silence means something")
        able = [kind for kind in self.kinds() if not kinds or kind in kinds]
        while not self.done or time.monotonic() < end:
            for kind in self.random.sample(able, len(able)):
                if time.monotonic() < end or kind not in self.done:
                    print(f"{time.strftime('%X')} {kind}", file=sys.stderr, flush=True)
                    self.happen(kind)
                    self.done[kind] = self.done.get(kind, 0) + 1
                    self.settle()
        return self.verdict()

    def settle(self) -> None:
        """Waits until the jobs of the dead are given away and others run them; then a few end, and others begin."""
        self.wait(self.all_acted, "the dead are acted on")
        self.wait(self.all_run, "all jobs run")
        ending: list[tuple[Seat, str]] = []
        for seat in self.seats:
            for job_id in sorted(seat.jobs)[: self.random.randint(0, 1)]:
                seat.say(f"end {job_id}")
                seat.jobs.discard(job_id)
                ending.append((seat, job_id))
            while len(seat.jobs) < self.jobs:
                self.next_job += 1
                self.give(seat, f"job-{self.next_job}")
        self.wait(self.all_run, "all jobs run")
        self.wait(
            lambda: all(job_id not in {job for job, _ in seat.running()} for seat, job_id in ending),
            "the ends are told",
        )

    def give(self, seat: Seat, job_id: str) -> None:
        """Has it run a job."""
        seat.jobs.add(job_id)
        seat.say(f"run {job_id}")

    def happen(self, kind: str) -> None:
        """One disaster, until what came of it has been dealt with."""
        if kind in self.where.outages:
            self.outage(kind)
        elif kind == "watchdog killed":
            self.kill(self.dogs[0])
            self.dogs[0] = self.start("watch")
        elif kind == "watchdog stopped":
            self.stop(self.dogs[0], self.random.uniform(SHORT, LONG))
        elif kind == "watchdog cut off":
            self.part()
        elif kind in ON_HOSTS:
            seat = next(one for one in self.seats if one.host)
            self.cut(self.hosts[1], SHORT if "shortly" in kind else LONG, seat)
        else:
            able = ON_WORKERS.get(kind, ("thread", "async"))
            self.hurt(kind, self.random.choice([one for one in self.seats if one.how in able and not one.host]))

    def hurt(self, kind: str, seat: Seat) -> None:
        """Something happens to one worker."""
        if kind == "killed":
            self.kill(seat)
        elif kind == "stopped shortly":
            self.stop(seat, SHORT)
        elif kind == "stopped for long":
            any(self.stop(seat, LONG) for _ in range(5))
        elif kind == IN_TRANSACTION:
            seat.say("hold")
            held = seat.runs("holds")
            self.wait(lambda: seat.runs("holds") > held, "a job is in a transaction")
            self.stop(seat, LONG)
        elif kind == "loop blocked":
            seat.say("block")
            time.sleep(STUCK_AFTER + 5)
        else:
            self.hold_lock(seat, silent=seat.how != "own")
        if seat.process.poll() is not None:
            self.seats[self.seats.index(seat)] = self.start("work", seat.how)

    def hold_lock(self, seat: Seat, *, silent: bool) -> None:
        """C code that never ends lets no thread of the process run; with a stand-in nobody may take its jobs."""
        begun, runs = time.time(), seat.running()
        seat.say("gil")
        if silent:
            seat.silent.append([begun, inf])
            self.stay(seat, LONG, runs)
        else:
            time.sleep(LONG)
            seat.stood_in.append((begun, time.time()))
        self.kill(seat)

    def kill(self, seat: Seat) -> None:
        """Kills it, and waits until whoever stands in for it has ended by itself."""
        standing_in, at = children(seat.process.pid), time.time()
        seat.process.kill()
        seat.process.wait()
        self.wait(lambda: not any(map(alive, standing_in)), "the stand-in ends with its process")
        seat.stood_in += [(at, time.time())] if standing_in else []
        if not seat.silent or seat.silent[-1][1] < inf:
            seat.silent.append([at, inf])

    def stop(self, seat: Seat, seconds: float) -> bool:
        """Stops it for so long. Whether it lost its jobs."""
        runs = seat.running()
        seat.silent.append([time.time(), inf])
        os.kill(seat.process.pid, signal.SIGSTOP)
        lost = self.stay(seat, seconds, runs)
        os.kill(seat.process.pid, signal.SIGCONT)
        seat.silent[-1][1] = time.time()
        if lost:
            self.wait(lambda: runs <= seat.runs("lost"), f"{seat.name} learns that it lost {sorted(runs)}")
        return lost

    def stay(self, seat: Seat, seconds: float, runs: set[Run]) -> bool:
        """Leaves it as it is for so long; where that is for long, until its runs are given away. Whether they were.

        A process that is stopped in the middle of a write keeps all others out of SQLite: nobody can act until it goes on.
        """
        begun = time.time()
        time.sleep(seconds)
        if seconds < STUCK_AFTER or not seat.how:
            return False
        if isinstance(self.where, Postgresql):
            self.wait(lambda: runs <= self.given(), f"{seat.name} loses {sorted(runs)}")
            return True
        while not runs <= self.given():
            if all(look["run_at"] < max(begun, time.time() - LONG) for look in self.looks()):
                return False
            time.sleep(0.2)
        return True

    def cut(self, host: Host, seconds: float, seat: Seat) -> None:
        """Cuts a worker's host off for so long."""
        runs = seat.running()
        seat.silent.append([time.time(), inf])
        host.cut()
        lost = self.stay(seat, seconds, runs)
        host.mend()
        mended = time.time()
        words = ("wrote", *OVER)
        self.wait(
            lambda: any(line["what"] in words and line["at"] > mended for line in seat.told.lines()),
            f"{seat.name} reaches its database again",
        )
        seat.silent[-1][1] = time.time()
        if lost:
            self.wait(lambda: runs <= seat.runs("lost"), f"{seat.name} learns that it lost {sorted(runs)}")

    def part(self) -> None:
        """One watchdog is cut off while a worker dies: the other one, on the database's side, acts."""
        self.hosts[0].cut()
        self.hurt("killed", self.random.choice([one for one in self.seats if not one.host]))
        time.sleep(LONG)
        self.wait(self.all_acted, "the dead are acted on")
        self.hosts[0].mend()

    def outage(self, kind: str) -> None:
        """The database goes away for longer than the threshold, and comes back."""
        begun = time.time()
        self.where.begin(kind)
        time.sleep(self.random.uniform(STUCK_AFTER, LONG))
        self.where.end(kind)
        back = time.time()
        self.wait(lambda: any(look["run_at"] > back for look in self.looks()), "a watchdog looks again")
        self.outages.append((begun, time.time()))  # nobody could beat
        self.wait(self.steady, "a watchdog whose silence means something")

    # What is known.

    def looks(self) -> list[dict[str, Any]]:
        """The watchdogs' runs, in order."""
        found = [line for seat in self.all if not seat.how for line in seat.told.lines() if line["what"] == "led"]
        return sorted(found, key=lambda line: line["run_at"])

    def steady(self) -> bool:
        """Whether the hold after the last outage is over."""
        looks = self.looks()
        return bool(looks) and looks[-1]["run_at"] > looks[-1]["steady"] + STUCK_AFTER

    def given(self) -> set[Run]:
        """The runs whose jobs were given away."""
        return {
            (job, fence - 1) for look in self.looks() for job, fence, _, done in look["verdicts"] if done == "requeued"
        }

    def all_acted(self) -> bool:
        """Whether nobody who is dead has a run that was not given away."""
        given = self.given()
        return all(seat.running() <= given for seat in self.all if seat.how and seat.process.poll() is not None)

    def all_run(self) -> bool:
        """Whether all jobs run; has those run elsewhere that were given away, also since the machine is too busy."""
        latest: dict[str, int] = {}
        for job_id, fence in (run for seat in self.all for run in seat.runs("begun")):
            latest[job_id] = max(fence, latest.get(job_id, 0))
        for job_id, fence in sorted(self.given()):
            if fence >= latest.get(job_id, 0) and self.again.get(job_id, 0) < fence:
                self.again[job_id] = fence
                for seat in self.all:
                    seat.jobs.discard(job_id)
                self.give(self.random.choice([seat for seat in self.seats if not seat.host]), job_id)
        return all(seat.jobs <= {job_id for job_id, _ in seat.running()} for seat in self.seats)

    def wait(self, until: Callable[[], object], what: str) -> None:
        """Waits. Raises TimeoutError."""
        end = time.monotonic() + PATIENCE
        while not until():
            if time.monotonic() > end:
                raise TimeoutError(f"in {PATIENCE:.0f} s, after {list(self.done)}, it never came to this: {what}")
            time.sleep(0.2)

    def close(self) -> None:
        """Ends all processes."""
        for seat in self.all:
            for child in children(seat.process.pid) if seat.process.poll() is None else []:
                os.kill(child, signal.SIGKILL)
            seat.process.kill()
            seat.process.communicate()
        self.engine.dispose()

    def verdict(self) -> Verdict:
        """What came of it all."""
        self.engine.dispose()  # the connection is from before the disasters
        with self.engine.connect() as connection:
            results = [(row.job, row.fence) for row in connection.execute(text("SELECT * FROM result ORDER BY id"))]
        workers = [seat for seat in self.all if seat.how]
        ledgers = {seat.name: seat.told.lines() for seat in workers}
        silent = {seat.name: [(begin, end) for begin, end in seat.silent] for seat in workers}
        stood_in = {seat.name: seat.stood_in for seat in workers}
        return judge(Evidence(self.looks(), ledgers, silent, results, stood_in, self.outages), self.done)


def _tables(url: str) -> Any:
    made = make_engine(url)
    upgrade(made)
    made.dispose()
    engine = create_engine(url)
    key = "integer PRIMARY KEY" if engine.dialect.name == "sqlite" else "bigserial PRIMARY KEY"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE result (id {key}, job varchar(64), fence bigint)"))
        connection.execute(text(f"CREATE TABLE pulse (id {key}, process integer)"))
    return engine


def suffer(name: str, minutes: float, jobs: int, seed: int, kinds: Sequence[str] = ()) -> tuple[Verdict, str]:
    """Runs the disasters on one database: what came of it, and why no host was cut off, if none was."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unhush-disasters-")))
        where = stack.enter_context(database(name, folder))
        found = stack.enter_context(hosts(2)) if name == "postgresql" else []
        disasters = Disasters(where, folder, jobs, seed, found)
        stack.callback(disasters.close)
        return disasters.run(minutes, kinds), disasters.why_not


def main() -> int:
    """Runs the disasters on each database, and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--database", default="postgresql,sqlite")
    parser.add_argument("--minutes", type=float, default=5, help="each kind happens once at least")
    parser.add_argument("--jobs", type=int, default=4, help="of each process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default="", help="only these, with commas")
    asked = parser.parse_args()
    broken = 0
    for name in asked.database.split(","):
        kinds = [kind for kind in asked.kinds.split(",") if kind]
        verdict, why_not = suffer(name, asked.minutes, asked.jobs, asked.seed, kinds)
        counts = ", ".join(f"{what} {number}" for what, number in verdict.counts.items())
        print(f"{name}: {counts}; promises broken {len(verdict.broken)}", flush=True)
        if why_not:
            print(f"{name}: no host was cut off: {why_not}")
        print(*verdict.broken[:50], sep="\n", end="\n" if verdict.broken else "", flush=True)
        broken += len(verdict.broken)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())

"""Measures what heartbeats cost on PostgreSQL, against their goals, and prints a table.

    python tests/benchmarks/heartbeat.py [--only beats,wal,steady,watchdog,loop,job,memory] [--jobs 10000] [--quick]

`UNHUSH_TEST_POSTGRESQL` names another server than the one on loopback: 15 or newer with its contrib modules, and a
superuser, as WAL is read by pg_walinspect. What is compared takes turns in one run, so that whatever else the machine
does hits all alike; figures are medians. All takes some ten minutes on a quiet machine, `--quick` two, with fewer jobs and
short waits.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from statistics import median
from typing import Any

import structlog
from dlq import _database
from heartbeat_children import DELAYS, Statements, child
from sqlalchemy import create_engine, text

from unhush.runtime import Heartbeats
from unhush.runtime.beat import Beat
from unhush.runtime.engine import make_engine
from unhush.sql.runner import upgrade

ROWS = ("beats", "wal", "steady", "watchdog", "loop", "job", "memory")
FLAG = "FEATURE_FLAG_JOB_HEARTBEAT"
NEVER = 86_400.0  # seconds between two beats of jobs whose beats are called for
GOAL = 20_000  # beats a second
ROUNDS_PER_VACUUM = 4  # autovacuum looks once a minute, and a job beats every 15 s
# A floor, and what others do: one statement for all, one with the ids for each thousand, one for each job.
PLAIN = "UPDATE unhush_job SET beat_at = clock_timestamp() WHERE status = 'running'"
BY_IDS = "UPDATE unhush_job SET beat_at = clock_timestamp() WHERE id = ANY(%s::uuid[])"
BY_ID = "UPDATE unhush_job SET beat_at = clock_timestamp() WHERE id = %s"

Call = Callable[[], object]
Row = tuple[str, str, str, bool]


def main() -> int:
    """Measures the rows asked for and prints the table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(ROWS), metavar="ROWS")
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs that run")
    parser.add_argument("--quick", action="store_true", help="a fifth of the jobs, a tenth of the waits")
    options = parser.parse_args()
    os.environ[FLAG] = "true"
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    missed = False
    with _database() as url:
        bench = Bench(url, options.jobs // (5 if options.quick else 1), options.quick)
        print(
            f"PostgreSQL {bench.ask('SHOW server_version')}, Python {sys.version.split()[0]}, {os.cpu_count()} cores,"
            f" load {os.getloadavg()[0]:.1f}"
        )
        print("\n| work | measured | goal | met |\n|---|---|---|---|")
        for name in options.only.split(","):
            for what, measured, goal, met in globals()[f"measure_{name}"](bench):
                print(f"| {what} | {measured} | {goal} | {'yes' if met else 'NO'} |", flush=True)
                missed = missed or not met
        bench.close()
        print(f"\nLoad at the end: {os.getloadavg()[0]:.1f}")
    return int(missed)


class Bench:
    """One database with the heartbeats' tables, and on demand a process of many jobs in it: this one."""

    def __init__(self, url: str, many: int, quick: bool) -> None:
        self.url, self.many, self.quick = url, many, quick
        self.engine = make_engine(url)
        self.plain = create_engine(url, isolation_level="AUTOCOMMIT")
        self.heartbeats = Heartbeats(self.engine, every=NEVER, name="bench")
        upgrade(self.engine)
        self.ask("CREATE EXTENSION pg_walinspect")

    @cached_property
    def beats(self) -> list[Beat]:
        """The beats of many running jobs, each begun as a service begins it."""
        return [self.heartbeats.job(number, kind="bench").__enter__() for number in range(self.many)]

    @cached_property
    def ids(self) -> list[str]:
        """The ids of their rows."""
        return [beat.claim.id for beat in self.beats if beat.claim is not None]

    def beat(self, *, telling: bool = False) -> Call:
        """A round of the beater, as its thread does it; `telling` has each job tell other progress before."""
        for beat in self.beats:
            if telling:
                beat(progress=random.random(), note="page 17")
        beater = self.heartbeats._beater
        assert beater is not None
        return beater._beat

    def ask(self, query: str, **values: Any) -> Any:
        """The first value that the query gives."""
        with self.plain.connect() as connection:
            result = connection.execute(text(query), values)
            return result.scalar() if result.returns_rows else None

    def raw(self, query: str, values: Sequence[Any] | None, *, many: bool = False) -> Call:
        """The query by the bare driver in one transaction; `many` pipelines it once for each of the values."""

        def call() -> None:
            with self.engine.begin() as connection, connection.connection.cursor() as cursor:
                (cursor.executemany if many else cursor.execute)(query, values)

        return call

    def close(self) -> None:
        """Ends the beats and lets go of the database."""
        self.heartbeats.close()
        self.engine.dispose()
        self.plain.dispose()


def taking_turns(kinds: Mapping[str, Callable[[], Call]], runs: int) -> dict[str, float]:
    """The median seconds of a call of each kind. Each kind makes its calls; that is not measured."""
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    chance = random.Random(1)
    for run in range(runs + 2):
        calls = list(kinds.items())
        chance.shuffle(calls)
        for name, make in calls:
            call = make()
            begun = time.perf_counter()
            call()
            if run >= 2:  # connections, prepared statements, plans
                seconds[name].append(time.perf_counter() - begun)
    return {name: median(found) for name, found in seconds.items()}


def measure_beats(bench: Bench) -> Iterator[Row]:
    """Beats a second of all jobs, by the beater and by statements that do less."""
    few = [(job,) for job in bench.ids[:500]]
    batches = [bench.ids[start : start + 1000] for start in range(0, len(bench.ids), 1000)]
    one_by_one = bench.raw(BY_ID, few[0])

    def singly() -> None:
        for _ in few:
            one_by_one()

    def by_ids() -> None:
        for batch in batches:
            bench.raw(BY_IDS, (batch,))()

    kinds: dict[str, Callable[[], Call]] = {
        "beater": bench.beat,
        "telling": partial(bench.beat, telling=True),
        "plain": lambda: bench.raw(PLAIN, None),
        "ids": lambda: by_ids,
        "pipelined": lambda: bench.raw(BY_ID, [(job,) for job in bench.ids], many=True),
        "singly": lambda: singly,
    }
    took = taking_turns(kinds, 7 if bench.quick else 15)
    each = {name: seconds / (len(few) if name == "singly" else len(bench.ids)) for name, seconds in took.items()}
    for name, what in (("beater", "beats of {:,} jobs"), ("telling", "the same, each with other progress and a note")):
        measured = f"{_rate(each[name])}, one plain UPDATE {_rate(each['plain'])}: {each['plain'] / each[name]:.2f}"
        yield what.format(bench.many), measured, f"{GOAL:,} a second", 1 / each[name] >= GOAL
    for name, what in (
        ("ids", "the ids of a thousand in each UPDATE"),
        ("pipelined", "an UPDATE for each job, pipelined in one transaction"),
        ("singly", "an UPDATE and a transaction for each job"),
    ):
        times = each[name] / each["beater"]
        yield f"beats against {what}", f"{_rate(each[name])}: {times:.2f} times as fast", "-", True


def _rate(seconds: float, number: float = 1) -> str:
    return f"{number / seconds:,.0f}/s"


# What reached the log for this database, by pg_walinspect: other databases' records don't count. A full page image is
# what the first change of a page after a checkpoint costs besides.
_WAL = """
    SELECT coalesce(sum(record_length - fpi_length), 0), coalesce(sum(fpi_length), 0),
        count(*) FILTER (WHERE record_type LIKE 'HOT_UPDATE%'), count(*) FILTER (WHERE record_type LIKE '%UPDATE%')
    FROM pg_get_wal_records_info(CAST(:since AS pg_lsn), pg_current_wal_flush_lsn())
    WHERE block_ref LIKE '%rel 1663/' || (SELECT oid FROM pg_database WHERE datname = current_database()) || '/%'
"""


def wal_of(bench: Bench, call: Call) -> tuple[float, float, float]:
    """What a round of beats writes: bytes of WAL a beat without and in full page images, and the heap-only share."""
    since = bench.ask("SELECT pg_current_wal_flush_lsn()")
    call()
    with bench.plain.connect() as connection:
        changes, images, heap_only, updates = connection.execute(text(_WAL), {"since": str(since)}).one()
    return float(changes) / bench.many, float(images) / bench.many, heap_only / max(updates, 1)


def measure_wal(bench: Bench) -> Iterator[Row]:
    """WAL of a beat, right after a checkpoint and later, against that of the plain UPDATE."""
    bench.beat()()
    rounds: dict[str, list[tuple[float, float, float]]] = {"beater": [], "telling": [], "plain": []}
    for _ in range(2 if bench.quick else 4):
        for name, found in rounds.items():
            make = {"beater": bench.beat, "telling": partial(bench.beat, telling=True)}.get(name)
            bench.ask("CHECKPOINT")
            for _ in range(2):
                found.append(wal_of(bench, make() if make else bench.raw(PLAIN, None)))
    for name, what in (("beater", "a beat"), ("telling", "a beat with other progress and a note"), ("plain", "plain")):
        first, later = rounds[name][::2], rounds[name][1::2]
        changes, images, _ = (median(column) for column in zip(*later, strict=True))
        after = median(images for _, images, _ in first)
        share = median(share for *_, share in rounds[name])
        measured = f"{changes + images:.0f} bytes; after a checkpoint {after:.0f} more; heap-only {share:.1%}"
        yield f"WAL of {what if name != 'plain' else 'a row of the plain UPDATE'}", measured, "-", True


def measure_steady(bench: Bench) -> Iterator[Row]:
    """The heap-only share of many rounds in a row, dead rows and the table's growth: what a day looks like.

    VACUUM is called as often as autovacuum comes by default, whatever the server has: rounds follow each other at once.
    """
    for what, vacuumed in (("vacuumed every 4 rounds", True), ("never vacuumed", False)):
        bench.beat()()
        bench.ask("VACUUM FULL unhush_job")
        _tell_counts(bench)
        bench.ask("SELECT pg_stat_reset()")
        size = bench.ask("SELECT pg_relation_size('unhush_job')")
        for turn in range(12 if bench.quick else 40):
            bench.beat(telling=True)()
            if vacuumed and turn % ROUNDS_PER_VACUUM == ROUNDS_PER_VACUUM - 1:
                bench.ask("VACUUM unhush_job")
        _tell_counts(bench)
        updates, heap_only, dead = (
            int(bench.ask(f"SELECT {name} FROM pg_stat_user_tables WHERE relname = 'unhush_job'"))
            for name in ("n_tup_upd", "n_tup_hot_upd", "n_dead_tup")
        )
        grown = bench.ask("SELECT pg_relation_size('unhush_job')") / size
        measured = (
            f"{heap_only / max(updates, 1):.1%} of {updates:,}; {dead:,} dead rows at the end; "
            f"table {grown:.2f} times its first size"
        )
        yield f"heap-only beats over {turn + 1} rounds, {what}", measured, "-", True


def _tell_counts(bench: Bench) -> None:
    """Has the server's sessions tell what they counted, which they do at the latest when they end."""
    bench.engine.dispose()
    bench.plain.dispose()
    time.sleep(1)


def measure_watchdog(bench: Bench) -> Iterator[Row]:
    """A process that only watches: its CPU and the server's for its connections, with no job and with many."""
    seconds = 12.0 if bench.quick else 60.0
    for number in (0, bench.many):
        if number:
            assert len(bench.beats) == number
        with _beating(bench, seconds / 4):
            found = child("watch", bench.url, seconds, seconds / 4)
        runs = found["runs"]
        measured = (
            f"{found['cpu'] / seconds:.2%} of a core ({found['cpu'] / runs * 1000:.0f} ms a run), the server "
            f"{found['server_cpu'] / runs * 1000:.0f} ms a run; {found['statements'] / runs:.0f} statements in "
            f"{found['transactions'] / runs:.0f} transactions a run, {runs} runs in {seconds:.0f} s"
        )
        yield f"idle watchdog, {number:,} running jobs", measured, "-", True


@contextmanager
def _beating(bench: Bench, every: float) -> Iterator[None]:
    """Beats meanwhile for the jobs that run, if any, in a thread of its own."""
    if "beats" not in bench.__dict__:
        yield
        return
    with bench.plain.begin() as connection:  # as if they had been begun with that interval
        connection.execute(text("UPDATE unhush_job SET every = :every"), {"every": every})
        connection.execute(text("UPDATE unhush_process SET every = :every"), {"every": every})
    ended = False

    def go_on() -> None:
        while not ended:
            bench.beat()()
            time.sleep(every / 4)

    with ThreadPoolExecutor(1) as pool:
        beating = pool.submit(go_on)
        try:
            yield
        finally:
            ended = True
            beating.result()


def measure_loop(bench: Bench) -> Iterator[Row]:
    """How late an event loop's calls are while its jobs beat, and while they don't: phases that take turns."""
    cases = [(1, 1.0, "idle"), (100, 1.0, "idle"), (1000, 1.0, "idle")]
    cases += [] if bench.quick else [(1000, 1.0, "busy"), (1000, 15.0, "idle")]
    for jobs, every, kind in cases:
        found = child("loop", bench.url, jobs, every, kind, 3 if every > 1 else 6 if bench.quick else 12)
        off, on, added, noise = (found[name] for name in ("off", "on", "added", "noise"))
        shown = "; ".join(
            f"{name} {off[name]:.2f} and {on[name]:.2f}, {added[name]:+.2f} (noise {noise[name]:+.2f})"
            for name in DELAYS
        )
        what = f"{kind} loop's delay in ms without and with {jobs:,} jobs that beat every {every:.0f} s"
        yield what, shown, "p99 under 1 ms more", added["p99"] < 1


def measure_job(bench: Bench) -> Iterator[Row]:
    """A job's beginning and end, what a beat costs the job, and what all costs where the flag is off."""
    number = iter(range(10**9))

    def sync_job() -> None:
        with bench.heartbeats.job(f"timed {next(number)}", kind="timed"):
            pass

    async def async_job() -> None:
        async with bench.heartbeats.job(f"timed {next(number)}", kind="timed"):
            pass

    async def at_once() -> None:
        await asyncio.gather(*(async_job() for _ in range(100)))

    sync_job()
    with Statements(bench.engine) as counted:
        sync_job()
    bare = bench.raw(BY_ID, ("00000000-0000-0000-0000-000000000000",))
    kinds: dict[str, Callable[[], Call]] = {
        "transaction": lambda: bare,
        "sync": lambda: sync_job,
        "async": lambda: partial(asyncio.run, async_job()),
        "at once": lambda: partial(asyncio.run, at_once()),
    }
    took = {name: seconds * 1000 for name, seconds in taking_turns(kinds, 7 if bench.quick else 30).items()}
    measured = (
        f"{took['sync']:.1f} ms, async {took['async']:.1f}, each of 100 at once {took['at once'] / 100:.1f}; "
        f"{counted.statements} statements in {counted.transactions} transactions; "
        f"a transaction of one UPDATE {took['transaction']:.1f} ms"
    )
    running = f"{len(bench.beats):,}" if "beats" in bench.__dict__ else "0"
    yield f"beginning and end of a job, {running} others run", measured, "-", True
    yield from _measure_calls(bench)


def _measure_calls(bench: Bench) -> Iterator[Row]:
    with bench.heartbeats.job("told", kind="timed") as beat:
        yield "`beat(progress=)`", f"{_nanoseconds(partial(beat, progress=7)):,.0f} ns", "-", True
        noted = _nanoseconds(partial(beat, progress=7, note="page 7"))
        yield "`beat(progress=, note=)`", f"{noted:,.0f} ns", "-", True
    os.environ[FLAG] = "false"

    def off() -> None:
        with bench.heartbeats.job("off", kind="timed"):
            pass

    yield "`with beats.job(...)`, flag off", f"{_nanoseconds(off):,.0f} ns", "-", True
    with bench.heartbeats.job("off", kind="timed") as beat:
        yield "`beat(progress=)`, flag off", f"{_nanoseconds(partial(beat, progress=7)):,.0f} ns", "-", True
    os.environ[FLAG] = "true"


def _nanoseconds(call: Call) -> float:
    return min(timeit.repeat(call, number=20_000, repeat=9)) / 20_000 * 1e9


def measure_memory(bench: Bench) -> Iterator[Row]:
    """A process with many jobs: the memory that they take, the CPU of a beat, how beginning grows with their number."""
    found = child("many", bench.url, bench.many)
    measured = (
        f"{found['bytes'] / 2**20:.0f} MB, {found['bytes'] / 2**10 / bench.many:.1f} KB a job, the beats' own included"
    )
    yield f"memory that {bench.many:,} running jobs take", measured, "-", True
    cpu = f"{found['cpu'] * 1e6 / bench.many:.1f} us a job; every 15 s: {found['cpu'] / 15:.2%} of a core"
    yield f"CPU of the process to beat for {bench.many:,} jobs", cpu, "-", True
    grown = found["last"] / found["first"]
    measured = f"first tenth {found['first'] * 1000:.1f} ms each, last tenth {found['last'] * 1000:.1f}: {grown:.2f}"
    yield f"beginning of {bench.many:,} jobs in one process", measured, "at most 1.5 times", grown <= 1.5


if __name__ == "__main__":
    sys.exit(main())

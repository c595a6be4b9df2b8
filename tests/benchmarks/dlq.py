"""Measures the dead letter queue on PostgreSQL against its goals and prints a table.

    python tests/benchmarks/dlq.py [--only single,bulk,peers,claims,pages,decorator,spool] [--letters 200000]

`UNHUSH_TEST_POSTGRESQL` names another server than the one on loopback. What is compared takes turns call by call, so that
whatever else the machine does hits all alike; figures are medians. `--letters 5000000` is what the goals for pages mean.
`peers` needs Celery and Procrastinate.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import structlog
from sqlalchemy import Engine, MetaData, create_engine, insert, make_url, select, text

sys.path.append(str(Path(__file__).parent.parent))
from services import ADDRESSES

from unhush.runtime import acts, claims, lookup, record
from unhush.runtime.capture import _letter_row, capture, capture_many
from unhush.runtime.cursor import to_cursor
from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.engine import make_engine
from unhush.runtime.letters import Act, Filter
from unhush.runtime.redrive import terms_of
from unhush.runtime.spool import Spool, SpoolSize
from unhush.runtime.tables import letters
from unhush.sql.runner import upgrade

ROWS = ("single", "bulk", "peers", "claims", "pages", "decorator", "spool")
BATCH = 500
PAGE = 50

Call = Callable[[], object]
Row = tuple[str, str, str, bool]


def main() -> int:
    """Measures the rows asked for and prints the table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(ROWS), metavar="ROWS")
    parser.add_argument("--runs", type=int, default=300, help="calls of each kind that are compared singly")
    parser.add_argument("--letters", type=int, default=200_000, help="letters of which pages are read")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    missed = False
    with _database() as url, tempfile.TemporaryDirectory() as folder:
        bench = Bench(url, Path(folder), options.runs, options.letters)
        version = bench.plain.connect().scalar(text("SHOW server_version"))
        print(
            f"PostgreSQL {version}, Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        )
        print("\n| work | measured | goal | met |\n|---|---|---|---|")
        for name in options.only.split(","):
            for what, measured, goal, met in globals()[f"measure_{name}"](bench):
                print(f"| {what} | {measured} | {goal} | {'yes' if met else 'NO'} |", flush=True)
                missed = missed or not met
        bench.close()
    return int(missed)


class Bench:
    """One database with the queue's tables, and what fails in the measured calls.

    `bare` has the letters' columns and indexes, `bare_key` no index but the primary key.
    """

    def __init__(self, url: str, folder: Path, runs: int, many: int) -> None:
        self.url, self.folder, self.runs, self.many = url, folder, runs, many
        self.engine = make_engine(url)
        self.plain = create_engine(url)
        upgrade(self.engine)
        with self.plain.begin() as connection:
            connection.execute(text("CREATE TABLE bare (LIKE job_dlq INCLUDING ALL)"))
            connection.execute(text("CREATE TABLE bare_key (LIKE job_dlq INCLUDING DEFAULTS)"))
            connection.execute(text("ALTER TABLE bare_key ADD PRIMARY KEY (id)"))
        self.bare = letters.to_metadata(MetaData(), name="bare")
        self.bare_key = letters.to_metadata(MetaData(), name="bare_key")
        self.dlq = DeadLetterQueue(self.engine, spool=folder / "spool", deadline=30)
        self._jobs = 0

    def failure(self) -> dict[str, Any]:
        """The arguments of `put` for one failure of a small job, a few calls deep."""
        self._jobs += 1
        return {
            "queue": "mail",
            "job_name": "send",
            "job_id": str(self._jobs),
            "attempts": 3,
            "payload": {"args": [self._jobs, "ann@example.org"], "kwargs": {"greeting": "Good morning"}},
            "error": _raised(self._jobs),
        }

    def record(self) -> record.Record:
        """The record of one failure."""
        return record.build(**self.failure(), payload_limit=2**20)

    def row(self) -> dict[str, Any]:
        """The columns of one failure's letter."""
        return _letter_row(self.record(), datetime.now(UTC))

    def close(self) -> None:
        """Lets go of the database."""
        self.dlq.close()
        self.engine.dispose()
        self.plain.dispose()


@contextmanager
def _database() -> Iterator[str]:
    server = make_url(os.environ.get("UNHUSH_TEST_POSTGRESQL") or ADDRESSES["postgresql"])
    name = f"unhush_bench_{uuid4().hex[:12]}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


def _raised(number: int, depth: int = 4) -> Exception:
    try:
        if depth:
            error = _raised(number, depth - 1)
            raise error
        raise ValueError(f"no such address: customer {number}")
    except ValueError as error:
        return error


def taking_turns(kinds: Mapping[str, Callable[[], Call]], runs: int) -> dict[str, float]:
    """The median seconds of a call of each kind, and under `NAME cpu` its mean of this process's CPU.

    Each kind makes its calls; that is not measured.
    """
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    cpu = dict.fromkeys(kinds, 0.0)
    chance = random.Random(1)
    for run in range(runs + 5):
        calls = [(name, make()) for name, make in kinds.items()]
        chance.shuffle(calls)  # who comes after whom matters: the disk is quiet after a sync
        for name, call in calls:
            begun, worked = time.perf_counter(), time.process_time()
            call()
            if run >= 5:  # connections, prepared statements, plans
                seconds[name].append(time.perf_counter() - begun)
                cpu[name] += time.process_time() - worked
    took = {name: median(found) for name, found in seconds.items()}
    return took | {f"{name} cpu": found / runs for name, found in cpu.items()}


def _insert(engine: Engine, table: Any, rows: Any) -> None:
    with engine.begin() as connection:
        connection.execute(insert(table), rows)


def _rate(seconds: float, number: int = 1) -> str:
    return f"{number / seconds:,.0f}/s"


def _cpu(took: dict[str, float], name: str) -> str:
    return f"{took[f'{name} cpu'] * 1e6:,.0f} us"


def measure_single(bench: Bench) -> Iterator[Row]:
    """One failure at a time: `capture` of a built record and the whole `put`, against a bare INSERT."""
    kinds: dict[str, Callable[[], Call]] = {
        "bare": lambda: partial(_insert, bench.plain, bench.bare, bench.row()),
        "bare_key": lambda: partial(_insert, bench.plain, bench.bare_key, bench.row()),
        "capture": lambda: partial(acts.write_at_once, bench.engine, capture, bench.record()),
        "put": lambda: partial(bench.dlq.put, **bench.failure()),
        "build": lambda: partial(record.build, **bench.failure(), payload_limit=2**20),
    }
    took = taking_turns(kinds, bench.runs)
    for name, what in (("capture", "capture of a record"), ("put", "put(), the record's making included")):
        share, measured = _against_bare(took, name)
        yield what, measured, "at least 0.6 of a bare INSERT", share >= 0.6
    cpu = ", ".join(f"{name} {_cpu(took, name)}" for name in ("bare", "capture", "put", "build"))
    yield "CPU of this process for each", cpu, "-", True


def measure_bulk(bench: Bench) -> Iterator[Row]:
    """500 failures in one call, against a bare INSERT of as many rows."""

    def made(one: Callable[[], Any]) -> list[Any]:
        return [one() for _ in range(BATCH)]

    kinds: dict[str, Callable[[], Call]] = {
        "bare": lambda: partial(_insert, bench.plain, bench.bare, made(bench.row)),
        "bare_key": lambda: partial(_insert, bench.plain, bench.bare_key, made(bench.row)),
        "capture": lambda: partial(acts.write_at_once, bench.engine, capture_many, made(bench.record)),
        "put": lambda: partial(bench.dlq.put_many, made(bench.failure)),
    }
    took = taking_turns(kinds, max(5, bench.runs // 30))
    share, measured = _against_bare(took, "capture", BATCH)
    yield f"capture_many of {BATCH} records", measured, "at least 0.8 of a bare INSERT", share >= 0.8
    _, measured = _against_bare(took, "put", BATCH)
    yield f"put_many of {BATCH} failures, the records' making included", measured, "-", True


def _against_bare(took: dict[str, float], name: str, number: int = 1) -> tuple[float, str]:
    """The rate as a share of a bare INSERT's, and both in words."""
    share, key_only = took["bare"] / took[name], took["bare_key"] / took[name]
    bare = f"bare INSERT {_rate(took['bare'], number)}: {share:.2f}"
    return share, f"{_rate(took[name], number)}, {bare} (without indexes {key_only:.2f})"


def measure_peers(bench: Bench) -> Iterator[Row]:
    """What a failed job costs in other queues on the same server."""
    from dlq_peers import celery_failure, procrastinate_failure

    with procrastinate_failure(bench.url, bench.runs + 5) as fail_procrastinate:
        fail_celery = celery_failure(bench.url)
        kinds: dict[str, Callable[[], Call]] = {
            "put": lambda: partial(bench.dlq.put, **bench.failure()),
            "Procrastinate": lambda: partial(fail_procrastinate, _raised(0)),
            "Celery": lambda: partial(fail_celery, str(uuid4()), _raised(0)),
        }
        took = taking_turns(kinds, bench.runs)
    for peer in ("Procrastinate", "Celery"):
        share = took[peer] / took["put"]
        cpu = f"CPU of the worker {_cpu(took, 'put')}, {peer} {_cpu(took, peer)}"
        measured = f"{_rate(took['put'])}, {peer} {_rate(took[peer])}: {share:.2f} times as fast; {cpu}"
        yield f"put() and {peer}'s failure path", measured, f"faster than {peer}", share > 1


def measure_claims(bench: Bench) -> Iterator[Row]:
    """Letters claimed one by one, and ended in batches."""
    bench.dlq.register("mail", lambda _letter: None)
    act, terms = Act(actor="bench"), terms_of(bench.dlq._core)
    ids = iter([letter.id for letter in bench.dlq.put_many([bench.failure() for _ in range(2 * bench.runs + 10)])])
    kinds: dict[str, Callable[[], Call]] = {
        "claim": lambda: partial(bench.dlq._write, claims.claim, next(ids), act, terms),
        "redrive": lambda: partial(bench.dlq.redrive, [next(ids)], actor="bench"),
    }
    took = taking_turns(kinds, bench.runs)
    yield "claim of one letter", _rate(took["claim"]), "-", True
    yield "redrive of one letter by an empty handler", _rate(took["redrive"]), "-", True
    bench.dlq.put_many([bench.failure() | {"queue": "batch"} for _ in range(5_000)])
    begun = time.perf_counter()
    done = bench.dlq.bulk("discard", Filter(queue="batch"), actor="bench", reason="measured")
    yield "bulk discard in batches of 500", _rate(time.perf_counter() - begun, done.succeeded), "-", True


def measure_pages(bench: Bench) -> Iterator[Row]:
    """Pages of 50 among very many letters, and their counts."""
    _fill(bench.plain, bench.many)
    deep = min(10_000, bench.many // PAGE - 1)
    for asked, what in ((Filter(), "all"), (Filter(status="dead"), "dead"), (Filter(queue="q1"), "one queue's")):
        query = select(letters.c.id).where(*lookup.matching(asked)).order_by(letters.c.id.desc())
        with bench.plain.connect() as connection:
            total = connection.scalar(select(text("count(*)")).select_from(query.subquery()))
            page = min(deep, total // PAGE - 1)
            before = connection.scalar(query.offset(page * PAGE - 1).limit(1))
        first = partial(acts.read, bench.engine, lookup.list_letters, asked, limit=PAGE)
        later = partial(first, cursor=to_cursor(str(before), asked))
        took = taking_turns({"first": lambda: first, "later": lambda: later}, 50)  # noqa: B023 - called at once
        share = took["later"] / took["first"]
        measured = f"{took['later'] * 1000:.1f} ms, page 1 {took['first'] * 1000:.1f} ms: {share:.2f}"
        yield f"page {page:,} of {bench.many:,} letters, {what}", measured, "at most 2", share <= 2
    nothing = SpoolSize(0, 0, 0, 0)
    for name, act in (("stats()", partial(lookup.stats, spool=nothing)), ("groups()", lookup.groups)):
        took = taking_turns({name: lambda: partial(acts.read, bench.engine, act)}, 5)  # noqa: B023 - called at once
        yield f"{name} of {bench.many:,} letters", f"{took[name] * 1000:.0f} ms", "-", True


# Ten queues, 1,000 bugs, four letters of five dead; ids in the order of time, as UUIDv7s are.
_FILL = """
    INSERT INTO job_dlq (id, queue, job_name, job_id, identity, status, attempts, fingerprint, error_type,
        first_failed_at, failed_at, captured_at, changed_at, redrivable, host, process, error_message, headers, traceback,
        payload)
    SELECT CAST(lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
            || substr(md5(n::text), 4, 15) AS uuid),
        'q' || n % 10, 'job', n::text, md5(n::text), CASE WHEN n % 5 = 0 THEN 'redriven' ELSE 'dead' END, 3,
        md5((n % 1000)::text), 'ValueError', now(), now(), now(), now(), true, 'host', 'process',
        'no such address: ' || n, '{}', repeat('File "jobs.py", line 1, in send ', 8), '{"args": [1]}'
    FROM generate_series(1, :number) AS n
"""


def _fill(engine: Engine, number: int) -> None:
    """Writes the letters, then makes their indexes: much faster than both at once."""
    indexes = text("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'job_dlq' AND indexname LIKE 'ix%'")
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE job_dlq"))
        made = connection.execute(indexes).all()
        for name, _ in made:
            connection.execute(text(f"DROP INDEX {name}"))
        connection.execute(text("SET LOCAL maintenance_work_mem = '512MB'"))
        connection.execute(text(_FILL), {"number": number})
        for _, definition in made:
            connection.execute(text(definition))
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM ANALYZE job_dlq"))


def measure_decorator(bench: Bench) -> Iterator[Row]:
    """What a guarded job that succeeds costs more than a bare one."""

    def job(one: int, two: int = 2) -> int:
        return one + two

    guarded = bench.dlq.dead_letter(queue="mail", job_name="sum")(job)
    pairs = [(_microseconds(partial(guarded, 1)), _microseconds(partial(job, 1))) for _ in range(15)]
    cost = min(mine for mine, _ in pairs) - min(bare for _, bare in pairs)  # what else runs only adds to them
    yield "decorator on a job that succeeds", f"{cost:.2f} us", "at most 5 us", cost <= 5


def _microseconds(call: Call) -> float:
    return timeit.timeit(call, number=20_000) / 20_000 * 1e6


def measure_spool(bench: Bench) -> Iterator[Row]:
    """An append to the spool, against the same bytes written to a file and synced."""
    spool = Spool(bench.folder / "measured")
    file = os.open(bench.folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    line = b"x" * len(str(bench.record()))

    def bare() -> None:
        os.write(file, line)
        os.fsync(file)

    took = taking_turns({"bare": lambda: bare, "spool": lambda: partial(spool.append, bench.record())}, bench.runs)
    os.close(file)
    share = took["bare"] / took["spool"]
    measured = f"{_rate(took['spool'])}, write and fsync {_rate(took['bare'])}: {share:.2f}"
    yield "append to the spool", measured, "-", True


if __name__ == "__main__":
    sys.exit(main())

"""Eight processes capture and redrive while they are killed and their database is stopped; then every promise is checked.

    python tests/runtime/chaos/run.py [--database postgresql,sqlite] [--rounds 200] [--seed 1]

PostgreSQL is a server of the program's own, in a temporary folder; its programs (initdb, pg_ctl) must be installed.
Prints one line of counts for each database; exit status 1 where a promise was broken, with a line for each.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from chaoscluster import Cluster, cluster, programs
from chaosevidence import Evidence, Verdict, judge
from chaosjobs import LEASE, Worker, ledger, noted
from sqlalchemy import select

from unhush.runtime.engine import make_engine
from unhush.runtime.tables import events, letters
from unhush.sql.runner import upgrade

SEATS = 8
# Loaded once, before workers are forked: most of them live for a second or two.
LOADED = "bulk capture edits keeper lookup metrics redrive spool steps working".split()
DATABASES = ("postgresql", "sqlite")


def main() -> int:
    """Runs the rounds on each database and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--database", default=",".join(DATABASES))
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # Workers are killed in their thousands, and each outage is told by all of them.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    broken = 0
    for name in options.database.split(","):
        with tempfile.TemporaryDirectory(prefix="unhush-chaos-") as folder, _database(name, Path(folder)) as database:
            verdict = rounds(database, Path(folder), options.rounds, random.Random(options.seed))
        counts = ", ".join(f"{what} {number:,}" for what, number in sorted(verdict.counts.items()))
        print(f"{name}, {options.rounds} rounds: {counts}; promises broken {len(verdict.broken)}", flush=True)
        print(*verdict.broken[:50], sep="\n", end="\n" if verdict.broken else "", flush=True)
        broken += len(verdict.broken)
    return int(broken > 0)


class Postgresql:
    """A database that is crashed and started again."""

    def __init__(self, server: Cluster) -> None:
        self._server = server
        self.url = server.url

    def outage(self, chance: random.Random, meanwhile: Callable[[], None]) -> None:
        """Stops the database at once, lets something happen, and starts it."""
        self._server.crash()
        time.sleep(chance.uniform(0, 1))
        meanwhile()
        self._server.start()


class Sqlite:
    """A file that another process locks, writes to, and is killed before it commits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"

    def outage(self, chance: random.Random, meanwhile: Callable[[], None]) -> None:
        """Keeps everybody out for a while, longer than captures wait."""
        locker = _fork(self._lock, self._path.with_name("errors"))
        time.sleep(chance.uniform(0.1, 2))
        meanwhile()
        _kill(locker)

    def _lock(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=30)
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("INSERT INTO ledger (letter_id) VALUES ('never committed')")
        time.sleep(60)


@contextmanager
def _database(name: str, folder: Path) -> Iterator[Postgresql | Sqlite]:
    if name == "sqlite":
        yield Sqlite(folder / "jobs.db")
        return
    binaries = programs()
    if binaries is None:
        raise SystemExit("PostgreSQL's programs are not installed: initdb is not on the path")
    with cluster(binaries) as server:
        yield Postgresql(server)


def rounds(database: Postgresql | Sqlite, folder: Path, number: int, chance: random.Random) -> Verdict:
    """Lets the workers work, and kills, stops and starts at random; then cleans up and judges."""
    _make_tables(database.url)
    for name in LOADED:
        importlib.import_module(f"unhush.runtime.{name}")
    seats: dict[int, int] = {}
    kills = stops = outages = 0

    def kill() -> None:
        nonlocal kills
        for seat in chance.sample(range(SEATS), chance.randint(1, SEATS)):
            if seat in seats:
                _kill(seats.pop(seat))
                kills += 1

    for _ in range(number):
        for seat in range(SEATS):
            if seat not in seats:
                seats[seat] = _fork(Worker(database.url, folder, seat).run, folder / "errors")
        time.sleep(chance.uniform(0.2, 1))
        stopped = chance.sample(range(SEATS), 2) if chance.random() < 0.3 else []
        for seat in stopped:  # as a machine that is paused: its leases run out, and then it goes on
            os.kill(seats[seat], signal.SIGSTOP)
        if stopped:
            stops += len(stopped)
            time.sleep(LEASE * chance.uniform(1, 1.5))
        if chance.random() < 0.5:
            database.outage(chance, kill)
            outages += 1
        else:
            kill()
        for seat in stopped:
            if seat in seats:
                os.kill(seats[seat], signal.SIGCONT)
    for process in seats.values():
        _kill(process)
    verdict = judge(_evidence(database.url, folder))
    verdict.counts.update({"processes killed": kills + len(seats), "processes paused": stops, "outages": outages})
    verdict.broken += _unexpected(folder)
    return verdict


def _make_tables(url: str) -> None:
    engine = make_engine(url)
    upgrade(engine)
    ledger.metadata.create_all(engine)
    engine.dispose()  # a forked worker must not find a connection


def _fork(program: Callable[[], None], errors: Path) -> int:
    process = os.fork()
    if process:
        return process
    try:
        program()
    except BaseException:  # noqa: BLE001 - the judge is told of it
        errors.write_text(traceback.format_exc())
    os._exit(1)


def _kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def _unexpected(folder: Path) -> list[str]:
    """What ended workers other than being killed."""
    path = folder / "errors"
    return [f"unexpected: {path.read_text()}"] if path.exists() else []


def _evidence(url: str, folder: Path) -> Evidence:
    """Delivers again what was cut off, drains the spool, ends what is cut off, redrives some, and gathers what there is."""
    for seat in range(SEATS):
        Worker(url, folder, seat).catch_up()
    time.sleep(LEASE + 0.1)
    with Worker(url, folder, 0).dlq as dlq:
        for _ in range(100):  # another worker's upkeep may hold some of the files
            drained = dlq.drain()
            if not drained.kept:
                break
            time.sleep(0.1)
        assert drained.kept + drained.corrupt + drained.refused == 0, drained
        page = dlq.list(queue="ledger", status="dead", limit=100)
        dlq.redrive([letter.id for letter in page.letters], actor="judge")
        failures = [tuple(words.split()) for seat in range(SEATS) for words in noted(folder / f"journal-{seat}")]
        sent = [line.split() for line in (folder / "sent").read_text().splitlines()]
        return dlq._read(
            lambda connection: Evidence(
                letters=connection.execute(select(letters)).all(),
                events=connection.execute(
                    select(events).where(events.c.letter_id.is_not(None)).order_by(events.c.id)
                ).all(),
                ledger=connection.scalars(select(ledger.c.letter_id)).all(),
                noted=frozenset(words[2] for words in failures if words[0] == "new"),
                noted_again=frozenset((words[1], int(words[2])) for words in failures if words[0] == "again"),
                sent=[(letter_id, int(redrive)) for letter_id, redrive in sent],
            )
        )


if __name__ == "__main__":
    sys.exit(main())

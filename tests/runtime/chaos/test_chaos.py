"""Processes that are killed while their database goes away: what is kept then, and that the checker sees what is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from chaoscluster import programs
from chaosevidence import Evidence, judge
from chaosjobs import ledger
from services import fresh_database
from sqlalchemy import insert, select, update

from unhush.runtime import claims, keeper, steps
from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.engine import make_engine
from unhush.runtime.letters import Letter
from unhush.runtime.redrive import run as run_claimed
from unhush.runtime.redrive import terms_of
from unhush.runtime.tables import events, letters
from unhush.sql.runner import upgrade

WHOLE = bool(os.environ.get("UNHUSH_WHOLE"))


@pytest.fixture
def dlq(tmp_path: Path) -> Any:
    """A queue on SQLite with a ledger beside it."""
    with fresh_database("sqlite", str(tmp_path)) as url:
        engine = make_engine(url)
        upgrade(engine)
        ledger.metadata.create_all(engine)
        with DeadLetterQueue(engine, spool=tmp_path / "spool") as queue:
            yield queue
        engine.dispose()


def promises_broken(dlq: DeadLetterQueue, noted: set[str]) -> list[str]:
    """What the checker has to say about the queue's database."""

    def evidence(connection: Any) -> Evidence:
        return Evidence(
            letters=connection.execute(select(letters)).all(),
            events=connection.execute(select(events).order_by(events.c.id)).all(),
            ledger=connection.scalars(select(ledger.c.letter_id)).all(),
            noted=frozenset(noted),
        )

    return [line.partition(":")[0] for line in judge(dlq._read(evidence)).broken]


@pytest.mark.timeout(7200 if WHOLE else 120)
@pytest.mark.parametrize("database", ["postgresql", "sqlite"])
def test_nothing_is_lost_or_done_twice(database: str) -> None:
    """Eight processes are killed while the database goes and comes: each failure is one letter, each redrive one run."""
    if database == "postgresql" and programs() is None:
        required = os.environ.get("UNHUSH_REQUIRE_SERVICES", "").split(",")
        why = "PostgreSQL's programs (initdb) are not installed"
        (pytest.fail if "postgresql" in required else pytest.skip)(why)
    command = [sys.executable, str(Path(__file__).with_name("run.py")), "--database", database]
    command += ["--rounds", "200" if WHOLE else "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "promises broken 0" in done.stdout
    assert re.search(r", failures noted [1-9]", done.stdout)
    assert re.search(r", redriven [1-9]", done.stdout)


def put(dlq: DeadLetterQueue, queue: str, job_id: str) -> str:
    """Captures a failure; the letter's id."""
    return dlq.put(queue=queue, job_name="job", job_id=job_id, error=ValueError(job_id)).id


def overtake(dlq: DeadLetterQueue, queue: str) -> None:
    """A redrive whose lease runs out while its handler works, so that another one does the letter meanwhile."""
    letter_id = put(dlq, queue, "a")
    turns = []

    def run(letter: Letter, session: Any = None) -> None:
        turns.append(letter.redrives)
        if len(turns) == 1 and session is None:
            expire(dlq)
            dlq.reap()
        if session is not None:
            session.execute(insert(ledger).values(letter_id=letter.id))

    dlq.register("broker", run)
    dlq.register("ledger", run, transactional=True)
    if queue == "broker":
        dlq.redrive([letter_id], actor="ann")
        return
    terms, act = terms_of(dlq._core), claims.Act(actor="zombie")
    taken = dlq._write(lambda connection: claims.claim(connection, letter_id, act, terms))
    expire(dlq)
    dlq.reap()
    dlq.redrive([letter_id], actor="ann")
    steps.drive(run_claimed(taken, act, terms), dlq)


def expire(dlq: DeadLetterQueue) -> None:
    """Lets all leases run out."""
    long_ago = "2020-01-01 00:00:00.000000"
    sql = f"UPDATE job_dlq SET lease_until = '{long_ago}' WHERE status = 'redriving'"
    dlq._write(lambda connection: connection.exec_driver_sql(sql))


@pytest.mark.parametrize("queue", ["broker", "ledger"])
def test_the_checker_sees_a_finish_without_a_fence(
    dlq: DeadLetterQueue, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redrive that ends late breaks nothing; without its fence it does, and the checker says so."""

    def unfenced(connection: Any, row: Any, **values: Any) -> bool:
        connection.execute(update(letters).where(letters.c.id == row.id).values(fence=row.fence + 1, **values))
        return True

    overtake(dlq, queue)
    assert promises_broken(dlq, {"a"}) == []
    dlq._write(lambda connection: [connection.execute(table.delete()) for table in (letters, events, ledger)])
    monkeypatch.setattr(claims, "change", unfenced)
    overtake(dlq, queue)
    broken = promises_broken(dlq, {"a"})
    assert "impossible" in broken
    assert ("exactly once" in broken) == (queue == "ledger")


def test_the_checker_sees_a_capture_without_identity(dlq: DeadLetterQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same failure captured twice is one letter; where captures forget what they know, the checker says so."""
    assert put(dlq, "ledger", "a") == put(dlq, "ledger", "a")
    assert promises_broken(dlq, {"a"}) == []
    stored: Callable[..., Any] = keeper.capture_many

    def forgetful(connection: Any, records: Any, **options: Any) -> Any:
        fresh = [record | {"id": str(uuid4()), "identity": None} for record in records]
        return stored(connection, fresh, **options)

    monkeypatch.setattr(keeper, "capture_many", forgetful)
    assert put(dlq, "ledger", "b") != put(dlq, "ledger", "b")
    assert promises_broken(dlq, {"a", "b"}) == ["duplicated"]


def test_the_checker_sees_a_lost_failure(dlq: DeadLetterQueue) -> None:
    """A failure that was noted and has no letter is told, and a letter of a failure that nobody noted."""
    put(dlq, "ledger", "a")
    assert sorted(promises_broken(dlq, {"b"})) == ["invented", "lost"]


def test_the_checker_sees_what_history_does_not_explain(dlq: DeadLetterQueue) -> None:
    """A letter whose status or fence its events don't lead to is told, and one whose job ran without being marked."""
    letter_id = put(dlq, "ledger", "a")
    dlq._write(lambda connection: connection.execute(update(letters).values(status="parked", fence=7)))
    dlq._write(lambda connection: connection.execute(insert(ledger).values(letter_id=letter_id)))
    assert promises_broken(dlq, {"a"}) == ["unexplained", "exactly once"]

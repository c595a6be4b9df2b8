"""Tests for redrives by several processes, some of which are killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deadletters import add, add_many, kinds, state
from sqlalchemy import text, update

from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.letters import Filter
from unhush.runtime.tables import letters, operations

# What a worker is: the database, a file that each run of a job adds a line to, and what else it does.
PROGRAM = """
import os, signal, sys
from sqlalchemy import text
from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.letters import Filter

url, done, spool, *ids = sys.argv[1:]
dlq = DeadLetterQueue(url, spool=spool)

def ran(letter):
    with open(done, "ab", buffering=0) as file:
        file.write(letter.id.encode() + b"\\n")

def die():
    os.kill(os.getpid(), signal.SIGKILL)

"""

Worker = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def worker(database: str, tmp_path: Path) -> Iterator[Worker]:
    """Starts a process that runs such a program; what is still running at the end is killed."""
    running = []

    def start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
        source = PROGRAM + textwrap.dedent(program)
        command = [sys.executable, "-c", source, database, str(tmp_path / "done"), str(tmp_path / "spool"), *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ran(tmp_path: Path) -> list[str]:
    """The letters whose jobs ran, in order."""
    done = tmp_path / "done"
    return done.read_text().split() if done.exists() else []


def expire(dlq: DeadLetterQueue) -> None:
    """Lets all leases run out."""
    moment = text("'2020-01-01 00:00:00.000000'")
    dlq._write(lambda c: c.execute(update(letters).where(letters.c.status == "redriving").values(lease_until=moment)))
    dlq._write(lambda c: c.execute(update(operations).values(lease_until=moment)))


def test_two_processes_run_each_letter_once(dlq: DeadLetterQueue, worker: Worker, tmp_path: Path) -> None:
    """Two processes that redrive the same letters at the same time run each of them once."""
    program = """
    dlq.register("mail", ran)
    dlq.stats()
    print("ready", flush=True)
    sys.stdin.readline()
    outcomes = dlq.redrive(ids, actor="w")
    print(sum(outcome.result == "redriven" for outcome in outcomes), flush=True)
    """
    ids = add_many(dlq, [{}] * 25)
    workers = [worker(program, *ids), worker(program, *ids)]
    for process in workers:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in workers:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    shares = [int(process.communicate(timeout=20)[0].split()[-1]) for process in workers]
    assert sorted(ran(tmp_path)) == ids
    assert sum(shares) == len(ids)
    assert {state(dlq, letter_id).redrives for letter_id in ids} == {1}


def test_a_killed_worker_leaves_its_letter_in_doubt(dlq: DeadLetterQueue, worker: Worker, tmp_path: Path) -> None:
    """A worker killed between sending and marking leaves its letter in doubt, the next one untouched (celery#1628)."""
    first, second = add_many(dlq, [{}, {}])
    process = worker(
        'dlq.register("mail", lambda letter: (ran(letter), die()))\ndlq.redrive(ids, actor="w")', first, second
    )
    assert process.wait(20) == -signal.SIGKILL
    assert ran(tmp_path) == [first]
    assert [state(dlq, letter_id).status for letter_id in (first, second)] == ["redriving", "dead"]
    assert dlq.reap() == []
    expire(dlq)
    dlq.register("mail", lambda _letter: None)
    outcomes = dlq.redrive([first, second], actor="ann")
    assert [outcome.result for outcome in outcomes] == ["wrong_state", "redriven"]
    assert (state(dlq, first).status, kinds(dlq, first)) == ("in_doubt", ["redriving", "reaped"])


def test_a_job_that_kills_its_worker_is_parked(dlq: DeadLetterQueue, worker: Worker, tmp_path: Path) -> None:
    """A transactional job that kills its worker leaves nothing, is dead again, and parked at last (good_job#821)."""
    with dlq.engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS sums"))
        connection.execute(text("CREATE TABLE sums (n integer)"))
    letter_id = add(dlq)
    program = """
    def pay(letter, session):
        session.execute(text("INSERT INTO sums VALUES (1)"))
        session.flush()
        ran(letter)
        die()

    dlq.register("mail", pay, transactional=True)
    dlq.redrive(ids, actor="w")
    """
    dlq._core.max_redrives = 2
    for status in ("dead", "parked"):
        assert worker(program, letter_id).wait(20) == -signal.SIGKILL
        expire(dlq)
        dlq.reap()
        assert state(dlq, letter_id).status == status
    assert ran(tmp_path) == [letter_id] * 2
    count = text("SELECT count(*) FROM sums")
    assert dlq._read(lambda connection: connection.scalar(count)) == 0
    pay = text("INSERT INTO sums VALUES (1)")
    dlq.register("mail", lambda _letter, session: session.execute(pay), transactional=True)
    assert dlq.redrive([letter_id], actor="ann")[0].result == "wrong_state"
    dlq.restore([letter_id], actor="ann")
    assert dlq.redrive([letter_id], actor="ann")[0].result == "redriven"
    assert dlq._read(lambda connection: connection.scalar(count)) == 1


def test_a_bulk_act_outlives_its_process(dlq: DeadLetterQueue, worker: Worker, tmp_path: Path) -> None:
    """A bulk redrive whose process is killed is worked to its end by another one, and no letter runs twice."""
    ids = add_many(dlq, [{}] * 6)
    program = """
    def send(letter):
        ran(letter)
        if letter.id == ids[2]:
            die()

    dlq.register("mail", send)
    dlq.bulk("redrive", Filter(queue="mail"), actor="w")
    """
    assert worker(program, *ids).wait(20) == -signal.SIGKILL
    (left,) = dlq.operations(status="running").operations
    assert (left.total, left.succeeded) == (6, 2)
    expire(dlq)
    mine: list[str] = []
    dlq.register("mail", lambda letter: mine.append(letter.id))
    done = dlq.work(left.id)
    assert (done.status, done.succeeded, done.failed, done.skipped) == ("done", 5, 1, 0)
    assert [*ran(tmp_path), *mine] == ids
    assert state(dlq, ids[2]).status == "in_doubt"
    assert dlq.bulk("redrive", Filter(queue="mail"), actor="ann").total == 0

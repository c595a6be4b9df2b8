from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, text

from unhush.runtime import Watchdog

Row = Callable[..., Any]

# Runs a job and, for each line that it is sent, writes a result under guard and says whether that was let through.
JOB = """
import sys
from sqlalchemy import text
from unhush.runtime import Heartbeats
from unhush.runtime.beat_errors import LeaseLost
url, job_id, name = sys.argv[1:]
with Heartbeats(url, every=0.5) as beats, beats.job(job_id, kind="mail") as beat:
    print("begun", flush=True)
    for line in sys.stdin:
        try:
            with beats.engine.begin() as connection:
                beat.guard(connection)
                connection.execute(text("INSERT INTO result VALUES (:job, :name)"), {"job": job_id, "name": name})
            print("written", flush=True)
        except LeaseLost:
            print("lost", flush=True)
"""


class Running:
    """A process that runs a job."""

    def __init__(self, url: str, job_id: str, name: str) -> None:
        command = [sys.executable, "-c", JOB, url, job_id, name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.said() == "begun"

    def said(self) -> str:
        """Its next line."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def write(self) -> str:
        """Has it write its result."""
        print("write", file=self.process.stdin, flush=True)
        return self.said()

    def kill(self) -> None:
        """Kills it, stopped or not."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def running(url: str, *job_ids: str, name: str = "first") -> Iterator[list[Running]]:
    found: list[Running] = []
    try:
        found.extend(Running(url, job_id, name) for job_id in job_ids)  # one by one: what has begun is killed below
        yield found
    finally:
        for one in found:
            one.kill()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP")
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_killed_and_stopped(database: str, engine: Engine, job_row: Row, dialect: str, wait: Row) -> None:
    """Of real processes the killed and the stopped one lose their jobs, and the stopped one's late result is refused."""
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS result"))
        connection.execute(text("CREATE TABLE result (job varchar(9), name varchar(9))"))
    given: list[str] = []
    watchdog = Watchdog(engine, stuck_after=4, every=0.5, actions={"mail": "requeue"}, brake_share=1)

    def acted_on() -> list[str]:
        given.extend(one.job_id for one in watchdog.run_once() if one.done == "requeued")
        return sorted(given)

    with running(database, "killed", "stopped", "well") as (killed, stopped, well):
        assert acted_on() == []
        killed.kill()
        os.kill(stopped.process.pid, signal.SIGSTOP)
        wait(acted_on, lambda found: len(found) >= 2, seconds=60)
        with running(database, "killed", "stopped", name="second") as (killed_again, stopped_again):
            assert [one.write() for one in (killed_again, stopped_again, well)] == ["written"] * 3
            os.kill(stopped.process.pid, signal.SIGCONT)
            assert stopped.write() == "lost"
            assert stopped_again.write() == "written"
            assert acted_on() == ["killed", "stopped"]
    with engine.begin() as connection:
        rows = sorted(tuple(row) for row in connection.execute(text("SELECT DISTINCT job, name FROM result")))
    assert rows == [("killed", "second"), ("stopped", "second"), ("well", "first")]
    assert job_row("well").fence == 1

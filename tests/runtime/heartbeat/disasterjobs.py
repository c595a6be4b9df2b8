"""What the processes of the disasters run: workers with jobs, and watchdogs. Each tells what happened in a file of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from unhush.runtime import Heartbeats, Watchdog, beats
from unhush.runtime.beat import Beat
from unhush.runtime.beat_errors import AlreadyRunning, HeartbeatError, LeaseLost

EVERY = 1.0  # seconds between two beats, and between two runs of a watchdog
STUCK_AFTER = 6.0
PAUSE = 0.3  # seconds between two results of a job
INSERT = text(
    "INSERT INTO result (job, fence) VALUES (:job, :fence)"
)  # the table only grows, in the order of the writes


class Ledger:
    """A file that only grows, a line at a time: what was written stays, however the process ends."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what: str, **facts: Any) -> None:
        """Writes a line with the time."""
        os.write(self._file, (json.dumps({"what": what, "at": time.time(), **facts}) + "\n").encode())


class Worker:
    """A process that runs jobs in threads or tasks, as it is told line by line.

    `run JOB`, `end JOB`, `hold` (a job stays in the middle of its transaction), `block`, `gil`.
    """

    def __init__(self, url: str, ledger: Path, how: str) -> None:
        self.ledger = Ledger(ledger)
        self.how = how
        self.beats = Heartbeats(url, every=EVERY, patience=20, own_process=how == "own")
        self.ending: set[str] = set()
        self.holds = threading.Event()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.pulse, daemon=True).start()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def pulse(self) -> None:
        """Tells that the process gets its turns, and its database takes what it writes: else it can't beat either."""
        engine = create_engine(self.beats.engine.url)
        while True:
            try:
                with engine.begin() as connection:
                    connection.execute(text("INSERT INTO pulse (process) VALUES (:process)"), {"process": os.getpid()})
            except SQLAlchemyError as error:
                self.ledger.note("failed", error=type(error).__name__)
            else:
                self.ledger.note("pulse")
            time.sleep(EVERY / 2)

    def obey(self) -> None:
        """Does what it is told, until it is killed."""
        for line in sys.stdin:
            word, _, job_id = line.strip().partition(" ")
            if word == "run" and self.how == "async":
                asyncio.run_coroutine_threadsafe(self.run_async(job_id), self.loop)
            elif word == "run":
                threading.Thread(target=self.run, args=(job_id,), daemon=True).start()
            elif word == "end":
                self.ending.add(job_id)
            elif word == "hold":
                self.holds.set()
            elif word == "block":
                self.loop.call_soon_threadsafe(time.sleep, STUCK_AFTER + 4)
            elif word == "gil":
                threading.Thread(target=re.match, args=("(?:a|aa)+$", "a" * 90 + "b"), daemon=True).start()

    def run(self, job_id: str) -> None:
        """A job in a thread."""
        ran = False
        while not ran:
            try:
                with self.beats.job(job_id, kind="mail") as beat:
                    ran = self.begun(beat)
                    while ran and not self.done(beat):
                        time.sleep(PAUSE)
            except AlreadyRunning:
                time.sleep(PAUSE)
            except HeartbeatError:
                return  # it was told

    async def run_async(self, job_id: str) -> None:
        """A job in a task."""
        ran = False
        while not ran:
            try:
                async with self.beats.job(job_id, kind="mail") as beat:
                    ran = await asyncio.to_thread(self.begun, beat)
                    while ran and not await asyncio.to_thread(self.done, beat):
                        await asyncio.sleep(PAUSE)
            except AlreadyRunning:
                await asyncio.sleep(PAUSE)
            except HeartbeatError:
                return  # it was told

    def begun(self, beat: Beat) -> bool:
        """Tells of a run, once it has its claim; False where another run of the job is alive."""
        while beat.claim is None:
            if beat.lost:
                return False
            time.sleep(PAUSE)
        self.ledger.note("begun", job=beat.job_id, fence=beat.claim.fence)
        return True

    def done(self, beat: Beat) -> bool:
        """Writes a result under guard; whether it was the last, or refused."""
        assert beat.claim is not None
        run = {"job": beat.job_id, "fence": beat.claim.fence}
        last = beat.job_id in self.ending
        try:
            with self.beats.engine.begin() as connection:
                (beat.finish if last else beat.guard)(connection)
                connection.execute(INSERT, run)
                if self.holds.is_set():
                    self.holds.clear()
                    self.ledger.note("holds", **run)
                    time.sleep(STUCK_AFTER)
        except LeaseLost:
            self.try_late(beat)
            return True
        except DBAPIError:
            beat.finishing = False  # nothing was written: it is tried again
            return False
        self.ledger.note("ended" if last else "wrote", **run)
        return last

    def try_late(self, beat: Beat) -> None:
        """Tries to write all the same, and waits until the beat tells what the guard did."""
        assert beat.claim is not None
        run = {"job": beat.job_id, "fence": beat.claim.fence}
        try:
            with self.beats.engine.begin() as connection:
                beats.guard(connection, beat.claim)
                connection.execute(INSERT, run)
        except LeaseLost:
            self.ledger.note("refused", **run)
        except DBAPIError as error:
            self.ledger.note("failed", error=type(error).__name__)
        while not beat.lost:
            time.sleep(PAUSE)
        self.ledger.note("lost", **run)


def watch(url: str, ledger: Path) -> None:
    """A watchdog that tells of each run that it led."""
    told = Ledger(ledger)
    options = {"actions": {"mail": "requeue"}, "brake_share": 1.0, "max_rescues": 1_000_000}
    watchdog = Watchdog(url, stuck_after=STUCK_AFTER, every=EVERY, **options)
    row = text("SELECT holder, last_run_at, steady_since FROM unhush_watchdog")
    seen = None
    while True:
        try:
            verdicts = watchdog.run_once()
            with watchdog.engine.connect() as connection:
                found = connection.execute(row).one()
        except (SQLAlchemyError, HeartbeatError) as error:
            told.note("failed", error=type(error).__name__)
        else:
            if verdicts or (str(found.holder) == watchdog.holder and found.last_run_at != seen):
                given = [[one.job_id, one.fence, one.state, one.done] for one in verdicts]
                moments = {"run_at": _seconds(found.last_run_at), "steady": _seconds(found.steady_since)}
                told.note("led", **moments, verdicts=given)
            seen = found.last_run_at
        time.sleep(watchdog.pause)


def _seconds(moment: Any) -> float:
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return float((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def main(role: str, url: str, ledger: str, how: str = "") -> None:
    """Runs one of them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    if role == "watch":
        watch(url, Path(ledger))
    else:
        Worker(url, Path(ledger), how).obey()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Workers of job frameworks in processes of their own, and waiting for what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from uuid import uuid4

from sqlalchemy import text, update

from unhush.runtime import DeadLetterQueue, Letter
from unhush.runtime.engine import make_engine
from unhush.runtime.tables import letters
from unhush.sql.runner import upgrade

T = TypeVar("T")

PROGRAMS = Path(__file__).parent / "runtime" / "integrations" / "jobs"


def until(found: Callable[[], T], seconds: float = 60.0) -> T:
    """What the call gives as soon as that is true; fails when it takes too long."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, f"waited {seconds:g} s"
        time.sleep(0.05)
    return result


class Jobs:
    """What a test shares with its workers: a folder, a broker, a queue of its own there, and a dead letter queue."""

    def __init__(self, folder: Path, broker: str, database: str | None = None, **env: str) -> None:
        self.folder = folder
        self.broker = broker
        self.queue = f"unhush-{uuid4().hex[:12]}"
        self.database = database or f"sqlite:///{folder}/jobs.db"
        self.env = env
        (folder / "file").touch()  # a folder below it can't be made
        engine = make_engine(self.database)
        upgrade(engine)
        engine.dispose()
        self.dlq = DeadLetterQueue(self.database, spool=folder / "spool", deadline=10, max_redrives=2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.dlq.close()

    @contextmanager
    def program(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A Python process with the flag on and the jobs in its path; killed with its children at the end."""
        env = {
            "JOBS_FOLDER": str(self.folder),
            "JOBS_BROKER": self.broker,
            "JOBS_QUEUE": self.queue,
            "JOBS_DATABASE": self.database,
            "FEATURE_FLAG_DLQ_ENABLED": "true",
            **self.env,
            "PYTHONPATH": os.pathsep.join([str(PROGRAMS), os.environ.get("PYTHONPATH", "")]),
        }
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], env={**os.environ, **env}, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def log(self) -> str:
        """What the workers printed."""
        return (self.folder / "log").read_text()

    def ran(self) -> list[str]:
        """What jobs noted, in order."""
        path = self.folder / "ran"
        return path.read_text().splitlines() if path.exists() else []

    def mend(self, to: str) -> None:
        """Mends the bug that jobs with this argument meet."""
        (self.folder / f"mended-{to}").touch()

    def letters(self, job_id: str) -> list[Letter]:
        """The letters of a job, also of one that a worker on a busy machine put into the spool."""
        if self.dlq.stats().spool_records:
            self.dlq.drain()
        return [self.dlq.get(letter.id) for letter in self.dlq.list(limit=200).letters if letter.job_id == job_id]

    def letter(self, job_id: str, status: str = "dead", redrives: int = 0) -> Letter:
        """The only letter of a job, once it is there, and has this status after so many redrives."""

        def found() -> list[Letter]:
            return [x for x in self.letters(job_id) if (x.status, x.redrives) == (status, redrives)]

        until(found)
        (letter,) = self.letters(job_id)
        return letter

    def spool_of(self, name: str) -> DeadLetterQueue:
        """The dead letter queue with the spool of one that did not reach its database."""
        return DeadLetterQueue(self.database, spool=self.folder / name)

    def redrive(self, letter: Letter) -> str:
        """How the letter's redrive ends."""
        (outcome,) = self.dlq.redrive([letter.id], actor="ann")
        return outcome.result

    def fail_again(self, letter: Letter, status: str = "dead") -> Letter:
        """Redrives a letter whose job is not mended yet; it, once it is back with one more failure in its history."""
        before = [kind for kind in self.kinds(letter) if kind != "redriven"]
        assert self.redrive(letter) in ("redriven", "failed")  # the job may fail before the redrive is marked
        again = self.letter(letter.job_id or "", status, letter.redrives + 1)
        assert again.id == letter.id
        assert [kind for kind in self.kinds(again) if kind != "redriven"] == [*before, "redriving", "failed_again"]
        return again

    def kinds(self, letter: Letter) -> list[str]:
        """What the letter's history says, but for who looked at it."""
        return [event.kind for event in self.dlq.history(letter.id) if event.kind != "seen"]

    def expire(self) -> None:
        """Lets the leases of all redrives run out."""
        past = text("'2020-01-01 00:00:00.000000'")
        of_redrives = update(letters).where(letters.c.status == "redriving")
        self.dlq._write(lambda connection: connection.execute(of_redrives.values(lease_until=past)))

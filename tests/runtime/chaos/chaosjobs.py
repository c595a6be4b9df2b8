"""What the killed processes do: jobs that fail, are captured and put back to work."""

from __future__ import annotations

import os
import random
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, insert
from sqlalchemy.exc import SQLAlchemyError

from unhush.runtime.context import LETTER_HEADER, REDRIVE_HEADER
from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.letters import DeadLetterError, Filter, InDoubt, Letter, LetterSummary, WrongState

LEASE = 1.5
DEADLINE = 0.7
MAX_REDRIVES = 6

ledger = Table(
    "ledger", MetaData(), Column("id", Integer, primary_key=True), Column("letter_id", String(36), nullable=False)
)


class Trouble(Exception):
    """What the jobs fail with."""


class Journal:
    """What one seat's processes noted, one after another: each line is on disk before it counts."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, *words: object) -> None:
        """Adds a line, and waits for the disk."""
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())
        os.fsync(self._file)


def noted(path: Path) -> dict[str, bool]:
    """The failures that a journal holds, and whether the capture of each was answered."""
    failures: dict[str, bool] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        word, failure = line.split(" ", 1)
        failures[failure] = failures.get(failure, False) or word == "captured"
    return failures


class Worker:
    """One process: it captures, redrives and drains at random until it is killed."""

    def __init__(self, url: str, folder: Path, seat: int) -> None:
        self._folder = folder
        self._seat = seat
        self._boot = f"{seat}-{os.getpid()}-{time.time_ns()}"
        self._number = 0
        self._random = random.Random(self._boot)
        self._journal = Journal(folder / f"journal-{seat}")
        self._sent = os.open(folder / "sent", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._recent: deque[LetterSummary] = deque(maxlen=20)
        self.dlq = DeadLetterQueue(
            url, spool=folder / "spool", lease=LEASE, deadline=DEADLINE, max_redrives=MAX_REDRIVES
        )
        self.dlq.register("ledger", self._enter, transactional=True)
        self.dlq.register("broker", self._send)

    def run(self) -> None:
        """Works for ever; what the queue may raise while its database is down is passed over, and nothing else is."""
        self.catch_up()
        while True:
            try:
                self._turn()
            except (SQLAlchemyError, DeadLetterError):
                time.sleep(0.05)
            time.sleep(self._random.uniform(0.005, 0.04))

    def catch_up(self) -> None:
        """Does again what was cut off: a job whose worker died is delivered again, and fails in the same way."""
        for failure, answered in noted(self._folder / f"journal-{self._seat}").items():
            if not answered:
                self._capture(failure)

    def _turn(self) -> None:
        chance = self._random.random()
        if chance < 0.55:
            self._fail()
        elif chance < 0.6 and self._recent:
            self._fail_again(self._recent.popleft())
        elif chance < 0.93:
            self._redrive()
        elif chance < 0.97:
            self._in_bulk()
        else:
            self.dlq.drain()

    def _fail(self) -> None:
        """A job fails; now and then two processes capture the same failure."""
        self._number += 1
        queue = self._random.choice(["ledger", "broker"])
        failure = f"new {queue} {self._boot}-{self._number}"
        self._journal.write("failed", failure)
        self._capture(failure)
        if self._random.random() < 0.1:
            self._capture(failure)

    def _fail_again(self, letter: LetterSummary) -> None:
        """A job that was sent to the broker fails there."""
        failure = f"again {letter.id} {letter.redrives} {letter.job_id}"
        self._journal.write("failed", failure)
        self._capture(failure)

    def _capture(self, failure: str) -> None:
        kind, *words = failure.split()
        try:
            raise Trouble(failure)
        except Trouble as error:
            if kind == "new":
                queue, job_id = words
                self.dlq.put(queue=queue, job_name="job", job_id=job_id, payload={"job": job_id}, error=error)
            else:
                letter_id, redrive, job_id = words
                headers = {LETTER_HEADER: letter_id, REDRIVE_HEADER: redrive}
                self.dlq.put(queue="broker", job_name="job", job_id=job_id, headers=headers, error=error)
        self._journal.write("captured", failure)

    def _redrive(self) -> None:
        queue = self._random.choice(["ledger", "broker"])
        page = self.dlq.list(Filter(queue=queue, status="dead"), limit=20)
        chosen = self._random.sample(page.letters, min(len(page.letters), 4))
        self.dlq.redrive([letter.id for letter in chosen], actor=f"worker {self._seat}")

    def _in_bulk(self) -> None:
        """Goes on with a bulk redrive that another process may have left, or begins one."""
        running = self.dlq.operations(status="running", limit=5).operations
        if running:
            with suppress(WrongState):  # another process is at it
                self.dlq.work(self._random.choice(running).id)
        else:
            queue = self._random.choice(["ledger", "broker"])
            self.dlq.bulk("redrive", Filter(queue=queue), actor=f"worker {self._seat}")

    def _enter(self, letter: Letter, session: Any) -> None:
        session.execute(insert(ledger).values(letter_id=letter.id))
        self._work()

    def _send(self, letter: Letter) -> None:
        self._work()
        os.write(self._sent, f"{letter.id} {letter.redrives}\n".encode())
        self._recent.append(letter)
        if self._random.random() < 0.02:
            raise InDoubt("the broker did not answer")
        self._pause()

    def _work(self) -> None:
        self._pause()
        if self._random.random() < 0.15:
            raise Trouble("it fails in the handler")

    def _pause(self) -> None:
        """Mostly short; now and then long enough that the database goes, or the process is stopped, meanwhile."""
        time.sleep(0.3 if self._random.random() < 0.03 else self._random.uniform(0, 0.01))

"""RQ jobs that fail until a file says that they are mended; run as a program, a worker for them."""

from __future__ import annotations

import os
import signal
import sys
import time

from marks import FOLDER, NOWHERE, mended, note
from redis import Redis

from unhush.runtime import DeadLetterQueue
from unhush.runtime.flags import Flag
from unhush.runtime.integrations.rq import worker_class


def send(to: str, *, name: str) -> None:
    """Fails until mended."""
    note("try", to)
    mended(to)
    note("send", to, name)


def kill(to: str) -> None:
    """Kills its process."""
    note("kill", to)
    if to != "spared":
        os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    """Says that it runs, and never ends."""
    note("hangs in", os.getpid())
    time.sleep(600)


def queue_of(kind: str) -> DeadLetterQueue:
    """The dead letter queue of the tests, or one that is off, or one without its database."""
    database = os.environ["JOBS_DATABASE"]
    if kind == "off":
        return DeadLetterQueue(database, spool=FOLDER / "spool", flag=Flag("DLQ_NEVER_ON"))
    if kind == "dark":
        return DeadLetterQueue(NOWHERE, spool=FOLDER / "dark")
    return DeadLetterQueue(database, spool=FOLDER / "spool", deadline=10, max_redrives=2)


def work(kind: str, queue: str, burst: bool) -> None:
    """Works on a queue until everything there is done, or for ever."""
    connection = Redis.from_url(os.environ["JOBS_BROKER"])
    dlq = queue_of(kind)
    assert dlq.engine is not None  # imported here, and not by the process of each job
    worker_class(dlq, queue="mail")([queue], connection=connection).work(burst=burst)


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2], burst=sys.argv[3:] == ["burst"])

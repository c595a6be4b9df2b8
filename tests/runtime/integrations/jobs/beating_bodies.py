"""What the beating jobs of each framework do, and what they beat with."""

from __future__ import annotations

import os
import time

from marks import FOLDER, NOWHERE, is_mended, note

from unhush.runtime import DeadLetterQueue, Heartbeats, current_beat
from unhush.runtime.heartbeat import Limits

EVERY = 0.5  # seconds
LIMITS: dict[str, Limits] = {"bound": {"deadline": 1}}

dlq = DeadLetterQueue(os.environ["JOBS_DATABASE"], spool=FOLDER / "spool", deadline=10, max_redrives=2)
heartbeats = Heartbeats(os.environ["JOBS_DATABASE"], every=EVERY, patience=20)
in_the_dark = Heartbeats(NOWHERE, every=EVERY)


def work(to: str) -> None:
    """Runs until a file says that it is enough."""
    beat = current_beat()
    note("begun", to, os.getpid(), beat.claim.fence if beat.claim else None)
    while not is_mended(to):
        time.sleep(0.02)
        beat(progress=time.monotonic())
        if is_mended(f"{to}-fails"):
            raise ValueError("no such address")
    note("done", to)


def bound(to: str) -> None:
    """As `work`, with a deadline."""
    work(to)


def dark(to: str) -> None:
    """As `work`, without the database."""
    work(to)

"""A worker process: until its stdin closes, jobs that fail are captured and jobs that succeed beat, as the flags say."""

from __future__ import annotations

import sys
import threading
import time
from uuid import uuid4

from openfeature import api

from unhush.runtime import DatabaseFlags, DeadLetterQueue, Heartbeats


def main(url: str, spool: str) -> None:
    """Works on, some twenty jobs of each kind a second."""
    getattr(api, "set_provider_and_wait", api.set_provider)(DatabaseFlags(url))
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    with DeadLetterQueue(url, spool=spool, deadline=30, alert_threshold=10**6) as dlq, Heartbeats(url) as beats:

        @dlq.dead_letter(queue="mail", job_id=lambda job: job)
        def fail(job: str) -> None:
            raise ValueError(job)

        print("works", flush=True)
        while not ended.is_set():
            try:
                fail(str(uuid4()))
            except ValueError:
                time.sleep(0.05)
            with beats.job(uuid4(), kind="mail"):
                pass


main(*sys.argv[1:])

"""What the tests of captures start in processes of their own."""

from __future__ import annotations

from typing import Any

from unhush.runtime import DeadLetterQueue


def capture_often(url: str, spool: str, start: Any) -> None:
    """Captures 90 failures, once all who wait at `start` are there."""
    with DeadLetterQueue(url, spool=spool, deadline=20) as dlq:
        start.wait()
        for number in range(15):
            dlq.put(queue="mail", job_name="send", job_id=str(number), error=ValueError("x"))
            dlq.put_many(
                {"queue": "mail", "job_name": "send", "job_id": f"m{number}-{n}", "error": ValueError("x")}
                for n in range(5)
            )

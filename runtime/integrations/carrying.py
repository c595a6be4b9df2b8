"""What the integrations share: captures as the flag says, and what a redriven job carries through its broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid5

from ..context import LETTER_HEADER, REDRIVE_HEADER, redrive_headers, with_variant
from ..dlq import DeadLetterQueue
from ..failure import Failure
from ..flags import State
from ..letters import InDoubt, Letter

# The id of the job that failed first: what is sent again has an id of its own.
JOB_HEADER = "unhush-job-id"
# On another delivery of a job that still ran elsewhere: it is dropped where that has ended well.
AGAIN_HEADER = "unhush-again"
CARRIED = (LETTER_HEADER, REDRIVE_HEADER, JOB_HEADER, AGAIN_HEADER)

_REDRIVES = UUID("6f2c1f0e-6f0a-4c55-9d5e-0d8a3a3a5f11")


def blocking(dlq: DeadLetterQueue) -> DeadLetterQueue:
    """The queue itself; raises TypeError for one of asyncio, whose captures nobody would wait for."""
    if not isinstance(dlq, DeadLetterQueue):
        raise TypeError(f"give the integration a DeadLetterQueue, not {type(dlq).__name__}")
    return dlq


def keep(
    dlq: DeadLetterQueue,
    *,
    queue: str,
    job_name: str,
    job_id: str | None,
    error: BaseException | Failure,
    attempts: int,
    payload: Any,
    headers: Mapping[str, Any],
) -> bool:
    """Captures a job that failed for good, if the flag is on for it; says whether it is.

    Raises DeadLetterError where neither database nor spool took it: then the broker must keep the job.
    """
    failure = failure_of(
        queue=queue, job_name=job_name, job_id=job_id, attempts=attempts, payload=payload, headers=headers
    )
    state, variant = dlq._core.flag.word(failure["job_id"])
    if state is State.OFF:
        return False
    failure["headers"] = with_variant(failure["headers"], variant)
    dlq._keep_failure(spool_first=state is State.UNREACHABLE_WAS_ON, error=error, **failure)
    return True


def failure_of(
    *, queue: str, job_name: str, job_id: str | None, attempts: int, payload: Any, headers: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of the queue's `put` for a job's failure, but for the error."""
    return {
        "queue": queue,
        "job_name": job_name,
        "job_id": headers.get(JOB_HEADER) or job_id,
        "attempts": attempts,
        "payload": payload,
        "headers": headers,
        "trace_id": trace_of(headers),
    }


def not_kept(dlq: DeadLetterQueue, queue: str, job_name: str, job_id: str | None, trouble: BaseException) -> None:
    """Logs that a failed job is in no database and no spool."""
    from ..keeping import why

    dlq._core.log.error("dead_letter.integration_failed", queue=queue, job_name=job_name, job_id=job_id, **why(trouble))


def carried(letter: Letter) -> dict[str, str]:
    """The headers with which a redriven job's failure finds its letter, and the first job's id."""
    headers = redrive_headers(letter)
    return headers if letter.job_id is None else headers | {JOB_HEADER: letter.job_id}


def redriven_id(letter: Letter) -> str:
    """The id of the job that this redrive sends: always the same for one redrive of one letter."""
    return str(uuid5(_REDRIVES, letter.idempotency_key))


def trace_of(headers: Mapping[str, Any]) -> str | None:
    """The trace id in a W3C `traceparent` header."""
    parts = str(headers.get("traceparent") or "").split("-")
    return parts[1] if len(parts) == 4 else None


@contextmanager
def sending(letter: Letter, doubtful: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Raises InDoubt where one of these errors, or any of a socket, leaves open whether the broker has the job."""
    try:
        yield
    except doubtful + (OSError,) as error:  # noqa: RUF005 - mypy reads no starred tuple here
        raise InDoubt(
            f"the connection ended while {letter.job_name} was sent ({type(error).__name__}): look in the broker whether"
            f" job {redriven_id(letter)} is there"
        ) from error

"""Which letter's job is running: so that its failure comes back to that letter instead of making a new one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .letters import LetterSummary

# The headers that a redriven job carries through a broker.
LETTER_HEADER = "unhush-letter-id"
REDRIVE_HEADER = "unhush-redrive"
# Which setting of the flag had the failure captured; only a letter bears it.
VARIANT_HEADER = "unhush-variant"


class Redrive:
    """One letter's redrive in this process, while its handler runs.

    `failure` is the job's error where it was captured within the handler: then the redrive failed, even if the handler
    returns. It is written by whoever runs the handler, not by the capture, which would wait for the letter's own lock.
    """

    __slots__ = ("failure", "letter", "open")

    def __init__(self, letter: LetterSummary) -> None:
        self.letter = letter
        self.failure: Any = None
        self.open = True

    def take(self, queue: str, job_name: str, job_id: str | None, failure: Any) -> bool:
        """Keeps the failure if it is that of the redriven job, and the handler still runs."""
        same_job = (queue, job_name) == (self.letter.queue, self.letter.job_name)
        if not self.open or not same_job or (job_id is not None and job_id != self.letter.job_id):
            return False
        self.failure = failure
        return True


_current: ContextVar[Redrive | None] = ContextVar("unhush_redrive", default=None)


@contextmanager
def redriving(letter: LetterSummary) -> Iterator[Redrive]:
    """Says, for as long as the handler runs, that it runs the letter's job again."""
    redrive = Redrive(letter)
    token = _current.set(redrive)
    try:
        yield redrive
    finally:
        redrive.open = False  # a task that the handler left behind still sees this context
        _current.reset(token)


def current() -> Redrive | None:
    """The redrive whose handler runs here, if one does."""
    return _current.get()


def redrive_headers(letter: LetterSummary) -> dict[str, str]:
    """The headers that a job sent to a broker must carry, so that its failure comes back to the letter."""
    return {LETTER_HEADER: letter.id, REDRIVE_HEADER: str(letter.redrives)}


def with_variant(headers: Mapping[str, Any] | None, variant: str | None) -> Mapping[str, Any] | None:
    """A failure's headers with the flag's variant, where it has one."""
    if variant is None or not isinstance(headers or {}, Mapping):
        return headers
    return {**(headers or {}), VARIANT_HEADER: variant}


def from_headers(headers: Mapping[str, Any] | None) -> tuple[str, int] | None:
    """The letter's id and the redrive's number that the job's headers name."""
    if not headers or LETTER_HEADER not in headers:
        return None
    letter_id, number = headers[LETTER_HEADER], headers.get(REDRIVE_HEADER)
    if isinstance(letter_id, bytes):
        letter_id = letter_id.decode("ascii", "replace")
    try:
        return str(letter_id), int(number)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(f"the header {REDRIVE_HEADER} is not a number") from error

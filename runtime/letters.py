"""What callers see of the dead letter queue: letters, filters, pages, outcomes and errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

Json = Any  # what json.loads gives


class DeadLetterError(Exception):
    """Something that a call on the queue can't do; the text is one line that says what to do."""


class NoSuchLetter(DeadLetterError):
    """There is no letter, or no bulk act, with this id."""


class WrongState(DeadLetterError):
    """The letter's status does not allow the act."""


class LeaseLost(DeadLetterError):
    """Another process holds the letter by now: this one's fencing number is too old."""


class EmptyFilter(DeadLetterError):
    """A bulk act was asked for on every letter without saying so."""


class BadCursor(DeadLetterError):
    """The cursor is not one that this list gave."""


class KeyReused(DeadLetterError):
    """An idempotency key came again with another request."""


class NoHandler(DeadLetterError):
    """No handler is registered for the letter's queue."""


class SchemaProblem(DeadLetterError):
    """The database lacks the migration, or has a newer one than this code knows."""


class InDoubt(Exception):
    """Raised by a handler that can't tell whether its job was sent: the letter then waits for a person."""


# PostgreSQL's text holds no NUL, and no database UTF-8 has lone surrogates.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
PAGE_LIMIT = 10_000


def check_limit(limit: int) -> None:
    """Raises DeadLetterError for a page of no letters, or of more than a page may have."""
    if not 1 <= limit <= PAGE_LIMIT:
        raise DeadLetterError(f"the limit of a page must be 1 to {PAGE_LIMIT:,}")


def check_text(name: str, text: str | None, *, most: int | None = 255) -> None:
    """Raises DeadLetterError for a text that no column holds: of more than `most` characters, or with odd ones."""
    if text is None:
        return
    if most is not None and len(text) > most:
        raise DeadLetterError(f"{name} is longer than {most} characters")
    if UNSTORABLE.search(text):
        raise DeadLetterError(f"{name} holds NUL or half a surrogate pair, which no database stores")


def _check_asked(asked: Any) -> None:
    """Raises DeadLetterError for a filter with values that no column holds."""
    for name in asked.__slots__:
        value = getattr(asked, name)
        if name in ("letter_id", "operation_id") and value is not None:
            _check_id(name, value)
        elif isinstance(value, str):
            check_text(name, value)
            if name in ("fingerprint", "kind") and not value.isascii():
                raise DeadLetterError(f"{name} has ASCII characters only")
        elif isinstance(value, datetime):
            _check_time(name, value)


def _check_id(name: str, value: str) -> None:
    try:
        UUID(value)
    except ValueError as error:
        raise DeadLetterError(f"{name} is no id: {value[:80]!r}") from error


def _check_time(name: str, value: datetime) -> None:
    if value.tzinfo is None:
        raise DeadLetterError(f"{name} needs its zone")
    try:
        value.astimezone(UTC)
    except OverflowError as error:
        raise DeadLetterError(f"{name} is out of range") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterSummary:
    """A dead letter without what may be large or private: what lists hold."""

    id: str
    queue: str
    job_name: str
    job_id: str | None
    status: str
    attempts: int
    redrives: int
    fence: int
    operation_id: str | None
    fingerprint: str
    error_type: str
    first_failed_at: datetime
    failed_at: datetime
    captured_at: datetime
    changed_at: datetime
    seen_at: datetime | None
    lease_until: datetime | None
    claimed_by: str | None
    redrivable: bool
    host: str
    process: str
    code_version: str | None
    trace_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter(LetterSummary):
    """A dead letter whole. `payload` is decoded: equal to what was captured, but for `changed_paths`."""

    error_message: str
    traceback: str
    headers: Mapping[str, Json]
    payload: Any
    changed_paths: Sequence[str] = ()

    @property
    def idempotency_key(self) -> str:
        """The same for one redrive of one letter, however often it is sent: the letter's id and the redrive's number."""
        return f"{self.id}:{self.redrives}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a letter's history, or of the audit: who did what, when and why."""

    id: int
    letter_id: str | None
    operation_id: str | None
    kind: str
    at: datetime
    actor: str
    reason: str | None
    fence: int | None
    detail: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which letters: all that is said must hold; a filter that says nothing is empty."""

    queue: str | None = None
    status: str | None = None
    job_name: str | None = None
    job_id: str | None = None
    fingerprint: str | None = None
    error_type: str | None = None
    operation_id: str | None = None
    failed_before: datetime | None = None
    failed_after: datetime | None = None
    redrivable: bool | None = None
    ids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check_asked(self)

    def narrowed(self, **given: Any) -> Filter:
        """The filter with these fields too, where they are not None."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    @property
    def empty(self) -> bool:
        """Whether it says nothing but the status, and so means every letter."""
        return all(getattr(self, name) is None for name in self.__slots__ if name != "status")


@dataclass(frozen=True, slots=True)
class Page:
    """Some letters, newest first, and where the next page begins; None at the end."""

    letters: Sequence[LetterSummary]
    cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events: all that is said must hold. Times: from `since` on, before `until`."""

    letter_id: str | None = None
    operation_id: str | None = None
    kind: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        _check_asked(self)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, newest first, and where the next page begins; None at the end."""

    events: Sequence[Event]
    cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Letters of one bug: the same fingerprint. `exact` is False where counting stopped at a limit."""

    fingerprint: str
    count: int
    exact: bool
    newest: LetterSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How many letters of a queue have a status. `exact` is False where counting stopped at a limit."""

    queue: str
    status: str
    count: int
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What the queue holds, what still waits in this host's spool, and how many bulk acts their breaker stopped."""

    depths: Sequence[Depth]
    oldest_dead_at: datetime | None
    spool_records: int
    spool_bytes: int
    stopped_operations: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who acts on letters, why, and as part of which bulk act."""

    actor: str
    reason: str | None = None
    operation_id: str | None = None

    def __post_init__(self) -> None:
        if not self.actor.strip():
            raise DeadLetterError("an act needs an actor: say who does it")
        check_text("actor", self.actor)
        check_text("reason", self.reason, most=None)


@dataclass(frozen=True, slots=True)
class Given:
    """A payload that a redrive runs instead of the stored one, and that is never stored."""

    payload: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one letter in an act: `result` is one constant word, `detail` one line for a person."""

    letter_id: str
    result: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A bulk act: its progress, and how it stands."""

    id: str
    kind: str
    status: str
    actor: str
    reason: str | None
    total: int
    succeeded: int
    failed: int
    skipped: int
    started_at: datetime
    changed_at: datetime
    note: str | None
    filter: Json = field(default_factory=dict)
    options: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OperationPage:
    """Some bulk acts, newest first, and where the next page begins; None at the end."""

    operations: Sequence[Operation]
    cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a bulk act would take: how many letters, and how many of them it would surely refuse."""

    kind: str
    total: int
    refused: int

"""The history of letters, which is also the audit: who did what, when and why, in the act's own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select

from .columns import database_now
from .cursor import from_cursor, read_id, to_cursor
from .letters import Event, EventFilter, EventPage, check_limit
from .tables import events

# Somebody looked at the letter, or at its payload: events that change nothing.
LOOKS = SEEN, PAYLOAD_SEEN = ("seen", "payload_seen")

_EMPTY: dict[str, Any] = {
    "letter_id": None,
    "operation_id": None,
    "capture_id": None,
    "reason": None,
    "fence": None,
    "detail": None,
}


def note(connection: Connection, kind: str, *, actor: str, **fields: Any) -> None:
    """Writes one event; `fields` are further columns of `job_dlq_event`, `detail` already redacted."""
    notes(connection, [{"kind": kind, "actor": actor, **fields}])


def notes(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Writes events, each a dict of columns of `job_dlq_event` that holds at least `kind` and `actor`."""
    if rows:
        connection.execute(insert(events).values(at=database_now()), [_EMPTY | row for row in rows])


def history(connection: Connection, letter_id: str) -> list[Event]:
    """All events of a letter, oldest first; also of one that is purged."""
    found = connection.execute(select(events).where(events.c.letter_id == letter_id).order_by(events.c.id))
    return [_event(row) for row in found]


def audit(connection: Connection, asked: EventFilter, *, limit: int = 50, cursor: str | None = None) -> EventPage:
    """The events that match, newest first. Raises BadCursor for a cursor of another list."""
    check_limit(limit)
    query = select(events).where(*_conditions(asked)).order_by(events.c.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(events.c.id < from_cursor(cursor, asked, int))
    found = [_event(row) for row in connection.execute(query)]
    shown = found[:limit]
    return EventPage(shown, to_cursor(shown[-1].id, asked) if len(found) > limit else None)


def _conditions(asked: EventFilter) -> list[ColumnElement[bool]]:
    equal = [
        events.c[name] == (read_id(value) if name.endswith("_id") else value)
        for name in ("letter_id", "operation_id", "kind", "actor")
        if (value := getattr(asked, name)) is not None
    ]
    if asked.since is not None:
        equal.append(events.c.at >= asked.since)
    if asked.until is not None:
        equal.append(events.c.at < asked.until)
    return equal


def _event(row: Row[Any]) -> Event:
    values = dict(row._mapping)
    del values["capture_id"]
    return Event(**values)

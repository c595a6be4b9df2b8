"""Bulk acts: one row each, whose letters are frozen when it begins, and which outlives the process that works on it.

Starting one marks the letters that match; working on it (`working.py`) is for whoever holds its lease, then or later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from uuid_utils import uuid7

from .columns import database_now
from .cursor import from_cursor, read_id, to_cursor
from .edits import DISCARDABLE, RESTORABLE, check_reason
from .history import note
from .letters import (
    Act,
    DeadLetterError,
    EmptyFilter,
    Filter,
    KeyReused,
    NoSuchLetter,
    Operation,
    OperationPage,
    Preview,
    WrongState,
    check_limit,
    check_text,
)
from .lookup import as_id, matching
from .tables import DEAD, DISCARDED, OPERATION_STATUSES, REDRIVEN, REDRIVING, STATUSES, letters, operations

REDRIVE, DISCARD, RESTORE, PURGE = "redrive", "discard", "restore", "purge"
# The statuses from which each act takes letters; purging takes others than these only where the filter names them.
TAKES = {REDRIVE: (DEAD,), DISCARD: DISCARDABLE, RESTORE: RESTORABLE, PURGE: (REDRIVEN, DISCARDED)}
HOLDING = ("running", "paused", "stopped")

_MOVES = {
    "pause": (("running",), "paused"),
    "resume": (("paused", "stopped"), "running"),
    "cancel": (HOLDING, "cancelled"),
}
_SHOWN = tuple(operations.c[field.name] for field in fields(Operation))


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOptions:
    """How a bulk act goes. All but `unseen` are for redrives.

    rate: letters per second; None for as many as it can.
    jitter: share of each pause by which it may be shorter or longer.
    stop_share: above this share of renewed failures among the last `window` redrives the act stops; 1 never stops it.
    window: how many redrives that share is of; none is judged before there are as many.
    unseen: purge also letters that nobody looked at.
    """

    rate: float | None = None
    jitter: float = 0.1
    stop_share: float = 0.5
    window: int = 20
    unseen: bool = False

    def __post_init__(self) -> None:
        if self.rate is not None and not self.rate > 0:
            raise DeadLetterError("rate must be above 0 letters per second")
        if not 0 <= self.jitter <= 1:
            raise DeadLetterError("jitter must be between 0 and 1")
        if not 0 <= self.stop_share <= 1:
            raise DeadLetterError("stop_share must be between 0 and 1")
        if self.window < 1:
            raise DeadLetterError("window must be 1 or more")


def start(
    connection: Connection,
    kind: str,
    asked: Filter,
    act: Act,
    *,
    everything: bool = False,
    options: BulkOptions | None = None,
    idempotency_key: str | None = None,
    check: Callable[[Connection], None] | None = None,
) -> Operation:
    """Begins a bulk act on the letters that match now and that no other unfinished one holds.

    The same `idempotency_key` gives the act that was begun under it. `check` is called only where none was, while any
    other request with that key waits: what it raises undoes the beginning. Raises EmptyFilter for a filter that means every
    letter, unless `everything` is said; KeyReused for a key that came with another request.
    """
    chosen = _chosen(kind, asked, everything)
    if kind == DISCARD:
        check_reason(act)
    check_text("idempotency_key", idempotency_key)
    options = options or BulkOptions()
    request = {"kind": kind, "filter": _plain(asked), "options": asdict(options), "reason": act.reason}
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    operation_id = str(uuid7())
    row = {
        "id": operation_id,
        "kind": kind,
        "status": "running",
        "actor": act.actor,
        "reason": act.reason,
        "idempotency_key": idempotency_key,
        "request_digest": digest,
        "total": 0,
        "filter": request["filter"],
        "options": request["options"],
    }
    now = database_now()
    try:
        with connection.begin_nested():
            connection.execute(insert(operations).values(**row, started_at=now, changed_at=now))
    except IntegrityError:
        if idempotency_key is None:
            raise
        return _begun_before(connection, idempotency_key, digest)
    if check is not None:
        check(connection)
    frozen = connection.execute(update(letters).where(*chosen).values(operation_id=operation_id))
    connection.execute(update(operations).where(operations.c.id == operation_id).values(total=frozen.rowcount))
    detail = {"kind": kind, "filter": request["filter"], "options": request["options"], "total": frozen.rowcount}
    note(connection, "bulk_started", operation_id=operation_id, actor=act.actor, reason=act.reason, detail=detail)
    return operation(connection, operation_id)


def preview(
    connection: Connection,
    kind: str,
    asked: Filter,
    *,
    everything: bool = False,
    options: BulkOptions | None = None,
) -> Preview:
    """What `start` would freeze, counted, and how many of those would surely be refused. Changes nothing."""
    chosen = _chosen(kind, asked, everything)
    refused: Select[Any] | None = None
    if kind == REDRIVE:
        refused = select(func.count()).where(*chosen, letters.c.redrivable.is_(False))
    elif kind == PURGE and not (options or BulkOptions()).unseen:
        refused = select(func.count()).where(*chosen, letters.c.seen_at.is_(None))
    total = connection.scalar(select(func.count()).select_from(letters).where(*chosen)) or 0
    return Preview(kind=kind, total=total, refused=0 if refused is None else connection.scalar(refused) or 0)


def _chosen(kind: str, asked: Filter, everything: bool) -> list[ColumnElement[bool]]:
    """The letters that the act takes, as conditions."""
    if kind not in TAKES:
        raise DeadLetterError(f"{kind!r} is no bulk act: it is one of {', '.join(TAKES)}")
    if asked.empty and not everything:
        raise EmptyFilter(f"this would {kind} every letter: name a queue or another filter, or say that you mean all")
    conditions = matching(asked)
    takes = takes_from(kind)
    if asked.status is None:
        conditions.append(letters.c.status.in_(TAKES[kind]))
    elif asked.status not in takes:
        raise WrongState(f"{kind} takes letters that are {', '.join(takes)}, not {asked.status} ones")
    held = select(operations.c.id).where(operations.c.status.in_(HOLDING))
    return [*conditions, or_(letters.c.operation_id.is_(None), letters.c.operation_id.not_in(held))]


def takes_from(kind: str) -> tuple[str, ...]:
    """All statuses from which the act can take a letter."""
    return tuple(status for status in STATUSES if status != REDRIVING) if kind == PURGE else TAKES[kind]


def _begun_before(connection: Connection, key: str, digest: str) -> Operation:
    # A locking read: on MariaDB a plain one may not see what the other transaction has just committed.
    row = connection.execute(
        select(*_SHOWN, operations.c.request_digest)
        .where(operations.c.idempotency_key == key)
        .with_for_update(read=True)
    ).one()
    if row.request_digest != digest:
        raise KeyReused(f"the idempotency key {key!r} belongs to another request: take a new key")
    return _operation(row)


def operation(connection: Connection, operation_id: str) -> Operation:
    """One bulk act and how far it is. Raises NoSuchLetter."""
    row = connection.execute(select(*_SHOWN).where(operations.c.id == operation_key(operation_id))).first()
    if row is None:
        raise _unknown(operation_id)
    return _operation(row)


def operation_key(operation_id: str) -> str:
    """A bulk act's id as the database writes it. Raises NoSuchLetter for what can't be one."""
    try:
        return as_id(operation_id)
    except NoSuchLetter as error:
        raise _unknown(operation_id) from error


def _unknown(operation_id: object) -> NoSuchLetter:
    return NoSuchLetter(f"there is no bulk act {str(operation_id)[:80]!r}: look its id up in the list of operations")


def list_operations(
    connection: Connection, *, status: str | None = None, limit: int = 50, cursor: str | None = None
) -> OperationPage:
    """Bulk acts, newest first. Raises BadCursor for a cursor of another list."""
    check_limit(limit)
    if status is not None and status not in OPERATION_STATUSES:
        raise DeadLetterError(f"{status!r} is no status: it is one of {', '.join(OPERATION_STATUSES)}")
    asked = _Asked(status)
    query = select(*_SHOWN).order_by(operations.c.id.desc()).limit(limit + 1)
    if status is not None:
        query = query.where(operations.c.status == status)
    if cursor is not None:
        query = query.where(operations.c.id < from_cursor(cursor, asked, read_id))
    found = [_operation(row) for row in connection.execute(query)]
    shown = found[:limit]
    return OperationPage(shown, to_cursor(shown[-1].id, asked) if len(found) > limit else None)


@dataclass(frozen=True, slots=True)
class _Asked:
    status: str | None


def steer(connection: Connection, operation_id: str, verb: str, act: Act) -> Operation:
    """Pauses, resumes or cancels a bulk act; whoever works on it sees that before the next letter.

    Raises WrongState where its status does not allow it.
    """
    allowed, to = _MOVES[verb]
    key = operation_key(operation_id)
    done = connection.execute(
        update(operations)
        .where(operations.c.id == key, operations.c.status.in_(allowed))
        .values(status=to, note=act.reason, changed_at=database_now())
    )
    found = operation(connection, key)
    if not done.rowcount:
        raise WrongState(f"the bulk act is {found.status}: only {', '.join(allowed)} ones can be {to}")
    kind = "bulk_resumed" if verb == "resume" else f"bulk_{to}"
    note(connection, kind, operation_id=key, actor=act.actor, reason=act.reason)
    return found


def _operation(row: Any) -> Operation:
    return Operation(**{field.name: row._mapping[field.name] for field in fields(Operation)})


def _plain(asked: Filter) -> dict[str, Any]:
    given = {name: value for name, value in asdict(asked).items() if value is not None}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}

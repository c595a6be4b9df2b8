"""Puts records of failures into the database, each once, whoever does it at the same time.

A record's id is its letter's id and its event's capture id. The event outlives the letter, so a record that comes again
finds it even when the letter is purged; another record of the same failure finds its letter by the identity.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, text, update
from sqlalchemy.exc import IntegrityError

from .columns import UtcDateTime, database_now
from .engine import is_duplicate
from .history import note
from .letters import LetterSummary
from .lookup import SUMMARY
from .record import VERSION, Record, as_uuid, summary
from .tables import DEAD, IN_DOUBT, PARKED, REDRIVEN, REDRIVING, events, letters

ACTOR = "capture"
CHUNK = 500  # records in one statement

_FIELDS = (
    "id queue job_name job_id identity attempts fingerprint error_type first_failed_at failed_at redrivable host process"
    " code_version trace_id error_message changed_paths headers traceback payload secret_payload"
).split()
_LAST_FAILURE = (
    "attempts fingerprint error_type error_message traceback failed_at host process code_version trace_id"
).split()
_DETAIL = ("attempts", "error_type", "fingerprint")


@dataclass(frozen=True, slots=True)
class Captured:
    """The letter of a failure, and whether this capture made it, or brought it back."""

    letter: LetterSummary
    new: bool


def capture(connection: Connection, record: Record, *, max_redrives: int = 3) -> Captured:
    """Stores one record: its letter, and the event in its history."""
    return capture_many(connection, [record], max_redrives=max_redrives)[0]


def capture_many(connection: Connection, records: Sequence[Record], *, max_redrives: int = 3) -> list[Captured]:
    """Stores records; what became of each, in their order. Raises ValueError for one of a newer format."""
    for record in records:
        if record["version"] != VERSION:
            raise ValueError(f"a record of format {record['version']}: take a newer unhush")
    done: dict[str, Captured] = {}
    plain = []
    for record in records:
        again = _revive(connection, record, max_redrives) if record["redrive"] else None
        if again is None:
            plain.append(record)
        else:
            done[record["id"]] = again
    stored: dict[str, datetime] = {}
    for start in range(0, len(plain), CHUNK):
        stored |= _store(connection, plain[start : start + CHUNK])
    known = _known_letters(connection, [record for record in plain if record["id"] not in stored])
    for record in plain:
        at = stored.pop(record["id"], None)  # the same record twice in one call is new once
        letter = summary(record, captured_at=at) if at else known.get(record["id"]) or known.get(record["identity"])
        done.setdefault(record["id"], Captured(letter or summary(record), at is not None))
    return [done[record["id"]] for record in records]


def _store(connection: Connection, records: Sequence[Record]) -> dict[str, datetime]:
    """Makes the letters that aren't there, with their events; returns when each was captured."""
    if connection.dialect.name == "postgresql":
        given = json.dumps(records, check_circular=False)  # plain data, without cycles
        return {row.id: row.captured_at for row in connection.execute(_STORE_POSTGRESQL, {"given": given})}
    if connection.dialect.name == "sqlite":
        connection.execute(TAKE_WRITE_LOCK)
    now = connection.scalars(select(database_now())).one()
    if len(records) > 1:
        records = _unknown(connection, records)
        try:
            with connection.begin_nested():
                _insert(connection, records, now)
            return {record["id"]: now for record in records}
        except IntegrityError as error:
            if not is_duplicate(error):
                raise
            # Another process captured some of them just now: which, one by one.
    return {record["id"]: now for record in records if _store_one(connection, record, now)}


# The whole batch is one value: one round trip, no thousands of parameters, and all of it or nothing.
# Whether an id is there is asked for in order, one step along the index: for NOT EXISTS the planner, which takes each
# batch for 100 records, reads the whole table of events while that has less than some ten thousand rows.
_STORE_POSTGRESQL = text(
    f"""
    WITH given AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST(CAST(:given AS text) AS json)) AS record (
            id uuid, queue text, job_name text, job_id text, identity text, attempts integer, fingerprint text,
            error_type text, first_failed_at timestamptz, failed_at timestamptz, redrivable boolean, host text,
            process text, code_version text, trace_id text, error_message text, changed_paths jsonb, headers jsonb,
            traceback text, payload jsonb, secret_payload text
        )
    ), stored AS (
        INSERT INTO job_dlq ({", ".join(_FIELDS)}, status, captured_at, changed_at)
        SELECT {", ".join(_FIELDS[:-1])}, decode(secret_payload, 'base64'), '{DEAD}', clock_timestamp(), clock_timestamp()
        FROM given
        WHERE given.id IS DISTINCT FROM (
            SELECT capture_id FROM job_dlq_event WHERE capture_id >= given.id ORDER BY capture_id LIMIT 1
        )
        ON CONFLICT DO NOTHING
        RETURNING id, captured_at, attempts, error_type, fingerprint
    ), noted AS (
        INSERT INTO job_dlq_event (letter_id, capture_id, kind, at, actor, fence, detail)
        SELECT id, id, 'captured', captured_at, '{ACTOR}', 0,
            jsonb_build_object('attempts', attempts, 'error_type', error_type, 'fingerprint', fingerprint)
        FROM stored
    )
    SELECT CAST(id AS text) AS id, captured_at FROM stored
    """
).columns(captured_at=UtcDateTime())

# A transaction of the caller's that began as a reader could not wait for its turn later.
TAKE_WRITE_LOCK = update(letters).where(text("0")).values(fence=letters.c.fence)


def _insert(connection: Connection, records: Sequence[Record], now: datetime) -> None:
    if records:
        connection.execute(insert(letters), [_letter_row(record, now) for record in records])
        connection.execute(insert(events), [_event_row(record, now) for record in records])


def _store_one(connection: Connection, record: Record, now: datetime) -> bool:
    """Makes the letter; False where the record was stored before, or another one of the same failure."""
    # Databases other than PostgreSQL undo a refused statement alone. Errors that mean anything else are raised:
    # INSERT IGNORE would hide them.
    if not _inserted(connection, insert(events).values(_event_row(record, now))):
        return False
    if _inserted(connection, insert(letters).values(_letter_row(record, now))):
        return True
    connection.execute(delete(events).where(events.c.capture_id == record["id"]))
    return False


def _inserted(connection: Connection, statement: Any) -> bool:
    try:
        connection.execute(statement)
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        return False
    return True


def _letter_row(record: Record, now: datetime) -> dict[str, Any]:
    row = {name: record[name] for name in _FIELDS}
    row["first_failed_at"] = datetime.fromisoformat(record["first_failed_at"])
    row["failed_at"] = datetime.fromisoformat(record["failed_at"])
    if record["secret_payload"] is not None:
        row["secret_payload"] = base64.b64decode(record["secret_payload"])
    return {**row, "status": DEAD, "captured_at": now, "changed_at": now}


def _event_row(record: Record, now: datetime) -> dict[str, Any]:
    return {
        "letter_id": record["id"],
        "capture_id": record["id"],
        "kind": "captured",
        "at": now,
        "actor": ACTOR,
        "fence": 0,
        "detail": {name: record[name] for name in _DETAIL},
    }


def _unknown(connection: Connection, records: Sequence[Record]) -> list[Record]:
    """The records that the database does not have yet, each failure once."""
    ids = [record["id"] for record in records]
    identities = [record["identity"] for record in records if record["identity"]]
    seen: set[str | None] = set(connection.scalars(select(events.c.capture_id).where(events.c.capture_id.in_(ids))))
    if identities:
        seen.update(connection.scalars(select(letters.c.identity).where(letters.c.identity.in_(identities))))
    seen.discard(None)
    fresh = []
    for record in records:
        if record["id"] not in seen and record["identity"] not in seen:
            fresh.append(record)
            seen |= {record["id"], record["identity"]} - {None}
    return fresh


def _known_letters(connection: Connection, records: Sequence[Record]) -> dict[str | None, LetterSummary]:
    """The letters that are there for these records, by id and by identity."""
    known: dict[str | None, LetterSummary] = {}
    for start in range(0, len(records), CHUNK):
        some = records[start : start + CHUNK]
        ids = [record["id"] for record in some]
        identities = [record["identity"] for record in some if record["identity"]]
        found = select(*SUMMARY, letters.c.identity).where(
            or_(letters.c.id.in_(ids), letters.c.identity.in_(identities))
        )
        if connection.dialect.name != "postgresql":
            found = found.with_for_update(read=True)  # MariaDB's snapshot may be older than the letter
        for row in connection.execute(found):
            values = dict(row._mapping)
            same_failure = values.pop("identity")
            letter = LetterSummary(**values)
            known[letter.id] = letter
            if same_failure is not None:
                known[same_failure] = letter
    return known


def _revive(connection: Connection, record: Record, max_redrives: int) -> Captured | None:
    """Brings the letter back whose redriven job failed; None where that letter is not there any more."""
    letter_id, number = as_uuid(record["redrive"][0]), record["redrive"][1]
    if connection.dialect.name == "sqlite":
        connection.execute(TAKE_WRITE_LOCK)
    row = connection.execute(select(letters).where(letters.c.id == letter_id).with_for_update()).first()
    if row is None:
        return None
    if _failed_already(connection, record, row, number):
        return Captured(_summary(connection, row.id), False)
    detail = {"redrive": number, **{name: record[name] for name in (*_DETAIL, "error_message", "process")}}
    if row.redrives != number or row.status not in (REDRIVING, REDRIVEN, IN_DOUBT):
        _note(connection, record, row, "late_failure", row.fence, detail)
        return Captured(_summary(connection, row.id), False)
    status = PARKED if number >= max_redrives else DEAD
    before = {name: _plain(getattr(row, name)) for name in _LAST_FAILURE}
    _note(connection, record, row, "failed_again", row.fence + 1, {**detail, "status": status, "before": before})
    connection.execute(_revived(row, record, status))
    return Captured(_summary(connection, row.id), True)


def _failed_already(connection: Connection, record: Record, row: Row[Any], number: int) -> bool:
    """Whether this failure, or this redrive's failure by another process, is in the history."""
    if connection.scalar(select(events.c.id).where(events.c.capture_id == record["id"])) is not None:
        return True
    revivals = select(events.c.detail).where(events.c.letter_id == row.id, events.c.kind == "failed_again")
    return any(detail["redrive"] == number for detail in connection.scalars(revivals))


def _note(connection: Connection, record: Record, row: Row[Any], kind: str, fence: int, detail: Any) -> None:
    ids = {"letter_id": row.id, "operation_id": row.operation_id, "capture_id": record["id"]}
    note(connection, kind, actor=ACTOR, fence=fence, detail=detail, **ids)


def _revived(row: Row[Any], record: Record, status: str) -> Any:
    last = {name: record[name] for name in _LAST_FAILURE} | {"failed_at": datetime.fromisoformat(record["failed_at"])}
    return (
        update(letters)
        .where(letters.c.id == row.id, letters.c.fence == row.fence)
        .values(
            **last,
            status=status,
            fence=row.fence + 1,
            changed_at=database_now(),
            seen_at=None,
            lease_until=None,
            claimed_by=None,
            operation_id=None,
        )
    )


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _summary(connection: Connection, letter_id: str) -> LetterSummary:
    row = connection.execute(select(*SUMMARY).where(letters.c.id == letter_id)).one()
    return LetterSummary(**row._mapping)

"""Dead letters as tests want them, written straight into the table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select
from uuid_utils import uuid7

from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.payload import encode
from unhush.runtime.tables import letters

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def add(dlq: DeadLetterQueue, **fields: Any) -> str:
    """A letter in which only what a test is about must be said; its id."""
    return add_many(dlq, [fields])[0]


def add_many(dlq: DeadLetterQueue, rows: list[dict[str, Any]]) -> list[str]:
    """Such letters in one transaction; their ids, in the order of capture."""
    values = [_DEFAULTS | {"id": str(uuid7())} | row | {"payload": encode(row.get("payload")).data} for row in rows]
    dlq._write(lambda connection: connection.execute(insert(letters), values))
    return [row["id"] for row in values]


def state(dlq: DeadLetterQueue, letter_id: str) -> Any:
    """A letter's row as it is."""
    return dlq._read(lambda connection: connection.execute(select(letters).where(letters.c.id == letter_id)).one())


def kinds(dlq: DeadLetterQueue, letter_id: str) -> list[str]:
    """What happened to a letter, oldest first."""
    return [event.kind for event in dlq.history(letter_id)]


_DEFAULTS: dict[str, Any] = {
    "queue": "mail",
    "job_name": "send",
    "job_id": None,
    "identity": None,
    "status": "dead",
    "attempts": 3,
    "redrives": 0,
    "fence": 0,
    "lease_until": None,
    "claimed_by": None,
    "transactional": False,
    "operation_id": None,
    "fingerprint": "a" * 32,
    "error_type": "ValueError",
    "first_failed_at": NOON,
    "failed_at": NOON,
    "captured_at": NOON,
    "changed_at": NOON,
    "seen_at": None,
    "redrivable": True,
    "host": "worker-1",
    "process": "1-a",
    "code_version": None,
    "trace_id": None,
    "error_message": "no such customer",
    "changed_paths": None,
    "headers": {},
    "traceback": "Traceback ...",
    "secret_payload": None,
}

"""What is kept of one failure: a dict of JSON values, the same in the spool and on its way into the database.

Building one never raises, whatever the payload or the exception: the part that can't be had is left out, and logged.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import structlog
from uuid_utils import uuid7

from . import context
from .failure import Failure, describe
from .letters import UNSTORABLE, DeadLetterError, LetterSummary
from .payload import encode
from .redact import redact, redact_text
from .tables import DEAD

if TYPE_CHECKING:
    from .secrecy import Vault

Record = dict[str, Any]
T = TypeVar("T")

VERSION = 1
NAME_LENGTH = 255

_log = structlog.get_logger(__name__)
_boot = (0, "")


def build(
    *,
    queue: str,
    job_name: str,
    error: BaseException | Failure,
    payload: Any = None,
    job_id: object = None,
    attempts: int = 1,
    headers: Mapping[str, Any] | None = None,
    trace_id: str | None = None,
    first_failed_at: datetime | None = None,
    failed_at: datetime | None = None,
    code_version: str | None = None,
    vault: Vault | None = None,
    payload_limit: int,
) -> Record:
    """The record of a failure. Its id is that of the letter which it will be."""
    now = _time(failed_at) or datetime.now(UTC).isoformat()
    attempts = _attempt("attempts", lambda: max(0, min(int(attempts), 2**31 - 1)), 1)
    redrive = _attempt("redrive", lambda: context.from_headers(headers), None)
    job = None if job_id is None else _text("job_id", job_id)
    queue, job_name = _text("queue", queue), _text("job_name", job_name)
    return {
        "version": VERSION,
        "id": str(uuid7()),
        "queue": as_name(queue),
        "job_name": as_name(job_name),
        "job_id": None if job is None else as_name(job),
        "identity": None if job is None else identity(queue, job, attempts, redrive[1] if redrive else 0),
        "attempts": attempts,
        "redrive": list(redrive) if redrive else None,
        "first_failed_at": _time(first_failed_at) or now,
        "failed_at": now,
        "host": as_name(_attempt("host", socket.gethostname, "")),
        "process": process_name(),
        "code_version": None if code_version is None else as_name(code_version),
        "trace_id": as_name(trace_id) if trace_id else _attempt("trace_id", _trace_id, None),
        **failure_fields(error),
        **_attempt("headers", lambda: _headers_fields(headers), {"headers": {}}),
        **_attempt("payload", lambda: payload_fields(payload, vault, payload_limit), _LOST_PAYLOAD),
    }


def identity(queue: str, job_id: str, attempts: int, redrive: int) -> str:
    """The same for the same failure of the same job, whoever captures it."""
    return hashlib.sha256(json.dumps([queue, job_id, attempts, redrive]).encode()).hexdigest()


def process_name() -> str:
    """This process on its host: its id, and a number of its own, for ids come back."""
    global _boot  # noqa: PLW0603 - a forked child must not keep its parent's
    if _boot[0] != os.getpid():
        _boot = (os.getpid(), str(uuid7()))
    return f"{_boot[0]}-{_boot[1]}"


def summary(record: Record, *, captured_at: datetime | None = None) -> LetterSummary:
    """The letter that a record is or will be; while it waits in the spool, captured when it failed, by this host."""
    failed_at = datetime.fromisoformat(record["failed_at"])
    captured_at = captured_at or failed_at
    same = ("id", "queue", "job_name", "job_id", "attempts", "fingerprint", "error_type", "redrivable")
    where = ("host", "process", "code_version", "trace_id")
    return LetterSummary(
        **{name: record[name] for name in (*same, *where)},
        status=DEAD,
        redrives=0,
        fence=0,
        operation_id=None,
        first_failed_at=datetime.fromisoformat(record["first_failed_at"]),
        failed_at=failed_at,
        captured_at=captured_at,
        changed_at=captured_at,
        seen_at=None,
        lease_until=None,
        claimed_by=None,
    )


def original(row: Any, vault: Vault | None) -> Any:
    """The job's own payload as encoded JSON: decrypted where it is kept encrypted.

    Raises DeadLetterError where the key is missing.
    """
    if row.secret_payload is None:
        return row.payload
    if vault is None:
        raise DeadLetterError("the letter's payload is encrypted: give the queue its encryption_keys")
    return json.loads(vault.open(row.secret_payload))


_LOST_PAYLOAD: Record = {
    "payload": None,
    "secret_payload": None,
    "redrivable": False,
    "changed_paths": ["$"],
}


def _attempt(part: str, make: Callable[[], T], otherwise: T) -> T:
    """The part of a record, or what stands for it where making it fails."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - a capture must not fail, whatever it is given
        # Without the traceback: its message may hold the payload's values.
        _log.error("dead_letter.record_incomplete", part=part, error_type=type(error).__qualname__)
        return otherwise


def failure_fields(error: BaseException | Failure) -> Record:
    """What a record says of the error. Never raises."""
    return _attempt("failure", lambda: _failure_fields(error), _unknown_failure(error))


def _failure_fields(error: BaseException | Failure) -> Record:
    failure = error if isinstance(error, Failure) else describe(error)
    return {
        "error_type": as_name(failure.type),
        "error_message": storable(redact_text(failure.message)),
        "traceback": storable(redact_text(failure.traceback)),
        "fingerprint": failure.fingerprint,
    }


def _unknown_failure(error: object) -> Record:
    name = as_name(type(error).__qualname__)
    fingerprint = hashlib.sha256(name.encode()).hexdigest()[:32]
    return {"error_type": name, "error_message": "", "traceback": "", "fingerprint": fingerprint}


def _headers_fields(headers: Mapping[str, Any] | None) -> Record:
    if not headers:
        return {"headers": {}}
    return {"headers": redact(encode(dict(headers), limit_bytes=2**20).data).value}


def payload_fields(payload: Any, vault: Vault | None, limit: int) -> Record:
    """A payload as letters hold it: what may be shown, the sealed original, and whether a redrive can run it."""
    encoded = encode(payload, limit_bytes=limit)
    shown = redact(encoded.data)
    sealed = None
    if vault is not None:
        sealed = base64.b64encode(vault.seal(json.dumps(encoded.data).encode())).decode()
    return {
        "payload": shown.value,
        "secret_payload": sealed,
        "redrivable": not encoded.degraded and (sealed is not None or not shown.paths),
        "changed_paths": sorted({*encoded.degraded, *shown.paths}) or None,
    }


def _trace_id() -> str | None:
    """The current OpenTelemetry trace, where the service has loaded OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    found = trace.get_current_span().get_span_context()
    return format(found.trace_id, "032x") if found.is_valid else None


def _time(value: datetime | None) -> str | None:
    """A time in UTC; one without a zone is taken for local time, as Python does."""
    return None if value is None else value.astimezone(UTC).isoformat()


def _text(part: str, value: object) -> str:
    return value if isinstance(value, str) else _attempt(part, lambda: str(value), f"<{type(value).__qualname__}>")


def as_name(text: str) -> str:
    """The text as a column of names holds it; a longer one keeps its beginning, and stays different from others."""
    text = storable(text)
    if len(text) <= NAME_LENGTH:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text[: NAME_LENGTH - len(digest) - 1]}~{digest}"


def storable(text: str) -> str:
    """The text with what a text column can't hold written as escapes."""
    return UNSTORABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def as_uuid(text: str) -> str | None:
    """The id as the database writes it; None for what is none, say from another system's header."""
    try:
        return str(UUID(text))
    except ValueError as error:
        _log.warning("dead_letter.letter_id_unreadable", error=str(error))
        return None

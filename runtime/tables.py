"""The tables of the dead letter queue, as `sql/<dialect>/001_create_job_dlq.sql` makes them.

They are never created from here: the migrations are the one place where a schema is written, and a test holds both
equal on each database.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import sqlite

from .columns import Bytes, Id, Json, LongText, Name, UtcDateTime, Word

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

DEAD, REDRIVING, IN_DOUBT, REDRIVEN, PARKED, DISCARDED = (
    "dead",
    "redriving",
    "in_doubt",
    "redriven",
    "parked",
    "discarded",
)
STATUSES = (DEAD, REDRIVING, IN_DOUBT, REDRIVEN, PARKED, DISCARDED)
ROLES = ("viewer", "operator")
# What a bulk act is doing: `stopped` by its circuit breaker, `paused` and `cancelled` by a person.
OPERATION_STATUSES = ("running", "paused", "stopped", "cancelled", "done")


def one_of(column: str, words: tuple[str, ...]) -> CheckConstraint:
    """A check that a column holds one of these words."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(word) for word in words)})", name=column)


def only_where(condition: str) -> dict[str, Any]:
    """The options of an index that holds only some rows, where the database has such (MariaDB holds all)."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


# How each table is stored; SQLAlchemy knows MariaDB under two names.
OPTIONS: dict[str, Any] = {
    f"{name}_{option}": value
    for name in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("default_charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}

# Wide columns last, and never in a list: SQLite walks a row's overflow pages up to the column that is asked for.
letters = Table(
    "job_dlq",
    metadata,
    Column("id", Id, primary_key=True, comment="UUIDv7: letters in order of capture"),
    Column("queue", Name, nullable=False),
    Column("job_name", Name, nullable=False),
    Column("job_id", Name, comment="the job's own id; null where it has none, so each failure is new"),
    Column("identity", Word, comment="SHA-256 of queue, job id, attempts and redrive number; null without a job id"),
    Column("status", Word, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("redrives", Integer, nullable=False, server_default=text("0"), comment="how often it was put back to work"),
    Column(
        "fence",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="grows with every claim and change of status",
    ),
    Column("lease_until", UtcDateTime, comment="until when a redrive may hold it, by the database's clock"),
    Column("claimed_by", Name, comment="the process that redrives it"),
    Column(
        "transactional",
        Boolean(create_constraint=False),
        nullable=False,
        server_default=text("false"),
        comment="its redrive is one transaction, so a cut-off one did not happen",
    ),
    Column("operation_id", Id, comment="the bulk act that holds it"),
    Column("fingerprint", Word, nullable=False, comment="same bug, same fingerprint"),
    Column("error_type", Name, nullable=False),
    Column("first_failed_at", UtcDateTime, nullable=False),
    Column("failed_at", UtcDateTime, nullable=False, comment="the last failure"),
    Column("captured_at", UtcDateTime, nullable=False, comment="by the database's clock"),
    Column("changed_at", UtcDateTime, nullable=False, comment="by the database's clock"),
    Column("seen_at", UtcDateTime, comment="when somebody first looked at it"),
    Column(
        "redrivable",
        Boolean(create_constraint=False),
        nullable=False,
        comment="whether the stored payload is the job's own",
    ),
    Column("host", Name, nullable=False),
    Column("process", Name, nullable=False),
    Column("code_version", Name),
    Column("trace_id", Name),
    Column("error_message", LongText, nullable=False),
    Column("changed_paths", Json, comment="where redaction, truncation or repr changed the payload"),
    Column("headers", Json, nullable=False),
    Column("traceback", LongText, nullable=False),
    Column("payload", Json, comment="what may be shown; also what a redrive runs, unless secret_payload is there"),
    Column("secret_payload", Bytes, comment="the whole payload, encrypted"),
    UniqueConstraint("identity"),
    one_of("status", STATUSES),
    Index(None, "status", "id"),
    Index(None, "queue", "status", "id"),
    Index(None, "status", "fingerprint", "id"),
    Index(None, "queue", "job_id", "id"),
    Index(None, "operation_id", "status", "id", **only_where("operation_id IS NOT NULL")),
    Index(None, "lease_until", **only_where("status = 'redriving'")),
    comment="dead letters: jobs that failed for good",
    **OPTIONS,
)

# History and audit: written in the act's own transaction, never changed, and kept when a letter is purged.
events = Table(
    "job_dlq_event",
    metadata,
    Column("id", BigInteger().with_variant(sqlite.INTEGER(), "sqlite"), Identity(always=True), primary_key=True),
    Column("letter_id", Id),
    Column("operation_id", Id),
    Column("capture_id", Id, comment="the captured failure, so that none counts twice"),
    Column("kind", Word, nullable=False),
    Column("at", UtcDateTime, nullable=False, comment="by the database's clock"),
    Column("actor", Name, nullable=False),
    Column("reason", LongText),
    Column("fence", BigInteger),
    Column("detail", Json, comment="redacted"),
    UniqueConstraint("capture_id"),
    Index(None, "letter_id", "id"),
    Index(None, "operation_id", "kind", "id"),
    comment="history and audit of dead letters; kept when a letter is purged",
    sqlite_autoincrement=True,
    **OPTIONS,
)

operations = Table(
    "job_dlq_operation",
    metadata,
    Column("id", Id, primary_key=True, comment="UUIDv7"),
    Column("kind", Word, nullable=False, comment="redrive, discard, restore or purge"),
    Column("status", Word, nullable=False),
    Column("actor", Name, nullable=False),
    Column("reason", LongText),
    Column("idempotency_key", Name, comment="the caller's; the same key is the same act"),
    Column("request_digest", Word, comment="SHA-256 of what was asked for under that key"),
    Column("total", BigInteger, nullable=False, comment="letters that matched when it began"),
    Column("succeeded", BigInteger, nullable=False, server_default=text("0")),
    Column("failed", BigInteger, nullable=False, server_default=text("0")),
    Column("skipped", BigInteger, nullable=False, server_default=text("0")),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_until", UtcDateTime),
    Column("claimed_by", Name),
    Column("started_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("note", LongText, comment="why it was stopped or paused"),
    Column("filter", Json, nullable=False),
    Column("options", Json, nullable=False),
    UniqueConstraint("idempotency_key"),
    one_of("status", OPERATION_STATUSES),
    Index(None, "status", "id"),
    comment="bulk acts on dead letters",
    **OPTIONS,
)

tokens = Table(
    "job_dlq_token",
    metadata,
    Column("id", Id, primary_key=True, comment="UUIDv7"),
    Column("name", Name, nullable=False),
    Column("role", Word, nullable=False),
    Column("token_hash", Word, nullable=False, comment="SHA-256 of a random token of 256 bits, as hex"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    UniqueConstraint("name"),
    UniqueConstraint("token_hash"),
    one_of("role", ROLES),
    comment="tokens of the admin API, hashed",
    **OPTIONS,
)

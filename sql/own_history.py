"""The table that says which tables of the user's own have heartbeats, and by which text: `unhush_jobs_table`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from .history import TYPES, Execute, Query, utc

TABLE = "unhush_jobs_table"

# had: the parts that were there before the first upgrade, which a downgrade leaves. duration is null until it is whole.
_CREATE = """CREATE TABLE IF NOT EXISTS unhush_jobs_table (
    name varchar(255) NOT NULL,
    key_column varchar(255) NOT NULL,
    checksum char(64) NOT NULL,
    script {text} NOT NULL,
    backout {text} NOT NULL,
    had varchar(255) NOT NULL,
    applied_at {time} NOT NULL,
    applied_by varchar(255) NOT NULL,
    duration double precision,
    catalogue {text},
    CONSTRAINT pk_unhush_jobs_table PRIMARY KEY (name)
){options}"""
_THERE = {
    "postgresql": "SELECT 1 WHERE to_regclass('unhush_jobs_table') IS NOT NULL",
    "sqlite": "SELECT 1 FROM sqlite_master WHERE name = 'unhush_jobs_table'",
    "mariadb": "SELECT 1 FROM information_schema.tables"
    " WHERE table_schema = DATABASE() AND table_name = 'unhush_jobs_table'",
}
_COLUMNS = "name, key_column, checksum, script, backout, had, applied_at, applied_by, duration, catalogue"


@dataclass(frozen=True)
class Record:
    """A user's table that has heartbeats, or was to get them."""

    name: str
    key_column: str
    checksum: str
    """SHA-256 of the text that was run, as hex."""
    script: str
    backout: str
    had: frozenset[str]
    applied_at: datetime
    applied_by: str
    duration: float | None
    """Seconds; None where it was begun and cut off."""
    catalogue: str | None
    """What the database said of our part in the table afterwards."""


def make(dialect: str, run: Callable[[str], None]) -> None:
    """Makes the table where it is not there."""
    run(_CREATE.format(**TYPES[dialect]))


def read(dialect: str, query: Query) -> tuple[Record, ...]:
    """What the table holds, in order of names; nothing where it is not there."""
    if not query(_THERE[dialect]):
        return ()
    return tuple(
        Record(name, key, checksum, script, backout, frozenset(filter(None, had.split(","))), utc(at), *rest)
        for name, key, checksum, script, backout, had, at, *rest in query(
            f"SELECT {_COLUMNS} FROM {TABLE} ORDER BY name"
        )
    )


def begin(execute: Execute, record: Record) -> None:
    """Notes that a table's upgrade is under way."""
    forget(execute, record.name)
    execute(
        f"INSERT INTO {TABLE} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
        (
            record.name,
            record.key_column,
            record.checksum,
            record.script,
            record.backout,
            ",".join(sorted(record.had)),
            record.applied_at,
            record.applied_by,
        ),
    )


def finish(execute: Execute, name: str, duration: float | None, catalogue: str | None) -> None:
    """Notes that the table has all, how many seconds it took, and what the database says of it now."""
    execute(f"UPDATE {TABLE} SET duration = ?, catalogue = ? WHERE name = ?", (duration, catalogue, name))


def unfinish(execute: Execute, name: str) -> None:
    """Notes that it is being taken back."""
    execute(f"UPDATE {TABLE} SET duration = NULL WHERE name = ?", (name,))


def forget(execute: Execute, name: str) -> None:
    """Takes a table off the list."""
    execute(f"DELETE FROM {TABLE} WHERE name = ?", (name,))

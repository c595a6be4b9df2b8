"""The table that says which migrations a database has: `unhush_version`."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .files import Migration

TABLE = "unhush_version"
# Runs one query without parameters and gives its rows.
Query = Callable[[str], Sequence[Sequence[Any]]]
# Runs one statement with values for its `?`.
Execute = Callable[..., None]

# works_with: the oldest code that goes on working, by the newest migration that it knows; null is the version itself.
# duration is null while a migration that runs outside a transaction is under way, or after it was cut off.
_CREATE = """CREATE TABLE IF NOT EXISTS unhush_version (
    version integer NOT NULL,
    name varchar(255) NOT NULL,
    checksum char(64) NOT NULL,
    applied_at {time} NOT NULL,
    applied_by varchar(255) NOT NULL,
    duration double precision,
    catalogue {text},
    works_with integer,
    CONSTRAINT pk_unhush_version PRIMARY KEY (version)
){options}"""
TYPES = {
    "postgresql": {"time": "timestamptz", "text": "text", "options": ""},
    "sqlite": {"time": "datetime", "text": "text", "options": ""},
    "mariadb": {
        "time": "datetime(6)",
        "text": "mediumtext",
        "options": " ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin",
    },
}
_ADD = f"ALTER TABLE {TABLE} ADD COLUMN works_with integer"
_COLUMNS = {
    "postgresql": "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('unhush_version')",
    "sqlite": "SELECT name FROM pragma_table_info('unhush_version')",
    "mariadb": "SELECT column_name FROM information_schema.columns"
    " WHERE table_schema = DATABASE() AND table_name = 'unhush_version'",
}
_SELECT = f"SELECT version, name, checksum, applied_at, applied_by, duration, catalogue FROM {TABLE} ORDER BY version"
CURRENT = f"SELECT max(version) FROM {TABLE} WHERE duration IS NOT NULL"


@dataclass(frozen=True)
class Applied:
    """A migration that a database has."""

    version: int
    name: str
    checksum: str
    applied_at: datetime
    applied_by: str
    duration: float | None
    """Seconds; None where it was begun and cut off."""
    catalogue: str | None
    """The lines of the catalogue after it."""

    @property
    def finished(self) -> bool:
        """Whether it ran to its end."""
        return self.duration is not None

    @property
    def label(self) -> str:
        """The migration as its file names it."""
        return f"{self.version:03}_{self.name}"


def make(dialect: str, run: Callable[[str], None], query: Query) -> None:
    """Makes the table where it is not there, and adds what one of an earlier version lacks."""
    run(_CREATE.format(**TYPES[dialect]))
    if not bears_works_with(dialect, query):
        run(_ADD)


def is_there(dialect: str, query: Query) -> bool:
    """Whether the database has the table."""
    return bool(query(_COLUMNS[dialect]))


def bears_works_with(dialect: str, query: Query) -> bool:
    """Whether the table says which code goes on working after a migration."""
    return any(name == "works_with" for (name,) in query(_COLUMNS[dialect]))


def needed(query: Query, known: int) -> int:
    """The newest migration that code must know for those of the database that are newer than `known`."""
    newer = f"SELECT max(coalesce(works_with, version)) FROM {TABLE} WHERE version > {known} AND duration IS NOT NULL"
    return query(newer)[0][0] or 0


def read(query: Query) -> tuple[Applied, ...]:
    """What the table holds, in order of versions. The driver's error where there is no table."""
    return tuple(
        Applied(version, name, checksum, utc(at), by, duration, catalogue)
        for version, name, checksum, at, by, duration, catalogue in query(_SELECT)
    )


def begin(execute: Execute, migration: Migration) -> None:
    """Notes that a migration is under way."""
    forget(execute, migration)
    execute(
        f"INSERT INTO {TABLE} (version, name, checksum, applied_at, applied_by, works_with) VALUES (?, ?, ?, ?, ?, ?)",
        (
            migration.version,
            migration.name,
            migration.checksum,
            datetime.now(UTC),
            whoami(),
            migration.script.works_with,
        ),
    )


def finish(execute: Execute, migration: Migration, duration: float, catalogue: str) -> None:
    """Notes that a migration ran to its end, how many seconds it took, and what the tables look like now."""
    execute(
        f"UPDATE {TABLE} SET duration = ?, catalogue = ? WHERE version = ?", (duration, catalogue, migration.version)
    )


def unfinish(execute: Execute, migration: Migration) -> None:
    """Notes that a migration is being taken back."""
    execute(f"UPDATE {TABLE} SET duration = NULL WHERE version = ?", (migration.version,))


def forget(execute: Execute, migration: Migration) -> None:
    """Takes a migration off the list."""
    execute(f"DELETE FROM {TABLE} WHERE version = ?", (migration.version,))


def utc(at: datetime | str) -> datetime:
    """A time as a driver gives it, with its zone: UTC."""
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def whoami() -> str:
    """Who runs this: user and host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have
        user = "unknown"
    return f"{user}@{socket.gethostname()}"[:255]

"""Adds heartbeats to a jobs table of the user's own, and takes them out of it again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from . import own_history
from .catalogue import differences
from .errors import SchemaProblem
from .files import FOLDER, Script, dialect_named
from .history import Query, whoami
from .locks import turn
from .names import TableName, checked, index_name, quoted, table_name
from .own_history import Record
from .own_table import NoTable, OwnTable, look
from .session import PATIENCE, Session, one_line, reading, session
from .statements import split

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

FILE = "jobs_table"
SCHEMA = 2  # the migration that makes the heartbeats which the columns show
_PLACE = re.compile(r"@(\w+)@")
_CONDITION = re.compile(r"^-- unhush: (unless|if) ([\w ,]+)$", re.MULTILINE)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0  # seconds between two tries for a lock: those who queued behind it go first
# What says that another transaction holds the table: lock_timeout and deadlock, on PostgreSQL and on MariaDB.
_LOCKED = {"55P03", "40P01", 1205, 1213}
_SET_BACK = {
    "postgresql": ("RESET lock_timeout", "RESET statement_timeout"),
    "mariadb": ("SET SESSION lock_wait_timeout = DEFAULT",),
}


@dataclass(frozen=True)
class Plan:
    """What an upgrade of a user's table is, and whether anything of it is left to do."""

    name: str
    """The table as it was found, on PostgreSQL with its schema."""
    key_column: str
    script: Script
    backout: Script
    pending: bool

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, as hex."""
        return sha256(self.script.data).hexdigest()


def rendered(dialect: str, table: str, key: str = "id", backout: bool = False, folder: Path = FOLDER) -> bytes:
    """The text that adds heartbeats to a table, or takes them out. Needs no database. Raises SchemaProblem."""
    dialect = dialect_named(dialect)
    name = table_name(table, dialect)
    return _rendered(dialect, name, checked(key, "column", dialect), folder)[backout].data


def plan(bind: Engine | Connection, table: str, key: str = "id", *, folder: Path = FOLDER) -> Plan:
    """What an upgrade would do. Changes nothing. Raises SchemaProblem where it would be refused."""
    from sqlalchemy import Engine

    if isinstance(bind, Engine):
        with bind.connect() as connection:
            return plan(connection, table, key, folder=folder)
    dialect = dialect_named(bind.dialect.name)
    query = reading(bind)
    return _planned(_seen(dialect, query, table, key), own_history.read(dialect, query), folder)[0]


def upgrade_table(
    engine: Engine, table: str, key: str = "id", *, folder: Path = FOLDER, patience: float = PATIENCE
) -> Plan:
    """Adds heartbeats to a table where they are missing; `pending` of what it returns says whether something was.

    Tries again for `patience` seconds while other transactions hold the table, and stops none of them for longer than a
    second. Raises SchemaProblem, which says what stands then.
    """
    with _deploying(engine, patience) as work, _whole(work, patience):
        seen = _seen(work.dialect, work.query, table, key)
        planned, record = _planned(seen, own_history.read(work.dialect, work.query), folder)
        if not planned.pending:
            return planned
        started = time.monotonic()
        own_history.make(work.dialect, work.run)
        own_history.begin(work.execute, record)
        try:
            _run(work, planned.script, planned.name, patience, lambda: _look_again(work, seen).has)
        except SchemaProblem:
            # As if it had not been tried, where nothing of it stands; SQLite sees to that by itself.
            if work.dialect != "sqlite" and not work.lost and _look_again(work, seen).has == record.had:
                own_history.forget(work.execute, record.name)
            raise
        lines = _look_again(work, seen).facts
        own_history.finish(work.execute, record.name, time.monotonic() - started, "\n".join(lines))
    return planned


def downgrade_table(engine: Engine, table: str, *, patience: float = PATIENCE) -> Record:
    """Takes out of a table what `upgrade_table` brought, by the text that was stored then. Raises SchemaProblem."""
    with _deploying(engine, patience) as work, _whole(work, patience):
        record = _found(work.dialect, work.query, table)
        script = Script(record.backout.encode())
        if (refused := script.refused_while) and work.query(refused[1]):
            raise SchemaProblem(f"{record.name} can't be taken back while {refused[0]}; nothing was changed")
        before = _left(work, record)
        own_history.unfinish(work.execute, record.name)
        try:
            _run(work, script, record.name, patience, lambda: _left(work, record))
        except SchemaProblem:
            if work.dialect != "sqlite" and not work.lost and _left(work, record) == before:
                own_history.finish(work.execute, record.name, record.duration, record.catalogue)
            raise
        own_history.forget(work.execute, record.name)
    return record


def recorded(bind: Connection, table: str) -> Record:
    """The one that is called so. Raises SchemaProblem where there is none."""
    return _found(dialect_named(bind.dialect.name), reading(bind), table)


def problems(dialect: str, query: Query, folder: Path = FOLDER) -> list[str]:
    """What is wrong with the users' tables that have heartbeats, a line each."""
    return [line for record in own_history.read(dialect, query) for line in _problems(dialect, query, record, folder)]


def _problems(dialect: str, query: Query, record: Record, folder: Path) -> list[str]:
    if record.duration is None:
        return [f"{record.name}: heartbeats were cut off: run `{_command(record)}` again"]
    try:
        seen = look(query, dialect, table_name(record.name, dialect), record.key_column)
    except SchemaProblem as problem:
        return [f"{record.name}: changed since it has heartbeats: {problem}"]
    lines = [
        f"{record.name}: changed since it has heartbeats: {line}"
        for line in differences((record.catalogue or "").splitlines(), seen.facts)
    ]
    if _of_other_text(record, dialect, seen, folder):
        lines.append(_changed(record))
    return lines


def _of_other_text(record: Record, dialect: str, seen: OwnTable, folder: Path) -> bool:
    return record.checksum != sha256(_rendered(dialect, seen.name, seen.key.name, folder)[0].data).hexdigest()


def _changed(record: Record) -> str:
    return f"{FILE}.sql was changed after it was applied to {record.name}: put the file back as it was"


def _command(record: Record) -> str:
    return f"unhush db upgrade --jobs-table '{record.name}' --key-column '{record.key_column}'"


def _seen(dialect: str, query: Query, table: str, key: str) -> OwnTable:
    seen = look(query, dialect, table_name(table, dialect), checked(key, "column", dialect))
    if seen.stranger is not None:
        raise SchemaProblem(f"{seen.name} belongs to {seen.stranger}: only its owner can add columns")
    return seen


def _look_again(work: Session, seen: OwnTable) -> OwnTable:
    return look(work.query, work.dialect, seen.name, seen.key.name)


def _left(work: Session, record: Record) -> frozenset[str]:
    """What a table still has of what an upgrade brought; nothing where the table itself was dropped."""
    try:
        return look(work.query, work.dialect, table_name(record.name, work.dialect), None).has - record.had
    except NoTable:
        return frozenset()


def _found(dialect: str, query: Query, table: str) -> Record:
    """The record of a table, named with its schema or without. Raises SchemaProblem."""
    name = table_name(table, dialect)
    records = own_history.read(dialect, query)
    named = [record for record in records if record.name == str(name)]
    if not named and name.schema is None:
        named = [record for record in records if table_name(record.name, dialect).table == name.table]
    if len(named) != 1:
        why = "has no heartbeats of ours" if not named else "is in several schemas: name one"
        raise SchemaProblem(f"{name} {why}; nothing was changed")
    return named[0]


def _planned(seen: OwnTable, records: tuple[Record, ...], folder: Path) -> tuple[Plan, Record]:
    """What is to be done, and the note that says so. Raises SchemaProblem where another text or key was used before."""
    script, backout = _rendered(seen.dialect, seen.name, seen.key.name, folder)
    before = next((record for record in records if record.name == str(seen.name)), None)
    needed = {word for how, words in _conditions(script.text) for word in words if how == "unless"}
    pending = before is None or before.duration is None or bool(needed - seen.has) or "invalid index" in seen.has
    planned = Plan(str(seen.name), seen.key.name, script, backout, pending)
    if before is not None and before.key_column != seen.key.name:
        raise SchemaProblem(f"{planned.name} has heartbeats by its key {before.key_column!r}: take them back first")
    if before is not None and before.duration is not None and before.checksum != planned.checksum:
        raise SchemaProblem(_changed(before))
    return planned, Record(
        name=planned.name,
        key_column=seen.key.name,
        checksum=planned.checksum,
        script=script.text,
        backout=backout.text,
        had=seen.has if before is None else before.had,
        applied_at=datetime.now(UTC),
        applied_by=whoami(),
        duration=None,
        catalogue=None,
    )


def _rendered(dialect: str, name: TableName, key: str, folder: Path) -> tuple[Script, Script]:
    """The two scripts of a table. Names stand in them as checked and quoted."""
    index = index_name(name.table)
    places = {
        "table": name.quoted(dialect),
        "key": quoted(key, dialect),
        "index": quoted(index, dialect),
        "index_in_schema": name.beside(index, dialect),
    }
    texts = ((folder / dialect / f"{FILE}{end}.sql").read_text(encoding="utf-8") for end in ("", ".backout"))
    script, backout = (_PLACE.sub(lambda match: places[match[1]], text) for text in texts)
    return Script(script.encode()), Script(backout.encode())


def _conditions(text: str) -> list[tuple[str, set[str]]]:
    return [(match[1], set(match[2].split(", "))) for match in _CONDITION.finditer(text)]


def _wanted(statement: str, present: Collection[str]) -> bool:
    """Whether a statement is to be run, by what is there."""
    there = set(present)
    return all(bool(words - there) if how == "unless" else bool(words & there) for how, words in _conditions(statement))


def _run(work: Session, script: Script, name: str, patience: float, present: Callable[[], Collection[str]]) -> None:
    """Runs those statements of a script that are wanted. Raises SchemaProblem that says where it failed."""
    until = time.monotonic() + patience
    changed = False
    for statement in split(script.text, work.dialect):
        guarded = bool(_conditions(statement))
        if guarded and not _wanted(statement, present()):
            continue
        try:
            _patiently(work, statement, until)
        except work.error as error:
            why = "other transactions held the table for too long" if _locked(error) else one_line(error)
            raise SchemaProblem(f"{name}: {why}; {_stands(work, changed)}") from error
        changed = changed or guarded


def _patiently(work: Session, statement: str, until: float) -> None:
    """Runs a statement, again while another transaction holds the table; one that waits by itself is run once."""
    pause = _FIRST_PAUSE
    while True:
        try:
            work.run(statement)
            return
        except work.error as error:
            if not _locked(error) or "CONCURRENTLY" in statement or time.monotonic() + pause > until:
                raise
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _locked(error: Exception) -> bool:
    return not _LOCKED.isdisjoint((getattr(error, "sqlstate", None), *error.args[:1]))


def _stands(work: Session, changed: bool) -> str:
    if work.dialect == "sqlite" or not changed:
        return "nothing was changed; run this again when that is over"
    return "what was done before that stands; run this again when it is over"


@contextmanager
def _deploying(engine: Engine, patience: float) -> Iterator[Session]:
    """A session that has its turn, and whose settings are afterwards as they were."""
    with session(engine) as work, turn(work, patience):
        try:
            yield work
        finally:
            for statement in _SET_BACK.get(work.dialect, ()):
                if not work.lost:
                    work.run(statement)


@contextmanager
def _whole(work: Session, patience: float) -> Iterator[None]:
    """On SQLite one transaction; the others' statements stand one by one, and can all be run again."""
    if work.dialect != "sqlite":
        yield
        return
    with work.transaction(patience):
        yield

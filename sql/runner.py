"""Applies the migrations to a database, takes them back, and says where a database stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from . import catalogue, history, jobs_table, letters_kept, own_history
from .errors import SchemaProblem
from .files import FOLDER, Migration, Script, dialect_named, migrations, rendered, table_names
from .history import Applied, Query
from .locks import turn
from .own_history import Record
from .session import PATIENCE, Session, one_line, reading, session
from .statements import split
from .urls import shown

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = [
    "Applied", "Migration", "SchemaProblem", "Status", "apply_apart", "back_out_apart", "backouts", "downgrade",
    "fingerprint", "losses", "rendered", "require_schema", "status", "upgrade",
]  # fmt: skip


@dataclass(frozen=True)
class Status:
    """Where a database stands."""

    dialect: str
    current: int
    """The newest migration that it has; 0 for none."""
    latest: int
    """The newest that this version of unhush knows."""
    pending: tuple[Migration, ...]
    applied: tuple[Applied, ...]
    refusals: tuple[str, ...]
    """Why nothing may be changed, a line each."""
    problems: tuple[str, ...]
    """The refusals, what was cut off, and what has changed behind the migrations' back: a line each."""
    apart: tuple[Migration, ...] = ()
    """What only a command of its own applies, and the database lacks; it is not pending."""
    jobs_tables: tuple[Record, ...] = ()
    """The tables of the user's own that have heartbeats."""


class _Steps:
    """The migrations that a folder holds against those that a database has."""

    def __init__(self, known: tuple[Migration, ...], applied: tuple[Applied, ...]) -> None:
        self.known = known
        self.applied = applied
        self.in_order = tuple(step for step in known if not step.apart)
        self._apart = {step.version for step in known if step.apart}
        self._finished = {step.version for step in applied if step.finished}

    @property
    def current(self) -> int:
        return max(self._finished - self._apart, default=0)

    @property
    def latest(self) -> int:
        return self.in_order[-1].version if self.in_order else 0

    def pending(self, to: int) -> tuple[Migration, ...]:
        return tuple(step for step in self.in_order if step.version <= to and step.version not in self._finished)

    def apart(self) -> tuple[Migration, ...]:
        """What only a command of its own applies, and is not there."""
        return tuple(step for step in self.known if step.apart and step.version not in self._finished)

    def backouts(self, to: int) -> tuple[Migration, ...]:
        """What takes the database back to a version, newest first; a migration that was cut off counts too."""
        there = {step.version for step in self.applied}
        return tuple(step for step in reversed(self.in_order) if step.version > to and step.version in there)

    def refusals(self) -> list[str]:
        """Why nothing may be changed."""
        by_version = {step.version: step for step in self.known}
        lines = []
        for step in self.applied:
            if step.version not in by_version:
                lines.append(f"the database has {step.label}, which this unhush does not know: take a newer unhush")
            elif step.finished and step.checksum != by_version[step.version].checksum:
                lines.append(f"{step.label} was changed after it was applied: put the file back as it was")
        return lines


def status(bind: Engine | Connection, *, folder: Path = FOLDER) -> Status:
    """Where a database stands. Changes nothing. Raises SchemaProblem for a dialect without migrations."""
    from sqlalchemy import Engine

    if isinstance(bind, Engine):
        with bind.connect() as connection:
            return status(connection, folder=folder)
    dialect = dialect_named(bind.dialect.name)
    steps = _Steps(migrations(dialect, folder), _history(bind))
    query = reading(bind)
    refusals = tuple(steps.refusals())
    return Status(
        dialect=dialect,
        current=steps.current,
        latest=steps.latest,
        pending=steps.pending(steps.latest),
        applied=steps.applied,
        refusals=refusals,
        problems=(
            *refusals,
            *_cut_off(steps),
            *_drift(steps, dialect, query),
            *jobs_table.problems(dialect, query),
        ),
        apart=steps.apart(),
        jobs_tables=own_history.read(dialect, query),
    )


def upgrade(
    engine: Engine, to: int | None = None, *, folder: Path = FOLDER, patience: float = PATIENCE
) -> tuple[Migration, ...]:
    """Applies what is pending, up to a version (default: all), and returns it; the schema is as before if it fails.

    MariaDB commits each statement of a schema change, so there a failed migration stands in part, as the error says.
    Waits up to `patience` seconds for another deployer. Raises SchemaProblem.
    """
    with _deploying(engine, folder, patience) as (work, steps):
        pending = steps.pending(_checked(to, steps))
        return tuple(step for step in pending if apply(work, step, _tables(steps.in_order), patience))


def downgrade(
    engine: Engine, to: int, *, folder: Path = FOLDER, patience: float = PATIENCE, letters: str | None = None
) -> tuple[Migration, ...]:
    """Takes back what is newer than a version (0: everything), newest first, and returns it. Raises SchemaProblem.

    Letters that were neither redriven nor discarded are not dropped, but where `letters` is `letters_kept.LOSE` or the
    mark that they had when they were exported.
    """
    with _deploying(engine, folder, patience) as (work, steps):
        _refuse_with_jobs_tables(work.dialect, work.query, to)
        return tuple(step for step in steps.backouts(_checked(to, steps)) if back_out(work, step, patience, letters))


def apply_apart(engine: Engine, version: int, *, folder: Path = FOLDER, patience: float = PATIENCE) -> bool:
    """Applies a migration that no upgrade applies; False where the database has it. Raises SchemaProblem."""
    with _deploying(engine, folder, patience) as (work, steps):
        step = _named_apart(steps, version)
        return apply(work, step, step.script.created, patience)


def back_out_apart(engine: Engine, version: int, *, folder: Path = FOLDER, patience: float = PATIENCE) -> bool:
    """Takes such a migration back, with its rows; False where the database lacks it. Raises SchemaProblem."""
    with _deploying(engine, folder, patience) as (work, steps):
        return back_out(work, _named_apart(steps, version), patience)


def backouts(connection: Connection, to: int, *, folder: Path = FOLDER) -> tuple[Migration, ...]:
    """What a downgrade would take back, newest first. Changes nothing. Raises SchemaProblem where it would be refused."""
    steps = _Steps(migrations(connection.dialect.name, folder), _history(connection))
    if refusals := steps.refusals():
        raise SchemaProblem(refusals[0])
    _refuse_with_jobs_tables(dialect_named(connection.dialect.name), reading(connection), to)
    return steps.backouts(_checked(to, steps))


def losses(connection: Connection, to: int, *, folder: Path = FOLDER) -> dict[str, int]:
    """How many rows of which tables a downgrade would drop. Changes nothing. Raises SchemaProblem."""
    from sqlalchemy import func, inspect, select, table

    dropped = {name for step in backouts(connection, to, folder=folder) for name in step.backout.dropped}
    there = sorted(name for name in dropped if inspect(connection).has_table(name))
    return {name: connection.execute(select(func.count()).select_from(table(name))).scalar_one() for name in there}


def require_schema(connection: Connection, version: int = 1) -> None:
    """Checks by one query that the database has a migration, and none after which this code doesn't work any more.

    Raises SchemaProblem with one line that says what to do. The connection's transaction goes on.
    """
    from sqlalchemy import inspect
    from sqlalchemy.exc import OperationalError, ProgrammingError

    try:
        current = _current(connection)
    except (OperationalError, ProgrammingError):
        if connection.invalidated or inspect(connection).has_table(history.TABLE):
            raise
        current = 0
    if current < version:
        url = shown(connection.engine.url)
        raise SchemaProblem(f"the database lacks migration {version}: run `unhush db upgrade --url {url}`")
    latest = _latest(connection.dialect.name)
    if current > latest and _needed(connection, latest) > latest:
        raise SchemaProblem(f"the database has migration {current}, newer than this unhush: take a newer unhush")


def fingerprint(connection: Connection, *, folder: Path = FOLDER) -> str:
    """SHA-256 of what the catalogue holds on our tables: the same text as long as the schema is the same."""
    dialect = dialect_named(connection.dialect.name)
    return catalogue.fingerprint_of(catalogue.lines(dialect, reading(connection), table_names(dialect, folder)))


@contextmanager
def _deploying(engine: Engine, folder: Path, patience: float) -> Iterator[tuple[Session, _Steps]]:
    """A session that has its turn, and what is to be done in it. Raises SchemaProblem where nothing may be done."""
    with session(engine) as work, turn(work, patience):
        with work.transaction(patience):
            history.make(work.dialect, work.run, work.query)
            steps = _Steps(migrations(work.dialect, folder), history.read(work.query))
        if refusals := steps.refusals():
            raise SchemaProblem(refusals[0])
        yield work, steps


def _named_apart(steps: _Steps, version: int) -> Migration:
    for step in steps.known:
        if step.apart and step.version == version:
            return step
    raise SchemaProblem(f"there is no migration {version} that stands apart")


def _checked(to: int | None, steps: _Steps) -> int:
    if to is None:
        return steps.latest
    if apart := next((step.label for step in steps.known if step.apart and step.version == to), None):
        raise SchemaProblem(f"{apart} stands apart: only its own command applies it and takes it back")
    if to != 0 and to not in {step.version for step in steps.in_order}:
        raise SchemaProblem(f"there is no migration {to}; the latest is {steps.latest}")
    return to


def apply(work: Session, migration: Migration, tables: Iterable[str], patience: float) -> bool:
    """Applies a migration as `upgrade` does, in a session that has its turn. Raises SchemaProblem."""
    started = time.monotonic()

    def begin() -> bool:
        if any(step.version == migration.version and step.finished for step in history.read(work.query)):
            return False
        history.begin(work.execute, migration)
        return True

    def finish() -> None:
        found = catalogue.lines(work.dialect, work.query, tables)
        history.finish(work.execute, migration, time.monotonic() - started, "\n".join(found))

    return carry_out(work, migration.script, f"{migration.label}.sql", begin, finish, patience)


def back_out(work: Session, migration: Migration, patience: float, letters: str | None = None) -> bool:
    """Takes a migration back as `downgrade` does, in a session that has its turn. Raises SchemaProblem."""

    def begin() -> bool:
        applied = {step.version: step for step in history.read(work.query)}
        if migration.version not in applied:
            return False
        if applied[migration.version].finished:
            _refuse_meanwhile(work, migration)
        letters_kept.refuse(work, migration, letters)
        history.unfinish(work.execute, migration)
        return True

    def finish() -> None:
        history.forget(work.execute, migration)

    return carry_out(work, migration.backout, f"{migration.label}.backout.sql", begin, finish, patience)


def _refuse_with_jobs_tables(dialect: str, query: Query, to: int) -> None:
    """Raises SchemaProblem where tables of the user's own have heartbeats that nobody could write any more."""
    if to < jobs_table.SCHEMA and (records := own_history.read(dialect, query)):
        name = records[0].name
        raise SchemaProblem(f"{name} has heartbeats: run `unhush db downgrade --jobs-table '{name}'` first")


def _refuse_meanwhile(work: Session, migration: Migration) -> None:
    """Raises SchemaProblem while something goes on that the backout would break."""
    if (refused := migration.backout.refused_while) and work.query(refused[1]):
        raise SchemaProblem(f"{migration.label} can't be taken back while {refused[0]}; nothing was changed")


def carry_out(
    work: Session, script: Script, name: str, begin: Callable[[], bool], finish: Callable[[], None], patience: float
) -> bool:
    """Runs a file between two notes in the history; False where `begin` finds it done by another process meanwhile.

    Outside a transaction the first note stays when the run is cut off, so that the status can tell.
    """
    whole = script.in_transaction and work.dialect != "mariadb"
    with work.transaction(patience):
        if not begin():
            return False
        if whole:
            _run(work, script, name, whole)
            finish()
    if not whole:
        _run(work, script, name, whole)
        with work.transaction(patience):
            finish()
    return True


def _run(work: Session, script: Script, name: str, whole: bool) -> None:
    """Runs the statements of a file. Raises SchemaProblem that says where it failed, and what stands now."""
    statements = split(script.text, work.dialect)
    for number, statement in enumerate(statements, 1):
        try:
            work.run(statement)
        except work.error as error:
            stands = "nothing was changed" if whole else _what_stands(number - 1)
            raise SchemaProblem(
                f"{name}, statement {number} of {len(statements)}: {one_line(error)}; {stands}"
            ) from error


def _what_stands(done: int) -> str:
    stands = {0: "nothing was changed", 1: "statement 1 before it stands"}.get(done, f"statements 1 to {done} stand")
    return f"{stands}; put the cause right and run this again"


def _current(connection: Connection) -> int:
    """The newest finished migration. The database's error where there is no table, with the transaction intact."""
    query = f"{history.CURRENT} AND version NOT IN ({_apart(connection.dialect.name)})"
    if connection.dialect.name == "postgresql":  # where an error ends the whole transaction
        with connection.begin_nested():
            return connection.exec_driver_sql(query).scalar_one() or 0
    return connection.exec_driver_sql(query).scalar_one() or 0


def _needed(connection: Connection, known: int) -> int:
    """The newest migration that code must know to work on a database whose migrations are newer than `known`."""
    query = reading(connection)
    if not history.bears_works_with(dialect_named(connection.dialect.name), query):
        return known + 1
    return history.needed(query, known)


@cache
def _latest(dialect: str) -> int:
    """The newest of our own migrations; the files do not change while a process runs."""
    return max(step.version for step in migrations(dialect) if not step.apart)


@cache
def _apart(dialect: str) -> str:
    """The versions that stand apart, as a list in SQL; 0 is none."""
    return ", ".join(["0", *(str(step.version) for step in migrations(dialect) if step.apart)])


def _tables(steps: Iterable[Migration]) -> frozenset[str]:
    return frozenset[str]().union(*(step.script.created for step in steps))


def _history(connection: Connection) -> tuple[Applied, ...]:
    from sqlalchemy import inspect

    return history.read(reading(connection)) if inspect(connection).has_table(history.TABLE) else ()


def _cut_off(steps: _Steps) -> list[str]:
    return [f"{step.label} was cut off: run the upgrade again" for step in steps.applied if not step.finished]


def _drift(steps: _Steps, dialect: str, query: Query) -> list[str]:
    """How the tables differ from what the last migration left, where we know that one and it ran to its end.

    Those of a migration that stands apart are compared with what that one left.
    """
    by_version = {step.version: step for step in steps.known}
    in_order = [step for step in steps.applied if not (step.version in by_version and by_version[step.version].apart)]
    pairs = [(step, by_version[step.version].script.created) for step in steps.applied if step not in in_order]
    if in_order and in_order[-1].version <= steps.latest:
        pairs.insert(0, (in_order[-1], _tables(steps.in_order)))
    return [line for step, tables in pairs if step.finished for line in _changes(step, dialect, query, tables)]


def _changes(step: Applied, dialect: str, query: Query, tables: Iterable[str]) -> list[str]:
    now = catalogue.lines(dialect, query, tables)
    before = (step.catalogue or "").splitlines()
    return [f"changed since {step.label}: {line}" for line in catalogue.differences(before, now)]

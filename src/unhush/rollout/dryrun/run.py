"""One dry run from beginning to end: facts come out, no verdict."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ...database import database
from ...output import Failure
from ...sql import history, runner
from ...sql.errors import SchemaProblem
from ...sql.files import FOLDER, dialect_named
from ...sql.locks import turn
from ...sql.session import session_of
from ...version import __version__
from . import identity, lint, schema, scratch
from .connecting import second_connection
from .phases import Trial
from .postgresql import GUARD_MS, PostgresLook
from .refusals import refusals
from .steps import Step, of_files, of_migrations
from .watch import Facts, PlainLook, Watched

if TYPE_CHECKING:
    from sqlalchemy import Engine

COPY, TRANSACTION, GIVEN = "copy", "transaction", "given copy"
PRODUCTION = "production"
PATIENCE = 10.0  # seconds for another deployer


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What was asked for. `files` are a user's own; without them it is what is pending in `folder`."""

    url: str
    mode: str = COPY
    files: tuple[Path, ...] = ()
    folder: Path = FOLDER
    on_production: bool = False
    largest: int = scratch.LARGEST
    contended: bool = True


def dry_run(wish: Wish) -> Facts:
    """Tries the migrations and tells what happened.

    Raises Failure where there is no database or no copy of it, and SchemaProblem where the migrations can't be planned.
    """
    started = _now()
    with _ending_cleanly(), database(wish.url) as target:
        dialect = dialect_named(target.dialect.name)
        _demand_mode(dialect, wish.mode)
        with target.connect() as connection:
            who = identity.identity(connection)
            steps = _steps(connection, wish)
        if who["environment"] == PRODUCTION and not wish.on_production:
            raise Failure(
                "this database calls itself production: give the URL of a copy, or say --on-production if you mean it"
            )
        facts = {**_read(steps, who, wish), "started_at": started}
        if steps and not facts["refused"]:
            facts |= _tried(target, steps, wish)
        return {**facts, "ended_at": _now()}


def _read(steps: Sequence[Step], who: Facts, wish: Wish) -> Facts:
    """What is known before anything runs: what is to be tried, where, and what the files say."""
    dialect = who["dialect"]
    return {
        "schema": 1,
        "kind": "dry_run",
        "tool_version": __version__,
        "mode": wish.mode,
        "how": None,
        "database": who,
        "migrations": [step.facts(dialect) for step in steps],
        "refused": refusals(steps, dialect, who["name"]),
        "lint": lint.findings(steps, dialect, _major(who) if dialect == "postgresql" else None),
        **_NOTHING_TRIED,
    }


_NOTHING_TRIED: Facts = {
    "contents": None, "phases": [], "contention": [], "contention_possible": False, "target": None, "schema_diff": [],
    "invalid_indexes": [], "unvalidated_constraints": [], "free_bytes": None, "sees_locks": False,
}  # fmt: skip

_KEPT: Facts = {"xid": None, "xid_status": None}


def _steps(connection: Any, wish: Wish) -> list[Step]:
    if wish.files:
        return of_files(wish.files)
    found = runner.status(connection, folder=wish.folder)
    if found.refusals:
        raise SchemaProblem(found.refusals[0])
    return of_migrations(found.pending)


def _demand_mode(dialect: str, mode: str) -> None:
    if mode != TRANSACTION or dialect == "postgresql":
        return
    if dialect == "sqlite":
        raise Failure("--in-transaction is for PostgreSQL; of a SQLite file a copy is made, which is as good")
    raise Failure("MariaDB commits each statement that changes a schema, so nothing can be rolled back: take a copy")


def _tried(target: Engine, steps: Sequence[Step], wish: Wish) -> Facts:
    """The facts of the phases, and that the database itself is as it was."""
    before = _standing(target)
    with ExitStack() as stack:
        if wish.mode == COPY:
            copy = stack.enter_context(scratch.copied(target.url, wish.largest))
            where = stack.enter_context(database(copy.url.render_as_string(hide_password=False)))
            how: str | None = copy.how
        else:
            where, how = target, None
        facts = _on(where, steps, wish)
        if wish.mode == COPY and where.dialect.name == "sqlite":
            facts["free_bytes"] = scratch.free_place(str(Path(str(target.url.database)).parent))
    after = _standing(target)
    sequences = {
        name: [value, after["sequences"].get(name)]
        for name, value in before["sequences"].items()
        if after["sequences"].get(name) != value
    }
    facts["target"] |= {
        "fingerprint_before": schema.fingerprint(before["lines"]),
        "fingerprint_after": schema.fingerprint(after["lines"]),
        "history_before": before["history"],
        "history_after": after["history"],
        "diff": schema.diff(before["lines"], after["lines"]),
        "sequences_moved": sequences,
    }
    return {**facts, "how": how}


def _standing(target: Engine) -> Facts:
    """How the database stands: its schema, what its history says, its sequences."""
    from sqlalchemy import inspect

    from ...sql.session import reading

    with target.connect() as connection:
        query, dialect = reading(connection), dialect_named(target.dialect.name)
        there = inspect(connection).has_table(history.TABLE)
        return {
            "lines": schema.lines(dialect, query),
            "sequences": schema.sequences(dialect, query),
            "history": [[row.label, row.checksum] for row in history.read(query)] if there else None,
        }


def _on(where: Engine, steps: Sequence[Step], wish: Wish) -> Facts:
    with where.connect() as connection:
        contents = identity.contents(connection)
    with ExitStack() as stack:
        work = stack.enter_context(session_of(Watched, where))
        work.look = _look(stack, where, work)
        stack.enter_context(turn(work, PATIENCE))
        trial = Trial(where, work, steps, wish.contended and wish.mode != TRANSACTION and work.dialect != "mariadb")
        before = trial.lines()
        was = _unsound(work)
        had_history = _has_history(work)
        seen: Facts = {}
        with _undone(work) if wish.mode == TRANSACTION else nullcontext(_KEPT) as undone:
            trial.run(before_last=lambda: seen.update(_seen(trial, before, was)), last_down=wish.mode != TRANSACTION)
            if not seen:
                seen.update(_seen(trial, before, was))
        if wish.mode == GIVEN and not had_history and _has_history(work) and not history.read(work.query):
            work.plain(f"DROP TABLE {history.TABLE}")
    return {
        **seen,
        "contents": contents,
        "phases": trial.phases,
        "contention": trial.contention,
        "contention_possible": trial.contended,
        "sees_locks": work.dialect == "postgresql",
        "target": dict(undone),
    }


def _look(stack: ExitStack, where: Engine, work: Watched) -> Any:
    if work.dialect != "postgresql":
        return PlainLook(work)
    if where.dialect.driver != "psycopg":
        raise Failure(f"a dry run needs the driver psycopg, not {where.dialect.driver}: say postgresql+psycopg://")
    return PostgresLook(work, stack.enter_context(second_connection(where.url)), where.url)


def _has_history(work: Watched) -> bool:
    return history.is_there(work.dialect, work.query)


def _unsound(work: Watched) -> tuple[list[str], list[str]]:
    return (
        schema.invalid_indexes(work.dialect, work.query),
        schema.unvalidated_constraints(work.dialect, work.query),
    )


def _seen(trial: Trial, before: list[str], was: tuple[list[str], list[str]]) -> Facts:
    """What the migrated schema looks like against the one before."""
    work = trial.work
    if work.ended:
        return {"schema_diff": [], "invalid_indexes": [], "unvalidated_constraints": []}
    indexes, constraints = _unsound(work)
    return {
        "schema_diff": schema.diff(before, trial.lines()),
        "invalid_indexes": [name for name in indexes if name not in was[0]],
        "unvalidated_constraints": [name for name in constraints if name not in was[1]],
    }


@contextmanager
def _undone(work: Watched) -> Iterator[Facts]:
    """One transaction around everything, rolled back; then what the server says became of it."""
    found: Facts = {}
    work.plain("BEGIN")
    work.plain(f"SET LOCAL lock_timeout = {GUARD_MS}")
    xid = int(work.query("SELECT txid_current()")[0][0])
    work.rolled_back = True
    try:
        yield found
    finally:
        work.rolled_back = False
        if not work.lost:
            work.plain("ROLLBACK")
    status = str(work.query(f"SELECT txid_status({xid})")[0][0])
    found.update({"xid": xid, "xid_status": status})


@contextmanager
def _ending_cleanly() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does, so that copies are dropped."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: Callable[..., Any] | int | None = None
    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not in the main thread: whoever runs us there decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _major(who: Facts) -> int | None:
    head = str(who["server_version"]).partition(".")[0]
    return int(head) if head.isdigit() else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")

"""What happens while somebody holds a lock: the migration gives up in time, and readers are not held up longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from typing import TYPE_CHECKING, Any

from ...runtime.redact import redact_text
from ...sql.errors import SchemaProblem
from ...sql.history import TABLE
from ...sql.session import one_line, session_of
from ...sql.statements import split, tokens
from . import schema
from .connecting import second_connection
from .postgresql import STRENGTH
from .steps import Step
from .watch import Facts, PlainLook, Watched

if TYPE_CHECKING:
    from sqlalchemy import Engine

LONGEST = 10.0  # seconds that a deploy may keep others waiting
GRACE = 5.0  # seconds that a busy machine may add to a timeout
UNBOUNDED = 3.0  # seconds until the test ends a wait that would not end by itself
_EVERY = 0.01
_AGAIN = 1.0  # seconds after which a cancel that came between two statements is said again
# What a lock has to wait for, in the weakest form that stops it: a reader, a writer, a vacuum, an index that is built.
_HOLD = {
    "AccessExclusiveLock": "ACCESS SHARE",
    "ExclusiveLock": "ROW SHARE",
    "ShareRowExclusiveLock": "ROW EXCLUSIVE",
    "ShareLock": "ROW EXCLUSIVE",
    "ShareUpdateExclusiveLock": "SHARE UPDATE EXCLUSIVE",
    "RowExclusiveLock": "SHARE",
    "RowShareLock": "EXCLUSIVE",
}
_STOPS_WRITERS = {"SHARE", "EXCLUSIVE"}

Run = Callable[[Watched], None]


def strongest(statements: list[Facts]) -> Facts | None:
    """The strongest lock that a file takes on a table that others use, with the lock_timeout that it waits under."""
    found = [
        {**lock, "lock_timeout_ms": statement["lock_timeout_ms"] or 0}
        for statement in statements
        for lock in statement["locks"]
        if lock["mode"] in _HOLD
        and lock["kind"] in ("table", "partitioned table")
        and not lock["relation"].endswith(TABLE)
    ]
    return max(found, key=lambda lock: STRENGTH[lock["mode"]], default=None)


def contend(engine: Engine, step: Step, direction: str, lock: Facts, run: Run) -> Facts:
    """Holds a lock in the way of a file, runs the file, and measures how long it and a reader wait.

    The file's own transaction is rolled back in any case; outside one, what it did stands if nothing stopped it.
    """
    whole = step.script(direction).in_transaction
    hold = "ROW EXCLUSIVE" if _builds_concurrently(step, direction) else _HOLD[lock["mode"]]
    limit = lock["lock_timeout_ms"] / 1000
    bounded = 0 < limit <= LONGEST
    with (
        second_connection(engine.url) as observer,
        second_connection(engine.url) as holder,
        session_of(Watched, engine) as work,
    ):
        before = schema.lines("postgresql", lambda text: observer.execute(text).fetchall())
        invalid = schema.invalid_indexes("postgresql", lambda text: observer.execute(text).fetchall())
        holder.execute("BEGIN")
        holder.execute(f"LOCK TABLE {lock['relation']} IN {hold} MODE")
        migration = _Waiting(work, run, whole)
        try:
            blocked = migration.blocked(observer)
            others = _others(engine, lock["relation"], hold) if blocked else []
            in_time = migration.wait(limit + GRACE if bounded else UNBOUNDED)
        finally:
            migration.end(observer)
            holder.execute("ROLLBACK")
        stalls = [other.seconds() for other in others]
        if not in_time and not whole:
            _clear_up(observer, invalid)
        after = schema.lines("postgresql", lambda text: observer.execute(text).fetchall())
    return {
        "migration": step.label,
        "direction": direction,
        "relation": lock["relation"],
        "mode": lock["mode"],
        "held": hold,
        "lock_timeout_ms": lock["lock_timeout_ms"],
        "blocked": blocked,
        "gave_up": in_time and migration.error is not None,
        "waited_seconds": round(migration.seconds, 3),
        "error": migration.error,
        "reader_seconds": round(stalls[0], 3) if stalls else None,
        "writer_seconds": round(stalls[1], 3) if len(stalls) > 1 else None,
        "left": schema.diff(before, after),
        "whole": whole,
    }


def _others(engine: Engine, relation: str, hold: str) -> list[_Other]:
    """A reader, and a writer where the held lock alone would not stop it."""
    modes = ["ACCESS SHARE"] if hold in _STOPS_WRITERS else ["ACCESS SHARE", "ROW EXCLUSIVE"]
    return [_Other(engine, relation, mode) for mode in modes]


def _clear_up(observer: Any, before: list[str]) -> None:
    """Drops the invalid indexes that are there because we ended a CREATE INDEX CONCURRENTLY, not the file itself."""
    for name in schema.invalid_indexes("postgresql", lambda text: observer.execute(text).fetchall()):
        if name not in before:
            observer.execute(f"DROP INDEX {name}")


def contend_on_sqlite(engine: Engine, step: Step, direction: str, patience: float, run: Run) -> Facts:
    """Holds SQLite's only write lock: the runner gives up after its patience, and readers read on."""
    with closing(engine.raw_connection()) as holder, closing(engine.raw_connection()) as reader:
        cursor = holder.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        started = time.perf_counter()
        error = None
        try:
            with session_of(Watched, engine) as work:
                work.look = PlainLook(work)
                work.query("PRAGMA busy_timeout = 100")  # the driver's own patience, before the runner's
                run(work)
        except SchemaProblem as problem:
            error = redact_text(str(problem))
        waited = time.perf_counter() - started
        started = time.perf_counter()
        reader.cursor().execute("SELECT count(*) FROM sqlite_master").fetchall()
        stalled = time.perf_counter() - started
        holder.rollback()
    return {
        "migration": step.label, "direction": direction, "relation": "the file", "mode": "RESERVED",
        "held": "BEGIN IMMEDIATE", "lock_timeout_ms": int(patience * 1000), "blocked": True,
        "gave_up": error is not None, "waited_seconds": round(waited, 3), "error": error,
        "reader_seconds": round(stalled, 3), "writer_seconds": None, "left": [], "whole": True,
    }  # fmt: skip


def _builds_concurrently(step: Step, direction: str) -> bool:
    """Whether it has a CREATE INDEX CONCURRENTLY: that waits for writers half way, when the index is there already."""
    for statement in split(step.script(direction).text, "postgresql"):
        words = [token.text.upper() for token in tokens(statement, "postgresql")][:4]
        if words[:1] == ["CREATE"] and "INDEX" in words and "CONCURRENTLY" in words:
            return True
    return False


class _Waiting:
    """The migration, which runs against the held lock in a thread of its own."""

    def __init__(self, work: Watched, run: Run, whole: bool) -> None:
        self.pid: int = work.connection.info.backend_pid
        self.error: str | None = None
        self.seconds = 0.0
        self._work, self._run, self._whole = work, run, whole
        work.look = PlainLook(work)
        work.plain("SET idle_in_transaction_session_timeout = 0")  # a busy machine may let it idle
        self._pool = ThreadPoolExecutor(1, "unhush-dry-run-migration")
        self._done = self._pool.submit(self._go)

    def _go(self) -> None:
        started = time.perf_counter()
        try:
            if self._whole:
                self._work.plain("BEGIN")
                self._work.rolled_back = True
            self._run(self._work)
        except SchemaProblem as problem:
            self.error = redact_text(str(problem))
        except self._work.error as error:
            self.error = redact_text(one_line(error))
        self.seconds = time.perf_counter() - started
        if self._whole and not self._work.lost:
            self._work.plain("ROLLBACK")

    def blocked(self, observer: Any) -> bool:
        """Whether it comes to wait for somebody, before it is done."""
        while not self._done.done():
            row = observer.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", (self.pid,)).fetchone()
            if row[0]:
                return True
            time.sleep(_EVERY)
        return False

    def wait(self, seconds: float) -> bool:
        """Whether it ends within that time. Raises what it could not tell as an error of the database."""
        if not wait([self._done], seconds).done:
            return False
        self._done.result()
        return True

    def end(self, observer: Any) -> None:
        """Ends it where it still runs, also when Ctrl-C came meanwhile: its connection is wanted back."""
        while not self._done.done():
            observer.execute("SELECT pg_cancel_backend(%s)", (self.pid,))
            wait([self._done], _AGAIN)
        self._pool.shutdown()


class _Other:
    """Somebody who reads or writes the table meanwhile."""

    def __init__(self, engine: Engine, relation: str, mode: str) -> None:
        self._engine, self._statement = engine, f"LOCK TABLE {relation} IN {mode} MODE"
        if mode == "ACCESS SHARE":
            self._statement = f"SELECT 1 FROM {relation} LIMIT 1"
        self._pool = ThreadPoolExecutor(1, "unhush-dry-run-other")
        self._seconds = self._pool.submit(self._go)

    def _go(self) -> float:
        with second_connection(self._engine.url) as connection, connection.transaction():
            started = time.perf_counter()
            connection.execute(self._statement)
            return time.perf_counter() - started

    def seconds(self) -> float:
        """How long it had to wait. Raises what went wrong."""
        self._pool.shutdown()
        return self._seconds.result()

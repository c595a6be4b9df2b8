"""Beats shown in a jobs table of the user's own: its row says what `unhush_job` says, in `heartbeat_at` and `_fence`.

It comes after the beats, in transactions of its own that wait for nobody: whatever is wrong with that table, or holds it,
harms no beat.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnClause,
    ColumnElement,
    Connection,
    Engine,
    TableClause,
    and_,
    case,
    cast,
    column,
    event,
    literal_column,
    or_,
    quoted_name,
    select,
    table,
    update,
)
from sqlalchemy import Text as TextType
from sqlalchemy.dialects import mysql

from unhush.sql.errors import SchemaProblem
from unhush.sql.files import dialect_named
from unhush.sql.names import checked, table_name
from unhush.sql.own_table import COLUMNS, OwnTable, look
from unhush.sql.session import reading

from .beat_tables import RUNNING, jobs
from .beats import BATCH, Claim
from .telling import first_line, log

KEEP_SECONDS = 3600.0  # for which the end of a job is tried again whose row is locked, or whose transaction is open
MOST_ENDS = 10_000  # ends that are remembered
SQLITE_WAIT = 200  # milliseconds

# A bigint, and no text that is one only by another spelling; no id comes near the largest.
_INTEGER = r"^(0|-?[1-9][0-9]{0,17}|-?[1-8][0-9]{18}|-?9[01][0-9]{17})$"
_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_HURRY = {
    "postgresql": "SELECT set_config('lock_timeout', '200ms', true), set_config('statement_timeout', '5s', true)",
    "mariadb": "SET STATEMENT lock_wait_timeout = 1, innodb_lock_wait_timeout = 1, max_statement_time = 5 FOR ",
}


class OwnRows:
    """Shows the beats of one process's jobs in the table `name`, whose column `key` holds the jobs' ids.

    Used by one thread. What goes wrong is logged, once until it goes right again.
    """

    def __init__(self, engine: Engine, name: str, key: str) -> None:
        self._engine = engine
        self._where = (name, key)
        self._rows: _Rows | None = None
        self._shown: set[str] = set()
        self._ended: dict[str, float] = {}
        self._failing = False

    def show(self, claims: Collection[Claim], beaten: bool) -> None:
        """Shows which jobs run: after a beat all of them, otherwise those that began or ended since."""
        running = {claim.id for claim in claims}
        ended = self._shown - running
        begun = running - self._shown
        self._shown = running
        self._remember(ended, running)
        if self._failing and not beaten:
            return
        ids = sorted(running | set(self._ended) if beaten else begun | ended)
        try:
            for start in range(0, len(ids), BATCH):
                self._write(ids[start : start + BATCH])
        except Exception as error:  # noqa: BLE001 - no trouble with the user's table may stop the beats
            self._failed(error)
        else:
            self._succeeded()

    def _remember(self, ended: Collection[str], running: Collection[str]) -> None:
        now = time.monotonic()
        self._ended |= dict.fromkeys(ended, now + KEEP_SECONDS)
        kept = [(id_, until) for id_, until in self._ended.items() if id_ not in running and until > now]
        self._ended = dict(kept[-MOST_ENDS:])

    def _write(self, ids: Sequence[str]) -> None:
        with _hurried(self._engine) as connection:
            if self._rows is None:
                self._rows = _Rows(_looked(connection, *self._where))
            settled = self._rows.write(connection, ids, set(self._ended))
        for id_ in settled:
            self._ended.pop(id_, None)

    def _failed(self, error: Exception) -> None:
        self._rows = None  # the table may have been changed
        if not self._failing:
            line = str(error) if isinstance(error, SchemaProblem) else first_line(error)
            log(
                "warning",
                "heartbeat.jobs_table_failed",
                table=self._where[0],
                error_type=type(error).__qualname__,
                error=line,
            )
        self._failing = True

    def _succeeded(self) -> None:
        if self._failing:
            self._failing = False
            log("info", "heartbeat.jobs_table_back", table=self._where[0])


def _looked(connection: Connection, name: str, key: str) -> OwnTable:
    """Looks at the table. Raises SchemaProblem where it can't show beats."""
    dialect = dialect_named(connection.dialect.name)
    checked(key, "column", dialect)
    seen = look(reading(connection), dialect, table_name(name, dialect), key)
    if len(seen.columns) < len(COLUMNS):
        command = f"unhush db upgrade --jobs-table '{seen.name}' --key-column '{seen.key.name}'"
        raise SchemaProblem(f"{seen.name} has no columns for heartbeats: run `{command}`")
    return seen


class _Rows:
    """The statements for one table."""

    def __init__(self, seen: OwnTable) -> None:
        self._table = _table(seen)
        self._same = _same(seen, self._table.c[seen.key.name])
        self._unlike = or_(self._table.c.heartbeat_fence.is_(None), self._table.c.heartbeat_fence <= jobs.c.fence)

    def write(self, connection: Connection, ids: Sequence[str], ended: Collection[str]) -> set[str]:
        """Writes what nobody holds; gives those of the ended jobs with which nothing is left to do."""
        there = (
            select(jobs.c.id, jobs.c.status)
            .select_from(jobs.join(self._table, self._same))
            .where(jobs.c.id.in_(ids), self._unlike)
        )
        free = {
            row.id: row.status
            for row in connection.execute(there.with_for_update(of=self._table, skip_locked=True, key_share=True))
        }
        if free:
            connection.execute(self._update(list(free)))
        settled = {id_ for id_, status in free.items() if status != RUNNING}
        left = [id_ for id_ in ids if id_ in ended and id_ not in free]
        if left:  # locked by somebody, or without a row
            held = connection.execute(there.where(jobs.c.id.in_(left))).scalars()
            settled |= set(left) - set(held)
        return settled

    def _update(self, ids: Sequence[str]) -> Any:
        fence = case((jobs.c.status == RUNNING, jobs.c.fence))
        values = {self._table.c.heartbeat_at: jobs.c.beat_at, self._table.c.heartbeat_fence: fence}
        return update(self._table).values(values).where(self._same, jobs.c.id.in_(ids), self._unlike)


def _table(seen: OwnTable) -> TableClause:
    schema = None if seen.name.schema is None else quoted_name(seen.name.schema, True)
    columns: list[ColumnClause[Any]] = [column(quoted_name(name, True)) for name in (seen.key.name, *COLUMNS)]
    return table(quoted_name(seen.name.table, True), *columns, schema=schema)


def _same(seen: OwnTable, key: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a row is a job's. The job's id is made what the key is, and not the reverse, so that its index serves."""
    job_id = jobs.c.job_id
    if seen.dialect == "sqlite":  # which makes numbers of texts by itself, of `042` too
        return and_(key == job_id, cast(key, TextType) == job_id)
    if seen.key.kind == "integer":
        return key == case((job_id.regexp_match(_INTEGER), cast(job_id, BigInteger)))
    if seen.key.kind == "uuid":
        return key == case((job_id.regexp_match(_UUID), literal_column("CAST(unhush_job.job_id AS uuid)")))
    if seen.key.kind in ("padded", "citext"):
        return key == literal_column(
            f"CAST(unhush_job.job_id AS {'bpchar' if seen.key.kind == 'padded' else 'citext'})"
        )
    if seen.dialect == "mariadb":
        own = seen.key.column
        alike = cast(job_id, mysql.CHAR(255, charset=own.charset)).collate(own.collation or "")
        return and_(key == alike, key == job_id)  # the second as bytes: the first may take "A" for "a"
    return key == job_id


@contextmanager
def _hurried(engine: Engine) -> Iterator[Connection]:
    """A transaction that would rather fail than wait."""
    dialect = dialect_named(engine.dialect.name)
    with engine.connect() as connection:
        if dialect == "sqlite":
            with _short_wait(connection), connection.begin():
                yield connection
            return
        # Where MariaDB repeats reads it locks the gaps beside rows too, and others could add none there.
        connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            if dialect == "postgresql":
                connection.exec_driver_sql(_HURRY[dialect])
            else:
                event.listen(connection, "before_cursor_execute", _prefixed, retval=True)
            yield connection


def _prefixed(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
) -> tuple[str, Any]:
    return _HURRY["mariadb"] + statement, parameters


@contextmanager
def _short_wait(connection: Connection) -> Iterator[None]:
    driver: Any = connection.connection.dbapi_connection
    before = driver.execute("PRAGMA busy_timeout").fetchone()[0]
    driver.execute(f"PRAGMA busy_timeout = {SQLITE_WAIT}")
    try:
        yield
    finally:
        driver.execute(f"PRAGMA busy_timeout = {before}")

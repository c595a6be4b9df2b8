"""What acts on the rows of running jobs have in common: the clock, locks that wait for nobody, and changes of many rows."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, and_, bindparam, column, literal, select, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from .beat_tables import jobs
from .beat_terms import Clock
from .columns import Id, UtcDateTime, Word, database_now


def read_clock(connection: Connection, clock: Clock = database_now) -> datetime:
    """The time by which beats are written."""
    now = clock()
    return now if isinstance(now, datetime) else connection.execute(select(now)).scalar_one()


def moment(clock: Clock) -> Any:
    """The clock's time as a value in SQL."""
    now = clock()
    return literal(now, UtcDateTime()) if isinstance(now, datetime) else now


def now_given(clock: Clock) -> dict[str, Any]:
    """The parameter of a prepared statement's clock, where that is not the database's."""
    now = clock()
    return {"now": now} if isinstance(now, datetime) else {}


def now_in(given: bool) -> Any:
    """The clock in a prepared statement: the database's, or the parameter that `now_given` names."""
    return bindparam("now", type_=UtcDateTime()) if given else database_now()


class later(FunctionElement[datetime]):
    """A time in SQL and the seconds to add; null without seconds."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(later, "postgresql")
def _later_postgresql(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    now, seconds = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{now} + make_interval(secs => {seconds})"


@compiles(later, "mysql")
@compiles(later, "mariadb")
def _later_mariadb(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    now, seconds = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{now} + INTERVAL ROUND({seconds} * 1000000) MICROSECOND"


@compiles(later, "sqlite")
def _later_sqlite(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    now, seconds = (compiler.process(clause, **options) for clause in element.clauses)
    added = f"strftime('%Y-%m-%d %H:%M:%f000', {now}, printf('%.3f seconds', {seconds}))"
    return f"CASE WHEN {seconds} IS NOT NULL THEN {added} END"


def lock_free(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Locks those of the rows that nobody else has locked, without waiting."""
    free = select(jobs.c.id).where(jobs.c.id.in_(ids)).with_for_update(skip_locked=True)
    return set(connection.execute(free).scalars())


def fences(connection: Connection, ids: Sequence[str], statuses: Collection[str]) -> dict[str, int]:
    """The fences of those of the rows that have one of the statuses."""
    found = select(jobs.c.id, jobs.c.fence).where(jobs.c.id.in_(ids), jobs.c.status.in_(statuses))
    return {row.id: row.fence for row in connection.execute(found)}


def changing(dialect: str, update: Any) -> Any:
    """The UPDATE of jobs as `change` carries it out on that database."""
    if dialect != "postgresql":
        return update.where(jobs.c.id.in_(bindparam("ids", expanding=True)))
    same = and_(jobs.c.id == _EXPECTED.c.id, jobs.c.fence == _EXPECTED.c.fence, jobs.c.status == _EXPECTED.c.status)
    free = select(jobs.c.id).join(_EXPECTED, same).with_for_update(of=jobs, skip_locked=True).cte("free")
    return update.where(jobs.c.id == free.c.id).returning(jobs.c.id)


_EXPECTED = (
    text(
        "SELECT id, fence, status FROM json_to_recordset(CAST(:expected AS json))"
        " AS expected (id uuid, fence bigint, status text)"
    )
    .columns(column("id", Id), column("fence", BigInteger), column("status", Word))
    .subquery("expected")
)


def change(
    connection: Connection, changing: Any, expected: Mapping[str, tuple[int, str]], values: Mapping[str, Any]
) -> set[str]:
    """Changes those of the rows that nobody else has locked and that still have the fence and status; gives their ids.

    One statement on PostgreSQL, which needs no transaction; else one that locks them and one that changes them.
    """
    if connection.dialect.name == "postgresql":
        rows = json.dumps([{"id": id_, "fence": fence, "status": status} for id_, (fence, status) in expected.items()])
        return set(connection.execute(changing, {**values, "expected": rows}).scalars())
    locked = connection.execute(_LOCKED, {"ids": list(expected)})
    free = [row.id for row in locked if expected[row.id] == (row.fence, row.status)]
    if free:
        connection.execute(changing, {**values, "ids": free})
    return set(free)


_LOCKED = (
    select(jobs.c.id, jobs.c.fence, jobs.c.status)
    .where(jobs.c.id.in_(bindparam("ids", expanding=True)))
    .with_for_update(skip_locked=True)
)

"""How an act on the database is driven: one function over a Connection, in one transaction, blocking or with asyncio."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import stamina
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool

import unhush.sql.errors as sql_errors
from unhush.sql.runner import require_schema

from .engine import READING, is_missing_schema, is_transient
from .letters import SchemaProblem

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 8
TIMEOUT_SECONDS = 15

_AT_ONCE: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"}

_fit: weakref.WeakSet[Pool] = weakref.WeakSet()


def write(engine: Engine, act: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Does the act in one transaction. Raises SchemaProblem where the tables aren't those of this code."""
    with _schema_told(), engine.begin() as connection:
        return _checked(connection, act, *args, **kwargs)


def read(engine: Engine, act: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Does the act in one transaction that changes nothing. Raises SchemaProblem as `write` does."""
    with _schema_told(), engine.connect() as connection:
        return _checked(connection.execution_options(**{READING: True}), act, *args, **kwargs)


async def async_write(
    engine: AsyncEngine, act: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """As `write`, with asyncio."""
    with _schema_told():
        async with engine.begin() as connection:
            return await connection.run_sync(_checked, act, *args, **kwargs)


async def async_read(
    engine: AsyncEngine, act: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """As `read`, with asyncio."""
    with _schema_told():
        async with engine.connect() as connection:
            await connection.execution_options(**{READING: True})
            return await connection.run_sync(_checked, act, *args, **kwargs)


def write_at_once(
    engine: Engine, act: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """As `write`, for an act that is one statement on PostgreSQL: without the round trips of a transaction there."""
    if not _commits_by_itself(engine):
        return write(engine, act, *args, **kwargs)
    with _schema_told(), engine.connect() as connection, connection.execution_options(**_AT_ONCE).begin():
        return _checked(connection, act, *args, **kwargs)


async def async_write_at_once(
    engine: AsyncEngine, act: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """As `write_at_once`, with asyncio."""
    if not _commits_by_itself(engine):
        return await async_write(engine, act, *args, **kwargs)
    with _schema_told():
        async with engine.connect() as connection:
            await connection.execution_options(**_AT_ONCE)
            async with connection.begin():
                return await connection.run_sync(_checked, act, *args, **kwargs)


def _commits_by_itself(engine: Engine | AsyncEngine) -> bool:
    return engine.dialect.name == "postgresql" and engine.pool in _fit  # the look at the schema needs a transaction


def retried(transaction: Callable[[], T], seconds: float = TIMEOUT_SECONDS) -> T:
    """Does the transaction, again while it loses against another one, for so many seconds."""
    try:
        return transaction()
    except DBAPIError as error:
        if not is_transient(error):
            raise
    for attempt in _attempts(seconds):
        with attempt:
            return transaction()
    raise AssertionError("stamina's last attempt returns or raises")


async def async_retried(transaction: Callable[[], Awaitable[T]], seconds: float = TIMEOUT_SECONDS) -> T:
    """As `retried`, with asyncio."""
    try:
        return await transaction()
    except DBAPIError as error:
        if not is_transient(error):
            raise
    async for attempt in _attempts(seconds):
        with attempt:
            return await transaction()
    raise AssertionError("stamina's last attempt returns or raises")


def _attempts(seconds: float) -> Any:
    return stamina.retry_context(
        is_transient, attempts=ATTEMPTS, timeout=seconds, wait_initial=0.01, wait_max=1.0, wait_jitter=0.1
    )


def _checked(
    connection: Connection, act: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Does the act, on a database that has the migrations of this code: looked up once for each pool of connections."""
    pool = connection.engine.pool
    if pool not in _fit:
        try:
            require_schema(connection)
        except sql_errors.SchemaProblem as error:
            raise SchemaProblem(str(error)) from error
        _fit.add(pool)
    return act(connection, *args, **kwargs)


@contextmanager
def _schema_told() -> Iterator[None]:
    """One line that says what to do, for a table that isn't there."""
    try:
        yield
    except DBAPIError as error:
        if not is_missing_schema(error):
            raise
        raise SchemaProblem("the database lacks the dead letter queue's tables: run `unhush db upgrade`") from error


def answers(connection: Connection) -> None:
    """An act that only a database that is up can do."""
    connection.execute(select(1))

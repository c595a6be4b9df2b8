"""Engines that the queue makes from a URL, and what tells one kind of database trouble from another."""

from __future__ import annotations

import math
import os
import time
import weakref
from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, InvalidatePoolError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, Pool, SingletonThreadPool

from .letters import DeadLetterError

DEFAULT_URL = "sqlite:///unhush.db"
READING = "unhush_reading"  # the execution option of transactions that only read
CONNECT_SECONDS = 5
BUSY_SECONDS = 5
# How long a statement's answer may take on MariaDB before the driver gives up: it has no other guard against a server
# that accepts and stays silent.
SILENCE_SECONDS = 60
# A connection used so shortly ago is taken to be alive; where it is not, a capture goes to the spool.
IDLE_SECONDS = 1.0
_USED_AT = "unhush_used_at"

_DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql", "mysql": "mysql+pymysql"}
_ASYNC_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+pysqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+psycopg",
    "mariadb": "mariadb+aiomysql",
    "mariadb+pymysql": "mariadb+aiomysql",
    "mysql": "mysql+aiomysql",
    "mysql+pymysql": "mysql+aiomysql",
}
# What tells a dead peer from a silent one; a server that is alive and silent is what the captures' deadline is for.
_LIBPQ = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": SILENCE_SECONDS * 1000,
}
# The same for the server's end of the connection, which by default waits for two hours.
_SERVER_SIDE = """
SELECT set_config(wanted.name, wanted.value, false)
FROM (VALUES ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'),
    ('tcp_user_timeout', '60000'), ('idle_in_transaction_session_timeout', '{idle_ms}')) AS wanted (name, value)
JOIN pg_settings USING (name)
WHERE wanted.value <> '' AND (wanted.name <> 'idle_in_transaction_session_timeout' OR setting = '0')
"""
# MariaDB reads the comment, which MySQL, that has no such setting, does not.
_SERVER_SIDE_MARIADB = """
SET @unhush_idle = {idle} /*M!100300 ,
    SESSION idle_transaction_timeout = IF(@@idle_transaction_timeout = 0, {idle}, @@idle_transaction_timeout) */
"""
LEAST_IDLE_SECONDS = 5
MOST_IDLE_SECONDS = 14 * 24 * 3600  # PostgreSQL takes no more than 24 days
_CONNECT_ARGUMENTS: dict[str, dict[str, Any]] = {
    "psycopg": _LIBPQ,
    "psycopg2": _LIBPQ,
    "asyncpg": {"timeout": CONNECT_SECONDS},
    "pymysql": {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": SILENCE_SECONDS,
        "write_timeout": SILENCE_SECONDS,
    },
    "aiomysql": {"connect_timeout": CONNECT_SECONDS},
    "asyncmy": {"connect_timeout": CONNECT_SECONDS},
}


def default_url() -> str:
    """The database where none is named: `UNHUSH_DATABASE_URL`, else a SQLite file in the working folder."""
    return os.environ.get("UNHUSH_DATABASE_URL") or DEFAULT_URL


def make_engine(url: str | URL | None = None, *, idle_seconds: float | None = None) -> Engine:
    """An engine for one of the three databases. Raises DeadLetterError, without the URL's password, for any other.

    After `idle_seconds` (5 at least) without a word in the middle of a transaction PostgreSQL and MariaDB end it, unless
    they are set to do so anyway: a process that is stopped there would keep its locks until it goes on.
    """
    try:
        where = _with_driver(url, _DRIVERS)
        engine = create_engine(where, hide_parameters=True, connect_args=_connect_arguments(where))
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise _unusable(url, error) from None
    _prepare(engine, idle_seconds)
    return engine


def make_async_engine(url: str | URL | None = None) -> AsyncEngine:
    """The same for asyncio; a URL that names no driver, or a blocking one, gets one that doesn't block."""
    try:
        where = _with_driver(url, _ASYNC_DRIVERS)
        engine = create_async_engine(where, hide_parameters=True, connect_args=_connect_arguments(where))
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise _unusable(url, error) from None
    _prepare(engine.sync_engine)
    return engine


def thread_bound(engine: Engine) -> bool:
    """Whether its connections mean something else in another thread: in-memory SQLite."""
    return isinstance(engine.pool, SingletonThreadPool | StaticPool)


def _with_driver(url: str | URL | None, drivers: dict[str, str]) -> URL:
    where = make_url(url or default_url())
    if where.get_backend_name() not in ("sqlite", "postgresql", "mariadb", "mysql"):
        raise ArgumentError(f"{where.get_backend_name()!r} is not one of sqlite, postgresql, mariadb")
    return where.set(drivername=drivers.get(where.drivername, where.drivername))


def _connect_arguments(url: URL) -> dict[str, Any]:
    driver = url.get_dialect(_is_async=False).driver
    return {name: value for name, value in _CONNECT_ARGUMENTS.get(driver, {}).items() if name not in url.query}


def _unusable(url: str | URL | None, error: Exception) -> DeadLetterError:
    if isinstance(error, ImportError):
        return DeadLetterError(f"the database's driver is not installed: {error}")
    try:
        shown = make_url(url or default_url()).render_as_string(hide_password=True)
    except ArgumentError:
        # An unparsable URL may hold its password anywhere.
        return DeadLetterError("the database URL can't be read; it looks like postgresql+psycopg://user@host/name")
    return DeadLetterError(f"no database at {shown}: {error}")


def _prepare(engine: Engine, idle_seconds: float | None = None) -> None:
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
        return
    _ping_the_idle(engine)
    idle = None if idle_seconds is None else min(max(LEAST_IDLE_SECONDS, math.ceil(idle_seconds)), MOST_IDLE_SECONDS)
    if engine.dialect.name == "postgresql":
        _set_at_first(engine, _SERVER_SIDE.format(idle_ms="" if idle is None else idle * 1000))
    elif idle is not None:
        _set_at_first(engine, _SERVER_SIDE_MARIADB.format(idle=idle))


def _set_at_first(engine: Engine, statement: str) -> None:
    """Has the server notice who is gone, for each connection: until then it keeps the locks of what was open."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(statement)
        cursor.close()
        connection.commit()


def _ping_the_idle(engine: Engine) -> None:
    """Asks a connection that was idle for a while whether it still lives: `pool_pre_ping` costs a round trip each time."""

    @event.listens_for(engine, "checkin")
    def checkin(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_USED_AT] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def checkout(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        now = time.monotonic()
        if now - record.info.get(_USED_AT, now) < IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error  # the pool makes new ones, and goes on


def _prepare_sqlite(engine: Engine) -> None:
    """Readers beside one writer, writers that take turns, and transactions where Python's driver would begin none."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except engine.dialect.loaded_dbapi.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != _SQLITE_READONLY:
                raise  # a file that can't be written can still be read
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer that began as a reader can't wait for its turn: SQLite refuses it at once.
        reading = connection.get_execution_options().get(READING)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


_LOCKED = {
    "40001",  # PostgreSQL: serialisation failure
    "40P01",  # deadlock
    "55P03",  # lock not available
    1205,  # MariaDB: lock wait timeout
    1213,  # deadlock
    1020,  # record changed since last read
    1305,  # no such savepoint: a deadlock took it with the whole transaction, and this error its place
}
_MISSING = {
    "42P01",  # PostgreSQL: no such table
    "42703",  # no such column
    "3F000",  # no such schema
    1146,  # MariaDB: no such table
    1054,  # no such column
}
_TOO_LARGE = {
    "54000",  # PostgreSQL: program limit exceeded
    1153,  # MariaDB: packet too large
}
_SQLITE_BUSY, _SQLITE_LOCKED, _SQLITE_READONLY = 5, 6, 8


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may well succeed when it is tried again: it lost to another one."""
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return (code & 0xFF) in (_SQLITE_BUSY, _SQLITE_LOCKED)
    return _code(error) in _LOCKED


def is_duplicate(error: DBAPIError) -> bool:
    """Whether a unique constraint refused the row: what is to be stored is there already."""
    code = getattr(error.orig, "sqlite_errorname", None)
    if code is not None:
        return code in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY")
    return _code(error) in ("23505", 1062)


def is_refused(error: BaseException) -> bool:
    """Whether the database will never take the row, whenever it is offered."""
    if not isinstance(error, DBAPIError) or is_duplicate(error):
        return False
    return isinstance(error, DataError | IntegrityError) or _code(error) in _TOO_LARGE


def is_missing_schema(error: BaseException) -> bool:
    """Whether a table or a column isn't there."""
    if not isinstance(error, DBAPIError):
        return False
    text = str(error.orig)
    return _code(error) in _MISSING or "no such table" in text or "has no column" in text or "no such column" in text


def _code(error: DBAPIError) -> str | int | None:
    """The SQLSTATE of PostgreSQL's drivers, or the number of MariaDB's."""
    arguments = getattr(error.orig, "args", ())
    if arguments and isinstance(arguments[0], int):
        return arguments[0]
    state = getattr(error.orig, "sqlstate", None)
    return None if state is None else str(state)


_after_fork: weakref.WeakSet[Any] = weakref.WeakSet()
_abandoned: list[Pool] = []


def survive_fork(owner: Any) -> None:
    """Has `owner.after_fork()` called in each child process, for as long as the owner lives."""
    _after_fork.add(owner)


def abandon_connections(engine: Engine) -> None:
    """In a forked child: leave the parent's connections alone, neither used nor closed, and make new ones."""
    if thread_bound(engine):
        return
    _abandoned.append(engine.pool)  # a connection that is collected is closed, and the parent's with it
    engine.dispose(close=False)


def _in_child() -> None:
    for owner in list(_after_fork):
        owner.after_fork()


_register: Callable[..., None] | None = getattr(os, "register_at_fork", None)
if _register is not None:
    _register(after_in_child=_in_child)

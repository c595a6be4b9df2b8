"""A driver's own connection, in which statements run as they are and transactions begin and end where we say."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import SchemaProblem
from .files import dialect_named
from .history import Query

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPICursor
    from sqlalchemy.pool import PoolProxiedConnection

PATIENCE = 60.0  # seconds
_PAUSE = 0.1  # seconds
S = TypeVar("S", bound="Session")


class Session:
    """A connection of an engine's pool in autocommit mode; SQLAlchemy's own BEGIN and its events are not in play.

    `error` is what the driver raises; `lost` says that the connection is gone, and all that was open with it.
    """

    def __init__(self, engine: Engine, raw: PoolProxiedConnection) -> None:
        self.dialect = dialect_named(engine.dialect.name)
        self.error: type[Exception] = engine.dialect.loaded_dbapi.Error
        self.lost = False
        self._engine = engine
        self._raw = raw

    def run(self, statement: str) -> None:
        """Runs a statement verbatim: no `:x` and no `%` means anything to us or to the driver."""
        with self._cursor() as cursor:
            cursor.execute(statement)

    def query(self, statement: str) -> Sequence[Sequence[Any]]:
        """The rows of a query, which runs verbatim too."""
        with self._cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def execute(self, statement: str, values: Sequence[Any]) -> None:
        """Runs a statement with a value for each `?`."""
        if self.dialect == "sqlite":
            values = [value.isoformat(" ") if isinstance(value, datetime) else value for value in values]
        else:
            statement = statement.replace("?", "%s")
        with self._cursor() as cursor:
            cursor.execute(statement, tuple(values))

    @contextmanager
    def transaction(self, patience: float) -> Iterator[None]:
        """All or nothing, where the database can do that; on SQLite it waits up to `patience` s for the write lock."""
        if self.dialect == "sqlite":
            wait_for(self._take_write_lock, patience)
        else:
            self.run("BEGIN")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            if not self.lost:
                self._raw.rollback()
            raise

    def _take_write_lock(self) -> bool:
        try:
            self.run("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                return False
            raise
        return True

    @contextmanager
    def _cursor(self) -> Iterator[DBAPICursor]:
        cursor = self._raw.cursor()
        try:
            yield cursor
        except self.error as error:
            connection: Any = self._raw.dbapi_connection
            if self._engine.dialect.is_disconnect(error, connection, cursor):  # type: ignore[arg-type]
                self.lost = True
            raise
        finally:
            cursor.close()


def wait_for(take: Callable[[], bool], patience: float) -> None:
    """Asks until it is given. Raises SchemaProblem when that takes longer than `patience` seconds."""
    until = time.monotonic() + patience
    while not take():
        if time.monotonic() >= until:
            raise SchemaProblem(
                f"another process has kept the database for {patience:g} s; when it is done, run this again"
            )
        time.sleep(_PAUSE)


@contextmanager
def session(engine: Engine) -> Iterator[Session]:
    """A connection for migrations. Raises SchemaProblem for a dialect without migrations and for a driver's error."""
    with session_of(Session, engine) as work:
        yield work


@contextmanager
def session_of(kind: Callable[[Engine, PoolProxiedConnection], S], engine: Engine) -> Iterator[S]:
    """A session of a kind of one's own. Raises SchemaProblem as `session` does."""
    dialect_named(engine.dialect.name)
    try:
        with closing(engine.raw_connection()) as raw:
            work = kind(engine, raw)
            with _autocommit(work, engine, raw):
                yield work
    except engine.dialect.loaded_dbapi.Error as error:
        raise SchemaProblem(one_line(error)) from error


def one_line(error: BaseException) -> str:
    """What a driver says, in one line."""
    text = str(error.args[1]) if len(error.args) > 1 else str(error)  # MariaDB's come as number and text
    return (text.strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _autocommit(work: Session, engine: Engine, raw: PoolProxiedConnection) -> Iterator[None]:
    connection: Any = raw.dbapi_connection
    if isinstance(connection, sqlite3.Connection):
        # Put back as it was, not as SQLAlchemy would have it: many set it to None on connect, to say BEGIN themselves.
        before, connection.isolation_level = connection.isolation_level, None
        try:
            yield
        finally:
            connection.isolation_level = before
        return
    engine.dialect.set_isolation_level(connection, "AUTOCOMMIT")
    try:
        yield
    finally:
        if work.lost:
            raw.invalidate()
        else:
            engine.dialect.reset_isolation_level(connection)


def reading(connection: Connection) -> Query:
    """Runs queries in a SQLAlchemy connection's own transaction."""

    def query(statement: str) -> Sequence[Sequence[Any]]:
        return connection.exec_driver_sql(statement).fetchall()

    return query

"""Column types that mean the same on PostgreSQL, SQLite and MariaDB, and the database's own clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CHAR, JSON, DateTime, LargeBinary, String, Text, TypeDecorator, Uuid
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC, in microseconds: timestamptz on PostgreSQL, else a column that holds UTC."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """The column's own type on that database."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The value as the column stores it. Raises ValueError for a datetime without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time needs its zone")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The value with its zone, UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class database_now(FunctionElement[datetime]):
    """The database's clock at this statement, in UTC. Never the host's: clocks of hosts differ, and jump."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(database_now, "postgresql")
def _now_postgresql(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return "clock_timestamp()"


@compiles(database_now, "mysql")
@compiles(database_now, "mariadb")
def _now_mariadb(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return "UTC_TIMESTAMP(6)"


@compiles(database_now, "sqlite")
def _now_sqlite(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    # SQLite knows milliseconds; three zeros make the text as long, and so as comparable, as a stored time.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class _JsonText(sqlite.JSON):
    """JSON in a text column: one declared `json` has numeric affinity on SQLite, which makes 0 of 0.0."""


@compiles(_JsonText, "sqlite")
def _json_text(element: Any, compiler: Any, **options: Any) -> str:
    return "TEXT"


# A UUID as text with dashes for Python; PostgreSQL keeps 16 bytes of it.
Id = (
    Uuid(as_uuid=False)
    .with_variant(CHAR(36, collation="ascii_bin"), "mysql", "mariadb")
    .with_variant(CHAR(36), "sqlite")
)
# Names are compared byte by byte everywhere: MariaDB's default collation takes "Mail" for "mail".
Name = String(255).with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
Word = String(64).with_variant(mysql.VARCHAR(64, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
LongText = Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
# Plain JSON values in and out (payload.py makes them so): jsonb on PostgreSQL, checked text on MariaDB, text on SQLite.
Json = (
    JSON(none_as_null=True)
    .with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
    .with_variant(_JsonText(none_as_null=True), "sqlite")
)
Bytes = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")

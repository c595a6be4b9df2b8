"""Which database it is that was tried: its server, its name, and what it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...sql.history import TABLE
from ...sql.urls import shown
from .schema import quoted

if TYPE_CHECKING:
    from sqlalchemy import Connection

COUNTED = 2**30  # bytes up to which rows are counted, and not estimated
_TABLES = """
SELECT quote_ident(nspname) || '.' || quote_ident(relname), reltuples::bigint, pg_total_relation_size(c.oid),
    has_schema_privilege(n.oid, 'usage') AND has_table_privilege(c.oid, 'select'), reltuples >= 0 AND (relpages > 0 OR EXISTS (
        SELECT 1 FROM pg_stat_user_tables s WHERE s.relid = c.oid AND (last_analyze IS NOT NULL OR last_autoanalyze IS NOT NULL)))
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND relkind IN ('r', 'm') ORDER BY 1
"""
_ENVIRONMENT = "SELECT name FROM unhush_environment"


def identity(connection: Connection) -> dict[str, Any]:
    """What the report says of a database, with the URL as it may be shown."""
    dialect = "mariadb" if connection.dialect.name == "mysql" else connection.dialect.name
    return {
        "url": shown(connection.engine.url),
        "dialect": dialect,
        "name": connection.engine.url.database,
        "server_version": ".".join(str(part) for part in connection.dialect.server_version_info or ()),
        "system_identifier": _system_identifier(connection, dialect),
        "environment": environment(connection),
    }


def environment(connection: Connection) -> str | None:
    """The name that `unhush rollout init` gave it; None where it has none."""
    from sqlalchemy import inspect

    if not inspect(connection).has_table("unhush_environment"):
        return None
    row = connection.exec_driver_sql(_ENVIRONMENT).first()
    return str(row[0]) if row else None


def contents(connection: Connection) -> dict[str, Any]:
    """The tables with rows and sizes; `rows` of a large database on PostgreSQL is what its statistics say."""
    dialect = "mariadb" if connection.dialect.name == "mysql" else connection.dialect.name
    size, tables = {"postgresql": _postgresql, "mariadb": _mariadb, "sqlite": _sqlite}[dialect](connection)
    tables = [table for table in tables if table["name"].rpartition(".")[2] != TABLE]
    return {"size_bytes": size, "tables": tables}


def _system_identifier(connection: Connection, dialect: str) -> str | None:
    if dialect != "postgresql":
        return None
    allowed = "SELECT has_function_privilege('pg_control_system()', 'execute')"
    if not connection.exec_driver_sql(allowed).scalar_one():
        return None
    return str(connection.exec_driver_sql("SELECT system_identifier FROM pg_control_system()").scalar_one())


def _postgresql(connection: Connection) -> tuple[int, list[dict[str, Any]]]:
    size = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
    tables = []
    for name, estimate, bytes_, readable, analyzed in connection.exec_driver_sql(_TABLES).all():
        rows, counted = (estimate if analyzed else None), False
        if size <= COUNTED and readable:
            rows, counted = connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one(), True
        tables.append({"name": name, "rows": rows, "counted": counted, "bytes": bytes_, "statistics": analyzed})
    return size, tables


def _counted(
    connection: Connection, names: list[str], quote: Callable[[str], str], sizes: dict[str, int]
) -> list[dict[str, Any]]:
    found = []
    for name in names:
        rows = connection.exec_driver_sql(f"SELECT count(*) FROM {quote(name)}").scalar_one()
        found.append({"name": name, "rows": rows, "counted": True, "bytes": sizes.get(name, 0), "statistics": True})
    return found


def _mariadb(connection: Connection) -> tuple[int, list[dict[str, Any]]]:
    query = (
        "SELECT table_name, data_length + index_length FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' ORDER BY table_name"
    )
    sizes = {name: int(size or 0) for name, size in connection.exec_driver_sql(query)}
    return sum(sizes.values()), _counted(connection, list(sizes), quoted, sizes)


def _sqlite(connection: Connection) -> tuple[int, list[dict[str, Any]]]:
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    size = pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    )
    names = [name for (name,) in connection.exec_driver_sql(query)]
    return size, _counted(connection, names, lambda name: '"' + name.replace('"', '""') + '"', {})

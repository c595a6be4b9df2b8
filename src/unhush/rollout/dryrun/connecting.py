"""Connections beside that of the migration, which see what others see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import URL


@contextmanager
def second_connection(url: URL) -> Iterator[Any]:
    """A connection of psycopg that sees what others see, each query by itself."""
    import psycopg

    with psycopg.connect(**arguments(url), autocommit=True) as connection:
        # A role's own limits are meant for its migrations: here they would end what holds a lock, or waits for one.
        connection.execute("SET statement_timeout = '60s'")
        connection.execute("SET lock_timeout = 0")
        connection.execute("SET idle_in_transaction_session_timeout = 0")
        yield connection


def arguments(url: URL) -> dict[str, Any]:
    """What psycopg needs to connect to a URL of SQLAlchemy."""
    found: dict[str, Any] = {
        "host": url.host, "port": url.port, "user": url.username, "dbname": url.database,
        "password": str(url.password) if url.password else None, "application_name": "unhush db dry-run", **url.query,
    }  # fmt: skip
    return {key: value for key, value in found.items() if value is not None}

"""The three databases, each with the queue's tables in it, and a queue on each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from proxy import Proxy, proxy_before
from services import fresh_database
from sqlalchemy import Table, make_url, select

from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.engine import make_engine
from unhush.runtime.tables import metadata
from unhush.sql.runner import upgrade

DIALECTS = ("sqlite", "postgresql", "mariadb")


def make_tables(url: str) -> None:
    """Gives an empty database the queue's tables."""
    engine = make_engine(url)
    upgrade(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Makes one database with tables for each dialect that a test asks for; it serves the whole session."""
    urls: dict[str, str] = {}
    with ExitStack() as stack:

        def migrated(dialect: str) -> str:
            if dialect not in urls:
                url = stack.enter_context(fresh_database(dialect, str(tmp_path_factory.mktemp(dialect))))
                make_tables(url)
                urls[dialect] = url
            return urls[dialect]

        yield migrated


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Each of the three databases in turn."""
    return request.param


@pytest.fixture
def empty_database(dialect: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of the test's own, without tables."""
    with fresh_database(dialect, str(tmp_path)) as url:
        yield url


@pytest.fixture
def database(dialect: str, tmp_path: Path, migrated: Callable[[str], str]) -> str:
    """The URL of a database whose tables are there, and empty."""
    url = migrated(dialect)
    if dialect == "sqlite":
        copy = tmp_path / "jobs.db"
        shutil.copyfile(url.removeprefix("sqlite:///"), copy)
        return f"sqlite:///{copy}"
    return _emptied(url)


def _emptied(url: str) -> str:
    engine = make_engine(url)
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(table.delete())
    engine.dispose()
    return url


@pytest.fixture
def dlq(database: str, tmp_path: Path) -> Iterator[DeadLetterQueue]:
    """A queue on each of the three databases, with a spool of its own."""
    with DeadLetterQueue(database, spool=tmp_path / "spool", deadline=20) as queue:
        yield queue


@pytest.fixture
def failed() -> Callable[..., BaseException]:
    """Makes an exception that was raised, so that it has a traceback."""

    def raised(error: BaseException | None = None) -> BaseException:
        try:
            raise error or ValueError("no such address")
        except BaseException as caught:  # noqa: BLE001 - that is what is asked for
            return caught

    return raised


@pytest.fixture
def rows() -> Callable[[DeadLetterQueue, Table], list[Any]]:
    """Reads all rows of a table of the queue's database, in order of their ids."""

    def read(dlq: DeadLetterQueue, table: Table) -> list[Any]:
        return dlq._read(lambda connection: list(connection.execute(select(table).order_by(table.c.id))))

    return read


@pytest.fixture
def behind_proxy(tmp_path: Path, migrated: Callable[[str], str]) -> Iterator[tuple[DeadLetterQueue, Proxy]]:
    """A queue on PostgreSQL whose server can be stopped; a short deadline, and tables that are empty."""
    url = make_url(_emptied(migrated("postgresql")))
    with (
        proxy_before(url.host or "127.0.0.1", url.port or 5432) as proxy,
        DeadLetterQueue(url.set(host="127.0.0.1", port=proxy.port), spool=tmp_path / "spool", deadline=0.5) as queue,
    ):
        yield queue, proxy

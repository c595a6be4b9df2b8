"""The options of the commands that work on a database, and the way to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .output import Failure

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

url_option = click.option(
    "--url",
    envvar="UNHUSH_DATABASE_URL",
    default="sqlite:///unhush.db",
    show_default=True,
    show_envvar=True,
    help="The database, as SQLAlchemy names it.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@contextmanager
def database(text: str, *, create: bool = False) -> Iterator[Engine]:
    """An engine for the database at a URL, which answers; a SQLite file is made only with `create`.

    Raises Failure, with one line that shows no password, for a URL that is none, a driver or database that is not
    there, and for what the database says while the engine is used.
    """
    url = database_url(text)
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError, NoSuchModuleError
    from sqlalchemy.pool import NullPool

    if not create:
        demand_file(url)
    try:
        engine = create_engine(url, poolclass=NullPool)
    except NoSuchModuleError as error:
        raise Failure(f"--url: there is no driver {url.drivername!r}") from error
    except ModuleNotFoundError as error:
        raise Failure(f"no driver {error.name}: pip install 'unhush[{url.get_backend_name()}]'") from error
    try:
        with engine.connect():
            pass
        yield engine
    except DBAPIError as error:
        raise Failure(told(error.orig or error, url)) from error


def database_url(text: str) -> URL:
    """The parsed URL. Raises Failure where it is none, for no database of ours, or where SQLAlchemy is not installed."""
    from .sql.errors import SchemaProblem
    from .sql.files import dialect_named
    from .sql.urls import parsed

    try:
        with needs_runtime():
            url = parsed(text)
            dialect = dialect_named(url.get_backend_name())
    except SchemaProblem as error:
        raise Failure(f"--url: {error}") from error
    if dialect == "mariadb" and not url.database:
        raise Failure("--url: that names a server, but no database on it")
    return url


@contextmanager
def needs_runtime() -> Iterator[None]:
    """Says in one line which package of the extra `runtime` is missing. Raises Failure."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise Failure(f"{error.name} is not installed: pip install 'unhush[runtime]'") from error


def demand_file(url: URL) -> None:
    """Raises Failure for a SQLite file that is not there.

    A reading command must not make it: an empty database looks like one in which nothing has failed.
    """
    name = url.database or ""
    if url.get_backend_name() != "sqlite" or name in ("", ":memory:"):
        return
    path = name.removeprefix("file:").partition("?")[0] if name.startswith("file:") else name
    if not os.path.exists(path):
        raise Failure(f"there is no SQLite file {path!r}; `unhush db upgrade` makes it")


def told(error: BaseException, url: URL) -> str:
    """What the driver says, in one line."""
    from .sql.session import one_line
    from .sql.urls import shown

    said = one_line(error)
    if url.password:
        said = said.replace(str(url.password), "***")
    return f"{shown(url)}: {said}"

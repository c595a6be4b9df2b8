"""Copies of a database to try things on, gone at the end, also after Ctrl-C; what a crash left goes the next time."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...database import demand_file, told
from ...output import Failure
from ...runtime.redact import redact_text
from .schema import quoted

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

PREFIX = "unhush_dryrun_"
STALE = 3600.0  # seconds after which a copy without connections is one that a crash left
LARGEST = 10 * 2**30  # bytes that are copied without being asked to
_NAME = re.compile(PREFIX + r"([0-9a-f]{8})_[0-9a-f]{8}\Z")
_MARK = "a copy made by unhush db dry-run"


@dataclass(frozen=True)
class Copy:
    """A copy: where it is, and how it was made."""

    url: URL
    how: str


@contextmanager
def copied(url: URL, largest: int = LARGEST) -> Iterator[Copy]:
    """A copy of a database with its rows, beside it on the same server or in the folder for temporary files.

    Raises Failure where it can't be made, or is larger than `largest` bytes.
    """
    dialect = url.get_backend_name()
    if dialect == "sqlite":
        with _of_file(url) as copy:
            yield copy
    elif dialect == "postgresql":
        with _on_postgresql(url, largest) as copy:
            yield copy
    else:
        with _on_mariadb(url, largest) as copy:
            yield copy


def new_name() -> str:
    """A name that says when it was made, so that the next run knows a leftover."""
    return f"{PREFIX}{int(time.time()):08x}_{secrets.token_hex(4)}"


def is_stale(name: str, now: float) -> bool:
    """Whether the name is one of ours, and older than any run takes."""
    match = _NAME.match(name)
    return match is not None and now - int(match[1], 16) > STALE


def free_place(folder: str) -> int:
    """Free bytes on the disk of a folder of this machine."""
    return shutil.disk_usage(folder).free


@contextmanager
def _of_file(url: URL) -> Iterator[Copy]:
    demand_file(url)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        target = os.path.join(folder, "copy.db")
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        engine = create_engine(url, poolclass=NullPool)
        with closing(engine.raw_connection()) as raw, closing(sqlite3.connect(target)) as copy:
            source: Any = raw.dbapi_connection
            try:
                source.backup(copy)
            except sqlite3.Error as error:
                raise Failure(told(error, url)) from error
        yield Copy(url.set(database=target, query={}), "SQLite's backup interface")


@contextmanager
def _server(url: URL) -> Iterator[Connection]:
    """A connection beside the database, which may make and drop others."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    names = ["postgres", "template1"] if url.get_backend_name() == "postgresql" else ["information_schema"]
    for name in names:
        engine: Engine = create_engine(url.set(database=name), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        try:
            connection = engine.connect()
        except DBAPIError as error:
            if name == names[-1]:
                raise Failure(told(error.orig or error, url)) from error
            continue
        with connection:
            yield connection
        return


def _refused(error: BaseException, url: URL) -> Failure:
    return Failure(
        f"no copy could be made ({told(error, url)}): give the URL of one that you made with --this-is-a-copy"
        + (", or try --in-transaction" if url.get_backend_name() == "postgresql" else "")
    )


@contextmanager
def _on_postgresql(url: URL, largest: int) -> Iterator[Copy]:
    from sqlalchemy.exc import DBAPIError

    name = new_name()
    with _server(url) as server:
        try:
            size = server.exec_driver_sql("SELECT pg_database_size(%s)", (url.database,)).scalar_one()
            _check_size(size, largest)
            sweep_postgresql(server)
        except DBAPIError as error:
            raise _refused(error.orig or error, url) from error
        try:
            how = _make_postgresql(server, url, name)
            yield Copy(url.set(database=name), how)
        except DBAPIError as error:
            raise _refused(error.orig or error, url) from error
        finally:
            with _server(url) as fresh:  # Ctrl-C while it was made ended the other connection
                _drop_postgresql(fresh, name)


def _drop_postgresql(server: Connection, name: str) -> None:
    """Drops a copy; again where one that was just connecting to it got in between."""
    from sqlalchemy.exc import DBAPIError

    for left in reversed(range(_DROPS)):
        try:
            server.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            return
        except DBAPIError:
            if not left:
                raise
            time.sleep(0.5)


_DROPS = 5  # tries
_TEMPLATE = "CREATE DATABASE ... TEMPLATE"
_DUMP = "pg_dump and psql"


def _make_postgresql(server: Connection, url: URL, name: str) -> str:
    from sqlalchemy.exc import DBAPIError

    source = '"' + str(url.database).replace('"', '""') + '"'
    busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    if not server.exec_driver_sql(busy, (url.database,)).scalar_one():
        try:
            server.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {source}")
            _mark(server, name)
            return _TEMPLATE
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") not in ("55006", "42501"):  # in use meanwhile; not its owner
                raise
    server.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0")
    _mark(server, name)
    _pipe_postgresql(url, name)
    return _DUMP


def _mark(server: Connection, name: str) -> None:
    server.exec_driver_sql(f"COMMENT ON DATABASE {name} IS '{_MARK}'")


def _pipe_postgresql(url: URL, name: str) -> None:
    env = {**os.environ, **_libpq(url)}
    dump = ["pg_dump", "--no-password", "--no-owner", "--no-subscriptions", "--dbname", str(url.database)]
    load = ["psql", "--no-psqlrc", "--no-password", "--quiet", "--set", "ON_ERROR_STOP=1", "--output", os.devnull]
    _pipe(dump, [*load, "--dbname", name], env, url)
    _run([*load, "--dbname", name, "--command", "ANALYZE"], env, url)


def _libpq(url: URL) -> dict[str, str]:
    """The way to the server as libpq's variables: on a command line others could read the password."""
    found = {
        "PGHOST": url.host, "PGPORT": str(url.port) if url.port else None, "PGUSER": url.username,
        "PGPASSWORD": str(url.password) if url.password else None, "PGAPPNAME": "unhush db dry-run",
    }  # fmt: skip
    names = {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
             "host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}  # fmt: skip
    for key, value in url.query.items():
        if key in names:
            found[names[key]] = value if isinstance(value, str) else ",".join(value)
    return {key: value for key, value in found.items() if value}


def _pipe(dump: list[str], load: list[str], env: dict[str, str], url: URL) -> None:
    """Runs two programs, the output of the first into the second. Raises Failure where one is missing or fails."""
    _demand(dump[0], load[0])
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(dump, env=env, stdout=subprocess.PIPE, stderr=said) as source:
            try:
                done = subprocess.run(
                    load, check=False, env=env, stdin=source.stdout, stdout=subprocess.DEVNULL, stderr=said
                )
            finally:
                if source.poll() is None and not _ended(source):
                    source.kill()
        said.seek(0)
        if source.returncode or done.returncode:
            _fail(dump[0] if source.returncode else load[0], said.read(), url)


def _ended(source: subprocess.Popen[bytes]) -> bool:
    """Whether the first program ends by itself, now that nobody reads it."""
    if source.stdout:
        source.stdout.close()
    try:
        source.wait(timeout=10)
    except subprocess.TimeoutExpired:
        return False
    return True


def _run(command: list[str], env: dict[str, str], url: URL) -> None:
    done = subprocess.run(command, check=False, env=env, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        _fail(command[0], done.stderr, url)


def _demand(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise Failure(
                f"{program} is not installed, and a copy needs it here: install it, or give the URL of a copy that you"
                " made with --this-is-a-copy"
            )


def _fail(program: str, said: bytes, url: URL) -> None:
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    text = redact_text(lines[0][:300]) if lines else "it failed without a word"
    if url.password:
        text = text.replace(str(url.password), "***")
    raise Failure(f"no copy could be made ({program}: {text}): give the URL of one that you made with --this-is-a-copy")


def _check_size(size: int, largest: int) -> None:
    if size > largest:
        raise Failure(
            f"the database has {size / 2**30:.1f} GiB, and copies of more than {largest / 2**30:g} GiB are made only"
            " where --largest-copy allows it; or give the URL of a copy that you made with --this-is-a-copy"
        )


def sweep_postgresql(server: Connection) -> list[str]:
    """Drops copies that a crash left: of our name, marked by us, old, and without a connection. Gives their names."""
    query = (
        "SELECT datname FROM pg_database d WHERE datname LIKE 'unhush\\_dryrun\\_%%'"
        " AND shobj_description(d.oid, 'pg_database') = %s"
        " AND NOT EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.datname = d.datname)"
    )
    found = [name for (name,) in server.exec_driver_sql(query, (_MARK,)) if is_stale(name, time.time())]
    for name in found:
        server.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
    return found


@contextmanager
def _on_mariadb(url: URL, largest: int) -> Iterator[Copy]:
    from sqlalchemy.exc import DBAPIError

    name = new_name()
    size = "SELECT coalesce(sum(data_length + index_length), 0) FROM information_schema.tables WHERE table_schema = %s"
    with _server(url) as server:
        try:
            _check_size(int(server.exec_driver_sql(size, (url.database,)).scalar_one()), largest)
            sweep_mariadb(server)
        except DBAPIError as error:
            raise _refused(error.orig or error, url) from error
        try:
            how = _make_mariadb(server, url, name)
            yield Copy(url.set(database=name), how)
        finally:
            with _server(url) as fresh:
                fresh.exec_driver_sql(f"DROP DATABASE IF EXISTS {quoted(name)}")


def _make_mariadb(server: Connection, url: URL, name: str) -> str:
    from sqlalchemy.exc import DBAPIError

    try:
        server.exec_driver_sql(f"CREATE DATABASE {quoted(name)}")
    except DBAPIError as error:
        raise _refused(error.orig or error, url) from error
    return _pipe_mariadb(url, name)


def sweep_mariadb(server: Connection) -> list[str]:
    """Drops copies that a crash left: of our name, and old. Gives their names."""
    found = [name for (name,) in server.exec_driver_sql("SHOW DATABASES") if is_stale(name, time.time())]
    for name in found:
        server.exec_driver_sql(f"DROP DATABASE IF EXISTS {quoted(name)}")
    return found


def _pipe_mariadb(url: URL, name: str) -> str:
    dump = "mariadb-dump" if shutil.which("mariadb-dump") else "mysqldump"
    load = "mariadb" if shutil.which("mariadb") else "mysql"
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        options = Path(folder, "client.cnf")
        options.touch(mode=0o600)
        options.write_text(_client_options(url), encoding="utf-8")
        first = f"--defaults-file={options}"
        commands = [dump, first, "--single-transaction", "--routines", "--triggers", str(url.database)]
        _pipe(commands, [load, first, name], dict(os.environ), url)
    return f"{dump} and {load}"


def _client_options(url: URL) -> str:
    given = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
    if "unix_socket" in url.query:
        given["socket"] = str(url.query["unix_socket"])
    lines = ["[client]"]
    for key, value in given.items():
        if value:
            escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'{key}="{escaped}"')
    if url.host:
        lines.append("protocol=tcp")
    return "\n".join(lines) + "\n"

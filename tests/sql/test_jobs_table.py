from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, inspect
from sqlalchemy.exc import DBAPIError

from unhush.sql import catalogue, jobs_table
from unhush.sql.errors import SchemaProblem
from unhush.sql.jobs_table import downgrade_table, plan, rendered, upgrade_table
from unhush.sql.names import index_name, literal, quoted, table_name
from unhush.sql.own_history import TABLE
from unhush.sql.runner import downgrade, status, upgrade
from unhush.sql.session import reading

Run = Callable[..., subprocess.CompletedProcess[bytes]]
SERVERS = ["postgresql", "mariadb"]
JOBS = "CREATE TABLE jobs (id bigint NOT NULL PRIMARY KEY, kind varchar(50))"
PARTS = {"postgresql": {"heartbeat_at", "heartbeat_fence", "index", "fillfactor", "fillfactor 70"}}
PARTS["sqlite"] = {"heartbeat_at", "heartbeat_fence", "index"}
PARTS["mariadb"] = {"heartbeat_at", "heartbeat_fence"}


@pytest.fixture
def jobs(engine: Engine) -> Engine:
    """A database with the migrations, and with a user's own table `jobs`."""
    upgrade(engine, to=2)
    run(engine, JOBS, "INSERT INTO jobs VALUES (1, 'mail')")
    return engine


def run(engine: Engine, *statements: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT", no_parameters=True) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def facts(engine: Engine, table: str = "jobs") -> list[str]:
    """All that the catalogue says of the user's table."""
    with engine.connect() as connection:
        return catalogue.lines(status(connection).dialect, reading(connection), [table])


def has(engine: Engine, table: str = "jobs") -> set[str]:
    with engine.connect() as connection:
        dialect = status(connection).dialect
        return set(jobs_table.look(reading(connection), dialect, table_name(table, dialect), None).has)


def columns(engine: Engine, table: str = "jobs") -> list[str]:
    return [column["name"] for column in inspect(engine).get_columns(table)]


@contextmanager
def held(engine: Engine, *statements: str) -> Iterator[None]:
    """Another connection's transaction, open with what these statements hold."""
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        yield
        connection.rollback()


def test_way_up_and_down(jobs: Engine) -> None:
    """A table gets the columns, the status names it, a second run changes nothing, and the downgrade brings back the
    same catalogue."""
    before = facts(jobs)
    assert upgrade_table(jobs, "jobs").pending
    dialect = status(jobs).dialect
    assert has(jobs) == PARTS[dialect]
    upgraded = facts(jobs)
    assert upgraded != before
    found = status(jobs)
    (record,) = found.jobs_tables
    assert found.problems == ()
    assert (record.name.rpartition(".")[2], record.key_column) == ("jobs", "id")
    assert record.script.encode() == rendered(dialect, record.name)
    assert not upgrade_table(jobs, "jobs").pending
    assert status(jobs).jobs_tables == (record,)
    assert facts(jobs) == upgraded
    downgrade_table(jobs, "jobs")
    assert facts(jobs) == before
    assert status(jobs).jobs_tables == ()
    assert rows(jobs, "SELECT id, kind FROM jobs") == [(1, "mail")]
    upgrade_table(jobs, "jobs")
    assert facts(jobs) == upgraded


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_schema_may_be_named(jobs: Engine) -> None:
    """A table is the same with its schema and without, and those of other schemas are others."""
    run(jobs, "CREATE SCHEMA app", "CREATE TABLE app.jobs (id uuid PRIMARY KEY)")
    upgrade_table(jobs, "jobs")
    assert not upgrade_table(jobs, "public.jobs").pending
    upgrade_table(jobs, "app.jobs")
    assert [record.name for record in status(jobs).jobs_tables] == ["app.jobs", "public.jobs"]
    with pytest.raises(SchemaProblem, match="jobs is in several schemas: name one"):
        downgrade_table(jobs, "jobs")
    downgrade_table(jobs, "public.jobs")
    assert has(jobs) == set()
    assert has(jobs, "app.jobs") == PARTS["postgresql"]


def read_on(connection: Connection, other: threading.Thread) -> None:
    """Reads again and again while the other thread waits."""
    while other.is_alive():
        connection.exec_driver_sql("SELECT kind FROM jobs")
        connection.commit()
        other.join(0.01)


BLOCKED = {"postgresql": "SET statement_timeout = '300ms'", "mariadb": "SET SESSION lock_wait_timeout = 1"}


@pytest.mark.parametrize("database", SERVERS, indirect=True)
def test_held_table_stops_no_reader(jobs: Engine) -> None:
    """While a transaction holds the table the upgrade gives up in time, and others read meanwhile; a plain ALTER would
    stop them. Afterwards it succeeds."""
    read = 0
    done = threading.Event()

    def reader() -> None:
        nonlocal read
        while not done.is_set():
            rows(jobs, "SELECT kind FROM jobs")
            read += 1
            done.wait(0.01)

    before = facts(jobs)
    with held(jobs, "SELECT kind FROM jobs"):
        thread = threading.Thread(target=reader)
        thread.start()
        with pytest.raises(
            SchemaProblem, match=r"jobs: other transactions held the table for too long; nothing was changed"
        ):
            upgrade_table(jobs, "jobs", patience=2)
        seen = read
        done.set()
        thread.join(30)
        assert not thread.is_alive()
        assert seen > 1
        assert facts(jobs) == before
        assert status(jobs).jobs_tables == ()
        plain = threading.Thread(target=lambda: run(jobs, "ALTER TABLE jobs ADD COLUMN colour integer"))
        plain.start()
        with jobs.connect() as other:
            other.exec_driver_sql(BLOCKED[status(jobs).dialect])
            other.commit()
            with pytest.raises(DBAPIError):  # as soon as the ALTER waits
                read_on(other, plain)
            other.invalidate()
    plain.join(30)
    assert upgrade_table(jobs, "jobs").pending
    assert status(jobs).problems == ()


@pytest.mark.parametrize("database", SERVERS, indirect=True)
def test_held_table_is_not_taken_back(jobs: Engine) -> None:
    """A downgrade that finds the table held gives up in time, and all is as it was."""
    upgrade_table(jobs, "jobs")
    if jobs.dialect.name == "postgresql":
        run(jobs, "DROP INDEX ix_jobs_running")  # which would be dropped first, and stands alone
        run(jobs, "ALTER TABLE jobs RESET (fillfactor)")
    before, found = facts(jobs), status(jobs)
    with (
        held(jobs, "SELECT kind FROM jobs"),
        pytest.raises(SchemaProblem, match="other transactions held the table for too long; nothing was changed"),
    ):
        downgrade_table(jobs, "jobs", patience=1)
    assert facts(jobs) == before
    assert status(jobs) == found
    downgrade_table(jobs, "jobs")
    assert columns(jobs) == ["id", "kind"]


def test_lock_that_ends_in_time(jobs: Engine) -> None:
    """An upgrade that finds the table held tries again until it is free."""
    hold = "INSERT INTO jobs VALUES (2, 'mail')"
    gone = threading.Event()
    with jobs.connect() as connection:
        connection.exec_driver_sql(hold)
        upgraded = threading.Thread(target=lambda: (upgrade_table(jobs, "jobs"), gone.set()))
        upgraded.start()
        assert not gone.wait(1.5)
        connection.commit()
    upgraded.join(60)
    assert gone.is_set()
    assert has(jobs) == PARTS[status(jobs).dialect]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_held_sqlite(jobs: Engine, database: str) -> None:
    """On SQLite an upgrade gives up in time while another writes, and nothing of it stands."""
    impatient = create_engine(database, connect_args={"timeout": 0})
    with (
        held(jobs, "INSERT INTO jobs VALUES (2, 'mail')"),
        pytest.raises(SchemaProblem, match=r"another process has kept the database for 0\.3 s"),
    ):
        upgrade_table(impatient, "jobs", patience=0.3)
    impatient.dispose()
    assert columns(jobs) == ["id", "kind"]
    assert upgrade_table(jobs, "jobs").pending


PLACE = {
    "postgresql": "SELECT pg_relation_filenode('jobs')",
    "mariadb": "SELECT table_id FROM information_schema.innodb_sys_tables WHERE name = concat(database(), '/jobs')",
}
REWRITES = {
    "postgresql": "ALTER TABLE jobs ALTER kind TYPE integer USING length(kind)",
    "mariadb": "ALTER TABLE jobs FORCE",
}


@pytest.mark.parametrize("database", SERVERS, indirect=True)
def test_no_row_is_rewritten(jobs: Engine) -> None:
    """The table stays where it is on disk by an upgrade and a downgrade, as it doesn't by an ALTER that rewrites it."""
    dialect = status(jobs).dialect
    before = rows(jobs, PLACE[dialect])
    assert len(before) == 1
    upgrade_table(jobs, "jobs")
    downgrade_table(jobs, "jobs")
    upgrade_table(jobs, "jobs")
    assert rows(jobs, PLACE[dialect]) == before
    run(jobs, REWRITES[dialect])
    assert rows(jobs, PLACE[dialect]) != before


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_invalid_index_is_repaired(jobs: Engine, folder: Path) -> None:
    """An index that was cut off while it was built is named by the status, and built anew by the next run."""
    path = folder / "postgresql" / "jobs_table.sql"
    path.write_text(
        path.read_text().replace("'60s'", "'300ms'", 1).replace("lock_timeout = '60s'", "lock_timeout = '300ms'")
    )
    run(jobs, "CREATE TABLE other (id integer)")
    with jobs.connect().execution_options(isolation_level="REPEATABLE READ") as old:
        old.exec_driver_sql("SELECT count(*) FROM other")  # a snapshot, for which the index waits; no lock on jobs
        with pytest.raises(SchemaProblem, match="too long; what was done before that stands; run this again"):
            upgrade_table(jobs, "jobs", folder=folder)
        old.rollback()
    assert "invalid index" in has(jobs)
    command = "unhush db upgrade --jobs-table 'public.jobs' --key-column 'id'"
    assert status(jobs).problems == (f"public.jobs: heartbeats were cut off: run `{command}` again",)
    assert upgrade_table(jobs, "jobs").pending
    assert has(jobs) == PARTS["postgresql"]
    assert status(jobs).problems == ()
    run(jobs, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_jobs_running'::regclass")
    assert any("(invalid)" in problem for problem in status(jobs).problems)
    assert upgrade_table(jobs, "jobs").pending
    assert (has(jobs), status(jobs).problems) == (PARTS["postgresql"], ())


def test_what_was_there_is_left(engine: Engine) -> None:
    """Right columns that are there already are taken as they are, and a downgrade leaves them."""
    upgrade(engine, to=2)
    types = {"postgresql": "timestamptz", "mariadb": "datetime(6)", "sqlite": "datetime"}
    dialect = status(engine).dialect
    factor = " WITH (fillfactor = 90)" if dialect == "postgresql" else ""
    run(engine, f"CREATE TABLE jobs (id bigint PRIMARY KEY, heartbeat_at {types[dialect]} NULL){factor}")
    before = facts(engine)
    assert upgrade_table(engine, "jobs").pending
    assert "heartbeat_fence" in columns(engine)
    downgrade_table(engine, "jobs")
    assert facts(engine) == before


@pytest.mark.parametrize(
    ("column", "line"),
    [
        (
            "heartbeat_at varchar(20)",
            r"has a column heartbeat_at of type .*\(20\), where .* is needed: rename it first",
        ),
        ("heartbeat_fence varchar(20)", r"has a column heartbeat_fence of type .*, where bigint is needed"),
        ("heartbeat_fence bigint NOT NULL", r"has a column heartbeat_fence that can't be null"),
    ],
)
def test_wrong_column_is_refused(engine: Engine, column: str, line: str) -> None:
    """A column of that name but another kind is one line, and nothing is changed."""
    upgrade(engine, to=2)
    run(engine, f"CREATE TABLE jobs (id bigint PRIMARY KEY, {column})")
    before = facts(engine)
    with pytest.raises(SchemaProblem, match=line) as caught:
        upgrade_table(engine, "jobs")
    assert "\n" not in str(caught.value)
    assert facts(engine) == before
    assert status(engine).jobs_tables == ()


UNFIT = [
    ("CREATE VIEW v AS SELECT id FROM jobs", "v", "view"),
    ("CREATE TABLE t (id bigint, kind integer, PRIMARY KEY (id, kind))", "t", "column id is not unique: a beat would"),
    ("CREATE TABLE t (id bigint)", "t", "t, column id is not unique"),
    ("CREATE TABLE t (no bigint PRIMARY KEY)", "t", "t has no column 'id': name its key by --key-column"),
    ("CREATE TABLE t (id bigint PRIMARY KEY)", "u", "there is no table u: write its name as the database stores it"),
]
MORE_UNFIT = {
    "postgresql": [
        (
            "CREATE TABLE t (id bigint PRIMARY KEY) PARTITION BY RANGE (id)",
            "t",
            "public.t is partitioned: only a plain",
        ),
        ("CREATE TABLE t (id numeric PRIMARY KEY)", "t", "column id is of type numeric: a key must be an integer"),
        (
            "CREATE TABLE t (id bigint PRIMARY KEY); CREATE TABLE ix_t_running ()",
            "t",
            "something else called ix_t_runn",
        ),
        ("CREATE TABLE t (id bigint); CREATE UNIQUE INDEX ON t (id) WHERE id > 3", "t", "column id is not unique"),
    ],
    "mariadb": [
        ("CREATE TABLE t (id bigint PRIMARY KEY) ENGINE = MyISAM", "t", "t is a table of MyISAM: only InnoDB adds"),
        ("CREATE TABLE t (id varchar(90), UNIQUE (id(9)))", "t", "column id is not unique"),
        ("CREATE TABLE t (id double PRIMARY KEY)", "t", "column id is of type double: a key must be an integer"),
    ],
    "sqlite": [
        ("CREATE TABLE t (id integer PRIMARY KEY) STRICT", "t", "t is STRICT, which knows no datetime"),
        ("CREATE TABLE t (id bigint); CREATE UNIQUE INDEX i ON t (id) WHERE id > 3", "t", "column id is not unique"),
        ("CREATE TABLE t (id bigint PRIMARY KEY)", "other.t", "there is no schema other: SQLite has `main` alone"),
    ],
}


def test_unfit_tables_are_refused(jobs: Engine) -> None:
    """What can't hold heartbeats is one line that says why, and nothing is changed."""
    for made, name, line in UNFIT + MORE_UNFIT[status(jobs).dialect]:
        run(jobs, *made.split("; "))
        with pytest.raises(SchemaProblem, match=line) as caught:
            upgrade_table(jobs, name)
        assert "\n" not in str(caught.value)
        assert status(jobs).jobs_tables == ()
        tables = inspect(jobs).get_table_names()
        assert TABLE not in tables
        run(jobs, *(f"DROP TABLE {table}" for table in ("t", "ix_t_running") if table in tables))
    assert upgrade_table(jobs, "jobs").pending


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_table_of_somebody_else(jobs: Engine) -> None:
    """A table that belongs to another role is refused before anything is tried."""
    role = f"unhush_role_{os.getpid()}"
    run(jobs, f"CREATE ROLE {role}", f"GRANT ALL ON SCHEMA public TO {role}")
    try:
        with jobs.connect() as connection:
            connection.exec_driver_sql(f"SET ROLE {role}")
            with pytest.raises(
                SchemaProblem, match=r"public\.jobs belongs to postgres: only its owner can add columns"
            ):
                plan(connection, "jobs")
        assert plan(jobs, "jobs").pending
    finally:
        run(jobs, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


ODD = ["Order Items", "select", "größe", "表", "a;b", "a--b", "100%s :x", "back\\slash", "x" * 63]


def test_odd_names_work(jobs: Engine) -> None:
    """Names with blanks, signs, letters of all scripts, reserved and long ones are taken as they are."""
    dialect = status(jobs).dialect
    for name in ODD:
        there, key = quoted(name, dialect), quoted("order by", dialect)
        run(jobs, f"CREATE TABLE {there} ({key} varchar(50) NOT NULL PRIMARY KEY)")
        upgrade_table(jobs, name, "order by")
        assert has(jobs, name) == PARTS[dialect]
        assert columns(jobs, name) == ["order by", "heartbeat_at", "heartbeat_fence"]
    assert status(jobs).problems == ()
    for name in ODD:
        downgrade_table(jobs, name)
        assert columns(jobs, name) == ["order by"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ('jo"bs', "holds a quote: write the table's name as it is stored, without quotes"),
        ("jobs'; DROP TABLE jobs; --", "holds a quote"),
        ("jo`bs", "holds a quote"),
        ("jo\0bs", "it holds a character that can't be seen"),
        ("jo\nbs", "it holds a character that can't be seen"),
        ("a.b.c", "write it as table or schema.table"),
        ("", "the name of a table is empty"),
        (".jobs", "the name of a table is empty"),
        ("x" * 256, "has names of"),
    ],
)
def test_bad_names_are_refused(name: str, line: str) -> None:
    """A name that can't be one is one line that shows no control character, in every dialect, for table and key."""
    for dialect in ("postgresql", "mariadb", "sqlite"):
        for table, key in ((name, "id"), ("jobs", name)):
            if "." in name and key == name:
                continue
            with pytest.raises(SchemaProblem) as caught:
                rendered(dialect, table, key)
            assert line.replace("table", "table" if table == name else "column") in str(caught.value)
            assert str(caught.value).isprintable()
    assert b'"jobs"' in rendered("sqlite", "jobs")


@pytest.mark.parametrize(("dialect", "most"), [("postgresql", 63), ("mariadb", 64)])
def test_longest_names(dialect: str, most: int) -> None:
    """A name may be as long as the database keeps it: bytes on PostgreSQL, characters on MariaDB."""
    wide = "ß" * (most // 2 if dialect == "postgresql" else most)
    for name in ("x" * most, wide):
        assert name.encode() in rendered(dialect, name)
        with pytest.raises(SchemaProblem, match="at most"):
            rendered(dialect, name + "xß")


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_any_accepted_name_is_one_name(name: str, key: str) -> None:
    """Whatever name is accepted means one table, as a name in a statement and as a value in a query."""
    try:
        text = rendered("sqlite", name, key).decode()
        table = table_name(name, "sqlite")
    except SchemaProblem:
        return
    if table.schema is not None or table.table.lower().startswith("sqlite_") or "heartbeat" in key.lower():
        return
    with sqlite3.connect(":memory:") as connection:
        connection.execute(f"CREATE TABLE {table.quoted('sqlite')} ({quoted(key, 'sqlite')} text PRIMARY KEY)")
        connection.executescript(text)
        where = f"WHERE name = {literal(table.table, 'sqlite')} AND type = 'table'"
        assert connection.execute(f"SELECT name FROM sqlite_master {where}").fetchall() == [(table.table,)]
    connection.close()
    assert len(index_name(name).encode()) <= 63


def test_long_names_have_indexes_of_their_own() -> None:
    """Two long names that differ at their end have indexes of different names."""
    assert len({index_name("x" * 60 + end) for end in "abc"}) == 3
    assert index_name("jobs") == "ix_jobs_running"


def test_drift_is_shown_and_repaired(jobs: Engine) -> None:
    """What somebody dropped is named by the status, a user's own column is not, and the next run brings it back."""
    upgrade_table(jobs, "jobs")
    run(jobs, "ALTER TABLE jobs ADD COLUMN colour integer")
    assert status(jobs).problems == ()
    dialect = status(jobs).dialect
    run(jobs, "ALTER TABLE jobs DROP COLUMN heartbeat_at" if dialect == "mariadb" else "DROP INDEX ix_jobs_running")
    (problem,) = status(jobs).problems
    assert "jobs: changed since it has heartbeats: - " in problem
    assert upgrade_table(jobs, "jobs").pending
    assert (status(jobs).problems, has(jobs)) == ((), PARTS[dialect])
    run(jobs, "DROP TABLE jobs")
    assert "there is no table" in status(jobs).problems[0]
    downgrade_table(jobs, "jobs")
    assert status(jobs).problems == ()


def test_changed_file_is_refused(jobs: Engine, folder: Path) -> None:
    """Where the file was changed after it was applied, or another key is named, nothing more is done to the table."""
    upgrade_table(jobs, "jobs")
    dialect = status(jobs).dialect
    path = folder / dialect / "jobs_table.sql"
    path.write_text(path.read_text() + "-- one more word\n")
    line = "jobs_table.sql was changed after it was applied to .*jobs: put the file back as it was"
    with pytest.raises(SchemaProblem, match=line):
        upgrade_table(jobs, "jobs", folder=folder)
    with jobs.connect() as connection:
        assert "was changed after" in jobs_table.problems(dialect, reading(connection), folder)[0]
        assert jobs_table.problems(dialect, reading(connection)) == []
    run(jobs, "CREATE UNIQUE INDEX kinds ON jobs (kind)")
    with pytest.raises(SchemaProblem, match="has heartbeats by its key 'id': take them back first"):
        upgrade_table(jobs, "jobs", "kind")


NOW = {"postgresql": "clock_timestamp()", "mariadb": "UTC_TIMESTAMP(6)", "sqlite": "datetime('now')"}


def test_downgrade_while_jobs_beat(jobs: Engine) -> None:
    """While jobs beat a table is not taken back, and while a table has heartbeats their migration is not."""
    upgrade_table(jobs, "jobs")
    now = NOW[status(jobs).dialect]
    some = "'00000000-0000-7000-8000-000000000001'"
    names = "id, kind, job_id, process_id, fence, status, rescues, started_at, beat_at, every, progress_at"
    beat = f"{some}, 'mail', '1', {some}, 1, 'running', 0, {now}, {now}, 15, {now}"
    run(jobs, f"INSERT INTO unhush_job ({names}) VALUES ({beat})")
    before = facts(jobs)
    with pytest.raises(SchemaProblem, match="jobs can't be taken back while jobs beat; nothing was changed"):
        downgrade_table(jobs, "jobs")
    assert facts(jobs) == before
    run(jobs, "DELETE FROM unhush_job")
    for to in (0, 1):
        with pytest.raises(
            SchemaProblem, match=r"jobs has heartbeats: run `unhush db downgrade --jobs-table '.*jobs'`"
        ):
            downgrade(jobs, to)
    assert downgrade(jobs, 2) == ()
    downgrade_table(jobs, "jobs")
    assert [step.version for step in downgrade(jobs, 0)] == [2, 1]


def test_commands(database: str, unhush: Run) -> None:
    """On each database the commands show the text, apply it, name the table and take it back, by words and exit codes."""
    env = {"UNHUSH_DATABASE_URL": database}
    engine = create_engine(database)
    run(engine, JOBS)
    name = "public.jobs" if "postgresql" in database else "jobs"
    for arguments in (["upgrade", "--dry-run"], ["upgrade", "--sql"]):
        shown = unhush("db", *arguments, "--jobs-table", "jobs", env=env)
        assert (shown.returncode, shown.stderr) == (0, b"")
        assert shown.stdout.endswith(unhush("db", "sql", "--jobs-table", name, env=env).stdout)
        assert inspect(engine).get_table_names() == ["jobs"]
    done = unhush("db", "upgrade", "--jobs-table", "jobs", env=env)
    assert (done.returncode, done.stdout.decode().splitlines()[-1]) == (0, f"applied heartbeats to {name}, key id")
    again = json.loads(unhush("db", "upgrade", "--jobs-table", "jobs", "--json", env=env).stdout)
    assert (again["migrations"], again["jobs_table"]["name"], again["jobs_table"]["changed"]) == ([], name, False)
    found = unhush("db", "status", env=env)
    assert (found.returncode, f"applied  heartbeats to {name}, key id, " in found.stdout.decode()) == (0, True)
    (own,) = json.loads(unhush("db", "status", "--json", env=env).stdout)["jobs_tables"]
    assert (own["name"], own["key_column"], own["checksum"]) == (name, "id", again["jobs_table"]["checksum"])
    refused = unhush("db", "downgrade", "--jobs-table", "jobs", env=env)
    line = f"error: this would take heartbeats out of {name} and lose what they say of its jobs: say --yes\n"
    assert (refused.returncode, refused.stderr.decode()) == (1, line)
    assert "heartbeat_at" in columns(engine)
    back = unhush("db", "downgrade", "--jobs-table", "jobs", "--yes", env=env)
    assert (back.returncode, back.stdout.decode()) == (0, f"took back heartbeats of {name}\n")
    assert columns(engine) == ["id", "kind"]
    engine.dispose()


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["upgrade", "--jobs-table", "jobs", "--key-column", "no"], 1, "jobs has no column 'no'"),
        (["upgrade", "--jobs-table", "nope"], 1, "there is no table nope"),
        (["upgrade", "--jobs-table", 'jo"bs'], 1, "holds a quote: write the table's name as it is stored"),
        (["upgrade", "--key-column", "id"], 2, "--key-column is that of a --jobs-table: name the table too"),
        (["upgrade", "--jobs-table", "jobs", "--to", "1"], 2, "--jobs-table needs migration 2"),
        (["upgrade", "--jobs-table", "jobs", "--url", "sqlite:///none.db"], 2, "there is no SQLite file 'none.db'"),
        (["downgrade", "--jobs-table", "jobs", "--yes"], 1, "jobs has no heartbeats of ours; nothing was changed"),
        (["downgrade", "--jobs-table", "jobs", "--to", "1"], 2, "say either --to VERSION or --jobs-table TABLE"),
        (["downgrade"], 2, "say either --to VERSION or --jobs-table TABLE"),
        (["sql", "1", "--jobs-table", "jobs"], 2, "say either VERSION or --jobs-table TABLE"),
    ],
)
def test_wrong_use_changes_nothing(unhush: Run, tmp_path: Path, arguments: list[str], code: int, line: str) -> None:
    """What is asked for wrongly is one line on stderr, and the database is as it was."""
    with sqlite3.connect(tmp_path / "unhush.db") as connection:
        connection.execute(JOBS)
    connection.close()
    before = (tmp_path / "unhush.db").read_bytes()
    result = unhush("db", *arguments)
    said = result.stderr.decode()
    assert (result.returncode, result.stdout, said.count("\n")) == (code, b"", 1)
    assert line in said
    assert (tmp_path / "unhush.db").read_bytes() == before
    assert not (tmp_path / "none.db").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
def test_downgrade_asks(unhush: Run, tmp_path: Path) -> None:
    """On a terminal the downgrade of a table asks: no changes nothing, yes takes it back."""
    import pty

    with sqlite3.connect(tmp_path / "unhush.db") as connection:
        connection.execute(JOBS)
    connection.close()
    unhush("db", "upgrade", "--jobs-table", "jobs")
    for answer, code in ((b"n\n", 1), (b"y\n", 0)):
        ours, theirs = pty.openpty()
        os.write(ours, answer)
        command = [sys.executable, "-m", "unhush", "db", "downgrade", "--jobs-table", "jobs"]
        result = subprocess.run(command, cwd=tmp_path, stdin=theirs, capture_output=True, check=False)
        os.close(ours)
        os.close(theirs)
        assert result.returncode == code
        assert b"Take heartbeats out of jobs and lose what they say of its jobs? [y/N]" in result.stderr

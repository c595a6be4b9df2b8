"""Copies: how they are made, that none is left behind, and what SQLite and MariaDB make of a dry run."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from dryrunworld import BOUND, execute, failed, file, jobs, statuses, tried, why
from services import fresh_database, service
from sqlalchemy import URL, Connection, create_engine, make_url

from unhush.output import Failure
from unhush.reports import dryrun_checks as checked
from unhush.rollout.dryrun import scratch
from unhush.rollout.dryrun.run import Wish, dry_run

ADD = f"{BOUND}ALTER TABLE jobs ADD COLUMN IF NOT EXISTS more bigint;\n"
DROP = f"{BOUND}ALTER TABLE jobs DROP COLUMN IF EXISTS more;\n"
OLD = f"{scratch.PREFIX}00000001_"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A database with ten jobs."""
    with jobs(tmp_path) as url:
        yield url


def server() -> str:
    return service("postgresql")


def copies() -> set[str]:
    query = f"SELECT datname FROM pg_database WHERE datname LIKE '{scratch.PREFIX}%'"
    return {name for (name,) in execute(server(), query)}


def test_somebody_is_connected(url: str, tmp_path: Path) -> None:
    """While somebody is connected, which forbids TEMPLATE, the copy comes by pg_dump, with rows and statistics."""
    path = file(tmp_path, ADD, DROP)
    alone = tried(url, path, mode="copy")
    assert alone["how"] == "CREATE DATABASE ... TEMPLATE"
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        facts = tried(url, path, mode="copy")
    engine.dispose()
    assert (facts["how"], failed(facts)) == ("pg_dump and psql", [])
    for seen in (alone, facts):
        (table,) = seen["contents"]["tables"]
        assert (table["name"], table["rows"], table["statistics"]) == ("public.jobs", 10, True)
    assert facts["phases"][0]["fingerprint"] == alone["phases"][0]["fingerprint"]


def test_large_database_is_not_copied_unasked(url: str, tmp_path: Path) -> None:
    """A copy beyond the limit is refused with the size and the way out; under it the copy is made."""
    with pytest.raises(Failure, match=r"the database has .* GiB, .*--largest-copy"):
        dry_run(Wish(url=url, files=(file(tmp_path, ADD, DROP),), largest=1000))
    assert tried(url, file(tmp_path, ADD, DROP), mode="copy", largest=2**30)["how"]


def test_who_may_not_copy(url: str, tmp_path: Path) -> None:
    """A role without the right to create databases is told what else there is."""
    name = f"unhush_test_role_{os.getpid()}"
    execute(url, f"CREATE ROLE {name} LOGIN")
    try:
        poor = make_url(url).set(username=name).render_as_string(hide_password=False)
        with pytest.raises(Failure, match=r"no copy could be made .*--this-is-a-copy, or try --in-transaction"):
            dry_run(Wish(url=poor, files=(file(tmp_path, ADD, DROP),)))
    finally:
        execute(url, f"DROP ROLE {name}")


TAG = f"t{os.getpid()}"  # tells our copies from those of tests that run beside
ASLEEP = f"SELECT datname FROM pg_stat_activity WHERE query LIKE '%{TAG}%' AND wait_event = 'PgSleep'"
WAITING = f"SELECT datname FROM pg_stat_activity WHERE query LIKE '%{TAG}%' AND wait_event_type = 'Lock'"


@pytest.mark.parametrize(
    ("end", "up", "seen"),
    [
        (signal.SIGINT, f"{BOUND}SELECT pg_sleep(60) AS {TAG};\n", ASLEEP),
        (signal.SIGTERM, f"-- unhush: no-transaction\nSELECT pg_sleep(60) AS {TAG};\n", ASLEEP),
        (signal.SIGTERM, ADD.replace("200ms", "9s").replace("bigint", f"bigint /* {TAG} */"), WAITING),
    ],
    ids=["SIGINT in a transaction", "SIGTERM outside of one", "SIGTERM against a lock"],
)
def test_interrupted_run_drops_its_copy(url: str, tmp_path: Path, end: signal.Signals, up: str, seen: str) -> None:
    """Ctrl-C and SIGTERM in a statement, or against a held lock, leave no copy; while it runs there is one."""
    path = file(tmp_path, up, DROP)
    command = [sys.executable, "-m", "unhush", "db", "dry-run", "--url", url, "--sql", str(path)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        sleeping = f"{seen} AND datname LIKE '{scratch.PREFIX}%'"
        mine: set[str] = set()
        while process.poll() is None and not mine:
            mine = {name for (name,) in execute(server(), sleeping)}
            time.sleep(0.05)
        assert mine
        process.send_signal(end)
        said = process.communicate(timeout=60)
        assert process.returncode != 0
        assert not mine & copies(), said
    finally:
        process.kill()
        process.wait()
    assert not list(tmp_path.glob("migration/*"))


def test_copy_goes_though_its_maker_lost_the_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in CREATE DATABASE costs the connection that made it; the copy is dropped over another one."""
    made: list[str] = []

    def interrupted(server: Connection, url: URL, name: str) -> str:
        server.exec_driver_sql(f"CREATE DATABASE {name}")
        made.extend({name} & copies())
        server.invalidate()
        raise KeyboardInterrupt

    monkeypatch.setattr(scratch, "_make_postgresql", interrupted)
    with pytest.raises(KeyboardInterrupt), scratch.copied(make_url(url)):
        pass
    assert made
    assert not set(made) & copies()


def test_leftovers_of_a_crash_are_dropped(url: str, tmp_path: Path) -> None:
    """The next run drops a copy that a crash left: of our name, marked by us, old and unused. No other."""
    tag = f"{os.getpid():08x}"
    left, foreign, used = f"{OLD}{tag}", f"{scratch.PREFIX}00000002_{tag}", f"{scratch.PREFIX}00000003_{tag}"
    fresh = f"{scratch.PREFIX}{int(time.time()):08x}_{tag}"
    for name in (left, foreign, used, fresh):
        execute(server(), f"CREATE DATABASE {name}")
    for name in (left, used, fresh):
        execute(server(), f"COMMENT ON DATABASE {name} IS '{scratch._MARK}'")
    engine = create_engine(make_url(server()).set(database=used))
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
            tried(url, file(tmp_path, ADD, DROP), mode="copy")
            there = copies()
        assert left not in there
        assert {foreign, used, fresh} <= there
    finally:
        engine.dispose()
        for name in (left, foreign, used, fresh):
            execute(server(), f"DROP DATABASE IF EXISTS {name}")


def test_sqlite_is_tried_on_a_copy_of_the_file(tmp_path: Path) -> None:
    """SQLite: all phases on a copy, the runner gives up while somebody writes, and the file keeps its bytes."""
    place = tmp_path / "jobs.db"
    connection = sqlite3.connect(place)
    connection.executescript(
        "CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO jobs DEFAULT VALUES;"
    )
    connection.close()
    before = place.read_bytes()
    path = file(tmp_path, "CREATE TABLE IF NOT EXISTS more (id integer);\n", "DROP TABLE IF EXISTS more;\n")
    facts = tried(f"sqlite:///{place}", path, mode="copy", contended=True)
    assert (failed(facts), checked.verdict(facts)) == ([], checked.PASSED)
    assert facts["how"] == "SQLite's backup interface"
    assert [(found["direction"], found["gave_up"]) for found in facts["contention"]] == [("up", True), ("down", True)]
    assert facts["free_bytes"] > 0
    assert place.read_bytes() == before
    assert statuses(facts)["locks"] == checked.NOTHING
    refused = tried(f"sqlite:///{place}", file(tmp_path, "ATTACH 'other.db' AS o;\n", name="other"), mode="copy")
    assert "reaches beyond this database" in why(refused, "nothing that must not run")
    with pytest.raises(Failure, match="of a SQLite file a copy is made"):
        dry_run(Wish(url=f"sqlite:///{place}", mode="transaction"))


def test_sqlite_and_our_own_migrations(tmp_path: Path) -> None:
    """What unhush ships for SQLite holds on a file that is there; one that is not there is not made."""
    place = tmp_path / "unhush.db"
    with pytest.raises(Failure, match="there is no SQLite file"):
        dry_run(Wish(url=f"sqlite:///{place}"))
    assert not place.exists()
    place.touch()
    facts = tried(f"sqlite:///{place}", mode="copy")
    assert failed(facts) == []
    assert place.read_bytes() == b""


def test_mariadb_is_tried_on_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MariaDB, which rolls no schema back: refused in a transaction, tried on a copy, and nothing is left."""
    made = [scratch.new_name() for _ in range(4)]
    names = iter(made)
    monkeypatch.setattr(scratch, "new_name", lambda: next(names))
    with fresh_database("mariadb", str(tmp_path)) as url:
        execute(url, "CREATE TABLE jobs (id int PRIMARY KEY)", "INSERT INTO jobs VALUES (1)")
        path = file(
            tmp_path,
            "ALTER TABLE jobs ADD COLUMN IF NOT EXISTS more int;\n",
            "ALTER TABLE jobs DROP COLUMN IF EXISTS more;\n",
        )
        with pytest.raises(Failure, match="MariaDB commits each statement"):
            dry_run(Wish(url=url, files=(path,), mode="transaction"))
        facts = tried(url, path, mode="copy")
        assert failed(facts) == []
        assert checked.reversibility(facts, "change")[1] == ["down drops or changes column jobs.more"]
        assert [row[0] for row in execute(url, "SHOW COLUMNS FROM jobs")] == ["id"]
        name = make_url(url).database
        named = file(tmp_path, f"ALTER TABLE {name}.jobs ADD COLUMN more int;\n", name="named")
        assert "it would not run on the copy" in why(tried(url, named, mode="copy"), "nothing that must not run")
        over = file(tmp_path, "ALTER TABLE jobs ADD COLUMN IF NOT EXISTS id bigint;\n", name="over")
        assert "IF NOT EXISTS" in failed(tried(url, over, mode="copy"))
        assert next(names) != made[0]  # so some were made
        assert not {row[0] for row in execute(service("mariadb"), "SHOW DATABASES")} & set(made)


def test_mariadb_and_our_own_migrations(tmp_path: Path) -> None:
    """What unhush ships for MariaDB holds on a copy, and the database itself stays empty."""
    with fresh_database("mariadb", str(tmp_path)) as url:
        facts = tried(url, mode="copy")
        assert failed(facts) == []
        assert execute(url, "SHOW TABLES") == []


def test_a_name_that_sqlite_puts_in_quotes_is_the_same_name(tmp_path: Path) -> None:
    """A table that is renamed and back is what it was; one that comes back with another default is not."""
    place = tmp_path / "jobs.db"
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("CREATE TABLE jobs (id INTEGER, n TEXT DEFAULT '--a') -- what's to be done")
        connection.execute("CREATE INDEX jobs_n ON jobs (n)")
        connection.execute("INSERT INTO jobs VALUES (1, 'a')")
        connection.commit()
    away, back = "ALTER TABLE jobs RENAME TO works;\n", "ALTER TABLE works RENAME TO jobs;\n"
    facts = tried(f"sqlite:///{place}", file(tmp_path, away, back), mode="copy", contended=True)
    assert {"down", "down again", "the database itself"}.isdisjoint(failed(facts))
    other = (
        "DROP TABLE works;\nCREATE TABLE jobs (id INTEGER, n TEXT DEFAULT '--b');\nCREATE INDEX jobs_n ON jobs (n);\n"
    )
    assert "down" in failed(tried(f"sqlite:///{place}", file(tmp_path, away, other), mode="copy", contended=True))

"""What keeps a statement waiting in a dry run must not change what it does, nor keep it for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dryrunworld import BOUND, execute, failed, file, jobs, tried, why
from sqlalchemy import create_engine, make_url
from sqlalchemy.engine import URL

from unhush.reports import dryrun_checks as checked
from unhush.rollout.dryrun import postgresql, sampling
from unhush.rollout.dryrun.connecting import second_connection
from unhush.rollout.dryrun.identity import contents
from unhush.rollout.dryrun.sampling import Gate

OUTSIDE = "-- unhush: no-transaction\nSET statement_timeout = '60s';\nSET lock_timeout = '200ms';\n"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A database with ten jobs."""
    with jobs(tmp_path) as url:
        yield url


def with_options(url: str, **options: str) -> URL:
    """A URL whose connections all begin with these settings, as those of a role do."""
    said = " ".join(f"-c {name}={value}" for name, value in options.items())
    return make_url(url).update_query_dict({"options": said})


@contextmanager
def held(url: str, statement: str) -> Iterator[None]:
    """Somebody else's transaction, in which a statement ran."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
        yield
    engine.dispose()


def statement(facts: dict[str, Any], words: str) -> dict[str, Any]:
    """What the first way up saw of the statement that begins so."""
    return next(one for _, one in checked.statements(facts, "up") if one["text"].startswith(words))


def test_the_timeouts_of_a_role_are_for_its_migrations(url: str, tmp_path: Path) -> None:
    """A role's own timeouts end neither the reader that is measured, nor the one that holds the lock and is idle."""
    path = file(
        tmp_path,
        f"{BOUND}SET LOCAL lock_timeout = '2s';\nALTER TABLE jobs ADD COLUMN IF NOT EXISTS more bigint;\n",
        f"{BOUND}SET LOCAL lock_timeout = '2s';\nALTER TABLE jobs DROP COLUMN IF EXISTS more;\n",
    )
    role = with_options(url, lock_timeout="50ms")
    facts = tried(role.render_as_string(hide_password=False), path, mode="copy", contended=True)
    assert failed(facts) == []
    assert [found["gave_up"] for found in facts["contention"]] == [True, True]
    assert all(found["reader_seconds"] is not None for found in facts["contention"])
    asked = "SHOW idle_in_transaction_session_timeout"
    hasty = with_options(url, idle_in_transaction_session_timeout="50ms")
    assert execute(hasty.render_as_string(hide_password=False), asked) == [("50ms",)]
    with second_connection(hasty) as connection:
        assert connection.execute(asked).fetchall() == [("0",)]


def test_what_does_not_wait_is_not_kept_waiting(url: str, tmp_path: Path) -> None:
    """VACUUM (SKIP_LOCKED) vacuums the table as it would without us; where somebody holds the table, it skips it."""
    path = file(tmp_path, f"{OUTSIDE}VACUUM (SKIP_LOCKED) jobs;\n")
    assert statement(tried(url, path), "VACUUM")["notices"] == []
    with held(url, "LOCK TABLE jobs IN SHARE UPDATE EXCLUSIVE MODE"):
        (notice,) = statement(tried(url, path), "VACUUM")["notices"]
    assert notice["message"].startswith('skipping vacuum of "jobs"')


def test_a_table_named_like_a_word_of_sql_costs_no_setting(url: str, tmp_path: Path) -> None:
    """SET SESSION keeps what it set, whether or not there is a table called session."""
    path = file(tmp_path, "-- unhush: no-transaction\nSET SESSION lock_timeout = '300ms';\nVACUUM jobs;\n")
    assert statement(tried(url, path), "VACUUM")["lock_timeout_ms"] == 300
    execute(url, "CREATE TABLE session (id integer)")
    assert statement(tried(url, path), "VACUUM")["lock_timeout_ms"] == 300


@pytest.mark.parametrize("mode", ["ACCESS SHARE", "SHARE"])
def test_a_lock_of_somebody_else_is_given_up_on(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """On a copy that others use a statement still gives up by its lock_timeout; once they are gone, it runs."""
    monkeypatch.setattr(postgresql, "LOOKING_MS", 501)
    path = file(tmp_path, f"{OUTSIDE}VACUUM FULL jobs;\n")
    with held(url, f"LOCK TABLE jobs IN {mode} MODE"):
        assert "lock timeout" in why(tried(url, path), "up")
    facts = tried(url, path)
    assert "up" not in failed(facts)
    assert statement(facts, "VACUUM")["lock_timeout_ms"] == 200


def test_each_table_that_is_waited_for_is_seen(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VACUUM FULL locks one table after the other: all are seen, and no other, however seldom one looks."""
    monkeypatch.setattr(sampling, "EVERY", 0.3)
    execute(
        url,
        "CREATE TABLE ev (id integer, at date) PARTITION BY RANGE (at)",
        "CREATE TABLE ev_1 PARTITION OF ev FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
        "CREATE TABLE ev_2 PARTITION OF ev FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
    )
    facts = tried(url, file(tmp_path, f"{OUTSIDE}VACUUM FULL jobs, ev_1;\nANALYZE ev;\n"))
    assert "up" not in failed(facts)
    locks = {
        (lock["relation"], lock["mode"]) for lock in statement(facts, "VACUUM")["locks"] if lock["kind"] == "table"
    }
    assert locks >= {("public.jobs", "AccessExclusiveLock"), ("public.ev_1", "AccessExclusiveLock")}
    assert {relation for relation, _ in locks} == {"public.jobs", "public.ev_1"}


def test_a_table_that_we_may_not_lock_is_not_held(url: str) -> None:
    """A table of somebody else that a statement happens to name ends no dry run; one of ours is held until let go."""
    other = with_options(url, role="pg_monitor")
    assert not Gate(other, [["public.jobs"]]).holds
    gate = Gate(make_url(url), [["public.jobs"]])
    assert gate.holds
    gate.let_through()
    gate.let_through()
    assert not gate.holds


def test_a_schema_that_one_may_not_use_is_not_counted(url: str) -> None:
    """Its tables are named without their rows, beside those that may be read."""
    execute(
        url,
        "CREATE SCHEMA secret",
        "CREATE TABLE secret.keys AS SELECT 1 AS id",
        "GRANT SELECT ON secret.keys, jobs TO pg_monitor",
    )
    engine = create_engine(with_options(url, role="pg_monitor"))
    with engine.connect() as connection:
        found = {table["name"]: table["counted"] for table in contents(connection)["tables"]}
    engine.dispose()
    assert found == {"public.jobs": True, "secret.keys": False}


def test_an_index_that_nobody_uses_any_more_is_waited_for_by_nobody(url: str, tmp_path: Path) -> None:
    """The last lock of DROP INDEX CONCURRENTLY, seen or not, asks for no lock_timeout; that of ALTER INDEX does."""
    execute(url, "CREATE INDEX jobs_n ON jobs (n)")
    drop = "-- unhush: no-transaction\nSET lock_timeout = 0;\nDROP INDEX CONCURRENTLY jobs_n;\n"
    facts = tried(url, file(tmp_path, drop))
    lock = {"relation": "public.jobs_n", "mode": "AccessExclusiveLock", "blocks": "reads and writes"}
    one = statement(facts, "DROP")
    one["locks"] = [{**lock, "kind": "index", "table": "public.jobs"}]
    assert "lock timeout" not in failed(facts)
    one["text"] = "ALTER INDEX jobs_n SET TABLESPACE other;"
    assert "lock timeout" in failed(facts)


def test_a_table_that_is_renamed_is_still_that_table(url: str, tmp_path: Path) -> None:
    """What a file does to a table after a new name and schema counts for the table with its rows; it is held in each."""
    execute(url, "CREATE SCHEMA other")
    move = "ALTER TABLE jobs RENAME TO works;\nALTER TABLE works SET SCHEMA other;\n"
    back = "ALTER TABLE other.works SET SCHEMA public;\nALTER TABLE works RENAME TO jobs;\n"
    widen = "ALTER TABLE other.works ALTER COLUMN n TYPE bigint;\n"
    narrow = "ALTER TABLE other.works ALTER COLUMN n TYPE integer;\n"
    both = [file(tmp_path, BOUND + move + widen, BOUND + narrow + back, name="both")]
    apart = [
        file(tmp_path, BOUND + move, BOUND + back, name="first"),
        file(tmp_path, BOUND + widen, BOUND + narrow, name="second"),
    ]
    for files in (both, apart):
        facts = tried(url, *files, contended=True)
        assert {"up", "down", "up again"}.isdisjoint(failed(facts)), failed(facts)
        assert "rewrites public.jobs under AccessExclusiveLock" in why(facts, "locks")
        assert checked.touched(facts) == ["public.jobs"]
        assert all(found["blocked"] and found["gave_up"] for found in facts["contention"])
        assert len(facts["contention"]) == 2 * len(files)

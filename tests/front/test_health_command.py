from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from unhush.runtime import DeadLetterQueue, Heartbeats, Watchdog
from unhush.runtime.engine import make_engine
from unhush.sql.runner import upgrade

Cli = Callable[..., Any]


@pytest.fixture
def url(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database that is up to date."""
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "true")
    url = f"sqlite:///{tmp_path}/unhush.db"
    engine = make_engine(url)
    upgrade(engine)
    engine.dispose()
    return url


def test_all_is_well(cli: Cli, url: str) -> None:
    """A database that is up to date and empty is well, by exit code, text and JSON."""
    assert cli("health").out == "all is well\n"
    found = cli("health", "--json")
    assert found.code == 0
    assert (found.data["well"], found.data["database"], found.data["problems"]) == (True, "answers", [])
    assert found.data["migrations"] == {"current": 2, "latest": 2, "pending": []}
    assert (found.data["dead"], found.data["jobs"]["running"], found.data["watchdogs"]) == (0, 0, [])


def test_what_is_wrong_is_told(cli: Cli, url: str, tmp_path: Any) -> None:
    """Too many dead letters, jobs that nobody watches, and a watchdog that is late or braked, each by a line and exit 1."""
    with DeadLetterQueue(url, spool=tmp_path / "spool") as dlq:
        dlq.put(queue="mail", job_name="send", error=ValueError("no such address"))
    assert cli("health", "--max-dead", "1").code == 0
    many = cli("health", "--max-dead", "0")
    assert (many.code, many.out) == (1, "there are 1 dead letters, more than 0\n")
    with Heartbeats(url) as heartbeats, heartbeats.job("42", kind="mail"):
        assert cli("health").out == "1 jobs beat, and no watchdog has ever run\n"
        with Watchdog(url) as watchdog:
            watchdog.run_once()
        found = cli("health", "--json").data
        assert (found["well"], found["jobs"]["running"], found["watchdogs"][0]["late"]) == (True, 1, False)
        engine = make_engine(url)
        with engine.begin() as connection:
            connection.execute(
                text("UPDATE unhush_watchdog SET last_run_at = '2026-01-01 00:00:00.000000', braked_at = last_run_at")
            )
        engine.dispose()
        late, braked = cli("health").out.splitlines()
    assert late.endswith("has not run since 2026-01-01 00:00:00 UTC")
    assert braked.endswith("touches nothing: too many jobs are in a bad state at once")


def test_database_that_is_not_there(cli: Cli, url: str, tmp_path: Any) -> None:
    """A database that does not answer, or lacks a migration, is unwell; what is no URL is wrong use."""
    gone = cli("health", "--json", "--url", "postgresql://ann:hush-1@127.0.0.1:1/none")
    assert (gone.code, gone.data["well"], gone.data["database"]) == (1, False, "does not answer")
    assert "hush-1" not in gone.out
    assert cli("health", "--url", "hush-1").code == 2
    engine = make_engine(f"sqlite:///{tmp_path}/one.db")
    upgrade(engine, to=1)
    engine.dispose()
    old = cli("health", "--url", f"sqlite:///{tmp_path}/one.db")
    assert (old.code, old.out) == (1, "002_add_heartbeat_column is pending: run `unhush db upgrade`\n")

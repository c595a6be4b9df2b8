from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog

from unhush.runtime import DeadLetterQueue, Heartbeats, Watchdog
from unhush.runtime.beat_errors import HeartbeatError
from unhush.runtime.engine import make_engine
from unhush.sql.errors import SchemaProblem
from unhush.sql.runner import downgrade, upgrade


def at_schema(url: str, version: int) -> None:
    engine = make_engine(url)
    upgrade(engine, to=version)
    engine.dispose()


@pytest.mark.parametrize("version", [1, 2])
def test_letters_on_both_schemas(empty_database: str, tmp_path: Path, version: int) -> None:
    """The dead letter queue keeps and redrives letters without the tables of heartbeats and with them."""
    at_schema(empty_database, version)
    ran: list[Any] = []
    with DeadLetterQueue(empty_database, spool=tmp_path) as dlq:
        dlq.register("mail", ran.append)
        letter = dlq.put(queue="mail", job_name="send", job_id="42", error=ValueError("no such address"))
        (outcome,) = dlq.redrive([letter.id], actor="ann")
    assert outcome.result == "redriven"
    assert [one.id for one in ran] == [letter.id]


def test_heartbeats_without_their_tables(empty_database: str) -> None:
    """On the schema before, jobs run unwatched and the log says once what to do; the watchdog refuses with that line."""
    at_schema(empty_database, 1)
    line = "lacks migration 2: run `unhush db upgrade"
    with structlog.testing.capture_logs() as logs, Heartbeats(empty_database, every=0.1) as heartbeats:
        for number in range(2):
            with heartbeats.job(number, kind="mail"):
                pass
    assert [line in entry["error"] for entry in logs if entry["event"] == "heartbeat.database_lost"] == [True]
    with Watchdog(empty_database) as watchdog, pytest.raises(HeartbeatError, match=line):
        watchdog.run_once()


def test_flag_off_on_the_schema_before(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the flag off neither asks for tables."""
    at_schema(empty_database, 1)
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "false")
    with (
        Heartbeats(empty_database) as heartbeats,
        heartbeats.job("42", kind="mail") as beat,
        Watchdog(empty_database) as dog,
    ):
        assert beat.claim is None
        assert dog.run_once() == []


def test_backout_while_a_job_beats(empty_database: str) -> None:
    """The tables are not taken from under a job that beats; afterwards they are."""
    at_schema(empty_database, 2)
    engine = make_engine(empty_database)
    heartbeats = Heartbeats(empty_database, every=0.5)
    line = "can't be taken back while jobs beat"
    with heartbeats, heartbeats.job("42", kind="mail"), pytest.raises(SchemaProblem, match=line):
        downgrade(engine, 1)
    assert [step.version for step in downgrade(engine, 1)] == [2]
    engine.dispose()

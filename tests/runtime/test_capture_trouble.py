"""Tests for a database that is down, refuses, hangs or lacks its tables, and for a spool that is full."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from proxy import Proxy
from sqlalchemy import create_engine, func, select, text
from structlog.testing import capture_logs

from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.engine import make_engine
from unhush.runtime.keeping import Lost, Reachability, Unreachable
from unhush.runtime.record import build
from unhush.runtime.tables import events, letters
from unhush.sql.runner import upgrade

Failed = Callable[..., BaseException]
Behind = tuple[DeadLetterQueue, Proxy]


def count(dlq: DeadLetterQueue) -> tuple[int, int]:
    """How many letters and events there are."""

    def counted(connection: Any) -> tuple[int, int]:
        return tuple(connection.scalar(select(func.count()).select_from(table)) for table in (letters, events))

    return dlq._read(counted)


def waiting(dlq: DeadLetterQueue) -> int:
    """How many records wait in the spool."""
    return dlq._core.spool.size().records


def until(true: Callable[[], bool]) -> None:
    """Waits for what another thread does, and fails where it does not come."""
    for _ in range(500):
        if true():
            return
        time.sleep(0.02)
    pytest.fail("it did not happen")


def test_dramatiq_545_and_sidekiq_5239_a_failing_dead_letter_write_loses_no_job(
    behind_proxy: Behind, failed: Failed
) -> None:
    """While the database is down failures wait on disk; once it is up they are drained, each once."""
    dlq, proxy = behind_proxy
    dlq.put(queue="mail", job_name="send", error=failed())
    proxy.refuse()
    spooled = [dlq.put(queue="mail", job_name="send", job_id=str(n), error=failed()) for n in range(3)]
    assert waiting(dlq) == 3
    assert dlq.drain().stored == 0
    assert waiting(dlq) == 3
    proxy.open()
    assert dlq.drain().stored == 3
    assert (count(dlq), waiting(dlq)) == ((4, 4), 0)
    assert {letter.id for letter in spooled} <= {letter.id for letter in dlq.list(queue="mail").letters}
    assert dlq.drain().stored == 0


def test_the_next_success_drains_the_spool(behind_proxy: Behind, failed: Failed) -> None:
    """Nobody has to ask for the drain: the first capture that reaches the database again starts it."""
    dlq, proxy = behind_proxy
    proxy.refuse()
    dlq.put(queue="mail", job_name="send", error=failed())
    proxy.open()
    dlq._core.reachability.met()
    dlq.put(queue="mail", job_name="send", error=failed())
    until(lambda: not waiting(dlq))
    assert count(dlq) == (2, 2)


def test_a_background_drainer_empties_the_spool(behind_proxy: Behind, failed: Failed) -> None:
    """The drainer keeps trying while the database is down, and stores when it is up."""
    dlq, proxy = behind_proxy
    proxy.refuse()
    dlq.put(queue="mail", job_name="send", error=failed())
    dlq.start_drainer(every=0.05)
    dlq.start_drainer(every=0.05)
    proxy.open()
    until(lambda: not waiting(dlq))
    assert count(dlq) == (1, 1)


def test_a_hung_server_holds_no_job_and_a_late_success_is_one_letter(behind_proxy: Behind, failed: Failed) -> None:
    """The job goes on after the deadline; what the server does after all with the record makes no second letter."""
    dlq, proxy = behind_proxy
    dlq.put(queue="mail", job_name="first", error=failed())
    proxy.hang()
    late = dlq.put(queue="mail", job_name="late", error=failed())
    assert waiting(dlq) == 1
    with capture_logs() as logs:
        dlq.put(queue="mail", job_name="soon after", error=failed())
    assert [log["trouble_told"] for log in logs] == ["the database missed its deadline a moment ago"]
    proxy.open()
    until(lambda: count(dlq)[0] == 2)  # the hung statement went through
    assert dlq.drain().stored == 2
    assert (count(dlq), waiting(dlq)) == ((3, 3), 0)
    assert dlq.get(late.id).job_name == "late"


def test_a_burst_meets_a_hung_server_without_a_thread_for_each(behind_proxy: Behind, failed: Failed) -> None:
    """Many jobs that fail while the server hangs all go to disk, with a handful of threads."""
    dlq, proxy = behind_proxy
    proxy.hang()
    error = failed()
    burst = [
        threading.Thread(target=lambda: dlq.put(queue="mail", job_name="send", error=error), daemon=True)
        for _ in range(40)
    ]
    for thread in burst:
        thread.start()
    for thread in burst:
        thread.join(20)
    assert waiting(dlq) == 40
    threads = [thread for thread in threading.enumerate() if thread.name == "unhush-capture"]
    assert len(threads) <= 10  # those that are just ending too
    proxy.open()
    dlq.drain()
    assert (count(dlq), waiting(dlq)) == ((40, 40), 0)


def test_after_a_missed_deadline_one_call_tries_again() -> None:
    """The database is left alone for a while; then a single call tries it, and its success opens the way."""
    now = 0.0
    reach = Reachability(clock=lambda: now)
    reach.check()
    reach.missed()
    with pytest.raises(Unreachable):
        reach.check()
    now = 6.0
    reach.check()
    with pytest.raises(Unreachable):
        reach.check()
    reach.met()
    reach.check()


def test_a_missing_table_sends_failures_to_the_spool(empty_database: str, tmp_path: Path, failed: Failed) -> None:
    """Before the migration ran failures wait on disk, and are stored after it."""
    with DeadLetterQueue(empty_database, spool=tmp_path / "spool", deadline=20) as dlq:
        with capture_logs() as logs:
            dlq.put(queue="mail", job_name="send", error=failed())
        assert "unhush db upgrade" in logs[0]["trouble_told"]
        assert waiting(dlq) == 1
        assert dlq.drain().stored == 0
        engine = make_engine(empty_database)
        upgrade(engine)
        engine.dispose()
        assert dlq.drain().stored == 1
        assert count(dlq) == (1, 1)


def test_a_locked_sqlite_file_sends_failures_to_the_spool(tmp_path: Path, failed: Failed) -> None:
    """A file that another writer holds beyond the deadline costs no letter."""
    engine = make_engine(f"sqlite:///{tmp_path}/jobs.db")
    upgrade(engine)
    with DeadLetterQueue(engine.url, spool=tmp_path / "spool", deadline=0.3) as dlq:
        with engine.begin() as writer:
            writer.execute(text("DELETE FROM job_dlq"))
            dlq.put(queue="mail", job_name="send", error=failed())
            assert waiting(dlq) == 1
        dlq.drain()
        assert (count(dlq), waiting(dlq)) == ((1, 1), 0)
    engine.dispose()


def test_without_database_and_spool_the_failure_is_in_the_log(tmp_path: Path, failed: Failed) -> None:
    """The last resort is a critical log line with the redacted record, and put() raises."""
    (tmp_path / "file").write_text("in the way")
    dlq = DeadLetterQueue(f"sqlite:///{tmp_path}/no/such/folder.db", spool=tmp_path / "file" / "spool")
    with capture_logs() as logs, pytest.raises(Lost):
        dlq.put(queue="mail", job_name="send", error=failed(), payload={"to": "ann", "password": "hunter2"})
    [last] = [log for log in logs if log["log_level"] == "critical"]
    assert last["event"] == "dead_letter.capture_failed"
    assert '"to": "ann"' in last["record"]
    assert "hunter2" not in str(logs)


@pytest.mark.parametrize("limit", [0, 100])
def test_a_full_spool_is_loud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """A spool over its limit refuses, and the job's own exception still goes its way."""
    monkeypatch.setenv("FEATURE_FLAG_DLQ_ENABLED", "true")
    dlq = DeadLetterQueue(f"sqlite:///{tmp_path}/no/such/folder.db", spool=tmp_path / "spool", spool_limit=limit)

    @dlq.dead_letter(queue="mail")
    def send() -> None:
        raise KeyError("the job's own")

    with capture_logs() as logs, pytest.raises(KeyError, match="the job's own"):
        send()
    assert "do not fit" in next(log for log in logs if log["log_level"] == "critical")["spool_error"]


def test_a_record_that_the_database_will_never_take_is_set_aside(dlq: DeadLetterQueue, failed: Failed) -> None:
    """A refused record stays on disk under its reason, and those after it are stored."""
    for job_name in ("good", None, "good"):
        made = build(queue="mail", job_name="send", error=failed(), payload_limit=1000)
        dlq._core.spool.append({**made, "job_name": job_name})
    drained = dlq.drain()
    assert (drained.stored, drained.refused) == (2, 1)
    assert count(dlq) == (2, 2)
    assert dlq._core.spool.size().refused == 1


def test_a_queue_that_fills_up_is_told(database: str, tmp_path: Path, failed: Failed) -> None:
    """At the threshold a warning is logged, before it none."""
    with (
        DeadLetterQueue(database, spool=tmp_path / "spool", alert_threshold=3, deadline=20) as dlq,
        capture_logs() as logs,
    ):
        for wanted in (False, False, True):
            dlq.put(queue="mail", job_name="send", error=failed())
            until(dlq._core.upkeep.begin)
            dlq._core.upkeep.end()
            warned = [log for log in logs if log["event"] == "dead_letter.threshold_exceeded"]
            if wanted:
                until(lambda: any(log["event"] == "dead_letter.threshold_exceeded" for log in logs))
            else:
                assert not warned


def test_a_callers_pool_without_a_free_connection_costs_no_letter(
    database: str, tmp_path: Path, failed: Failed
) -> None:
    """A pool that is exhausted sends failures to the spool after the deadline."""
    engine = create_engine(make_engine(database).url, pool_size=1, max_overflow=0)
    with DeadLetterQueue(engine, spool=tmp_path / "spool", deadline=0.3) as dlq:
        with engine.connect() as held:
            assert held.scalar(select(1)) == 1
            dlq.put(queue="mail", job_name="send", error=failed())
            assert waiting(dlq) == 1
        dlq.drain()
        assert (count(dlq), waiting(dlq)) == ((1, 1), 0)
    engine.dispose()

"""Loads and disasters that a queue must outlive: huge payloads, bursts, jumping clocks, strict isolation, old backups."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deadletters import add, add_many, kinds, state
from services import fresh_database
from sqlalchemy import create_engine, func, make_url, select, text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from unhush.runtime import acts, capture, claims, record
from unhush.runtime import engine as engine_module
from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.engine import make_engine
from unhush.runtime.letters import Act
from unhush.runtime.redrive import terms_of
from unhush.runtime.tables import events, letters
from unhush.sql.runner import upgrade

WHOLE = bool(os.environ.get("UNHUSH_WHOLE"))
MEGABYTE = 1_000_000


def count(dlq: DeadLetterQueue, table: Any = letters) -> int:
    """How many rows the table has."""
    return dlq._read(lambda connection: connection.scalar(select(func.count()).select_from(table)))


@pytest.mark.timeout(300)
def test_a_huge_payload_is_kept(dlq: DeadLetterQueue, dialect: str, failed: Any) -> None:
    """50 MB (17 in the short form) are kept whole; where MariaDB takes no such packets they wait, and hold up no other."""
    dlq._core.deadline = 60
    megabytes = 50 if WHOLE else 17
    payload = {"text": "0123456789" * (megabytes * MEGABYTE // 10)}
    with capture_logs() as logs:
        letter = dlq.put(queue="mail", job_name="send", payload=payload, error=failed())
        dlq.put(queue="mail", job_name="send", payload="small", error=failed())
    if dialect == "mariadb" and _packet(dlq) < megabytes * MEGABYTE:
        assert [log["event"] for log in logs].count("dead_letter.spooled") >= 1
        dlq.drain()
        drained, size = dlq.drain(), dlq._core.spool.size()
        assert (count(dlq), size.records + size.refused) == (1, 1), (drained, size)
        assert size.bytes > megabytes * MEGABYTE
    else:
        assert dlq.get(letter.id).payload == payload
        assert count(dlq) == 2


def _packet(dlq: DeadLetterQueue) -> int:
    return int(dlq._read(lambda connection: connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar()))


@pytest.mark.timeout(900 if WHOLE else 120)
def test_a_burst_of_captures_is_kept(dlq: DeadLetterQueue, failed: Any) -> None:
    """Ten thousand failures (fewer in the short form) in 16 threads at once: each is a letter, now or after a drain."""
    number, error = 10_000 if WHOLE else 400, failed()

    def put(job: int) -> str:
        return dlq.put(queue="mail", job_name="send", job_id=str(job), payload={"job": job}, error=error).id

    with ThreadPoolExecutor(16) as threads:
        ids = list(threads.map(put, range(number)))
    assert len(set(ids)) == number
    for _ in range(50):  # a capture that was given up at its deadline may still be on its way
        dlq.drain()
        if count(dlq) == number and not dlq._core.spool.size().records:
            break
        time.sleep(0.1)
    assert (count(dlq), count(dlq, events), dlq._core.spool.size().records) == (number, number, 0)


@pytest.mark.parametrize("days", [-1, 1])
def test_a_host_clock_that_jumps_changes_no_lease(
    dlq: DeadLetterQueue, days: int, monkeypatch: pytest.MonkeyPatch, failed: Any
) -> None:
    """A host that is a day off claims for as long as any other, and takes nobody's letter; only its own notes are off."""
    waiting, held = add_many(dlq, [{}, {}])
    dlq.register("mail", lambda _letter: None)
    act, terms = Act(actor="ann"), terms_of(dlq._core)
    dlq._write(lambda connection: claims.claim(connection, held, act, terms))
    lease = state(dlq, held).lease_until
    real, shift = time.time, timedelta(days=days)

    class Jumped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + shift

    monkeypatch.setattr(time, "time", lambda: real() + shift.total_seconds())
    monkeypatch.setattr(record, "datetime", Jumped)
    assert dlq.reap() == []
    assert state(dlq, held).lease_until == lease
    dlq._write(lambda connection: claims.claim(connection, waiting, act, terms))
    assert abs(state(dlq, waiting).lease_until - lease) < timedelta(minutes=2)
    new = state(dlq, dlq.put(queue="mail", job_name="send", error=failed()).id)
    assert abs(new.captured_at - datetime.now(UTC)) < timedelta(minutes=2)
    assert abs(new.failed_at - datetime.now(UTC) - shift) < timedelta(minutes=2)  # the clock did jump


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_strict_isolation_costs_only_another_try(
    database: str, dialect: str, level: str, tmp_path: Path, failed: Any
) -> None:
    """With an engine of strict isolation many at once capture and redrive the same, and each happens once."""
    if dialect == "sqlite":
        pytest.skip("SQLite has one writer at a time whatever the level")
    engine = create_engine(make_engine(database).url, isolation_level=level, pool_size=10)
    ran: Counter[str] = Counter()
    meet, error = threading.Barrier(6, timeout=60), failed()
    with DeadLetterQueue(engine, spool=tmp_path / "spool", deadline=30) as dlq:
        dlq.register("mail", lambda letter, _session: ran.update([letter.id]), transactional=True)
        old = add_many(dlq, [{}] * 8)

        def work(_number: int) -> list[str]:
            meet.wait()
            new = [dlq.put(queue="new", job_name="send", job_id=str(job), error=error).id for job in range(8)]
            return [*new, *(outcome.result for outcome in dlq.redrive(old, actor="ann"))]

        with ThreadPoolExecutor(6) as threads:
            done = list(threads.map(work, range(6)))
        assert len({tuple(results[:8]) for results in done}) == 1
        assert count(dlq) == len(old) + 8
        results = Counter(result for results in done for result in results[8:])
        assert results["redriven"] == len(old)
        assert set(results) <= {"redriven", "busy", "wrong_state"}
        assert [kinds(dlq, letter_id).count("redriven") for letter_id in old] == [1] * len(old)
        assert dlq._core.spool.size().records == 0
    engine.dispose()


def test_a_backup_brings_back_what_was_redriven_with_the_same_keys(tmp_path: Path, failed: Any) -> None:
    """After a restore an old letter's redrive carries the same idempotency key as the first time, so that it can be told.

    What was captured since the backup is gone with the database that held it, unless it was still in the spool.
    """
    keys: list[str] = []
    with fresh_database("sqlite", str(tmp_path)) as url:
        path = Path(make_url(url).database or "")
        upgrade(make_engine(url))

        def queue() -> DeadLetterQueue:
            made = DeadLetterQueue(url, spool=tmp_path / "spool", deadline=0.3)
            made.register("mail", lambda letter: keys.append(letter.idempotency_key))
            return made

        with queue() as dlq:
            letter_id = add(dlq)
            with sqlite3.connect(path) as original, sqlite3.connect(tmp_path / "backup") as backup:
                original.backup(backup)
            assert dlq.redrive([letter_id], actor="ann")[0].result == "redriven"
            stored = dlq.put(queue="mail", job_name="send", job_id="1", error=failed())
            with sqlite3.connect(path, isolation_level=None) as locker:
                locker.execute("BEGIN IMMEDIATE")
                spooled = dlq.put(queue="mail", job_name="send", job_id="2", error=failed())
                locker.execute("ROLLBACK")
            dlq.engine.dispose()
        for old in tmp_path.glob(f"{path.name}*"):
            old.unlink()
        shutil.copyfile(tmp_path / "backup", path)
        with queue() as dlq:
            back = state(dlq, letter_id)
            assert (back.status, back.fence, back.redrives) == ("dead", 0, 0)
            assert dlq.redrive([letter_id], actor="ann")[0].result == "redriven"
            dlq.drain()
            found = [letter.id for letter in dlq.list(queue="mail").letters]
            assert sorted(found) == sorted([letter_id, spooled.id])
            assert stored.id not in found
    assert keys == [f"{letter_id}:1"] * 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A disk of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("can't mount a small tmpfs here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_while_the_database_is_down_is_told_and_the_log_keeps_it(
    behind_proxy: Any, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fits on the disk waits there; the rest is in the log, whole; jobs raise their own errors all the same."""
    dlq, proxy = behind_proxy
    monkeypatch.setenv("FEATURE_FLAG_DLQ_ENABLED", "true")
    kept = DeadLetterQueue(dlq.engine, spool=small_disk / "spool", deadline=0.5)

    @kept.dead_letter(queue="mail")
    def job(text: str) -> None:
        raise ValueError("its own")

    proxy.refuse()
    with capture_logs() as logs:
        for _ in range(12):
            with pytest.raises(ValueError, match="its own"):
                job("x" * 10_000)
    told = Counter(log["event"] for log in logs)
    assert told["dead_letter.spooled"] + told["dead_letter.capture_failed"] == 12
    assert told["dead_letter.spooled"] >= 1
    assert all("x" * 10_000 in log["record"] for log in logs if log["event"] == "dead_letter.capture_failed")
    proxy.open()
    assert kept.drain().stored == told["dead_letter.spooled"] == count(kept)
    kept.close()


def test_a_connection_that_died_while_idle_is_replaced(behind_proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that restarted while nobody asked it costs no call; one that restarted a moment ago costs one."""
    dlq, proxy = behind_proxy
    for idle in (0, 1000):
        monkeypatch.setattr(engine_module, "IDLE_SECONDS", idle)
        acts.read(dlq.engine, acts.answers)
        proxy.refuse()
        proxy.open()
        if idle:
            with pytest.raises(DBAPIError):
                acts.read(dlq.engine, acts.answers)
        acts.read(dlq.engine, acts.answers)


def test_a_capture_does_not_read_all_events(tmp_path: Path, migrated: Any) -> None:
    """On PostgreSQL the look for a captured id goes along its index, also while a few thousand events are there."""
    url = migrated("postgresql")
    with DeadLetterQueue(url, spool=tmp_path / "spool") as dlq:
        error = ValueError("no")
        dlq.put_many([{"queue": "mail", "job_name": "send", "error": error}] * 2_000)

        def plan(connection: Any) -> str:
            connection.exec_driver_sql("ANALYZE job_dlq_event")
            explained = connection.execute(text(f"EXPLAIN {capture._STORE_POSTGRESQL.element}"), {"given": "[]"})
            return "\n".join(explained.scalars())

        assert "Seq Scan on job_dlq_event" not in dlq._write(plan)
        assert "uq_job_dlq_event_capture_id" in dlq._write(plan)

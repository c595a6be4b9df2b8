"""Tests for what is kept of a running job with a payload: the dead letter that it would be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine, select

from unhush.runtime import (
    DeadLetterQueue,
    Heartbeats,
    LetterSummary,
    Watchdog,
    beat_batches,
    beat_letters,
    current_beat,
)
from unhush.runtime.beat_errors import AlreadyEnded
from unhush.runtime.beat_letters import BY_FENCE
from unhush.runtime.beat_tables import job_letters
from unhush.runtime.integrations.beating import Beating, runs_here
from unhush.runtime.secrecy import Vault

EVERY = 0.1  # seconds
PAYLOAD = {"to": "ann", "password": "hunter2"}

KILLED = """
import os, signal, sys
from unhush.runtime import DeadLetterQueue, Heartbeats

url, spool, keys, kind = sys.argv[1:]
dlq = DeadLetterQueue(url, spool=spool, encryption_keys=keys.split())
with Heartbeats(url, every=0.1, dlq=dlq, patience=30) as heartbeats:

    @heartbeats.watched(kind=kind, job_id=lambda to, **_: to)
    def mail(to, **options):
        os.kill(os.getpid(), signal.SIGKILL)

    mail("ann", password="hunter2")
"""


@pytest.fixture
def queue(database: str, tmp_path: Path) -> Callable[..., DeadLetterQueue]:
    """Makes a dead letter queue on the database."""
    return lambda **options: DeadLetterQueue(database, spool=tmp_path, **options)


def records(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(job_letters.c.record)).scalars())


def dead_lettered(database: str, dlq: DeadLetterQueue, kind: str, wait: Callable[..., Any]) -> LetterSummary:
    """The only letter of a kind, once the watchdog has put it there."""
    with Watchdog(database, stuck_after=1, every=0.1, actions={kind: "dead_letter"}, dlq=dlq) as dog:

        def looked() -> Any:
            dog.run_once()
            return dlq.list(queue=kind).letters

        (letter,) = wait(looked, bool)
        dog.run_once()
    assert len(dlq.list(queue=kind).letters) == 1
    return letter


@pytest.mark.parametrize("encrypted", [False, True], ids=["masked", "encrypted"])
def test_a_killed_process_leaves_a_letter_that_its_function_can_be_redriven_by(
    database: str, queue: Callable[..., DeadLetterQueue], tmp_path: Path, wait: Callable[..., Any], encrypted: bool
) -> None:
    """What a killed process ran is a letter, secrets masked or encrypted; redriven it runs the function, which beats."""
    keys = [Vault.new_key()] if encrypted else []
    kind = f"mail-{encrypted}"
    killed = subprocess.run([sys.executable, "-c", KILLED, database, tmp_path, " ".join(keys), kind], check=False)
    assert killed.returncode == -9
    dlq = queue(encryption_keys=keys)
    ran: list[Any] = []
    with Heartbeats(database, every=EVERY, dlq=dlq) as heartbeats, dlq:

        @heartbeats.watched(kind=kind, job_id=lambda to, **_: to)
        def mail(to: str, **options: str) -> None:
            beat = current_beat()
            ran.append((to, options, beat.claim and beat.claim.fence))

        letter = dead_lettered(database, dlq, kind, wait)
        whole = dlq.get(letter.id)
        assert (letter.job_name, letter.job_id, letter.attempts) == (kind, "ann", 1)
        assert (whole.payload["args"], whole.payload["kwargs"] != {"password": "hunter2"}) == (["ann"], True)
        (outcome,) = dlq.redrive([letter.id], actor="ann")
    assert outcome.result == ("redriven" if encrypted else "not_redrivable")
    assert ran == ([("ann", {"password": "hunter2"}, 3)] if encrypted else [])


def test_what_is_kept_is_masked_and_goes_with_the_run(
    database: str, engine: Engine, queue: Callable[..., DeadLetterQueue]
) -> None:
    """A running job's payload is masked in the table, once for each job, and gone when it has ended, however."""
    dlq = queue()

    def kept() -> list[Any]:
        return [record for record in records(engine) if record["queue"] == "kept"]

    with Heartbeats(database, every=EVERY, dlq=dlq, patience=30) as heartbeats, dlq:

        def fail() -> None:
            with heartbeats.job("kept", kind="kept", payload=PAYLOAD):
                (record,) = kept()
                assert (record["job_id"], record["payload"]["to"], record["attempts"]) == ("kept", "ann", BY_FENCE)
                assert "hunter2" not in str(record)
                raise ValueError("no such address")

        for _ in range(2):
            with pytest.raises(ValueError, match="no such address"):
                fail()
            assert kept() == []
        with heartbeats.job("kept", kind="kept", payload=PAYLOAD) as beat:
            with engine.begin() as connection:
                beat.finish(connection)
            assert kept() == []
        with heartbeats.job("bare", kind="kept"):
            assert kept() == []


def test_a_letter_that_the_database_refuses_costs_no_beat(
    database: str, engine: Engine, queue: Callable[..., DeadLetterQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the record can't be kept the job is claimed without it, and the log says so."""
    whole = beat_letters.keep_all

    def refused(connection: Any, begun: Any) -> None:
        whole(connection, begun * (2 if begun and begun[0][1] else 1))  # the second time the key is there already

    monkeypatch.setattr(beat_letters, "keep_all", refused)
    monkeypatch.setattr(beat_batches, "is_duplicate", lambda error: False)
    monkeypatch.setattr(beat_batches, "is_refused", lambda error: True)
    dlq = queue()
    with (
        structlog.testing.capture_logs() as logs,
        Heartbeats(database, every=EVERY, dlq=dlq, patience=30) as heartbeats,
    ):
        with heartbeats.job("wide", kind="wide", payload=PAYLOAD) as beat:
            assert beat.claim is not None
        dlq.close()
    assert [entry["job_id"] for entry in logs if entry["event"] == "heartbeat.letter_refused"] == ["wide"]


def test_another_delivery_of_a_job_that_has_ended_is_refused(database: str) -> None:
    """A run that says in which statuses it is one too many is refused in these, and runs in others."""
    with Heartbeats(database, every=EVERY, patience=30) as heartbeats:

        def run(*ended: str) -> int | None:
            with heartbeats.framework_job("twice", kind="twice", limits={}, ended=ended) as beat:
                return beat.claim and beat.claim.fence

        assert run("finished", "parked") == 1
        with pytest.raises(AlreadyEnded, match="has finished") as refused:
            run("finished", "parked")
        assert refused.value.status == "finished"
        assert run("parked") == 2
        with pytest.raises(ValueError, match="above 0"):
            heartbeats.framework_job("twice", kind="twice", limits={"deadline": 0})
        with pytest.raises(TypeError, match="unknown limit 'dead'"):
            heartbeats.framework_job("twice", kind="twice", limits={"dead": 1})  # type: ignore[typeddict-unknown-key]


def test_a_payload_without_a_queue_is_refused(database: str) -> None:
    """Heartbeats that know no dead letter queue take no payload."""
    with Heartbeats(database) as heartbeats, pytest.raises(TypeError, match="dlq=dlq"):
        heartbeats.job("42", kind="mail", payload=PAYLOAD)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_an_async_function_is_redriven_and_beats(database: str, queue: Callable[..., DeadLetterQueue]) -> None:
    """A watched coroutine function is what a redrive of its letters runs, and beats in it."""
    ran: list[Any] = []
    dlq = queue()
    with Heartbeats(database, every=EVERY, dlq=dlq, patience=30) as heartbeats, dlq:

        @heartbeats.watched(kind="async", job_id=lambda to: to)
        async def mail(to: str) -> None:
            beat = current_beat()
            ran.append((to, beat.claim and beat.claim.fence))

        letter = dlq.put(queue="async", job_name="async", error=ValueError(), payload={"args": ["ann"], "kwargs": {}})
        (outcome,) = dlq.redrive([letter.id], actor="ann")
    assert (outcome.result, ran) == ("redriven", [("ann", 1)])


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_no_job_of_a_framework_fails_for_its_heartbeat(
    database: str, engine: Engine, queue: Callable[..., DeadLetterQueue]
) -> None:
    """A name or id that no column holds is cut to one that it does, and a job that can't be described beats all the same."""
    dlq = queue()

    def odd() -> dict[str, Any]:
        raise LookupError("no such field")

    with Heartbeats(database, every=EVERY, patience=30) as heartbeats, dlq:
        beating = Beating(heartbeats, dlq, {"*": {"deadline": 5}})
        with structlog.testing.capture_logs() as logs, beating.job("x" * 300, "a\0b", odd) as beat:
            assert (len(beat.kind), beat.job_id, beat.claim and beat.claim.fence) == (255, "a\\x00b", 1)
            assert runs_here("x" * 300, "a\0b")
            assert beating.lives("x" * 300, "a\0b")
            assert records(engine) == []
        assert not beating.lives("x" * 300, "a\0b")
    assert [entry["event"] for entry in logs] == ["heartbeat.letter_failed"]

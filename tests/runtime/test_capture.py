"""Tests for keeping a failure: each is one letter, whatever it holds and whoever captures it."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from captureprograms import capture_often
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, delete, func, select, update
from sqlalchemy.orm import Session

from unhush.runtime import context, record
from unhush.runtime.capture import capture, capture_many
from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.letters import DeadLetterError, SchemaProblem
from unhush.runtime.lookup import get
from unhush.runtime.tables import DISCARDED, REDRIVEN, REDRIVING, events, letters
from unhush.sql.runner import upgrade

Failed = Callable[..., BaseException]
Rows = Callable[..., list[Any]]


class Unprintable(Exception):
    """An exception whose text can't be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Unserialisable:
    """A payload that no serialiser takes."""

    def __init__(self) -> None:
        self.lock = multiprocessing.Lock()

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def a_record(**fields: Any) -> dict[str, Any]:
    """The record of a failure in which only what a test is about must be said."""
    failure = {"queue": "mail", "job_name": "send", "error": ValueError("x"), "payload": {"to": "ann"}}
    return record.build(**{**failure, "payload_limit": 2**20, **fields})


def test_a_database_without_tables_says_what_to_do(empty_database: str) -> None:
    """An act on a database without the migration raises one line."""
    with DeadLetterQueue(empty_database) as dlq, pytest.raises(SchemaProblem, match="run `unhush db upgrade"):
        dlq._read(lambda connection: connection.execute(select(func.count()).select_from(letters)).scalar_one())


def test_an_unknown_database_is_refused_without_its_password() -> None:
    """A URL of another database is refused in one line that does not hold the password."""
    with pytest.raises(DeadLetterError) as caught:
        DeadLetterQueue("oracle://ann:hunter2@host/name")
    assert "hunter2" not in str(caught.value)


def test_a_failure_becomes_a_letter(dlq: DeadLetterQueue, failed: Failed, rows: Rows) -> None:
    """What is put can be read back, with its event in the history."""
    put = dlq.put(queue="mail", job_name="send", job_id=42, payload={"to": "ann"}, error=failed(), attempts=3)
    letter = dlq._read(get, put.id)
    assert (letter.queue, letter.job_name, letter.job_id, letter.attempts) == ("mail", "send", "42", 3)
    assert (letter.status, letter.payload, letter.redrivable) == ("dead", {"to": "ann"}, True)
    assert (letter.error_type, letter.error_message) == ("ValueError", "no such address")
    assert "ValueError: no such address" in letter.traceback
    assert put.captured_at == letter.captured_at
    [event] = rows(dlq, events)
    assert (event.kind, event.letter_id, event.capture_id) == ("captured", put.id, put.id)


def test_the_same_failure_is_one_letter(dlq: DeadLetterQueue, failed: Failed, rows: Rows) -> None:
    """Queue, job id and attempts name a failure; another try of the job, or none named, is another one."""
    first = dlq.put(queue="mail", job_name="send", job_id="42", error=failed(), attempts=3)
    assert dlq.put(queue="mail", job_name="send", job_id="42", error=failed(), attempts=3) == first
    assert len(rows(dlq, letters)) == len(rows(dlq, events)) == 1
    others = [
        dlq.put(queue="mail", job_name="send", job_id="42", error=failed(), attempts=4),
        dlq.put(queue="post", job_name="send", job_id="42", error=failed(), attempts=3),
        dlq.put(queue="mail", job_name="send", error=failed()),
        dlq.put(queue="mail", job_name="send", error=failed()),
    ]
    assert len({first.id, *(letter.id for letter in others)}) == 5


def test_many_failures_are_put_at_once(dlq: DeadLetterQueue, failed: Failed, rows: Rows) -> None:
    """Each gets its letter, in the order given, and those that are there already get theirs."""
    there = dlq.put(queue="mail", job_name="send", job_id="7", error=failed())
    many = [{"queue": "mail", "job_name": "send", "job_id": str(n % 600), "error": failed()} for n in range(700)]
    put = dlq.put_many(many)
    assert [letter.job_id for letter in put] == [str(n % 600) for n in range(700)]
    assert put[7].id == there.id
    assert [letter.id for letter in put[600:]] == [letter.id for letter in put[:100]]
    assert len(rows(dlq, letters)) == len(rows(dlq, events)) == 600


def test_a_record_that_comes_again_is_known_though_its_letter_is_purged(dlq: DeadLetterQueue, rows: Rows) -> None:
    """The event outlives the letter, so a spool line that is drained twice makes no second letter."""
    again = a_record()
    assert dlq._write(capture, again).new
    dlq._write(lambda connection: connection.execute(delete(letters)))
    assert not dlq._write(capture, again).new
    assert not dlq._write(capture_many, [again, again])[0].new
    assert rows(dlq, letters) == []
    assert dlq._write(capture, a_record()).new
    assert len(rows(dlq, letters)) == 1


def test_two_processes_at_once_make_one_letter_of_each_failure(
    database: str, dlq: DeadLetterQueue, rows: Rows, tmp_path: Path
) -> None:
    """Processes that capture the same failures at the same time leave one letter and one event of each."""
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    both = [spawn.Process(target=capture_often, args=(database, str(tmp_path / f"spool{n}"), start)) for n in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    stored = rows(dlq, letters)
    assert len({letter.job_id for letter in stored}) == len(stored) == len(rows(dlq, events)) == 90
    assert not list(tmp_path.glob("spool?/*"))


AWKWARD: dict[str, Any] = {
    "nul": "a\0b",
    "surrogate": "\ud800",
    "key\0": 1,
    "nan": math.nan,
    "inf": -math.inf,
    "huge": 10**40,
    "bytes": b"\xff\0",
    "tuple": (1, 2),
    "emoji": "🐛",
}


def test_values_that_databases_refuse_come_back(dlq: DeadLetterQueue, failed: Failed) -> None:
    """NUL, lone surrogates, NaN and their kin come back equal, in payload, names, message and traceback."""
    error = failed(ValueError("no \0 and \ud800 here"))
    put = dlq.put(queue="ma\0il", job_name="s\ud800", job_id="4\0", error=error, payload=AWKWARD, headers={"h": "\0"})
    letter = dlq._read(get, put.id)
    assert math.isnan(letter.payload["nan"])
    assert {**letter.payload, "nan": 0} == {**AWKWARD, "nan": 0}
    assert letter.redrivable
    assert "no \\x00 and \\ud800 here" in letter.error_message
    assert (letter.queue, letter.job_name, letter.job_id) == ("ma\\x00il", "s\\ud800", "4\\x00")


@pytest.mark.parametrize("error", [Unprintable(), RecursionError("x" * 10**6), ExceptionGroup("g", [ValueError()])])
def test_an_awkward_exception_is_captured(dlq: DeadLetterQueue, failed: Failed, error: Exception) -> None:
    """An exception whose text can't be had, is huge or a group has its letter too."""
    letter = dlq._read(get, dlq.put(queue="mail", job_name="send", error=failed(error)).id)
    assert letter.error_type.endswith(type(error).__name__)


def test_rq_708_and_resque_1209_an_unserialisable_payload_loses_no_failure(
    dlq: DeadLetterQueue, failed: Failed
) -> None:
    """A payload that can't be serialised is kept as far as it can, marked, and not run again as it is."""
    put = dlq.put(queue="mail", job_name="send", error=failed(), payload={"to": "ann", "raw": Unserialisable()})
    letter = dlq._read(get, put.id)
    assert letter.payload["to"] == "ann"
    assert not letter.redrivable
    assert letter.changed_paths == ("$.raw",)


def test_a_record_is_built_though_its_parts_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble in what makes a record's parts costs the part, not the record."""

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise MemoryError

    for name in ("encode", "describe", "redact_text"):
        monkeypatch.setattr(record, name, broken)
    made = a_record(job_id=Unserialisable(), attempts="many", headers=7)
    assert (made["queue"], made["attempts"], made["redrivable"]) == ("mail", 1, False)
    assert made["error_type"] == "ValueError"
    assert json.loads(json.dumps(made)) == made


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    queue=st.text(),
    job_id=st.none() | st.text() | st.integers(),
    attempts=st.integers() | st.floats() | st.text(),
    payload=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
        max_leaves=8,
    ),
    headers=st.none() | st.dictionaries(st.text(), st.text() | st.binary()),
)
def test_whatever_a_job_holds_it_is_captured(dlq: DeadLetterQueue, **fields: Any) -> None:
    """Any queue name, id, payload and headers make a record that each database takes."""
    made = a_record(**fields)
    letter = dlq._write(capture, made).letter
    assert dlq._read(get, letter.id).queue == made["queue"]
    assert not dlq._write(capture, made).new


def test_long_names_stay_different(dlq: DeadLetterQueue, failed: Failed, rows: Rows) -> None:
    """A name over the column's length is shortened, but never to that of another one."""
    for end in "ab":
        dlq.put(queue="q" * 300 + end, job_name="send", job_id="é" * 300 + end, error=failed())
    stored = rows(dlq, letters)
    assert len({letter.queue for letter in stored}) == len({letter.job_id for letter in stored}) == 2


def test_a_callers_rollback_takes_the_letter(dlq: DeadLetterQueue, failed: Failed, rows: Rows) -> None:
    """`session=` makes the letter part of the caller's transaction, which may be rolled back or committed."""
    for commit, expected in ((False, 0), (True, 1)):
        with Session(dlq.engine) as session:
            dlq.put(queue="mail", job_name="send", error=failed(), session=session)
            (session.commit if commit else session.rollback)()
        assert len(rows(dlq, letters)) == len(rows(dlq, events)) == expected


def test_a_callers_connection_on_an_engine_of_its_own(
    database: str, dlq: DeadLetterQueue, failed: Failed, rows: Rows
) -> None:
    """On an engine that the queue did not make, a rollback takes the letter as well."""
    engine = create_engine(dlq.engine.url)
    for commit, expected in ((False, 0), (True, 1)):
        with engine.connect() as connection:
            with DeadLetterQueue(engine) as own:
                own.put(queue="mail", job_name="send", error=failed(), session=connection)
            (connection.commit if commit else connection.rollback)()
        assert len(rows(dlq, letters)) == expected
    engine.dispose()


def test_trouble_inside_a_callers_transaction_is_the_callers(empty_database: str, failed: Failed) -> None:
    """With `session=` a failing capture raises, goes to no spool, and leaves the transaction usable."""
    with DeadLetterQueue(empty_database) as dlq, Session(dlq.engine) as session:
        with pytest.raises(Exception, match="job_dlq"):
            dlq.put(queue="mail", job_name="send", error=failed(), session=session)
        session.rollback()
        assert session.scalar(select(1)) == 1


def _claimed(connection: Connection, letter_id: str, status: str, redrives: int) -> None:
    connection.execute(update(letters).where(letters.c.id == letter_id).values(status=status, redrives=redrives))


@pytest.mark.parametrize("status", [REDRIVING, REDRIVEN])
def test_a_redriven_job_that_fails_again_comes_back(
    dlq: DeadLetterQueue, failed: Failed, rows: Rows, status: str
) -> None:
    """Its letter is dead again with the new error, keeps the old one in its history, and there is no second letter."""
    first = dlq.put(queue="mail", job_name="send", job_id="42", error=failed())
    dlq._write(_claimed, first.id, status, 1)
    headers = {context.LETTER_HEADER: first.id, context.REDRIVE_HEADER: "1"}
    for _ in range(2):  # and once more by another process
        again = dlq.put(queue="mail", job_name="send", job_id="43", error=failed(KeyError("new")), headers=headers)
    assert (again.id, again.status, again.error_type, again.fence) == (first.id, "dead", "KeyError", first.fence + 1)
    assert [event.kind for event in rows(dlq, events)] == ["captured", "failed_again"]
    assert rows(dlq, events)[1].detail["before"]["error_type"] == "ValueError"


def test_a_letter_that_failed_often_is_parked(database: str, dlq: DeadLetterQueue, failed: Failed) -> None:
    """A job that fails again after the last redrive allowed is parked."""
    first = dlq.put(queue="mail", job_name="send", error=failed())
    dlq._write(_claimed, first.id, REDRIVEN, 3)
    headers = {context.LETTER_HEADER: first.id.encode(), context.REDRIVE_HEADER: 3}
    assert dlq.put(queue="mail", job_name="send", error=failed(), headers=headers).status == "parked"


def test_a_late_failure_is_only_noted(dlq: DeadLetterQueue, failed: Failed, rows: Rows) -> None:
    """The failure of an earlier redrive, or of a letter that is settled, changes nothing but the history."""
    first = dlq.put(queue="mail", job_name="send", error=failed())
    for status, redrives in ((REDRIVING, 2), (DISCARDED, 1)):
        dlq._write(_claimed, first.id, status, redrives)
        headers = {context.LETTER_HEADER: first.id, context.REDRIVE_HEADER: "1"}
        late = dlq.put(queue="mail", job_name="send", error=failed(), headers=headers)
        assert (late.id, late.status, late.fence) == (first.id, status, first.fence)
    assert [event.kind for event in rows(dlq, events)] == ["captured", "late_failure", "late_failure"]


@pytest.mark.parametrize("letter_id", ["01900000-0000-7000-8000-000000000000", "not an id"])
def test_a_redriven_job_whose_letter_is_gone_gets_a_new_one(
    dlq: DeadLetterQueue, failed: Failed, rows: Rows, letter_id: str
) -> None:
    """A failure whose letter was purged, or belongs to another system, is a new letter."""
    headers = {context.LETTER_HEADER: letter_id, context.REDRIVE_HEADER: "1"}
    dlq.put(queue="mail", job_name="send", error=failed(), headers=headers)
    assert [letter.status for letter in rows(dlq, letters)] == ["dead"]


def test_within_a_redrive_the_failure_is_the_redrives(dlq: DeadLetterQueue, failed: Failed, rows: Rows) -> None:
    """A failure of the redriven job in its handler is handed to the redrive; that of another job is a new letter."""
    first = dlq.put(queue="mail", job_name="send", error=failed())
    with context.redriving(first) as redrive:
        assert dlq.put(queue="mail", job_name="send", error=failed(KeyError("again"))).id == first.id
        assert redrive.failure.type == "KeyError"
        dlq.put(queue="mail", job_name="other", error=failed())
    dlq.put(queue="mail", job_name="send", error=failed())
    assert [letter.job_name for letter in rows(dlq, letters)] == ["send", "other", "send"]


def test_hooks_are_told_of_new_letters_only(database: str, tmp_path: Path, failed: Failed) -> None:
    """Each new letter is told once, and a hook that raises hurts nobody."""
    told: list[str] = []

    def broken(letter: Any) -> None:
        raise RuntimeError("hook")

    with DeadLetterQueue(
        database, spool=tmp_path / "spool", on_dead_letter=[broken, lambda letter: told.append(letter.id)]
    ) as dlq:
        for _ in range(2):
            letter = dlq.put(queue="mail", job_name="send", job_id="42", error=failed())
    assert told == [letter.id]


def test_rq_964_and_sidekiq_6827_nothing_caps_the_dead_letters(dlq: DeadLetterQueue) -> None:
    """More letters than elsewhere are kept are all kept: 10,001 of them, the first one too."""
    one = a_record()
    records = [{**one, "id": str(UUID(int=n))} for n in range(10_001)]
    assert all(done.new for done in dlq._write(capture_many, records))
    assert dlq._read(lambda connection: connection.scalar(select(func.count()).select_from(letters))) == 10_001
    assert dlq._read(get, records[0]["id"]).status == "dead"


def test_a_secret_is_masked_and_its_letter_not_redrivable(dlq: DeadLetterQueue, rows: Rows, failed: Failed) -> None:
    """No column holds a secret of the payload, the headers or the error; what else there is comes back."""
    secret = "hunter2-hunter2"
    error = failed(ValueError(f"no answer from https://ann:{secret}@example.org/"))
    put = dlq.put(
        queue="mail",
        job_name="send",
        error=error,
        payload={"to": "ann", "password": secret},
        headers={"Authorization": f"Bearer {secret}"},
    )
    [row] = rows(dlq, letters)
    assert secret not in str(row)
    letter = dlq._read(get, put.id)
    assert (letter.payload["to"], letter.redrivable, letter.changed_paths) == ("ann", False, ("$.password",))


def test_with_a_key_the_whole_payload_is_kept_encrypted(
    database: str, tmp_path: Path, rows: Rows, failed: Failed
) -> None:
    """What may be shown is masked; the original can be had with the key alone, and so the letter is redrivable."""
    fernet = pytest.importorskip("cryptography.fernet")
    payload = {"to": "ann", "password": "hunter2-hunter2"}
    with DeadLetterQueue(database, spool=tmp_path / "spool", encryption_keys=[fernet.Fernet.generate_key()]) as dlq:
        put = dlq.put(queue="mail", job_name="send", error=failed(), payload=payload)
        [row] = rows(dlq, letters)
        assert put.redrivable
        assert "hunter2-hunter2" not in str(row)
        assert record.original(row, dlq._core.vault) == payload
        with pytest.raises(DeadLetterError, match="encryption_keys"):
            record.original(row, None)


def test_a_trace_is_kept(dlq: DeadLetterQueue, failed: Failed) -> None:
    """The trace of OpenTelemetry's current span is the letter's; without a span there is none."""
    trace = pytest.importorskip("opentelemetry.trace")
    spans = trace.NonRecordingSpan(trace.SpanContext(0xABC, 1, is_remote=False))
    with trace.use_span(spans):
        assert dlq.put(queue="mail", job_name="send", error=failed()).trace_id == format(0xABC, "032x")
    assert dlq.put(queue="mail", job_name="send", error=failed()).trace_id is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_a_forked_child_captures_beside_its_parent(dlq: DeadLetterQueue, failed: Failed, rows: Rows) -> None:
    """A queue in use before a fork works in the child and, afterwards, in the parent."""
    dlq.put(queue="mail", job_name="before", error=failed())
    child = os.fork()
    if not child:
        code = 1
        try:
            dlq.put(queue="mail", job_name="child", error=failed())
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    dlq.put(queue="mail", job_name="after", error=failed())
    stored = rows(dlq, letters)
    assert [letter.job_name for letter in stored] == ["before", "child", "after"]
    assert len({letter.process for letter in stored}) == 2


def test_an_engine_in_memory_serves_one_process() -> None:
    """In-memory SQLite works inline, without threads."""
    with DeadLetterQueue("sqlite://") as dlq:
        upgrade(dlq.engine)
        put = dlq.put(queue="mail", job_name="send", error=ValueError("x"))
        assert dlq._read(get, put.id).id == put.id

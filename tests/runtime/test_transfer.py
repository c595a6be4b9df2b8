"""Tests for taking letters elsewhere and back."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from deadletters import NOON, add, add_many, kinds, state
from services import fresh_database
from sqlalchemy import delete, func, select

from unhush.runtime import transfer
from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.letters import Filter
from unhush.runtime.tables import STATUSES, events, letters
from unhush.sql.runner import upgrade


def exported(dlq: DeadLetterQueue, asked: Filter | None = None, **options: Any) -> list[str]:
    """The lines of an export."""
    file = io.StringIO()
    number = dlq.export(file, asked, **options)
    lines = file.getvalue().splitlines(keepends=True)
    assert number == len(lines)
    return lines


def emptied(dlq: DeadLetterQueue) -> None:
    """Takes all letters away, and with `events` the history too."""
    for table in (letters, events):
        dlq._write(lambda connection, table=table: connection.execute(delete(table)))


def test_letters_come_back_equal(dlq: DeadLetterQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is exported from one database is, imported into an empty one, the same letter with the same history."""
    monkeypatch.setattr(transfer, "BATCH", 2)
    put = dlq.put(queue="mail", job_name="send", job_id="7", payload={"at": NOON}, error=ValueError("ü"), attempts=3)
    dlq.discard([put.id], actor="ann", reason="old")
    ids = [put.id, *add_many(dlq, [{"status": status} for status in STATUSES if status != "redriving"])]
    for letter_id in ids:
        dlq.get(letter_id)
    before, history = {i: dlq.get(i) for i in ids}, {i: dlq.history(i) for i in ids}
    lines = exported(dlq)
    assert [json.loads(line)["letter"]["id"] for line in lines] == ids
    emptied(dlq)
    done = dlq.import_(lines, actor="bob", reason="moved")
    assert (done.stored, done.present, list(done.broken)) == (6, 0, [])
    for letter_id in ids:
        assert dlq.get(letter_id) == before[letter_id]
        told = [(e.kind, e.at, e.actor, e.reason, e.fence, e.detail) for e in dlq.history(letter_id)]
        kept = [(e.kind, e.at, e.actor, e.reason, e.fence, e.detail) for e in history[letter_id]]
        assert told[:-1] == kept
        assert told[-1][0] == "imported"


def test_an_import_is_idempotent(dlq: DeadLetterQueue) -> None:
    """The same file again stores nothing and changes nothing; a new line in it is stored."""
    first = add(dlq)
    lines = exported(dlq)
    before = state(dlq, first)
    assert dlq.import_(lines, actor="bob").present == 1
    assert (state(dlq, first), kinds(dlq, first)) == (before, [])
    emptied(dlq)
    done = dlq.import_([*lines, "\n", *lines], actor="bob")
    assert (done.stored, done.present, list(done.broken)) == (1, 1, [])


def test_a_captured_failure_is_no_second_letter_after_an_import(dlq: DeadLetterQueue) -> None:
    """A letter of the same failure that is there already is kept, and the imported one is not doubled beside it."""
    asked = {"queue": "mail", "job_name": "send", "job_id": "7", "attempts": 3}
    dlq.put(**asked, error=ValueError("x"))
    lines = exported(dlq)
    emptied(dlq)
    mine = dlq.put(**asked, error=ValueError("x"))
    assert dlq.import_(lines, actor="bob").present == 1
    assert [letter.id for letter in dlq.list().letters] == [mine.id]


def _broken(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def broken(line: str) -> str:
        data = json.loads(line)
        change(data)
        return json.dumps(data)

    return broken


BROKEN: list[tuple[str, Callable[[str], str]]] = [
    ("not JSON", lambda line: line[:40]),
    ("no unhush dead letter", lambda _line: "[1]"),
    ("no unhush dead letter", lambda _line: "{}"),
    ("nested too deeply", lambda _line: "[" * 100_000),
    ("version 2", _broken(lambda data: data.update(version=2))),
    ("lacks the letter", _broken(lambda data: data.update(letter=None))),
    ("lacks queue", _broken(lambda data: data["letter"].pop("queue"))),
    ("'gone' is no status", _broken(lambda data: data["letter"].update(status="gone"))),
    ("badly formed", _broken(lambda data: data["letter"].update(id="x"))),
    ("failed_at is no str", _broken(lambda data: data["letter"].update(failed_at=5))),
    ("failed_at has no zone", _broken(lambda data: data["letter"].update(failed_at="2026-01-01T00:00:00"))),
    ("attempts is no int", _broken(lambda data: data["letter"].update(attempts="3"))),
    ("attempts is out of range", _broken(lambda data: data["letter"].update(attempts=2**40))),
    ("queue is too long", _broken(lambda data: data["letter"].update(queue="q" * 300))),
    ("headers is no dict", _broken(lambda data: data["letter"].update(headers=[]))),
    ("an event of its history", _broken(lambda data: data.update(history=[1]))),
    ("lacks kind", _broken(lambda data: data.update(history=[{"actor": "a"}]))),
]


def test_broken_lines_are_told_and_leave_nothing_half_done(dlq: DeadLetterQueue) -> None:
    """Each broken line is told with its number and what to do, and stores nothing; the lines around it are stored."""
    add_many(dlq, [{}] * (len(BROKEN) + 1))
    good = exported(dlq)
    emptied(dlq)
    lines = []
    for line, (_, spoil) in zip(good[:-1], BROKEN, strict=True):
        lines.append(spoil(line))
    done = dlq.import_([*lines, good[-1]], actor="bob")
    assert (done.stored, done.present) == (1, 0)
    assert [broken.line for broken in done.broken] == list(range(1, len(BROKEN) + 1))
    for broken, (problem, _) in zip(done.broken, BROKEN, strict=True):
        assert problem in broken.problem
        assert broken.problem.endswith(("export it again", "upgrade unhush"))
        assert "\n" not in broken.problem
    count = dlq._read(lambda c: (c.scalar(select(func.count(letters.c.id))), c.scalar(select(func.count(events.c.id)))))
    assert count == (1, 1)
    assert dlq.import_(good, actor="bob").stored == len(BROKEN)


def test_a_letter_under_redrive_arrives_in_doubt(dlq: DeadLetterQueue) -> None:
    """Nobody at the other end knows how its redrive ends, so a letter exported meanwhile waits for a person."""
    letter_id = add(dlq, status="redriving", claimed_by="w1", lease_until=NOON)
    lines = exported(dlq)
    emptied(dlq)
    dlq.import_(lines, actor="bob")
    after = state(dlq, letter_id)
    assert (after.status, after.claimed_by, after.lease_until) == ("in_doubt", None, None)


def test_secrets_stay_where_they_are(dlq: DeadLetterQueue, database: str, tmp_path: Path) -> None:
    """An export holds no encrypted original, so a letter with masks is not redrivable elsewhere; one without is."""
    with DeadLetterQueue(database, spool=tmp_path / "s", encryption_keys=[Fernet.generate_key()]) as sealed:
        secret = sealed.put(queue="mail", job_name="send", payload={"password": "hunter2"}, error=ValueError("x"))
        plain = sealed.put(queue="mail", job_name="send", payload={"to": "ann"}, error=ValueError("x"))
        assert state(dlq, secret.id).redrivable
    lines = exported(dlq)
    assert "hunter2" not in "".join(lines)
    assert "secret_payload" not in "".join(lines)
    emptied(dlq)
    dlq.import_(lines, actor="bob")
    assert [state(dlq, letter.id).redrivable for letter in (secret, plain)] == [False, True]


def test_an_imported_secret_is_masked(dlq: DeadLetterQueue) -> None:
    """A file that somebody put a secret into does not bring it into the database."""
    letter_id = add(dlq, payload={"to": "ann"})
    line = json.loads(exported(dlq)[0])
    line["letter"]["payload"] = {"password": "hunter2"}
    line["letter"]["error_message"] = "password=hunter2 refused"
    emptied(dlq)
    dlq.import_([json.dumps(line)], actor="bob")
    after = state(dlq, letter_id)
    assert "hunter2" not in f"{after}"
    assert (after.redrivable, after.changed_paths) == (False, ["$.password"])


def test_filter_and_history_are_as_asked(dlq: DeadLetterQueue) -> None:
    """An export holds the letters that match alone, and no history where none is wanted."""
    ids = add_many(dlq, [{}, {"queue": "bills"}])
    dlq.discard(ids, actor="ann", reason="old")
    (line,) = exported(dlq, Filter(queue="bills"))
    assert (json.loads(line)["letter"]["id"], len(json.loads(line)["history"])) == (ids[1], 1)
    (line,) = exported(dlq, Filter(queue="bills"), history=False)
    assert json.loads(line)["history"] == []


def test_letters_move_between_kinds_of_databases(dlq: DeadLetterQueue, tmp_path: Path) -> None:
    """An export of any database can be imported into SQLite, where its letters are equal."""
    letter = dlq.put(queue="mail", job_name="send", payload={"n": 2**70, "t": "a\0\ud800"}, error=ValueError("x"))
    lines = exported(dlq)
    with fresh_database("sqlite", str(tmp_path)) as url, DeadLetterQueue(url, spool=tmp_path / "o") as other:
        upgrade(other.engine)
        assert other.import_(lines, actor="bob").stored == 1
        there, here = other.get(letter.id), dlq.get(letter.id)
        assert (there.payload, there.failed_at) == (here.payload, here.failed_at)

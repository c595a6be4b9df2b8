"""Tests for what a person decides about one letter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from deadletters import add, add_many, kinds, state

from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.letters import DeadLetterError, Filter, LeaseLost, Letter, NoSuchLetter, WrongState
from unhush.runtime.tables import STATUSES

UNKNOWN = "01890000-0000-7000-8000-000000000000"
SECRET = {"to": "ann", "password": "hunter2", "card": {"token": "tok-12345678", "at": datetime(2026, 1, 1, tzinfo=UTC)}}


@pytest.fixture
def sealed(database: str, tmp_path: Path) -> Iterator[DeadLetterQueue]:
    """A queue that keeps payloads whole, encrypted."""
    with DeadLetterQueue(database, spool=tmp_path / "spool", encryption_keys=[Fernet.generate_key()]) as queue:
        yield queue


def put(dlq: DeadLetterQueue, payload: Any) -> Letter:
    """The letter of a failed job with that payload, as it is shown."""
    return dlq.get(dlq.put(queue="mail", job_name="send", payload=payload, error=ValueError("refused")).id)


def redriven(dlq: DeadLetterQueue, letter_id: str) -> Any:
    """The payload that a redrive of the letter runs with; or why it is refused."""
    ran: list[Any] = []
    dlq.register("mail", lambda letter: ran.append(letter.payload))
    (outcome,) = dlq.redrive([letter_id], actor="ann")
    return ran[0] if ran else outcome.result


def test_an_edited_payload_is_what_runs(dlq: DeadLetterQueue) -> None:
    """The next redrive runs with the new payload, equal to what was given, and the history names paths, not values."""
    letter = put(dlq, {"to": "anm", "lines": [1, 2], "old": None, "urgent": 1, "same": [1]})
    payload = {"to": "ann", "lines": [1, 3], "id": UUID(int=7), "urgent": True, "same": [1]}
    edited = dlq.edit(letter.id, payload, actor="ann", reason="a typo", if_match=letter.fence)
    assert (edited.payload, edited.redrivable, edited.fence) == (payload, True, letter.fence + 1)
    assert edited.payload["urgent"] is True
    (event,) = [event for event in dlq.history(letter.id) if event.kind == "edited"]
    assert (event.actor, event.reason, event.fence) == ("ann", "a typo", edited.fence)
    assert sorted(event.detail["paths"]) == ["$.id", "$.lines[1]", "$.old", "$.to", "$.urgent"]
    assert redriven(dlq, letter.id) == payload


def test_secrets_without_a_key_are_never_stored(dlq: DeadLetterQueue) -> None:
    """Without a key an edit that brings secrets stores their masks and is not redrivable; one without them is."""
    letter = put(dlq, SECRET)
    assert not letter.redrivable
    edited = dlq.edit(letter.id, SECRET, actor="ann")
    assert not edited.redrivable
    assert "hunter2" not in f"{state(dlq, letter.id)}{dlq.history(letter.id)}"
    assert redriven(dlq, letter.id) == "not_redrivable"
    assert dlq.edit(letter.id, {"to": "ann"}, actor="ann").redrivable
    assert redriven(dlq, letter.id) == {"to": "ann"}


def test_a_mask_handed_back_is_no_secret(dlq: DeadLetterQueue) -> None:
    """Without a key the shown payload, handed back with one field mended, still lacks its secrets: no redrive."""
    letter = put(dlq, SECRET)
    edited = dlq.edit(letter.id, {**letter.payload, "to": "bob"}, actor="ann")
    assert (edited.redrivable, edited.payload["to"]) == (False, "bob")
    assert {"$.password", "$.card.token"} <= set(edited.changed_paths)
    assert redriven(dlq, letter.id) == "not_redrivable"


def test_a_mask_handed_back_keeps_the_sealed_original(sealed: DeadLetterQueue) -> None:
    """With a key the shown payload, handed back with one field mended, runs with its secrets, which are never shown."""
    letter = put(sealed, SECRET)
    assert (letter.redrivable, letter.payload["password"]) == (True, "[redacted]")
    edited = sealed.edit(letter.id, {**letter.payload, "to": "bob"}, actor="ann")
    assert (edited.redrivable, edited.payload["password"]) == (True, "[redacted]")
    assert "hunter2" not in f"{state(sealed, letter.id)}{sealed.history(letter.id)}"
    (event,) = [event for event in sealed.history(letter.id) if event.kind == "edited"]
    assert event.detail["paths"] == ["$.to"]
    assert redriven(sealed, letter.id) == {**SECRET, "to": "bob"}


def test_a_mask_that_was_moved_is_no_secret(sealed: DeadLetterQueue) -> None:
    """With a key too, a mask in another place stands for nothing: the letter is not redrivable until it is supplied."""
    letter = put(sealed, SECRET)
    edited = sealed.edit(letter.id, {"user": {"password": letter.payload["password"]}}, actor="ann")
    assert (edited.redrivable, list(edited.changed_paths)) == (False, ["$.user.password"])
    assert redriven(sealed, letter.id) == "not_redrivable"
    assert sealed.edit(letter.id, {"user": {"password": "new-one"}}, actor="ann").redrivable
    assert redriven(sealed, letter.id) == {"user": {"password": "new-one"}}


def test_what_was_lost_must_be_supplied(dlq: DeadLetterQueue, sealed: DeadLetterQueue) -> None:
    """A payload of which a part was not serialisable runs only when that part is supplied, with a key or without."""
    for queue in (dlq, sealed):
        letter = put(queue, {"to": "ann", "lock": object()})
        assert not letter.redrivable
        assert not queue.edit(letter.id, {**letter.payload, "to": "bob"}, actor="ann").redrivable
        assert queue.edit(letter.id, {"to": "bob", "lock": None}, actor="ann").redrivable
        assert redriven(queue, letter.id) == {"to": "bob", "lock": None}


def test_an_encrypted_letter_without_its_key_is_refused(
    dlq: DeadLetterQueue, sealed: DeadLetterQueue, database: str
) -> None:
    """A queue without the right key neither redrives nor edits an encrypted letter, and says what it lacks."""
    letter = put(sealed, SECRET)
    with DeadLetterQueue(database, encryption_keys=[Fernet.generate_key()]) as other:
        for queue, told in ((dlq, "encryption_keys"), (other, "key")):
            assert redriven(queue, letter.id) == "not_redrivable"
            assert queue.bulk("redrive", Filter(queue="mail"), actor="ann").skipped == 1
            with pytest.raises(DeadLetterError, match=told):
                queue.edit(letter.id, {}, actor="ann")
    assert redriven(sealed, letter.id) == SECRET


def test_an_edit_of_an_old_version_is_refused(dlq: DeadLetterQueue) -> None:
    """Of two people who edit the same version one is refused, and the first one's payload stays."""
    letter = put(dlq, 1)
    dlq.edit(letter.id, 2, actor="ann", if_match=letter.fence)
    with pytest.raises(LeaseLost, match="changed since"):
        dlq.edit(letter.id, 3, actor="bob", if_match=letter.fence)
    assert dlq.get(letter.id).payload == 2


ALLOWED: dict[str, set[str]] = {
    "edit": {"dead", "parked"},
    "discard": {"dead", "parked", "in_doubt"},
    "restore": {"parked", "discarded", "in_doubt"},
}


@pytest.mark.parametrize("verb", ALLOWED)
def test_each_act_has_its_statuses(dlq: DeadLetterQueue, verb: str) -> None:
    """An act on a letter in a wrong status is refused in one line and changes nothing; in a right one it is done."""

    def done(letter_id: str) -> bool:
        if verb == "edit":
            try:
                dlq.edit(letter_id, 5, actor="ann")
            except WrongState as error:
                return "\n" in str(error)
            return True
        act: Callable[..., Any] = dlq.restore if verb == "restore" else partial(dlq.discard, reason="old")
        (outcome,) = act([letter_id], actor="ann")
        assert outcome.result in ("discarded", "restored", "wrong_state")
        return bool(outcome.result != "wrong_state")

    ids = add_many(dlq, [{"status": status} for status in STATUSES])
    for status, letter_id in zip(STATUSES, ids, strict=True):
        before = state(dlq, letter_id)
        assert done(letter_id) == (status in ALLOWED[verb])
        assert (state(dlq, letter_id) == before) == (status not in ALLOWED[verb])
        assert len(kinds(dlq, letter_id)) == (status in ALLOWED[verb])


def test_bad_requests_are_one_line(dlq: DeadLetterQueue) -> None:
    """An unknown id and a discard without a reason are told in one line, and the letter beside them is discarded."""
    letter_id = add(dlq)
    for wrong in (UNKNOWN, "x"):
        with pytest.raises(NoSuchLetter, match="there is no letter"):
            dlq.edit(wrong, 1, actor="ann")
    with pytest.raises(DeadLetterError, match="needs a reason"):
        dlq.discard([letter_id], actor="ann", reason=" ")
    assert state(dlq, letter_id).status == "dead"
    outcomes = dlq.discard(["x", UNKNOWN, letter_id], actor="ann", reason="never needed")
    assert [outcome.result for outcome in outcomes] == ["unknown", "unknown", "discarded"]
    assert dlq.history(letter_id)[0].reason == "never needed"

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from unhush.reports import letterjson, letters
from unhush.reports.table import Column, Screen, Table, render
from unhush.runtime.letters import Depth, Event, Group, Letter, LetterSummary, Operation, Outcome, Stats

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ID = "01a20f7d-bf11-71a0-b5b5-eede29ed610c"
SUMMARY = {
    "id": ID,
    "queue": "receipts",
    "job_name": "send_receipt",
    "job_id": "1003",
    "status": "dead",
    "attempts": 3,
    "redrives": 1,
    "fence": 4,
    "operation_id": None,
    "fingerprint": "7a431ab7725eec68e1df5739c8d5013b",
    "error_type": "KeyError",
    "first_failed_at": NOW - timedelta(hours=3),
    "failed_at": NOW - timedelta(minutes=90),
    "captured_at": NOW - timedelta(minutes=90),
    "changed_at": NOW,
    "seen_at": None,
    "lease_until": None,
    "claimed_by": None,
    "redrivable": True,
    "host": "worker-1",
    "process": "1-a",
    "code_version": "1.2",
    "trace_id": None,
}
WHOLE = {
    **SUMMARY,
    "error_message": "'bob'",
    "traceback": "Traceback (most recent call last):\n  File \"shop.py\", line 14\x1b[2J\nKeyError: 'bob'\n",
    "headers": {"unhush": "1"},
    "payload": {"customer": "bob", "price": Decimal("1.50"), "at": NOW},
    "changed_paths": ("$.card",),
}
OPERATION = Operation(
    id=ID,
    kind="redrive",
    status="stopped",
    actor="ann",
    reason="fixed in 1.2",
    total=1_200,
    succeeded=10,
    failed=11,
    skipped=0,
    started_at=NOW - timedelta(days=3),
    changed_at=NOW,
    note="11 of the last 20 redrives failed again, and more than 50% stops it",
    filter={"queue": "receipts"},
    options={"rate": 5.0},
)


@pytest.fixture
def summaries():
    """Two letters of a page."""
    return [
        LetterSummary(**SUMMARY),
        LetterSummary(
            **{
                **SUMMARY,
                "queue": "mail\n\x1b[31m",
                "job_name": "s\u00e9nd \u4ef6",
                "job_id": None,
                "status": "in_doubt",
            }
        ),
    ]


@pytest.fixture
def events():
    """A short history."""
    common = {"letter_id": ID, "operation_id": None, "fence": 1}
    return [
        Event(id=1, kind="captured", at=NOW, actor="capture", reason=None, detail={"error_type": "KeyError"}, **common),
        Event(
            id=2, kind="redriving", at=NOW, actor="ann", reason="fixed", detail={"redrive": 1, "owner": "h:1"}, **common
        ),
    ]


def test_tables_for_programs(summaries, events, snapshot):
    """Where no terminal is, tables are as wide as their text, and without colour or anything that a terminal obeys."""
    group = Group(fingerprint="f" * 32, count=100_000, exact=False, newest=summaries[0])
    text = "\n".join(
        "".join(render(table, Screen()))
        for table in (
            letters.letters(summaries, NOW),
            letters.groups([group], NOW),
            letters.history(events, whose=True),
            letters.operations([OPERATION], NOW),
        )
    )
    assert "\x1b" not in text
    assert text == snapshot


@pytest.mark.parametrize("width", [80, 100, 200])
def test_tables_on_a_terminal(summaries, snapshot, width):
    """A width is kept by cutting names, not ids, and then by leaving spare columns out; colour only where wanted."""
    plain = "".join(render(letters.letters(summaries, NOW), Screen(width)))
    assert max(map(len, plain.splitlines())) <= width
    assert ID in plain
    assert "\x1b" not in plain
    coloured = "".join(render(letters.letters(summaries, NOW), Screen(width, color=True)))
    assert "\x1b[31mdead" in coloured
    assert plain == snapshot


def test_too_narrow_a_terminal_keeps_what_can_not_be_cut():
    """Columns that are not to be cut stay whole, whatever the width."""
    table = Table([Column("id"), Column("name", cut=True)], [[ID, "a-long-name"]])
    assert "".join(render(table, Screen(20))).splitlines()[1] == f"{ID}  a-long\u2026"


def test_letter_whole(events, snapshot):
    """One letter is shown with error, traceback, payload and history, and obeyed by no terminal."""
    text = "".join(letters.letter(Letter(**WHOLE), events, Screen()))
    assert "\x1b" not in text
    assert text == snapshot


def test_large_payload_is_cut_for_people():
    """Of a large payload the beginning is shown, and how to have all of it."""
    text = "".join(letters.letter(Letter(**{**WHOLE, "payload": "x" * 50_000}), [], Screen()))
    assert len(text) < 25_000
    assert "  ... and 30,002 more characters: --json shows all\n" in text


def test_counts_and_lines(snapshot):
    """Counts by queue and status, outcomes and bulk acts as people read them."""
    found = Stats(
        depths=[
            Depth(queue="mail", status="dead", count=100_000, exact=False),
            Depth(queue="mail", status="parked", count=1, exact=True),
            Depth(queue="sms", status="dead", count=2, exact=True),
        ],
        oldest_dead_at=NOW - timedelta(days=20),
        spool_records=1,
        spool_bytes=2_048,
    )
    lines = [
        *letters.stats(found, ("dead", "parked"), NOW, Screen()),
        letters.outcome(Outcome(ID, "not_redrivable", "its payload is not the job's own")),
        letters.outcome(Outcome(ID, "redriven")),
        letters.operation(OPERATION),
    ]
    assert "".join(lines) == snapshot


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-5, "0s"), (119, "119s"), (120, "2m"), (7_199, "119m"), (7_200, "2h"), (172_800, "2d"), (1_209_600, "2w")],
)
def test_ages(seconds, told):
    """An age is in its largest unit of which there are two; a clock that is ahead makes none negative."""
    assert letters.age(NOW - timedelta(seconds=seconds), NOW) == told


def test_json_shape(summaries, events, snapshot):
    """Fields by their names, times in UTC with a Z and microseconds; payloads in a whole letter alone, with type tags."""
    elsewhere = events[0].at.astimezone()
    assert letterjson.moment(elsewhere) == "2026-03-01T12:00:00.000000Z"
    listed = json.loads(letterjson.document({"letters": summaries[:1], "next": None}))
    assert "payload" not in listed["letters"][0]
    assert letterjson.document([listed, Letter(**WHOLE), events, OPERATION, Outcome(ID, "redriven")]) == snapshot

"""Tests for looking at letters."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from deadletters import NOON, add, add_many, state
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, make_url, text
from structlog.testing import capture_logs

from unhush.runtime import lookup
from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.history import notes
from unhush.runtime.letters import BadCursor, DeadLetterError, EventFilter, Filter, Letter, NoSuchLetter
from unhush.runtime.tables import STATUSES, letters


def test_a_letter_is_given_whole_and_noted_as_seen(dlq: DeadLetterQueue) -> None:
    """get() decodes the payload and notes the first look; a list notes none."""
    letter_id = add(dlq, payload={"to": "ann", "at": NOON})
    dlq.list()
    assert state(dlq, letter_id).seen_at is None
    letter = dlq.get(letter_id.upper())
    assert letter.payload == {"to": "ann", "at": NOON}
    first = state(dlq, letter_id).seen_at
    assert first is not None
    dlq.get(letter_id)
    assert (state(dlq, letter_id).seen_at, state(dlq, letter_id).fence) == (first, 0)


def test_a_letter_that_a_transaction_holds_is_given_at_once(
    dlq: DeadLetterQueue, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a transactional redrive holds its row, or the one write lock of SQLite, a letter is shown, and not noted."""
    monkeypatch.setattr("unhush.runtime.engine.BUSY_SECONDS", 0)
    letter_id = add(dlq, payload="ann")
    shown = []
    with DeadLetterQueue(database) as other:

        def look(letter: Letter, session: Any) -> None:
            shown.append(other.get(letter.id).payload)

        dlq.register("mail", look, transactional=True)
        assert dlq.redrive([letter_id], actor="ann")[0].result == "redriven"
    assert shown == ["ann"]
    assert state(dlq, letter_id).seen_at is None
    dlq.get(letter_id)
    assert state(dlq, letter_id).seen_at is not None


def test_a_read_only_database_shows_its_letters(dlq: DeadLetterQueue, database: str) -> None:
    """On a database that takes no writes lists and letters are shown, and the log has why the look was not noted."""
    letter_id = add(dlq, payload="ann")
    read_only = {
        "sqlite": database.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true",
        "postgresql": f"{database}?options=-c%20default_transaction_read_only%3Don",
        "mysql": f"{database}?init_command=SET%20SESSION%20TRANSACTION%20READ%20ONLY",
    }[make_url(database).get_backend_name().replace("mariadb", "mysql")]
    if "sqlite" in read_only:
        dlq.close()
        with sqlite3.connect(make_url(database).database or "") as plain:  # as `unhush db upgrade` leaves a file
            plain.execute("PRAGMA journal_mode = DELETE")
    with DeadLetterQueue(read_only) as replica, capture_logs() as logs:
        assert [letter.id for letter in replica.list().letters] == [letter_id]
        assert replica.get(letter_id).payload == "ann"
    assert [log["event"] for log in logs] == ["dead_letter.seen_not_noted"]
    assert state(dlq, letter_id).seen_at is None


@pytest.mark.parametrize("letter_id", ["no-id", "", "01890000-0000-7000-8000-000000000000"])
def test_an_unknown_id_is_one_line(dlq: DeadLetterQueue, letter_id: str) -> None:
    """An id that no letter has, or can have, raises one line."""
    with pytest.raises(NoSuchLetter) as caught:
        dlq.get(letter_id)
    assert "there is no letter" in str(caught.value)
    assert "\n" not in str(caught.value)


FILTERS = [
    Filter(),
    Filter(queue="mail"),
    Filter(status="dead"),
    Filter(queue="mail", status="parked"),
    Filter(fingerprint="b" * 32),
    Filter(status="dead", fingerprint="a" * 32),
    Filter(queue="mail", job_id="7"),
    Filter(job_name="send"),
    Filter(error_type="KeyError"),
    Filter(redrivable=False),
    Filter(failed_before=NOON),
    Filter(failed_after=NOON - timedelta(days=1), failed_before=NOON + timedelta(days=1)),
]


def _some(dlq: DeadLetterQueue, number: int = 60) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "queue": ("mail", "Mail", "bills")[n % 3],
            "status": STATUSES[n // 3 % 6 if n % 5 else 0],
            "fingerprint": "abc"[n % 7 % 3] * 32,
            "job_id": str(n % 10) if n % 2 else None,
            "job_name": ("send", "pay")[n % 2],
            "error_type": ("ValueError", "KeyError")[n % 4 // 2],
            "redrivable": n % 6 != 0,
            "failed_at": NOON + timedelta(days=n % 3 - 1),
        }
        for n in range(number)
    ]
    for row, letter_id in zip(rows, add_many(dlq, rows), strict=True):
        row["id"] = letter_id
    return rows


def _matches(row: dict[str, Any], asked: Filter) -> bool:
    if asked.failed_before is not None and not row["failed_at"] < asked.failed_before:
        return False
    if asked.failed_after is not None and not row["failed_at"] > asked.failed_after:
        return False
    names = ("queue", "status", "job_name", "job_id", "fingerprint", "error_type", "redrivable")
    return all(getattr(asked, name) in (None, row[name]) for name in names)


def test_pages_hold_what_matches_newest_first(dlq: DeadLetterQueue) -> None:
    """Whatever the filter and the size of a page, the pages together are the letters that match, newest first."""
    rows = _some(dlq)
    for asked in FILTERS:
        expected = [row["id"] for row in reversed(rows) if _matches(row, asked)]
        assert expected, asked
        for limit in (7, 100):
            assert [letter.id for letter in _all(dlq, asked, limit)] == expected, (asked, limit)


def _all(dlq: DeadLetterQueue, asked: Filter, limit: int) -> list[Any]:
    found, cursor = [], None
    while True:
        page = dlq.list(asked, limit=limit, cursor=cursor)
        assert len(page.letters) <= limit
        found += page.letters
        cursor = page.cursor
        if cursor is None:
            return found


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.integers(0, 12), between=st.lists(st.integers(0, 3), max_size=6), limit=st.integers(1, 5))
def test_pages_stay_whole_while_letters_arrive(
    dlq: DeadLetterQueue, before: int, between: list[int], limit: int
) -> None:
    """Letters captured between two pages, at the same time even, neither hide nor repeat any that were there."""
    dlq._write(lambda connection: connection.execute(delete(letters)))
    there = add_many(dlq, [{}] * before) if before else []
    arrivals = iter(between)
    seen, cursor = [], None
    while True:
        page = dlq.list(status="dead", limit=limit, cursor=cursor)
        seen += [letter.id for letter in page.letters]
        cursor = page.cursor
        if cursor is None:
            break
        for _ in range(next(arrivals, 0)):
            add(dlq)
    assert seen == sorted(set(seen), reverse=True)
    assert set(there) <= set(seen)


def test_a_foreign_or_broken_cursor_is_refused(dlq: DeadLetterQueue) -> None:
    """A cursor of another list, a shortened one and plain rubbish are refused; the right one goes on."""
    add_many(dlq, [{}] * 3)
    dlq.discard([dlq.list().letters[0].id, dlq.list().letters[1].id], actor="ann", reason="old")
    cursor = dlq.list(limit=1).cursor
    assert cursor is not None
    assert len(dlq.list(limit=5, cursor=cursor).letters) == 2
    audited = dlq.audit(limit=1).cursor
    assert audited is not None
    for wrong in (audited, cursor[:-3], cursor + "a", "", "ü", "AAAA", uuid4().hex):
        with pytest.raises(BadCursor, match="leave it out"):
            dlq.list(limit=1, cursor=wrong)
    for wrong in (cursor, "x"):
        with pytest.raises(BadCursor, match="leave it out"):
            dlq.audit(cursor=wrong)
        with pytest.raises(BadCursor, match="leave it out"):
            dlq.operations(cursor=wrong)
    with pytest.raises(BadCursor, match="leave it out"):
        dlq.list(status="dead", limit=1, cursor=cursor)


def test_a_wrong_question_is_one_line(dlq: DeadLetterQueue) -> None:
    """What no column can hold is refused in one line, on each database; odd names that may exist are not."""
    far = datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))
    wrong: list[tuple[str, Callable[[], object]]] = [
        ("'ded' is no status: it is one of dead, redriving", lambda: dlq.list(status="ded")),
        ("'ded' is no status", lambda: dlq.groups(status="ded")),
        ("'ded' is no status: it is one of running", lambda: dlq.operations(status="ded")),
        ("queue holds NUL", lambda: dlq.list(queue="a\0")),
        ("job_id holds NUL or half", lambda: dlq.list(Filter(job_id="a\ud800"))),
        ("queue is longer", lambda: dlq.list(queue="q" * 256)),
        ("fingerprint has ASCII", lambda: dlq.list(Filter(fingerprint="ü"))),
        ("kind has ASCII", lambda: dlq.audit(EventFilter(kind="ü"))),
        ("letter_id is no id", lambda: dlq.audit(EventFilter(letter_id="x"))),
        ("failed_before needs its zone", lambda: dlq.list(Filter(failed_before=NOON.replace(tzinfo=None)))),
        ("since is out of range", lambda: dlq.audit(EventFilter(since=far))),
        ("needs an actor", lambda: dlq.redrive([], actor=" ")),
        ("reason holds NUL", lambda: dlq.redrive([], actor="ann", reason="\0")),
        ("actor is longer", lambda: dlq.start("redrive", Filter(queue="mail"), actor="a" * 256)),
        ("key is longer", lambda: dlq.start("redrive", Filter(queue="m"), actor="a", idempotency_key="k" * 256)),
        *(
            ("must be 1 to 10,000", partial(ask, limit=limit))
            for ask in (dlq.list, dlq.audit, dlq.groups, dlq.operations)
            for limit in (0, -1, 10_001, 2**70)
        ),
    ]
    for told, ask in wrong:
        with pytest.raises(DeadLetterError, match=told) as caught:
            ask()
        assert "\n" not in str(caught.value)
    letter_id = add(dlq, queue="poste 😀 'ü'", fingerprint="%_;--")
    assert dlq.list(queue="poste 😀 'ü'").letters[0].id == letter_id
    assert dlq.list(Filter(fingerprint="%_;--")).letters[0].id == letter_id
    for soonest in (datetime.min.replace(tzinfo=UTC), NOON - timedelta(days=1)):
        assert len(dlq.list(Filter(failed_after=soonest)).letters) == 1
    assert dlq.list(Filter(failed_after=datetime.max.replace(tzinfo=UTC))).letters == []


def test_lists_load_nothing_large_or_private(dlq: DeadLetterQueue) -> None:
    """Neither lists nor groups ask the database for payloads, messages, tracebacks or headers; get() does."""
    letter_id = add(dlq, payload="x")
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    event.listen(dlq.engine, "before_cursor_execute", note)
    dlq.list(queue="mail")
    dlq.groups()
    dlq.stats()
    wide = ("payload", "traceback", "error_message", "headers")
    assert asked
    assert not [statement for statement in asked if any(name in statement for name in wide)]
    dlq.get(letter_id)
    assert [statement for statement in asked if "traceback" in statement]


def test_groups_equal_a_naive_count(dlq: DeadLetterQueue) -> None:
    """Groups are the letters of a status by fingerprint, the biggest first, each with its newest letter."""
    rows = _some(dlq)
    for status in ("dead", "parked", "redriving"):
        mine = [row for row in rows if row["status"] == status]
        sizes = Counter(row["fingerprint"] for row in mine)
        newest = {row["fingerprint"]: row["id"] for row in mine}
        expected = sorted(((sizes[key], newest[key], key) for key in sizes), reverse=True)
        found = [(group.count, group.newest.id, group.fingerprint) for group in dlq.groups(status=status)]
        assert found == expected
        assert all(group.exact for group in dlq.groups(status=status))
    assert len(dlq.groups(limit=1)) == 1
    assert dlq.groups(status="in_doubt") == [group for group in dlq.groups(status="in_doubt") if group.count]


def test_depths_equal_a_naive_count(dlq: DeadLetterQueue) -> None:
    """Stats count each queue and status as they are, queues that differ in case apart, and tell the oldest dead."""
    assert (list(dlq.stats().depths), dlq.stats().oldest_dead_at) == ([], None)
    rows = _some(dlq)
    found = dlq.stats()
    assert {(depth.queue, depth.status): depth.count for depth in found.depths} == Counter(
        (row["queue"], row["status"]) for row in rows
    )
    assert all(depth.exact for depth in found.depths)
    assert found.oldest_dead_at == NOON


def test_counts_stop_at_their_limit(dlq: DeadLetterQueue) -> None:
    """Counting ends at the limit and says so; one letter fewer is exact."""
    add_many(dlq, [{}] * 5)
    for limit, exact in ((4, False), (5, True)):
        (depth,) = dlq._read(lookup.depths, count_limit=limit)
        (group,) = dlq._read(lookup.groups, count_limit=limit)
        assert (depth.count, depth.exact, group.count, group.exact) == (limit, exact, limit, exact)


def test_more_bugs_than_a_recursion_may_have_steps(dlq: DeadLetterQueue) -> None:
    """Thousands of different bugs and queues are all found (MariaDB ends a recursion silently after 1,000 steps)."""
    add_many(dlq, [{"fingerprint": f"{n:032x}", "queue": f"q{n}"} for n in range(1003)])
    assert len(dlq.groups(limit=2000)) == 1003
    assert len(dlq.stats().depths) == 1003


def test_everything_goes_along_an_index(dlq: DeadLetterQueue) -> None:
    """On each database counts, pages, claims, reaping and the breaker read along an index, never a table whole."""
    add_many(
        dlq, [{"fingerprint": f"{n % 5:032x}", "queue": f"q{n % 3}", "status": STATUSES[n % 6]} for n in range(3000)]
    )
    add_many(dlq, [{"queue": "q0", "job_name": "rare", "job_id": str(n)} for n in range(3)])
    held = dlq.start("redrive", Filter(queue="q0", job_name="rare"), actor="ann")
    others = [{"kind": "redriving", "actor": "bob", "operation_id": str(uuid4())} for _ in range(3000)]
    dlq._write(notes, others)
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        asked.append((statement, parameters))

    dlq._write(lambda connection: connection.execute(text("ANALYZE TABLE job_dlq" if _mariadb(dlq) else "ANALYZE")))
    event.listen(dlq.engine, "before_cursor_execute", note)
    dlq.groups()
    dlq.stats()
    dlq.list(queue="q1", limit=10)
    dlq.list(queue="q1", status="dead", limit=10)
    dlq.list(limit=10)
    dlq.register("q0", lambda _letter: None)
    assert dlq.work(held.id).succeeded == 3
    event.remove(dlq.engine, "before_cursor_execute", note)
    selects = [(statement, values) for statement, values in asked if re.match("SELECT|UPDATE|WITH", statement)]
    assert len(selects) >= 20
    for statement, values in selects:
        plan = _plan(dlq, statement, values)
        assert plan
        for line in plan:
            assert not _reads_all(line), (statement, plan)


def _mariadb(dlq: DeadLetterQueue) -> bool:
    return dlq.engine.dialect.name in ("mysql", "mariadb")


def _plan(dlq: DeadLetterQueue, statement: str, values: Any) -> list[Any]:
    explain = "EXPLAIN QUERY PLAN " if dlq.engine.dialect.name == "sqlite" else "EXPLAIN "
    return dlq._read(lambda connection: [tuple(row) for row in connection.exec_driver_sql(explain + statement, values)])


def _reads_all(line: tuple[Any, ...]) -> bool:
    """Whether this line of a plan reads the table of letters whole."""
    if len(line) > 5:  # MariaDB: id, kind, table, type, possible keys, key, ...
        return line[2] in ("job_dlq", "job_dlq_event") and line[3] == "ALL"
    text = str(line[-1])
    return bool(re.search(r"Seq Scan on job_dlq(_event)?\b(?!_)|SCAN job_dlq(_event)?$", text))


def test_the_audit_tells_who_did_what_and_why(dlq: DeadLetterQueue) -> None:
    """Events are found by letter, actor, kind and time, newest first and in pages."""
    first, second = add_many(dlq, [{}, {}])
    dlq.discard([first], actor="ann", reason="a test")
    dlq.discard([second], actor="bob", reason="too")
    dlq.restore([first], actor="bob")
    assert [(e.kind, e.actor, e.reason) for e in dlq.history(first)] == [
        ("discarded", "ann", "a test"),
        ("restored", "bob", None),
    ]
    everything = dlq.audit().events
    assert [e.letter_id for e in everything] == [first, second, first]
    assert [e.kind for e in dlq.audit(EventFilter(actor="bob")).events] == ["restored", "discarded"]
    assert [e.letter_id for e in dlq.audit(EventFilter(kind="discarded")).events] == [second, first]
    assert [e.kind for e in dlq.audit(EventFilter(letter_id=second)).events] == ["discarded"]
    noon = everything[0].at + timedelta(seconds=1)
    assert dlq.audit(EventFilter(since=noon)).events == []
    assert len(dlq.audit(EventFilter(until=noon)).events) == 3
    page = dlq.audit(limit=2)
    assert page.cursor is not None
    assert [e.letter_id for e in dlq.audit(limit=2, cursor=page.cursor).events] == [first]

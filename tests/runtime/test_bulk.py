"""Tests for bulk acts on letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextvars import Context
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from deadletters import NOON, add, add_many, kinds, state
from sqlalchemy import func, select, text, update

from unhush.runtime import redrive, steps, working
from unhush.runtime.bulk import BulkOptions
from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.letters import (
    DeadLetterError,
    EmptyFilter,
    EventFilter,
    Filter,
    KeyReused,
    Letter,
    NoSuchLetter,
    Operation,
    Outcome,
    WrongState,
)
from unhush.runtime.tables import events, letters, operations

MAIL = Filter(queue="mail")


class Clock:
    """A clock that moves only when somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self.waiting: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Lets time pass."""
        self.waits.append(seconds)
        self.now += seconds
        self.waiting()


def work(dlq: DeadLetterQueue, operation: Operation, clock: Clock, **rest: Any) -> Operation:
    """Works on the act by that clock."""
    terms = redrive.terms_of(dlq._core)
    return steps.drive(working.work(operation.id, terms, clock=clock, **rest), dlq, sleep=clock.sleep)


def fail(_letter: Letter) -> None:
    raise ValueError("still broken")


def counts(operation: Operation) -> tuple[str, int, int, int, int]:
    return (operation.status, operation.total, operation.succeeded, operation.failed, operation.skipped)


def results(dlq: DeadLetterQueue, operation: Operation) -> Counter[str]:
    """What became of the letters of the act, by its events."""
    return Counter(event.kind for event in dlq.audit(EventFilter(operation_id=operation.id), limit=500).events)


def test_a_bulk_redrive_gives_each_letter_an_outcome(dlq: DeadLetterQueue) -> None:
    """Letters that match are redriven, failed or skipped, each with an event, and the counts add up."""

    def handler(letter: Letter) -> None:
        if letter.payload == "bad":
            fail(letter)

    dlq.register("mail", handler)
    ids = add_many(
        dlq,
        [
            {},
            {"payload": "bad"},
            {"redrivable": False},
            {"job_id": "1"},
            {"job_id": "1"},
            {"queue": "bills"},
            {"status": "parked"},
        ],
    )
    begun = dlq.start("redrive", MAIL, actor="ann", reason="fixed")
    assert counts(begun) == ("running", 5, 0, 0, 0)
    told: list[Outcome] = []
    done = dlq.work(begun.id, told=told.append)
    assert counts(done) == ("done", 5, 2, 1, 2)
    assert [(outcome.letter_id, outcome.result) for outcome in told] == [
        (ids[0], "redriven"),
        (ids[1], "failed"),
        (ids[2], "not_redrivable"),
        (ids[3], "superseded"),
        (ids[4], "redriven"),
    ]
    assert results(dlq, done) == {
        "bulk_started": 1,
        "redriving": 3,
        "redriven": 2,
        "redrive_failed": 1,
        "refused": 2,
        "bulk_done": 1,
    }
    assert [state(dlq, letter_id).status for letter_id in ids[5:]] == ["dead", "parked"]
    assert counts(dlq.work(begun.id)) == counts(done)


def test_letters_that_die_again_are_not_chased(dlq: DeadLetterQueue) -> None:
    """A bulk redrive of jobs that all fail ends, each tried once; letters that arrive meanwhile wait (sidekiq#6481)."""
    ran: list[str] = []

    def handler(letter: Letter) -> None:
        ran.append(letter.id)
        add(dlq)
        fail(letter)

    dlq.register("mail", handler)
    ids = add_many(dlq, [{}] * 12)
    done = dlq.bulk("redrive", MAIL, actor="ann", options=BulkOptions(stop_share=1.0))
    assert counts(done) == ("done", 12, 0, 12, 0)
    assert ran == ids


@pytest.mark.parametrize("kind", ["redrive", "discard", "purge", "restore"])
def test_an_empty_filter_is_refused(dlq: DeadLetterQueue, kind: str) -> None:
    """A filter that means every letter is refused, with a status too, unless everything is said."""
    add_many(dlq, [{"status": "discarded", "seen_at": NOON}, {}, {"status": "parked"}])
    for asked in (Filter(), Filter(status="dead")):
        for act in (partial(dlq.start, actor="ann", reason="x"), dlq.preview):
            with pytest.raises(EmptyFilter, match="say that you mean all"):
                act(kind, asked)
    assert dlq.operations().operations == []
    assert dlq.start(kind, Filter(), everything=True, actor="ann", reason="x").total > 0


def test_a_preview_counts_and_changes_nothing(dlq: DeadLetterQueue) -> None:
    """A dry run counts what the act would take and surely refuse, and the act then takes just that."""
    dlq.register("mail", lambda _letter: None)
    add_many(dlq, [{}, {"redrivable": False}, {"status": "parked"}, {"queue": "bills"}])
    preview = dlq.preview("redrive", MAIL)
    assert (preview.total, preview.refused) == (2, 1)
    assert dlq.operations().operations == []
    assert dlq.audit().events == []
    assert counts(dlq.bulk("redrive", MAIL, actor="ann")) == ("done", 2, 1, 0, 1)


def test_letters_of_an_unfinished_act_are_left_to_it(dlq: DeadLetterQueue) -> None:
    """A second act takes only letters that no running, paused or stopped one holds; a cancelled one holds none."""
    dlq.register("mail", lambda _letter: None)
    add_many(dlq, [{}] * 3)
    first = dlq.start("redrive", MAIL, actor="ann")
    dlq.pause(first.id, actor="ann")
    extra = add(dlq)
    second = dlq.start("discard", MAIL, actor="bob", reason="old")
    assert (first.total, second.total) == (3, 1)
    assert counts(dlq.work(second.id)) == ("done", 1, 1, 0, 0)
    assert state(dlq, extra).status == "discarded"
    dlq.cancel(first.id, actor="ann")
    assert counts(dlq.work(first.id)) == ("cancelled", 3, 0, 0, 0)
    assert dlq.start("redrive", MAIL, actor="ann").total == 3


def test_what_others_do_to_its_letters_is_skipped(dlq: DeadLetterQueue) -> None:
    """A letter that a person discards while the act waits is not redriven by it, and counts as skipped."""
    dlq.register("mail", lambda _letter: None)
    ids = add_many(dlq, [{}] * 3)
    begun = dlq.start("redrive", MAIL, actor="ann")
    dlq.discard([ids[1]], actor="bob", reason="mine")
    assert counts(dlq.work(begun.id)) == ("done", 3, 2, 0, 1)
    assert state(dlq, ids[1]).status == "discarded"


def test_the_breaker_stops_when_too_many_fail_again(dlq: DeadLetterQueue) -> None:
    """Above the share the act stops and says why; resumed, it looks at new failures only; below the share it goes on."""
    broken = True

    def handler(letter: Letter) -> None:
        if broken and letter.payload % 5:
            fail(letter)

    dlq.register("mail", handler)
    add_many(dlq, [{"payload": number} for number in range(30)])
    options = BulkOptions(stop_share=0.5, window=10)
    begun = dlq.start("redrive", MAIL, actor="ann", options=options)
    stopped = dlq.work(begun.id)
    assert counts(stopped) == ("stopped", 30, 2, 8, 0)
    assert stopped.note == "8 of the last 10 redrives failed again, and more than 50% stops it"
    with pytest.raises(WrongState, match="resume it first"):
        dlq.work(begun.id)
    broken = False
    dlq.resume(begun.id, actor="ann", reason="mended")
    assert counts(dlq.work(begun.id)) == ("done", 30, 22, 8, 0)
    assert results(dlq, begun)["redrive_failed"] == 8


def test_the_breaker_sees_jobs_that_come_back_through_a_broker(dlq: DeadLetterQueue) -> None:
    """Jobs that were sent and failed later, elsewhere, count as renewed failures; ones that don't fail stop nothing."""
    sent: list[Letter] = []

    def send(letter: Letter) -> None:
        sent.append(letter)
        if len(sent) > 5 and sent[-6].payload == "bad":
            failed = sent[-6]
            headers = {"unhush-letter-id": failed.id, "unhush-redrive": str(failed.redrives)}
            # A worker elsewhere runs the job: not in this handler's context.
            put = partial(dlq.put, queue="mail", job_name="send", headers=headers, error=ValueError("again"))
            Context().run(put)

    dlq.register("mail", send)
    options = BulkOptions(stop_share=0.5, window=10)
    for payload, status in (("good", "done"), ("bad", "stopped")):
        add_many(dlq, [{"payload": payload}] * 20)
        sent.clear()
        done = dlq.bulk("redrive", MAIL, actor="ann", options=options)
        assert done.status == status
    assert 10 < len(sent) < 20
    assert results(dlq, done)["failed_again"] > 5
    dead = dlq.list(status="dead", limit=100).letters
    assert len(dead) == 20 - len(sent) + results(dlq, done)["failed_again"]


def test_the_rate_is_kept_with_jitter(dlq: DeadLetterQueue) -> None:
    """Letters are as far apart as rate and jitter say; without a rate nothing waits."""
    clock = Clock()
    started: list[float] = []
    dlq.register("mail", lambda _letter: started.append(clock()))
    add_many(dlq, [{}] * 5)
    chances = iter((0.0, 0.5, 1.0, 0.5, 0.5))
    begun = dlq.start("redrive", MAIL, actor="ann", options=BulkOptions(rate=0.5, jitter=0.25))
    assert work(dlq, begun, clock, chance=lambda: next(chances)).status == "done"
    assert [later - sooner for sooner, later in pairwise(started)] == [1.5, 2.0, 2.5, 2.0]
    quick = Clock()
    add_many(dlq, [{}] * 3)
    assert work(dlq, dlq.start("redrive", MAIL, actor="ann"), quick).succeeded == 3
    assert quick.waits == []


def test_a_pause_is_seen_while_waiting(dlq: DeadLetterQueue) -> None:
    """A slow act that is paused stops before its next letter, and goes on where it was when it is resumed."""
    clock = Clock()
    ran: list[str] = []
    dlq.register("mail", lambda letter: ran.append(letter.id))
    ids = add_many(dlq, [{}] * 3)
    begun = dlq.start("redrive", MAIL, actor="ann", options=BulkOptions(rate=0.001, jitter=0))
    clock.waiting = lambda: len(clock.waits) == 2 and dlq.pause(begun.id, actor="bob", reason="lunch")
    paused = work(dlq, begun, clock)
    assert (counts(paused), paused.note, ran) == (("paused", 3, 1, 0, 0), "lunch", ids[:1])
    assert max(clock.waits) <= dlq._core.lease / 3
    for verb in (dlq.pause, dlq.work):
        with pytest.raises(WrongState):
            verb(begun.id, **({"actor": "x"} if verb == dlq.pause else {}))
    dlq.resume(begun.id, actor="bob")
    assert counts(work(dlq, begun, clock)) == ("done", 3, 3, 0, 0)
    assert ran == ids


def test_another_process_goes_on_after_a_crash(dlq: DeadLetterQueue) -> None:
    """While one process works on an act no other may; when its lease is over another goes on, and the first one stops."""

    class Crash(BaseException):
        pass

    ran: list[str] = []

    def handler(letter: Letter) -> None:
        if len(ran) == 1:
            ran.append("crash")
            raise Crash
        ran.append(letter.id)
        if letter.payload == "slow":  # somebody else took over while this one ran
            with pytest.raises(WrongState, match="works on the bulk act"):
                dlq.work(begun.id)
            expire()
            dlq._write(lambda c: c.execute(update(operations).values(fence=operations.c.fence + 1)))

    def expire() -> None:
        moment = text("'2020-01-01 00:00:00.000000'")
        dlq._write(lambda c: c.execute(update(operations).values(lease_until=moment)))

    dlq.register("mail", handler)
    ids = add_many(dlq, [{}, {}, {"payload": "slow"}, {}])
    begun = dlq.start("redrive", MAIL, actor="ann")
    with pytest.raises(Crash):
        dlq.work(begun.id)
    with pytest.raises(WrongState, match="works on the bulk act"):
        dlq.work(begun.id)
    expire()
    with pytest.raises(DeadLetterError, match="took the bulk act"):
        dlq.work(begun.id)
    expire()
    assert counts(dlq.work(begun.id)) == ("done", 4, 3, 1, 0)
    assert ran == [ids[0], "crash", ids[2], ids[3]]
    assert [state(dlq, letter_id).status for letter_id in ids] == ["redriven", "in_doubt", "redriven", "redriven"]


def test_letters_that_others_lock_are_waited_for(dlq: DeadLetterQueue) -> None:
    """An act whose last letter is locked by another transaction waits for it, and is not done without it."""
    clock = Clock()
    ran: list[str] = []
    dlq.register("mail", lambda letter: ran.append(letter.id))
    letter_id = add(dlq)
    begun = dlq.start("redrive", MAIL, actor="ann")
    if dlq.engine.dialect.name == "sqlite":  # locks as a whole: nobody else is in the middle of something
        assert work(dlq, begun, clock).succeeded == 1
        return
    with dlq.engine.connect() as other:
        other.execute(select(letters.c.id).where(letters.c.id == letter_id).with_for_update())
        clock.waiting = lambda: len(clock.waits) == 3 and other.rollback()
        done = work(dlq, begun, clock)
    assert (counts(done), ran, len(clock.waits)) == (("done", 1, 1, 0, 0), [letter_id], 3)


def test_a_letter_lost_to_the_reaper_counts_once(dlq: DeadLetterQueue) -> None:
    """A letter whose lease ran out while its handler ran counts as failed, and not again when the handler returns."""
    told: list[Outcome] = []

    def handler(_letter: Letter) -> None:
        moment = text("'2020-01-01 00:00:00.000000'")
        dlq._write(lambda c: c.execute(update(letters).values(lease_until=moment)))
        assert [outcome.result for outcome in dlq.reap()] == ["in_doubt"]

    dlq.register("mail", handler)
    letter_id = add(dlq)
    done = dlq.work(dlq.start("redrive", MAIL, actor="ann").id, told=told.append)
    assert [outcome.result for outcome in told] == ["lease_lost"]
    assert counts(done) == ("done", 1, 0, 1, 0)
    assert state(dlq, letter_id).status == "in_doubt"


def test_an_interrupted_act_can_be_resumed_at_once(dlq: DeadLetterQueue) -> None:
    """Ctrl-C pauses a bulk act, its letter in doubt, and nobody waits for a lease to go on."""

    def handler(letter: Letter) -> None:
        if letter.payload == "stop":
            raise KeyboardInterrupt

    dlq.register("mail", handler)
    ids = add_many(dlq, [{}, {"payload": "stop"}, {}])
    begun = dlq.start("redrive", MAIL, actor="ann")
    with pytest.raises(KeyboardInterrupt):
        dlq.work(begun.id)
    assert counts(dlq.operation(begun.id)) == ("paused", 3, 1, 1, 0)
    dlq.resume(begun.id, actor="ann")
    assert counts(dlq.work(begun.id)) == ("done", 3, 2, 1, 0)
    assert [state(dlq, letter_id).status for letter_id in ids] == ["redriven", "in_doubt", "redriven"]


def test_a_purge_spares_what_nobody_saw(dlq: DeadLetterQueue) -> None:
    """Redriven and discarded letters that were seen go, with their history kept; unseen ones only when it is said."""
    rows = [
        {"status": status, "seen_at": seen} for status in ("redriven", "discarded", "dead") for seen in (NOON, None)
    ]
    ids = add_many(dlq, rows)
    preview = dlq.preview("purge", MAIL)
    assert (preview.total, preview.refused) == (4, 2)
    done = dlq.purge(MAIL, actor="ann", reason="old")
    assert counts(done) == ("done", 4, 2, 0, 2)
    assert {letter.id for letter in dlq.list().letters} == set(ids) - {ids[0], ids[2]}
    (gone,) = [event for event in dlq.history(ids[0]) if event.kind == "purged"]
    assert (gone.detail["queue"], gone.actor, gone.reason) == ("mail", "ann", "old")
    with pytest.raises(NoSuchLetter):
        dlq.get(ids[0])
    assert counts(dlq.purge(MAIL, actor="ann", unseen=True)) == ("done", 2, 2, 0, 0)
    assert {letter.id for letter in dlq.list().letters} == set(ids[4:])
    dead = Filter(queue="mail", status="dead", failed_before=NOON)
    assert dlq.purge(dead, actor="ann", unseen=True).total == 0
    assert dlq.purge(Filter(queue="mail", status="dead"), actor="ann", unseen=True).succeeded == 2
    with pytest.raises(WrongState, match="not redriving ones"):
        dlq.purge(Filter(queue="mail", status="redriving"), actor="ann")


def test_many_letters_are_discarded_and_restored_in_batches(
    dlq: DeadLetterQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Letters of several batches are all moved, each with its event and a higher fence."""
    monkeypatch.setattr(working, "BATCH", 7)
    ids = add_many(dlq, [{}] * 20)
    assert counts(dlq.bulk("discard", MAIL, actor="ann", reason="old")) == ("done", 20, 20, 0, 0)
    assert counts(dlq.bulk("restore", MAIL, actor="ann")) == ("done", 20, 20, 0, 0)
    for letter_id in ids[::7]:
        assert (kinds(dlq, letter_id), state(dlq, letter_id).fence) == (["discarded", "restored"], 2)
    fences = [event.fence for event in dlq.history(ids[0])]
    assert fences == [1, 2]
    held = dlq._read(lambda c: c.scalar(select(func.count()).where(letters.c.operation_id.is_not(None))))
    assert held == 0


def test_the_same_key_is_the_same_act(dlq: DeadLetterQueue) -> None:
    """An idempotency key begins one act, whenever it comes again; with another request it is refused."""
    add_many(dlq, [{}] * 2)
    start = partial(dlq.start, "redrive", actor="ann", idempotency_key="k1")
    first = start(MAIL)
    add(dlq)
    assert start(MAIL).id == first.id
    assert dlq._read(lambda c: c.scalar(select(func.count()).where(events.c.kind == "bulk_started"))) == 1
    with pytest.raises(KeyReused, match="take a new key"):
        start(Filter(queue="bills"))
    assert dlq.start("redrive", MAIL, actor="ann", idempotency_key="k2").id != first.id


def test_bad_requests_are_one_line(dlq: DeadLetterQueue) -> None:
    """Unknown acts and ids, wrong statuses and options, and a discard without a reason are refused in one line."""
    unknown = "01890000-0000-7000-8000-000000000000"
    bad: list[Callable[[], object]] = [
        lambda: dlq.start("eat", MAIL, actor="ann"),
        lambda: dlq.start("discard", MAIL, actor="ann"),
        lambda: dlq.start("discard", MAIL, actor="ann", reason="  "),
        lambda: dlq.start("redrive", Filter(queue="mail", status="parked"), actor="ann"),
        lambda: dlq.operation("x"),
        lambda: dlq.work(unknown),
        lambda: dlq.pause(unknown, actor="ann"),
        lambda: dlq.list(Filter(operation_id="x")),
        lambda: BulkOptions(rate=0),
        lambda: BulkOptions(jitter=2),
        lambda: BulkOptions(stop_share=-1),
        lambda: BulkOptions(window=0),
    ]
    for ask in bad:
        with pytest.raises(DeadLetterError) as caught:
            ask()
        assert "\n" not in str(caught.value)
    assert dlq.operations().operations == []


def test_operations_are_listed_in_pages(dlq: DeadLetterQueue) -> None:
    """Bulk acts are found newest first, by status and in pages."""
    ids = [dlq.start("redrive", MAIL, actor="ann").id for _ in range(3)]
    dlq.cancel(ids[0], actor="ann")
    page = dlq.operations(limit=2)
    assert [operation.id for operation in page.operations] == ids[:0:-1]
    assert [operation.id for operation in dlq.operations(limit=2, cursor=page.cursor).operations] == ids[:1]
    assert [operation.id for operation in dlq.operations(status="cancelled").operations] == ids[:1]

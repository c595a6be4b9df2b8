"""Tests for putting letters back to work, one by one."""

from __future__ import annotations

import asyncio
import io
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from deadletters import add, add_many, kinds, state
from services import fresh_database
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, text, update

from unhush.runtime import claims, redrive
from unhush.runtime.async_dlq import AsyncDeadLetterQueue
from unhush.runtime.claims import Claim
from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.engine import make_engine
from unhush.runtime.letters import Act, DeadLetterError, Filter, Given, InDoubt, Letter
from unhush.runtime.tables import letters
from unhush.sql.runner import upgrade

ANN = Act(actor="ann", reason="fixed in 1.2")
paid = Table("paid", MetaData(), Column("number", Integer, primary_key=True), Column("who", String(50)))


@pytest.fixture
def paid_table(dlq: DeadLetterQueue) -> Iterator[None]:
    """A table of the user's, beside the queue's."""
    paid.drop(dlq.engine, checkfirst=True)
    paid.create(dlq.engine)
    yield
    paid.drop(dlq.engine)


def payments(dlq: DeadLetterQueue) -> list[str]:
    return dlq._read(lambda connection: list(connection.scalars(select(paid.c.who).order_by(paid.c.number))))


def fail(_letter: Letter) -> None:
    raise ValueError("no such customer")


def test_a_letter_is_put_back_to_work(dlq: DeadLetterQueue) -> None:
    """The handler gets the letter as claimed, with payload and key; then the letter is redriven, and the history says so."""
    ran: list[Letter] = []
    dlq.register("mail", ran.append)
    letter_id = add(dlq, payload={"to": "ann"})
    (outcome,) = dlq.redrive([letter_id], actor="ann", reason="fixed in 1.2")
    assert (outcome.letter_id, outcome.result) == (letter_id, "redriven")
    (letter,) = ran
    assert (letter.payload, letter.status, letter.redrives) == ({"to": "ann"}, "redriving", 1)
    assert letter.idempotency_key == f"{letter_id}:1"
    after = state(dlq, letter_id)
    assert (after.status, after.redrives, after.fence, after.lease_until, after.claimed_by) == (
        "redriven",
        1,
        2,
        None,
        None,
    )
    assert [(e.kind, e.actor, e.reason, e.fence) for e in dlq.history(letter_id)] == [
        ("redriving", "ann", "fixed in 1.2", 1),
        ("redriven", "ann", "fixed in 1.2", 2),
    ]


def test_a_failure_is_an_outcome_with_its_redacted_error(dlq: DeadLetterQueue) -> None:
    """A handler's error makes the letter dead again, is described in its history with secrets masked, and is not raised."""

    def handler(_letter: Letter) -> None:
        secret = "hunter" + "2"
        raise ValueError(f"refused: password={secret}")

    dlq.register("mail", handler)
    letter_id = add(dlq)
    (outcome,) = dlq.redrive([letter_id], actor="ann")
    assert outcome.result == "failed"
    after = state(dlq, letter_id)
    assert (after.status, after.redrives, after.error_message) == ("dead", 1, "no such customer")
    (event,) = [event for event in dlq.history(letter_id) if event.kind == "redrive_failed"]
    assert event.detail["error_type"] == "ValueError"
    assert event.detail["error_message"].startswith("refused: ")
    assert "in handler" in event.detail["traceback"]
    assert "hunter2" not in f"{event.detail}{outcome.detail}"


def test_a_poison_job_is_parked(dlq: DeadLetterQueue) -> None:
    """A letter that fails max_redrives times is parked and runs no more; restored, it runs once more (good_job#821)."""
    ran: list[Letter] = []

    def handler(letter: Letter) -> None:
        ran.append(letter)
        fail(letter)

    dlq.register("mail", handler)
    letter_id = add(dlq)
    results = [dlq.redrive([letter_id], actor="ann")[0].result for _ in range(4)]
    assert results == ["failed", "failed", "parked", "wrong_state"]
    assert (len(ran), state(dlq, letter_id).status) == (3, "parked")
    assert dlq.restore([letter_id], actor="ann")[0].result == "restored"
    assert dlq.redrive([letter_id], actor="ann")[0].result == "parked"
    assert len({letter.idempotency_key for letter in ran}) == len(ran) == 4


def test_a_handler_in_doubt_leaves_the_letter_to_a_person(dlq: DeadLetterQueue) -> None:
    """InDoubt makes the letter in_doubt, which no redrive touches; a person restores or discards it."""

    def handler(_letter: Letter) -> None:
        raise InDoubt("the broker did not answer")

    dlq.register("mail", handler)
    letter_id = add(dlq)
    assert dlq.redrive([letter_id], actor="ann")[0].result == "in_doubt"
    (refused,) = dlq.redrive([letter_id], actor="ann")
    assert (refused.result, "find out" in refused.detail) == ("wrong_state", True)
    assert dlq.restore([letter_id], actor="ann")[0].result == "restored"
    assert dlq.redrive([letter_id], actor="ann")[0].result == "in_doubt"
    assert dlq.discard([letter_id], actor="ann", reason="it was sent")[0].result == "discarded"


@pytest.mark.parametrize(("transactional", "status"), [(False, "in_doubt"), (True, "dead")])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_handler_leaves_an_honest_state(
    dlq: DeadLetterQueue, kind: type[BaseException], transactional: bool, status: str
) -> None:
    """What would end the process is raised again; the letter is in doubt, or dead where nothing can have happened."""

    def handler(*_: Any) -> None:
        raise kind

    dlq.register("mail", handler, transactional=transactional)
    first, second = add_many(dlq, [{}, {}])
    with pytest.raises(kind):
        dlq.redrive([first, second], actor="ann")
    assert state(dlq, first).status == status
    assert (state(dlq, second).status, state(dlq, second).redrives) == ("dead", 0)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"queue": "bills"}, "no_handler", "register('bills', handler)"),
    ({"status": "redriven"}, "wrong_state", "it is redriven"),
    ({"status": "parked", "redrives": 3}, "wrong_state", "restore it"),
    ({"status": "redriving", "claimed_by": "w1"}, "wrong_state", "w1 redrives it"),
    ({"redrivable": False, "changed_paths": ["$.token"]}, "not_redrivable", "$.token"),
]


@pytest.mark.parametrize(("fields", "result", "detail"), REFUSED)
def test_what_must_not_run_is_refused(dlq: DeadLetterQueue, fields: dict[str, Any], result: str, detail: str) -> None:
    """Each refusal says in one line what to do and changes nothing; a dry run says the same; the letter beside it runs."""
    ran: list[str] = []
    dlq.register("mail", lambda letter: ran.append(letter.id))
    refused, fine = add_many(dlq, [fields, {}])
    before = state(dlq, refused)
    preview = dlq.redrive([refused, fine], actor="ann", dry_run=True)
    assert [outcome.result for outcome in preview] == [result, "would_redrive"]
    outcomes = dlq.redrive([refused, fine, fine], actor="ann")
    assert [outcome.result for outcome in outcomes] == [result, "redriven"]
    assert detail in outcomes[0].detail
    assert "\n" not in outcomes[0].detail
    assert state(dlq, refused) == before
    assert (ran, kinds(dlq, refused)) == ([fine], [])


def test_an_unknown_id_is_an_outcome(dlq: DeadLetterQueue) -> None:
    """Ids that no letter has are told one by one; the others run."""
    dlq.register("mail", lambda _letter: None)
    letter_id = add(dlq)
    gone = "01890000-0000-7000-8000-000000000000"
    found = dlq.redrive(["x", gone, letter_id], actor="ann")
    assert [(outcome.letter_id, outcome.result) for outcome in found] == [
        ("x", "unknown"),
        (gone, "unknown"),
        (letter_id, "redriven"),
    ]


@pytest.mark.parametrize("status", ["dead", "redriving", "in_doubt", "redriven", "parked"])
def test_a_newer_letter_of_the_same_job_is_reported(dlq: DeadLetterQueue, status: str) -> None:
    """A job that has a newer letter, live or redriven, is not run from the older one; a discarded one is no obstacle."""
    ran: list[str] = []
    dlq.register("mail", lambda letter: ran.append(letter.id))
    older, newer = add_many(dlq, [{"job_id": "7"}, {"job_id": "7", "status": status}])
    (outcome,) = dlq.redrive([older], actor="ann")
    assert (outcome.result, newer in outcome.detail, ran) == ("superseded", True, [])
    dlq._write(lambda c: c.execute(update(letters).where(letters.c.id == newer).values(status="discarded")))
    assert dlq.redrive([older], actor="ann")[0].result == "redriven"
    assert ran == [older]


def test_a_caller_with_an_old_version_is_refused(dlq: DeadLetterQueue) -> None:
    """if_match refuses a letter that changed since it was seen, and takes the right version."""
    dlq.register("mail", lambda _letter: None)
    letter_id = add(dlq, fence=4)
    for act in (
        partial(dlq.redrive, [letter_id], actor="ann", if_match=3),
        partial(dlq.discard, [letter_id], actor="ann", reason="old", if_match=3),
    ):
        assert act()[0].result == "changed"
    assert (state(dlq, letter_id).fence, state(dlq, letter_id).status) == (4, "dead")
    assert dlq.redrive([letter_id], actor="ann", if_match=4)[0].result == "redriven"
    with pytest.raises(DeadLetterError, match="give one id"):
        dlq.redrive([letter_id, add(dlq)], actor="ann", if_match=4)


def test_the_more_specific_handler_is_taken(dlq: DeadLetterQueue) -> None:
    """A handler for a queue's job goes before the one for the queue."""
    ran: list[tuple[str, str]] = []
    dlq.register("mail", lambda letter: ran.append(("any", letter.job_name)))
    dlq.register("mail", lambda letter: ran.append(("pay", letter.job_name)), job_name="pay")
    dlq.redrive(add_many(dlq, [{"job_name": "pay"}, {"job_name": "send"}]), actor="ann")
    assert ran == [("pay", "pay"), ("any", "send")]


def test_a_payload_given_to_one_run_is_never_stored(dlq: DeadLetterQueue) -> None:
    """A letter whose secrets are masked runs with the payload that the redrive is given, and keeps the masked one."""
    ran: list[Any] = []
    dlq.register("mail", lambda letter: ran.append(letter.payload))
    fields = {"payload": {"password": "[redacted]"}, "redrivable": False, "changed_paths": ["$.password"]}
    letter_id = add(dlq, **fields)
    assert dlq.redrive([letter_id], actor="ann")[0].result == "not_redrivable"
    given = Given({"password": "hunter2"})
    assert dlq.redrive([letter_id], actor="ann", given=given)[0].result == "redriven"
    assert ran == [{"password": "hunter2"}]
    assert "hunter2" not in f"{state(dlq, letter_id)}{dlq.history(letter_id)}"
    assert dlq.history(letter_id)[0].detail["payload"] == "given"


def claim(dlq: DeadLetterQueue, letter_id: str, lease: float = 300.0) -> Claim:
    """What a worker holds that was cut off, or is slow."""
    terms = claims.Terms(owner="slow", lease=lease, max_redrives=3, handler=dlq._core.handler)
    taken = dlq._write(claims.claim, letter_id, ANN, terms)
    assert isinstance(taken, Claim)
    return taken


def expire(dlq: DeadLetterQueue) -> None:
    """Lets all leases run out."""
    moment = text("'2020-01-01 00:00:00.000000'")
    dlq._write(lambda c: c.execute(update(letters).where(letters.c.status == "redriving").values(lease_until=moment)))


@pytest.mark.parametrize("late", ["finish", "fail", "doubt"])
def test_a_zombie_changes_nothing(dlq: DeadLetterQueue, late: str) -> None:
    """A worker that comes back after its lease ran out changes no letter; one in time does."""
    dlq.register("mail", lambda _letter: None)
    for reaped, status in ((False, None), (True, "in_doubt")):
        letter_id = add(dlq)
        held = claim(dlq, letter_id)
        if reaped:
            expire(dlq)
            assert [outcome.result for outcome in dlq.reap()] == ["in_doubt"]
        before = state(dlq, letter_id)
        terms = redrive.terms_of(dlq._core)
        rest: dict[str, tuple[Any, ...]] = {"finish": (), "fail": (terms, {}), "doubt": ({},)}
        outcome = dlq._write(getattr(claims, late), held.letter, ANN, *rest[late])
        if status is None:
            assert state(dlq, letter_id).fence == before.fence + 1
            assert outcome.result != "lease_lost"
        else:
            assert (outcome.result, state(dlq, letter_id)) == ("lease_lost", before)
            assert kinds(dlq, letter_id)[-1] == "late_result"
            assert dlq._write(claims.renew, held.letter, 60.0) is False


@pytest.mark.parametrize(
    ("transactional", "redrives", "status"), [(False, 0, "in_doubt"), (True, 0, "dead"), (True, 2, "parked")]
)
def test_leases_that_run_out_are_reaped(dlq: DeadLetterQueue, transactional: bool, redrives: int, status: str) -> None:
    """Only a lease that ran out is reaped: a transactional redrive did not happen, any other is in doubt."""
    dlq.register("mail", lambda *_: None, transactional=transactional)
    letter_id = add(dlq, redrives=redrives)
    claim(dlq, letter_id)
    assert dlq.reap() == []
    assert state(dlq, letter_id).status == "redriving"
    expire(dlq)
    dlq.reap()
    assert state(dlq, letter_id).status == status
    assert kinds(dlq, letter_id) == ["redriving", "reaped"]


def test_a_long_handler_keeps_its_lease(dlq: DeadLetterQueue) -> None:
    """While a handler runs its lease is renewed: a reaper that comes meanwhile leaves the letter alone."""
    dlq._core.lease = 1.0
    renewed = threading.Event()
    first: list[Any] = []

    def handler(letter: Letter) -> None:
        first.append(letter.lease_until)
        while state(dlq, letter.id).lease_until == letter.lease_until:
            renewed.wait(0.05)
        assert dlq.reap() == []

    dlq.register("mail", handler)
    letter_id = add(dlq)
    assert dlq.redrive([letter_id], actor="ann")[0].result == "redriven"
    assert first


@pytest.mark.usefixtures("paid_table")
def test_a_transactional_redrive_is_one_transaction(dlq: DeadLetterQueue) -> None:
    """What a transactional handler writes is there exactly when the letter is redriven; its failure leaves nothing."""

    def handler(letter: Letter, session: Any) -> None:
        session.execute(insert(paid).values(who=letter.payload))
        session.commit()
        if letter.payload == "bob":
            fail(letter)

    dlq.register("mail", handler, transactional=True)
    outcomes = dlq.redrive(add_many(dlq, [{"payload": "ann"}, {"payload": "bob"}]), actor="ann")
    assert [outcome.result for outcome in outcomes] == ["redriven", "failed"]
    assert payments(dlq) == ["ann"]
    assert [state(dlq, outcome.letter_id).status for outcome in outcomes] == ["redriven", "dead"]


@pytest.mark.usefixtures("paid_table")
def test_a_transactional_zombie_leaves_nothing(dlq: DeadLetterQueue) -> None:
    """A transactional redrive whose letter was reaped meanwhile does not even begin its handler."""
    dlq.register("mail", lambda letter, session: session.execute(insert(paid).values(who="zombie")), transactional=True)
    letter_id = add(dlq)
    held = claim(dlq, letter_id)
    expire(dlq)
    dlq.reap()
    from unhush.runtime import steps

    outcome = steps.drive(redrive.run(held, ANN, redrive.terms_of(dlq._core)), dlq)
    assert (outcome.result, payments(dlq)) == ("lease_lost", [])
    assert dlq.redrive([letter_id], actor="ann")[0].result == "redriven"
    assert payments(dlq) == ["zombie"]


def test_a_job_that_fails_again_comes_back_to_its_letter(dlq: DeadLetterQueue) -> None:
    """A redriven job whose decorator captures its new failure keeps letter, routing and history (pg-boss PR#874)."""
    letter_id = add(dlq, job_name="send", job_id="42", payload={"args": [], "kwargs": {}})

    def handler(letter: Letter) -> None:
        with pytest.raises(KeyError):
            raise KeyError("gone")
        dlq.put(queue="mail", job_name="send", job_id="42", payload=letter.payload, error=KeyError("gone"))

    dlq.register("mail", handler)
    assert dlq.redrive([letter_id], actor="ann")[0].result == "failed"
    after = state(dlq, letter_id)
    assert (after.status, after.error_type, after.queue, after.job_id) == ("dead", "KeyError", "mail", "42")
    assert kinds(dlq, letter_id) == ["redriving", "failed_again"]
    assert len(dlq.list().letters) == 1
    dlq.register("mail", lambda _letter: None)
    assert dlq.redrive([letter_id], actor="ann")[0].result == "redriven"


def test_a_coroutine_in_the_blocking_queue_is_a_clear_error(dlq: DeadLetterQueue) -> None:
    """An async handler is refused where it is registered, and one that hides is told in the outcome."""

    async def handler(_letter: Letter) -> None:
        await asyncio.sleep(0)

    with pytest.raises(TypeError, match="AsyncDeadLetterQueue"):
        dlq.register("mail", handler)
    dlq.register("mail", lambda letter: handler(letter))  # noqa: PLW0108 - hides that it is asynchronous
    (outcome,) = dlq.redrive([add(dlq)], actor="ann")
    assert outcome.result == "failed"
    assert "AsyncDeadLetterQueue" in outcome.detail


@pytest.mark.usefixtures("paid_table")
def test_asyncio_does_the_same(dlq: DeadLetterQueue, database: str, tmp_path: Path) -> None:
    """The asyncio queue redrives by async handlers, transactional ones too, and leaves a cancelled one in doubt."""
    ids = add_many(dlq, [{"payload": "ann"}, {"payload": "bob"}, {"queue": "slow"}, {"queue": "bad"}])

    async def pay(letter: Letter, session: Any) -> None:
        await session.execute(insert(paid).values(who=letter.payload))
        if letter.payload == "bob":
            fail(letter)

    async def bad(letter: Letter) -> None:
        await asyncio.sleep(0)
        fail(letter)

    async def main() -> tuple[list[str], list[str]]:
        started = asyncio.Event()

        async def slow(_letter: Letter) -> None:
            started.set()
            await asyncio.sleep(60)

        async with AsyncDeadLetterQueue(database, spool=tmp_path / "spool", deadline=20) as queue:
            queue.register("mail", pay, transactional=True)
            queue.register("slow", slow)
            queue.register("bad", bad)
            done = await queue.redrive([*ids[:2], ids[3]], actor="ann")
            task = asyncio.create_task(queue.redrive([ids[2]], actor="ann"))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            page = await queue.list(limit=2)
            letter = await queue.get(ids[0])
            assert (letter.payload, len(page.letters)) == ("ann", 2)
            return [outcome.result for outcome in done], [letter.id for letter in page.letters]

    results, newest = asyncio.run(main())
    assert results == ["redriven", "failed", "failed"]
    assert newest == [ids[3], ids[2]]
    assert payments(dlq) == ["ann"]
    assert [state(dlq, letter_id).status for letter_id in ids] == ["redriven", "dead", "in_doubt", "dead"]


def test_asyncio_has_all_the_acts(dlq: DeadLetterQueue, database: str, tmp_path: Path) -> None:
    """Each act of the blocking queue is there with asyncio, and does the same to the same letters."""
    ids = add_many(dlq, [{}, {}, {"queue": "bills"}, {"queue": "bills"}])
    names = {name for name in vars(DeadLetterQueue) if not name.startswith("_")}
    assert names - set(vars(AsyncDeadLetterQueue)) <= {"start_drainer", "export_gauges"}

    async def main() -> None:
        async with AsyncDeadLetterQueue(database, spool=tmp_path / "spool", deadline=20) as queue:
            assert (await queue.preview("discard", Filter(queue="bills"))).total == 2
            done = await queue.bulk("discard", Filter(queue="bills"), actor="ann", reason="old")
            assert (done.status, done.succeeded) == ("done", 2)
            assert (await queue.operation(done.id)) == (await queue.operations()).operations[0]
            assert [o.result for o in await queue.restore(ids[2:3], actor="ann")] == ["restored"]
            assert [o.result for o in await queue.discard(ids[2:3], actor="ann", reason="no")] == ["discarded"]
            assert (await queue.edit(ids[0], 5, actor="ann")).payload == 5
            begun = await queue.start("redrive", Filter(queue="mail"), actor="ann")
            await queue.pause(begun.id, actor="ann")
            await queue.resume(begun.id, actor="ann")
            queue.register("mail", lambda _letter: asyncio.sleep(0))
            assert (await queue.work(begun.id)).succeeded == 2
            await queue.cancel((await queue.start("redrive", Filter(queue="mail"), actor="ann")).id, actor="ann")
            file = io.StringIO()
            assert await queue.export(file, Filter(queue="bills")) == 2
            assert (await queue.purge(Filter(queue="bills"), actor="ann", unseen=True)).succeeded == 2
            assert (await queue.import_(file.getvalue().splitlines(), actor="ann")).stored == 2
            assert sum(depth.count for depth in (await queue.stats()).depths) == 4
            assert await queue.groups() == await queue.reap() == []
            assert [e.kind for e in await queue.history(ids[0])] == ["edited", "redriving", "redriven"]
            assert len((await queue.audit(limit=3)).events) == 3

    asyncio.run(main())


def test_the_examples_in_the_docs_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's first and its bulk example do what they say, on a new SQLite database."""
    with fresh_database("sqlite", str(tmp_path)) as url:
        upgrade(make_engine(url))
        text = (root / "docs" / "redrive.md").read_text()
        first, _, bulk = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        monkeypatch.setenv("UNHUSH_SPOOL", str(tmp_path / "spool"))
        exec(compile((first + bulk).replace("sqlite:///jobs.db", url), "redrive.md", "exec"), {})
    printed = capsys.readouterr().out
    assert re.search(r"^redriven $", printed, re.MULTILINE)
    assert re.search(r"^done 0 0 0 of 0$", printed, re.MULTILINE)


def test_a_deadlock_is_tried_again(dlq: DeadLetterQueue) -> None:
    """Two transactions that lock each other's letters both get through, since the one that loses is tried again."""
    ids = add_many(dlq, [{}, {}])
    meet = threading.Barrier(2, timeout=10)
    tries: list[str] = []

    def lock(first: str, second: str) -> Callable[[Any], None]:
        waiting = [meet]

        def act(connection: Any) -> None:
            tries.append(first)
            for letter_id in (first, second):
                connection.execute(update(letters).where(letters.c.id == letter_id).values(fence=letters.c.fence + 1))
                while waiting and dlq.engine.dialect.name != "sqlite":
                    waiting.pop().wait()

        return act

    threads = [threading.Thread(target=dlq._write, args=(lock(*pair),)) for pair in (ids, ids[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [state(dlq, letter_id).fence for letter_id in ids] == [2, 2]
    assert len(tries) == (2 if dlq.engine.dialect.name == "sqlite" else 3)

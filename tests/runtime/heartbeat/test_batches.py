"""Laws of jobs that begin and end together, on each of the three databases."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event, select
from sqlalchemy.exc import DataError, OperationalError, StatementError
from uuid_utils import uuid7

from unhush.runtime import DeadLetterQueue, Heartbeats
from unhush.runtime.beat import Beat
from unhush.runtime.beat_batches import in_parts
from unhush.runtime.beat_claims import claim_all, claim_new
from unhush.runtime.beat_ends import end_all
from unhush.runtime.beat_errors import AlreadyEnded, AlreadyRunning
from unhush.runtime.beat_tables import job_letters, jobs
from unhush.runtime.beats import Claim, Process, Terms, beat_process

MANY = 40
ODD = [
    "",
    " a",
    "a ",
    "A",
    "a",
    "ä",
    "\U0001f600",
    "'",
    '"',
    "\\",
    "\\u0041",
    "%s",
    "%(wanted)s",
    ":wanted",
    "{}",
    "\t\n",
]


def process() -> Process:
    return Process(id=str(uuid7()), name=None, host="h", pid=7, every=15)


def wanted(*job_ids: object, kind: str, **promised: Any) -> list[Terms]:
    return [Terms(kind=kind, job_id=str(job_id), **promised) for job_id in job_ids]


def rows(engine: Engine, kind: str) -> dict[str, Any]:
    with engine.connect() as connection:
        return {row.job_id: row for row in connection.execute(select(jobs).where(jobs.c.kind == kind))}


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """The statements that are executed within the block."""
    seen: list[str] = []

    def keep(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement.strip())

    event.listen(engine, "before_cursor_execute", keep)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", keep)


def test_many_begin_and_end_in_a_few_statements(engine: Engine) -> None:
    """New jobs, jobs that ran before, and ends take as many statements for forty as for one; each gets its own fence."""
    runner = process()
    counts = []
    for number, ids in (("one", range(1)), ("forty", range(MANY))):
        kind = f"few-{number}"
        with statements(engine) as seen, engine.begin() as connection:
            first = claim_all(connection, wanted(*ids, kind=kind, deadline=60), runner)
            ends = end_all(connection, [(claim, "finished") for claim in first.values()])
            again = claim_all(connection, wanted(*ids, kind=kind, deadline=60), runner)
        assert ends == (set(first.values()), set())
        assert {claim.fence for claim in first.values()} == {1}
        assert [claim.fence for claim in again.values()] == [2] * len(ids)
        assert {claim.id for claim in first.values()} == {claim.id for claim in again.values()}
        counts.append([statement.split()[0] for statement in seen])
    assert counts[0] == counts[1]


def test_one_statement_each_on_postgresql(database: str, engine: Engine, dialect: str) -> None:
    """A new job's beginning is one statement on PostgreSQL, and its end one; elsewhere there are some more."""
    with Heartbeats(engine, every=600) as heartbeats:
        with heartbeats.job("warm", kind="count"):
            pass
        with statements(engine) as seen, heartbeats.job("new", kind="count"):
            pass
    begun = [statement for statement in seen if not statement.startswith("BEGIN")]
    assert len(begun) == {"postgresql": 2}.get(dialect, 4), begun


def test_each_is_refused_for_itself(engine: Engine) -> None:
    """Among many, what lives is refused, what has ended too where it was to run once, and all others begin."""
    runner, other = process(), process()
    kind = "mixed"
    with engine.begin() as connection:
        beat_process(connection, other)
        lives = claim_all(connection, wanted("lives", kind=kind), other)
        done = claim_all(connection, wanted("done", "twice", kind=kind), other)
        end_all(connection, [(claim, "finished") for claim in done.values()])
    once = wanted("done", kind=kind, ended=("finished",))
    asked = [*wanted("new", "lives", "twice", "also new", kind=kind), *once]
    with engine.begin() as connection:
        found = {job_id: outcome for (_, job_id), outcome in claim_all(connection, asked, runner).items()}
    assert sorted(found) == ["also new", "done", "lives", "new", "twice"]
    assert isinstance(found["lives"], AlreadyRunning)
    assert "runs in process 7 on 'h'" in str(found["lives"])
    assert isinstance(found["done"], AlreadyEnded)
    assert [found[name].fence for name in ("new", "also new", "twice")] == [1, 1, 2]
    after = rows(engine, kind)
    assert {name: after[name].process_id == runner.id for name in after} == {
        "new": True,
        "also new": True,
        "twice": True,
        "lives": False,
        "done": False,
    }
    assert after["lives"].fence == lives[kind, "lives"].fence


def test_each_promise_is_kept_by_its_own_row(engine: Engine) -> None:
    """Deadline, stall and variant of each job stand in its row, of new ones and of ones that ran before, to the ms."""
    runner = process()
    for turn, factor in enumerate((1, 3)):
        asked = [
            Terms(kind="promises", job_id=str(n), deadline=d and d * factor, stalled_after=s, variant=v)
            for n, (d, s, v) in enumerate(((None, None, None), (0.25, 7.5, "a"), (3e9, None, "b"), (1e-3, 1e-5, None)))
        ]
        with engine.begin() as connection:
            begun = claim_all(connection, asked, runner)
            end_all(connection, [(claim, "failed") for claim in begun.values()])
        after = rows(engine, "promises")
        for terms in asked:
            row = after[terms.job_id]
            assert (row.fence, row.status, row.stalled_after, row.variant) == (
                turn + 1,
                "failed",
                terms.stalled_after,
                terms.variant,
            )
            left = row.deadline_at and (row.deadline_at - row.started_at).total_seconds()
            assert left == (terms.deadline and pytest.approx(terms.deadline, abs=0.002))


def test_odd_ids(engine: Engine) -> None:
    """Ids with quotes, emoji, colons, backslashes and spaces begin, are found again and end as what they are."""
    runner = process()
    kinds = [*ODD, "odd"]
    # MariaDB takes two texts for one that differ in spaces at their end.
    asked = [
        Terms(kind="odd" + kind, job_id=job_id) for kind in kinds for job_id in ODD if kind != "a " and job_id != "a "
    ]
    with engine.begin() as connection:
        begun = claim_all(connection, asked, runner)
        refused = claim_all(connection, asked, runner, set(begun.values()))
        assert len(end_all(connection, [(claim, "finished") for claim in begun.values()]).written) == len(asked)
        again = claim_all(connection, asked, runner)
    assert {claim.fence for claim in begun.values()} == {1}
    assert all(isinstance(outcome, AlreadyRunning) for outcome in refused.values())
    assert {claim.fence for claim in again.values()} == {2}
    with engine.connect() as connection:
        found = {(row.kind, row.job_id) for row in connection.execute(select(jobs).where(jobs.c.kind.like("odd%")))}
    assert found == {terms.job for terms in asked}


def test_ids_that_one_row_stands_for(engine: Engine, dialect: str) -> None:
    """Ids that differ in spaces at their end are two jobs; on MariaDB, which takes them for one, only one of them begins."""
    for fence in (1, 2):
        begun: dict[str, Claim] = {}
        with Heartbeats(engine, every=600, patience=60) as heartbeats:
            batch = beats_of("spaces", "b", "b ")
            settled_together(heartbeats, batch)
            begun |= {beat.job_id: beat.claim for beat in batch if beat.claim}
            assert [beat.lost for beat in batch].count(True) == (1 if dialect == "mariadb" else 0)
            for beat in batch:
                beat.end(None)
                beat.wait_for_end(20)
        assert {claim.fence for claim in begun.values()} == {fence}
        assert len(begun) == (1 if dialect == "mariadb" else 2)


def test_two_runs_of_one_job_end_together(engine: Engine) -> None:
    """An old run's end is told that it is late, and the new one's is written, whichever comes first, and whatever they say."""
    first, second = process(), process()
    for late, status in ((0, "failed"), (1, "finished"), (0, "finished"), (1, "failed")):
        (terms,) = wanted(f"{late}{status}", kind="late")
        with engine.begin() as connection:
            old = claim_all(connection, [terms], first)[terms.job]
            connection.execute(jobs.update().where(jobs.c.id == old.id).values(status="given_away", fence=2))
            new = claim_all(connection, [terms], second)[terms.job]
            assert new.fence == 3
            ends = [(new, "finished"), (old, status)]
            found = end_all(connection, ends[::-1] if late else ends)
        assert (found.written, found.lost) == ({new}, {old})
        assert rows(engine, "late")[terms.job_id].status == "finished"


def test_ends_of_rows_that_are_gone_or_ended(engine: Engine) -> None:
    """An end whose row was deleted, or says so already, counts as written; that of one that lives is written beside it."""
    with engine.begin() as connection:
        begun = claim_all(connection, wanted("gone", "ended", "lives", kind="rest"), process())
        gone, ended, lives = (begun["rest", name] for name in ("gone", "ended", "lives"))
        connection.execute(jobs.delete().where(jobs.c.id == gone.id))
        end_all(connection, [(ended, "failed")])
        assert end_all(connection, [(claim, "finished") for claim in (gone, ended, lives)]) == (
            {gone, ended, lives},
            set(),
        )
    assert {name: row.status for name, row in rows(engine, "rest").items()} == {"ended": "failed", "lives": "finished"}


def fail_rather_than_wait(connection: Connection) -> None:
    """Has a statement that waits for a lock fail, and not the test hang."""
    short = {"postgresql": "SET LOCAL lock_timeout = '5s'"}
    connection.exec_driver_sql(short.get(connection.dialect.name, "SET innodb_lock_wait_timeout = 5"))


def test_a_locked_row_holds_no_other(engine: Engine, dialect: str) -> None:
    """A row that another transaction has locked is neither ended nor taken nor waited for; its neighbours are."""
    if dialect == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    runner = process()
    with engine.begin() as connection:
        begun = claim_all(connection, wanted("held", "free", kind="locks"), runner)
    held, free = begun["locks", "held"], begun["locks", "free"]
    with engine.begin() as holding:
        holding.execute(jobs.update().where(jobs.c.id == held.id).values(note="mine"))
        with engine.begin() as connection:
            fail_rather_than_wait(connection)
            assert end_all(connection, [(held, "finished"), (free, "finished")]) == ({free}, set())
    with engine.begin() as connection:
        assert end_all(connection, [(held, "finished")]) == ({held}, set())
    with engine.begin() as holding:
        holding.execute(jobs.update().where(jobs.c.id == held.id).values(note="mine again"))
        with engine.begin() as connection:
            fail_rather_than_wait(connection)
            found = claim_all(connection, wanted("held", "free", "new", kind="locks"), runner)
    assert "is being changed by another process" in str(found["locks", "held"])
    assert (found["locks", "free"].fence, found["locks", "new"].fence) == (2, 1)


def test_a_job_that_holds_its_row_delays_no_other(
    heartbeats: Heartbeats, engine: Engine, dialect: str, job_row: Any
) -> None:
    """While a job's own transaction holds its row after its block, others begin and end; its end is written after it."""
    if dialect == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    with engine.begin() as connection:
        with heartbeats.job("held", kind="own") as beat:
            beat.guard(connection)
        assert len(heartbeats._beating()._ends) == 1
        for number in range(5):
            with heartbeats.job(number, kind="own") as other:
                assert other.claim is not None
            assert job_row(str(number)).status == "finished"
        assert job_row("held").status == "running"
    job_row("held", until=lambda row: row.status == "finished")


def test_many_at_once(heartbeats: Heartbeats, engine: Engine) -> None:
    """Of jobs that all begin and end at once each is claimed and ends as it should, some of them failing."""
    gate = threading.Barrier(MANY)

    def run(number: int) -> int | None:
        gate.wait()
        try:
            with heartbeats.job(number, kind="crowd") as beat:
                fence = beat.claim and beat.claim.fence
                if number % 3 == 0:
                    raise ValueError(number)
        except ValueError:
            assert number % 3 == 0
        return fence

    with ThreadPoolExecutor(MANY) as pool:
        for fence in (1, 2):
            assert set(pool.map(run, range(MANY))) == {fence}
            found = {name: row.status for name, row in rows(engine, "crowd").items()}
            assert found == {str(n): "finished" if n % 3 else "failed" for n in range(MANY)}


def test_the_same_job_twice_at_once(heartbeats: Heartbeats, engine: Engine, wait: Callable[..., Any]) -> None:
    """Of several runs of one job that begin in one batch exactly one runs, and its neighbours as well."""
    for turn in range(3):
        release, gate = threading.Event(), threading.Barrier(6)

        def run(job_id: str, gate: threading.Barrier = gate, release: threading.Event = release) -> str:
            gate.wait()
            try:
                with heartbeats.job(job_id, kind="twins"):
                    release.wait(20)
                    return "ran"
            except AlreadyRunning:
                return "refused"

        with ThreadPoolExecutor(6) as pool:
            runs = [pool.submit(run, job_id) for job_id in ("same", "same", "same", "same", "a", "b")]
            wait(lambda runs=runs: sum(one.done() for one in runs), lambda done: done >= 3)
            release.set()
        assert sorted(one.result() for one in runs[:4]) == ["ran", "refused", "refused", "refused"]
        assert [one.result() for one in runs[4:]] == ["ran", "ran"]
        assert rows(engine, "twins")["same"].fence == turn + 1


def test_ended_and_begun_again_in_one_batch(heartbeats: Heartbeats, engine: Engine) -> None:
    """A job that begins again while its end still waits is not refused: ends are written first."""
    for turn in range(3):
        with heartbeats.job("again", kind="order") as beat:
            assert (beat.lost, beat.claim and beat.claim.fence) == (False, 2 * turn + 1)
            beater = heartbeats._beating()
            with beater._awake:  # neither reaches the database before both wait
                ended = beater.end(beat, "failed")
                again = Beat("order", "again", None, None, threading.current_thread())
                again.begin(beater)
                assert (len(beater._ends), len(beater._claims)) == (1, 1)
            again.wait_for_claim(20)
            assert ended.done()
            assert (again.lost, again.claim and again.claim.fence) == (False, 2 * turn + 2)
            again.end(None)
            again.wait_for_end(20)
            assert rows(engine, "order")["again"].status == "finished"


def refuse_broken(engine: Engine) -> str:
    """Has the database refuse one job id, which it gives: one that is too long, or, as SQLite takes that, by a trigger."""
    if engine.dialect.name != "sqlite":
        return "b" * 256
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER broken BEFORE INSERT ON unhush_job WHEN NEW.job_id = 'broken'"
            " BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
    return "broken"


def settled_together(heartbeats: Heartbeats, begun: Sequence[Beat], ended: Sequence[Beat] = ()) -> None:
    """Has jobs begin and others end in one batch, and waits for them."""
    beater = heartbeats._beating()
    with beater._awake:
        for beat in ended:
            beat.end(None)
        for beat in begun:
            beat.begin(beater)
    for beat in begun:
        with suppress(AlreadyRunning):
            beat.wait_for_claim(20)
    for beat in ended:
        beat.wait_for_end(20)


def beats_of(kind: str, *job_ids: str) -> list[Beat]:
    return [Beat(kind, job_id, None, None, threading.current_thread()) for job_id in job_ids]


@pytest.mark.parametrize("ending", [False, True], ids=["alone", "beside ends"])
def test_one_that_the_database_refuses_harms_no_other(heartbeats: Heartbeats, engine: Engine, ending: bool) -> None:
    """A job whose row is refused runs without beats and is told in the log; all others of its batch are claimed."""
    bad = refuse_broken(engine)
    around = [heartbeats.job(f"around {n}", kind="sound").__enter__() for n in range(3 if ending else 0)]
    batch = beats_of("sound", *map(str, range(9)), bad, *map(str, range(9, 12)))
    with structlog.testing.capture_logs() as logs:
        settled_together(heartbeats, batch, around)
    assert [beat.job_id for beat in batch if beat.claim is None] == [bad]
    assert not any(beat.lost for beat in batch)
    assert [(line["event"], line["job_id"]) for line in logs] == [("heartbeat.claim_failed", bad)]
    found = rows(engine, "sound")
    assert {found[beat.job_id].status for beat in around} == ({"finished"} if ending else set())
    assert {found[str(n)].status for n in range(12)} == {"running"}


def test_a_letter_that_cannot_be_kept_costs_only_itself(
    heartbeats: Heartbeats, engine: Engine, database: str, tmp_path: Any
) -> None:
    """Of jobs with letters the one whose letter can't be stored beats without it; the others' are kept, and go with them."""
    with DeadLetterQueue(database, spool=tmp_path) as dlq:
        kept = Heartbeats(database, dlq=dlq).job("0", kind="post", payload={"to": "ann"})._letter()
    batch = beats_of("post", *map(str, range(6)))
    for beat in batch:
        beat.letter = {**kept, "payload": object()} if beat.job_id == "4" else kept
    with structlog.testing.capture_logs() as logs:
        settled_together(heartbeats, batch)
        assert [(line["event"], line["job_id"]) for line in logs] == [("heartbeat.letter_refused", "4")]
    assert {beat.claim.has_letter for beat in batch if beat.job_id != "4"} == {True}

    def letters() -> set[str]:
        with engine.connect() as connection:
            return set(connection.execute(select(job_letters.c.job)).scalars())

    assert letters() == {beat.claim.id for beat in batch if beat.job_id != "4"}
    for beat in batch:
        beat.end(None)
    for beat in batch:
        beat.wait_for_end(20)
    assert letters() == set()
    assert {row.status for row in rows(engine, "post").values()} == {"finished"}


@given(
    broken=st.sets(st.integers(0, 30)),
    clashes=st.sets(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=4),
    number=st.integers(0, 31),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.differing_executors])
def test_parts_of_a_batch(broken: set[int], clashes: set[tuple[int, int]], number: int) -> None:
    """Whatever is refused in a batch, each other one is written once, and each that is refused alone is told once."""
    written: list[int] = []
    refused: list[int] = []

    def write(part: Any) -> None:
        assert part
        if broken & set(part) or any(one != other and {one, other} <= set(part) for one, other in clashes):
            raise DataError("INSERT", {}, ValueError())
        written.extend(part)

    in_parts(write, range(number), lambda one, error: refused.append(one))
    assert written == sorted(set(range(number)) - broken)
    assert refused == sorted(broken & set(range(number)))


def test_what_is_no_refusal_is_raised() -> None:
    """A database that is away is no matter of one row: nothing is tried again in parts."""
    tried = []

    def away(part: Any) -> None:
        tried.append(len(part))
        raise OperationalError("INSERT", {}, ConnectionError())

    with pytest.raises(OperationalError):
        in_parts(away, range(8), lambda one, error: None)
    assert tried == [8]

    def odd(part: Any) -> None:
        raise StatementError("not even asked", "INSERT", {}, TypeError())

    told: list[int] = []
    in_parts(odd, range(8), lambda one, error: told.append(one))
    assert told == list(range(8))
    with pytest.raises(StatementError):
        in_parts(odd, range(8))


# Begins jobs, all at once, when it is told to, and says which it has; they run until it is told that they end.
CLAIMER = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from unhush.runtime import Heartbeats
from unhush.runtime.beat_errors import AlreadyRunning

url, ids = sys.argv[1], sys.argv[2].split(",")
last = threading.Event()
with Heartbeats(url, every=5, patience=60) as heartbeats, ThreadPoolExecutor(len(ids)) as pool:
    with heartbeats.job(ids[0] + " is ready", kind="ready"):
        pass
    told = threading.Barrier(len(ids) + 1)
    known = threading.Barrier(len(ids) + 1)
    def run(job_id):
        told.wait()
        try:
            with heartbeats.job(job_id, kind="raced") as beat:
                known.wait()
                last.wait()
                return f"{job_id}:{beat.claim.fence}"
        except AlreadyRunning:
            known.wait()
    runs = [pool.submit(run, job_id) for job_id in ids]
    print("ready", flush=True)
    sys.stdin.readline()
    told.wait()
    known.wait()
    print("begun", flush=True)
    sys.stdin.readline()
    last.set()
    print(*filter(None, (one.result() for one in runs)), flush=True)
"""


def test_two_processes_that_begin_the_same_jobs(database: str, engine: Engine) -> None:
    """Of jobs that two processes begin at once each runs in exactly one of them, new ones and ones that ran before."""
    with engine.begin() as connection:  # every third one ran before
        before = claim_all(connection, wanted(*range(0, MANY, 3), kind="raced"), process())
        end_all(connection, [(claim, "finished") for claim in before.values()])
    shares = list(range(MANY - 8)), list(range(MANY - 1, 7, -1))
    commands = [[sys.executable, "-c", CLAIMER, database, ",".join(map(str, share))] for share in shares]
    started = [subprocess.Popen(one, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for one in commands]
    try:
        for word in ("ready", "begun"):
            for one in started:
                assert one.stdout.readline() == word + "\n"  # type: ignore[union-attr]
            for one in started:
                print(file=one.stdin, flush=True)
        ran = [dict(job.split(":") for job in one.communicate(timeout=60)[0].split()) for one in started]
    finally:
        for one in started:
            one.kill()
            one.wait()
    assert not ran[0].keys() & ran[1].keys()
    both = ran[0] | ran[1]
    assert both == {str(n): "2" if n % 3 == 0 else "1" for n in range(MANY)}
    assert {(name, str(row.fence), row.status) for name, row in rows(engine, "raced").items()} == {
        (name, fence, "finished") for name, fence in both.items()
    }


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_new_ones_alone(engine: Engine) -> None:
    """The statement that begins new jobs leaves those that have a row to others, whatever they stand at."""
    with engine.begin() as connection:
        first = claim_new(connection, wanted("a", "b", kind="alone"), process())
        assert {claim.fence for claim in first.values()} == {1}
        later = claim_new(connection, wanted("a", "b", "c", kind="alone"), process())
    assert list(later) == [("alone", "c")]
    assert isinstance(later["alone", "c"], Claim)

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import structlog
from proxy import proxy_before
from sqlalchemy import Engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from unhush.runtime import Heartbeats, current_beat
from unhush.runtime.beat_errors import AlreadyRunning, HeartbeatError, LeaseLost
from unhush.runtime.beat_tables import jobs
from unhush.runtime.engine import make_async_engine, make_engine
from unhush.runtime.flags import State, Word

Row = Callable[..., Any]


def give_away(engine: Engine, job_id: str = "42") -> None:
    """What a watchdog does to a job."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE unhush_job SET status = 'given_away', fence = fence + 1 WHERE job_id = :id"), {"id": job_id}
        )


def kill_in_the_books(engine: Engine) -> None:
    """Makes all beats look old, as those of a process that was killed an hour ago."""
    old = {"postgresql": "clock_timestamp() - interval '1 hour'", "sqlite": "'2026-01-01 00:00:00.000000'"}
    at = old.get(engine.dialect.name, "UTC_TIMESTAMP(6) - INTERVAL 1 HOUR")
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE unhush_job SET beat_at = {at}"))
        connection.execute(text(f"UPDATE unhush_process SET beat_at = {at}"))


def test_job_beats_and_ends(heartbeats: Heartbeats, job_row: Row, process_rows: Row) -> None:
    """A job is there from its beginning with what it promises, beats with its progress, and ends as finished."""
    with heartbeats.job(42, kind="mail", deadline=3600, stalled_after=600) as beat:
        begun = job_row()
        assert (begun.kind, begun.status, begun.fence, begun.stalled_after, begun.every) == (
            "mail",
            "running",
            1,
            600,
            0.1,
        )
        assert 3590 < (begun.deadline_at - begun.started_at).total_seconds() < 3610
        beat(progress=0.4, note="page 3")
        moved = job_row(until=lambda row: row.progress == 0.4)
        assert moved.note == "page 3"
        assert moved.progress_at > begun.progress_at
        later = job_row(until=lambda row: row.beat_at > moved.beat_at)
        assert later.progress_at == moved.progress_at
        assert not beat.lost
    ended = job_row()
    assert (ended.status, ended.fence) == ("finished", 1)
    assert ended.ended_at is not None
    (process,) = process_rows()
    assert (process.pid, process.name, process.stopped_at) == (os.getpid(), "tests", None)
    heartbeats.close()
    assert process_rows()[0].stopped_at is not None


def test_deadline_goes_with_the_clock(heartbeats: Heartbeats, engine: Engine, job_row: Row) -> None:
    """After a jump of the database's clock a job's next beat gives it the time back that it has left, to the second."""
    with heartbeats.job(42, kind="mail", deadline=3600), heartbeats.job(43, kind="mail"):
        for jumped in (timedelta(hours=-5), timedelta(hours=3)):
            begun = job_row().started_at
            with engine.begin() as connection:
                connection.execute(jobs.update().where(jobs.c.job_id == "42").values(deadline_at=begun + jumped))
            found = job_row(until=lambda row: abs((row.deadline_at - row.started_at).total_seconds() - 3600) < 60)
            assert found.status == "running"
            assert job_row("43").deadline_at is None


def test_failing_job_raises_its_own_error(heartbeats: Heartbeats, job_row: Row) -> None:
    """What a job raises goes on unchanged, and the job has failed."""
    error = ValueError("no such address")
    with pytest.raises(ValueError, match="no such address") as caught, heartbeats.job("42", kind="mail"):
        raise error
    assert caught.value is error
    assert job_row().status == "failed"


def test_two_beaters_for_one_job(database: str, engine: Engine) -> None:
    """The second run of a job is refused by one line while the first is alive, and takes over when it is dead."""
    ran = []
    with (
        Heartbeats(database, every=5) as heartbeats,
        Heartbeats(database, every=5) as others,
        heartbeats.job("42", kind="mail") as first,
    ):
        line = r"^job '42' of kind 'mail' runs in process \d+ on '.+'$"
        with pytest.raises(AlreadyRunning, match=line), others.job("42", kind="mail"):
            ran.append("refused")
        with others.job("42", kind="report"):
            ran.append("another kind")
        assert not first.lost
        heartbeats._beating().stop(5)
        kill_in_the_books(engine)
        with others.job("42", kind="mail") as second:
            ran.append("taken over")
            assert (second.claim.fence, first.claim.fence) == (2, 1)
            with engine.begin() as connection, pytest.raises(LeaseLost):
                first.guard(connection)
            with engine.begin() as connection:
                second.guard(connection)
    assert ran == ["another kind", "taken over"]


def test_guard_and_finish_are_fenced(heartbeats: Heartbeats, engine: Engine, job_row: Row) -> None:
    """Under guard a result is written once; after the job was given away neither guard nor finish lets one through."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS result (id integer)"))
        connection.execute(text("DELETE FROM result"))
    write = text("INSERT INTO result VALUES (1)")
    with heartbeats.job("42", kind="mail") as beat:
        with Session(engine) as session, session.begin():
            beat.guard(session)
            session.execute(write)
        give_away(engine)
        for act in (beat.guard, beat.finish):
            with Session(engine) as session:
                session.execute(write)
                with pytest.raises(LeaseLost):
                    act(session)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM result")).scalar_one() == 1
    assert job_row().status == "given_away"


def test_finish_stands_with_the_transaction(heartbeats: Heartbeats, engine: Engine, job_row: Row) -> None:
    """A job is finished together with its result, also after the block; a rollback leaves both undone."""
    with Session(engine) as session:
        with heartbeats.job("42", kind="mail") as beat:
            beat.finish(session)
        session.commit()
    assert job_row().status == "finished"
    with Session(engine) as session:
        with heartbeats.job("43", kind="mail") as beat:
            beat.finish(session)
        session.rollback()
    assert job_row("43").status == "running"


def test_lost_job_is_told(heartbeats: Heartbeats, engine: Engine, wait: Row) -> None:
    """A job that was given away learns it by its next beat, and its neighbour beats on."""
    with heartbeats.job("42", kind="mail") as beat, heartbeats.job("43", kind="mail") as neighbour:
        give_away(engine)
        wait(lambda: beat.lost, bool)
        assert not neighbour.lost
        with engine.begin() as connection:
            neighbour.guard(connection)
            with pytest.raises(LeaseLost, match="job '42' of kind 'mail' was given away"):
                beat.guard(connection)


def test_locked_job_holds_no_neighbour(heartbeats: Heartbeats, engine: Engine, job_row: Row) -> None:
    """While a job holds its row in a long transaction, the others of its process beat on (SQLite has one writer)."""
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    with heartbeats.job("42", kind="mail") as beat, heartbeats.job("43", kind="mail"):
        with engine.begin() as connection:
            beat.guard(connection)
            before = job_row("43")
            after = job_row("43", until=lambda row: (row.beat_at - before.beat_at).total_seconds() > 0.25)
            assert after.status == "running"
        held = job_row()
        job_row(until=lambda row: row.beat_at > held.beat_at)
        assert not beat.lost


def test_flag_off_needs_nothing(tmp_path: Any) -> None:
    """With the flag off a job runs as it is, without tables, and neither SQLAlchemy nor structlog is imported."""
    script = """
import sys
from unhush.runtime import Heartbeats
beats = Heartbeats("sqlite:///nowhere.db")
@beats.watched(kind="mail", job_id=lambda number: number)
def send(number):
    return number + 1
with beats.job("42", kind="mail", deadline=60) as beat:
    beat(progress=0.5)
    beat.guard(None)
    beat.finish(None)
    assert not beat.lost
assert send(1) == 2
beats.close()
print(sorted({"sqlalchemy", "structlog", "openfeature"} & set(sys.modules)))
"""
    env = {key: value for key, value in os.environ.items() if not key.startswith("FEATURE_FLAG_")}
    for flag in ({}, {"FEATURE_FLAG_JOB_HEARTBEAT": "false"}):
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=env | flag, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
        assert list(tmp_path.iterdir()) == []


def test_flag_by_percentage(heartbeats: Heartbeats, job_row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag is asked once for each job with its id: some beat and some don't."""
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "50%")
    beating = []
    for number in range(20):
        with heartbeats.job(number, kind="mail") as beat:
            monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "50%")
            beating.append(beat.claim is not None)
    assert True in beating
    assert False in beating
    assert [job_row(str(number), until=lambda row: True) is not None for number in range(20)] == beating


def test_decorated_functions(heartbeats: Heartbeats, job_row: Row) -> None:
    """Calls of sync and async functions are jobs, with an id from their arguments; inside there is their beat."""

    @heartbeats.watched(kind="mail", job_id=lambda number: number)
    def send(number: int) -> str:
        current_beat()(progress=1.0)
        return job_row(str(number), until=lambda row: row.progress == 1.0).status

    @heartbeats.watched(job_id=lambda number: number)
    async def send_async(number: int) -> str:
        return (await asyncio.to_thread(job_row, str(number))).status

    assert send(1) == "running"
    assert asyncio.run(send_async(2)) == "running"
    assert (job_row("1").status, job_row("2").status) == ("finished", "finished")
    assert job_row("2").kind.endswith("send_async")
    with pytest.raises(HeartbeatError, match="no job runs here"):
        current_beat()
    with pytest.raises(TypeError, match="needs a job_id"):
        heartbeats.watched(kind="mail")


def test_async_job(heartbeats: Heartbeats, database: str, job_row: Row, process_rows: Row, wait: Row) -> None:
    """An async job beats while its loop is blocked, and the process tells how late the loop is (hatchet#322)."""

    async def work() -> None:
        engine = make_async_engine(database)
        async with heartbeats.job("42", kind="mail") as beat:
            async with AsyncSession(engine) as session, session.begin():
                await session.run_sync(beat.guard)
            before = job_row()
            time.sleep(0.3)  # blocks the loop
            wait(process_rows, lambda rows: (rows[0].loop_lag_ms or 0) >= 250)
            assert job_row(until=lambda row: row.beat_at > before.beat_at).status == "running"
            await asyncio.sleep(0.5)
            await asyncio.to_thread(wait, process_rows, lambda rows: rows[0].loop_lag_ms < 250)
        await engine.dispose()

    asyncio.run(work())
    assert job_row().status == "finished"


def test_many_async_jobs_take_no_threads(heartbeats: Heartbeats) -> None:
    """However many async jobs begin and end at once, none takes a thread of its loop's, which others need too."""

    class Counting(ThreadPoolExecutor):
        asked = 0

        def submit(self, *what: Any, **arguments: Any) -> Any:
            self.asked += 1
            return super().submit(*what, **arguments)

    async def job(number: int) -> None:
        async with heartbeats.job(number, kind="mail"):
            pass

    async def work() -> None:
        threads = Counting(1)
        asyncio.get_running_loop().set_default_executor(threads)
        await asyncio.gather(*map(job, range(20)))
        assert threads.asked == 0
        await asyncio.to_thread(threading.active_count)
        assert threads.asked == 1

    asyncio.run(work())


def test_claim_whose_answer_was_lost(engine: Engine) -> None:
    """A claim that was made, but whose answer never came, is found again by the same process alone."""
    from unhush.runtime import beats

    process, other = (
        beats.Process(id=f"0190aaaa-0000-7000-8000-00000000000{n}", name=None, host="h", pid=1, every=15) for n in "12"
    )
    terms = beats.Terms(kind="mail", job_id="42")
    with engine.begin() as connection:
        first = beats.claim(connection, terms, process)
    with engine.begin() as connection:
        assert beats.claim(connection, terms, process) == first
        for known, owner in (({first}, process), (set(), other)):
            with pytest.raises(AlreadyRunning):
                beats.claim(connection, terms, owner, known)


def test_cancelled_while_it_begins(heartbeats: Heartbeats, job_row: Row, wait: Row) -> None:
    """A task that is cancelled while its job is being claimed leaves no job that beats."""

    async def work() -> None:
        async with heartbeats.job("42", kind="mail"):
            raise AssertionError("never begun")

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with heartbeats.job("1", kind="mail"):
        asyncio.run(main())
        wait(lambda: len(heartbeats._beating()._jobs), lambda count: count == 1)
        row = job_row()
        assert row is None or job_row(until=lambda row: row.status == "failed")


def test_thread_that_is_gone(heartbeats: Heartbeats, job_row: Row) -> None:
    """A job whose thread ended without leaving the block is marked, and beats no more; the process beats on."""
    job = heartbeats.job("42", kind="mail")
    thread = threading.Thread(target=job.__enter__)
    thread.start()
    thread.join()
    marked = job_row(until=lambda row: row.orphaned_at is not None)
    assert marked.status == "running"
    with heartbeats.job("42", kind="mail") as beat:  # nobody runs it, so it may be taken over at once
        assert beat.claim.fence == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork_is_a_process_of_its_own(heartbeats: Heartbeats, job_row: Row, process_rows: Row) -> None:
    """A forked child has a fresh process id, and neither beats for its parent's jobs nor ends them."""
    with heartbeats.job("42", kind="mail") as beat:
        child = os.fork()
        if child == 0:
            try:
                with heartbeats.job("43", kind="mail"):
                    pass
                heartbeats.close()
                beat.end(None)
                os._exit(0 if beat._written is None else 1)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert job_row().status == "running"
        assert job_row("43").status == "finished"
        assert len({row.id for row in process_rows()}) == 2
        before = job_row()
        job_row(until=lambda row: row.beat_at > before.beat_at)
        assert not beat.lost
    assert job_row().status == "finished"


def test_restart_has_another_id(database: str, process_rows: Row) -> None:
    """Each start is another process, with the same host and pid as well (procrastinate#1518, oban#862)."""
    for _ in range(2):
        with Heartbeats(database, every=0.1) as heartbeats, heartbeats.job("42", kind="mail"):
            pass
    first, second = process_rows()
    assert (first.host, first.pid) == (second.host, second.pid)
    assert first.id != second.id


@pytest.mark.parametrize("dialect", ["postgresql"])
def test_outage_kills_no_job(database: str, job_row: Row, dialect: str, wait: Row) -> None:
    """Without its database a job runs on, its loss of beats is told once and so is its end, and then it beats again."""
    url = make_url(database)
    with proxy_before(url.host or "127.0.0.1", url.port or 5432) as proxy, structlog.testing.capture_logs() as logs:
        reached = url.set(host="127.0.0.1", port=proxy.port)
        heartbeats = Heartbeats(reached.render_as_string(hide_password=False), every=0.1, patience=2)
        with heartbeats, heartbeats.job("42", kind="mail") as beat:
            proxy.refuse()
            wait(lambda: heartbeats._beating()._failures, lambda count: count >= 2)
            with heartbeats.job("43", kind="mail") as late:
                assert late.claim is None
                with pytest.raises(LeaseLost, match="was not claimed yet"):
                    late.guard(None)
                proxy.open()
                job_row("43", until=lambda row: row is not None and row.status == "running")
            before = job_row()
            job_row(until=lambda row: row.beat_at > before.beat_at)
            assert not beat.lost
    assert (job_row().status, job_row("43").status) == ("finished", "finished")
    events = [line["event"] for line in logs if line["event"].startswith("heartbeat.")]
    assert events == ["heartbeat.database_lost", "heartbeat.database_back"]


@pytest.mark.parametrize("dialect", ["postgresql"])
def test_server_notices_a_host_that_is_gone(heartbeats: Heartbeats, dialect: str) -> None:
    """The server's end of a connection finds out within a minute: until then it keeps the rows locked of who was cut off."""
    with heartbeats.engine.connect() as connection:
        shown = [
            connection.execute(text(f"SHOW tcp_keepalives_{what}")).scalar() for what in ("idle", "interval", "count")
        ]
        connection.rollback()
        assert (shown, connection.execute(text("SHOW tcp_user_timeout")).scalar()) == (["30", "10", "3"], "60000")


@pytest.mark.parametrize("dialect", ["postgresql", "mariadb"])
def test_server_ends_transactions_that_say_nothing(database: str, dialect: str) -> None:
    """Who is stopped in the middle of a transaction holds its rows for two intervals, unless the server is set to less."""
    name = {"postgresql": "SHOW idle_in_transaction_session_timeout", "mariadb": "SELECT @@idle_transaction_timeout"}
    found = []
    for every, url in (
        (15, database),
        (0.1, database),
        (15, f"{database}?options=-cidle_in_transaction_session_timeout=7s"),
    ):
        if "?" in url and dialect != "postgresql":
            continue
        heartbeats = Heartbeats(url, every=every)
        with heartbeats.engine.connect() as connection:
            found.append(str(connection.execute(text(name[dialect])).scalar()).removesuffix("s"))
        heartbeats.engine.dispose()
    assert found == ["30", "5", "7"][: len(found)]
    with make_engine(database).connect() as connection:  # nobody asked for it there
        assert str(connection.execute(text(name[dialect])).scalar()) == "0"


def test_no_tables_is_told_once(tmp_path: Any) -> None:
    """Where the migration is missing jobs run on, and the log says once what to do."""
    with structlog.testing.capture_logs() as logs, Heartbeats(f"sqlite:///{tmp_path}/x.db", every=0.1) as heartbeats:
        for number in range(3):
            with heartbeats.job(number, kind="mail") as beat:
                beat(progress=1)
    (line,) = [line for line in logs if line["event"] == "heartbeat.database_lost"]
    assert "lacks migration 1: run `unhush db upgrade" in line["error"]


def test_bad_words_are_refused(database: str) -> None:
    """Ids, durations and progress that mean nothing are refused before the job begins."""
    heartbeats = Heartbeats(database, every=1)
    with pytest.raises(ValueError, match="every must be"):
        Heartbeats(database, every=0)
    for limits in ({"deadline": 0}, {"stalled_after": -1}, {"deadline": float("nan")}):
        with pytest.raises(ValueError, match="must be a number of seconds above 0"):
            heartbeats.job("42", kind="mail", **limits)
    with pytest.raises(ValueError, match="deadline must be less than a hundred years"):
        heartbeats.job("42", kind="mail", deadline=1e12)
    with pytest.raises(Exception, match="job_id is longer than 255"):
        heartbeats.job("x" * 256, kind="mail")
    with heartbeats, heartbeats.job("42", kind="mail") as beat, pytest.raises(ValueError, match="finite number"):
        beat(progress=float("inf"))
    memory = Heartbeats("sqlite://", every=1)
    with pytest.raises(HeartbeatError, match="in-memory SQLite"), memory.job("42", kind="mail"):
        pass


def test_many_jobs_in_one_statement(heartbeats: Heartbeats, engine: Engine) -> None:
    """All jobs of a process beat together, each under its own number."""
    from unhush.runtime import beats

    process = beats.Process(id="0190aaaa-0000-7000-8000-000000000001", name=None, host="h", pid=1, every=15)
    with engine.begin() as connection:
        beats.beat_process(connection, process)
        claims = [beats.claim(connection, beats.Terms(kind="mail", job_id=str(n)), process) for n in range(50)]
    stale = beats.Claim(claims[0].id, 99)
    with engine.begin() as connection:
        pulses = [beats.Pulse(claim=claim, progress=n, moved=True) for n, claim in enumerate(claims[1:])]
        assert beats.beat_jobs(connection, [*pulses, beats.Pulse(claim=stale)]) == {stale}
        found = connection.execute(text("SELECT count(*), sum(progress) FROM unhush_job WHERE progress IS NOT NULL"))
        assert tuple(found.one()) == (49, sum(range(49)))


# A regular expression that runs for seconds in C code, and lets no other thread run meanwhile.
GIL = """
import re, sys
from unhush.runtime import Heartbeats
with Heartbeats(sys.argv[1], every=0.2, own_process=sys.argv[2] == "own") as beats, beats.job("42", kind="mail"):
    print("begun", flush=True)
    sys.stdin.readline()
    while True:
        re.match("(?:a|aa)+$", "a" * 60 + "b")
"""


@contextmanager
def holding_the_lock(database: str, how: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun its job, and then runs nothing but C code; killed at the end."""
    command = [sys.executable, "-c", GIL, database, how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "begun\n"
        print(file=process.stdin, flush=True)
        try:
            yield process
        finally:
            process.kill()


def falls_silent(job_row: Row) -> bool:
    """Whether there comes a second, of some twenty, without a beat of a job that beats five times a second."""
    for _ in range(20):
        before = job_row()
        time.sleep(1)
        if job_row().beat_at == before.beat_at:
            return True
    return False


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_own_process_beats_through_c_code(database: str, job_row: Row, dialect: str) -> None:
    """While C code holds the interpreter's lock the stand-in beats; it ends when the process is killed."""
    with holding_the_lock(database, "own"):
        begun = job_row()
        job_row(until=lambda row: (row.beat_at - begun.beat_at).total_seconds() > 3)
    assert falls_silent(job_row)
    assert job_row().status == "running"


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_thread_alone_does_not(database: str, job_row: Row, dialect: str) -> None:
    """Without it such code stops the beats: that is what the stand-in is for."""
    with holding_the_lock(database, "thread"):
        assert falls_silent(job_row)


def test_flag_that_cannot_be_asked(heartbeats: Heartbeats, job_row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the flag's source is away a job that beats goes on, and no other begins to."""
    with heartbeats.job("42", kind="mail") as running:
        monkeypatch.setattr(heartbeats._flag, "word", lambda job_id=None: Word(State.UNREACHABLE_WAS_ON))
        before = job_row()
        job_row(until=lambda row: row.beat_at > before.beat_at)
        with heartbeats.job("43", kind="mail") as other:
            other(progress=1)
            assert other.claim is None
        assert not running.lost
    assert job_row().status == "finished"
    assert job_row("43") is None

"""Tests for calls in the executors of concurrent.futures: threads and processes."""

from __future__ import annotations

import functools
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from calledjobs import kill, send
from jobworkers import Jobs, until

from unhush.runtime import DeadLetterQueue, LetterSummary
from unhush.runtime.flags import Flag
from unhush.runtime.integrations.futures import watch

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def jobs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """A dead letter queue, with the flag on."""
    monkeypatch.setenv("FEATURE_FLAG_DLQ_ENABLED", "true")
    with Jobs(folder, "none") as jobs:
        yield jobs


@pytest.fixture(params=["threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Each kind of executor in turn."""
    made = ThreadPoolExecutor(1) if request.param == "threads" else ProcessPoolExecutor(1, mp_context=SPAWN)
    with made:
        yield made


def wait_for(jobs: Jobs, number: int) -> list[LetterSummary]:
    """The letters, once so many are there."""
    until(lambda: len(jobs.dlq.list().letters) == number)
    return list(jobs.dlq.list().letters)


def test_a_failed_call_comes_back_until_it_is_mended(jobs: Jobs, executor: Executor) -> None:
    """A failed call is a letter; redriven it fails again into its letter with its history, and at last succeeds."""
    watched = watch(executor, jobs.dlq, queue="mail")
    future = watched.submit(send, str(jobs.folder), "ann", name="Ann")
    with pytest.raises(ValueError, match="no such address"):
        future.result()
    (summary,) = wait_for(jobs, 1)
    letter = jobs.dlq.get(summary.id)
    assert (letter.queue, letter.error_type) == ("mail", "ValueError")
    assert letter.payload == {"args": [str(jobs.folder), "ann"], "kwargs": {"name": "Ann"}}
    assert "no such address" in letter.traceback
    assert jobs.redrive(letter) == "failed"
    assert jobs.kinds(letter) == ["captured", "redriving", "failed_again"]
    jobs.mend("ann")
    assert jobs.redrive(letter) == "redriven"
    assert len(jobs.dlq.list().letters) == 1


def test_each_call_of_a_map_has_its_own_letter(jobs: Jobs) -> None:
    """Of the calls of a map those that fail are letters, and its results are those of the executor."""
    jobs.mend("bob")
    with ThreadPoolExecutor(2) as threads:
        watched = watch(threads, jobs.dlq)
        call = functools.partial(send, str(jobs.folder), name="x")
        assert list(watched.map(call, ["bob", "bob"])) == ["bob x", "bob x"]
        with pytest.raises(ValueError, match="no such address"):
            list(watched.map(call, ["carl", "bob"]))
    (letter,) = jobs.dlq.list().letters
    assert jobs.dlq.get(letter.id).payload == {"args": [str(jobs.folder), "carl"], "kwargs": {"name": "x"}}


def test_rq_2015_calls_whose_process_is_killed_are_not_lost(jobs: Jobs) -> None:
    """Calls that ran or waited in a pool whose process is killed are letters, and run in another pool (rq#2015)."""
    jobs.mend("dora")
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        watched = watch(pool, jobs.dlq)
        futures = [watched.submit(kill), watched.submit(send, str(jobs.folder), "dora")]
        for future in futures:
            with pytest.raises(BrokenProcessPool):
                future.result()
    found = {letter.job_name: jobs.dlq.get(letter.id) for letter in jobs.dlq.list().letters}
    assert {letter.error_type for letter in found.values()} == {"concurrent.futures.process.BrokenProcessPool"}
    (outcome,) = jobs.dlq.redrive([found["calledjobs.send"].id], actor="ann")
    assert (outcome.result, "BrokenProcessPool" in outcome.detail) == ("failed", True)
    with jobs.spool_of("spool") as other, ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        watch(pool, other, functions=[send, kill])
        first = other.redrive([found["calledjobs.send"].id, found["calledjobs.kill"].id], actor="ann")
    assert [outcome.result for outcome in first] == ["redriven", "failed"]


def test_good_job_821_a_call_that_kills_its_process_again_is_parked(jobs: Jobs) -> None:
    """A call that kills a process each time is parked after the last redrive that is allowed (good_job#821)."""
    results = []
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool, pytest.raises(BrokenProcessPool):
        watch(pool, jobs.dlq).submit(kill).result()
    (letter,) = wait_for(jobs, 1)
    for _ in range(2):
        with ProcessPoolExecutor(1, mp_context=SPAWN) as pool, jobs.spool_of("spool") as dlq:
            dlq._core.max_redrives = 2
            watch(pool, dlq, functions=[kill])
            results += [outcome.result for outcome in dlq.redrive([letter.id], actor="ann")]
    assert results == ["failed", "parked"]


def test_what_did_not_fail_or_is_off_is_no_letter(jobs: Jobs) -> None:
    """Calls that are cancelled, end the process or fail with the flag off leave no letter; a failed one does."""
    never = DeadLetterQueue(jobs.database, spool=jobs.folder / "spool", flag=Flag("DLQ_NEVER_ON"))
    begun, go = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as threads, never:
        watched = watch(threads, jobs.dlq)
        watched.submit(lambda: begun.set() or go.wait())
        cancelled = watched.submit(send, str(jobs.folder), "eve")
        begun.wait()
        assert cancelled.cancel()
        go.set()
        watched.submit(sys.exit)
        off = watch(threads, never).submit(send, str(jobs.folder), "eve")
        failed = watched.submit(send, str(jobs.folder), "fay")
        assert isinstance(off.exception(), ValueError)
        assert isinstance(failed.exception(), ValueError)
    (letter,) = jobs.dlq.list().letters
    assert jobs.dlq.get(letter.id).payload["args"][1] == "fay"


def test_functions_of_one_name_are_not_mixed_up(jobs: Jobs) -> None:
    """A letter of one of several functions with the same name is refused, since nobody knows which one it was."""

    def made(number: int) -> Callable[[], None]:
        def job() -> None:
            raise ValueError(number)

        return job

    with ThreadPoolExecutor(1) as threads:
        watched = watch(threads, jobs.dlq)
        watched.submit(made(1)).exception()
        watched.submit(made(2)).exception()
        (first, _) = wait_for(jobs, 2)
        (outcome,) = jobs.dlq.redrive([first.id], actor="ann")
    assert (outcome.result, "several functions" in outcome.detail) == ("failed", True)


def test_a_call_captured_without_its_database_waits_in_the_spool(jobs: Jobs) -> None:
    """What fails while the database is away is in the table after a drain."""
    nowhere = "postgresql+psycopg://nobody@127.0.0.1:9/none"
    with DeadLetterQueue(nowhere, spool=jobs.folder / "dark") as dark, ThreadPoolExecutor(1) as threads:
        watch(threads, dark).submit(send, str(jobs.folder), "gus").exception()
    with jobs.spool_of("dark") as dlq:
        assert dlq.drain().stored == 1
    assert len(jobs.dlq.list().letters) == 1


PROGRAM = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
from unhush.runtime import DeadLetterQueue, LetterSummary
from unhush.runtime.integrations.futures import watch

def send(folder, to, **_):
    open(folder + "/ran", "a").write("ran\\n")
    os.kill(os.getpid(), signal.SIGKILL)

send.__module__ = sys.argv[3]
dlq = DeadLetterQueue(sys.argv[1], spool=sys.argv[2])
watch(ThreadPoolExecutor(1), dlq, functions=[send])
dlq.redrive([sys.argv[4]], actor="killed")
"""


def test_a_redrive_killed_while_its_call_runs_is_in_doubt(jobs: Jobs) -> None:
    """A redrive whose process is killed while the call runs leaves its letter in doubt."""
    with ThreadPoolExecutor(1) as threads:
        watch(threads, jobs.dlq).submit(send, str(jobs.folder), "hal").exception()
    (letter,) = jobs.dlq.list().letters
    with jobs.program("-c", PROGRAM, jobs.database, str(jobs.folder / "spool"), send.__module__, letter.id) as redriver:
        assert redriver.wait(20) == -signal.SIGKILL
    jobs.expire()
    jobs.dlq.reap()
    assert (jobs.ran(), jobs.dlq.get(letter.id).status) == (["ran"], "in_doubt")

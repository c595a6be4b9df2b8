"""Tests for jobs of RQ on Redis, in real workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from jobworkers import PROGRAMS, Jobs, until
from proxy import proxy_before
from redis import Redis
from rq import Queue, Retry
from rq.job import Job
from rq.registry import FailedJobRegistry, StartedJobRegistry
from sqlalchemy import make_url

from unhush.runtime.integrations.rq import register, send

PROGRAM = str(PROGRAMS / "rq_jobs.py")


class RqJobs:
    """RQ jobs, known by their names alone."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.redis = Redis.from_url(jobs.broker)
        self.queue = self.queue_of("on")
        register(jobs.dlq, self.redis, queue="mail")

    def queue_of(self, kind: str) -> Queue:
        """The queue whose worker has the flag `on` or `off`, or is in the `dark` about its database."""
        return Queue(f"{self.jobs.queue}-{kind}", connection=self.redis)

    def send(self, name: str, *args: Any, to: str = "on", **options: Any) -> str:
        """Enqueues a job; its id."""
        return self.queue_of(to).enqueue_call(f"rq_jobs.{name}", args, **options).id

    def has_failed(self, job_id: str, to: str = "on") -> bool:
        """Whether RQ took note of the failure."""
        return job_id in FailedJobRegistry(queue=self.queue_of(to))


@pytest.fixture(scope="module")
def rq(make_jobs: Callable[[str, str], Jobs]) -> Iterator[RqJobs]:
    """Queues on Redis, each with a worker, for all tests of this module."""
    rq = RqJobs(make_jobs("redis", "rq"))
    with ExitStack() as stack:
        for kind in ("on", "off", "dark"):
            stack.enter_context(rq.jobs.program(PROGRAM, kind, rq.queue_of(kind).name))
        yield rq


def test_failed_jobs_come_back_until_they_are_mended(rq: RqJobs) -> None:
    """A job is a letter after its last retry; redriven it fails again into its letter, and at last succeeds."""
    jobs = rq.jobs
    job_id = rq.send("send", "ann", kwargs={"name": "Ann"}, meta={"tenant": "t1"}, retry=Retry(max=1))
    letter = jobs.letter(job_id)
    assert (letter.job_name, letter.attempts, letter.error_type) == ("rq_jobs.send", 2, "ValueError")
    assert (letter.payload["args"], letter.payload["kwargs"]) == (["ann"], {"name": "Ann"})
    assert letter.payload["options"]["meta"] == {"tenant": "t1"}
    assert "no such address" in letter.traceback
    until(lambda: rq.has_failed(job_id))
    again = jobs.fail_again(letter)
    jobs.mend("ann")
    assert jobs.redrive(again) == "redriven"
    until(lambda: "send ann Ann" in jobs.ran())
    assert jobs.ran() == ["try ann", "try ann", "try ann", "try ann", "send ann Ann"]
    jobs.letter(job_id, "redriven", 2)


def test_rq_2015_a_job_whose_process_is_killed_is_not_lost(rq: RqJobs) -> None:
    """A job whose process is killed is a letter, comes back when it kills another, and is parked (good_job#821)."""
    jobs = rq.jobs
    job_id = rq.send("kill", "bob")
    letter = jobs.letter(job_id)
    assert (letter.error_type, "signal 9" in letter.error_message) == ("rq.exceptions.AbandonedJobError", True)
    jobs.fail_again(jobs.fail_again(letter), "parked")


def test_rq_2015_a_job_whose_worker_is_killed_is_not_lost(rq: RqJobs) -> None:
    """A job that was running when its whole worker was killed is captured by the next worker (rq#2015)."""
    jobs, queue = rq.jobs, rq.queue_of("killed")
    job_id = rq.send("hang", to="killed")
    with jobs.program(PROGRAM, "on", queue.name) as worker:
        (line,) = until(lambda: [line for line in jobs.ran() if line.startswith("hangs in ")])
        os.killpg(worker.pid, signal.SIGKILL)
        os.kill(int(line.split()[-1]), signal.SIGKILL)  # RQ gives the job's process a session of its own
        worker.wait()
    started = StartedJobRegistry(queue=queue)
    rq.redis.zadd(started.key, {name: 1.0 for name, _ in rq.redis.zscan_iter(started.key)})  # its time is over
    with jobs.program(PROGRAM, "on", queue.name, "burst") as worker:
        assert worker.wait(30) == 0
    assert jobs.letter(job_id).error_type == "rq.exceptions.AbandonedJobError"


def test_rq_708_a_job_that_cannot_be_read_is_not_lost(rq: RqJobs) -> None:
    """A job whose data can't be unpickled is kept as it came, and runs after somebody mended it (rq#708)."""
    jobs = rq.jobs
    job = Job.create("rq_jobs.kill", connection=rq.redis, origin=rq.queue.name)
    job.data = b"\x80no pickle"
    rq.queue.enqueue_job(job)
    letter = jobs.letter(job.id)
    assert letter.payload["data"] == b"\x80no pickle"
    again = jobs.fail_again(letter)
    good = Job.create("rq_jobs.kill", ("spared",), connection=rq.redis)
    jobs.dlq.edit(again.id, {"data": good.data}, actor="ann")
    assert jobs.redrive(again) == "redriven"
    until(lambda: "kill spared" in jobs.ran())


def test_a_job_with_an_argument_that_json_cannot_hold_must_be_edited(rq: RqJobs) -> None:
    """An argument that is an object of some class is kept as its repr, and redrive refuses it."""
    job_id = rq.send("send", SimpleNamespace(to="ann"), kwargs={"name": "no"})
    letter = rq.jobs.letter(job_id)
    assert (letter.redrivable, letter.changed_paths) == (False, ("$.args[0]",))
    assert rq.jobs.redrive(letter) == "not_redrivable"


def test_a_failure_while_the_flag_is_off_is_no_letter(rq: RqJobs) -> None:
    """With the flag off RQ does as before; the same job is a letter when it fails with the flag on."""
    jobs = rq.jobs
    job_id = rq.send("send", "carl", kwargs={"name": "Carl"}, to="off")
    until(lambda: rq.has_failed(job_id, "off"))
    assert Job.fetch(job_id, connection=rq.redis).meta == {}
    jobs.letter(rq.send("send", "carl", kwargs={"name": "Carl"}))
    assert jobs.letters(job_id) == []


def test_a_job_captured_without_its_database_waits_in_the_spool(rq: RqJobs) -> None:
    """What fails while the database is away is in the table after a drain, and can be redriven."""
    jobs = rq.jobs
    job_id = rq.send("send", "dora", kwargs={"name": "Dora"}, to="dark")
    until(lambda: rq.has_failed(job_id, "dark"))
    with jobs.spool_of("dark") as dlq:
        assert dlq.drain().stored == 1
    jobs.mend("dora")
    assert jobs.redrive(jobs.letter(job_id)) == "redriven"
    until(lambda: "send dora Dora" in jobs.ran())


REDRIVER = """
import os, signal, sys
from redis import Redis
from rq_jobs import queue_of
from unhush.runtime.integrations.rq import send

def send_and_die(letter):
    send(Redis.from_url(os.environ["JOBS_BROKER"]), letter)
    os.kill(os.getpid(), signal.SIGKILL)

dlq = queue_of("on")
dlq.register("mail", send_and_die)
dlq.redrive([sys.argv[1]], actor="killed")
"""


def test_a_redrive_killed_before_its_mark_is_in_doubt(rq: RqJobs) -> None:
    """A redrive killed between sending and marking leaves its letter in doubt, and its job runs once."""
    jobs = rq.jobs
    job_id = rq.send("send", "eve", kwargs={"name": "Eve"})
    letter = jobs.letter(job_id)
    jobs.mend("eve")
    with jobs.program("-c", REDRIVER, letter.id) as redriver:
        assert redriver.wait(20) == -signal.SIGKILL
    jobs.expire()
    jobs.dlq.reap()
    assert jobs.redrive(jobs.letter(job_id, "in_doubt", 1)) == "wrong_state"
    until(lambda: "send eve Eve" in jobs.ran())
    assert jobs.ran().count("send eve Eve") == 1


def test_a_redis_that_goes_away_leaves_a_redrive_in_doubt(rq: RqJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis lost while the job is sent leaves doubt; one that is away before leaves a failed redrive."""
    jobs = rq.jobs
    url = make_url(jobs.broker)
    letter = jobs.dlq.put(
        queue="cut",
        job_name="rq_jobs.send",
        error=ValueError("no"),
        payload={"args": [], "kwargs": {}},
        headers={"origin": rq.queue.name},
    )
    enqueue = Queue.enqueue_job
    with proxy_before(url.host or "", url.port or 0) as proxy:
        client = Redis.from_url(url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False))
        jobs.dlq.register("cut", lambda letter: send(client, letter))

        def cut(*args: Any, **kwargs: Any) -> Any:
            proxy.refuse()
            return enqueue(*args, **kwargs)

        monkeypatch.setattr(Queue, "enqueue_job", cut)
        first = jobs.dlq.redrive([letter.id], actor="ann")
        jobs.dlq.restore([letter.id], actor="ann")
        second = jobs.dlq.redrive([letter.id], actor="ann")
    assert [outcome.result for outcome in (*first, *second)] == ["in_doubt", "parked"]

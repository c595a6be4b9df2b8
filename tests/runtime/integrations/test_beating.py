"""Tests for heartbeats of jobs that frameworks run, in real workers: killed ones, hung ones, and well ones beside them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from beatingworkers import Framework, OnCelery, OnDramatiq, OnRq
from jobworkers import Jobs
from rq import Retry
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry
from services import fresh_database
from sqlalchemy import func, select

from unhush.runtime.beat_tables import processes

ON = {"celery": OnCelery, "dramatiq": OnDramatiq, "rq": OnRq}
EVERYWHERE = [
    pytest.param((framework, broker, database), id=f"{framework}-{broker}-{database}")
    for framework, broker, database in (
        ("celery", "rabbitmq", "postgresql"),
        ("celery", "redis", "sqlite"),
        ("dramatiq", "rabbitmq", "postgresql"),
        ("dramatiq", "redis", "sqlite"),
        ("rq", "redis", "postgresql"),
    )
]


@pytest.fixture(autouse=True)
def _flag_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "true")


@pytest.fixture(scope="module")
def make(
    make_jobs: Callable[..., Jobs], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Framework]]:
    """Makes a framework with queues of its own on a broker, and a database."""
    with ExitStack() as stack:

        def made(framework: str, broker: str, database: str) -> Framework:
            url = stack.enter_context(fresh_database(database, str(tmp_path_factory.mktemp("database"))))
            on = ON[framework](make_jobs(broker, framework, database=url))
            stack.callback(on.close)
            return on

        yield made


@pytest.fixture(scope="module", params=EVERYWHERE)
def on(request: pytest.FixtureRequest, make: Callable[..., Framework]) -> Framework:
    """Each framework in turn, on each of its brokers."""
    return make(*request.param)


@pytest.fixture(scope="module", params=[place for place in EVERYWHERE if "postgresql" in place.values[0]])
def by(request: pytest.FixtureRequest, make: Callable[..., Framework]) -> Framework:
    """Each framework in turn, on one broker."""
    return make(*request.param)


@pytest.fixture(scope="module", params=[place for place in EVERYWHERE if "rabbitmq" in place.values[0]])
def by_rabbitmq(request: pytest.FixtureRequest, make: Callable[..., Framework]) -> Framework:
    """Each framework whose broker delivers the job of a killed worker again at once."""
    return make(*request.param)


def test_the_job_of_a_killed_worker_is_a_letter_once_and_runs_again(on: Framework) -> None:
    """A job whose worker is killed is one letter with its arguments, whose redrive runs it; the one beside goes on."""
    jobs, (mine, other) = on.jobs, on.queues
    with on.worker(other), on.worker(mine) as doomed, on.watchdog("dead_letter") as dog:
        well = on.send("work", "well", other)
        killed = on.send("work", "killed")
        on.begun("well")
        on.begun("killed")
        assert on.kept(killed) == 1
        on.kill(doomed, "killed")
        verdict = on.acted(dog, killed, "dead_lettered")
        letter = jobs.letter(killed)
        assert (verdict.state, letter.error_type) == ("lost", "unhush.runtime.rounds.JobLost")
        assert (letter.queue, letter.job_name, letter.payload["args"]) == ("mail", on.kinds + "work", ["killed"])
        assert on.kept(killed) == 0
        with on.worker(mine):
            if on.redelivers:
                on.told("heartbeat.dropped", killed)
            assert jobs.redrive(letter) == "redriven"
            on.begun("killed", times=2)
            jobs.mend("killed")
            on.done("killed")
        assert [verdict.done for verdict in dog.run_once()] == []
        assert on.row(well).status == "running"
        jobs.mend("well")
        assert (on.status(well, "finished").rescues, on.kept(well)) == (0, 0)
    assert len(on.lines("begun", "killed")) == 2
    assert [len(jobs.letters(job_id)) for job_id in (killed, well)] == [1, 0]


def test_a_hung_job_is_a_letter_and_what_it_does_late_is_known(by: Framework) -> None:
    """A job past its deadline is a letter while it hangs; when it ends after all that is told, and changes nothing."""
    jobs, (mine, _) = by.jobs, by.queues
    with by.worker(mine), by.watchdog("dead_letter") as dog:
        hung = by.send("bound", "hung")
        by.begun("hung")
        assert by.acted(dog, hung, "dead_lettered").state == "stuck"
        letter = jobs.letter(hung)
        jobs.mend("hung")
        by.told("heartbeat.came_back", hung)
        assert by.row(hung).status == "parked"
        assert jobs.redrive(letter) == "redriven"
        by.begun("hung", times=2)
        jobs.letter(hung, "redriven", 1)
        in_time = by.send("bound", "hung")
        by.status(in_time, "finished")
    assert jobs.letters(in_time) == []


def test_a_failure_that_the_framework_tells_too_is_one_letter(by: Framework) -> None:
    """A job whose own process is killed is captured by its worker and by the watchdog, in one letter; a failing one, too."""
    jobs, (mine, _) = by.jobs, by.queues
    with by.worker(mine), by.watchdog("dead_letter") as dog:
        if not isinstance(by, OnDramatiq):  # whose process is the worker's
            killed = by.send("work", "half")
            os.kill(int(by.begun("half")[0][2]), signal.SIGKILL)
            first = jobs.letter(killed)
            assert first.error_type != "unhush.runtime.rounds.JobLost"
            by.acted(dog, killed, "dead_lettered")
            assert [letter.id for letter in jobs.letters(killed)] == [first.id]
        failing = by.send("bound", "failing")
        by.begun("failing")
        by.acted(dog, failing, "dead_lettered")
        first = jobs.letter(failing)
        jobs.mend("failing-fails")
        by.told("heartbeat.came_back", failing)
        jobs.mend("last-fails")
        jobs.letter(by.send("work", "last"))  # so what was before it is over
        assert [letter.id for letter in jobs.letters(failing)] == [first.id]


def test_a_job_that_is_given_away_runs_again_when_it_is_delivered_again(by_rabbitmq: Framework) -> None:
    """The job of a killed worker that was requeued runs by its broker's redelivery, under a higher number."""
    jobs, (mine, _) = by_rabbitmq.jobs, by_rabbitmq.queues
    with by_rabbitmq.worker(mine) as doomed, by_rabbitmq.watchdog("requeue") as dog:
        job_id = by_rabbitmq.send("work", "again")
        by_rabbitmq.begun("again")
        by_rabbitmq.kill(doomed, "again")
        assert by_rabbitmq.acted(dog, job_id, "requeued").fence == 2
    with by_rabbitmq.worker(mine):
        assert by_rabbitmq.begun("again", times=2)[1][3] == "3"
        jobs.mend("again")
        assert by_rabbitmq.status(job_id, "finished").rescues == 1
    assert jobs.letters(job_id) == []


def test_a_delivery_waits_while_the_job_may_live(by_rabbitmq: Framework) -> None:
    """A delivery that comes before the killed run was silent for long is put back, and runs then; once."""
    jobs, (mine, other) = by_rabbitmq.jobs, by_rabbitmq.queues
    jobs.mend("ready")
    with by_rabbitmq.worker(mine) as doomed:
        job_id = by_rabbitmq.send("work", "early")
        by_rabbitmq.begun("early")
        with by_rabbitmq.worker(mine, other):
            by_rabbitmq.send("work", "ready", other)
            by_rabbitmq.done("ready")
            by_rabbitmq.kill(doomed, "early")
            by_rabbitmq.told("heartbeat.put_back", job_id)
            assert by_rabbitmq.begun("early", times=2)[1][3] == "2"
            jobs.mend("early")
            by_rabbitmq.status(job_id, "finished")
    assert len(by_rabbitmq.lines("begun", "early")) == 2


def test_rq_2424_a_job_that_outlives_its_worker_runs_once(make: Callable[..., Framework]) -> None:
    """A job whose worker alone was killed is neither run beside itself nor again, though RQ has it tried again (rq#2424)."""
    on = make("rq", "redis", "postgresql")
    assert isinstance(on, OnRq)
    jobs, (mine, _) = on.jobs, on.queues
    with on.worker(mine) as doomed:
        job_id = on.send("work", "orphan", retry=Retry(max=1))
        on.begun("orphan")
        os.killpg(doomed.pid, signal.SIGKILL)
        doomed.wait()
    started = StartedJobRegistry(queue=on.queue(mine))
    on.redis.zadd(started.key, {name: 1.0 for name, _ in on.redis.zscan_iter(started.key)})  # its time is over
    with on.worker(mine):
        on.told("heartbeat.put_back", job_id)
        jobs.mend("orphan")
        on.status(job_id, "finished")
        on.told("heartbeat.dropped", job_id)
        last = on.send("work", "orphan")  # what is before it is done by then
        on.status(last, "finished")
        assert Job.fetch(job_id, connection=on.redis).get_status() == JobStatus.FINISHED
    assert len(on.lines("begun", "orphan")) == 2
    assert jobs.letters(job_id) == []


def test_off_and_without_the_database_jobs_run_as_ever(by: Framework, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the flag is off no job beats, and none waits for a database that is away; with both there a job beats."""
    jobs, (mine, _) = by.jobs, by.queues
    dark = mine if by.kinds == "" else f"{mine}-dark"
    for to in ("off", "dark", "on"):
        jobs.mend(to)
    before = number_of_processes(by)
    with by.worker(dark):
        by.send("dark", "dark", dark)
        assert by.begun("dark")[0][3] == "None"
        by.done("dark")
    with monkeypatch.context() as patch:
        patch.setitem(jobs.env, "FEATURE_FLAG_JOB_HEARTBEAT", "false")
        with by.worker(mine):
            by.send("work", "off")
            assert by.begun("off")[0][3] == "None"
            by.done("off")
    assert number_of_processes(by) == before
    with by.worker(mine):
        by.send("work", "on")
        assert by.begun("on")[0][3] == "1"
    assert number_of_processes(by) > before


def number_of_processes(on: Framework) -> int:
    """How many processes ever beat."""
    with on.jobs.dlq.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(processes)).scalar_one()

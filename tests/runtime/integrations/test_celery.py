"""Tests for tasks of Celery, on both brokers, in real workers."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, signals
from jobworkers import Jobs, until
from kombu import Exchange, Queue
from proxy import proxy_before
from sqlalchemy import make_url

from unhush.runtime.integrations.celery import connect, send

WORKER = "-m celery -A celery_jobs worker --pool prefork -c 2 --without-gossip --without-mingle -l INFO".split()
WAIT = {"broker_transport_options": {"max_retries": 1, "interval_start": 0}}


class Tasks:
    """An app that knows the tasks by their names alone, as that of an operator may."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.app = Celery("operator", broker=jobs.broker)
        self.app.conf.update(task_default_queue=jobs.queue, **WAIT)
        connect(self.app, jobs.dlq, queue="mail")

    def send(self, name: str, *args: Any, **options: Any) -> str:
        """Sends a task to the tests' worker; its id."""
        return self.app.send_task(f"celery_jobs.{name}", args, **options).id


@pytest.fixture(scope="module", params=["rabbitmq", "redis"])
def tasks(request: pytest.FixtureRequest, make_jobs: Callable[[str, str], Jobs]) -> Iterator[Tasks]:
    """Tasks on each broker in turn, with a worker for all tests of this module."""
    jobs = make_jobs(request.param, "celery")
    tasks = Tasks(jobs)
    with jobs.program(*WORKER, "-Q", jobs.queue, "-n", jobs.queue):
        yield tasks
        with tasks.app.connection_for_write() as connection:
            connection.default_channel.queue_delete(jobs.queue)


def test_a_failed_task_comes_back_until_it_is_mended(tasks: Tasks) -> None:
    """A failed task is a letter; redriven it fails again into the same letter with its history, and at last succeeds."""
    jobs = tasks.jobs
    task_id = tasks.send("send", "ann", kwargs={"name": "Ann"}, headers={"tenant": "t1"})
    letter = jobs.letter(task_id)
    assert (letter.job_name, letter.attempts, letter.error_type) == ("celery_jobs.send", 1, "ValueError")
    assert (letter.payload["args"], letter.payload["kwargs"]) == (["ann"], {"name": "Ann"})
    assert (letter.headers["routing_key"], letter.headers["tenant"]) == (jobs.queue, "t1")
    assert "no such address" in letter.traceback
    again = jobs.fail_again(letter)
    jobs.mend("ann")
    assert jobs.redrive(again) == "redriven"
    line = until(lambda: next((line for line in jobs.ran() if line.startswith("send ann Ann t1 ")), None))
    assert line.split()[-1] != task_id
    jobs.letter(task_id, "redriven", 2)


def test_a_task_is_captured_when_its_retries_are_used_up(tasks: Tasks) -> None:
    """A task that is tried again is no letter before its last try, and its redrive keeps its letter through retries."""
    jobs = tasks.jobs
    letter = jobs.letter(tasks.send("again", "bob"))
    assert (letter.attempts, jobs.ran().count("try bob")) == (3, 3)
    again = jobs.fail_again(letter)
    assert (again.attempts, jobs.ran().count("try bob")) == (3, 6)


def test_what_is_ignored_or_off_is_no_letter(tasks: Tasks) -> None:
    """A task that asks to be ignored, and one whose flag is off, leave no letter; a rejected one leaves one."""
    jobs = tasks.jobs
    silent = [tasks.send("ignored"), tasks.send("off")]
    until(lambda: {"ignored", "off"} <= set(jobs.ran()))
    assert jobs.letter(tasks.send("rejected")).error_type == "celery.exceptions.Reject"
    assert [jobs.letters(task_id) for task_id in silent] == [[], []]


def test_celery_1628_a_task_whose_process_is_killed_is_not_lost(tasks: Tasks) -> None:
    """A task acknowledged late whose process is killed is a letter, and runs once it is mended (celery#1628)."""
    jobs = tasks.jobs
    letter = jobs.letter(tasks.send("kill", "carl"))
    assert letter.error_type == "billiard.exceptions.WorkerLostError"
    jobs.mend("carl")
    assert jobs.redrive(letter) == "redriven"
    until(lambda: "kill carl" in jobs.ran())


def test_good_job_821_a_task_that_kills_its_process_again_is_parked(tasks: Tasks) -> None:
    """A task that kills its process each time is parked after the last redrive that is allowed (good_job#821)."""
    jobs = tasks.jobs
    parked = jobs.fail_again(jobs.letter(tasks.send("kill", "dora")), "parked")
    assert jobs.redrive(parked) == "wrong_state"


def test_a_task_beyond_its_time_limit_is_a_letter(tasks: Tasks) -> None:
    """A task that is killed at its hard time limit is captured, and its limit is kept."""
    letter = tasks.jobs.letter(tasks.send("slow", "eve", time_limit=1))
    assert letter.error_type == "billiard.exceptions.TimeLimitExceeded"
    assert letter.payload["options"]["time_limit"] == 1


def test_a_message_that_no_worker_understands_is_a_letter(tasks: Tasks) -> None:
    """A task of an unknown name comes back to its letter as long as nobody knows the name."""
    jobs = tasks.jobs
    task_id = tasks.send("gone", 1, headers={"tenant": "t1"}, time_limit=9)
    letter = jobs.letter(task_id)
    assert (letter.job_name, letter.payload["args"]) == ("celery_jobs.gone", [1])
    assert letter.payload["options"] == {"headers": {"tenant": "t1"}, "time_limit": 9}
    jobs.fail_again(letter)


def test_rq_708_a_message_that_cannot_be_read_is_a_letter(tasks: Tasks) -> None:
    """A message that can't be decoded is kept as it came, and runs after somebody mended it (rq#708)."""
    jobs = tasks.jobs
    with tasks.app.connection_for_write() as connection:
        connection.Producer().publish(
            b'[["fay"], {"name": ',
            exchange="",
            routing_key=jobs.queue,
            headers={"task": "celery_jobs.send", "id": "broken", "lang": "py"},
            content_type="application/json",
            content_encoding="utf-8",
        )
    letter = jobs.letter("broken")
    assert letter.payload["body"] == '[["fay"], {"name": '
    again = jobs.fail_again(letter)
    jobs.mend("fay")
    jobs.dlq.edit(again.id, {"args": ["fay"], "kwargs": {"name": "Fay"}}, actor="ann")
    assert jobs.redrive(again) == "redriven"
    until(lambda: any(line.startswith("send fay Fay") for line in jobs.ran()))


def test_an_error_that_cannot_be_pickled_keeps_its_type(tasks: Tasks) -> None:
    """An exception that Celery must replace to send it on is captured as itself."""
    assert tasks.jobs.letter(tasks.send("awkward")).error_type == "celery_jobs.Awkward"


def test_what_follows_a_task_follows_its_redrive(tasks: Tasks) -> None:
    """A linked task runs after the redriven one; a member of a chord is refused, since nobody waits for it."""
    jobs = tasks.jobs
    letter = jobs.letter(tasks.send("linked", "gus", link=tasks.app.signature("celery_jobs.after")))
    jobs.mend("gus")
    assert jobs.redrive(letter) == "redriven"
    until(lambda: "after gus" in jobs.ran())
    in_chord = letter.payload | {"options": {"chord": {"task": "celery_jobs.after"}}}
    member = jobs.dlq.put(
        queue="mail", job_name=letter.job_name, error=ValueError("no"), payload=in_chord, headers=letter.headers
    )
    (outcome,) = jobs.dlq.redrive([member.id], actor="ann")
    assert (outcome.result, "chord" in outcome.detail) == ("failed", True)


def test_a_task_captured_without_its_database_waits_in_the_spool(tasks: Tasks) -> None:
    """What fails while the database is away is in the table after a drain, and can be redriven."""
    jobs = tasks.jobs
    task_id = tasks.send("dark", "hal")
    until(lambda: f"job_id={task_id}" in jobs.log() and "dead_letter.spooled" in jobs.log())
    with jobs.spool_of("dark") as dlq:
        assert dlq.drain().stored == 1
    letter = jobs.letter(task_id)
    jobs.mend("hal")
    assert jobs.redrive(letter) == "redriven"
    until(lambda: "dark hal" in jobs.ran())


def test_a_task_that_nothing_takes_stays_with_the_broker(make_jobs: Callable[[str, str], Jobs]) -> None:
    """A message acknowledged late stays with RabbitMQ where neither database nor spool took its failure (celery#1628)."""
    jobs = make_jobs("rabbitmq", "celery")
    tasks = Tasks(jobs)
    task_id = tasks.send("lost", "ida")
    with jobs.program(*WORKER, "-Q", jobs.queue, "-n", jobs.queue) as worker:
        told = f"job_id={task_id} job_name=celery_jobs.lost queue=mail"
        until(lambda: sum("integration_failed" in x and told in x for x in jobs.log().splitlines()) == 2)
        jobs.letter(tasks.send("rejected"))
        worker.terminate()
        assert worker.wait(30) == 0
    with tasks.app.connection_for_read() as connection:
        channel = connection.default_channel
        message = until(lambda: channel.basic_get(jobs.queue))
        assert (message.headers["id"], channel.basic_get(jobs.queue)) == (task_id, None)
        channel.queue_delete(jobs.queue)


def test_a_task_goes_by_the_exchange_that_it_came_by(tasks: Tasks) -> None:
    """A task of a named exchange is sent by it; where that leads to no queue of RabbitMQ, the redrive failed."""
    jobs = tasks.jobs
    exchange = Exchange(f"{jobs.queue}-by-name", type="direct", durable=False)
    with tasks.app.connection_for_write() as connection:
        queue = Queue(jobs.queue, exchange, routing_key="mine", channel=connection.default_channel)
        exchange(connection.default_channel).declare()
        queue.queue_bind()
        letter = jobs.letter(tasks.send("linked", "kim", exchange=exchange.name, routing_key="mine", queue=None))
        assert (letter.headers["exchange"], letter.headers["routing_key"]) == (exchange.name, "mine")
        jobs.mend("kim")
        assert jobs.redrive(letter) == "redriven"
        until(lambda: "linked kim" in jobs.ran())
        if tasks.app.connection().transport.driver_type == "amqp":
            lost = jobs.dlq.put(
                queue="mail",
                job_name=letter.job_name,
                error=ValueError("no"),
                payload=letter.payload,
                headers=letter.headers | {"routing_key": "nowhere"},
            )
            (outcome,) = jobs.dlq.redrive([lost.id], actor="ann")
            assert (outcome.result, "NO_ROUTE" in outcome.detail) == ("failed", True)
        exchange(connection.default_channel).delete()


PROGRAM = """
import os, signal, sys
from celery_jobs import app, dlq
from unhush.runtime.integrations.celery import send

def send_and_die(letter):
    send(app, letter)
    os.kill(os.getpid(), signal.SIGKILL)

dlq.register("mail", send_and_die)
dlq.redrive([sys.argv[1]], actor="killed")
"""


def test_a_redrive_killed_before_its_mark_is_in_doubt(tasks: Tasks) -> None:
    """A redrive killed between sending and marking leaves its letter in doubt, and its task runs once."""
    jobs = tasks.jobs
    letter = jobs.letter(tasks.send("send", "jo", kwargs={"name": "Jo"}))
    jobs.mend("jo")
    with jobs.program("-c", PROGRAM, letter.id) as redriver:
        assert redriver.wait(20) == -signal.SIGKILL
    until(lambda: any(line.startswith("send jo") for line in jobs.ran()))
    jobs.expire()
    jobs.dlq.reap()
    doubtful = jobs.letter(letter.job_id or "", "in_doubt", 1)
    assert jobs.redrive(doubtful) == "wrong_state"
    assert sum(line.startswith("send jo") for line in jobs.ran()) == 1


def test_a_broker_that_goes_away_leaves_a_redrive_in_doubt(tasks: Tasks, folder: Path) -> None:
    """A broker lost while the task is sent leaves doubt; one that is away before leaves a failed redrive."""
    jobs = tasks.jobs
    url = make_url(jobs.broker)
    letter = jobs.dlq.put(
        queue="mail", job_name="celery_jobs.send", error=ValueError("no"), payload={"args": [], "kwargs": {}}
    )
    with proxy_before(url.host or "", url.port or 0) as proxy:
        app = Celery("cut", broker=url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False))
        app.conf.update(task_default_queue=jobs.queue, **WAIT)
        jobs.dlq.register("mail", lambda letter: send(app, letter), job_name="celery_jobs.send")

        def cut(sender: str, **_: Any) -> None:
            proxy.refuse()

        signals.before_task_publish.connect(cut)
        try:
            first = jobs.dlq.redrive([letter.id], actor="ann")
            jobs.dlq.restore([letter.id], actor="ann")
            second = jobs.dlq.redrive([letter.id], actor="ann")
        finally:
            signals.before_task_publish.disconnect(cut)
            del jobs.dlq._core._handlers["mail", "celery_jobs.send"]
    assert [outcome.result for outcome in (*first, *second)] == ["in_doubt", "parked"]

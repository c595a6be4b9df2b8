"""Tests for messages of Dramatiq, on both brokers, in real workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import Middleware
from jobworkers import Jobs, until
from proxy import proxy_before
from sqlalchemy import make_url

from unhush.runtime.integrations.dramatiq import connect, send

WORKER = "-m dramatiq dramatiq_jobs -p 1 -t 2 --skip-logging".split()


def broker_of(url: str) -> dramatiq.Broker:
    """A broker that no worker runs on."""
    return RedisBroker(url=url) if url.startswith("redis") else RabbitmqBroker(url=url)


class Messages:
    """Messages to actors that are known by their names alone, as an operator may."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.broker = broker_of(jobs.broker)
        self.broker.declare_queue(jobs.queue)
        connect(self.broker, jobs.dlq, queue="mail")

    def send(self, actor: str, /, *args: Any, **kwargs: Any) -> str:
        """Enqueues a message; its id."""
        options = kwargs.pop("options", {})
        message: dramatiq.Message[Any] = dramatiq.Message(self.jobs.queue, actor, args, kwargs, options)
        return self.broker.enqueue(message).message_id


@pytest.fixture(scope="module", params=["rabbitmq", "redis"])
def messages(request: pytest.FixtureRequest, make_jobs: Callable[[str, str], Jobs]) -> Iterator[Messages]:
    """Messages on each broker in turn, with a worker for all tests of this module."""
    messages = Messages(make_jobs(request.param, "dramatiq"))
    with messages.jobs.program(*WORKER):
        yield messages
    delete(messages)


def delete(messages: Messages) -> None:
    """Removes the tests' queues from RabbitMQ."""
    if isinstance(messages.broker, RabbitmqBroker):
        for suffix in ("", ".DQ", ".XQ"):
            messages.broker.channel.queue_delete(messages.jobs.queue + suffix)
    messages.broker.close()


def test_a_failed_message_comes_back_until_it_is_mended(messages: Messages) -> None:
    """A message is a letter after its last retry; redriven it fails again into its letter, and at last succeeds."""
    jobs = messages.jobs
    message_id = messages.send("send", "ann", name="Ann", options={"tenant": "t1"})
    letter = jobs.letter(message_id)
    assert (letter.job_name, letter.attempts, letter.error_type) == ("send", 2, "ValueError")
    assert letter.payload == {"args": ["ann"], "kwargs": {"name": "Ann"}, "options": {"tenant": "t1"}}
    assert "no such address" in letter.traceback
    again = jobs.fail_again(letter)
    jobs.mend("ann")
    assert jobs.redrive(again) == "redriven"
    until(lambda: "send ann Ann" in jobs.ran())
    assert jobs.ran().count("try ann") == 5
    jobs.letter(message_id, "redriven", 2)


def test_messages_that_never_run_are_letters(messages: Messages) -> None:
    """A message for an unknown actor, one that is too old and one whose error its actor throws are letters."""
    jobs = messages.jobs
    gone, old, strict = messages.send("gone"), messages.send("old", "bob"), messages.send("strict", "carl")
    assert jobs.letter(gone).error_type == "dramatiq.errors.ActorNotFound"
    assert "SkipMessage" in jobs.letter(old).error_type
    letter = jobs.letter(strict)
    assert (letter.error_type, letter.attempts) == ("ValueError", 1)
    jobs.mend("carl")
    jobs.redrive(letter)
    until(lambda: "strict carl" in jobs.ran())


def test_a_failure_while_the_flag_is_off_is_no_letter(messages: Messages) -> None:
    """With the flag off a failed message leaves no letter; one that fails with the flag on does."""
    jobs = messages.jobs
    message_id = messages.send("off")
    until(lambda: "off" in jobs.ran())
    jobs.letter(messages.send("strict", "dora"))
    assert jobs.letters(message_id) == []


def test_a_message_captured_without_its_database_waits_in_the_spool(messages: Messages) -> None:
    """What fails while the database is away is in the table after a drain, and can be redriven."""
    jobs = messages.jobs
    message_id = messages.send("dark", "eve")
    until(lambda: f"job_id={message_id}" in jobs.log())
    with jobs.spool_of("dark") as dlq:
        assert dlq.drain().stored == 1
    jobs.mend("eve")
    assert jobs.redrive(jobs.letter(message_id)) == "redriven"
    until(lambda: "dark eve" in jobs.ran())


def test_dramatiq_545_a_message_that_nothing_takes_stays_with_the_broker(
    make_jobs: Callable[[str, str], Jobs],
) -> None:
    """A message whose failure neither database nor spool took is delivered to the next worker (dramatiq#545)."""
    jobs = make_jobs("rabbitmq", "dramatiq")
    messages = Messages(jobs)
    message_id = messages.send("lost", "fay")
    for number in (1, 2):
        with jobs.program(*WORKER) as worker:
            until(lambda number=number: jobs.log().count(f"integration_failed job_id={message_id}") == number)
            os.killpg(worker.pid, signal.SIGKILL)
    assert jobs.ran() == ["lost fay"] * 2
    delete(messages)


REDRIVER = """
import os, signal, sys
from dramatiq_jobs import broker, dlq
from unhush.runtime.integrations.dramatiq import send

def send_and_die(letter):
    send(broker, letter)
    os.kill(os.getpid(), signal.SIGKILL)

dlq.register("mail", send_and_die)
dlq.redrive([sys.argv[1]], actor="killed")
"""


def test_a_redrive_killed_before_its_mark_is_in_doubt(messages: Messages) -> None:
    """A redrive killed between sending and marking leaves its letter in doubt, and its message runs once."""
    jobs = messages.jobs
    letter = jobs.letter(messages.send("strict", "gus"))
    jobs.mend("gus")
    with jobs.program("-c", REDRIVER, letter.id) as redriver:
        assert redriver.wait(20) == -signal.SIGKILL
    until(lambda: "strict gus" in jobs.ran())
    jobs.expire()
    jobs.dlq.reap()
    assert jobs.redrive(jobs.letter(letter.job_id or "", "in_doubt", 1)) == "wrong_state"
    assert jobs.ran().count("strict gus") == 1


def test_a_broker_that_goes_away_leaves_a_redrive_in_doubt(messages: Messages) -> None:
    """A broker lost while the message is sent leaves doubt; one that is away before leaves a failed redrive."""
    jobs = messages.jobs
    url = make_url(jobs.broker)
    letter = jobs.dlq.put(
        queue="cut",
        job_name="send",
        error=ValueError("no"),
        payload={"args": ["hal"], "kwargs": {"name": "Hal"}},
        headers={"queue_name": jobs.queue},
    )
    with proxy_before(url.host or "", url.port or 0) as proxy:
        broker = broker_of(url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False))

        class Cut(Middleware):
            def before_enqueue(self, *_: Any) -> None:
                proxy.refuse()

        broker.add_middleware(Cut())
        jobs.dlq.register("cut", lambda letter: send(broker, letter))
        first = jobs.dlq.redrive([letter.id], actor="ann")
        jobs.dlq.restore([letter.id], actor="ann")
        second = jobs.dlq.redrive([letter.id], actor="ann")
    assert [outcome.result for outcome in (*first, *second)] == ["in_doubt", "parked"]


def test_a_message_to_a_queue_that_is_gone_is_not_sent(messages: Messages) -> None:
    """RabbitMQ says of a queue that is not there that it has none: the redrive failed; Redis makes the queue."""
    jobs = messages.jobs
    letter = jobs.dlq.put(
        queue="mail",
        job_name="send",
        error=ValueError("no"),
        payload={"args": ["ida"], "kwargs": {"name": "Ida"}},
        headers={"queue_name": f"{jobs.queue}-gone"},
    )
    (outcome,) = jobs.dlq.redrive([letter.id], actor="ann")
    if isinstance(messages.broker, RabbitmqBroker):
        assert (outcome.result, "Unroutable" in outcome.detail) == ("failed", True)
    else:
        assert outcome.result == "redriven"

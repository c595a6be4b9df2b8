"""Dramatiq: messages that failed for good become letters, and letters are enqueued again.

Dramatiq's own dead letter queue stays as it is: it forgets messages after a week, the letters don't.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import dramatiq
from dramatiq.middleware import Middleware, MiddlewareError, SkipMessage

from ..beat_errors import AlreadyEnded, AlreadyRunning
from ..dlq import DeadLetterQueue
from ..heartbeat import Heartbeats, Limits
from ..letters import Letter
from . import beating, carrying
from .beating import FINISHED, PARKED, Beating

# What brokers and middleware note in a message's options of one run of it; all else is the sender's.
_OF_THE_RUN = ("retries", "traceback", "requeue_timestamp", "eta", "redis_message_id")


class NotKept(MiddlewareError):
    """Neither database nor spool took the message: it must not leave the broker."""


class NotPutBack(MiddlewareError):
    """The message could not be enqueued again while its job still ran elsewhere."""


class DeadLetterMiddleware(Middleware):
    """Captures a message that failed for good before the broker is told to drop it.

    That is one whose retries are used up, that raised what its actor `throws`, is too old, or names an unknown actor.
    `queue` is the letters' queue, `actors` the names of the actors that are meant; default all. Nothing happens while
    the flag is off. Where neither database nor spool takes it, the message stays with the broker, which delivers it
    again to the next worker.
    """

    def __init__(self, dlq: DeadLetterQueue, *, queue: str = "dramatiq", actors: Collection[str] | None = None) -> None:
        self._dlq = carrying.blocking(dlq)
        self._queue = queue
        self._actors = None if actors is None else frozenset(actors)

    def before_nack(self, broker: dramatiq.Broker, message: Any) -> None:
        """Captures the message. Raises NotKept, with which Dramatiq leaves it alone."""
        if self._actors is not None and message.actor_name not in self._actors:
            return
        try:
            self._keep(broker, message, message._exception or _unsaid(broker, message))
        except Exception as trouble:
            carrying.not_kept(self._dlq, self._queue, message.actor_name, message.message_id, trouble)
            raise NotKept(str(trouble)) from trouble

    def _keep(self, broker: dramatiq.Broker, message: Any, error: BaseException) -> None:
        attempts = _attempts(broker, message, error)
        carrying.keep(self._dlq, error=error, **_described(message, queue=self._queue, attempts=attempts))


class HeartbeatMiddleware(Middleware):
    """Has each run of a message beat: its kind is the actor's name, its job id the message's.

    `limits` are its deadline and the like, by actor name, under `*` those of all others; `queue` and `actors` are as for
    the letters. Nothing happens while the flag `JOB_HEARTBEAT` is off.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        dlq: DeadLetterQueue,
        *,
        queue: str = "dramatiq",
        actors: Collection[str] | None = None,
        limits: Mapping[str, Limits] | None = None,
    ) -> None:
        self._beats = Beating(heartbeats, carrying.blocking(dlq), limits)
        self._queue = queue
        self._actors = None if actors is None else frozenset(actors)

    def before_process_message(self, broker: dramatiq.Broker, message: Any) -> None:
        """Begins to beat. Skips a message whose job runs elsewhere, which is enqueued again, or has ended."""
        if message.failed or (self._actors is not None and message.actor_name not in self._actors):
            return
        name, job_id = message.actor_name, message.message_id
        attempts = (message.options.get("retries") or 0) + 1
        described = partial(_described, message, queue=self._queue, attempts=attempts)
        job = self._beats.job(name, job_id, described, (FINISHED, PARKED))
        try:
            job.__enter__()
        except AlreadyRunning as why:
            beating.put_back(name, job_id, why)
            self._put_back(broker, message)
            raise SkipMessage(str(why)) from why
        except AlreadyEnded as why:
            beating.dropped(name, job_id, why)
            raise SkipMessage(str(why)) from why
        message._unhush_job = job

    def _put_back(self, broker: dramatiq.Broker, message: Any) -> None:
        """Enqueues the message again. Raises NotPutBack, with which it fails: else Dramatiq would run it now."""
        try:
            broker.enqueue(message.copy(), delay=int(self._beats.delay * 1000))
        except Exception as trouble:
            raise NotPutBack(f"its job runs elsewhere, and it could not be enqueued again: {trouble}") from trouble

    def after_process_message(
        self, broker: dramatiq.Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Ends what began."""
        job = message.__dict__.pop("_unhush_job", None)
        if job is not None:
            job.__exit__(type(exception), exception, None)

    def after_skip_message(self, broker: dramatiq.Broker, message: Any) -> None:
        """Ends what began, where another middleware kept the message from running."""
        self.after_process_message(broker, message)

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Says that the process ends."""
        self._beats.heartbeats.close()


def _described(message: Any, *, queue: str, attempts: int) -> dict[str, Any]:
    """What a letter says of the message, but for the error."""
    kept = {k: v for k, v in message.options.items() if k not in (*_OF_THE_RUN, *carrying.CARRIED)}
    payload: dict[str, Any] = {"args": list(message.args), "kwargs": dict(message.kwargs)}
    return {
        "queue": queue,
        "job_name": message.actor_name,
        "job_id": message.message_id,
        "attempts": attempts,
        "payload": payload | ({"options": kept} if kept else {}),
        "headers": {"queue_name": message.queue_name}
        | {k: v for k, v in message.options.items() if k in (*carrying.CARRIED, "traceparent")},
    }


def connect(
    broker: dramatiq.Broker,
    dlq: DeadLetterQueue,
    *,
    queue: str = "dramatiq",
    actors: Collection[str] | None = None,
    heartbeats: Heartbeats | None = None,
    limits: Mapping[str, Limits] | None = None,
) -> None:
    """Gives the broker the middleware, and has the queue's letters enqueued to it again.

    Call it where the broker is made, for workers and for whoever redrives. With `heartbeats`, on the queue's database,
    each run of these actors beats, as HeartbeatMiddleware says.
    """
    broker.add_middleware(DeadLetterMiddleware(dlq, queue=queue, actors=actors))
    if heartbeats is not None:
        broker.add_middleware(HeartbeatMiddleware(heartbeats, dlq, queue=queue, actors=actors, limits=limits))
    dlq.register(queue, lambda letter: send(broker, letter))


def _unsaid(broker: dramatiq.Broker, message: Any) -> Exception:
    """Why a message was rejected that has no exception: Dramatiq 1 does not say that it doesn't know the actor."""
    if message.actor_name not in broker.actors:
        return dramatiq.ActorNotFound(message.actor_name)  # type: ignore[no-untyped-call]
    return RuntimeError("the message was rejected without an exception")


def _attempts(broker: dramatiq.Broker, message: Any, error: BaseException) -> int:
    """How often the message ran. Dramatiq counts each failure but one that the actor `throws`."""
    retries = message.options.get("retries") or 0
    known = message.actor_name in broker.actors
    throws = message.options.get("throws") or (known and broker.get_actor(message.actor_name).options.get("throws"))
    return retries + 1 if throws and isinstance(error, throws) else max(1, retries)


def send(broker: dramatiq.Broker, letter: Letter) -> None:
    """Enqueues the letter's message anew. Raises InDoubt where the connection ends meanwhile."""
    message: dramatiq.Message[Any] = dramatiq.Message(
        queue_name=letter.headers["queue_name"],
        actor_name=letter.job_name,
        args=tuple(letter.payload["args"]),
        kwargs=letter.payload["kwargs"],
        options=(letter.payload.get("options") or {}) | carrying.carried(letter),
        message_id=carrying.redriven_id(letter),
    )
    if hasattr(broker, "client") and hasattr(broker, "scripts"):  # its module needs Redis's library to be imported
        _send_by_redis(broker, message, letter)
    elif hasattr(broker, "confirm_delivery"):
        _send_by_rabbitmq(broker, message, letter)
    else:
        broker.enqueue(message)


def _send_by_redis(broker: Any, message: dramatiq.Message[Any], letter: Letter) -> None:
    from redis.exceptions import ConnectionError, TimeoutError

    from .redis import sends_once

    with sends_once(broker.client) as client:
        client.ping()  # what fails until here has sent nothing
        twin = copy.copy(broker)
        twin.client = client
        twin.scripts = {name: client.register_script(script.script) for name, script in broker.scripts.items()}
        with carrying.sending(letter, (ConnectionError, TimeoutError)):
            twin.enqueue(message)


def _send_by_rabbitmq(broker: Any, message: dramatiq.Message[Any], letter: Letter) -> None:
    """Publishes once and waits for the broker's word: its own `enqueue` would send again after a lost connection."""
    import pika
    from pika.exceptions import AMQPConnectionError

    with _channel(broker.parameters) as channel:  # what fails until here has sent nothing
        broker.emit_before("enqueue", message, None)
        properties = pika.BasicProperties(delivery_mode=2, priority=message.options.get("broker_priority"))
        with carrying.sending(letter, (AMQPConnectionError,)):
            channel.basic_publish("", message.queue_name, message.encode(), properties, mandatory=True)
        broker.emit_after("enqueue", message, None)


@contextmanager
def _channel(parameters: Any) -> Iterator[Any]:
    """A channel of its own on which the broker confirms what it has."""
    import pika

    connection = pika.BlockingConnection(parameters)
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel
    finally:
        if connection.is_open:
            connection.close()

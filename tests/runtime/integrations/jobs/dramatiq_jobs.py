"""Dramatiq actors that fail until a file says that they are mended."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from marks import FOLDER, NOWHERE, mended, note

from unhush.runtime import DeadLetterQueue
from unhush.runtime.flags import Flag
from unhush.runtime.integrations.dramatiq import connect

QUEUE = os.environ["JOBS_QUEUE"]
URL = os.environ["JOBS_BROKER"]

broker = RedisBroker(url=URL) if URL.startswith("redis") else RabbitmqBroker(url=URL)
dramatiq.set_broker(broker)
dlq = DeadLetterQueue(os.environ["JOBS_DATABASE"], spool=FOLDER / "spool", deadline=10, max_redrives=2)
connect(broker, dlq, queue="mail", actors=["send", "strict", "old", "gone"])
connect(broker, DeadLetterQueue(NOWHERE, spool=FOLDER / "dark"), queue="mail", actors=["dark"])
connect(broker, DeadLetterQueue(NOWHERE, spool=FOLDER / "file" / "x"), queue="mail", actors=["lost"])
never = DeadLetterQueue(os.environ["JOBS_DATABASE"], spool=FOLDER / "spool", flag=Flag("DLQ_NEVER_ON"))
connect(broker, never, queue="off", actors=["off"])


@dramatiq.actor(queue_name=QUEUE, max_retries=1, min_backoff=1, max_backoff=1)
def send(to: str, *, name: str) -> None:
    """Fails twice, and for good."""
    note("try", to)
    mended(to)
    note("send", to, name)


@dramatiq.actor(queue_name=QUEUE, throws=(ValueError,))
def strict(to: str) -> None:
    """Fails for good at once."""
    mended(to)
    note("strict", to)


@dramatiq.actor(queue_name=QUEUE, max_age=1)
def old(to: str) -> None:
    """Is too old when it comes."""
    note("old", to)


@dramatiq.actor(queue_name=QUEUE, max_retries=0)
def dark(to: str) -> None:
    """Fails where the database can't be reached."""
    mended(to)
    note("dark", to)


@dramatiq.actor(queue_name=QUEUE, max_retries=0)
def lost(to: str) -> None:
    """Fails where nothing takes its letter."""
    note("lost", to)
    raise ValueError("kept nowhere")


@dramatiq.actor(queue_name=QUEUE, max_retries=0)
def off() -> None:
    """Fails while the flag is off."""
    note("off")
    raise ValueError("nobody asks")

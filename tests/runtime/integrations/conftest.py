"""Brokers with queues of the test's own, a dead letter queue that the test and its workers share, and those workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from jobworkers import Jobs
from redis import Redis
from services import service

# Numbers of Redis databases, for tests alone. They may run at the same time: each has a queue of its own.
REDIS = {"celery": 11, "rq": 12, "dramatiq": 13}


def broker_url(name: str, framework: str) -> str:
    """The address of a broker."""
    if name == "rabbitmq":
        return service("rabbitmq").rstrip("/")  # kombu and pika write the default host in different ways
    return f"{service('redis').rpartition('/')[0]}/{REDIS[framework]}"


def forget(jobs: Jobs) -> None:
    """Removes what the tests' queue left in Redis; RQ's jobs are known by their origin."""
    with Redis.from_url(jobs.broker) as client:
        for key in client.scan_iter():
            origin = client.hget(key, "origin") if key.startswith(b"rq:job:") else None
            if jobs.queue.encode() in key + (origin or b""):
                client.delete(key)


@pytest.fixture(scope="module")
def make_jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Jobs]]:
    """Makes what a test and its workers share, on a broker, for a framework."""
    with ExitStack() as stack:

        def make(broker: str, framework: str, **options: str) -> Jobs:
            folder = tmp_path_factory.mktemp(framework)
            jobs = stack.enter_context(Jobs(folder, broker_url(broker, framework), **options))
            if broker == "redis":
                stack.callback(forget, jobs)
            return jobs

        yield make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the test's own."""
    return tmp_path

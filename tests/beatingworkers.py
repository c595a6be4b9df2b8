"""Workers of job frameworks whose jobs beat: how to start and kill one, send a job to it, and watch what becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import dramatiq
from celery import Celery
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from jobworkers import PROGRAMS, Jobs, until
from redis import Redis
from rq import Queue
from sqlalchemy import select

import unhush.runtime.integrations.celery
import unhush.runtime.integrations.dramatiq
import unhush.runtime.integrations.rq
from unhush.runtime import Verdict, Watchdog
from unhush.runtime.beat_tables import job_letters
from unhush.runtime.beat_tables import jobs as beaten

STUCK_AFTER = 4.0  # seconds; the workers beat twice a second
WELL = "-well"  # ends the name of the queue that no worker is killed for


class Framework(ABC):
    """A framework with two queues, on a broker; its letters are redriven by the test."""

    kinds = ""
    """What stands before the names of functions."""
    redelivers = False
    """Whether the broker delivers the job of a killed worker again."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.queues = (jobs.queue, jobs.queue + WELL)

    @abstractmethod
    def send(self, kind: str, to: str, queue: str | None = None) -> str:
        """Sends a job; its id."""

    @abstractmethod
    def command(self, *queues: str) -> list[str]:
        """What starts a worker for these queues."""

    def close(self) -> None:
        """Ends what still runs: RQ gives the process of a job a session of its own, which outlives the worker's."""
        for line in self.lines("begun"):
            _kill(int(line[2]), self.jobs)

    def worker(self, *queues: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """A worker for these queues, killed at the end."""
        return self.jobs.program(*self.command(*queues))

    def kill(self, worker: subprocess.Popen[bytes], to: str) -> None:
        """Kills the worker and the process of the job, at once."""
        pid = int(self.begun(to)[-1][2])
        os.killpg(worker.pid, signal.SIGKILL)
        _kill(pid, self.jobs)
        worker.wait()

    def lines(self, word: str, to: str | None = None) -> list[list[str]]:
        """What jobs noted under a word."""
        told = [line.split() for line in self.jobs.ran()]
        return [line for line in told if line[0] == word and to in (None, line[1])]

    def begun(self, to: str, times: int = 1) -> list[list[str]]:
        """The runs of a job, once there were so many: each with its process and its fence."""
        return until(lambda: lines if len(lines := self.lines("begun", to)) >= times else [])

    def done(self, to: str) -> None:
        """Waits until the job is done."""
        until(lambda: self.lines("done", to))

    def told(self, event: str, job_id: str) -> None:
        """Waits until a worker has logged that of the job."""
        until(lambda: any(event in line and job_id in line for line in self.jobs.log().splitlines()))

    def row(self, job_id: str) -> Any:
        """The job's row; None where it never beat."""
        with self.jobs.dlq.engine.connect() as connection:
            return connection.execute(select(beaten).where(beaten.c.job_id == job_id)).one_or_none()

    def status(self, job_id: str, status: str) -> Any:
        """The job's row, once it has that status."""
        return until(lambda: row if (row := self.row(job_id)) is not None and row.status == status else None)

    def kept(self, job_id: str) -> int:
        """How many records are kept of a job's run."""
        same = select(job_letters.c.job).join(beaten, beaten.c.id == job_letters.c.job).where(beaten.c.job_id == job_id)
        with self.jobs.dlq.engine.connect() as connection:
            return len(connection.execute(same).all())

    @contextmanager
    def watchdog(self, action: str) -> Iterator[Watchdog]:
        """A watchdog that does this with every kind of job."""
        kinds = [self.kinds + kind for kind in ("work", "bound", "early")]
        actions = dict.fromkeys(kinds, action)
        with Watchdog(
            self.jobs.database, stuck_after=STUCK_AFTER, every=0.5, actions=actions, dlq=self.jobs.dlq
        ) as dog:
            yield dog

    def acted(self, dog: Watchdog, job_id: str, done: str) -> Verdict:
        """The verdict with which the watchdog acted on a job; others than that job are let alone."""
        verdicts: list[Verdict] = []

        def found() -> Verdict | None:
            verdicts.extend(dog.run_once())
            return next((verdict for verdict in verdicts if verdict.job_id == job_id and verdict.done == done), None)

        verdict = until(found)
        assert {other.job_id for other in verdicts} == {job_id}, "another job was taken for bad"
        assert verdict is not None
        return verdict


class OnCelery(Framework):
    """Celery."""

    def __init__(self, jobs: Jobs) -> None:
        super().__init__(jobs)
        self.app = Celery("operator", broker=jobs.broker)
        self.app.conf.task_default_queue = jobs.queue
        self.redelivers = jobs.broker.startswith("amqp")
        unhush.runtime.integrations.celery.connect(self.app, jobs.dlq, queue="mail")

    def send(self, kind: str, to: str, queue: str | None = None) -> str:
        """Sends a task."""
        return self.app.send_task(kind, [to], queue=queue or self.jobs.queue).id

    def command(self, *queues: str) -> list[str]:
        """A worker of one process."""
        options = (
            "-m celery -A beating_celery worker -c 1 --without-gossip --without-mingle --without-heartbeat -l INFO"
        )
        return [*options.split(), "-Q", ",".join(queues), "-n", f"{os.urandom(4).hex()}@unhush"]

    def close(self) -> None:
        """Deletes both queues, too."""
        super().close()
        with self.app.connection_for_write() as connection:
            for queue in self.queues:
                connection.default_channel.queue_delete(queue)


class OnDramatiq(Framework):
    """Dramatiq."""

    redelivers = True

    def __init__(self, jobs: Jobs) -> None:
        super().__init__(jobs)
        redis = jobs.broker.startswith("redis")
        self.broker = RedisBroker(url=jobs.broker) if redis else RabbitmqBroker(url=jobs.broker)
        for queue in self.queues:
            self.broker.declare_queue(queue)
        unhush.runtime.integrations.dramatiq.connect(self.broker, jobs.dlq, queue="mail")

    def send(self, kind: str, to: str, queue: str | None = None) -> str:
        """Enqueues a message."""
        message: dramatiq.Message[Any] = dramatiq.Message(queue or self.jobs.queue, kind, (to,), {}, {})
        return self.broker.enqueue(message).message_id

    def command(self, *queues: str) -> list[str]:
        """A worker of one process with two threads."""
        return [*"-m dramatiq beating_dramatiq -p 1 -t 2 --skip-logging".split(), "-Q", *queues]

    def close(self) -> None:
        """Deletes the queues of RabbitMQ, too."""
        super().close()
        if isinstance(self.broker, RabbitmqBroker):
            for queue in self.queues:
                for suffix in ("", ".DQ", ".XQ"):
                    self.broker.channel.queue_delete(queue + suffix)
        self.broker.close()


class OnRq(Framework):
    """RQ."""

    kinds = "beating_bodies."

    def __init__(self, jobs: Jobs) -> None:
        super().__init__(jobs)
        self.redis = Redis.from_url(jobs.broker)
        unhush.runtime.integrations.rq.register(jobs.dlq, self.redis, queue="mail")

    def send(self, kind: str, to: str, queue: str | None = None, **options: Any) -> str:
        """Enqueues a job."""
        return self.queue(queue or self.jobs.queue).enqueue_call(self.kinds + kind, (to,), **options).id

    def queue(self, name: str) -> Queue:
        """One of the queues."""
        return Queue(name, connection=self.redis)

    def command(self, *queues: str) -> list[str]:
        """A worker."""
        return [str(PROGRAMS / "beating_rq.py"), *queues]


def _kill(pid: int, jobs: Jobs) -> None:
    """Kills a process of these jobs, which may have gone, and its id gone to another."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environment:
            if f"JOBS_FOLDER={jobs.folder}\0".encode() in environment.read():
                os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return

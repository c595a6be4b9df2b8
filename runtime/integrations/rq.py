"""RQ: jobs that failed for good become letters, and letters are enqueued again.

RQ's own registry of failed jobs stays as it is: it forgets them after a while, the letters don't.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError, TimeoutError
from rq import Callback, Queue, Worker
from rq.exceptions import AbandonedJobError, DeserializationError
from rq.job import Job

from ..dlq import DeadLetterQueue
from ..failure import Failure, describe
from ..heartbeat import Heartbeats, Limits
from ..letters import Letter
from ..telling import first_line, log
from . import carrying
from .beating import Beating
from .redis import sends_once
from .rq_beats import FAILURES, beating_class, name_of

_CALLBACKS = ("success", "failure", "stopped")


def worker_class(
    dlq: DeadLetterQueue,
    *,
    queue: str = "rq",
    base: type[Any] = Worker,
    heartbeats: Heartbeats | None = None,
    limits: Mapping[str, Limits] | None = None,
) -> type[Any]:
    """A kind of RQ worker that captures jobs that failed for good before RQ takes note of the failure.

    Also jobs whose process was killed, whose worker was (found by any such worker that cleans the registries), and
    jobs that can't be unpickled. `queue` is the letters' queue. With `heartbeats`, on the queue's database, each run of a
    job beats in the process where it runs: its kind is the function's name, its job id RQ's. `limits` are its deadline
    and the like, by function name, under `*` those of all others. Nothing happens while the flag of each is off.
    """
    captures = _Captures(dlq, queue)
    if heartbeats is not None:
        captures.beats = Beating(heartbeats, captures.dlq, limits)
        base = beating_class(base, captures.beats, captures.described)

    class DeadLetterWorker(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._unhush_error: tuple[str, BaseException] | None = None
            self.push_exc_handler(captures.abandoned)

        def handle_exception(self, job: Job, *exc_info: Any) -> None:
            self._unhush_error = (job.id, exc_info[1])
            super().handle_exception(job, *exc_info)

        def handle_job_failure(self, job: Job, *args: Any, **kwargs: Any) -> None:
            raised, self._unhush_error = self._unhush_error, None
            if self._stopped_job_id != job.id:
                told = str(kwargs.get("exc_string") or "the job ended without a word")
                captures.failed(job, raised[1] if raised is not None and raised[0] == job.id else told)
            super().handle_job_failure(job, *args, **kwargs)

    DeadLetterWorker.__name__ = DeadLetterWorker.__qualname__ = f"DeadLetter{base.__name__}"
    return DeadLetterWorker


def register(dlq: DeadLetterQueue, connection: Redis, *, queue: str = "rq") -> None:
    """Has the queue's letters enqueued again in that Redis, in the RQ queue that each came from."""
    dlq.register(queue, lambda letter: send(connection, letter))


class _Captures:
    """Turns failed RQ jobs into letters."""

    def __init__(self, dlq: DeadLetterQueue, queue: str) -> None:
        self.dlq = carrying.blocking(dlq)
        self.queue = queue
        self.beats: Beating | None = None

    def abandoned(self, job: Job, kind: type[BaseException], error: BaseException, _traceback: Any) -> bool:
        """RQ's handler of exceptions, of which this takes only jobs whose worker is gone; lets others go on."""
        if issubclass(kind, AbandonedJobError) and not self._lives(job):
            self.failed(job, error)
        return True

    def _lives(self, job: Job) -> bool:
        """Whether the job still runs: its process may outlive its worker."""
        try:
            return self.beats is not None and self.beats.lives(name_of(job), job.id)
        except Exception as trouble:  # noqa: BLE001 - a letter too many is better than none
            log("warning", "heartbeat.not_asked", job_id=job.id, error=first_line(trouble))
            return False

    def failed(self, job: Job, error: BaseException | str) -> None:
        """Counts the failure, and captures the job where RQ won't try it again. Never raises."""
        try:
            self._failed(job, error)
        except Exception as trouble:  # noqa: BLE001 - logged; RQ keeps the failed job, too
            carrying.not_kept(self.dlq, self.queue, job.origin, job.id, trouble)

    def _failed(self, job: Job, error: BaseException | str) -> None:
        if not self.dlq._core.flag.on(job.meta.get(carrying.JOB_HEADER) or job.id):
            return
        failures = int(job.meta.get(FAILURES) or 0) + 1
        if not job.retries_left:
            self._keep(job, error, failures)
        job.meta[FAILURES] = failures
        job.save_meta()  # type: ignore[no-untyped-call]

    def _keep(self, job: Job, error: BaseException | str, failures: int) -> None:
        told = _killed(error) if isinstance(error, str) else error
        carrying.keep(self.dlq, error=told, **self.described(job, failures))

    def described(self, job: Job, failures: int) -> dict[str, Any]:
        """What a letter says of the job that has failed so often, but for the error."""
        name, payload = _payload_of(job)
        return {
            "queue": self.queue,
            "job_name": name,
            "job_id": job.id,
            "attempts": failures,
            "payload": payload,
            "headers": {"origin": job.origin}
            | {k: v for k, v in job.meta.items() if k in (*carrying.CARRIED, "traceparent")},
        }


def _killed(told: str) -> Failure:
    """The failure of a job whose process ended without an exception."""
    lines = told.strip().splitlines()
    return describe(AbandonedJobError(lines[-1] if lines else told))


def _payload_of(job: Job) -> tuple[str, dict[str, Any]]:
    """The job's name and how to call it; for what can't be unpickled, its data as they are."""
    meta = {name: value for name, value in job.meta.items() if name not in (*carrying.CARRIED, FAILURES)}
    options: dict[str, Any] = {
        "timeout": job.timeout,
        "result_ttl": job.result_ttl,
        "failure_ttl": job.failure_ttl,
        "meta": meta,
        "callbacks": {name: found for name in _CALLBACKS if (found := _callback(job, name))},
    }
    kept = {name: value for name, value in options.items() if value not in (None, {}, [])}
    try:
        return str(job.func_name), {"args": list(job.args), "kwargs": dict(job.kwargs), "options": kept}
    except DeserializationError:
        return job.origin, {"data": job.data, "options": kept}


def _callback(job: Job, name: str) -> Any:
    return getattr(job, f"_{name}_callback_name", None)


def send(connection: Redis, letter: Letter) -> None:
    """Enqueues the letter's job anew. Raises InDoubt where the connection ends meanwhile."""
    with sends_once(connection) as client:
        job = _job_of(letter, client)
        client.ping()  # what fails until here has sent nothing
        with carrying.sending(letter, (ConnectionError, TimeoutError)):
            Queue(job.origin, connection=client).enqueue_job(job)


def _job_of(letter: Letter, client: Redis) -> Job:
    options: Mapping[str, Any] = letter.payload.get("options") or {}
    choices: dict[str, Any] = {name: options.get(name) for name in ("timeout", "result_ttl", "failure_ttl")}
    choices |= {f"on_{name}": Callback(found) for name, found in (options.get("callbacks") or {}).items()}
    job = Job.create(
        letter.job_name,
        letter.payload.get("args"),
        letter.payload.get("kwargs"),
        connection=client,
        origin=letter.headers["origin"],
        id=carrying.redriven_id(letter),
        meta=dict(options.get("meta") or {}) | carrying.carried(letter),
        **choices,
    )
    if "data" in letter.payload:
        job.data = letter.payload["data"]
    return job

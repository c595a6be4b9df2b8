"""RQ: each run of a job beats, in the process that RQ forks for it, or in the worker's own for a SimpleWorker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rq import Queue
from rq.exceptions import DeserializationError
from rq.job import Job, JobStatus

from .. import heartbeat
from ..beat_errors import AlreadyEnded, AlreadyRunning
from . import beating, carrying
from .beating import FINISHED, PARKED, Beating

# In a job's meta: how often it failed so far.
FAILURES = "unhush-failures"


def beating_class(base: type[Any], beats: Beating, described: Callable[[Job, int], dict[str, Any]]) -> type[Any]:
    """A kind of worker whose jobs beat while they run; `described` is what a letter says of one."""

    class BeatingWorker(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._unhush_run: heartbeat.Job | None = None
            beats.preload()

        def perform_job(self, job: Job, queue: Queue, *execution: Any) -> bool:
            try:
                return self._unhush_perform(job, queue, *execution)
            finally:
                self._unhush_end(RuntimeError("the job's end was not told"))
                if self._is_horse:
                    beats.heartbeats.close()  # its process leaves without Python's own handlers of that

        def _unhush_perform(self, job: Job, queue: Queue, *execution: Any) -> bool:
            again = carrying.AGAIN_HEADER in job.meta
            failures = int(job.meta.get(FAILURES) or 0) + 1
            ended = (FINISHED, PARKED) if again else (PARKED,)
            run = beats.job(name_of(job), job.id, lambda: described(job, failures), ended)
            try:
                run.__enter__()
            except AlreadyRunning as why:
                beating.put_back(name_of(job), job.id, why)
                self._unhush_put_back(job, queue, *execution)
                return False
            except AlreadyEnded as why:
                beating.dropped(name_of(job), job.id, why)
                self._unhush_drop(job, queue, why, *execution)
                return False
            self._unhush_run = run
            return bool(super().perform_job(job, queue, *execution))

        def handle_execution_ended(self, job: Job, *args: Any, **kwargs: Any) -> None:
            if job._status != JobStatus.FAILED:  # else it has yet to be captured
                self._unhush_end(None)
            super().handle_execution_ended(job, *args, **kwargs)

        def handle_job_failure(self, job: Job, *args: Any, **kwargs: Any) -> None:
            self._unhush_end(RuntimeError("the job failed"))  # before RQ has it tried again
            super().handle_job_failure(job, *args, **kwargs)

        def _unhush_end(self, error: BaseException | None) -> None:
            run, self._unhush_run = self._unhush_run, None
            if run is not None:
                run.__exit__(None if error is None else type(error), error, None)

        def _unhush_put_back(self, job: Job, queue: Queue, *execution: Any) -> None:
            """Enqueues the job again; waits before, since RQ can't delay without a scheduler."""
            time.sleep(beats.delay)
            job.meta[carrying.AGAIN_HEADER] = "1"
            job.save_meta()  # type: ignore[no-untyped-call]
            queue.push_job_id(job.id)
            self._unhush_clean(job, queue, *execution)

        def _unhush_drop(self, job: Job, queue: Queue, why: AlreadyEnded, *execution: Any) -> None:
            """Has RQ know the job as what it is: finished, or failed and not to be tried again."""
            if why.status == FINISHED:
                job.set_status(JobStatus.FINISHED)
                job.cleanup(job.get_result_ttl(self.default_result_ttl), remove_from_queue=False)
            else:
                job.retries_left = job.ended_at = None
                named = {"execution": execution[0]} if execution else {}
                base.handle_job_failure(self, job, queue=queue, exc_string=str(why), **named)
            self._unhush_clean(job, queue, *execution)

        def _unhush_clean(self, job: Job, queue: Queue, *execution: Any) -> None:
            with self.connection.pipeline() as pipeline:
                pipeline.lrem(queue.intermediate_queue_key, 1, job.id)
                if execution:
                    self.cleanup_execution(job, pipeline, *execution)
                else:
                    self.cleanup_execution(job, pipeline)
                pipeline.execute()

    return BeatingWorker


def name_of(job: Job) -> str:
    """The name of the job's function; that of its queue where it can't be read."""
    try:
        return str(job.func_name)
    except DeserializationError:
        return str(job.origin)

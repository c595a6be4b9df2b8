"""What Procrastinate and Celery do with a job that failed for good, on PostgreSQL, driven as their workers drive it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import make_url


@contextmanager
def procrastinate_failure(url: str, jobs: int) -> Iterator[Callable[[Exception], None]]:
    """A call that ends the next fetched job as its worker does: logs the error, and marks the job as failed.

    The log is the only place where Procrastinate keeps the error; here it leads nowhere.
    """
    from procrastinate import App, PsycopgConnector
    from procrastinate.jobs import Status

    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    app = App(connector=PsycopgConnector(conninfo=conninfo))

    @app.task(name="send")
    def send(number: int) -> None:
        raise NotImplementedError

    loop = asyncio.new_event_loop()

    async def prepare() -> list[int]:
        await app.open_async()
        await app.schema_manager.apply_schema_async()
        await send.batch_defer_async(*({"number": number} for number in range(jobs)))
        worker = await app.job_manager.register_worker()
        fetched = [await app.job_manager.fetch_job(None, worker_id=worker) for _ in range(jobs)]
        return [job.id for job in fetched]

    waiting = iter(loop.run_until_complete(prepare()))

    log = logging.getLogger("procrastinate.worker")
    log.propagate = False
    nowhere = logging.StreamHandler(open(os.devnull, "w"))  # noqa: SIM115 - closed below
    log.addHandler(nowhere)

    def fail(error: Exception) -> None:
        job_id = next(waiting)
        log.error("Job send[%s] ended with status: Error", job_id, exc_info=error)
        finish = app.job_manager.finish_job_by_id_async(job_id=job_id, status=Status.FAILED, delete_job=False)
        loop.run_until_complete(finish)

    try:
        yield fail
    finally:
        log.removeHandler(nowhere)
        nowhere.stream.close()
        loop.run_until_complete(app.close_async())
        loop.close()


def celery_failure(url: str) -> Callable[[str, Exception], None]:
    """A call that stores the failure of a task in Celery's result backend."""
    from celery import Celery

    app = Celery("bench", backend=f"db+{url}", broker="memory://")

    def fail(task_id: str, error: Exception) -> None:
        app.backend.mark_as_failure(task_id, error, traceback="Traceback ...")

    return fail

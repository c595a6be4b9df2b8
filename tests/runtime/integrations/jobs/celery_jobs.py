"""The Celery app that the tests' workers run: tasks that fail until a file says that they are mended."""

from __future__ import annotations

import os
import signal
import time

from celery import Celery
from celery.exceptions import Ignore, Reject
from marks import FOLDER, NOWHERE, is_mended, mended, note

from unhush.runtime import DeadLetterQueue
from unhush.runtime.flags import Flag
from unhush.runtime.integrations.celery import connect

app = Celery("jobs", broker=os.environ["JOBS_BROKER"])
app.conf.update(
    task_default_queue=os.environ["JOBS_QUEUE"],
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600},
    worker_prefetch_multiplier=10,
    task_ignore_result=True,
    worker_lost_wait=0.2,
    worker_cancel_long_running_tasks_on_connection_loss=True,
)
dlq = DeadLetterQueue(os.environ["JOBS_DATABASE"], spool=FOLDER / "spool", deadline=10, max_redrives=2)
MAIL = [f"celery_jobs.{name}" for name in "send again ignored rejected slow linked awkward gone".split()]
connect(app, dlq, queue="mail", tasks=MAIL)
once = DeadLetterQueue(os.environ["JOBS_DATABASE"], spool=FOLDER / "spool", deadline=10, max_redrives=1)
connect(app, once, queue="mail", tasks=["celery_jobs.kill"])
connect(app, DeadLetterQueue(NOWHERE, spool=FOLDER / "dark"), queue="mail", tasks=["celery_jobs.dark"])
connect(app, DeadLetterQueue(NOWHERE, spool=FOLDER / "file" / "x"), queue="mail", tasks=["celery_jobs.lost"])
never = DeadLetterQueue(os.environ["JOBS_DATABASE"], spool=FOLDER / "spool", flag=Flag("DLQ_NEVER_ON"))
connect(app, never, queue="off", tasks=["celery_jobs.off"])


@app.task(bind=True, acks_late=True)
def send(self, to: str, *, name: str) -> None:
    mended(to)
    note("send", to, name, (self.request.headers or {}).get("tenant"), self.request.id)


@app.task(bind=True, max_retries=2)
def again(self, to: str) -> None:
    note("try", to)
    try:
        mended(to)
    except ValueError as error:
        raise self.retry(exc=error, countdown=0) from error
    note("again", to)


@app.task
def ignored() -> None:
    note("ignored")
    raise Ignore


@app.task(acks_late=True)
def rejected() -> None:
    raise Reject("not for us", requeue=False)


@app.task(acks_late=True)
def kill(to: str) -> None:
    if not is_mended(to):
        os.kill(os.getpid(), signal.SIGKILL)
    note("kill", to)


@app.task(acks_late=True, time_limit=1)
def slow(to: str) -> None:
    if not is_mended(to):
        time.sleep(60)
    note("slow", to)


@app.task
def linked(to: str) -> str:
    mended(to)
    note("linked", to)
    return to


@app.task
def after(to: str) -> None:
    note("after", to)


class Awkward(Exception):
    """An error that can't be pickled."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)
        self.lock = open
        self.call = lambda: two


@app.task
def awkward() -> None:
    raise Awkward("one", "two")


@app.task
def dark(to: str) -> None:
    mended(to)
    note("dark", to)


@app.task(acks_late=True)
def lost(to: str) -> None:
    note("lost", to)
    raise ValueError("kept nowhere")


@app.task
def off() -> None:
    note("off")
    raise ValueError("nobody asks")

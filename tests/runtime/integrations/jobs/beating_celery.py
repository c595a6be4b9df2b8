"""The Celery app whose tasks beat."""

from __future__ import annotations

import os

import beating_bodies
from celery import Celery

from unhush.runtime.integrations.celery import connect

app = Celery("beating", broker=os.environ["JOBS_BROKER"])
app.conf.update(
    task_default_queue=os.environ["JOBS_QUEUE"],
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
)
KINDS = ["work", "bound", "early"]
connect(
    app,
    beating_bodies.dlq,
    queue="mail",
    tasks=KINDS,
    heartbeats=beating_bodies.heartbeats,
    limits=beating_bodies.LIMITS,
)
connect(app, beating_bodies.dlq, queue="mail", tasks=["dark"], heartbeats=beating_bodies.in_the_dark)

for kind in (*KINDS, "dark"):
    app.task(beating_bodies.work, name=kind, acks_late=kind != "early")

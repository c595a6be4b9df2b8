"""Celery: each run of a task beats, in the process and thread where it runs.

The task's `run` is wrapped in the worker, as Celery itself does it for `autoretry_for`: a signal can't keep a task from
running. Pools that fork inherit the wrapping, and begin to beat in the child.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from celery import signals
from celery.exceptions import Ignore

from ..beat_errors import AlreadyEnded, AlreadyRunning
from . import beating, carrying
from .beating import FINISHED, PARKED, Beating


def wrap(task: Any, beats: Beating, described: Callable[[str, Any], dict[str, Any]]) -> None:
    """Has the task's runs in this worker beat; calls of it by other code, and eager ones, are left as they are."""
    inner = task.run

    @functools.wraps(inner)
    def run(*args: Any, **kwargs: Any) -> Any:
        request = task.request
        if request.called_directly or request.is_eager or beating.runs_here(task.name, request.id):
            return inner(*args, **kwargs)
        job = beats.job(task.name, request.id, lambda: described(task.name, request), _ended(request))
        with ExitStack() as stack:
            try:
                stack.enter_context(job)
            except AlreadyRunning as why:
                _put_back(task, request, beats.delay, why)
            except AlreadyEnded as why:
                beating.dropped(task.name, request.id, why)
                raise Ignore(str(why)) from why
            return inner(*args, **kwargs)

    task.run = run


def close_in_children(beats: Beating) -> None:
    """Has a pool's process say that it ends, which leaves without Python's own handlers of that."""

    def close(**_: Any) -> None:
        beats.heartbeats.close()

    signals.worker_process_shutdown.connect(close, weak=False)


def _ended(request: Any) -> tuple[str, ...]:
    """The statuses of the job in which this is a delivery too many: a retry comes after a run, and is none."""
    if _is_redelivered(request):
        return (FINISHED, PARKED)
    return (PARKED,) if request.retries else ()


def _is_redelivered(request: Any) -> bool:
    return bool((request.delivery_info or {}).get("redelivered") or carrying.AGAIN_HEADER in (request.headers or {}))


def _put_back(task: Any, request: Any, delay: float, why: AlreadyRunning) -> None:
    """Sends the message again, to be tried later, as the same try of the same task. Raises Ignore: this one is done."""
    headers = dict(request.headers or {})
    if _is_redelivered(request):
        headers[carrying.AGAIN_HEADER] = "1"
    beating.put_back(task.name, request.id, why)
    again = task.signature_from_request(request, countdown=delay, retries=request.retries, headers=headers)
    again.apply_async()
    raise Ignore(str(why)) from why

"""Looking at jobs that beat, or did last: for people and for health checks. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from . import beats, watching
from .beat_tables import RUNNING, jobs, processes
from .columns import database_now
from .cursor import id_in
from .letters import check_text
from .states import state_of

PAGE = 500  # rows that are read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The latest run of a job. `state` is how it stands while it runs, else how it ended."""

    id: str
    kind: str
    job_id: str
    state: str
    fence: int
    rescues: int
    host: str | None
    pid: int | None
    process: str | None
    started_at: datetime
    beat_at: datetime
    every: float
    progress: float | None
    progress_at: datetime
    note: str | None
    deadline_at: datetime | None
    ended_at: datetime | None
    loop_lag_ms: float | None


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, in the order in which they were first seen; where the next page begins, None at the end."""

    jobs: Sequence[Job]
    cursor: str | None
    now: datetime


def list_jobs(
    connection: Connection,
    *,
    stuck_after: float,
    kind: str | None = None,
    state: str | None = None,
    ended: bool = False,
    limit: int = 50,
    cursor: str | None = None,
) -> JobPage:
    """Jobs that run, of a kind or in a state where these are said; with `ended` those that ended too.

    Raises DeadLetterError for a kind that no column holds, and BadCursor for a cursor that no page gave.
    """
    check_text("kind", kind, most=None)
    cursor = None if cursor is None else id_in(cursor)
    now = beats.read_clock(connection, database_now)
    rows = _ROWS.order_by(jobs.c.id).limit(PAGE)
    if kind is not None:
        rows = rows.where(jobs.c.kind == kind)
    if not ended:
        rows = rows.where(jobs.c.status == RUNNING)
    found: list[Job] = []
    while True:
        page = connection.execute(rows if cursor is None else rows.where(jobs.c.id > cursor)).all()
        for row in page:
            if len(found) == limit:
                return JobPage(found, found[-1].id, now)
            job = _job(row, now, stuck_after)
            if state in (None, job.state):
                found.append(job)
        if len(page) < PAGE:
            return JobPage(found, None, now)
        cursor = page[-1].id


def get_jobs(connection: Connection, job_id: str, *, stuck_after: float, kind: str | None = None) -> Sequence[Job]:
    """The jobs with that id: one of each kind. Raises DeadLetterError for what no column holds."""
    check_text("the job's id", job_id, most=None)
    check_text("kind", kind, most=None)
    now = beats.read_clock(connection, database_now)
    rows = _ROWS.where(jobs.c.job_id == job_id).order_by(jobs.c.kind)
    if kind is not None:
        rows = rows.where(jobs.c.kind == kind)
    return [_job(row, now, stuck_after) for row in connection.execute(rows)]


_ROWS = select(
    jobs,
    processes.c.host,
    processes.c.pid,
    processes.c.name.label("process"),
    processes.c.loop_lag_ms,
    processes.c.beat_at.label("process_beat_at"),
    processes.c.stopped_at.label("process_stopped_at"),
).select_from(jobs.outerjoin(processes, processes.c.id == jobs.c.process_id))


def _job(row: Any, now: datetime, stuck_after: float) -> Job:
    state = state_of(watching.signs_of(row), now, stuck_after) if row.status == RUNNING else row.status
    names = [name for name in Job.__slots__ if name != "state"]
    return Job(state=state, **{name: getattr(row, name) for name in names})

"""Running jobs and a watchdog's verdicts, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .excerpt import shown
from .letters import age
from .table import Column, Table

if TYPE_CHECKING:
    from ..runtime.running import Job
    from ..runtime.watchdog import Verdict

STATE_COLORS = {
    "alive": "green",
    "late": "yellow",
    "stalled": "bold magenta",
    "stuck": "bold magenta",
    "lost": "bold red",
    "finished": "dim",
    "failed": "red",
    "parked": "yellow",
}


def jobs(found: Sequence[Job], now: datetime) -> Table:
    """A page of jobs."""
    columns = [
        Column("job", cut=True),
        Column("kind", cut=True),
        Column("state", colors=STATE_COLORS),
        Column("progress", right=True, spare=True),
        Column("beat", right=True),
        Column("age", right=True),
        Column("process", cut=True, spare=True),
        Column("note", cut=True, spare=True),
    ]
    return Table(columns, [_row(job, now) for job in found])


def _row(job: Job, now: datetime) -> list[str]:
    return [
        job.job_id,
        job.kind,
        job.state,
        "" if job.progress is None else f"{job.progress:g}",
        age(job.beat_at, now),
        age(job.started_at, now),
        "" if job.host is None else f"{job.host}:{job.pid}",
        job.note or "",
    ]


def job(found: Job) -> Iterator[str]:
    """One job whole, a line for each fact."""
    for name in found.__slots__:
        value = getattr(found, name)
        if isinstance(value, datetime):
            value = value.astimezone(UTC).isoformat(" ", "seconds")
        yield f"{name + ':':14}{shown('' if value is None else str(value))}".rstrip() + "\n"


def verdicts(found: Sequence[Verdict], now: datetime) -> Table:
    """What a watchdog saw and did."""
    columns = [
        Column("job", cut=True),
        Column("kind", cut=True),
        Column("state", colors=STATE_COLORS),
        Column("done"),
        Column("beat", right=True),
        Column("detail", cut=True, spare=True),
    ]
    return Table(
        columns, [[one.job_id, one.kind, one.state, one.done, age(one.beat_at, now), one.detail] for one in found]
    )

"""Whether all is well with a database, this host's spool, the dead letters and the watchdogs. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, select

from . import acts, beats, flag_rows, watching
from .beat_tables import watchdogs
from .columns import database_now
from .dlq import DeadLetterQueue
from .flag_tables import flags
from .heartbeat import FLAG
from .tables import DEAD

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from unhush.sql.runner import Status

HEARTBEATS = 2  # the migration that makes their tables
GAPS = 3  # a watchdog that has not run for so many of its usual gaps is late
LEAST_GAP = 60.0  # seconds below which no gap counts as late


@dataclass(frozen=True, slots=True)
class Watching:
    """A watchdog's own life."""

    name: str
    host: str
    pid: int
    last_run_at: datetime
    late: bool
    braked: bool


@dataclass(frozen=True, slots=True)
class Health:
    """What was found; `problems` has a line for each thing that is wrong."""

    migrations: dict[str, Any]
    spool: dict[str, int]
    dead: int
    jobs: dict[str, Any]
    watchdogs: Sequence[Watching]
    problems: Sequence[str]


def look(engine: Engine, status: Status, *, max_dead: int | None = None, spool: str | None = None) -> Health:
    """How things stand on a database whose migrations stand as `status` says."""
    with DeadLetterQueue(engine, spool=spool) as dlq:
        stats = dlq.stats() if status.current else None
        size = dlq._core.spool.size()
    dead = sum(depth.count for depth in stats.depths if depth.status == DEAD) if stats else 0
    found: Sequence[Watching] = ()
    running: dict[str, Any] = {"running": 0, "oldest_beat_at": None}
    if status.current >= HEARTBEATS:
        found, summary = acts.read(engine, _watchdogs), acts.read(engine, watching.summary)
        running = {"running": summary.running, "oldest_beat_at": summary.oldest_beat_at}
    pending = [step.label for step in status.pending]
    problems = [*status.problems, *(f"{label} is pending: run `unhush db upgrade`" for label in pending)]
    if size.corrupt or size.refused:
        problems.append(f"the spool has set aside {size.corrupt} corrupt and {size.refused} refused records")
    if max_dead is not None and dead > max_dead:
        problems.append(f"there are {dead} dead letters, more than {max_dead}")
    problems += _wrong_with(found, running["running"])
    return Health(
        migrations={"current": status.current, "latest": status.latest, "pending": pending},
        spool={"records": size.records, "bytes": size.bytes, "corrupt": size.corrupt, "refused": size.refused},
        dead=dead,
        jobs=running,
        watchdogs=found,
        problems=problems,
    )


def _watchdogs(connection: Connection) -> Sequence[Watching]:
    now, wanted = beats.read_clock(connection, database_now), not _switched_off(connection)
    return [
        Watching(
            name=row.name,
            host=row.host,
            pid=row.pid,
            last_run_at=row.last_run_at,
            late=wanted and (now - row.last_run_at).total_seconds() > max(GAPS * row.gap, LEAST_GAP),
            braked=row.braked_at is not None,
        )
        for row in connection.execute(select(watchdogs).order_by(watchdogs.c.name))
    ]


def _switched_off(connection: Connection) -> bool:
    """Whether the database's own flag is off for every job, as after a rollback: then no watchdog is to run."""
    row = flag_rows.read(connection).get(FLAG) if inspect(connection).has_table(flags.name) else None
    return row is not None and not row.part


def _wrong_with(found: Sequence[Watching], running: int) -> Iterator[str]:
    if running and not found:
        yield f"{running} jobs beat, and no watchdog has ever run"
    for one in found:
        if one.late:
            yield f"watchdog {one.name!r} on {one.host} has not run since {one.last_run_at:%Y-%m-%d %H:%M:%S} UTC"
        if one.braked:
            yield f"watchdog {one.name!r} touches nothing: too many jobs are in a bad state at once"

"""What heartbeats write to the database: each act one function over a Connection, fenced, by the database's clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, text
from sqlalchemy.orm import Session

from . import beat_letters
from .beat_claims import TAKE_OVER_INTERVALS, claim, lives
from .beat_ends import end
from .beat_errors import LeaseLost
from .beat_rows import fences, lock_free, moment, read_clock
from .beat_tables import FINISHED, RUNNING, jobs, processes
from .beat_terms import Claim, Clock, Process, Pulse, Terms
from .columns import UtcDateTime, database_now

__all__ = [
    "BATCH",
    "TAKE_OVER_INTERVALS",
    "Claim",
    "Clock",
    "Process",
    "Pulse",
    "Terms",
    "beat_jobs",
    "beat_process",
    "claim",
    "end",
    "finish",
    "guard",
    "lives",
    "lock_free",
    "mark_orphaned",
    "read_clock",
    "stop_process",
]

BATCH = 1000  # beats in one statement


def beat_process(
    connection: Connection, process: Process, lag_ms: float | None = None, clock: Clock = database_now
) -> None:
    """Writes that the process lives; makes its row where it has none."""
    now = moment(clock)
    beaten = processes.update().where(processes.c.id == process.id).values(beat_at=now, loop_lag_ms=lag_ms)
    if connection.execute(beaten).rowcount == 0:
        row = {"id": process.id, "name": process.name, "host": process.host, "pid": process.pid, "every": process.every}
        connection.execute(processes.insert().values(**row, started_at=now, beat_at=now, loop_lag_ms=lag_ms))


def stop_process(connection: Connection, process_id: str, clock: Clock = database_now) -> None:
    """Writes that the process ends by its own will."""
    connection.execute(processes.update().where(processes.c.id == process_id).values(stopped_at=moment(clock)))


def beat_jobs(connection: Connection, pulses: Sequence[Pulse], clock: Clock = database_now) -> set[Claim]:
    """Writes the beats of up to BATCH jobs in one statement; gives the runs that were given away or have ended.

    A row that its own job has locked is left out: its process beats for it.
    """
    guarded = [pulse.claim.id for pulse in pulses if pulse.guarded]
    if guarded:
        free = lock_free(connection, guarded)
        pulses = [pulse for pulse in pulses if not pulse.guarded or pulse.claim.id in free]
    if not pulses or _write_beats(connection, pulses, clock) == len(pulses):
        return set()
    running = fences(connection, [pulse.claim.id for pulse in pulses], (RUNNING,))
    return {pulse.claim for pulse in pulses if running.get(pulse.claim.id) != pulse.claim.fence}


def _write_beats(connection: Connection, pulses: Sequence[Pulse], clock: Clock) -> int:
    """How many of the rows were still those of these runs."""
    beats = map(_told, sorted(pulses, key=_row_of))  # all lock rows in one order: no deadlocks
    now = clock()
    form = _BEATS["mariadb" if connection.dialect.name == "mysql" else connection.dialect.name]
    if isinstance(now, datetime):
        statement = text(form.format(now=":now")).bindparams(bindparam("now", now, UtcDateTime()))
    else:
        statement = text(form.format(now=now.compile(dialect=connection.dialect)))
    return connection.execute(statement, {"beats": f"[{','.join(beats)}]"}).rowcount


def _row_of(pulse: Pulse) -> str:
    return pulse.claim.id


def _told(pulse: Pulse) -> str:
    """The beat in JSON. Most have nothing to tell: what is left out counts as null, and costs nobody anything."""
    row = f'"id":"{pulse.claim.id}","fence":{pulse.claim.fence}'
    if pulse.moved:
        row += f',"moved":1,"progress":{json.dumps(pulse.progress)}'
    if pulse.left is not None:
        row += f',"left":{pulse.left:.3f}'
    if pulse.note is not None:
        row += f',"note":{json.dumps(pulse.note)}'
    return f"{{{row}}}"


# One statement for many jobs: the beats come as one JSON text, which each of the databases can read as rows.
_BEATS = {
    "postgresql": """
UPDATE unhush_job AS job
SET beat_at = {now}, note = coalesce(b.note, job.note),
    progress = CASE b.moved WHEN 1 THEN b.progress ELSE job.progress END,
    progress_at = CASE b.moved WHEN 1 THEN {now} ELSE job.progress_at END,
    deadline_at = coalesce({now} + make_interval(secs => b."left"), job.deadline_at)
FROM json_to_recordset(CAST(:beats AS json))
    AS b (id uuid, fence bigint, progress double precision, note text, moved integer, "left" double precision)
WHERE job.id = b.id AND job.fence = b.fence AND job.status = 'running'
""",
    "sqlite": """
UPDATE unhush_job
SET beat_at = {now}, note = coalesce(b.note, unhush_job.note),
    progress = CASE b.moved WHEN 1 THEN b.progress ELSE unhush_job.progress END,
    progress_at = CASE b.moved WHEN 1 THEN {now} ELSE unhush_job.progress_at END,
    deadline_at = coalesce(
        strftime('%Y-%m-%d %H:%M:%f000', {now}, b.seconds_left || ' seconds'), unhush_job.deadline_at
    )
FROM (
    SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.fence') AS fence,
        json_extract(value, '$.progress') AS progress, json_extract(value, '$.note') AS note,
        json_extract(value, '$.moved') AS moved, json_extract(value, '$.left') AS seconds_left
    FROM json_each(:beats)
) AS b
WHERE unhush_job.id = b.id AND unhush_job.fence = b.fence AND unhush_job.status = 'running'
""",
    "mariadb": """
UPDATE JSON_TABLE(:beats, '$[*]' COLUMNS (
    id char(36) CHARACTER SET ascii COLLATE ascii_bin PATH '$.id', fence bigint PATH '$.fence',
    progress double PATH '$.progress', note varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.note',
    moved integer PATH '$.moved', seconds_left double PATH '$.left'
)) AS b STRAIGHT_JOIN unhush_job AS job ON job.id = b.id AND job.fence = b.fence
SET job.beat_at = {now}, job.note = coalesce(b.note, job.note),
    job.progress = CASE b.moved WHEN 1 THEN b.progress ELSE job.progress END,
    job.progress_at = CASE b.moved WHEN 1 THEN {now} ELSE job.progress_at END,
    job.deadline_at = coalesce({now} + INTERVAL ROUND(b.seconds_left * 1000000) MICROSECOND, job.deadline_at)
WHERE job.status = 'running'
""",
}


def mark_orphaned(connection: Connection, claim: Claim, clock: Clock = database_now) -> None:
    """Writes that the thread or task that ran the job has gone without ending it."""
    connection.execute(_run(claim).values(orphaned_at=moment(clock)))


def guard(bind: Session | Connection, claim: Claim, clock: Clock = database_now) -> None:
    """Holds the run's row until the caller's transaction ends, so that nobody gives the job away meanwhile.

    Raises LeaseLost where that has happened already.
    """
    _fenced(bind, claim, {"beat_at": moment(clock)})


def finish(bind: Session | Connection, claim: Claim, clock: Clock = database_now) -> None:
    """Marks the run as finished in the caller's transaction. Raises LeaseLost where the job was given away."""
    connection = _fenced(bind, claim, {"status": FINISHED, "ended_at": moment(clock)})
    if claim.has_letter:
        beat_letters.forget(connection, claim.id, claim.fence)


def _fenced(bind: Session | Connection, claim: Claim, values: dict[str, Any]) -> Connection:
    connection = bind.connection() if isinstance(bind, Session) else bind
    # An UPDATE also where nothing need change: a SELECT would begin no transaction with SQLite's driver.
    if connection.execute(_run(claim).values(**values)).rowcount != 1:
        raise LeaseLost("the job was given away, or has ended: what this run writes must not stand")
    return connection


def _run(claim: Claim) -> Any:
    """An UPDATE of the run's row, for as long as it is the one that runs."""
    # By its key alone: by the index of what runs MariaDB would lock the gap beside it too, and nobody could begin a job.
    running = func.coalesce(jobs.c.status, "") == RUNNING
    return jobs.update().where(jobs.c.id == claim.id, jobs.c.fence == claim.fence, running)

"""What the watchdog reads and writes: each act one function over a Connection, fenced, by the database's clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, or_, select

from . import beat_letters, beats
from .beat_tables import GIVEN_AWAY, RESCUING, RUNNING, jobs, processes, watchdogs
from .columns import UtcDateTime, Word, database_now
from .states import INTERVALS, Signs

BATCH = 500  # rows that are read or marked in one statement
JUMP_SECONDS = 1.0  # a clock that goes back by more has jumped


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher:
    """A watchdog that may lead: `every` is the seconds between its runs, `lease` how long it leads after one."""

    name: str
    holder: str
    host: str
    pid: int
    every: float
    lease: float


@dataclass(frozen=True, slots=True)
class Lead:
    """A run as leader: its number, its time, and since when silence means something."""

    fence: int
    now: datetime
    steady_since: datetime
    braked: bool
    jumped_back: bool = False


@dataclass(frozen=True, slots=True)
class Standby:
    """A run while another watchdog leads, for so many seconds more."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The running jobs in numbers; seconds. None where there are none."""

    running: int
    oldest_beat_at: datetime | None
    least_every: float | None
    most_every: float | None
    least_stalled_after: float | None


class NotLeading(Exception):
    """Another watchdog leads by now."""


def lead(connection: Connection, me: Watcher, unsteady: bool, clock: beats.Clock = database_now) -> Lead | Standby:
    """Takes or keeps the lead for a run, unless another watchdog has it.

    Silence counts anew where runs did not follow each other, which is what an outage looks like from here, where the
    clock has jumped, and where the caller knows of trouble (`unsteady`). The gap before is the measure, so that runs once
    in five minutes are as steady as runs in a loop.
    """
    now = beats.read_clock(connection, clock)
    seen = connection.execute(select(watchdogs).where(watchdogs.c.name == me.name)).one_or_none()
    mine = {"holder": me.holder, "host": me.host, "pid": me.pid, "last_run_at": now}
    until = now + timedelta(seconds=me.lease)
    if seen is None:
        row = {**mine, "lease_until": until, "name": me.name, "fence": 1, "gap": 0.0, "steady_since": now}
        connection.execute(watchdogs.insert().values(row))
        return Lead(1, now, now, False)
    gap = (now - seen.last_run_at).total_seconds()
    jumped_back = gap < -JUMP_SECONDS
    if seen.holder != me.holder and seen.lease_until > now and not jumped_back:
        return Standby((seen.lease_until - now).total_seconds())
    steady = not unsteady and not jumped_back and gap <= 2 * max(me.every, seen.gap)
    since = min(seen.steady_since, now) if steady else now
    fence = seen.fence + (seen.holder != me.holder)
    same = (watchdogs.c.name == me.name, watchdogs.c.fence == seen.fence, watchdogs.c.last_run_at == seen.last_run_at)
    values = {**mine, "lease_until": until, "fence": fence, "gap": max(gap, 0.0), "steady_since": since}
    if connection.execute(watchdogs.update().where(*same).values(values)).rowcount != 1:
        return Standby(me.lease)
    return Lead(fence, now, since, seen.braked_at is not None, jumped_back)


def leave_lead(connection: Connection, me: Watcher, clock: beats.Clock = database_now) -> None:
    """Lets another watchdog lead from now on."""
    mine = (watchdogs.c.name == me.name, watchdogs.c.holder == me.holder)
    connection.execute(watchdogs.update().where(*mine).values(lease_until=beats.read_clock(connection, clock)))


def keep_lead(connection: Connection, me: Watcher, fence: int, clock: beats.Clock = database_now) -> datetime:
    """Holds the lead until the transaction ends, and gives the time. Raises NotLeading."""
    now = beats.read_clock(connection, clock)
    held = watchdogs.update().where(
        watchdogs.c.name == me.name, watchdogs.c.holder == me.holder, watchdogs.c.fence == fence
    )
    if connection.execute(held.values(lease_until=now + timedelta(seconds=me.lease))).rowcount != 1:
        raise NotLeading(f"another process took the lead of watchdog {me.name!r}")
    return now


def note_brake(connection: Connection, me: Watcher, braked: bool, now: datetime) -> None:
    """Notes that too many jobs are in a bad state at once, or that it is over: then silence counts anew."""
    values = {"braked_at": now} if braked else {"braked_at": None, "steady_since": now}
    connection.execute(watchdogs.update().where(watchdogs.c.name == me.name).values(values))


def take_back_future(connection: Connection, now: datetime) -> None:
    """Beats from before the clock jumped back count as of now: else who died then would live until it is then again."""
    for table, column in (
        (jobs, jobs.c.beat_at),
        (jobs, jobs.c.progress_at),
        (jobs, jobs.c.suspected_at),
        (processes, processes.c.beat_at),
    ):
        connection.execute(table.update().where(column > now).values({column.name: now}))


def summary(connection: Connection) -> Summary:
    """The running jobs in numbers."""
    numbers = select(
        func.count(),
        func.min(jobs.c.beat_at, type_=UtcDateTime()),
        func.min(jobs.c.every),
        func.max(jobs.c.every),
        func.min(jobs.c.stalled_after),
    )
    return Summary(*connection.execute(numbers.where(jobs.c.status == RUNNING)).one())


def kinds(connection: Connection) -> dict[str, int]:
    """How many jobs of each kind run."""
    counted = select(jobs.c.kind, func.count()).where(jobs.c.status == RUNNING).group_by(jobs.c.kind)
    return {row[0]: row[1] for row in connection.execute(counted)}


def worst_lag_ms(connection: Connection, since: datetime) -> float:
    """How late the slowest event loop is, in milliseconds, of processes that were heard of since."""
    heard = (processes.c.beat_at >= since, processes.c.stopped_at.is_(None))
    return connection.execute(select(func.max(processes.c.loop_lag_ms)).where(*heard)).scalar_one() or 0.0


def sighted(connection: Connection, after: str | None, found: Summary, now: datetime) -> Sequence[Any]:
    """The next rows, in order of their ids, of jobs that may be in a bad state or that the watchdog has marked."""
    doubtful = [
        jobs.c.status == RESCUING,
        jobs.c.orphaned_at.is_not(None),
        jobs.c.suspected_at.is_not(None),
        jobs.c.deadline_at < now,
    ]
    if found.least_every is not None:
        doubtful.append(jobs.c.beat_at < now - timedelta(seconds=INTERVALS * found.least_every))
    if found.least_stalled_after is not None:
        old = now - timedelta(seconds=found.least_stalled_after)
        doubtful.append(jobs.c.stalled_after.is_not(None) & (jobs.c.progress_at < old))
    rows = _SIGHT.where(jobs.c.status.in_((RUNNING, RESCUING)), or_(*doubtful)).order_by(jobs.c.id).limit(BATCH)
    return connection.execute(rows if after is None else rows.where(jobs.c.id > after)).all()


def again(connection: Connection, row: Any) -> Any | None:
    """The row as it is now, locked; None where the run has ended, or the job itself has it locked."""
    if not beats.lock_free(connection, [row.id]):
        return None
    same = _SIGHT.where(jobs.c.id == row.id, jobs.c.fence == row.fence, jobs.c.status == row.status)
    return connection.execute(same).one_or_none()


_SIGHT: Select[Any] = select(
    *(column for column in jobs.c if column.name not in ("note", "progress")),
    processes.c.host,
    processes.c.pid,
    processes.c.name.label("process_name"),
    processes.c.beat_at.label("process_beat_at"),
    processes.c.stopped_at.label("process_stopped_at"),
).select_from(jobs.outerjoin(processes, processes.c.id == jobs.c.process_id))


def signs_of(row: Any) -> Signs:
    """What the row says of the job."""
    return Signs(
        beat_at=row.beat_at,
        every=row.every,
        progress_at=row.progress_at,
        stalled_after=row.stalled_after,
        deadline_at=row.deadline_at,
        orphaned_at=row.orphaned_at,
        process_beat_at=row.process_beat_at,
        process_stopped_at=row.process_stopped_at,
    )


def mark(connection: Connection, marks: Sequence[tuple[Any, dict[str, Any]]]) -> set[str]:
    """Notes on rows what was seen of them: `suspected_at`, `suspected_state` and `reported_state` of each.

    Runs that have ended meanwhile are left out, and rows that a transaction has locked: it gives the ids of these.
    """
    locked: set[str] = set()
    for some in _batches(marks):
        ids = [row.id for row, _ in some]
        free = beats.lock_free(connection, ids)
        locked.update(id_ for id_ in ids if id_ not in free)
        values = [
            {"row_id": row.id, "row_fence": row.fence, **{f"new_{name}": value for name, value in noted.items()}}
            for row, noted in some
            if row.id in free
        ]
        if values:
            connection.execute(_MARK, values)
    return locked


_MARK = (
    jobs.update()
    .where(jobs.c.id == bindparam("row_id"), jobs.c.fence == bindparam("row_fence"), jobs.c.status == RUNNING)
    .values(
        suspected_at=bindparam("new_suspected_at", type_=UtcDateTime()),
        suspected_state=bindparam("new_suspected_state", type_=Word),
        reported_state=bindparam("new_reported_state", type_=Word),
    )
)


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def give_away(connection: Connection, row: Any, status: str, state: str, now: datetime) -> int:
    """Takes the job from a run whose row is locked: under a new fence, which it gives, so that no guard lets it write."""
    values: dict[str, Any] = {"status": status, "fence": row.fence + 1, "reported_state": state}
    if status != RESCUING:
        values["ended_at"] = now
    if status in (RESCUING, GIVEN_AWAY) and row.status == RUNNING:
        values["rescues"] = row.rescues + 1
    taken = jobs.update().where(jobs.c.id == row.id, jobs.c.fence == row.fence, jobs.c.status == row.status)
    if connection.execute(taken.values(values)).rowcount != 1:
        raise AssertionError("another process changed a row that is locked here")
    if status != RESCUING:
        beat_letters.forget(connection, row.id)
    return int(row.fence) + 1


def settle(connection: Connection, job: str, fence: int, clock: beats.Clock = database_now) -> None:
    """Notes that the hook of a job that was given away has done its work."""
    now = beats.read_clock(connection, clock)
    given = jobs.update().where(jobs.c.id == job, jobs.c.fence == fence, jobs.c.status == RESCUING)
    if connection.execute(given.values(status=GIVEN_AWAY, ended_at=now)).rowcount:
        beat_letters.forget(connection, job)


def prune(connection: Connection, now: datetime, keep: float) -> None:
    """Deletes some runs that ended longer than `keep` seconds ago, and processes that have none and were silent since."""
    old = now - timedelta(seconds=keep)
    ended = connection.execute(select(jobs.c.id).where(jobs.c.ended_at < old).limit(BATCH)).scalars().all()
    if ended:
        connection.execute(jobs.delete().where(jobs.c.id.in_(ended), jobs.c.ended_at < old))
    running = select(jobs.c.process_id).where(jobs.c.status.in_((RUNNING, RESCUING)))
    silent = select(processes.c.id).where(processes.c.beat_at < old, processes.c.id.not_in(running)).limit(BATCH)
    gone = connection.execute(silent).scalars().all()
    if gone:
        connection.execute(processes.delete().where(processes.c.id.in_(gone), processes.c.beat_at < old))

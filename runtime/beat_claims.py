"""How runs of jobs begin: many at once in a few statements, each under a fence of its own."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Double, and_, bindparam, case, column, literal, null, select, text
from sqlalchemy.dialects import postgresql
from uuid_utils import uuid7

from . import beat_holds, beat_letters
from .beat_errors import AlreadyEnded, AlreadyRunning
from .beat_rows import change, changing, later, now_given, now_in
from .beat_tables import FINISHED, GIVEN_AWAY, PARKED, RESCUING, RUNNING, jobs, processes
from .beat_terms import Claim, Clock, Process, Terms
from .columns import Id, Name, database_now

TAKE_OVER_INTERVALS = 4  # a run that was silent for less is not taken over by another beater

Outcome = Claim | AlreadyRunning | AlreadyEnded
Outcomes = dict[tuple[str, str], Outcome]  # by the jobs' kind and id


def claim(
    connection: Connection,
    terms: Terms,
    process: Process,
    known: Container[Claim] = (),
    clock: Clock = database_now,
) -> Claim:
    """Begins a run of a job, as `claim_all` does. Raises AlreadyRunning and AlreadyEnded."""
    (outcome,) = claim_all(connection, [terms], process, known, clock).values()
    if not isinstance(outcome, Claim):
        raise outcome
    return outcome


def claim_all(
    connection: Connection,
    terms: Iterable[Terms],
    process: Process,
    known: Container[Claim] = (),
    clock: Clock = database_now,
) -> Outcomes:
    """Begins a run of each of the jobs, under a number higher than that of any run before. No job may be there twice.

    Gives AlreadyRunning for a job of which another run beats, AlreadyEnded for another delivery of one that has ended.
    `known` are the claims that the process knows itself to hold: one in the database that is not among them is this one,
    made by an attempt whose answer never came. Raises the database's error of a duplicate where another process made a row
    at this moment: try again.
    """
    asked = list(terms)
    made = claim_new(connection, asked, process, clock) if new_alone(connection.dialect.name, asked) else {}
    rest = [one for one in asked if one.job not in made]
    return made | claim_rest(connection, rest, process, known, clock) if rest else made


def claim_rest(
    connection: Connection, terms: Iterable[Terms], process: Process, known: Container[Claim], clock: Clock
) -> Outcomes:
    """As `claim_all`, where `claim_new` was not done or left these."""
    wanted = _wanted(terms)
    seen = _look(connection, wanted, clock)
    outcomes = {key: _judged(row, wanted[key], process, known) for key, row in seen.items()}
    begun = _insert(connection, {key: one for key, one in wanted.items() if key not in seen}, process, clock)
    first = {
        row.id: key for key, row in reversed(seen.items())
    }  # MariaDB finds one row for ids that end in other spaces
    free = {key: row for key, row in seen.items() if outcomes[key] is None and first[row.id] == key}
    begun |= _take(connection, free, wanted, process, clock)
    beat_letters.keep_all(connection, [(made, wanted[key].letter) for key, made in begun.items()])
    return {one.job: begun.get(key) or outcomes.get(key) or _being_changed(one) for key, one in wanted.items()}


def new_alone(dialect: str, terms: Iterable[Terms]) -> bool:
    """Whether `claim_new` may be done first: most jobs are new ones."""
    return dialect == "postgresql" and all(one.letter is None for one in terms)


def claim_new(
    connection: Connection, terms: Iterable[Terms], process: Process, clock: Clock = database_now
) -> Outcomes:
    """Begins those of the jobs that have no row yet, and no letter: on PostgreSQL, in one statement."""
    wanted = _wanted(terms)
    given = now_given(clock)
    rows = connection.execute(_forms("postgresql", bool(given)).insert_new, _parameters(wanted, process) | given)
    return {wanted[key].job: Claim(key, 1) for key in rows.scalars()}


def lives(connection: Connection, kind: str, job_id: str, clock: Clock = database_now) -> bool:
    """Whether a run of the job must be taken for alive."""
    seen = _look(connection, _wanted([Terms(kind=kind, job_id=job_id)]), clock)
    return any(row.status == RUNNING and _lives(row) for row in seen.values())


def _wanted(terms: Iterable[Terms]) -> dict[str, Terms]:
    """The jobs by the ids of the rows that new ones get, in an order that is everywhere the same: so none deadlock."""
    return {str(uuid7()): one for one in sorted(terms, key=lambda one: one.job)}


def _parameters(wanted: Mapping[str, Terms], process: Process) -> dict[str, Any]:
    rows = [{"id": key, **{name: getattr(one, name) for name in _TERMS}} for key, one in wanted.items()]
    return {"wanted": json.dumps(rows), "process": process.id, "every": process.every}


class _Seen(NamedTuple):
    """A job's row as it was found, and the time of that."""

    now: datetime
    id: str
    fence: int
    process_id: str
    status: str
    beat_at: datetime
    every: float
    orphaned_at: datetime | None
    host: str | None
    pid: int | None
    process_beat_at: datetime | None
    stopped_at: datetime | None
    silence_since: datetime | None = None
    """Since when its silence counts, where a watchdog knows of an outage."""


def _look(connection: Connection, wanted: Mapping[str, Terms], clock: Clock) -> dict[str, _Seen]:
    """The rows of those of the jobs that have one."""
    rows = [{"id": key, "kind": one.kind, "job_id": one.job_id} for key, one in wanted.items()]
    given = now_given(clock)
    found = connection.execute(_forms(connection.dialect.name, False).look, {"wanted": json.dumps(rows)})
    seen = {key: _Seen(given.get("now", now), *row) for key, now, *row in found if row[0] is not None}
    silent = {key: row for key, row in seen.items() if row.status == RUNNING and not _lives(row)}
    last_looks = beat_holds.looks(connection) if silent else ()
    for key, row in silent.items():
        limit = TAKE_OVER_INTERVALS * row.every
        since = beat_holds.silence_since(last_looks, _heard(row), row.now, row.every, limit)
        seen[key] = row._replace(silence_since=since)
    return seen


def _judged(seen: _Seen, terms: Terms, process: Process, known: Container[Claim]) -> Outcome | None:
    """What becomes of a job that has a row; None where this run may take it."""
    if seen.status == RUNNING and seen.process_id == process.id and seen.orphaned_at is None:
        unheard = Claim(seen.id, seen.fence, terms.letter is not None)
        if unheard not in known:
            return unheard
    named = f"job {terms.job_id!r} of kind {terms.kind!r}"
    if seen.status == RUNNING and _lives(seen):
        return AlreadyRunning(f"{named} runs in process {seen.pid} on {seen.host!r}")
    if seen.status in terms.ended:
        how = {FINISHED: "has finished", PARKED: "is in the dead letter queue"}.get(seen.status, "has ended")
        return AlreadyEnded(f"{named} {how}", seen.status)
    return None


def _lives(seen: _Seen) -> bool:
    """Whether a run must be taken for alive: it or its process was heard of within four intervals, or nobody could be."""
    if seen.orphaned_at is not None:
        return False
    since = _heard(seen) if seen.stopped_at else seen.silence_since or _heard(seen)
    return seen.now - since <= timedelta(seconds=TAKE_OVER_INTERVALS * seen.every)


def _heard(seen: _Seen) -> datetime:
    """When it or its process was heard of the last time."""
    if seen.process_beat_at is None or seen.stopped_at is not None:
        return seen.beat_at
    return max(seen.beat_at, seen.process_beat_at)


def _being_changed(terms: Terms) -> AlreadyRunning:
    return AlreadyRunning(f"job {terms.job_id!r} of kind {terms.kind!r} is being changed by another process")


def _insert(connection: Connection, new: Mapping[str, Terms], process: Process, clock: Clock) -> dict[str, Claim]:
    if new:
        given = now_given(clock)
        form = _forms(connection.dialect.name, bool(given)).insert
        connection.execute(form, _parameters(new, process) | given)
    return {key: Claim(key, 1, one.letter is not None) for key, one in new.items()}


def _take(
    connection: Connection, free: Mapping[str, _Seen], wanted: Mapping[str, Terms], process: Process, clock: Clock
) -> dict[str, Claim]:
    """Takes rows over that stand for no living run; those that another process takes or has locked are left out."""
    alike: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
    for key in free:
        alike[tuple(getattr(wanted[key], name) for name in _PROMISES)].append(key)
    given = now_given(clock)
    form = _forms(connection.dialect.name, bool(given)).take
    taken: dict[str, Claim] = {}
    for promises, keys in alike.items():
        values = dict(zip(map(_promised, _PROMISES), promises, strict=True))
        values |= {"process": process.id, "interval": process.every} | given
        expected = {free[key].id: (free[key].fence, free[key].status) for key in keys}
        changed = change(connection, form, expected, values)
        for key in keys:
            if free[key].id in changed:
                taken[key] = Claim(free[key].id, free[key].fence + 1, wanted[key].letter is not None)
    return taken


class _Forms(NamedTuple):
    """The statements, made once for each database."""

    look: Any
    insert: Any
    insert_new: Any
    take: Any


@cache
def _forms(dialect: str, given: bool) -> _Forms:
    wanted = (
        text(_WANTED["mariadb" if dialect == "mysql" else dialect])
        .columns(column("id", Id), *(column(name, of) for name, of in _TERMS.items()))
        .subquery("wanted")
    )
    new = {"id": wanted.c.id, "kind": wanted.c.kind, "job_id": wanted.c.job_id, "fence": literal(1)}
    new |= {"rescues": literal(0)} | _begun(now_in(given), "every", wanted.c)
    # Only where none is seen: a row that is there, and that a transaction has changed, the conflict would wait for.
    there = select(jobs.c.id).where(jobs.c.kind == wanted.c.kind, jobs.c.job_id == wanted.c.job_id).exists()
    insert = postgresql.insert(jobs).from_select(list(new), select(*new.values()).where(~there))
    return _Forms(
        look=_looking(wanted),
        insert=jobs.insert().from_select(list(new), select(*new.values())),
        insert_new=insert.on_conflict_do_nothing(index_elements=["kind", "job_id"]).returning(jobs.c.id),
        take=changing(dialect, _taking(now_in(given))),
    )


_TERMS = {"kind": Name, "job_id": Name, "deadline": Double(), "stalled_after": Double(), "variant": Name}
_PROMISES = ("deadline", "stalled_after", "variant")  # of which a job may have others than when it ran before
# The jobs come as one JSON text, which each of the databases can read as rows: so a statement stays the same. What is too
# long for its column is refused by that: JSON_TABLE would cut it.
_WANTED = {
    "postgresql": """
SELECT id, kind, job_id, deadline, stalled_after, variant
FROM json_to_recordset(CAST(:wanted AS json))
    AS wanted (id uuid, kind text, job_id text, deadline double precision, stalled_after double precision, variant text)
""",
    "sqlite": """
SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.kind') AS kind,
    json_extract(value, '$.job_id') AS job_id, json_extract(value, '$.deadline') AS deadline,
    json_extract(value, '$.stalled_after') AS stalled_after, json_extract(value, '$.variant') AS variant
FROM json_each(:wanted)
""",
    "mariadb": """
SELECT id, kind, job_id, deadline, stalled_after, variant
FROM JSON_TABLE(:wanted, '$[*]' COLUMNS (
    id char(36) CHARACTER SET ascii COLLATE ascii_bin PATH '$.id',
    kind varchar(1024) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.kind',
    job_id varchar(1024) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.job_id',
    deadline double PATH '$.deadline', stalled_after double PATH '$.stalled_after',
    variant varchar(1024) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.variant'
)) AS wanted
""",
}


def _looking(wanted: Any) -> Any:
    """An outer join, which reads the wanted ones first: so MariaDB goes by the index, and not through the table."""
    same = and_(jobs.c.kind == wanted.c.kind, jobs.c.job_id == wanted.c.job_id)
    names = ("id", "fence", "process_id", "status", "beat_at", "every", "orphaned_at")
    return select(
        wanted.c.id.label("key"),
        database_now().label("now"),
        *(jobs.c[name] for name in names),
        processes.c.host,
        processes.c.pid,
        processes.c.beat_at.label("process_beat_at"),
        processes.c.stopped_at,
    ).select_from(wanted.outerjoin(jobs, same).outerjoin(processes, processes.c.id == jobs.c.process_id))


def _taking(now: Any) -> Any:
    """An UPDATE that begins a run after another one."""
    # A job that ended by itself starts afresh; one that was rescued, or died unseen, is still the same trouble.
    rescues = case((jobs.c.status.in_((RUNNING, RESCUING, GIVEN_AWAY)), jobs.c.rescues), else_=0)
    promises = {name: bindparam(_promised(name), type_=_TERMS[name]) for name in _PROMISES}
    fresh = _begun(now, "interval", promises) | dict.fromkeys(_CLEARED, null())
    # First what looks at the old values: MariaDB sees the new ones of those to the left.
    values = {"rescues": rescues, "fence": jobs.c.fence + 1} | fresh
    return jobs.update().ordered_values(*((jobs.c[name], value) for name, value in values.items()))


def _promised(name: str) -> str:
    """The parameter's name: that of a column itself would be taken for its value."""
    return f"new_{name}"


_CLEARED = ("progress", "orphaned_at", "suspected_at", "suspected_state", "reported_state", "ended_at", "note")


def _begun(now: Any, every: str, promises: Any) -> dict[str, Any]:
    """What a run's row holds when it begins."""
    return {
        "process_id": bindparam("process", type_=Id),
        "status": literal(RUNNING),
        "started_at": now,
        "beat_at": now,
        "every": bindparam(every, type_=Double()),
        "progress_at": now,
        "stalled_after": promises["stalled_after"],
        "deadline_at": later(now, promises["deadline"]),
        "variant": promises["variant"],
    }

"""What the gates read: unhush's own tables, and Prometheus where a gate has queries. Changes nothing, never raises."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.exc import SQLAlchemyError

from ..runtime import flag_rows, running
from ..runtime.beat_tables import FAILED, FINISHED, PARKED, jobs
from ..runtime.beats import read_clock
from ..runtime.engine import READING
from ..runtime.flag_tables import ON
from ..runtime.states import BAD
from ..runtime.tables import DEAD, letters
from ..runtime.telling import first_line
from ..sql.errors import SchemaProblem
from . import prometheus
from .gates import RATIO, SHARE, TOO_FEW, Gate, Judged, Look, judge_ratio, judge_share, judge_value
from .stages import HEARTBEAT, STAGES

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ..runtime.health import Health

STUCK_AFTER = 300.0  # seconds, as the watchdog's default
LEAST_WINDOW = 60  # seconds: a query over less may see no two scrapes; less only where the soak time is less


@dataclass(frozen=True, slots=True)
class Place:
    """Where and of what a stage is judged: the database, Prometheus, the stage and since when it stands."""

    engine: Engine
    prometheus: str | None
    stage: int
    since: datetime
    now: datetime
    soak: float = LEAST_WINDOW

    @property
    def age(self) -> int:
        """How many seconds the stage is old, begun ones counted."""
        return math.ceil((self.now - self.since).total_seconds())

    @property
    def least_window(self) -> int:
        """The least number of seconds over which a query is asked."""
        return max(1, min(LEAST_WINDOW, math.ceil(self.soak)))


@dataclass(frozen=True, slots=True)
class Number:
    """A number that was read, or None and why there is none."""

    value: float | None
    why: str = ""


def judge(place: Place, gates: Sequence[Gate], past: Mapping[str, Sequence[Look]]) -> list[Judged]:
    """The verdicts on a stage's gates now. `past` are the looks that were taken in it, by gate."""
    return [_judge(place, gate, past.get(gate.name, ())) for gate in gates]


def _judge(place: Place, gate: Gate, past: Sequence[Look]) -> Judged:
    if why := _too_young(place, gate):
        return Judged(gate=gate, verdict=TOO_FEW, why=why)
    if gate.kind == SHARE:
        failures, total = _failures(place, gate), _jobs(place, gate)
        return judge_share(gate, *_whole_share(failures, total), past, failures.why or total.why)
    if gate.kind == RATIO:
        arrived, total = _asked(place, gate, gate.arrived), _asked(place, gate, gate.all)
        asked = STAGES[place.stage].percentage
        why = arrived.why or total.why or "this stage is no part of all jobs"
        share = None if asked is None else asked / 100
        return judge_ratio(gate, _whole(arrived, round), _whole(total, round), share, why)
    found = _asked(place, gate, gate.query) if gate.query else _own(place, _METRICS[str(gate.metric)], gate)
    return judge_value(gate, found.value, found.why)


def _too_young(place: Place, gate: Gate) -> str | None:
    """Why jobs can't be counted yet: a query over more than the stage's age would count jobs of before it, too."""
    queries = (gate.failed, gate.jobs, gate.arrived, gate.all)
    if gate.window or place.age >= place.least_window or not any("$window" in query for query in queries if query):
        return None
    return f"the stage is {max(0, place.age)} s old, Prometheus is asked once it is {place.least_window} s"


def _whole(number: Number, rounded: Callable[[float], int]) -> int | None:
    """Prometheus extrapolates: rounded to the side that is worse for the stage."""
    return None if number.value is None else rounded(number.value)


def _whole_share(failures: Number, total: Number) -> tuple[int | None, int | None]:
    """Both rounded to the worse side; where every job fails rounding must not make more failures than jobs."""
    failed, jobs = _whole(failures, math.ceil), _whole(total, math.floor)
    if failures.value is not None and total.value is not None and failures.value <= total.value:
        return min(int(failed or 0), int(jobs or 0)), jobs
    return failed, jobs


def _failures(place: Place, gate: Gate) -> Number:
    return _asked(place, gate, gate.failed) if gate.failed else _own(place, _failed_jobs, gate)


def _jobs(place: Place, gate: Gate) -> Number:
    return _asked(place, gate, gate.jobs) if gate.jobs else _own(place, _ended_jobs, gate)


def _asked(place: Place, gate: Gate, query: str | None) -> Number:
    if place.prometheus is None:
        return Number(None, f"gate {gate.name} has a query, but the settings name no prometheus")
    window = gate.window or max(place.least_window, place.age)
    answer = prometheus.ask(place.prometheus, str(query).replace("$window", f"{window:g}s"))
    return Number(answer.value, answer.why)


def unanswerable(gate: Gate, stage: int, server: str | None) -> str | None:
    """Why a gate can never have data in a stage, as the settings are; None where it can."""
    queries = (gate.query, gate.failed, gate.jobs, gate.arrived, gate.all)
    if server is None and any(queries):
        return f"gate {gate.name} has a query, but the settings name no prometheus"
    if gate.kind == SHARE and not gate.jobs and not _beats_in(stage):
        return f"nobody counts the jobs that ran: give gate {gate.name} a query `jobs`"
    return None


Reader = Callable[[Place, Gate], Number]


def _own(place: Place, read: Reader, gate: Gate) -> Number:
    try:
        return read(place, gate)
    except (SQLAlchemyError, SchemaProblem, OSError) as error:
        return Number(None, f"the database: {first_line(error)}")


def _reading(read: Callable[[Connection, Place, Gate], Number]) -> Reader:
    """The same with a transaction that changes nothing."""

    def reader(place: Place, gate: Gate) -> Number:
        with place.engine.connect() as connection:
            return read(connection.execution_options(**{READING: True}), place, gate)

    return reader


@_reading
def _dlq_depth(connection: Connection, place: Place, gate: Gate) -> Number:
    return Number(connection.execute(select(func.count()).where(letters.c.status == DEAD)).scalar_one())


@_reading
def _oldest_age(connection: Connection, place: Place, gate: Gate) -> Number:
    oldest = select(letters.c.captured_at).where(letters.c.status == DEAD).order_by(letters.c.id).limit(1)
    at = connection.scalar(oldest)
    return Number(0.0 if at is None else max(0.0, (read_clock(connection) - at).total_seconds()))


@_reading
def _stuck_jobs(connection: Connection, place: Place, gate: Gate) -> Number:
    found: list[running.Job] = []
    for state in BAD:
        page = running.list_jobs(connection, stuck_after=gate.window or STUCK_AFTER, state=state, limit=1000)
        found += page.jobs
    return Number(len(found), f"such as job {found[0].job_id!r}, {found[0].state}" if found else "")


@_reading
def _flags_on(connection: Connection, place: Place, gate: Gate) -> Number:
    on = [row.name for row in flag_rows.read(connection).values() if row.state == ON]
    return Number(len(on), ", ".join(sorted(on)))


@_reading
def _failed_jobs(connection: Connection, place: Place, gate: Gate) -> Number:
    """How many jobs failed for good in this stage: in the heartbeat's stages its rows, before those dead letters.

    A letter that comes back from a redrive is no new one, and each job counts once: retries are no new samples.
    """
    failed: Select[Any] = select(func.count()).where(letters.c.captured_at >= place.since)
    if _beats_in(place.stage):
        failed = _jobs_of(place, FAILED, PARKED)
    return Number(connection.execute(failed).scalar_one())


def _jobs_of(place: Place, *statuses: str) -> Select[Any]:
    """Counts the jobs that began in this stage by the word of the database's flag, and have ended so.

    One that beats by its process's own variable does not count: no rollback would reach that process.
    """
    chosen = jobs.c.variant.startswith("on ", autoescape=True)
    return select(func.count()).where(jobs.c.started_at >= place.since, chosen, jobs.c.status.in_(statuses))


@_reading
def _ended_jobs(connection: Connection, place: Place, gate: Gate) -> Number:
    """How many jobs began in this stage and have ended. Only the heartbeat knows jobs that did not fail."""
    if why := unanswerable(gate, place.stage, place.prometheus):
        return Number(None, why)
    return Number(connection.execute(_jobs_of(place, FINISHED, FAILED, PARKED)).scalar_one())


def _beats_in(stage: int) -> bool:
    """Whether jobs beat in this stage, so that there is a row of each."""
    return isinstance(STAGES[stage].of(HEARTBEAT), float)


def _health(place: Place, gate: Gate) -> Number:
    problems = health_of(place.engine).problems
    return Number(len(problems), problems[0] if problems else "")


def _lost_records(place: Place, gate: Gate) -> Number:
    spool = health_of(place.engine).spool
    return Number(spool["corrupt"] + spool["refused"])


def health_of(engine: Engine) -> Health:
    """What `unhush health` sees on this database and this host. Raises SchemaProblem and the database's errors."""
    from ..runtime.health import look
    from ..sql.runner import status

    return look(engine, status(engine))


_METRICS: dict[str, Reader] = {
    "dlq_depth": _dlq_depth,
    "oldest_age": _oldest_age,
    "stuck_jobs": _stuck_jobs,
    "lost_records": _lost_records,
    "health": _health,
    "flags_on": _flags_on,
}

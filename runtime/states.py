"""What beats say of a running job: a pure function of its row, its process's row and the database's time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

ALIVE, LATE, STALLED, STUCK, LOST = "alive", "late", "stalled", "stuck", "lost"
STATES = (ALIVE, LATE, STALLED, STUCK, LOST)
BAD = (STALLED, STUCK, LOST)  # those that a watchdog acts on
INTERVALS = 2  # how many intervals without a beat are nothing yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What is known of a running job. All times are the database's; durations are seconds."""

    beat_at: datetime
    every: float
    progress_at: datetime
    stalled_after: float | None = None
    deadline_at: datetime | None = None
    orphaned_at: datetime | None = None
    """When its process saw that the thread or task that ran it had gone."""
    process_beat_at: datetime | None = None
    """None where the process has no row."""
    process_stopped_at: datetime | None = None


def state_of(signs: Signs, now: datetime, stuck_after: float, steady_since: datetime | None = None) -> str:
    """How a running job stands.

    - lost: no beat for `stuck_after` seconds, and none of its process either, or that has ended
    - stuck: its process beats, but its thread is gone or it is past its deadline
    - late: no beat for two intervals
    - stalled: it beats, but its progress has not changed for `stalled_after` seconds
    - alive: none of these

    What happened before `steady_since` proves nothing: silence counts from then on, and stuck and stalled need a beat
    since then. That is how a watchdog holds its fire after an outage.
    """
    since = min(steady_since, now) if steady_since else None
    process_beats = _process_beats(signs, now, stuck_after, since)
    if not process_beats and _age(signs.beat_at, now, since) > stuck_after:
        return LOST
    if process_beats and _should_have_ended(signs, now, since):
        return STUCK
    if _age(signs.beat_at, now) > INTERVALS * signs.every:
        return LATE
    if signs.stalled_after is not None and _age(signs.progress_at, now, since) > signs.stalled_after:
        return STALLED if _seen(signs.beat_at, since) else ALIVE
    return ALIVE


def _process_beats(signs: Signs, now: datetime, stuck_after: float, since: datetime | None) -> bool:
    if signs.process_beat_at is None or signs.process_stopped_at is not None:
        return False
    return _age(signs.process_beat_at, now, since) <= stuck_after


def _should_have_ended(signs: Signs, now: datetime, since: datetime | None) -> bool:
    if signs.orphaned_at is not None:
        return _seen(signs.process_beat_at, since)  # such a job beats no more
    # A job's own beat brings its deadline up to date with a clock that has jumped.
    return signs.deadline_at is not None and now > signs.deadline_at and _seen(signs.beat_at, since)


def _seen(beat_at: datetime | None, since: datetime | None) -> bool:
    return since is None or (beat_at is not None and beat_at > since)


def _age(at: datetime, now: datetime, since: datetime | None = None) -> float:
    return (now - (max(at, since) if since else at)).total_seconds()

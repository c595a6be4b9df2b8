"""Silence that proves nothing: while the database was away, and when its clock jumped, nobody could be heard."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from .beat_tables import watchdogs
from .states import INTERVALS


def looks(connection: Connection) -> Sequence[Any]:
    """When the watchdogs looked, each the last time."""
    columns = (watchdogs.c.last_run_at, watchdogs.c.gap, watchdogs.c.steady_since)
    return connection.execute(select(*columns)).all()


def silence_since(last_looks: Sequence[Any], heard: datetime, now: datetime, every: float, limit: float) -> datetime:
    """Since when a run's silence counts, that was `heard` the last time and is silent after `limit` seconds.

    A watchdog that looks knows. One that fell silent together with the run tells of an outage or a jump of the clock:
    silence counts from now, until it looks again. One that had gone before, or saw the run silent before, tells nothing.
    """
    since = heard
    for look in last_looks:
        usual = timedelta(seconds=INTERVALS * max(look.gap, every))
        if now - look.last_run_at <= usual:
            since = max(since, look.steady_since)
        elif heard <= look.last_run_at + usual:
            silent = look.last_run_at - max(heard, look.steady_since)
            since = now if silent <= timedelta(seconds=limit) else since
    return since

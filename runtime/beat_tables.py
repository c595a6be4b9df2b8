"""The tables of heartbeats and the watchdog, as `sql/<dialect>/002_add_heartbeat_column.sql` makes them.

Beats live in narrow tables of their own, whatever the user's queue is: `beat_at` is in no index, so that PostgreSQL
writes a beat beside the row (heap-only) and touches no index.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, Table, UniqueConstraint

from .columns import Id, Json, Name, UtcDateTime, Word
from .tables import OPTIONS, metadata, one_of, only_where

RUNNING, RESCUING, GIVEN_AWAY, FINISHED, FAILED, PARKED = (
    "running",
    "rescuing",
    "given_away",
    "finished",
    "failed",
    "parked",
)
JOB_STATUSES = (RUNNING, RESCUING, GIVEN_AWAY, FINISHED, FAILED, PARKED)

processes = Table(
    "unhush_process",
    metadata,
    Column("id", Id, primary_key=True, comment="UUIDv7, a fresh one at each start and after each fork"),
    Column("name", Name, comment="what the process is, as its owner calls it"),
    Column("host", Name, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("beat_at", UtcDateTime, nullable=False, comment="by the database's clock"),
    Column("every", Double, nullable=False, comment="seconds between two beats"),
    Column("loop_lag_ms", Double, comment="how late its slowest event loop is; null without one"),
    Column("stopped_at", UtcDateTime, comment="when it said that it ends"),
    comment="processes that run jobs, and their proof of life",
    **OPTIONS,
)

jobs = Table(
    "unhush_job",
    metadata,
    Column("id", Id, primary_key=True, comment="UUIDv7"),
    Column("kind", Name, nullable=False),
    Column("job_id", Name, nullable=False, comment="the job's own id"),
    Column("process_id", Id, nullable=False, comment="the process that runs it, or did last"),
    Column("fence", BigInteger, nullable=False, comment="grows with every claim and rescue"),
    Column("status", Word, nullable=False),
    Column("rescues", Integer, nullable=False, comment="how often the watchdog gave it away in a row"),
    Column("started_at", UtcDateTime, nullable=False),
    Column("beat_at", UtcDateTime, nullable=False, comment="by the database's clock"),
    Column("every", Double, nullable=False, comment="seconds between two beats"),
    Column("progress", Double, comment="a number that changes as the job gets on"),
    Column("progress_at", UtcDateTime, nullable=False, comment="when it last changed"),
    Column("stalled_after", Double, comment="seconds without progress after which it counts as stalled"),
    Column("deadline_at", UtcDateTime, comment="when it should have ended"),
    Column("orphaned_at", UtcDateTime, comment="when its process saw that its thread had gone"),
    Column("suspected_at", UtcDateTime, comment="the watchdog's first look at it in a bad state"),
    Column("suspected_state", Word),
    Column("reported_state", Word, comment="the state that was reported, so that each is logged once"),
    Column("ended_at", UtcDateTime),
    Column("note", Name, comment="what the job says of itself"),
    Column("variant", Name, comment="which setting of the flag let it beat"),
    UniqueConstraint("kind", "job_id"),
    one_of("status", JOB_STATUSES),
    Index(None, "status", "id", **only_where("status IN ('running', 'rescuing')")),
    Index(None, "ended_at", **only_where("ended_at IS NOT NULL")),
    comment="the latest run of each job: that it lives, and how far it is",
    **OPTIONS,
)

job_letters = Table(
    "unhush_job_letter",
    metadata,
    Column("job", Id, primary_key=True, comment="the row in unhush_job"),
    Column("fence", BigInteger, nullable=False, comment="the run that it is of"),
    Column("record", Json, nullable=False, comment="redacted, and encrypted where its queue does that"),
    comment="the dead letter that a running job would be; deleted when it ends",
    **OPTIONS,
)

watchdogs = Table(
    "unhush_watchdog",
    metadata,
    Column("name", Name, primary_key=True),
    Column("holder", Id, nullable=False, comment="the watchdog that leads"),
    Column("host", Name, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False, comment="grows with every change of leader"),
    Column("lease_until", UtcDateTime, nullable=False),
    Column("last_run_at", UtcDateTime, nullable=False),
    Column("gap", Double, nullable=False, comment="seconds from the run before to the last one"),
    Column(
        "steady_since",
        UtcDateTime,
        nullable=False,
        comment="since when runs follow each other: silence before it proves nothing",
    ),
    Column("braked_at", UtcDateTime, comment="since when too many jobs are silent at once"),
    comment="who watches, and what it must remember",
    **OPTIONS,
)

"""The tables of flags and of the roll-out, as `sql/<dialect>/003_create_rollout.sql` makes them.

They are there only where `unhush rollout init` was run: nothing else may count on them.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Double, Identity, Integer, MetaData, Table
from sqlalchemy.dialects import sqlite

from .columns import Json, LongText, Name, UtcDateTime, Word
from .tables import OPTIONS, one_of
from .tables import metadata as ours

metadata = MetaData(naming_convention=ours.naming_convention)

MIGRATION = 3
ON, OFF = "on", "off"
RUNNING, PAUSED, ROLLED_BACK, DONE = "running", "paused", "rolled_back", "done"
ROLLOUT_STATUSES = (RUNNING, PAUSED, ROLLED_BACK, DONE)


def _one_row() -> tuple[Column[int], CheckConstraint]:
    return Column("id", Integer, primary_key=True, autoincrement=False), CheckConstraint("id = 1", name="id")


environments = Table(
    "unhush_environment",
    metadata,
    *_one_row(),
    Column("name", Name, nullable=False),
    Column(
        "gated",
        Boolean(create_constraint=False),
        nullable=False,
        comment="whether its migrations and stages need approvals",
    ),
    Column("set_by", Name, nullable=False),
    Column("set_at", UtcDateTime, nullable=False, comment="by the database's clock"),
    comment="what this database belongs to; one row",
    **OPTIONS,
)

flags = Table(
    "unhush_flag",
    metadata,
    Column("name", Name, primary_key=True),
    Column("state", Word, nullable=False, comment="off: for no job, whatever the percentage says"),
    Column("percentage", Double, nullable=False, comment="the part of all jobs for which it is on"),
    Column("salt", Name, nullable=False, comment="which jobs these are; another salt chooses others"),
    Column("version", BigInteger, nullable=False, comment="grows with every change"),
    Column("changed_by", Name, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False, comment="by the database's clock"),
    one_of("state", (ON, OFF)),
    CheckConstraint("percentage >= 0 AND percentage <= 100", name="percentage"),
    comment="feature flags; without a row the service's own variable decides",
    **OPTIONS,
)

rollouts = Table(
    "unhush_rollout",
    metadata,
    *_one_row(),
    Column("plan_id", Name, nullable=False),
    Column("plan_digest", Word, nullable=False),
    Column("stage", Integer, nullable=False),
    Column("status", Word, nullable=False),
    Column("stage_since", UtcDateTime, nullable=False, comment="by the database's clock"),
    Column("changed_at", UtcDateTime, nullable=False, comment="by the database's clock; it never goes back"),
    Column("looks", Integer, nullable=False, comment="how many of its fixed looks at the gates this stage has had"),
    Column("looked_at", UtcDateTime, comment="the last time that its gates were looked at"),
    Column("silent_since", UtcDateTime, comment="since when a gate has no data"),
    Column("fence", BigInteger, nullable=False, comment="grows with every change of holder and every act"),
    Column("holder", Name, comment="who acts on it now"),
    Column("lease_until", UtcDateTime),
    Column("note", LongText),
    one_of("status", ROLLOUT_STATUSES),
    comment="the roll-out that is under way, or was last; one row",
    **OPTIONS,
)

rollout_events = Table(
    "unhush_rollout_event",
    metadata,
    Column("id", BigInteger().with_variant(sqlite.INTEGER(), "sqlite"), Identity(always=True), primary_key=True),
    Column("at", UtcDateTime, nullable=False, comment="by the database's clock"),
    Column("act", Word, nullable=False),
    Column("actor", Name, nullable=False),
    Column("plan_digest", Word, nullable=False),
    Column("stage", Integer, nullable=False, comment="the stage after the act"),
    Column("fence", BigInteger, nullable=False),
    Column("detail", Json, nullable=False, comment="the gates with their values, redacted"),
    comment="what was done to the roll-out; never changed",
    sqlite_autoincrement=True,
    **OPTIONS,
)

"""Where a roll-out stands: one row and its events, changed by one operator at a time, by the database's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, func, or_, select

from ..runtime.beats import read_clock
from ..runtime.flag_tables import PAUSED, RUNNING, environments, rollout_events, rollouts
from .errors import Refused
from .gates import Look

LEASE = 30.0  # seconds that an act may take before another operator may go on in its place
UNDER_WAY = (RUNNING, PAUSED)
ENTERED = ("begin", "advance")  # the acts that begin a stage
LOOK = "look"
CHANGED = "the roll-out was changed by somebody else meanwhile: look at `unhush rollout status`"


class Waiting(Refused):
    """A refusal that time or other people can lift: it is worth to ask again."""


@dataclass(frozen=True, slots=True)
class Stand:
    """The roll-out's row. Times are the database's."""

    plan_id: str
    plan_digest: str
    stage: int
    status: str
    stage_since: datetime
    changed_at: datetime
    silent_since: datetime | None
    fence: int
    holder: str | None
    lease_until: datetime | None
    note: str | None

    @property
    def under_way(self) -> bool:
        """Whether it runs or is paused."""
        return self.status in UNDER_WAY


@dataclass(frozen=True, slots=True)
class Event:
    """What was done to a roll-out."""

    id: int
    at: datetime
    act: str
    actor: str
    plan_digest: str
    stage: int
    detail: Mapping[str, Any]


_COLUMNS = [rollouts.c[name] for name in Stand.__slots__]


def read(connection: Connection) -> Stand | None:
    """Where it stands; None where none was begun."""
    row = connection.execute(select(*_COLUMNS)).one_or_none()
    return None if row is None else Stand(*row)


def now(connection: Connection) -> datetime:
    """The database's clock."""
    return read_clock(connection)


def holder_of(actor: str) -> str:
    """A name for one act of an operator, that no other act has."""
    return f"{actor[:200]} #{uuid4().hex[:12]}"


def take(connection: Connection, holder: str) -> Stand | None:
    """Takes the lease; None where there is no row yet. Raises Waiting while another operator has it."""
    at = now(connection)
    free = or_(rollouts.c.holder.is_(None), rollouts.c.lease_until.is_(None), rollouts.c.lease_until < at)
    taken = connection.execute(
        rollouts.update()
        .where(rollouts.c.id == 1, free)
        .values(holder=holder, lease_until=at + timedelta(seconds=LEASE), fence=rollouts.c.fence + 1)
    )
    found = read(connection)
    if found is not None and not taken.rowcount:
        who = (found.holder or "nobody").partition(" #")[0]
        raise Waiting(f"{who} acts on this roll-out now, until {found.lease_until:%H:%M:%S} UTC at the latest")
    return found


def release(connection: Connection, holder: str) -> None:
    """Gives the lease back, where it is still held."""
    connection.execute(rollouts.update().where(rollouts.c.holder == holder).values(holder=None, lease_until=None))


def confirm(connection: Connection, before: Stand | None) -> None:
    """Makes all others who change the roll-out wait for this transaction. Raises Waiting where it changed since `before`.

    The environment's row is locked, for a roll-out that is to be begun has none yet.
    """
    connection.execute(environments.update().where(environments.c.id == 1).values(id=1))
    found = read(connection)
    if (found and found.fence) != (before and before.fence):
        raise Waiting(CHANGED)


def begin(connection: Connection, before: Stand | None, values: Mapping[str, Any], event: Mapping[str, Any]) -> None:
    """Begins a roll-out at its first stage, with its event, in a transaction that has confirmed `before`."""
    at = now(connection)
    row = {
        **dict.fromkeys(("silent_since", "looked_at", "holder", "lease_until", "note")),
        "status": RUNNING,
        "stage_since": at,
        "changed_at": at,
        "looks": 0,
        **values,
    }
    if before is not None:
        change(connection, before, row, event)
        return
    connection.execute(rollouts.insert().values(id=1, fence=1, **row))
    _note(connection, 1, {**event, "plan_digest": row["plan_digest"], "stage": row["stage"]}, at)


def change(
    connection: Connection, before: Stand, values: Mapping[str, Any], event: Mapping[str, Any], *, force: bool = False
) -> None:
    """Changes the row and writes the event, in the caller's transaction; the lease ends.

    Raises Waiting where somebody changed it since `before` was read; with `force` it is changed all the same.
    """
    at = max(now(connection), before.changed_at)
    changed = rollouts.update().where(rollouts.c.id == 1)
    if not force:
        changed = changed.where(rollouts.c.fence == before.fence)
    free = {"changed_at": at, "fence": rollouts.c.fence + 1, "holder": None, "lease_until": None}
    if not connection.execute(changed.values(**{**free, **values})).rowcount:
        raise Waiting(CHANGED)
    said = {"plan_digest": before.plan_digest, "stage": before.stage, **values, **event}
    _note(connection, before.fence + 1, said, at)


def _note(connection: Connection, fence: int, event: Mapping[str, Any], at: datetime) -> None:
    row = {name: event[name] for name in ("act", "actor", "plan_digest", "stage", "detail")}
    row["actor"] = row["actor"][:255]
    connection.execute(rollout_events.insert().values(**row, fence=fence, at=at))


def note(connection: Connection, act: str, actor: str, stand: Stand | None, detail: Mapping[str, Any]) -> None:
    """Writes an event that changes nothing."""
    event = {
        "act": act,
        "actor": actor,
        "plan_digest": stand.plan_digest if stand else "",
        "stage": stand.stage if stand else 0,
        "detail": detail,
    }
    _note(connection, stand.fence if stand else 0, event, now(connection))


def events(connection: Connection, last: int = 50) -> list[Event]:
    """The last events, oldest first."""
    columns = [rollout_events.c[name] for name in Event.__slots__]
    found = connection.execute(select(*columns).order_by(rollout_events.c.id.desc()).limit(last)).all()
    return [Event(*row) for row in reversed(found)]


def looks(connection: Connection) -> dict[str, list[Look]]:
    """The looks that were taken in the stage that stands, by gate."""
    entered = select(func.max(rollout_events.c.id)).where(rollout_events.c.act.in_(ENTERED)).scalar_subquery()
    found: dict[str, list[Look]] = {}
    taken = select(rollout_events.c.detail).where(rollout_events.c.act == LOOK, rollout_events.c.id > entered)
    for detail in connection.scalars(taken.order_by(rollout_events.c.id)):
        for look in detail["looks"]:
            found.setdefault(look["gate"], []).append(Look(**look))
    return found


def planned(connection: Connection) -> Mapping[str, Any]:
    """The stage that stands as the plan had it when it was begun: its soak and gates, whatever became of the plan."""
    entered = select(rollout_events.c.detail).where(rollout_events.c.act.in_(ENTERED))
    detail = connection.scalars(entered.order_by(rollout_events.c.id.desc()).limit(1)).one_or_none()
    return dict(detail["planned"]) if detail else {"soak": 0, "gates": []}


def heads(connection: Connection) -> dict[int, str]:
    """For each stage of the roll-out that was begun last, the head of the audit log when it was entered."""
    begun = select(func.max(rollout_events.c.id)).where(rollout_events.c.act == ENTERED[0]).scalar_subquery()
    entered = select(rollout_events.c.stage, rollout_events.c.detail).where(
        rollout_events.c.act.in_(ENTERED), rollout_events.c.id >= begun
    )
    return {row.stage: row.detail["audit_head"] for row in connection.execute(entered.order_by(rollout_events.c.id))}

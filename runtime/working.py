"""Working on a bulk act, by one process at a time: letter by letter for a redrive, in batches for the rest.

Each turn is one transaction that renews the act's lease, sees whether somebody paused it, and takes what comes next. A
process that dies leaves the act running; when its lease is over, any other goes on from there.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from . import claims, redrive
from .bulk import DISCARD, PURGE, REDRIVE, BulkOptions, operation, operation_key, takes_from
from .claims import UNSEEN, Claim, Terms, count, moment
from .columns import database_now
from .history import note, notes
from .letters import Act, LeaseLost, Letter, Operation, Outcome, WrongState
from .lookup import SUMMARY
from .steps import Steps, Wait, Write
from .tables import DEAD, DISCARDED, events, letters, operations

BATCH = 500
_LOCKED_ELSEWHERE_SECONDS = 0.2
_ENDED = ("done", "cancelled")
# What counts as a renewed failure; `failed_again` is one that came back through a broker.
_FAILURES = ("redrive_failed", "failed_again", "in_doubt", "reaped")


@dataclass(frozen=True, slots=True)
class _Held:
    """A bulk act that this process works on."""

    operation: Operation
    fence: int

    @property
    def act(self) -> Act:
        return Act(actor=self.operation.actor, reason=self.operation.reason, operation_id=self.operation.id)

    @property
    def options(self) -> BulkOptions:
        return BulkOptions(**self.operation.options)


def work(
    operation_id: str,
    terms: Terms,
    *,
    told: Callable[[Outcome], object] | None = None,
    clock: Callable[[], float] = time.monotonic,
    chance: Callable[[], float] = random.random,
) -> Steps[Operation]:
    """Works on a bulk act until it is done, or somebody or its breaker stops it; gives how it then stands.

    One that has ended is given as it is. `told` is called with the outcome of each redriven letter. Raises WrongState for
    an act that is paused or stopped, or that another process works on; LeaseLost where another one took over meanwhile.
    """
    held = yield Write(partial(_take_over, operation_id=operation_id, terms=terms))
    if held.operation.status in _ENDED:
        return held.operation
    try:
        if held.operation.kind != REDRIVE:
            return (yield from _in_batches(held, terms))
        return (yield from _one_by_one(held, terms, told, clock, chance))
    except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
        yield Write(partial(_interrupted, held=held))  # else nobody could go on before the lease is over
        raise


def _one_by_one(
    held: _Held,
    terms: Terms,
    told: Callable[[Outcome], object] | None,
    clock: Callable[[], float],
    chance: Callable[[], float],
) -> Steps[Operation]:
    yield from redrive.reap(terms.max_redrives)
    due = clock()
    while True:
        early = due - clock()
        if early > 0:  # in pieces, so that the lease is kept and a pause is seen
            yield Wait(min(early, terms.lease / 3))
        claiming = due <= clock()
        turn = yield Write(partial(_turn, held=held, terms=terms, claiming=claiming))
        if isinstance(turn, Operation):
            return turn
        if turn is None and claiming:
            due = clock() + _LOCKED_ELSEWHERE_SECONDS
        if isinstance(turn, Claim):
            due = clock() + _pause(held.options, chance)
            renew = partial(_renew, letter=turn.letter, held=held, terms=terms)
            turn = yield from redrive.run(turn, held.act, terms, renew)
        if told is not None and turn is not None:
            told(turn)


def _in_batches(held: _Held, terms: Terms) -> Steps[Operation]:
    while True:
        turn = yield Write(partial(_batch_turn, held=held, terms=terms))
        if isinstance(turn, Operation):
            return turn
        if not turn:
            yield Wait(_LOCKED_ELSEWHERE_SECONDS)


def _pause(options: BulkOptions, chance: Callable[[], float]) -> float:
    """Seconds from one letter to the next."""
    if options.rate is None:
        return 0.0
    return (1 + options.jitter * (2 * chance() - 1)) / options.rate


def _take_over(connection: Connection, operation_id: str, terms: Terms) -> _Held:
    key = operation_key(operation_id)
    found = operation(connection, key)
    if found.status in _ENDED:
        return _Held(found, 0)
    if found.status != "running":
        raise WrongState(f"the bulk act is {found.status}: resume it first")
    now = moment(connection)
    o = operations.c
    free = o.lease_until.is_(None) | (o.lease_until < now)
    taken = connection.execute(
        update(operations)
        .where(o.id == key, o.status == "running", free)
        .values(fence=o.fence + 1, lease_until=now + timedelta(seconds=terms.lease), claimed_by=terms.owner)
    )
    row = connection.execute(select(o.fence, o.claimed_by).where(o.id == key)).one()
    if not taken.rowcount:
        raise WrongState(f"{row.claimed_by} works on the bulk act: pause it, or wait until its lease is over")
    return _Held(found, row.fence)


def _hold(connection: Connection, held: _Held, terms: Terms) -> Operation:
    """Renews the act's lease; gives how it stands. Raises LeaseLost."""
    o = operations.c
    until = moment(connection) + timedelta(seconds=terms.lease)
    kept = connection.execute(
        update(operations).where(o.id == held.operation.id, o.fence == held.fence).values(lease_until=until)
    )
    if not kept.rowcount:
        raise LeaseLost(f"another process took the bulk act {held.operation.id} over")
    return operation(connection, held.operation.id)


def _renew(connection: Connection, letter: Letter, held: _Held, terms: Terms) -> bool:
    """Keeps the letter and the act while a handler runs."""
    o = operations.c
    until = moment(connection) + timedelta(seconds=terms.lease)
    connection.execute(
        update(operations).where(o.id == held.operation.id, o.fence == held.fence).values(lease_until=until)
    )
    return claims.renew(connection, letter, terms.lease)


def _turn(connection: Connection, held: _Held, terms: Terms, claiming: bool) -> Operation | Claim | Outcome | None:
    """What comes next: the act where it ended, a claimed letter, one that was refused; None to come again."""
    now = _hold(connection, held, terms)
    if now.status != "running":
        return _let_go(connection, held)
    if not claiming:
        return None
    broken = _breaker(connection, held)
    if broken is not None:
        return _let_go(connection, held, "stopped", broken)
    taken = claims.claim_next(connection, held.act, terms)
    if taken is None and not _left(connection, held):
        return _let_go(connection, held, "done")
    return taken


def _left(connection: Connection, held: _Held) -> bool:
    """Whether letters still wait for the act, say because another transaction holds them at this moment."""
    return connection.execute(_waiting(held, letters.c.id).limit(1)).first() is not None


def _waiting(held: _Held, *columns: Any) -> Any:
    statuses = (DEAD,) if held.operation.kind == REDRIVE else takes_from(held.operation.kind)
    return select(*columns).where(letters.c.operation_id == held.operation.id, letters.c.status.in_(statuses))


def _breaker(connection: Connection, held: _Held) -> str | None:
    """Why the act must stop: too many of its last redrives failed again."""
    window, limit = held.options.window, held.options.stop_share
    e = events.c
    of_act = e.operation_id == held.operation.id
    resumed = connection.scalar(select(func.max(e.id)).where(of_act, e.kind == "bulk_resumed")) or 0
    driven = select(e.id).where(of_act, e.kind == "redriving", e.id > resumed).order_by(e.id.desc())
    first = connection.scalar(driven.offset(window - 1).limit(1))
    if first is None:
        return None
    failed = connection.scalar(
        select(func.count(e.letter_id.distinct())).where(of_act, e.kind.in_(_FAILURES), e.id >= first)
    )
    failed = min(failed or 0, window)
    if failed <= limit * window:
        return None
    return f"{failed} of the last {window} redrives failed again, and more than {limit:.0%} stops it"


def _let_go(connection: Connection, held: _Held, status: str | None = None, why: str | None = None) -> Operation:
    """Ends this process's work on the act, with a new status where one is given."""
    o = operations.c
    values: dict[str, Any] = {"lease_until": None, "claimed_by": None, "changed_at": database_now()}
    if status is not None:
        values |= {"status": status, "note": why}
    if status == "done":  # letters that somebody else acted on meanwhile were skipped too
        values["skipped"] = o.total - o.succeeded - o.failed
    ours = connection.execute(update(operations).where(o.id == held.operation.id, o.fence == held.fence).values(values))
    if ours.rowcount and status is not None:
        note(connection, f"bulk_{status}", operation_id=held.operation.id, actor="unhush", reason=why)
    return operation(connection, held.operation.id)


def _interrupted(connection: Connection, held: _Held) -> None:
    """Ends this process's work on the act, which anybody may resume."""
    running = operation(connection, held.operation.id).status == "running"
    _let_go(connection, held, "paused" if running else None, "the process that worked on it was interrupted")


def _batch_turn(connection: Connection, held: _Held, terms: Terms) -> Operation | int:
    """The act where it ended, or how many letters were done; 0 where others hold those that are left."""
    now = _hold(connection, held, terms)
    if now.status != "running":
        return _let_go(connection, held)
    rows = connection.execute(_waiting(held, *SUMMARY).limit(BATCH).with_for_update(skip_locked=True)).all()
    if not rows:
        return 0 if _left(connection, held) else _let_go(connection, held, "done")
    if held.operation.kind == PURGE:
        _purge(connection, held, rows)
    else:
        _move(connection, held, rows)
    return len(rows)


def _move(connection: Connection, held: _Held, rows: Sequence[Any]) -> None:
    kind, to = ("discarded", DISCARDED) if held.operation.kind == DISCARD else ("restored", DEAD)
    moved = connection.execute(
        update(letters)
        .where(_still(held, rows))
        .values(status=to, fence=letters.c.fence + 1, operation_id=None, changed_at=database_now())
    )
    _as_many(moved.rowcount, rows)
    _written(connection, held, kind, [(row, {"was": row.status}) for row in rows])
    count(connection, held.operation.id, kind, len(rows))


def _purge(connection: Connection, held: _Held, rows: Sequence[Any]) -> None:
    unseen = [] if held.options.unseen else [row for row in rows if row.seen_at is None]
    gone = [row for row in rows if row not in unseen] if unseen else rows
    if gone:
        _as_many(connection.execute(delete(letters).where(_still(held, gone))).rowcount, gone)
        _written(connection, held, "purged", [(row, _remembered(row)) for row in gone])
        count(connection, held.operation.id, "purged", len(gone))
    if unseen:
        kept = connection.execute(update(letters).where(_still(held, unseen)).values(operation_id=None))
        _as_many(kept.rowcount, unseen)
        why = {"result": UNSEEN, "detail": "nobody looked at it yet"}
        _written(connection, held, "refused", [(row, why) for row in unseen])
        count(connection, held.operation.id, UNSEEN, len(unseen))


def _still(held: _Held, rows: Sequence[Any]) -> Any:
    return letters.c.id.in_([row.id for row in rows]) & (letters.c.operation_id == held.operation.id)


def _as_many(changed: int, rows: Sequence[Any]) -> None:
    """All or nothing: a letter that slipped away rolls the batch back."""
    if changed != len(rows):
        raise LeaseLost("letters of the bulk act changed while it took them: work on it again")


def _remembered(row: Any) -> dict[str, Any]:
    """What the audit keeps of a letter that is gone."""
    kept = ("queue", "job_name", "job_id", "status", "attempts", "redrives", "fingerprint", "error_type")
    return {name: row._mapping[name] for name in kept} | {"failed_at": row.failed_at.isoformat()}


def _written(connection: Connection, held: _Held, kind: str, rows: Sequence[tuple[Any, Any]]) -> None:
    act = held.act
    notes(
        connection,
        [
            {
                "kind": kind,
                "letter_id": row.id,
                "operation_id": act.operation_id,
                "actor": act.actor,
                "reason": act.reason,
                "fence": row.fence + (0 if kind == "refused" else 1),
                "detail": detail,
            }
            for row, detail in rows
        ],
    )

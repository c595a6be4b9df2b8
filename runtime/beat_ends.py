"""How runs of jobs end: many at once in a few statements, each under its own fence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select

from . import beat_letters
from .beat_errors import LeaseLost
from .beat_rows import change, changing, now_given, now_in
from .beat_tables import RUNNING, jobs
from .beat_terms import Claim, Clock
from .columns import Word, database_now


class Ends(NamedTuple):
    """What became of the ends of runs. One that is in neither has its row locked: try again."""

    written: set[Claim]
    lost: set[Claim]
    """The runs that had been given away: their ends change nothing."""


def end(connection: Connection, claim: Claim, status: str, clock: Clock = database_now) -> bool:
    """Writes how a run ended. False where its row is locked: try again. Raises LeaseLost where it was given away."""
    ends = end_all(connection, [(claim, status)], clock)
    if ends.lost:
        raise LeaseLost("the job was given away while it ran")
    return claim in ends.written


def end_all(connection: Connection, ends: Iterable[tuple[Claim, str]], clock: Clock = database_now) -> Ends:
    """Writes how runs ended. Without letters each of its statements may be committed by itself."""
    given = now_given(clock)
    form = _form(connection.dialect.name, bool(given))
    written: set[Claim] = set()
    left: list[Claim] = []
    for status, claims in _alike(ends):
        expected = {id_: (claim.fence, RUNNING) for id_, claim in claims.items()}
        changed = change(connection, form, expected, {"outcome": status} | given)
        written |= {claims[id_] for id_ in changed}
        left += [claim for id_, claim in claims.items() if id_ not in changed]
    beat_letters.forget_all(connection, [claim.id for claim in written if claim.has_letter])
    return _with_rest(connection, written, left)


def _alike(ends: Iterable[tuple[Claim, str]]) -> list[tuple[str, dict[str, Claim]]]:
    """Runs that ended in the same way, by their rows; of two runs of one job the second is in a group of its own."""
    groups: list[tuple[str, dict[str, Claim]]] = []
    for claim, status in ends:
        group = next((group for how, group in groups if how == status and claim.id not in group), None)
        if group is None:
            groups.append((status, group := {}))
        group[claim.id] = claim
    return groups


def _with_rest(connection: Connection, written: set[Claim], left: Sequence[Claim]) -> Ends:
    """Looks why the others were not changed: deleted, ended before, given away, or locked."""
    if not left:
        return Ends(written, set())
    there = select(jobs.c.id, jobs.c.fence, jobs.c.status).where(jobs.c.id.in_({claim.id for claim in left}))
    rows = {row.id: row for row in connection.execute(there)}
    lost = {claim for claim in left if claim.id in rows and rows[claim.id].fence != claim.fence}
    locked = {claim for claim in left if claim.id in rows and rows[claim.id].status == RUNNING} - lost
    return Ends(written | (set(left) - lost - locked), lost)


@cache
def _form(dialect: str, given: bool) -> Any:
    outcome = bindparam("outcome", type_=Word)
    return changing(dialect, jobs.update().values(status=outcome, ended_at=now_in(given)))

"""The guard: it looks at a roll-out again and again, takes the way back by itself, and waits for the next stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from ..output import Failure
from ..runtime.flag_tables import DONE, PAUSED, ROLLED_BACK, RUNNING
from ..runtime.telling import first_line
from . import controller, environment, stages, stand
from .controller import Case, Judging, Outcome, breach, judge, looks_of, looks_taken, rollback, turned_off, written
from .gates import NO_DATA, Judged
from .stand import Stand, Waiting

DEADLINE = 600.0  # seconds without data after which a stage is rolled back
NO_DATA_NOTE = "a gate has no data"


def guard(case: Case, *, deadline: float = DEADLINE) -> Outcome | None:
    """One round of the guard: rolls back on a breach, pauses where a gate has no data, rolls back after the deadline.

    None where nothing is under way. A lease that another operator holds is respected, but for a rollback.
    """
    with case.engine.connect() as connection:
        found = stand.read(connection) if environment.read(connection) else None
        if found is None or not found.under_way:
            return None
        now = stand.now(connection)
        by_hand = turned_off(connection, found)
        judging = Judging(found, stand.planned(connection), stand.looks(connection), now)
    if by_hand:
        return rollback(case, by_hand[0].partition(":")[0])
    judged = judge(case, judging)
    if any(one.breach for one in judged):
        return rollback(case, breach(judged), judged)
    silent = next((one for one in judged if one.verdict == NO_DATA), None)
    if silent and found.silent_since and now - found.silent_since >= timedelta(seconds=deadline):
        return rollback(case, f"gate {silent.gate.name} has had no data for {deadline:g} s: {silent.why}", judged)
    status = found.status
    if not found.holder or found.lease_until is None or found.lease_until < now:
        status = _remember(case, found, now, silent, judged)
    return Outcome(found.stage, status, judged)


def _remember(case: Case, found: Stand, now: datetime, silent: Judged | None, judged: Sequence[Judged]) -> str:
    """Writes since when there is no data, that there is some again, and looks that were due. Gives the status."""
    values: dict[str, Any] = {}
    if silent and not found.silent_since:
        values["silent_since"] = now
    if silent and found.status == RUNNING:
        values |= {"status": PAUSED, "note": f"{NO_DATA_NOTE}: {silent.gate.name}: {silent.why}"}
    if not silent and found.silent_since:
        values["silent_since"] = None
        if found.status == PAUSED and (found.note or "").startswith(NO_DATA_NOTE):
            values |= {"status": RUNNING, "note": None}
    looks = looks_of(judged)
    if not values and not looks:
        return found.status
    act = {PAUSED: "pause", RUNNING: "resume"}.get(str(values.get("status")), stand.LOOK if looks else "silence")
    detail = {"why": values.get("note"), "gates": [one.as_data() for one in judged], **looks}
    with case.engine.begin() as connection:
        if looks:
            values |= {"looks": looks_taken(connection) + 1, "looked_at": now}
        if looks and act != stand.LOOK:
            stand.note(connection, stand.LOOK, case.actor, found, looks)
        stand.change(connection, found, values, {"act": act, "actor": case.actor, "detail": detail})
    if act != stand.LOOK:
        written(case, act, stage=found.stage, why=values.get("note"))
    return str(values.get("status", found.status))


def until_stage(
    case: Case, stage: int, *, deadline: float, wait: Callable[[], None], tell: Callable[[str], None]
) -> Outcome:
    """Goes on until a stage is reached and its gates have passed, or the roll-out is rolled back.

    `wait` is called between two rounds, `tell` with each line that is new. While a stage is under way nothing but that ends
    the guard: what only a person can put right is told, and a database that does not answer is asked again. Before that
    it raises Failure.
    """
    told = ""
    while True:
        try:
            outcome = _round(case, stage, deadline)
        except SQLAlchemyError as error:
            outcome = f"the database does not answer: {first_line(error)}"
        if isinstance(outcome, Outcome):
            return outcome
        if outcome != told:
            tell(outcome)
            told = outcome
        wait()


def _round(case: Case, stage: int, deadline: float) -> Outcome | str:
    """The outcome that ends the waiting, or what is being waited for."""
    try:
        now = guard(case, deadline=deadline)
    except Waiting as waiting:  # another operator acts
        return waiting.message
    if now is not None and now.status == ROLLED_BACK:
        return now
    try:
        return _step(case, stage)
    except Waiting as waiting:
        return waiting.message
    except (Failure, OSError) as problem:  # settings that are being edited, too
        if now is None:
            raise
        return problem.message if isinstance(problem, Failure) else first_line(problem)


def _step(case: Case, stage: int) -> Outcome | str:
    """One step towards a stage, where nothing is missing for it; else what is."""
    seen = controller.see(case)
    reached = seen.stand if seen.stand is not None and seen.stand.under_way else None
    if seen.lasting and reached is not None:
        return seen.lasting[0]
    if seen.passing and not seen.lasting:
        return seen.passing[0]
    if reached is not None and reached.stage >= stage and stage != stages.LAST:
        return Outcome(reached.stage, reached.status, seen.judged)
    outcome = controller.advance(case)
    if outcome.status in (ROLLED_BACK, DONE):
        return outcome
    return f"stage {outcome.stage}, {stages.STAGES[outcome.stage].name}, begins"

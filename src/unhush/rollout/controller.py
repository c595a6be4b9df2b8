"""The acts on a roll-out: on to the next stage, pause, and the way back.

Each act is one transaction of the database with its event and the flags that it sets. An operator holds a lease while
an act is being judged; the way back asks for none, and needs neither plan nor approval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from ..runtime import flag_rows
from ..runtime.flag_tables import DONE, OFF, ON, PAUSED, ROLLED_BACK, RUNNING
from . import approvals, audit, binding, environment, evidence, gates, measures, stages, stand
from . import plan as plans
from .errors import Refused, RolloutProblem
from .gates import PASS, Judged
from .stand import Stand, Waiting

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from .environment import Environment
    from .settings import RolloutSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Who acts on which database for which project."""

    engine: Engine
    root: Path
    settings: RolloutSettings
    actor: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A look at a roll-out: where it stands, its gates' verdicts, and what keeps it from the next stage, a line each."""

    environment: Environment
    stand: Stand | None
    now: datetime
    judged: Sequence[Judged]
    lasting: Sequence[str]
    """What only a person can put right."""
    passing: Sequence[str]
    """What time or other people lift."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an act came to: the stage and status after it, and what is wrong all the same."""

    stage: int
    status: str
    judged: Sequence[Judged] = ()
    problems: Sequence[str] = ()


def see(case: Case, wanted: int | None = None) -> Seen:
    """Looks at everything that the next stage needs. Changes nothing. Raises Refused where nothing was begun at all."""
    named = environment.demand(case.engine, case.settings.gated)
    with case.engine.connect() as connection:
        found, now = stand.read(connection), stand.now(connection)
        changed = turned_off(connection, found)
        heads = stand.heads(connection) if found and found.under_way else {}
        judging = Judging(found, stand.planned(connection), stand.looks(connection), now) if found else None
    judged = judge(case, judging) if judging and judging.stand.under_way else []
    try:
        plan = plans.read(case.root)
    except (Refused, RolloutProblem) as problem:
        return Seen(named, found, now, judged, [problem.message], [])
    return Seen(
        named,
        found,
        now,
        judged,
        [*changed, *_lasting(case, plan, named, found, now, wanted), *_cut(case, heads)],
        list(_passing(case, plan, named, found, now, judged)),
    )


@dataclass(frozen=True, slots=True)
class Judging:
    """What is needed to judge the stage that stands; its gates are those that it was begun under."""

    stand: Stand
    planned: Mapping[str, Any]
    past: Mapping[str, Sequence[gates.Look]]
    now: datetime


def judge(case: Case, judging: Judging) -> list[Judged]:
    """The verdicts on the gates of the stage that stands."""
    wanted = [gates.from_data(one) for one in judging.planned["gates"]]
    found = judging.stand
    soak = judging.planned["soak"]
    place = measures.Place(case.engine, case.settings.prometheus, found.stage, found.stage_since, judging.now, soak)
    return measures.judge(place, wanted, judging.past)


def turned_off(connection: Connection, found: Stand | None, *, lock: bool = False) -> list[str]:
    """The flags that are OFF though the stage that stands has them on: somebody took the way back by hand, a line each."""
    if found is None or not found.under_way:
        return []
    known, stage = flag_rows.read(connection, lock=lock), stages.STAGES[found.stage]
    return [
        f"flag {name} was turned OFF in stage {found.stage}, by hand: run `unhush rollout rollback`, then begin anew"
        for name in stages.FLAGS
        if stage.of(name) != stages.OFF and (name not in known or known[name].state == OFF)
    ]


def _cut(case: Case, heads: Mapping[int, str]) -> Iterator[str]:
    """The stages whose entry is not in the audit log any more, though the database holds its hash, a line each."""
    known = set(audit.heads(case.root))
    for stage, head in heads.items():
        if head not in known:
            yield (
                f"{audit.FILE} lacks the entry of stage {stage}, {head[:12]}: it was cut or built anew, or stands in"
                " another clone: bring it here"
            )


def _lasting(
    case: Case, plan: plans.Plan, named: Environment, found: Stand | None, now: datetime, wanted: int | None
) -> Iterator[str]:
    """What keeps a roll-out from its next stage and does not pass by itself."""
    for line in plans.differences(case.root, plan):
        yield f"the plan does not hold any more: {line}"
    if found is not None and found.status == DONE and found.plan_digest == plans.digest(plan):
        yield "this plan is rolled out; to begin anew, roll it back first"
    under_way = found is not None and found.under_way
    if found is not None and under_way and found.plan_digest != plans.digest(plan):
        yield f"the roll-out that runs is of another plan, {found.plan_id}: roll it back, or take that plan's revision"
    if found is not None and now < found.changed_at:
        yield f"the database's clock went back: it says {now:%Y-%m-%d %H:%M:%S} UTC, before the last act"
    if behind := audit.clock_behind(case.root):
        yield f"this machine's clock went back: it is {behind:.0f} s before the last entry of {audit.FILE}"
    try:
        following = _following(found, wanted)
    except Refused as refusal:
        yield refusal.message
        return
    if following is not None:
        for one in plan["stages"][following]["gates"]:
            if why := measures.unanswerable(gates.from_data(one), following, case.settings.prometheus):
                yield f"stage {following} could never be left: {why}"


def _following(found: Stand | None, wanted: int | None) -> int | None:
    """The next stage; None where the last one is reached and only its end is to come. Raises Refused."""
    at = found.stage if found is not None and found.under_way else None
    if at == stages.LAST and wanted is None:
        return None
    return stages.next_after(at, wanted)


def _passing(
    case: Case,
    plan: plans.Plan,
    named: Environment,
    found: Stand | None,
    now: datetime,
    judged: Sequence[Judged],
) -> Iterator[str]:
    """What keeps a roll-out from its next stage until time passes or people act."""
    if named.gated:
        yield from (one.why for one in approvals.standing(case.root, plan, named.name) if not one.ok)
    yield from _red(case, plan, named)
    if found is None or not found.under_way:
        return
    if found.status == PAUSED:
        yield f"the roll-out is paused: {found.note}"
    soaked = (now - found.stage_since).total_seconds()
    if (soak := plan["stages"][found.stage]["soak"]) > soaked:  # the plan is the one that the stage was begun under
        yield f"stage {found.stage} has soaked {max(0, soaked):.0f} s of {soak} s"
    for one in judged:
        if one.verdict != PASS:
            yield f"gate {one.gate.name}: {one.verdict}: {one.why}"


def _red(case: Case, plan: plans.Plan, named: Environment) -> Iterator[str]:
    """The evidence of the plan that is not green; for a gated database also what every plan must rest on."""
    names = set(plan["evidence"])
    if named.gated:
        records = evidence.read_all(case.root)
        names |= {*plan["staging"], *binding.required(case.settings, records)}
        if untested := binding.without_tests(case.settings):
            yield untested
    if not names:
        yield "the plan rests on no evidence: run `unhush rollout prepare`"
    for name in sorted(names):
        record = evidence.read(case.root, name)
        said = binding.judged(record, case.root, case.settings, plan["base"], plan["commit"])
        if not said.passed:
            yield f"evidence {name} says {said.status}: {said.why}"


def advance(case: Case, wanted: int | None = None) -> Outcome:
    """Brings a roll-out to its next stage, or rolls it back where a gate is breached.

    Raises Refused with what is missing, Waiting where that may come: nothing is changed then, but a look that was due is
    taken. Refusals are written down.
    """
    with _told(case, "advance"):
        environment.demand(case.engine)
        plan = plans.read(case.root)
        with _held(case) as before:
            seen = see(case, wanted)
            if any(one.breach for one in seen.judged) and before is not None:
                return rollback(case, breach(seen.judged), seen.judged)
            if seen.lasting:
                raise Refused(seen.lasting[0])
            if seen.passing:
                _keep_looks(case, before, seen.judged)
                raise Waiting(seen.passing[0])
            return _enter(case, plan, before, _following(before, wanted), seen.judged)


@contextmanager
def _told(case: Case, act: str) -> Iterator[None]:
    """Writes a refusal into the audit log."""
    try:
        yield
    except Refused as refusal:
        audit.append(case.root, f"{act}.refused", case.actor, why=refusal.message)
        raise


@contextmanager
def _held(case: Case) -> Iterator[Stand | None]:
    """Holds the lease; an act that changes the row ends it, everything else does at the end of the block."""
    holder = stand.holder_of(case.actor)
    with case.engine.begin() as connection:
        before = stand.take(connection, holder)
    try:
        yield before
    finally:
        with case.engine.begin() as connection:
            stand.release(connection, holder)


def _enter(
    case: Case, plan: plans.Plan, before: Stand | None, following: int | None, judged: Sequence[Judged]
) -> Outcome:
    digest = plans.digest(plan)
    detail: dict[str, Any] = {"gates": [one.as_data() for one in judged], **looks_of(judged)}
    if following is None:
        assert before is not None
        with case.engine.begin() as connection:
            stand.confirm(connection, before)
            detail["audit_head"] = audit.append(case.root, "done", case.actor, plan_digest=digest, stage=before.stage)
            event = {"act": "done", "actor": case.actor, "detail": detail}
            stand.change(connection, before, {"status": DONE, "note": None}, event)
        return Outcome(stages.LAST, DONE, judged)
    act = "begin" if following == 0 else "advance"
    with case.engine.begin() as connection:
        stand.confirm(connection, before)
        if by_hand := turned_off(connection, before, lock=True):  # while the gates were judged
            raise Refused(by_hand[0])
        now = stand.now(connection)
        changed = _set_flags(connection, plan, following, case.actor)
        facts = {"plan_digest": digest, "stage": following, "flags": changed, "gates": detail["gates"]}
        values = {"plan_id": plan["plan_id"], "plan_digest": digest, "stage": following, "stage_since": now}
        values |= {"status": RUNNING, "looks": 0, "looked_at": None, "silent_since": None, "note": None}
        detail |= {"flags": changed, "planned": plan["stages"][following]}
        detail["audit_head"] = audit.append(case.root, act, case.actor, **facts)
        event = {"act": act, "actor": case.actor, "detail": detail}
        if following == 0:
            stand.begin(connection, before, values, event)
        else:
            assert before is not None
            stand.change(connection, before, values, event)
    return Outcome(following, RUNNING, judged)


def _set_flags(connection: Connection, plan: plans.Plan, stage: int, actor: str) -> dict[str, str]:
    """Sets the flags as a stage of the plan has them, and gives what was changed, in words."""
    known, changed = flag_rows.read(connection), {}
    for name, said in sorted(plan["flags"].items()):
        setting = said["stages"][stage]
        state, percentage = (OFF, 0.0) if setting == stages.OFF else (ON, float(setting))
        now = known.get(name)
        if now is None or (now.state, now.percentage, now.salt) != (state, percentage, said["salt"]):
            row = flag_rows.write(connection, name, state=state, percentage=percentage, salt=said["salt"], actor=actor)
            changed[name] = f"{state} {percentage:g}% v{row.version}"
    return changed


def looks_of(judged: Sequence[Judged]) -> dict[str, Any]:
    """The looks that were due, for an event."""
    looks = [asdict(one.look) for one in judged if one.look]
    return {"looks": looks} if looks else {}


def _keep_looks(case: Case, before: Stand | None, judged: Sequence[Judged]) -> None:
    """Writes the looks that were due, so that none is taken twice."""
    looks = looks_of(judged)
    if before is None or not looks:
        return
    with case.engine.begin() as connection:
        event = {"act": stand.LOOK, "actor": case.actor, "detail": looks}
        stand.change(
            connection, before, {"looks": looks_taken(connection) + 1, "looked_at": stand.now(connection)}, event
        )


def looks_taken(connection: Connection) -> int:
    """How many looks the stage has had."""
    return max((len(found) for found in stand.looks(connection).values()), default=0)


def pause(case: Case, why: str) -> Outcome:
    """Holds a roll-out where it stands; its flags stay. Raises Refused where none runs."""
    with _told(case, "pause"), case.engine.begin() as connection:
        environment_of = environment.read(connection)
        before = stand.read(connection) if environment_of else None
        if before is None or before.status != RUNNING:
            raise Refused("no roll-out runs that could be paused")
        audit.append(case.root, "pause", case.actor, stage=before.stage, why=why)
        event = {"act": "pause", "actor": case.actor, "detail": {"why": why}}
        stand.change(connection, before, {"status": PAUSED, "note": why}, event)
        return Outcome(before.stage, PAUSED)


def resume(case: Case) -> Outcome:
    """Ends a pause. Raises Refused where there is none."""
    with _told(case, "resume"), case.engine.begin() as connection:
        before = stand.read(connection) if environment.read(connection) else None
        if before is None or before.status != PAUSED:
            raise Refused("no roll-out is paused")
        audit.append(case.root, "resume", case.actor, stage=before.stage)
        event = {"act": "resume", "actor": case.actor, "detail": {}}
        stand.change(connection, before, {"status": RUNNING, "note": None, "silent_since": None}, event)
        return Outcome(before.stage, RUNNING)


def rollback(case: Case, why: str, judged: Sequence[Judged] = ()) -> Outcome:
    """Sets the flags OFF for every job and ends the roll-out, whoever holds it; then looks whether all is well.

    It needs no plan, no approval and no lease, and may be done twice. Raises Refused where the database has no tables of
    a roll-out. What the health check finds, or a log that can't be written, is in the outcome's problems.
    """
    environment.demand(case.engine)
    with case.engine.begin() as connection:
        changed = [row.name for row in flag_rows.turn_off(connection, stages.FLAGS, case.actor)]
        before = stand.read(connection)
        detail = {"why": why, "flags": changed, "gates": [one.as_data() for one in judged]}
        if before is None:
            stand.note(connection, "rollback", case.actor, None, detail)
        else:
            event = {"act": "rollback", "actor": case.actor, "detail": detail}
            stand.change(connection, before, {"status": ROLLED_BACK, "note": why}, event, force=True)
    stage = before.stage if before else 0
    problems = [*_verified(case, stage), *written(case, "rollback", stage=stage, **detail)]
    return Outcome(stage, ROLLED_BACK, judged, problems)


def _verified(case: Case, stage: int) -> list[str]:
    """What is wrong after a rollback; it is written into the story of the roll-out."""
    from sqlalchemy.exc import SQLAlchemyError

    from ..runtime.telling import first_line
    from ..sql.errors import SchemaProblem

    try:
        problems = list(measures.health_of(case.engine).problems)
        with case.engine.begin() as connection:
            known = flag_rows.read(connection)
            problems += [f"flag {name} is not OFF" for name in stages.FLAGS if known[name].state != OFF]
            stand.note(connection, "health", case.actor, stand.read(connection), {"problems": problems})
    except (SQLAlchemyError, SchemaProblem, OSError) as error:
        problems = [f"the health check could not be run: {first_line(error)}"]
    return [*problems, *written(case, "rollback.health", stage=stage, problems=problems)]


def written(case: Case, act: str, **facts: Any) -> list[str]:
    """Writes an act that is done into the log; where that fails, the act stands and this is its problem."""
    try:
        audit.append(case.root, act, case.actor, **facts)
    except RolloutProblem as problem:
        return [problem.message]
    return []


def breach(judged: Sequence[Judged]) -> str:
    """Why a stage is rolled back, in one line."""
    first = next(one for one in judged if one.breach)
    return f"gate {first.gate.name} is breached: {first.why}"

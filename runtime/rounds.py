"""One run of the watchdog: look at all running jobs, judge, hold back where that is wise, and act."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

import unhush.sql.errors as sql_errors
from unhush.sql.runner import require_schema

from . import acts, beat_letters, watching
from .beat_errors import HeartbeatError, ThresholdTooShort
from .beat_metrics import Snapshot
from .beat_tables import GIVEN_AWAY, PARKED, RESCUING
from .columns import database_now
from .engine import is_duplicate
from .letters import SchemaProblem
from .states import ALIVE, BAD, INTERVALS, LOST, STALLED, state_of
from .telling import first_line
from .watchdog import DEAD_LETTER, REPORT, Verdict
from .watching import Lead, NotLeading, Standby, Summary, Watcher

if TYPE_CHECKING:
    from .watchdog import Action, Watchdog

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA = 2  # the migration that makes the tables
# Others look again when the leader's lease is over. So a dead leader costs a quarter of an interval and no hold; one that
# is late by more loses the lead, which harms nothing.
LEASE_INTERVALS = 1.25
TO_DO = ""  # a verdict that nothing has been done on yet
LOCKED = "it ended or was claimed meanwhile, or a transaction holds its row"

_log = structlog.get_logger("unhush.runtime")


class JobLost(Exception):
    """The error of a job that the watchdog put into the dead letter queue."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A row, what is to be said of it and what is to be noted on it; None for nothing."""

    row: Any
    state: str
    verdict: Verdict | None
    marks: dict[str, Any] | None = None


class Round:
    """One run of a watchdog."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._dog = watchdog
        self._clock = watchdog.clock or database_now
        self.snapshot: Snapshot | None = None
        self._me = Watcher(
            name=watchdog.name,
            holder=watchdog.holder,
            host=socket.gethostname(),
            pid=os.getpid(),
            every=watchdog.every,
            lease=LEASE_INTERVALS * watchdog.every,
        )
        self.pause = watchdog.every
        """Seconds until the next run is due."""

    def verdicts(self, *, unsteady: bool, first: bool, brake: bool) -> list[Verdict]:
        """Does the run; empty where another watchdog leads.

        `unsteady` says that the last run failed, `first` that there was none before, when a wrong threshold is raised.
        """
        lead = self._lead(unsteady)
        if lead is None:
            return []
        summary = self._read(watching.summary)
        if first:
            self._check_threshold(summary)
        findings = [self._judged(row, lead) for row in self._rows(summary, lead.now)]
        if self._dog.exporting:
            self.snapshot = self._seen(findings, summary, lead.now)
        findings = self._marked(findings)
        if self._too_many(findings, summary, lead) and brake:
            findings = [_braked(finding) for finding in findings]
        verdicts = self._acted(findings, lead)
        self._write(watching.prune, lead.now, self._dog.keep)
        return verdicts

    def _lead(self, unsteady: bool) -> Lead | None:
        try:
            self._read(_check_schema)
            found = self._write(self._take_lead, unsteady)
        except (sql_errors.SchemaProblem, SchemaProblem) as problem:
            raise HeartbeatError(str(problem)) from problem
        except DBAPIError as error:
            if is_duplicate(error):  # two began at the same moment, and the other was first
                return None
            raise
        if isinstance(found, Standby):
            self.pause = min(self.pause, found.seconds)
            return None
        return found

    def _take_lead(self, connection: Connection, unsteady: bool) -> Lead | Standby:
        """Takes the lead, and puts right in the same transaction what a jump of the clock made wrong: it is seen once."""
        found = watching.lead(connection, self._me, unsteady, self._clock)
        if isinstance(found, Lead) and found.jumped_back:
            watching.take_back_future(connection, found.now)
        return found

    def leave(self) -> None:
        """Lets another watchdog lead from now on."""
        self._write(watching.leave_lead, self._me, self._clock)

    def _check_threshold(self, summary: Summary) -> None:
        if summary.most_every is not None and INTERVALS * summary.most_every > self._dog.stuck_after:
            raise ThresholdTooShort(self._refusal(summary.most_every))

    def _refusal(self, every: float) -> str:
        return f"stuck_after is {self._dog.stuck_after:g} s, shorter than two intervals of a job that beats every {every:g} s"

    def _rows(self, summary: Summary, now: datetime) -> list[Any]:
        """All doubtful rows: read batch after batch by their ids, so that none hides those behind it."""
        rows: list[Any] = []
        while True:
            some = self._read(watching.sighted, rows[-1].id if rows else None, summary, now)
            rows += some
            if len(some) < watching.BATCH:
                return rows

    def _judged(self, row: Any, lead: Lead) -> Finding:
        if row.status == RESCUING:
            return Finding(row, ALIVE, _verdict(row, row.reported_state or LOST, self._for_now(row)))
        signs = watching.signs_of(row)
        state = state_of(signs, lead.now, self._dog.stuck_after)
        if state not in BAD:
            marked = row.suspected_at or row.reported_state
            return Finding(row, state, None, _marks(None, None, None) if marked else None)
        if state == LOST and INTERVALS * row.every > self._dog.stuck_after:
            return Finding(row, state, _verdict(row, state, "refused", self._refusal(row.every)))
        if self._is_first_look(row, state, lead.now):
            return Finding(row, state, _verdict(row, state, "suspected"), _marks(lead.now, state, None))
        if (lead.now - row.suspected_at).total_seconds() < min(row.every, self._dog.every) / 2:
            return Finding(row, state, _verdict(row, state, "suspected"))
        marks = _marks(row.suspected_at, state, state) if row.reported_state != state else None
        done = self._for_now(row)
        if done == TO_DO and state_of(signs, lead.now, self._dog.stuck_after, lead.steady_since) not in BAD:
            done = "held"
        return Finding(row, state, _verdict(row, state, done), marks)

    def _is_first_look(self, row: Any, state: str, now: datetime) -> bool:
        """Whether what an earlier look saw is not what this one sees: another state, or a sign of life in between."""
        if row.suspected_at is None or row.suspected_state != state or row.suspected_at > now:
            return True
        sign = {LOST: row.beat_at, STALLED: row.progress_at}.get(state)
        return sign is not None and sign > row.suspected_at

    def _for_now(self, row: Any) -> str:
        """What is done with the row's kind before anything is touched."""
        action = self._dog.actions.get(row.kind)
        return "unknown_kind" if action is None else "reported" if action == REPORT else TO_DO

    def _seen(self, findings: Sequence[Finding], summary: Summary, now: datetime) -> Snapshot:
        """How the jobs stand, for metrics. Those that were not looked at one by one are well."""
        states = {(kind, ALIVE): number for kind, number in self._read(watching.kinds).items()}
        for kind, state in ((finding.row.kind, finding.state) for finding in findings):
            if state != ALIVE and (kind, ALIVE) in states:
                states[kind, ALIVE] -= 1
                states[kind, state] = states.get((kind, state), 0) + 1
        oldest = summary.oldest_beat_at
        return Snapshot(
            states={key: max(number, 0) for key, number in states.items()},
            oldest_beat_age=max(0.0, (now - oldest).total_seconds()) if oldest else 0.0,
            loop_lag=self._read(watching.worst_lag_ms, now - timedelta(seconds=self._dog.stuck_after)) / 1000,
        )

    def _marked(self, findings: Sequence[Finding]) -> list[Finding]:
        """Notes what was seen; tells each bad state once. A row that is locked takes no note, so that is told instead."""
        marks = [(finding.row, finding.marks) for finding in findings if finding.marks is not None]
        locked = self._write(watching.mark, marks) if marks else set()
        for finding in findings:
            if finding.verdict is None or finding.marks is None:
                continue
            if finding.row.id in locked and finding.row.id not in self._dog.told_locked:
                _log.warning("watchdog.job_locked", **_facts(finding.verdict))
            elif finding.row.id not in locked and finding.marks["reported_state"]:
                _log.warning("watchdog.job_" + finding.verdict.state, **_facts(finding.verdict))
        self._dog.told_locked = locked
        return [_locked(finding) if finding.row.id in locked else finding for finding in findings]

    def _too_many(self, findings: Sequence[Finding], summary: Summary, lead: Lead) -> bool:
        """Whether so many are in a bad state at once that the fault must be elsewhere; also in the run that sees its end.

        Tells when it begins and ends.
        """
        bad = sum(self._counts(finding, lead.now) for finding in findings)
        too_many = bad >= self._dog.brake_least and bad > self._dog.brake_share * summary.running
        if too_many != lead.braked:
            self._write(watching.note_brake, self._me, too_many, lead.now)
            if too_many:
                _log.error("watchdog.braked", bad=bad, running=summary.running)
            else:
                _log.info("watchdog.brake_released", bad=bad, running=summary.running)
        return too_many or lead.braked

    def _counts(self, finding: Finding, now: datetime) -> bool:
        """Whether a job counts for the brake: something is to be done with it, or it was well not long ago."""
        if finding.verdict is None or finding.row.status == RESCUING:
            return False
        if finding.verdict.done in (TO_DO, "held") or finding.marks is not None:
            return True
        since = finding.row.suspected_at
        return since is not None and (now - since).total_seconds() <= self._dog.stuck_after

    def _acted(self, findings: Sequence[Finding], lead: Lead) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for finding in findings:
            verdict = finding.verdict
            if verdict is None:
                continue
            if verdict.done == TO_DO:
                try:
                    verdict = self._rescued(finding.row, verdict, lead)
                except NotLeading as error:
                    _log.warning("watchdog.lead_lost", error=str(error))
                    return verdicts
                _log.warning("watchdog.acted", done=verdict.done, detail=verdict.detail, **_facts(verdict))
                self._dog.count(verdict)
            verdicts.append(verdict)
        return verdicts

    def _rescued(self, row: Any, verdict: Verdict, lead: Lead) -> Verdict:
        """Acts on one job. One that can't be acted on is told, and keeps no other from its turn."""
        action = self._dog.actions[row.kind]
        try:
            verdict = self._write(self._give_away, row, verdict, action, lead)
            return self._handed_over(row, verdict, action) if verdict.done == TO_DO else verdict
        except (InterfaceError, OperationalError, NotLeading):
            raise  # the database is in trouble, or no more ours to change
        except Exception as error:  # noqa: BLE001 - the next job must not pay for this one
            return replace(verdict, done="failed", detail=f"{type(error).__qualname__}: {first_line(error)}")

    def _give_away(self, connection: Connection, row: Any, verdict: Verdict, action: Action, lead: Lead) -> Verdict:
        """Takes the job from its run, in one transaction with the lead, after a last look at it."""
        now = watching.keep_lead(connection, self._me, lead.fence, self._clock)
        fresh = watching.again(connection, row)
        if fresh is None:
            return replace(verdict, done="locked", detail=LOCKED)
        if fresh.status != RESCUING:
            state = state_of(watching.signs_of(fresh), now, self._dog.stuck_after, lead.steady_since)
            if state not in BAD:
                return replace(verdict, done="recovered", detail=f"it is {state} again")
        often = fresh.rescues >= self._dog.max_rescues and fresh.status != RESCUING
        if action == DEAD_LETTER or often:
            self._put(connection, fresh, verdict)
            fence = watching.give_away(connection, fresh, PARKED, verdict.state, now)
            detail = f"it was given away {fresh.rescues} times before" if often else ""
            return replace(verdict, done="parked" if often else "dead_lettered", fence=fence, detail=detail)
        if fresh.status == RESCUING and callable(action):
            return verdict
        status = RESCUING if callable(action) else GIVEN_AWAY
        fence = watching.give_away(connection, fresh, status, verdict.state, now)
        return replace(verdict, done=TO_DO if callable(action) else "requeued", fence=fence, rescues=fresh.rescues + 1)

    def _put(self, connection: Connection, row: Any, verdict: Verdict) -> None:
        """Keeps the job as a dead letter, in the same transaction: with its payload, where that was kept."""
        error = JobLost(f"the job is {verdict.state}; its process was {row.pid} on {row.host}")
        kept = beat_letters.failed(connection, row, error, row.beat_at)
        if kept is not None:
            self._dog.dlq._keeper.put_record(kept, connection)
            return
        self._dog.dlq.put(
            queue=row.kind,
            job_name=row.kind,
            job_id=row.job_id,
            payload={"kind": row.kind, "job_id": row.job_id},
            error=error,
            attempts=row.fence,
            first_failed_at=row.beat_at,
            failed_at=row.beat_at,
            session=connection,
        )

    def _handed_over(self, row: Any, verdict: Verdict, action: Action) -> Verdict:
        """Calls the hook with a job that was given away; it is called again by the next run if it raises."""
        assert callable(action)
        try:
            action(replace(verdict, done="handed_over"))
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything, and other jobs wait
            _log.error("watchdog.hook_failed", exc_info=True, **_facts(verdict))
            return replace(verdict, done="hook_failed", detail=f"{type(error).__qualname__}: {first_line(error)}")
        self._write(watching.settle, row.id, verdict.fence, self._clock)
        return replace(verdict, done="handed_over")

    def _write(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return acts.retried(lambda: acts.write(self._dog.engine, act, *args, **kwargs))

    def _read(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return acts.retried(lambda: acts.read(self._dog.engine, act, *args, **kwargs))


def _check_schema(connection: Connection) -> None:
    require_schema(connection, SCHEMA)


def _locked(finding: Finding) -> Finding:
    if finding.verdict is None or finding.verdict.done != "suspected":
        return finding
    return replace(finding, verdict=replace(finding.verdict, done="locked", detail=LOCKED))


def _braked(finding: Finding) -> Finding:
    if finding.verdict is None or finding.verdict.done != TO_DO:
        return finding
    return replace(finding, verdict=replace(finding.verdict, done="braked", detail="too many at once"))


def _marks(suspected_at: datetime | None, suspected_state: str | None, reported_state: str | None) -> dict[str, Any]:
    return {"suspected_at": suspected_at, "suspected_state": suspected_state, "reported_state": reported_state}


def _verdict(row: Any, state: str, done: str, detail: str = "") -> Verdict:
    return Verdict(
        kind=row.kind,
        job_id=row.job_id,
        state=state,
        done=done,
        fence=row.fence,
        rescues=row.rescues,
        host=row.host,
        pid=row.pid,
        started_at=row.started_at,
        beat_at=row.beat_at,
        progress_at=row.progress_at,
        detail=detail,
    )


def _facts(verdict: Verdict) -> dict[str, Any]:
    """What log lines say of a job."""
    names = ("kind", "job_id", "state", "fence", "rescues", "host", "pid")
    return {name: getattr(verdict, name) for name in names} | {"beat_at": verdict.beat_at.isoformat()}

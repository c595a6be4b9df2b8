"""What is true of each job of a simulation, and by when the watchdog must have told it and acted: it sees no database.

All times here are true seconds since the beginning, whatever the database's clock does.

- A run is dead, by definition, once nothing was heard of it for the threshold: a process that is paused or cut off for
  longer can't be told from a killed one. It is stuck once it is past its deadline, stalled once its progress has not
  changed for as long as it promised; both must be told while it beats.
- It must be reported two intervals after that at the latest; where nobody could look meanwhile, from when one could.
- It must be acted on by then too, or two intervals after the last guard lets it go: the hold (a threshold after an
  outage, a jump of the clock or the brake), the brake, or a row that the run itself has locked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from beatworld import EVERY, Worker

from unhush.runtime import Verdict
from unhush.runtime.beats import Claim

STUCK_AFTER = 60.0
STEP = 3.0
GIVEN = ("requeued", "handed_over", "hook_failed", "dead_lettered", "parked")
SLACK = STEP / 2  # true times are whole steps


@dataclass(eq=False)
class Run:
    """One run of a job."""

    job_id: str
    worker: Worker
    claim: Claim
    begun: float
    deadline: float | None = None
    stalled_after: float | None = None
    guarded: float = 0.0
    """When it wrote under guard: a sign of life too."""
    locked_until: float = 0.0
    """Until when its own process holds its row in a transaction."""


@dataclass(eq=False)
class Bad:
    """A run in a bad state, since when, and what was done about it."""

    run: Run
    state: str
    due: float
    reported: bool = False
    extra: float = 0.0
    """Seconds by which the watchdogs took longer than an interval to change leaders."""
    late: set[str] = field(default_factory=set)


@dataclass
class Report:
    """What happened, and how often it should not have. Seconds are true ones."""

    jobs: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    slowest_report: float = 0.0
    """From when a run was in a bad state to its report, where somebody could look all the time."""
    slowest_act: float = 0.0
    """From when it was in a bad state, or the last guard let it go, to the act."""
    slowest_change: float = 0.0
    """Between two looks, where a watchdog that could look was there all the time."""
    violations: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def violated(self, what: str, detail: str) -> None:
        """Notes what must not happen."""
        self.violations[what] += 1
        if len(self.examples) < 20:
            self.examples.append(f"{what}: {detail}")


class Truth:
    """The ledger of what is true."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.time = 0.0
        self.runs: dict[str, Run] = {}
        self.bad: dict[str, Bad] = {}
        self.heard: dict[Worker, float] = {}
        self.moved: dict[Worker, float] = {}
        self.fleet_paused: set[Worker] = set()
        self.given: dict[tuple[str, int], str] = {}
        self.jumped_back = 0.0
        """When beats from a future that will not be began to count anew."""
        self.held_from = 0.0
        """Since when silence counts, at the latest."""
        self.blind_until = 0.0
        """Until when nobody could look."""
        self.led_at = 0.0
        """When a watchdog led a run the last time."""
        self.back: dict[Worker, float] = {}
        """When processes that were silent came back."""
        self.brake = ""

    def heard_of(self, worker: Worker) -> None:
        """The process beat."""
        self.heard[worker] = self.time
        if worker.moving:
            self.moved[worker] = self.time

    def begun(self, run: Run) -> None:
        """A run has its claim."""
        self.runs[run.job_id] = run
        self.bad.pop(run.job_id, None)

    def ended(self, job_id: str) -> None:
        """A run has ended by itself."""
        self.runs.pop(job_id, None)
        self.bad.pop(job_id, None)

    def disturb(self, ends_in: float = 0.0) -> None:
        """Silence counts anew once a watchdog has run after so many seconds."""
        self.held_from = max(self.held_from, self.time + ends_in + EVERY)

    def silent_since(self, run: Run) -> float:
        """When the run was last heard of, or the clock jumped back so that this no longer counts."""
        return max(self.heard.get(run.worker, 0.0), run.begun, run.guarded, self.jumped_back)

    def state(self, run: Run) -> tuple[str, float] | None:
        """The bad state that the run is in, and since when."""
        silent = self.silent_since(run)
        if self.time > silent + STUCK_AFTER:
            return "lost", silent + STUCK_AFTER
        # It must be told so while it beats; while it is silent it may be.
        told = self.back.get(run.worker, 0.0) if run.worker.beating else self.time
        if run.deadline is not None and self.time > run.begun + run.deadline:
            return "stuck", max(run.begun + run.deadline, told)
        moved = max(self.moved.get(run.worker, 0.0), run.begun, self.jumped_back)
        if run.stalled_after is not None and self.time > moved + run.stalled_after:
            return "stalled", max(moved + run.stalled_after, told)
        return None

    def look(self) -> None:
        """Goes through all runs, and notes who is in a bad state and who waits too long."""
        for run in self.doubtful():
            found = self.state(run)
            known = self.bad.get(run.job_id)
            if found is None:
                if known is not None:
                    del self.bad[run.job_id]
                    self.report.counts["recovered before the act"] += 1
            elif known is None or known.state != found[0]:
                since = self.time - STEP if known is not None else found[1]
                self.bad[run.job_id] = Bad(run, found[0], max(found[1], since))
                self.report.counts[f"runs {found[0]}"] += 1
            else:
                known.due = max(known.due, found[1])
        for bad in self.bad.values():
            self._waits(bad)

    def doubtful(self) -> Iterable[Run]:
        """Runs that may be in a bad state."""
        return [
            run
            for run in self.runs.values()
            if run.job_id in self.bad
            or run.deadline is not None
            or run.stalled_after is not None
            or self.time > self.heard.get(run.worker, 0.0) + STUCK_AFTER
        ]

    def report_by(self, bad: Bad) -> float:
        """By when the run must have been reported."""
        return max(bad.due, self.blind_until) + 2 * EVERY + bad.extra + self.overdue

    def act_by(self, bad: Bad) -> float:
        """By when it must have been acted on."""
        return self.free(bad.run, bad.due) + 2 * EVERY + bad.extra + self.overdue

    def free(self, run: Run, due: float) -> float:
        """When the last guard let a run go that was in a bad state since then."""
        stalled = run.stalled_after is not None and self.time <= self.silent_since(run) + STUCK_AFTER
        hold = self.held_from + (run.stalled_after or 0.0 if stalled else STUCK_AFTER)
        return max(due, self.blind_until, hold, run.locked_until)

    @property
    def overdue(self) -> float:
        """For how long a watchdog should have run by now, were it not for a change of leaders."""
        return max(0.0, self.time - self.led_at - EVERY)

    def _waits(self, bad: Bad) -> None:
        for what, by, done in (
            ("reported late", self.report_by(bad), bad.reported),
            ("acted on late", self.act_by(bad), False),
        ):
            if not done and what not in bad.late and self.time > by + SLACK:
                bad.late.add(what)
                self.report.violated(what, f"{bad.run.job_id} {bad.state} since {bad.due}, by {by}, at {self.time}")

    def judge(self, verdicts: list[Verdict]) -> list[str]:
        """Holds what a watchdog did against what is true; gives the jobs that were given away."""
        given = []
        if any(verdict.done == "braked" for verdict in verdicts):
            self._braked()
        elif verdicts:
            self.brake = ""
        for verdict in verdicts:
            self.report.verdicts[verdict.done] += 1
            run = self.runs.get(verdict.job_id)
            if verdict.done != "suspected" and verdict.done not in GIVEN:
                self._reported(verdict)
            if verdict.done in GIVEN and self._first(verdict):
                self._given(verdict, run)
                given.append(verdict.job_id)
        return given

    def _braked(self) -> None:
        """The brake may hold while too many are silent, in the run that sees the end of it, and then for a threshold."""
        bad = sum(1 for run in self.runs.values() if self.state(run))
        needed = bad > 0.25 * len(self.runs) or self.time <= self.held_from + EVERY
        if not needed and self.brake != "needed":
            self.report.violated("braked without need", f"{bad} of {len(self.runs)} at {self.time}")
        self.brake = "needed" if needed else "released"
        self.disturb()

    def _reported(self, verdict: Verdict) -> None:
        bad = self.bad.get(verdict.job_id)
        if bad is None or bad.reported:
            return
        bad.reported = True
        if bad.due > self.blind_until:
            self.report.slowest_report = max(self.report.slowest_report, self.time - bad.due)

    def _first(self, verdict: Verdict) -> bool:
        """Whether the act is the first under its number: a hook that raised is called again."""
        before = self.given.get((verdict.job_id, verdict.fence))
        self.given[verdict.job_id, verdict.fence] = verdict.done
        if before is not None and before != "hook_failed":
            self.report.violated("rescued twice", f"{verdict.job_id} under {verdict.fence} at {self.time}")
        return before is None

    def _given(self, verdict: Verdict, run: Run | None) -> None:
        found = None if run is None else self.state(run)
        by_brake = found is not None and found[0] == "lost" and run is not None and run.worker in self.fleet_paused
        if run is None or found is None or by_brake or self.time < run.locked_until:
            self.report.violated("rescued living", f"{verdict.job_id} as {verdict.state} at {self.time}")
        else:
            self._reported(verdict)
            took = self.time - self.free(run, found[1])
            self.report.slowest_act = max(self.report.slowest_act, took)
            self.report.counts[f"rescued {found[0]}"] += 1
        self.ended(verdict.job_id)

    def looked(self, since: float) -> None:
        """A watchdog led a run, and some could have since then."""
        gap = self.time - self.led_at
        if gap > 2 * EVERY:
            self.disturb(-EVERY)
            self.blind(self.time)
            if self.time - max(since, self.led_at) > 2.25 * EVERY + 2 * STEP:
                self.report.violated("nobody led", f"from {self.led_at} to {self.time}")
        for bad in self.bad.values():
            bad.extra += max(0.0, gap - EVERY)
        self.report.slowest_change = max(self.report.slowest_change, gap if since < self.led_at else 0.0)
        self.led_at = self.time

    def blind(self, until: float) -> None:
        """Nobody could look until then."""
        self.blind_until = max(self.blind_until, until)


def summary(report: Report) -> dict[str, Any]:
    """The report as JSON has it."""
    return vars(report) | {name: dict(sorted(getattr(report, name).items())) for name in ("counts", "verdicts")}

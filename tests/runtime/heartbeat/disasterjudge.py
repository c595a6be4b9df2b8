"""Holds what the watchdogs did against what the ledgers say: which runs of jobs really died, and when."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

from disasterjobs import EVERY, STUCK_AFTER

SHOWN = ("runs that died", "acted on", "late results refused", "lost told", "results")
OVER = ("ended", "lost", "refused")


class Reader:
    """Reads a ledger, and what has come since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._lines: list[dict[str, Any]] = []

    def lines(self) -> list[dict[str, Any]]:
        """All lines; a last one may be half written, and is left for the next time."""
        if self._path.exists():
            with self._path.open("rb") as ledger:
                ledger.seek(self._read)
                whole, end, _ = ledger.read().rpartition(b"\n")
            self._read += len(whole) + len(end)
            self._lines += map(json.loads, whole.splitlines())
        return self._lines


@dataclass
class Evidence:
    """What is known when all is over. Times are seconds by the one clock of this machine, the database's too.

    `looks` are the watchdogs' runs in order. `silent` says from when to when each process could not beat; one that was
    killed, to infinity. `stood_in` says when one could not tell its pulse but was to beat all the same, `outages` when the
    database was away.
    """

    looks: list[dict[str, Any]]
    ledgers: dict[str, list[dict[str, Any]]]
    silent: dict[str, list[tuple[float, float]]]
    results: list[tuple[str, int]]
    stood_in: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    outages: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Verdict:
    """Counts, and a line for each promise that was broken."""

    counts: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def judge(evidence: Evidence, done: dict[str, int]) -> Verdict:
    """What came of it all; `done` counts the disasters, each of which must have come."""
    verdict = Verdict()
    acts = [(job, fence, at) for job, fence, at in _given(evidence)]
    _never_the_living(evidence, acts, verdict)
    _never_twice(acts, verdict)
    slowest_report, slowest_act = _in_time(evidence, acts, verdict)
    _never_overwritten(evidence, verdict)
    told = Counter(line["what"] for ledger in evidence.ledgers.values() for line in ledger)
    verdict.counts |= done | {
        "runs of jobs": told["begun"],
        "runs that died": len({run[:2] for run in _deaths(evidence)}),
        "acted on": len(acts),
        "late results refused": told["refused"],
        "lost told": told["lost"],
        "results": len(evidence.results),
        "ended": told["ended"],
        "looks": len(evidence.looks),
        "slowest report": f"{slowest_report:.1f} s",
        "slowest act": f"{slowest_act:.1f} s",
    }
    verdict.broken += [f"nothing to show: {what}" for what in (*done, *SHOWN) if not verdict.counts.get(what)]
    return verdict


def _given(evidence: Evidence) -> Iterator[tuple[str, int, float]]:
    """Job, the fence of the run that lost it, and when the watchdog looked that gave it away."""
    for look in evidence.looks:
        for job, fence, _, done in look["verdicts"]:
            if done == "requeued":
                yield job, fence - 1, look["run_at"]


def _owner(evidence: Evidence, job: str, fence: int) -> str | None:
    """The process that had that run."""
    for name, ledger in evidence.ledgers.items():
        if any(line["what"] == "begun" and (line["job"], line["fence"]) == (job, fence) for line in ledger):
            return name
    return None


def _silent_at(evidence: Evidence, name: str, at: float) -> float:
    """For how long the process had been silent at that time, at most: it may have beaten an interval before."""
    since = [begin for begin, end in evidence.silent[name] + evidence.outages if begin <= at <= end + 2 * EVERY]
    return at - min(since) + EVERY if since else 0.0


def _too_busy(evidence: Evidence, name: str, at: float) -> bool:
    """Whether the process had no pulse for half the threshold not long before: it could not beat then either."""
    pulses = [line["at"] for line in evidence.ledgers[name] if line["what"] == "pulse"]
    return any(
        last - first > STUCK_AFTER / 2
        and at - STUCK_AFTER < last
        and first < at
        and not any(begin <= last and first <= end for begin, end in evidence.stood_in.get(name, []))
        for first, last in pairwise([*pulses, at])
    )


def _never_the_living(evidence: Evidence, acts: list[tuple[str, int, float]], verdict: Verdict) -> None:
    for job, fence, at in acts:
        name = _owner(evidence, job, fence)
        # Who was killed before it could tell of its run had one all the same.
        if name is None or _silent_at(evidence, name, at) >= STUCK_AFTER:
            continue
        if _too_busy(evidence, name, at):
            verdict.counts["too busy to beat"] = verdict.counts.get("too busy to beat", 0) + 1
        else:
            verdict.broken.append(f"rescued living: {job} under {fence} of {name} at {at:.1f}")


def _never_twice(acts: list[tuple[str, int, float]], verdict: Verdict) -> None:
    for (job, fence), times in Counter((job, fence) for job, fence, _ in acts).items():
        if times > 1:
            verdict.broken.append(f"rescued twice: {job} under {fence}, {times} times")


def _deaths(evidence: Evidence) -> Iterator[tuple[str, int, float, float]]:
    """Each run that was under way when its process fell silent for longer than the threshold: from when to when it was."""
    given = {(job, fence): at for job, fence, at in _given(evidence)}
    for name, ledger in evidence.ledgers.items():
        over = {(line["job"], line["fence"]): line["at"] for line in ledger if line["what"] in OVER}
        stood_in = evidence.stood_in.get(name, [])
        for begin, end in evidence.silent[name]:
            if end - begin <= STUCK_AFTER:
                continue
            for job, fence, at in [
                (line["job"], line["fence"], line["at"]) for line in ledger if line["what"] == "begun"
            ]:
                if at <= begin < min(over.get((job, fence), inf), given.get((job, fence), inf)):
                    yield job, fence, max([begin, *(last for first, last in stood_in if first <= begin)]), end


def _in_time(evidence: Evidence, acts: list[tuple[str, int, float]], verdict: Verdict) -> tuple[float, float]:
    """Each dead run is reported by the second look after the threshold, and acted on by the second after the last guard.

    Looks are an interval apart, so that is within two intervals; on a busy machine looks come late, and are counted. A
    guard is the hold after an outage, and a row that the dead process still holds in a transaction.
    """
    slowest_report = slowest_act = 0.0
    acted = {(job, fence): at for job, fence, at in acts}
    for job, fence, dead_at, until in _deaths(evidence):
        due = dead_at + STUCK_AFTER
        looks = [look["run_at"] for look in evidence.looks if due < look["run_at"]]
        told = _told(evidence, job, fence, due)
        at = acted.get((job, fence))
        first = min([when for when, done in told if done != "suspected"], default=inf)
        if sum(look < min(first, until) for look in looks) > 1:
            verdict.broken.append(f"reported late: {job} under {fence}, dead at {dead_at:.1f}, told {told[:9]}")
            continue
        locked = max([when for when, done in told if done == "locked"], default=0.0)
        steady = max(
            (look["steady"] for look in evidence.looks if look["run_at"] <= min(at or inf, until)), default=0.0
        )
        free = max(due, steady + STUCK_AFTER, locked)
        if sum(free < look < min(at or inf, until) for look in looks) > 1:
            verdict.broken.append(
                f"acted on late: {job} under {fence}, dead at {dead_at:.1f}, free {free:.1f}, at {at}"
            )
            continue
        if at is not None and at < until:
            slowest_report, slowest_act = max(slowest_report, first - due), max(slowest_act, at - free)
    return slowest_report, slowest_act


def _told(evidence: Evidence, job: str, fence: int, since: float) -> list[tuple[float, str]]:
    """When which verdict was given on that run."""
    return [
        (look["run_at"], done)
        for look in evidence.looks
        for other, number, _, done in look["verdicts"]
        if other == job and number - (done == "requeued") == fence and look["run_at"] > since
    ]


def _never_overwritten(evidence: Evidence, verdict: Verdict) -> None:
    """A job's results come in order of their fences: each was written while its run held the job's row."""
    latest: dict[str, int] = {}
    for job, fence in evidence.results:
        if fence < latest.get(job, 0):
            verdict.broken.append(f"overwritten: {job} of {latest[job]} by {fence}")
        latest[job] = max(fence, latest.get(job, 0))

from __future__ import annotations

import signal
import sys
from math import inf
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from disasterhosts import programs
from disasterjudge import Evidence, judge
from disasters import IN_TRANSACTION, suffer


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP")
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("postgresql", ["watchdog cut off", IN_TRANSACTION]),
        ("sqlite", ["stopped for long"]),
    ],
)
def test_real_processes_keep_the_promises(name: str, kinds: list[str]) -> None:
    """Real processes die, stop and are cut off: their jobs are given away in time and once, and no living one's."""
    if name == "postgresql" and programs() is None:
        pytest.skip("PostgreSQL's programs are not installed")
    verdict, _ = suffer(name, minutes=0, jobs=2, seed=1, kinds=kinds)
    assert not verdict.broken, verdict
    assert verdict.counts["acted on"] > 0


def line(what: str, at: float, job: str = "42", fence: int = 1) -> dict[str, Any]:
    return {"what": what, "at": at, "job": job, "fence": fence}


def look(at: float, *verdicts: list[Any]) -> dict[str, Any]:
    return {"what": "led", "run_at": at, "steady": 0.0, "verdicts": list(verdicts)}


def happened(**other: Any) -> Evidence:
    """A process begins two jobs at 100 and is killed at 103; the watchdog gives one away at 110, and the other at 111."""
    begun = [line("begun", 100.0), line("begun", 100.0, "43")]
    pulses = [line("pulse", 100.0 + number) for number in range(25)]
    told = {"a": [*begun, *pulses], "b": [line("begun", 112.0, fence=2)]}
    told["b"] += [line("refused", 113.0, "44"), line("lost", 113.0, "44")]
    looks = [
        look(109.5, ["42", 1, "lost", "suspected"], ["43", 1, "lost", "locked"]),
        look(110.5, ["42", 2, "lost", "requeued"], ["43", 1, "lost", "suspected"]),
        look(111.5, ["43", 2, "lost", "requeued"]),
        *(look(111.5 + number) for number in range(1, 9)),
    ]
    facts = {"looks": looks, "ledgers": told, "silent": {"a": [(103.0, inf)], "b": []}}
    return Evidence(**{**facts, "results": [("42", 1), ("42", 2)], **other})


def test_judge_finds_nothing_where_all_is_well() -> None:
    """Deaths that were told and acted on in time, one after the row was free, break no promise."""
    assert judge(happened(), {"killed": 1}).broken == []


@pytest.mark.parametrize(
    ("promise", "other"),
    [
        ("rescued living", {"silent": {"a": [(108.0, inf)], "b": []}}),
        ("rescued living", {"silent": {"a": [], "b": []}}),
        ("overwritten", {"results": [("42", 2), ("42", 1)]}),
        ("nothing to show: results", {"results": []}),
    ],
)
def test_judge_finds_what_was_planted(promise: str, other: dict[str, Any]) -> None:
    """A living process's job given away, an overwritten result and a run without results are told."""
    broken = judge(happened(**other), {"killed": 1}).broken
    assert any(one.startswith(promise) for one in broken), broken


@pytest.mark.parametrize(
    ("promise", "change"),
    [
        ("rescued twice", lambda looks: [*looks, look(120.5, ["42", 2, "lost", "requeued"])]),
        ("reported late", lambda looks: [look(each["run_at"]) for each in looks]),
        ("reported late", lambda looks: [look(109.2), look(109.4), *looks]),
        ("acted on late", lambda looks: [*looks[:2], look(110.6), look(110.7), *looks[2:]]),
    ],
)
def test_judge_finds_watchdogs_that_are_late(promise: str, change: Any) -> None:
    """Acts that come twice, never or too late are told, and so are reports."""
    broken = judge(happened(looks=change(happened().looks)), {"killed": 1}).broken
    assert any(one.startswith(promise) for one in broken), broken


def test_judge_tells_a_busy_machine_from_a_broken_promise() -> None:
    """A job of a process that could write nothing for half the threshold is no living one's, and is counted."""
    began = {**happened().ledgers, "a": [line("begun", 100.0), line("begun", 100.0, "43"), line("pulse", 105.0)]}
    verdict = judge(happened(ledgers=began, silent={"a": [], "b": []}), {"killed": 1})
    assert verdict.counts["too busy to beat"] == 2
    assert not any(one.startswith("rescued living") for one in verdict.broken)


def test_judge_wants_each_disaster() -> None:
    """A disaster that was to come and did not is told: what never happened proves nothing."""
    assert "nothing to show: database hung" in judge(happened(), {"database hung": 0}).broken

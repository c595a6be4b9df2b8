from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as checked
from hypothesis import strategies as st
from rollout.stageworld import Prometheus, prometheus
from sqlalchemy import create_engine

from unhush.config import ConfigError
from unhush.rollout import gates, measures, settings, stages, statistics
from unhush.rollout.errors import Refused
from unhush.rollout.gates import FAIL, NO_DATA, PASS, TOO_FEW, Gate, Judged, Look, judge_ratio, judge_share, judge_value
from unhush.rollout.prometheus import ask

SHARE = Gate(name="error_share", kind="share", stages=(2,), threshold=0.05)
DEPTH = Gate(name="depth", kind="value", stages=(2,), metric="dlq_depth", threshold=10, hard=True)
RATIO = Gate(name="ratio", kind="ratio", stages=(2,), arrived="a", all="b")


@pytest.fixture
def server() -> Iterator[Prometheus]:
    """A Prometheus."""
    with prometheus() as found:
        yield found


@pytest.mark.parametrize(("limit", "least"), [(0.05, 59), (0.02, 149), (0.01, 299)])
def test_minimum_at_zero_failures(limit: float, least: int) -> None:
    """59, 149 and 299 jobs without a failure are the least that bound the rate below 5, 2 and 1% at 95%."""
    assert statistics.minimum(limit) == least
    assert statistics.upper_bound(0, least) <= limit < statistics.upper_bound(0, least - 1)


@checked(deadline=None)
@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.05, 0.01, 0.0167]))
def test_bounds_are_exact(jobs: int, part: float, risk: float) -> None:
    """At its upper bound as few failures have just the chance of the risk, at its lower bound as many; it lies between."""
    failures = round(part * jobs)
    upper, lower = statistics.upper_bound(failures, jobs, risk), statistics.lower_bound(failures, jobs, risk)
    assert lower <= failures / jobs <= upper
    if failures < jobs:
        assert math.isclose(statistics.tail(failures, jobs, upper), risk, rel_tol=1e-6)
    if failures:
        assert math.isclose(1 - statistics.tail(failures - 1, jobs, lower), risk, rel_tol=1e-6)


def test_bound_as_in_tables() -> None:
    """Known values of Clopper and Pearson: 3 of 100 at 95%, one-sided."""
    assert round(statistics.upper_bound(3, 100), 4) == 0.0757
    assert round(statistics.lower_bound(3, 100), 4) == 0.0082
    assert (statistics.upper_bound(5, 5), statistics.lower_bound(0, 5)) == (1.0, 0.0)
    for failures, jobs in ((1, 0), (6, 5), (-1, 5)):
        with pytest.raises(ValueError, match="can't be"):
            statistics.upper_bound(failures, jobs)


def followed(rate: float, seed: int, limit: float = 0.05) -> str:
    """What a stage comes to whose jobs fail at a rate, looked at after each job."""
    lots, past, failures = random.Random(seed), list[Look](), 0
    gate = Gate(name="share", kind="share", stages=(2,), threshold=limit)
    for jobs in range(1, statistics.looks(limit)[-1] + 1):
        failures += lots.random() < rate
        judged = judge_share(gate, failures, jobs, past)
        past += [judged.look] if judged.look else []
        if judged.verdict in (PASS, FAIL):
            return judged.verdict
    return TOO_FEW


def test_looking_often_costs_nothing() -> None:
    """Asked after every single job, a stage as bad as the limit seldom passes, a good one seldom breaks, a bad one does."""
    at_limit = [followed(0.05, seed) for seed in range(300)]
    good = [followed(0.005, seed) for seed in range(300)]
    bad = [followed(0.25, seed) for seed in range(100)]
    assert at_limit.count(PASS) / 300 < 0.09  # 5% but for the luck of 300 draws
    assert good.count(FAIL) / 300 < 0.03
    assert good.count(PASS) / 300 > 0.95
    assert bad.count(FAIL) == 100


def test_few_jobs_pass_nothing() -> None:
    """3 of 3 jobs without failure, and one less than the first look, are too few; at the first look they pass."""
    first = statistics.looks(0.05)[0]
    for jobs in (0, 3, first - 1):
        assert judge_share(SHARE, 0, jobs).verdict == TOO_FEW
    assert judge_share(SHARE, 0, first).verdict == PASS
    assert judge_share(SHARE, first // 4, first).verdict == FAIL
    assert judge_share(SHARE, 2, first).verdict == TOO_FEW  # shown neither way: the next look decides


def test_each_look_is_taken_once() -> None:
    """After a look its verdict stands until the next fixed number of jobs, whatever is seen between."""
    first, second, third = statistics.looks(0.05)
    one = judge_share(SHARE, 0, first)
    assert one.look
    assert one.look.number == 1
    between = judge_share(SHARE, 60, second - 1, [one.look])
    assert (between.verdict, between.look) == (PASS, None)
    worse = judge_share(SHARE, 60, second, [one.look])
    assert worse.look
    assert (worse.verdict, worse.breach) == (FAIL, True)
    assert f"the next look is at {third} jobs" in judge_share(SHARE, 60, second + 1, [one.look, worse.look]).why


@pytest.mark.parametrize(
    ("failures", "jobs", "past"),
    [
        (None, 100, ()),
        (1, None, ()),
        (5, 4, ()),
        (0, 100, (Look(gate="g", number=1, jobs=160, failures=0, verdict=PASS),)),
    ],
)
def test_numbers_that_can_not_be(failures: int | None, jobs: int | None, past: tuple[Look, ...]) -> None:
    """Missing numbers, more failures than jobs, and a counter that went back are no data."""
    assert judge_share(SHARE, failures, jobs, past).verdict == NO_DATA


def test_somewhat_fewer_jobs_than_at_the_last_look_are_no_counter_that_went_back() -> None:
    """Prometheus extrapolates less as its window grows: the last look's verdict stands; below two thirds it is no data."""
    past = (Look(gate="g", number=1, jobs=160, failures=0, verdict=PASS),)
    assert judge_share(SHARE, 0, 150, past).verdict == PASS
    assert judge_share(SHARE, 0, 106, past).verdict == NO_DATA


def test_jobs_of_before_the_stage_do_not_count() -> None:
    """A share is not asked of Prometheus before the stage is as old as the least window; then the window is its age."""
    gate = Gate(name="share", kind="share", stages=(2,), threshold=0.05, jobs="jobs[$window]", failed="failed[$window]")
    begun = datetime(2026, 8, 2, 12, tzinfo=UTC)
    with prometheus() as server:
        server.numbers |= {"jobs[60s]": 100, "failed[60s]": 0, "jobs[5s]": 100, "failed[5s]": 0}

        def seen(age: float, soak: float) -> Judged:
            now = begun + timedelta(seconds=age)
            place = measures.Place(create_engine("sqlite://"), server.url, 2, begun, now, soak)
            return measures.judge(place, [gate], {})[0]

        young = seen(59, 900)
        assert (young.verdict, server.asked) == (TOO_FEW, [])
        assert "59 s old" in young.why
        assert (seen(60, 900).verdict, server.asked) == (PASS, ["failed[60s]", "jobs[60s]"])
        assert (seen(4, 5).verdict, seen(5, 5).verdict) == (TOO_FEW, PASS)


@pytest.mark.parametrize(
    ("failures", "jobs", "whole"),
    [(83.4, 83.4, (83, 83)), (1.03, 83.4, (2, 83)), (0.0, 0.4, (0, 0)), (84.5, 83.4, (85, 83)), (None, 3.0, (None, 3))],
)
def test_rounding_to_the_worse_side(failures: float | None, jobs: float, whole: tuple[int | None, int]) -> None:
    """Failures go up and jobs down, but where every job failed that makes no more failures than jobs."""
    assert measures._whole_share(measures.Number(failures), measures.Number(jobs)) == whole


@pytest.mark.parametrize(
    ("value", "verdict", "breach"), [(9, PASS, False), (10, FAIL, True), (None, NO_DATA, False), (0, PASS, False)]
)
def test_value(value: float | None, verdict: str, breach: bool) -> None:
    """Below the threshold passes, at it a hard gate is breached, and no number is no data."""
    judged = judge_value(DEPTH, value)
    assert (judged.verdict, judged.breach) == (verdict, breach)


@pytest.mark.parametrize(("comparison", "holds"), [("<", "1"), ("<=", "12"), (">", "3"), (">=", "23"), ("==", "2")])
def test_comparisons(comparison: str, holds: str) -> None:
    """Each comparison with 2 holds for the numbers that it should."""
    gate = Gate(name="x", kind="value", stages=(2,), query="q", comparison=comparison, threshold=2)
    assert "".join(str(n) for n in (1, 2, 3) if judge_value(gate, n).verdict == PASS) == holds


@pytest.mark.parametrize(
    ("arrived", "total", "verdict"),
    [(50, 1000, PASS), (20, 1000, FAIL), (90, 1000, FAIL), (2, 50, TOO_FEW), (7, 5, NO_DATA), (None, 100, NO_DATA)],
)
def test_ratio(arrived: int | None, total: int, verdict: str) -> None:
    """2% or 9% where 5% was asked holds the stage, without rolling it back; a few jobs say nothing."""
    judged = judge_ratio(RATIO, arrived, total, 0.05)
    assert (judged.verdict, judged.breach) == (verdict, False)


def test_prometheus_answers(server: Prometheus) -> None:
    """One fresh number is a value."""
    server.numbers["up"] = 3.5
    assert ask(server.url, "up").value == 3.5
    server.raw = b'{"status":"success","data":{"resultType":"scalar","result":[%d,"7"]}}' % __import__("time").time()
    assert ask(server.url, "up").value == 7


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"status": 500, "raw": b'{"status":"error","error":"out of\\nmemory"}'}, "answers 500: out of memory"),
        ({"status": 503, "raw": b"<html>"}, "answers 503"),
        ({"numbers": {}}, "no series"),
        ({"numbers": {"up": "NaN"}}, "gives NaN"),
        ({"numbers": {"up": "+Inf"}}, "gives +Inf"),
        ({"many": 2}, "2 series, not one"),
        ({"age": 3600.0}, "of 3600 s ago"),
        ({"raw": b"<html>login</html>"}, "not its JSON"),
        ({"raw": b'{"status":"error","data":{"resultType":"vector","result":[]}}'}, "says error"),
        ({"raw": b'{"status":"success","data":{"resultType":"matrix","result":[]}}'}, "gives a matrix"),
        ({"raw": b'{"status":"success","data":{"resultType":"vector","result":[{}]}}'}, "not its JSON"),
        ({"raw": b"[]"}, "not its JSON"),
        ({"raw": b""}, "not its JSON"),
    ],
)
def test_prometheus_without_a_number(server: Prometheus, broken: dict[str, object], why: str) -> None:
    """500, an empty vector, NaN, several series, an old number and no JSON are no data, and say what was there."""
    server.numbers["up"] = 1
    assert ask(server.url, "up").value == 1
    for name, value in broken.items():
        setattr(server, name, value)
    answer = ask(server.url, "up")
    assert answer.value is None
    assert why in answer.why
    assert "\n" not in answer.why
    assert judge_value(DEPTH, answer.value, answer.why).verdict == NO_DATA


def test_prometheus_that_is_not_there(server: Prometheus) -> None:
    """A server that hangs, one that is gone and a setting that is no URL are no data."""
    server.numbers["up"] = 1
    assert ask(server.url, "up").value == 1
    server.hanging.clear()
    assert ask(server.url, "up", timeout=0.2).value is None
    for url in ("http://127.0.0.1:1", "file:///etc/passwd", "nonsense"):
        assert ask(url, "up", timeout=0.2).value is None


def read(tmp_path: Path, text: str) -> settings.RolloutSettings:
    (tmp_path / "pyproject.toml").write_text(f"[tool.unhush]\n[tool.unhush.rollout]\n{text}", encoding="utf-8")
    return settings.load(tmp_path)


def test_gates_of_a_team(tmp_path: Path) -> None:
    """A team changes our gates by their names, and adds its own for the stages that it says; the rest stays."""
    said = read(
        tmp_path,
        'gated = ["eu"]\n[tool.unhush.rollout.gates.dlq_depth]\nthreshold = 50\n'
        '[tool.unhush.rollout.gates.crashes]\nquery = "increase(crashes[$window])"\ncomparison = "=="\nhard = true\n'
        '[tool.unhush.rollout.gates.ratio]\narrived = "a"\nall = "b"\nstages = [2, 4]\n',
    )
    assert said.gated == ("production", "eu")
    assert (said.gates["dlq_depth"].threshold, said.gates["dlq_depth"].hard) == (50, True)
    assert (said.gates["crashes"].kind, said.gates["crashes"].stages) == ("value", (2, 3, 4, 5))
    assert said.gates["ratio"].kind == "ratio"
    assert said.gates["error_share"] == gates.DEFAULTS["error_share"]
    plan = stages.planned(said)
    assert [stage["number"] for stage in plan] == [0, 1, 2, 3, 4, 5]
    assert "crashes" in [gate["name"] for gate in plan[3]["gates"]]
    assert [stage["minimum_jobs"] for stage in plan] == [0, 0, 80, 408, 80, 408]
    for stage, gate in itertools.chain.from_iterable([(stage, gate) for gate in stage["gates"]] for stage in plan):
        assert stage["number"] in gates.from_data(gate).stages


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[tool.unhush.rollout.gates.x]\nqurey = "up"', "unknown key 'qurey'; did you mean 'query'"),
        ("[tool.unhush.rollout.gates.x]\nthreshold = 1", "needs a metric or a query"),
        ('[tool.unhush.rollout.gates.x]\nmetric = "depth"', "metric must be one of dlq_depth"),
        ('[tool.unhush.rollout.gates.x]\nquery = "up"\nstages = [6]', "stages must be a list of stages, 0 to 5"),
        ("[tool.unhush.rollout.gates.error_share]\nthreshold = 5", "threshold must lie between 0 and 1"),
        ('[tool.unhush.rollout.gates.x]\nall = "up"', "needs arrived beside all"),
        ("gates = 5", "must be a table of gates"),
        ('gated = "eu"', "must be a list of names"),
    ],
)
def test_bad_settings(tmp_path: Path, text: str, line: str) -> None:
    """A gate that says too little or what nobody knows is one line with the file and the key."""
    with pytest.raises(ConfigError, match=line) as caught:
        read(tmp_path, text)
    assert "pyproject.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_salts_stay() -> None:
    """The salts that a plan drew are kept by the next plan, and differ from flag to flag."""
    first = stages.flags({})
    assert stages.flags(first) == first
    assert first["DLQ_ENABLED"]["salt"] != first["JOB_HEARTBEAT"]["salt"]
    assert first["DLQ_ENABLED"]["stages"] == ["off", "off", 5.0, 100.0, 100.0, 100.0]
    assert first["JOB_HEARTBEAT"]["stages"] == ["off", "off", "off", "off", 5.0, 100.0]


def test_no_stage_is_skipped() -> None:
    """Only the next stage can be reached, from each; there is none after the last."""
    assert [stages.next_after(at) for at in (None, 0, 4)] == [0, 1, 5]
    assert stages.next_after(1, 2) == 2
    for at, wanted in ((1, 3), (2, 2), (2, 1), (None, 1)):
        with pytest.raises(Refused, match=f"stage {wanted} can't be next"):
            stages.next_after(at, wanted)
    with pytest.raises(Refused, match="stage 5 is the last one"):
        stages.next_after(5)


def test_only_pass_is_pass() -> None:
    """A verdict of a gate as data says all that a report needs."""
    data = judge_value(DEPTH, 3).as_data()
    assert (data["gate"], data["verdict"], data["value"], data["threshold"], data["hard"]) == (
        "depth",
        PASS,
        3,
        10,
        True,
    )
    assert isinstance(judge_share(SHARE, 0, 3), Judged)

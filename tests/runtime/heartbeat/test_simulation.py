from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from unhush.runtime import beats, rounds, states
from unhush.runtime.engine import make_engine
from unhush.sql.runner import upgrade

sys.path.insert(0, str(Path(__file__).parent))
from simtruth import STEP, Report
from simulation import EVERY, Simulation, hasten


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Engine]:
    """A SQLite database that waits for no disk."""
    engine = make_engine(f"sqlite:///{tmp_path}/simulation.db")
    hasten(engine)
    upgrade(engine)
    yield engine
    engine.dispose()


def run(engine: Engine, seed: int, minutes: float = 8) -> Report:
    return Simulation(engine, 80, seed, per_process=4, rate=8).run(minutes, calm=5)


@pytest.mark.parametrize("seed", [4])
def test_each_dead_job_in_time_and_no_living_one(fast: Engine, seed: int) -> None:
    """Through kills, pauses, outages and jumps each dead job is told and acted on in time, once, and no living one is."""
    report = run(fast, seed)
    assert not report.violations, report.examples
    assert report.counts["rescued lost"] > 0
    assert report.counts["late results refused"] > 0
    assert report.counts["second runs refused"] > 0
    assert 0 < report.slowest_report <= 2 * EVERY + 2 * STEP


def test_simulation_sees_a_watchdog_without_guards(fast: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the brake and the hold after an outage living jobs are rescued: the simulation would tell."""
    monkeypatch.setattr(
        rounds, "state_of", lambda signs, now, stuck_after, since=None: states.state_of(signs, now, stuck_after)
    )
    simulation = Simulation(fast, 80, 1, per_process=4, brake=False)
    simulation.befall("fleet paused")
    simulation.away = dict.fromkeys(simulation.away, 300.0)
    assert simulation.run(minutes=0, calm=4).violations["rescued living"] > 0


def test_simulation_sees_a_watchdog_that_is_late(fast: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog that finds the dead an interval later than it may is told, for the report and for the act."""
    monkeypatch.setattr(
        rounds,
        "state_of",
        lambda signs, now, stuck_after, since=None: states.state_of(signs, now, stuck_after + 21, since),
    )
    violations = run(fast, 4).violations
    assert violations["reported late"] > 0
    assert violations["acted on late"] > 0


def test_simulation_sees_results_without_a_fence(fast: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where guards let everybody through, a run that comes back overwrites a newer one's result, and it is told."""
    monkeypatch.setattr(beats, "guard", lambda *args: None)
    assert run(fast, 3, minutes=15).violations["late result written"] > 0

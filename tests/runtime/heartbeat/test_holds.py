from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from beatworld import World
from sqlalchemy import Engine

from unhush.runtime.beat_errors import AlreadyRunning


@pytest.fixture
def world(engine: Engine) -> World:
    """A world on each of the three databases."""
    return World(engine)


@pytest.fixture
def watchdog(world: World) -> Any:
    """A watchdog that has looked for a while, so that silence means something."""
    made = world.watchdog(actions={"mail": "requeue"})
    world.pass_time(75, made)
    return made


def test_redelivery_after_an_outage_waits_for_the_living(world: World, watchdog: Any) -> None:
    """After an outage, or a jump of the clock, no redelivery takes a job from a run that had no time to beat again."""
    for hours in (0.1, 5):
        first, second = world.worker(f"42-{hours}", f"43-{hours}"), world.worker()
        world.pass_time(75, watchdog)
        world.now += timedelta(hours=hours)
        with pytest.raises(AlreadyRunning):
            second.begin(f"42-{hours}")
        watchdog.run_once()
        with pytest.raises(AlreadyRunning):
            second.begin(f"42-{hours}")
        first.beat()
        world.pass_time(75, watchdog)
        with pytest.raises(AlreadyRunning):
            second.begin(f"42-{hours}")
        first.die()
        world.pass_time(45, watchdog)
        world.now += timedelta(seconds=30)
        assert second.begin(f"43-{hours}").fence == 2  # once silence counts again, it is taken over as before


def test_watchdog_that_has_gone_holds_no_redelivery(world: World, watchdog: Any) -> None:
    """A run that died after the last watchdog had gone, or long before an outage, is taken over all the same."""
    worker, second = world.worker("42"), world.worker()
    world.pass_time(150)  # no watchdog looks any more
    worker.die()
    world.now += timedelta(seconds=75)
    assert second.begin("42").fence == 2
    worker = world.worker("43", kind="unknown")
    worker.die()
    world.pass_time(300, watchdog)
    world.now += timedelta(hours=1)
    assert second.begin("43", kind="unknown").fence == 2

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from beatworld import World
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import Engine, create_engine

from unhush.runtime import Heartbeats, beats
from unhush.sql.runner import upgrade


def of_prometheus(registry: CollectorRegistry) -> dict[str, float]:
    """What a scrape shows, by its line."""
    lines = generate_latest(registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}


def of_otel(reader: InMemoryMetricReader) -> dict[tuple[Any, ...], float]:
    """What an export shows, by name and labels."""
    found = reader.get_metrics_data()
    return {
        (metric.name, *sorted(point.attributes.values())): point.value
        for resource in (found.resource_metrics if found else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def test_jobs_and_rescues_are_shown(engine: Engine) -> None:
    """Jobs by kind and state, the oldest beat, the worst loop and each rescue are in both libraries."""
    world, registry, reader = World(engine), CollectorRegistry(), InMemoryMetricReader()
    provider = MeterProvider([reader])
    watchdog = world.watchdog(actions={"mail": "requeue"})
    watchdog.export_metrics(registry=registry, meter_provider=provider)
    world.pass_time(75, watchdog)
    worker = world.worker("1", "2")
    world.worker("3", kind="video")
    world.worker("4").die()
    world.pass_time(45, watchdog)
    world.act(beats.beat_process, worker.process, 250.0, world.clock)
    watchdog.run_once()
    found = of_prometheus(registry)
    assert found['unhush_jobs{kind="mail",state="alive"}'] == 2
    assert found['unhush_jobs{kind="mail",state="late"}'] == 1
    assert found['unhush_jobs{kind="video",state="alive"}'] == 1
    assert (found["unhush_oldest_beat_age_seconds"], found["unhush_loop_lag_seconds"]) == (45, 0.25)
    world.pass_time(30, watchdog)
    assert of_prometheus(registry)['unhush_jobs{kind="mail",state="lost"}'] == 1
    world.pass_time(30, watchdog)
    found = of_prometheus(registry)
    assert found['unhush_rescues_total{done="requeued",kind="mail"}'] == 1
    assert 'unhush_jobs{kind="mail",state="lost"}' not in found
    exported = of_otel(reader)
    assert exported["unhush.rescues", "mail", "requeued"] == 1
    assert exported["unhush.jobs", "alive", "mail"] == 2
    with pytest.raises(ValueError, match="Duplicated"):
        world.watchdog().export_metrics(registry=registry, exporters=["prometheus"])
    provider.shutdown()


def test_follower_shows_nothing(engine: Engine) -> None:
    """A watchdog that does not lead shows that it looks, and no jobs: they would be another time's."""
    world, registries = World(engine), [CollectorRegistry(), CollectorRegistry()]
    leader, follower = world.watchdog(), world.watchdog()
    for watchdog, registry in zip((leader, follower), registries, strict=True):
        watchdog.export_metrics(registry=registry, exporters=["prometheus"])
    world.worker("1")
    world.pass_time(30, leader, follower)
    assert 'unhush_jobs{kind="mail",state="alive"}' in of_prometheus(registries[0])
    assert list(of_prometheus(registries[1])) == ["unhush_watchdog_last_run_timestamp_seconds"]


def test_last_run_stands_still_in_trouble(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of the last run moves with each run that looked, and with no run that failed."""
    world, registry, now = World(engine), CollectorRegistry(), [1000.0]
    monkeypatch.setattr("unhush.runtime.watchdog.time.time", lambda: now[0])
    watchdog = world.watchdog()
    watchdog.export_metrics(registry=registry, exporters=["prometheus"])

    def last() -> float:
        return of_prometheus(registry)["unhush_watchdog_last_run_timestamp_seconds"]

    assert last() == 1000  # silence counts from here
    now[0] = 1015.0
    watchdog.run_once()
    assert last() == 1015
    now[0] = 1030.0
    with monkeypatch.context() as patch:
        patch.setattr("unhush.runtime.watching.lead", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watchdog.run_once()
    assert last() == 1015
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "false")
    watchdog.run_once()
    assert last() == 1030  # told to do nothing is not silent


def test_failing_beats_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gauge is 0 before the first job and while beats arrive, and 1 while the database does not take them."""
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "true")
    registry, url = CollectorRegistry(), f"sqlite:///{tmp_path}/beats.db"
    with Heartbeats(url, every=0.05, patience=0.2) as heartbeats:
        heartbeats.export_metrics(registry=registry, exporters=["prometheus"])

        def becomes(value: float) -> bool:
            for _ in range(1000):
                if of_prometheus(registry)["unhush_heartbeat_failing"] == value:
                    return True
                time.sleep(0.01)
            return False

        assert of_prometheus(registry)["unhush_heartbeat_failing"] == 0
        with heartbeats.job("1", kind="mail"):  # there are no tables
            assert becomes(1)
            engine = create_engine(url)
            upgrade(engine)
            engine.dispose()
            assert becomes(0)

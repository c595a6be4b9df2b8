from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.engine import make_engine
from unhush.runtime.letters import Depth, Stats
from unhush.runtime.metrics import Metrics
from unhush.runtime.spool import Spool
from unhush.sql.runner import upgrade

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
QUEUE_COUNTERS = ("captures", "duplicates", "capture_failures", "spooled", "spool_rejected")

Values = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
Show = Callable[[], Values]


def stats(*depths: tuple[str, str, int], oldest: timedelta | None = None) -> Stats:
    return Stats(
        depths=[Depth(queue=queue, status=status, count=count, exact=True) for queue, status, count in depths],
        oldest_dead_at=None if oldest is None else NOW - oldest,
        spool_records=0,
        spool_bytes=0,
    )


class Clock:
    """A clock that a test turns."""

    now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["prometheus", "opentelemetry"])
def shown(request: pytest.FixtureRequest, clock: Clock) -> Iterator[tuple[Metrics, Show]]:
    """Metrics for one of the libraries, and what that shows, under the names that Prometheus has."""
    registry, reader = CollectorRegistry(), InMemoryMetricReader()
    provider = MeterProvider([reader])
    metrics = Metrics(
        registry=registry, meter_provider=provider, exporters=[request.param], clock=clock, now=lambda: NOW
    )
    yield metrics, (lambda: of_prometheus(registry)) if request.param == "prometheus" else (lambda: of_otel(reader))
    provider.shutdown()


def of_prometheus(registry: CollectorRegistry) -> Values:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def of_otel(reader: InMemoryMetricReader) -> Values:
    data = reader.get_metrics_data()
    suffixes = {"s": "_seconds", "By": "_bytes"}
    return {
        (metric.name.replace(".", "_") + suffixes.get(metric.unit, "") + total(metric.data), labels(point)): point.value
        for resource in (data.resource_metrics if data else [])
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def total(data: Any) -> str:
    return "_total" if getattr(data, "is_monotonic", False) else ""


def labels(point: Any) -> frozenset[tuple[str, str]]:
    return frozenset(point.attributes.items())


def value(values: Values, name: str, **labels: str) -> float | None:
    return values.get((f"unhush_dlq_{name}", frozenset(labels.items())))


def test_counters(shown: tuple[Metrics, Show]) -> None:
    """Each counter begins at 0 for a declared queue, and counts what it is named after and nothing else."""
    metrics, show = shown
    metrics.declare("mail")
    values = show()
    assert set(values.values()) == {0}
    assert value(values, "scrape_failures_total") == 0
    assert all(value(values, f"{name}_total", queue="mail") == 0 for name in QUEUE_COUNTERS)
    assert value(values, "redrives_total", queue="mail", result="redriven") == 0
    metrics.captured("mail")
    for times, count in enumerate((metrics.duplicate, metrics.lost, metrics.spooled, metrics.spool_rejected), 2):
        for _ in range(times):
            count("mail")
    metrics.redriven("mail", "parked")
    metrics.captured("other")
    values = show()
    assert [value(values, f"{name}_total", queue="mail") for name in QUEUE_COUNTERS] == [1, 2, 3, 4, 5]
    assert value(values, "redrives_total", queue="mail", result="parked") == 1
    assert value(values, "redrives_total", queue="mail", result="redriven") == 0
    assert value(values, "captures_total", queue="other") == 1


def test_gauges(shown: tuple[Metrics, Show], tmp_path: Path) -> None:
    """Depth by queue and status, the age of the oldest dead letter, and the spool, as they are when asked."""
    metrics, show = shown
    spool = Spool(tmp_path / "s")
    spool.append({"capture_id": "1"})
    metrics.watch(lambda: stats(("mail", "dead", 3), ("mail", "parked", 1), oldest=timedelta(minutes=2)), spool.size)
    values = show()
    assert value(values, "depth", queue="mail", status="dead") == 3
    assert value(values, "depth", queue="mail", status="parked") == 1
    assert value(values, "oldest_dead_age_seconds") == 120
    assert value(values, "spool_size_bytes") == spool.size().bytes > 0
    assert value(values, "spool_records") == 1
    assert value(values, "spool_set_aside", why="corrupt") == 0
    assert value(values, "spool_set_aside", why="refused") == 0


def test_depth_goes_back_to_zero(shown: tuple[Metrics, Show], clock: Clock) -> None:
    """A queue that is empty again shows 0, rather than nothing; no letter at all has the age 0."""
    metrics, show = shown
    answers = [stats(("mail", "dead", 3), oldest=timedelta(seconds=-5)), stats()]
    metrics.watch(lambda: answers.pop(0))
    values = show()
    assert value(values, "depth", queue="mail", status="dead") == 3
    assert value(values, "oldest_dead_age_seconds") == 0  # the clocks differ: never below 0
    clock.now += 60
    values = show()
    assert value(values, "depth", queue="mail", status="dead") == 0
    assert value(values, "oldest_dead_age_seconds") == 0


def test_database_is_not_hammered(shown: tuple[Metrics, Show], clock: Clock) -> None:
    """However often it is asked, the database is read once in five seconds, and then anew."""
    metrics, show = shown
    asked: list[int] = []

    def read() -> Stats:
        asked.append(1)
        return stats(("mail", "dead", len(asked)))

    metrics.watch(read)
    assert asked == []  # not when the gauges are made
    assert {value(show(), "depth", queue="mail", status="dead") for _ in range(5)} == {1}
    clock.now += 5
    assert {value(show(), "depth", queue="mail", status="dead") for _ in range(5)} == {2}


def test_unreadable_database(shown: tuple[Metrics, Show], clock: Clock, tmp_path: Path) -> None:
    """When the database can't be read its gauges are left out, the spool's are there, and the failure counts."""
    metrics, show = shown
    down = True

    def read() -> Stats:
        if down:
            raise ConnectionError("refused\npassword=hunter2")
        return stats(("mail", "dead", 1))

    metrics.watch(read, Spool(tmp_path).size)
    with capture_logs() as logs:
        assert value(show(), "spool_records") == 0
    assert [(line["event"], line["error_type"], line["error"]) for line in logs] == [
        ("dead_letter.scrape_failed", "ConnectionError", "refused")
    ]
    values = show()
    assert value(values, "scrape_failures_total") == 1
    assert value(values, "spool_records") == 0
    assert not [name for name, _ in values if name in ("unhush_dlq_depth", "unhush_dlq_oldest_dead_age_seconds")]
    down = False
    clock.now += 5
    assert value(show(), "depth", queue="mail", status="dead") == 1


def test_watched_once(shown: tuple[Metrics, Show], clock: Clock) -> None:
    """A second watch is refused, so that no gauge stands there twice; after `unwatch` another may watch."""
    metrics, show = shown
    other = Metrics(
        registry=metrics._registry, meter_provider=metrics._meter_provider, exporters=metrics._wanted, clock=clock
    )
    metrics.watch(lambda: stats(("mail", "dead", 1)))
    with pytest.raises(ValueError, match=r"Duplicated|already"):
        other.watch(lambda: stats(("mail", "dead", 2)))
    other.unwatch()
    assert value(show(), "depth", queue="mail", status="dead") == 1
    metrics.unwatch()
    assert value(show(), "depth", queue="mail", status="dead") is None
    other.watch(lambda: stats(("mail", "dead", 2)))
    assert value(show(), "depth", queue="mail", status="dead") == 2


def test_watch_is_for_both_or_none() -> None:
    """Where one library refuses the gauges, the other doesn't show them either."""
    provider, registry = MeterProvider([InMemoryMetricReader()]), CollectorRegistry()
    first = Metrics(registry=CollectorRegistry(), meter_provider=provider)
    first.watch(lambda: stats(("mail", "dead", 1)))
    second = Metrics(registry=registry, meter_provider=provider)
    with pytest.raises(ValueError, match="already"):
        second.watch(lambda: stats(("mail", "dead", 2)))
    assert value(of_prometheus(registry), "depth", queue="mail", status="dead") is None
    first.unwatch()
    second.watch(lambda: stats(("mail", "dead", 2)))
    assert value(of_prometheus(registry), "depth", queue="mail", status="dead") == 2


def test_shared_counters(shown: tuple[Metrics, Show]) -> None:
    """Two queues' metrics on one registry count together."""
    metrics, show = shown
    other = Metrics(registry=metrics._registry, meter_provider=metrics._meter_provider, exporters=metrics._wanted)
    metrics.captured("mail")
    other.captured("mail")
    assert value(show(), "captures_total", queue="mail") == 2


def test_trouble_stops_no_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that fails, when it is set up or later, is logged once; counting goes on in the other."""
    registry, reader = CollectorRegistry(), InMemoryMetricReader()
    Counter("unhush_dlq_captures", "somebody else's", registry=registry)
    metrics = Metrics(registry=registry, meter_provider=MeterProvider([reader]))
    with capture_logs() as logs:
        metrics.captured("mail")
        metrics.captured("mail")
    assert [line["event"] for line in logs] == ["dead_letter.metrics_failed"]
    assert "unhush_dlq_captures" in logs[0]["error"]
    assert value(of_otel(reader), "captures_total", queue="mail") == 2

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    registry, reader = CollectorRegistry(), InMemoryMetricReader()
    metrics = Metrics(registry=registry, meter_provider=MeterProvider([reader]))
    metrics.declare("mail")
    monkeypatch.setattr(Counter, "inc", full)
    with capture_logs() as logs:
        metrics.captured("mail")
        metrics.captured("mail")
    assert [(line["event"], line["error_type"]) for line in logs] == [("dead_letter.metrics_failed", "OSError")]
    assert value(of_otel(reader), "captures_total", queue="mail") == 2
    assert value(of_prometheus(registry), "captures_total", queue="mail") == 0


def test_prometheus_text() -> None:
    """The text that Prometheus reads names type and help of each metric, and escapes a queue's name."""
    registry = CollectorRegistry()
    metrics = Metrics(registry=registry, exporters=["prometheus"], now=lambda: NOW)
    metrics.captured('a"b\nc')
    metrics.watch(lambda: stats(("mail", "dead", 3), oldest=timedelta(seconds=1.5)))
    text = generate_latest(registry).decode()
    assert "# TYPE unhush_dlq_captures_total counter\n" in text
    assert 'unhush_dlq_captures_total{queue="a\\"b\\nc"} 1.0\n' in text
    assert "# HELP unhush_dlq_depth Letters, by queue and status\n# TYPE unhush_dlq_depth gauge\n" in text
    assert 'unhush_dlq_depth{queue="mail",status="dead"} 3.0\n' in text
    assert "unhush_dlq_oldest_dead_age_seconds 1.5\n" in text


def test_neither_library_is_needed() -> None:
    """Nothing is imported before the first count; and without either library counting does nothing, quietly."""
    code = """
import sys
from unhush.runtime.metrics import Metrics
names = ("prometheus_client", "opentelemetry", "structlog")
metrics = Metrics()
print([name for name in names if name in sys.modules])
import importlib.util, unhush.runtime.counting as module
module.find_spec = lambda name: None
metrics.captured("mail"); metrics.watch(lambda: 1 / 0)
print([name for name in names if name in sys.modules])
module.find_spec = importlib.util.find_spec
Metrics().captured("mail")
print([name for name in names if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]", "['prometheus_client', 'opentelemetry']"]


def test_a_queue_exports_what_it_holds(tmp_path: Path) -> None:
    """Gauges are read from the database and the spool, and a queue's counters are there before its first event."""
    registry = CollectorRegistry()
    url = f"sqlite:///{tmp_path}/jobs.db"
    engine = make_engine(url)
    upgrade(engine)
    engine.dispose()
    with DeadLetterQueue(
        url, spool=tmp_path / "spool", metrics=Metrics(registry=registry, exporters=["prometheus"])
    ) as dlq:
        dlq.register("image", print)
        dlq.export_gauges("mail")
        for number in range(2):
            dlq.put(queue="sms", job_name="send", job_id=str(number), error=ValueError("x"))
        values = of_prometheus(registry)
        dlq.metrics.unwatch()
    assert values["unhush_dlq_depth", frozenset({("queue", "sms"), ("status", "dead")})] == 2
    assert values["unhush_dlq_spool_records", frozenset()] == 0
    for queue, count in (("image", 0), ("mail", 0), ("sms", 2)):
        assert values["unhush_dlq_captures_total", frozenset({("queue", queue)})] == count

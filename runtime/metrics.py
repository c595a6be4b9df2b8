"""Counters and gauges of the dead letter queue, for prometheus-client and OpenTelemetry, whichever is installed.

Prometheus has them as `unhush_dlq_captures_total`, OpenTelemetry as `unhush.dlq.captures`. Neither library is imported
before the first count.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from .counting import LIBRARIES, Kind, OpenTelemetryCounters, PrometheusCounters, installed
from .letters import Stats
from .tables import IN_DOUBT, PARKED, REDRIVEN
from .telling import first_line, log

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector

    from .spool import SpoolSize

T = TypeVar("T")

CACHE_SECONDS = 5.0  # how often at most gauges read the database and the spool, however often they are scraped
RESULTS = (REDRIVEN, "failed", PARKED, IN_DOUBT)  # how a redrive may end


COUNTERS = {
    kind.name: kind
    for kind in (
        Kind("captures", ("queue",), "Failures that became a dead letter in the database", "{letter}"),
        Kind("duplicates", ("queue",), "Failures that were captured before", "{letter}"),
        Kind("redrives", ("queue", "result"), "Redrives, by how they ended", "{redrive}"),
        Kind("capture_failures", ("queue",), "Failures that neither the database nor the spool took", "{letter}"),
        Kind("spooled", ("queue",), "Failures that the spool took in place of the database", "{letter}"),
        Kind("spool_rejected", ("queue",), "Failures that the spool did not take, being full or broken", "{letter}"),
        Kind("scrape_failures", (), "Readings of the database or the spool for gauges that failed", "{reading}"),
    )
}
GAUGES = {
    kind.name: kind
    for kind in (
        Kind("depth", ("queue", "status"), "Letters, by queue and status", "{letter}"),
        Kind("oldest_dead_age", (), "Age of the dead letter that waits longest, 0 where none does", "s"),
        Kind("stopped_operations", (), "Bulk acts that stopped by themselves: too many redrives failed again", "{act}"),
        Kind("spool_size", (), "Size of this host's spool", "By"),
        Kind("spool_records", (), "Records that wait in this host's spool", "{letter}"),
        Kind("spool_set_aside", ("why",), "Lines of this host's spool that are corrupt or refused", "{letter}"),
    )
}
_PROMETHEUS_UNITS = {"s": "_seconds", "By": "_bytes"}


class Sample(NamedTuple):
    """A gauge's value, with the values of its labels."""

    gauge: str
    labels: tuple[str, ...]
    value: float


class Metrics:
    """What the dead letter queue counts. Counters that share a registry or a meter provider are the same.

    `registry` and `meter_provider` are the libraries' own default ones unless given; `exporters` says which of the two
    are used where they are installed. Use one only, where OpenTelemetry itself exports to the same Prometheus registry.
    Trouble with them is logged once, and stops no capture.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry | None = None,
        meter_provider: MeterProvider | None = None,
        exporters: Collection[str] = LIBRARIES,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._registry = registry
        self._meter_provider = meter_provider
        self._wanted = exporters
        self._clock = clock
        self._now = now
        self._told = False

    @cached_property
    def _exporters(self) -> list[_Prometheus | _OpenTelemetry]:
        makers: dict[str, Callable[[], _Prometheus | _OpenTelemetry]] = {
            "prometheus": lambda: _Prometheus(self._registry),
            "opentelemetry": lambda: _OpenTelemetry(self._meter_provider),
        }
        return installed(self._wanted, makers, self._tell_trouble)

    def declare(self, queue: str) -> None:
        """Shows a queue's counters from 0: what appears with its first event only is no rise to a monitor."""
        self._add("scrape_failures", 0)
        for kind in COUNTERS.values():
            if kind.labels == ("queue",):
                self._add(kind.name, 0, queue=queue)
        for result in RESULTS:
            self._add("redrives", 0, queue=queue, result=result)

    def captured(self, queue: str) -> None:
        """A failure became a letter in the database."""
        self._add("captures", queue=queue)

    def duplicate(self, queue: str) -> None:
        """A failure was there already."""
        self._add("duplicates", queue=queue)

    def redriven(self, queue: str, result: str) -> None:
        """A redrive ended: `redriven`, `failed`, `parked` or `in_doubt`, or as its outcome says otherwise."""
        self._add("redrives", queue=queue, result=result)

    def lost(self, queue: str) -> None:
        """Neither the database nor the spool took a failure: it is in the log alone."""
        self._add("capture_failures", queue=queue)

    def spooled(self, queue: str) -> None:
        """The spool took a failure in place of the database."""
        self._add("spooled", queue=queue)

    def spool_rejected(self, queue: str) -> None:
        """The spool did not take a failure."""
        self._add("spool_rejected", queue=queue)

    def _add(self, counter: str, amount: int = 1, **labels: str) -> None:
        for exporter in self._exporters:
            try:
                exporter.add(counter, labels, amount)
            except Exception as error:  # noqa: BLE001 - as above
                self._tell_trouble(error)

    def watch(self, stats: Callable[[], Stats] | None = None, spool: Callable[[], SpoolSize] | None = None) -> None:
        """Shows the gauges, read by these at most every five seconds.

        One process of a service is enough to read the database; the spool is each host's own. What can't be read is left
        out, logged, and counted in `scrape_failures`. Raises ValueError where the registry has such gauges already.
        """
        self._add("scrape_failures", 0)
        gauges = _Gauges(
            _Cached(stats, self._scrape_failed, self._clock),
            _Cached(spool, self._scrape_failed, self._clock),
            self._now,
        )
        try:
            for exporter in self._exporters:
                exporter.watch(gauges.read)
        except ValueError:
            self.unwatch()
            raise

    def unwatch(self) -> None:
        """Shows no gauges any more."""
        for exporter in self._exporters:
            exporter.unwatch()

    def _tell_trouble(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            log("error", "dead_letter.metrics_failed", error_type=type(error).__qualname__, error=first_line(error))

    def _scrape_failed(self, error: Exception) -> None:
        self._add("scrape_failures")
        log("warning", "dead_letter.scrape_failed", error_type=type(error).__qualname__, error=first_line(error))


class _Cached(Generic[T]):
    """What a function gave not long ago; None where there is none, or it failed."""

    def __init__(
        self, read: Callable[[], T] | None, failed: Callable[[Exception], None], clock: Callable[[], float]
    ) -> None:
        self._read = read
        self._failed = failed
        self._clock = clock
        self._lock = threading.Lock()
        self._until = float("-inf")
        self._value: T | None = None

    def get(self) -> T | None:
        if self._read is None:
            return None
        with self._lock:
            if self._clock() >= self._until:
                self._value = None
                try:
                    self._value = self._read()
                except Exception as error:  # noqa: BLE001 - a scrape must show what else there is; this one is counted
                    self._failed(error)
                self._until = self._clock() + CACHE_SECONDS
            return self._value


class _Gauges:
    """The gauges' values, for both libraries."""

    def __init__(self, stats: _Cached[Stats], spool: _Cached[SpoolSize], now: Callable[[], datetime]) -> None:
        self._stats = stats
        self._spool = spool
        self._now = now
        self._seen: set[tuple[str, str]] = set()

    def read(self) -> list[Sample]:
        """Every value that can be had."""
        samples: list[Sample] = []
        stats = self._stats.get()
        if stats is not None:
            samples += self._of_stats(stats)
        spool = self._spool.get()
        if spool is not None:
            samples += [
                Sample("spool_size", (), spool.bytes),
                Sample("spool_records", (), spool.records),
                Sample("spool_set_aside", ("corrupt",), spool.corrupt),
                Sample("spool_set_aside", ("refused",), spool.refused),
            ]
        return samples

    def _of_stats(self, stats: Stats) -> Iterator[Sample]:
        depths = {(depth.queue, depth.status): depth.count for depth in stats.depths}
        self._seen |= depths.keys()
        for labels in sorted(self._seen):
            yield Sample("depth", labels, depths.get(labels, 0))  # 0 again where the last letter has gone
        oldest = stats.oldest_dead_at
        age = 0.0 if oldest is None else (self._now() - oldest).total_seconds()
        yield Sample("oldest_dead_age", (), max(0.0, age))
        yield Sample("stopped_operations", (), stats.stopped_operations)


class _Prometheus(PrometheusCounters):
    """The metrics in a registry of prometheus-client."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        super().__init__(registry, "unhush_dlq_", COUNTERS.values())
        self._collector: Collector | None = None

    def watch(self, read: Callable[[], list[Sample]]) -> None:
        self.unwatch()
        collector = _prometheus_collector(read)
        self._registry.register(collector)
        self._collector = collector

    def unwatch(self) -> None:
        if self._collector is not None:
            self._registry.unregister(self._collector)
            self._collector = None


def _prometheus_collector(read: Callable[[], list[Sample]]) -> Collector:
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector

    def families(samples: Iterable[Sample]) -> list[GaugeMetricFamily]:
        made = {
            kind.name: GaugeMetricFamily(
                f"unhush_dlq_{kind.name}{_PROMETHEUS_UNITS.get(kind.unit, '')}", kind.text, labels=kind.labels
            )
            for kind in GAUGES.values()
        }
        for sample in samples:
            made[sample.gauge].add_metric(sample.labels, sample.value)
        return list(made.values())

    class Gauges(Collector):
        def describe(self) -> list[GaugeMetricFamily]:
            return families([])  # without it the registry would read the database when the gauges are made

        def collect(self) -> list[GaugeMetricFamily]:
            return [family for family in families(read()) if family.samples]

    return Gauges()


class _Reader:
    """What reads the gauges of a meter now; instruments of OpenTelemetry can't be taken back."""

    read: Callable[[], list[Sample]] | None = None

    def observe(self, kind: Kind) -> Callable[[CallbackOptions], list[Observation]]:
        """The function by which OpenTelemetry asks for one of the gauges."""
        from opentelemetry.metrics import Observation

        def observations(_: CallbackOptions) -> list[Observation]:
            samples = self.read() if self.read else []
            return [
                Observation(sample.value, dict(zip(kind.labels, sample.labels, strict=True)))
                for sample in samples
                if sample.gauge == kind.name
            ]

        return observations


class _OpenTelemetry(OpenTelemetryCounters):
    """The metrics as instruments of OpenTelemetry."""

    _readers: ClassVar[WeakKeyDictionary[Meter, _Reader]] = WeakKeyDictionary()

    def __init__(self, provider: MeterProvider | None) -> None:
        super().__init__(provider, "unhush.dlq.", COUNTERS.values())
        self._watching = False

    def watch(self, read: Callable[[], list[Sample]]) -> None:
        reader = self._readers.get(self._meter)
        if reader is None:
            reader = self._readers[self._meter] = _Reader()
            for kind in GAUGES.values():
                name = f"unhush.dlq.{kind.name}"
                self._meter.create_observable_gauge(name, [reader.observe(kind)], kind.unit, kind.text)
        if reader.read is not None:
            raise ValueError("this meter provider has the gauges of a dead letter queue already")
        reader.read = read
        self._watching = True

    def unwatch(self) -> None:
        if self._watching:
            self._readers[self._meter].read = None
            self._watching = False

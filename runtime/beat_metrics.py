"""What a watchdog and heartbeats show in Prometheus and OpenTelemetry: how jobs stand, what was done, who is silent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from unhush.version import __version__

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How the running jobs stood at a run. Ages and lags are seconds."""

    states: Mapping[tuple[str, str], int]
    """How many jobs, by kind and state."""
    oldest_beat_age: float
    loop_lag: float


@dataclass(frozen=True, slots=True)
class Sight:
    """What a watchdog shows: the jobs where it leads, and when it last looked, in seconds of Unix time."""

    jobs: Snapshot | None
    last_run: float


class Gauge(NamedTuple):
    """A gauge: its name without `unhush_`, its labels, what it says, and its unit as OpenTelemetry writes it."""

    name: str
    labels: tuple[str, ...]
    text: str
    unit: str


GAUGES = (
    Gauge("jobs", ("kind", "state"), "Running jobs, by kind and state", "{job}"),
    Gauge("oldest_beat_age", (), "Age of the oldest beat of a running job, 0 where none runs", "s"),
    Gauge("loop_lag", (), "How late the slowest event loop of all processes is", "s"),
    Gauge("watchdog_last_run_timestamp", (), "When this watchdog last looked or was off, as Unix time", "s"),
)
FAILING = Gauge("heartbeat_failing", (), "1 where this process's beats do not reach the database, else 0", "1")
RESCUES = "Jobs that a watchdog gave away, by what was done with them"

Read = Callable[[], Sight]
Samples = Iterator[tuple[str, tuple[str, ...], float]]
Count = Callable[[str, str], None]


def export(
    read: Read,
    *,
    registry: CollectorRegistry | None = None,
    meter_provider: MeterProvider | None = None,
    exporters: Collection[str] = ("prometheus", "opentelemetry"),
) -> Count:
    """Shows what `read` gives in those of the libraries that are installed; gives what counts a rescue.

    Raises ValueError where the Prometheus registry has these metrics already.
    """
    counts = []
    if "prometheus" in exporters and find_spec("prometheus_client"):
        counts.append(_prometheus(read, registry))
    if "opentelemetry" in exporters and find_spec("opentelemetry"):
        counts.append(_opentelemetry(read, meter_provider))

    def count(kind: str, done: str) -> None:
        for one in counts:
            one(kind, done)

    return count


def export_failing(
    failing: Callable[[], bool],
    *,
    registry: CollectorRegistry | None = None,
    meter_provider: MeterProvider | None = None,
    exporters: Collection[str] = ("prometheus", "opentelemetry"),
) -> None:
    """Shows whether a process's beats fail. Raises ValueError where the Prometheus registry has this metric already."""

    def samples() -> Samples:
        yield FAILING.name, (), float(failing())

    if "prometheus" in exporters and find_spec("prometheus_client"):
        _register((FAILING,), samples, registry)
    if "opentelemetry" in exporters and find_spec("opentelemetry"):
        _observe((FAILING,), samples, meter_provider)


def _samples(sight: Sight) -> Samples:
    """Each gauge's values with their labels; no jobs where another watchdog leads."""
    yield "watchdog_last_run_timestamp", (), sight.last_run
    if sight.jobs is None:
        return
    for labels, number in sorted(sight.jobs.states.items()):
        yield "jobs", labels, number
    yield "oldest_beat_age", (), sight.jobs.oldest_beat_age
    yield "loop_lag", (), sight.jobs.loop_lag


def _prometheus(read: Read, registry: CollectorRegistry | None) -> Count:
    from prometheus_client import REGISTRY, Counter

    where = REGISTRY if registry is None else registry
    counter = Counter("unhush_rescues", RESCUES, ("kind", "done"), registry=where)
    _register(GAUGES, lambda: _samples(read()), where)
    return lambda kind, done: counter.labels(kind=kind, done=done).inc()


def _register(gauges: Sequence[Gauge], samples: Callable[[], Samples], registry: CollectorRegistry | None) -> None:
    from prometheus_client import REGISTRY
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector

    def families(found: Samples) -> list[GaugeMetricFamily]:
        made = {
            gauge.name: GaugeMetricFamily(
                f"unhush_{gauge.name}{'_seconds' if gauge.unit == 's' else ''}", gauge.text, labels=gauge.labels
            )
            for gauge in gauges
        }
        for name, labels, number in found:
            made[name].add_metric(labels, number)
        return list(made.values())

    class Gauges(Collector):
        def describe(self) -> list[GaugeMetricFamily]:
            return families(iter(()))

        def collect(self) -> list[GaugeMetricFamily]:
            return [family for family in families(samples()) if family.samples]

    (REGISTRY if registry is None else registry).register(Gauges())


def _opentelemetry(read: Read, provider: MeterProvider | None) -> Count:
    from opentelemetry.metrics import get_meter

    counter = get_meter("unhush", __version__, provider).create_counter("unhush.rescues", "{job}", RESCUES)
    _observe(GAUGES, lambda: _samples(read()), provider)
    return lambda kind, done: counter.add(1, {"kind": kind, "done": done})


def _observe(gauges: Sequence[Gauge], samples: Callable[[], Samples], provider: MeterProvider | None) -> None:
    from opentelemetry.metrics import Observation, get_meter

    meter = get_meter("unhush", __version__, provider)

    def observing(gauge: Gauge) -> Callable[[CallbackOptions], list[Observation]]:
        return lambda _: [
            Observation(number, dict(zip(gauge.labels, labels, strict=True)))
            for name, labels, number in samples()
            if name == gauge.name
        ]

    for gauge in gauges:
        meter.create_observable_gauge(f"unhush.{gauge.name}", [observing(gauge)], gauge.unit, gauge.text)

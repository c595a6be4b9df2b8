"""Counters in the registry of prometheus-client and in OpenTelemetry, whichever is installed; imported when first made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from unhush.version import __version__

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from prometheus_client import CollectorRegistry
    from prometheus_client import Counter as PrometheusCounter

T = TypeVar("T")

LIBRARIES = ("prometheus", "opentelemetry")
_PACKAGES = {"prometheus": "prometheus_client", "opentelemetry": "opentelemetry"}


class Kind(NamedTuple):
    """A metric: its name without the prefix, its labels, what it says, and its unit as OpenTelemetry writes it."""

    name: str
    labels: tuple[str, ...]
    text: str
    unit: str


def installed(
    wanted: Collection[str], makers: Mapping[str, Callable[[], T]], failed: Callable[[Exception], None]
) -> list[T]:
    """What `makers` give for those libraries that are wanted and installed; trouble with one goes to `failed`."""
    found = []
    for name, make in makers.items():
        if name in wanted and find_spec(_PACKAGES[name]):
            try:
                found.append(make())
            except Exception as error:  # noqa: BLE001 - the program is worth more than its being counted
                failed(error)
    return found


class PrometheusCounters:
    """Counters in a registry; those of one name are made once in it. `prefix` ends with `_`."""

    _made: ClassVar[WeakKeyDictionary[CollectorRegistry, dict[str, PrometheusCounter]]] = WeakKeyDictionary()
    _lock = threading.Lock()

    def __init__(self, registry: CollectorRegistry | None, prefix: str, kinds: Iterable[Kind]) -> None:
        from prometheus_client import REGISTRY
        from prometheus_client import Counter as PrometheusCounter

        self._registry = REGISTRY if registry is None else registry
        self._counters: dict[str, PrometheusCounter] = {}
        with self._lock:
            made = self._made.setdefault(self._registry, {})
            for kind in kinds:
                name = prefix + kind.name
                if name not in made:
                    made[name] = PrometheusCounter(name, kind.text, kind.labels, registry=self._registry)
                self._counters[kind.name] = made[name]

    def adder(self, counter: str, labels: Mapping[str, str]) -> Callable[[int], None]:
        """What adds to a counter under these labels; made once, it saves looking them up."""
        found = self._counters[counter]
        return (found.labels(**labels) if labels else found).inc

    def add(self, counter: str, labels: Mapping[str, str], amount: int) -> None:
        """Adds to a counter."""
        self.adder(counter, labels)(amount)


class OpenTelemetryCounters:
    """Counters of a meter. `prefix` ends with a dot."""

    def __init__(self, provider: MeterProvider | None, prefix: str, kinds: Iterable[Kind]) -> None:
        from opentelemetry.metrics import get_meter

        self._meter = get_meter("unhush", __version__, provider)
        self._counters = {
            kind.name: self._meter.create_counter(prefix + kind.name, kind.unit, kind.text) for kind in kinds
        }

    def adder(self, counter: str, labels: Mapping[str, str]) -> Callable[[int], None]:
        """What adds to a counter under these labels."""
        return partial(self._counters[counter].add, attributes=labels)

    def add(self, counter: str, labels: Mapping[str, str], amount: int) -> None:
        """Adds to a counter."""
        self._counters[counter].add(amount, labels)

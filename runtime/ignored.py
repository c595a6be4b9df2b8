"""Counts the exceptions that a program ignores, as `unhush fix` has them logged, and holds back a flood of them.

One object serves every logging library: it is a processor of structlog and a filter of logging's handlers, and has a
filter for loguru's sinks. It knows an event by its name, which ends with `.exception_ignored`.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .counting import LIBRARIES, Kind, OpenTelemetryCounters, PrometheusCounters, installed
from .telling import first_line, log

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from prometheus_client import CollectorRegistry

ENDING = ".exception_ignored"
HELD_BACK = "ignored_exceptions.held_back"
OTHER = "other"  # logger and event of all that comes when there are too many to tell apart
LONGEST = 200  # characters of a logger's or an event's name; a longer one counts as OTHER
KINDS = (
    Kind("ignored_exceptions", ("logger", "event"), "Exceptions that were ignored, and logged as such", "{exception}"),
    Kind("ignored_exceptions_held_back", (), "Of these, how many the log does not show one by one", "{exception}"),
)
_KEPT = "_unhush_kept"  # what was said of a record, which a filter of each handler is asked about

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Fired:
    """How often an event came in this process: `last` is Unix time, `held_back` how many the log does not show."""

    logger: str
    event: str
    count: int
    held_back: int
    last: float


@dataclass(slots=True, eq=False)
class _Seen:
    """What is known of one event of one logger; `since`, `kept` and `held` are of the minute that runs."""

    logger: str
    event: str
    adders: list[Callable[[int], None]]
    tell: Tell
    count: int = 0
    held_back: int = 0
    last: float = 0.0
    since: float = float("-inf")
    kept: int = 0
    held: int = 0


class IgnoredExceptions:
    """Counts `*.exception_ignored` events by logger and event, and lets `keep` of each through in `seconds`.

    The rest is held back, and told as one event `ignored_exceptions.held_back` with their number when the time is over.
    `known` are loggers and events that metrics show from 0. Of more than `most` pairs the others count as one.
    `registry`, `meter_provider` and `exporters` are as for the dead letter queue's `Metrics`. `clock` gives seconds that
    never go back, `now` Unix time, and `later` calls a function after so many seconds, for tests.

    It never raises into the program: trouble is logged once, and the event let through. Safe in threads, tasks, signal
    handlers and finalizers, and after a fork, when a child counts its own from 0.
    """

    def __init__(
        self,
        *,
        keep: int = 10,
        seconds: float = 60.0,
        most: int = 500,
        known: Iterable[tuple[str, str]] = (),
        registry: CollectorRegistry | None = None,
        meter_provider: MeterProvider | None = None,
        exporters: Collection[str] = LIBRARIES,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        later: Callable[[float, Callable[[], None]], None] | None = None,
    ) -> None:
        self._keep, self._seconds, self._most = keep, seconds, most
        self._clock, self._now, self._later = clock, now, later or _start_timer
        self._lock = threading.RLock()  # a finalizer or a signal handler may log while its own thread holds it
        self._local = threading.local()
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._armed = False
        self._told = False
        makers: dict[str, Callable[[], PrometheusCounters | OpenTelemetryCounters]] = {
            "prometheus": lambda: PrometheusCounters(registry, "unhush_", KINDS),
            "opentelemetry": lambda: OpenTelemetryCounters(meter_provider, "unhush.", KINDS),
        }
        self._exporters = installed(exporters, makers, self._trouble)
        self._held_adders = [exporter.adder(KINDS[1].name, {}) for exporter in self._exporters]
        _add(self._held_adders, 0)
        for logger, event in known:
            _add(self._entry(logger, event).adders, 0)
        _living.add(self)
        atexit.register(_flush, weakref.ref(self))

    def __call__(self, logger: Any, method: str, event_dict: Any) -> Any:
        """As a processor of structlog: the event itself; raises DropEvent for one that is held back.

        It belongs before the processors that format the traceback. In logging's `foreign_pre_chain` it does nothing.
        """
        event = event_dict.get("event")
        if type(event) is not str or not event.endswith(ENDING) or "_record" in event_dict:
            return event_dict
        self._local.event = event  # the same object comes to logging's filter, where structlog writes to that
        if self._keeps(lambda: (_structlog_name(logger, event_dict), event), _tell_structlog):
            return event_dict
        from structlog import DropEvent

        raise DropEvent

    def filter(self, record: logging.LogRecord) -> bool:
        """As a filter of logging's handlers: whether the record goes on. However many handlers ask, it counts once."""
        event = record.msg
        if type(event) is not str or not event.endswith(ENDING):
            return True
        kept = record.__dict__.get(_KEPT)
        if kept is None:
            if getattr(self._local, "event", None) is event:
                return True
            tell = partial(_tell_logging, record.name, record.levelno)
            kept = record.__dict__[_KEPT] = self._keeps(lambda: (record.name, event), tell)
        return bool(kept)

    def loguru(self, record: Any) -> bool:
        """As a filter of loguru's sinks: whether the message goes on. However many sinks ask, it counts once."""
        event = record["message"]
        if not event.endswith(ENDING):
            return True
        if _KEPT not in record:
            tell = partial(_tell_loguru, record["level"].name)
            record[_KEPT] = self._keeps(lambda: (record["name"] or OTHER, event), tell)
        return bool(record[_KEPT])

    def counts(self) -> list[Fired]:
        """What came in this process, the most frequent first."""
        with self._lock:
            found = [
                Fired(seen.logger, seen.event, seen.count, seen.held_back, seen.last)
                for seen in self._seen.values()
                if seen.count
            ]
        return sorted(found, key=lambda fired: (-fired.count, fired.logger, fired.event))

    def flush(self) -> None:
        """Tells what was held back so far. It is called when the process ends."""
        self._tell_ended(everything=True)

    def _keeps(self, names: Callable[[], tuple[str, str]], tell: Tell) -> bool:
        """Counts an event; whether it is to be logged."""
        try:
            return self._count(*names(), tell)
        except Exception as error:  # noqa: BLE001 - the program must not fail for its being counted; this is told
            self._armed = False
            self._trouble(error)
            return True

    def _count(self, logger: str, event: str, tell: Tell) -> bool:
        now, ended, arm = self._clock(), 0, None
        with self._lock:
            seen = self._entry(logger, event)
            if now - seen.since >= self._seconds:
                ended, seen.held, seen.kept, seen.since = seen.held, 0, 0, now
            seen.tell = tell
            seen.count += 1
            seen.last = self._now()
            kept = seen.kept < self._keep
            if kept:
                seen.kept += 1
            else:
                seen.held += 1
                seen.held_back += 1
                if not self._armed:
                    self._armed, arm = True, seen.since + self._seconds - now
        _add(seen.adders, 1)
        if ended:
            self._tell(seen, ended)
        if not kept:
            _add(self._held_adders, 1)
        if arm is not None:
            self._later(arm, self._tell_ended)
        return kept

    def _entry(self, logger: str, event: str) -> _Seen:
        """What is known of an event; of what is one too many, what is known of the others."""
        seen = self._seen.get((logger, event))
        if seen is None:
            if len(self._seen) >= self._most or len(logger) > LONGEST or len(event) > LONGEST:
                logger, event = OTHER, OTHER + ENDING
            seen = self._seen.get((logger, event))
        if seen is None:
            labels = {"logger": logger, "event": event}
            adders = [exporter.adder(KINDS[0].name, labels) for exporter in self._exporters]
            seen = self._seen[logger, event] = _Seen(logger, event, adders, _tell_structlog)
        return seen

    def _tell_ended(self, everything: bool = False) -> None:
        """Tells what was held back in minutes that are over, and comes again for those that are not."""
        try:
            now = self._clock()
            with self._lock:
                holding = [seen for seen in self._seen.values() if seen.held]
                ended = [(seen, seen.held) for seen in holding if everything or now - seen.since >= self._seconds]
                for seen, _ in ended:
                    seen.held = 0
                running = [seen.since + self._seconds - now for seen in holding if seen.held]
                self._armed = bool(running)
            for seen, held in ended:
                self._tell(seen, held)
            if running:
                self._later(max(0.0, min(running)), self._tell_ended)
        except Exception as error:  # noqa: BLE001 - as in _keeps
            self._trouble(error)

    def _tell(self, seen: _Seen, held: int) -> None:
        seen.tell(
            {"ignored_event": seen.event, "ignored_logger": seen.logger, "held_back": held, "seconds": self._seconds}
        )

    def _trouble(self, error: Exception) -> None:
        """Tells of trouble once; where the log itself is in trouble, on stderr."""
        if self._told:
            return
        self._told = True
        try:
            log("error", "ignored_exceptions.failed", error_type=type(error).__qualname__, error=first_line(error))
        except Exception:  # noqa: BLE001 - told the only other way there is
            traceback.print_exc()

    def _after_fork(self) -> None:
        """In a forked child: nothing has come yet, and what was held back is the parent's to tell."""
        self._lock = threading.RLock()
        self._armed = False
        for seen in self._seen.values():
            seen.count = seen.held_back = seen.held = seen.kept = 0
            seen.since = float("-inf")


_living: weakref.WeakSet[IgnoredExceptions] = weakref.WeakSet()


def _in_child() -> None:
    for one in list(_living):
        one._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def _flush(reference: weakref.ref[IgnoredExceptions]) -> None:
    one = reference()
    if one is not None:
        one.flush()


def _start_timer(seconds: float, act: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()


def _add(adders: Iterable[Callable[[int], None]], amount: int) -> None:
    for add in adders:
        add(amount)


def _structlog_name(logger: Any, event_dict: Any) -> str:
    """The logger's name: as a processor noted it, as logging has it, or the module that logs."""
    for name in (event_dict.get("logger"), getattr(logger, "name", None)):
        if type(name) is str:
            return name
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("structlog", "unhush"):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", OTHER))


def _tell_structlog(facts: dict[str, Any]) -> None:
    log("warning", HELD_BACK, **facts)


def _tell_logging(name: str, level: int, facts: dict[str, Any]) -> None:
    text = HELD_BACK + "".join(f" {key}=%s" for key in facts)
    logging.getLogger(name).log(level, text, *facts.values())


def _tell_loguru(level: str, facts: dict[str, Any]) -> None:
    from loguru import logger

    logger.log(level, HELD_BACK + "".join(f" {key}={{{key}}}" for key in facts), **facts)

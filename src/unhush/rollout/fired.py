"""Which ignored exceptions came, by three kinds of sources: Prometheus, the /metrics of processes, log files.

A source that can't be read, or that can't have seen anything, has a problem: that is no data, and never "none".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from ..output import Failure
from ..runtime.ignored import ENDING, HELD_BACK, KINDS
from .fetching import FetchProblem, fetch, shown

WINDOW = 24 * 3600.0  # seconds that are looked at
STEPS = 720  # points of time that Prometheus is asked for
TOTAL, HELD = f"unhush_{KINDS[0].name}_total", f"unhush_{KINDS[1].name}_total"
NOT_WATCHED = f"has no {HELD}: nothing there counts ignored exceptions (unhush.runtime.IgnoredExceptions)"

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_TEXT = re.compile(r"(?<![\w.(\"'])([\w.\\<>]+" + re.escape(ENDING) + r")(?![\w\"'.])")
_HELD_TEXT = re.compile(re.escape(HELD_BACK) + r"\b")
_FACT = re.compile(r"\b(ignored_event|ignored_logger|held_back)=(\S+)")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")
_EVENT_KEYS = ("event", "message", "msg")
_TIME_KEYS = ("timestamp", "time", "asctime", "ts", "@timestamp")
_LOGGER_KEYS = ("logger", "logger_name", "name")

Key = tuple[str, str]  # logger, event; the logger is empty where a source does not tell


@dataclass(slots=True)
class Came:
    """How often, and when last as Unix time where that is known."""

    count: int = 0
    last: float | None = None

    def add(self, count: int, last: float | None) -> None:
        """More of the same."""
        self.count += count
        if last is not None:
            self.last = last if self.last is None else max(self.last, last)


@dataclass(slots=True)
class Source:
    """What one source knows; `problem` says in one line why it knows nothing, or not enough."""

    kind: str
    name: str
    came: dict[Key, Came] = field(default_factory=dict)
    problem: str | None = None

    def add(self, logger: str, event: str, count: int, last: float | None) -> None:
        """Counts an event."""
        self.came.setdefault((logger, event), Came()).add(count, last)


def from_prometheus(url: str, now: float) -> Source:
    """What Prometheus has of the last 24 hours: each series' rises, also those from its birth and after a restart."""
    source = Source("prometheus", f"Prometheus {shown(url)}")
    return _safely(source, lambda: _ask(source, url.rstrip("/"), now))


def from_metrics(url: str) -> Source:
    """What the process behind a /metrics counted since it began."""
    source = Source("metrics", shown(url))
    return _safely(source, lambda: _scrape(source, fetch(url)))


def from_log(path: str, now: float) -> Source:
    """What a log file of JSON or text lines holds of the last 24 hours."""
    source = Source("log", path)
    return _safely(source, lambda: _read_log(source, path, now))


def together(sources: Iterable[Source]) -> dict[Key, Came]:
    """What all sources know: those of one kind saw different processes, those of another kind the same again."""
    kinds: dict[str, dict[Key, Came]] = {}
    for source in sources:
        for key, came in source.came.items():
            kinds.setdefault(source.kind, {}).setdefault(key, Came()).add(came.count, came.last)
    found: dict[Key, Came] = {}
    for kind, seen in kinds.items():
        elsewhere = {event for other in kinds if other != kind for logger, event in kinds[other] if logger}
        for (logger, event), came in seen.items():
            if not logger and event in elsewhere:
                continue  # a log without names of loggers tells nothing that another kind of source does not
            best = found.setdefault((logger, event), Came())
            best.count = max(best.count, came.count)
            best.add(0, came.last)
    return found


def _safely(source: Source, read: Callable[[], None]) -> Source:
    try:
        read()
    except FetchProblem as problem:
        source.problem = str(problem)
    except OSError as error:
        source.problem = f"can't be read: {error.strerror or error}"
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        source.problem = f"says what can't be understood: {type(error).__name__}"
    return source


def _ask(source: Source, url: str, now: float) -> None:
    if not _query(f"{url}/api/v1/query?{urlencode({'query': HELD, 'time': now})}"):
        source.problem = NOT_WATCHED
        return
    start, step = now - WINDOW, WINDOW / STEPS
    asked = urlencode({"query": TOTAL, "start": start, "end": now, "step": step})
    for series in _query(f"{url}/api/v1/query_range?{asked}"):
        points = [(float(at), float(value)) for at, value in series["values"]]
        if any(not math.isfinite(value) for _, value in points):
            source.problem = f"{TOTAL} holds a value that is no number"
            return
        labels = series["metric"]
        for at, rise in _rises(points, start + step):
            source.add(labels["logger"], labels["event"], rise, at)


def _query(url: str) -> list[Any]:
    answer = json.loads(fetch(url))
    if answer.get("status") != "success":
        raise FetchProblem(f"Prometheus says {str(answer.get('error', answer.get('status')))[:200]}")
    result: list[Any] = answer["data"]["result"]
    return result


def _rises(points: list[tuple[float, float]], began: float) -> Iterator[tuple[float, int]]:
    """When and by how much a counter rose. One that appears later than `began` has risen from 0 by then."""
    before = 0.0 if points and points[0][0] > began else None
    for at, value in points:
        rise = value if before is None or value < before else value - before
        if before is not None and rise >= 1:
            yield at, round(rise)
        before = value


def _scrape(source: Source, text: str) -> None:
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ModuleNotFoundError as error:
        raise Failure("prometheus_client is not installed: pip install 'unhush[metrics]'") from error

    watched = False
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            watched |= sample.name == HELD
            if sample.name == TOTAL:
                source.add(sample.labels["logger"], sample.labels["event"], int(sample.value), None)
    if not watched:
        source.problem = NOT_WATCHED


def _read_log(source: Source, path: str, now: float) -> None:
    lines, newest = 0, None
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            lines += bool(line.strip())
            at = _read_line(source, line, now)
            newest = at if newest is None else newest if at is None else max(newest, at)
    if not lines:
        source.problem = "is empty"
    elif newest is None:
        source.problem = "has no line with a time: whether it is of today can't be told"
    elif newest < now - WINDOW:
        source.problem = "has no line of the last 24 hours"


def _read_line(source: Source, line: str, now: float) -> float | None:
    """Counts what a line tells, if it is of the last 24 hours; its time."""
    if line.lstrip().startswith("{"):
        entry = _parsed(line)
        at, found = _time_of(entry), _entry(entry)
    else:
        plain = _COLOR.sub("", line)
        moment = _TIME.search(plain)
        at, found = _unix(moment[0]) if moment else None, _words(plain)
    if found is not None and (at is None or at >= now - WINDOW):
        logger, event, count = found
        source.add(logger, event, count, at)
    return at


def _parsed(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}  # a line cut by rotation, or text that begins with a brace
    entry = entry.get("record", entry) if isinstance(entry, dict) else {}  # loguru's own form
    return entry if isinstance(entry, dict) else {}


def _entry(entry: dict[str, Any]) -> tuple[str, str, int] | None:
    said = next((entry[key] for key in _EVENT_KEYS if isinstance(entry.get(key), str)), "")
    if said.startswith(HELD_BACK):
        facts = {**dict(_FACT.findall(said)), **entry}
        return _held_back(facts)
    if not said.endswith(ENDING):
        return None
    return next((entry[key] for key in _LOGGER_KEYS if isinstance(entry.get(key), str)), ""), said, 1


def _words(line: str) -> tuple[str, str, int] | None:
    if _HELD_TEXT.search(line):
        return _held_back(dict(_FACT.findall(line)))
    found = _TEXT.search(line)
    return ("", found[1], 1) if found else None


def _held_back(facts: dict[str, Any]) -> tuple[str, str, int] | None:
    if "ignored_event" not in facts or "held_back" not in facts:
        return None
    return str(facts.get("ignored_logger", "")), str(facts["ignored_event"]), int(facts["held_back"])


def _time_of(entry: dict[str, Any]) -> float | None:
    value = next((entry[key] for key in _TIME_KEYS if key in entry), None)
    if isinstance(value, dict):
        value = value.get("timestamp")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if value < 1e11 else value / 1000
    return _unix(value) if isinstance(value, str) else None


def _unix(text: str) -> float | None:
    """A time in ISO form; one without a zone is this machine's."""
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        return None

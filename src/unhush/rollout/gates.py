"""Gates: what must hold before the next stage, and the four verdicts on it. Only "pass" lets anything through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from ..config import ConfigError
from . import statistics

PASS: Final = "pass"
FAIL: Final = "fail"
NO_DATA: Final = "no data"
TOO_FEW: Final = "too few"
Verdict = Literal["pass", "fail", "no data", "too few"]
VALUE, SHARE, RATIO = "value", "share", "ratio"
OWN_SHARE = "error_share"  # the metric of a share that unhush's own tables give
OWN_METRICS = ("dlq_depth", "oldest_age", "stuck_jobs", "lost_records", "health", "flags_on", OWN_SHARE)
COMPARISONS = ("<", "<=", ">", ">=", "==")
WENT_BACK = 2 / 3  # of the jobs at the last look: `increase` gives somewhat less for the same jobs as its window grows
LEAST_EXPECTED = 5  # jobs that must be expected in the part before its size means anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A gate. Where it reads is `metric` (unhush's own) or `query` (Prometheus).

    kind "value": the number compared with the threshold. kind "share": the part of the jobs that failed must be shown to
    lie below the threshold (0 to 1); `failed` and `jobs` are queries, without them unhush's own tables are counted.
    kind "ratio": `arrived` of `all` jobs must be the percentage of the stage. `window` is in seconds; in a query `$window`
    is it, else the age of the stage. A hard gate that fails rolls back at once.
    """

    name: str
    kind: str
    stages: tuple[int, ...]
    threshold: float = 0.0
    comparison: str = "<"
    metric: str | None = None
    query: str | None = None
    failed: str | None = None
    jobs: str | None = None
    arrived: str | None = None
    all: str | None = None
    window: float | None = None
    hard: bool = False

    def as_data(self) -> dict[str, Any]:
        """The gate as the plan holds it, without what is not set."""
        said = {item.name: getattr(self, item.name) for item in fields(self)}
        said["stages"] = list(self.stages)
        return {key: value for key, value in said.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a share was when it was looked at: looks are counted, and each is taken once."""

    gate: str
    number: int
    jobs: int
    failures: int
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A gate's verdict: the number seen, and why in a few words. `look` is there where one was due."""

    gate: Gate
    verdict: Verdict
    why: str
    value: float | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)
    look: Look | None = None

    @property
    def breach(self) -> bool:
        """Whether it means the way back. A ratio that is off only holds: it says that the numbers can't be believed."""
        return self.verdict == FAIL and self.gate.kind != RATIO and (self.gate.hard or self.gate.kind == SHARE)

    def as_data(self) -> dict[str, Any]:
        """For reports and the log."""
        return {
            "gate": self.gate.name,
            "verdict": self.verdict,
            "why": self.why,
            "value": self.value,
            "threshold": self.gate.threshold,
            "comparison": self.gate.comparison,
            "hard": self.gate.hard,
            **({"numbers": dict(self.numbers)} if self.numbers else {}),
        }


def judge_value(gate: Gate, value: float | None, why: str = "") -> Judged:
    """The verdict on one number; None is no data."""
    if value is None:
        return Judged(gate=gate, verdict=NO_DATA, why=why or "no number")
    holds = {
        "<": value < gate.threshold,
        "<=": value <= gate.threshold,
        ">": value > gate.threshold,
        ">=": value >= gate.threshold,
        "==": value == gate.threshold,
    }[gate.comparison]
    said = f"{value:g}, must be {gate.comparison} {gate.threshold:g}"
    return Judged(gate=gate, verdict=PASS if holds else FAIL, why=f"{said}{f'; {why}' if why else ''}", value=value)


def judge_share(gate: Gate, failures: int | None, jobs: int | None, past: Sequence[Look] = (), why: str = "") -> Judged:
    """The verdict on failures among jobs, at fixed numbers of jobs alone; `past` are this stage's looks at the gate."""
    if failures is None or jobs is None:
        return Judged(gate=gate, verdict=NO_DATA, why=why or "no numbers")
    numbers = {"jobs": jobs, "failures": failures}
    if failures > jobs or failures < 0:
        return Judged(gate=gate, verdict=NO_DATA, why=f"{failures} failures of {jobs} jobs can't be", numbers=numbers)
    if past and jobs < past[-1].jobs * WENT_BACK:
        why = f"{jobs} jobs, but {past[-1].jobs} at the last look: the counter went back"
        return Judged(gate=gate, verdict=NO_DATA, why=why, numbers=numbers)
    counts = statistics.looks(gate.threshold)
    seen = f"{failures} of {jobs} jobs failed"
    value = failures / jobs if jobs else None
    if len(past) == len(counts) or jobs < counts[len(past)]:
        verdict, why = _between(gate, past, counts)
        return Judged(gate=gate, verdict=verdict, why=f"{seen}; {why}", value=value, numbers=numbers)
    verdict = _looked(gate.threshold, failures, jobs)
    if verdict == TOO_FEW and any(look.verdict == PASS for look in past):
        verdict = PASS
    look = Look(gate=gate.name, number=len(past) + 1, jobs=jobs, failures=failures, verdict=verdict)
    bound = statistics.upper_bound(failures, jobs, statistics.RISK / len(statistics.LOOKS))
    why = f"{seen}: at most {bound:.2%} do, must be below {gate.threshold:.2%}"
    return Judged(gate=gate, verdict=verdict, why=why, value=value, numbers=numbers, look=look)


def _between(gate: Gate, past: Sequence[Look], counts: Sequence[int]) -> tuple[Verdict, str]:
    """The verdict where no look is due: that of the last one."""
    if len(past) == len(counts):
        coming = "no look is left"
    else:
        coming = f"the next look is at {counts[len(past)]} jobs"
    return (past[-1].verdict, f"as at look {len(past)}, {coming}") if past else (TOO_FEW, coming)


def _looked(limit: float, failures: int, jobs: int) -> Verdict:
    """What a look at these numbers says: shown to lie below the limit, shown to lie above it, or neither."""
    risk = statistics.RISK / len(statistics.LOOKS)
    if statistics.tail(failures, jobs, limit) <= risk:
        return PASS
    if failures and statistics.tail(jobs - failures, jobs, 1 - limit) <= risk:
        return FAIL
    return TOO_FEW


def judge_ratio(gate: Gate, arrived: int | None, total: int | None, asked: float | None, why: str = "") -> Judged:
    """The verdict on whether the part of the jobs that was asked for (0 to 1) arrived."""
    if arrived is None or total is None or asked is None:
        return Judged(gate=gate, verdict=NO_DATA, why=why or "no numbers")
    numbers = {"arrived": arrived, "all": total}
    if arrived > total or arrived < 0:
        return Judged(gate=gate, verdict=NO_DATA, why=f"{arrived} of {total} jobs can't be", numbers=numbers)
    said = f"{arrived} of {total} jobs had the flag on, {asked:.3g} was asked"
    if total * min(asked, 1 - asked) < LEAST_EXPECTED:
        return Judged(gate=gate, verdict=TOO_FEW, why=said, numbers=numbers)
    off = statistics.mismatch(arrived, total, asked)
    why = f"{said}{': the jobs that are counted are not those that were chosen' if off else ''}"
    return Judged(gate=gate, verdict=FAIL if off else PASS, why=why, value=arrived / total, numbers=numbers)


_ON = (2, 3, 4, 5)
# What stops at once is what a stage does harm by: letters that pile up or are lost, jobs that hang.
DEFAULTS = {
    gate.name: gate
    for gate in (
        Gate(name="flags_on", kind=VALUE, stages=(0, 1), metric="flags_on", comparison="==", hard=True),
        Gate(name="health", kind=VALUE, stages=(1, *_ON), metric="health", comparison="=="),
        Gate(name="dlq_depth", kind=VALUE, stages=_ON, metric="dlq_depth", threshold=10, hard=True),
        Gate(name="lost_records", kind=VALUE, stages=_ON, metric="lost_records", comparison="==", hard=True),
        Gate(name="oldest_age", kind=VALUE, stages=_ON, metric="oldest_age", threshold=86400),
        Gate(name="stuck_jobs", kind=VALUE, stages=(4, 5), metric="stuck_jobs", comparison="==", window=300, hard=True),
        Gate(name="error_share", kind=SHARE, stages=(2, 4), threshold=0.05),
        Gate(name="error_share_all", kind=SHARE, stages=(3, 5), threshold=0.01),
    )
}


def of_stage(stage: int, gates: Mapping[str, Gate]) -> list[Gate]:
    """The gates of a stage."""
    return [gate for gate in gates.values() if stage in gate.stages]


def from_data(data: Mapping[str, Any]) -> Gate:
    """A gate as a plan holds it."""
    return Gate(**{**data, "stages": tuple(data["stages"])})


def from_settings(place: str, tables: Any) -> dict[str, Gate]:
    """The gates of a team: our own, as it changes them, and its own. Raises ConfigError: one line with the key."""
    if not isinstance(tables, dict):
        raise ConfigError(f"{place} must be a table of gates")
    found = dict(DEFAULTS)
    for name, table in tables.items():
        here = f"{place}.{name}"
        if not isinstance(table, dict):
            raise ConfigError(f"{here} must be a table")
        gate = _gate(here, name, table, DEFAULTS.get(name))
        _check(here, gate)
        found[name] = gate
    return found


def _gate(here: str, name: str, table: Mapping[str, Any], base: Gate | None) -> Gate:
    from ..selectors import nearest

    for key, value in table.items():
        if key not in _KEYS:
            hint = nearest(key, _KEYS) or f"; valid keys: {', '.join(_KEYS)}"
            raise ConfigError(f"{here} has an unknown key {key!r}{hint}")
        if not _KEYS[key][1](value):
            raise ConfigError(f"{here} {key} must be {_KEYS[key][0]}")
    said = {**(base.as_data() if base else {"stages": _ON}), **table}
    if "query" in table:
        said.pop("metric", None)
    said["stages"] = tuple(said["stages"])
    if said.get("metric") == OWN_SHARE:
        said = {**said, "metric": None, "kind": SHARE}
    kind = RATIO if "all" in said else SHARE if {"failed", "jobs"} & said.keys() else said.get("kind", VALUE)
    return Gate(**{**said, "name": name, "kind": kind})


def _check(here: str, gate: Gate) -> None:
    """Raises ConfigError where a gate says too little, or what does not go together."""
    if gate.kind == VALUE and (gate.metric is None) == (gate.query is None):
        raise ConfigError(f"{here} needs a metric or a query")
    if gate.kind == SHARE and not 0 < gate.threshold < 1:
        raise ConfigError(f"{here} threshold must lie between 0 and 1: the part of the jobs that may fail")
    if gate.kind == RATIO and not gate.arrived:
        raise ConfigError(f"{here} needs arrived beside all")


def _among(words: Iterable[Any]) -> tuple[str, Any]:
    known = tuple(words)
    return f"one of {', '.join(map(str, known))}", lambda value: isinstance(value, str) and value in known


_TEXT = "a query", lambda value: isinstance(value, str) and bool(value.strip())
_KEYS: dict[str, tuple[str, Any]] = {
    "metric": _among(OWN_METRICS),
    "query": _TEXT,
    "failed": _TEXT,
    "jobs": _TEXT,
    "arrived": _TEXT,
    "all": _TEXT,
    "comparison": _among(COMPARISONS),
    "threshold": ("a number", lambda value: type(value) in (int, float) and abs(value) < 10**15),
    "window": ("a number of seconds", lambda value: type(value) in (int, float) and 0 < value < 10**9),
    "hard": ("true or false", lambda value: isinstance(value, bool)),
    "stages": (
        "a list of stages, 0 to 5",
        lambda value: isinstance(value, list) and bool(value) and all(type(n) is int and 0 <= n <= 5 for n in value),
    ),
}

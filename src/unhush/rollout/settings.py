"""The table `[tool.unhush.rollout]` of pyproject.toml: what a team says of its roll-out."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..config import ConfigError, find_table
from ..selectors import nearest
from .errors import RolloutProblem
from .evidence import path_of
from .gates import DEFAULTS, Gate, from_settings

DATABASE_VARIABLE = "UNHUSH_DATABASE_URL"  # wins over the setting `url`
SOAK = 900  # seconds in each stage, at least
CHECK_TIMEOUT = 1800.0  # seconds
FORMATS = ("junit", "none")
RESERVED = frozenset(("handlers", "proof", "flags", "migrations", "dry_run", "files", "backout", "health", "watch"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check of the team's own: a command, and where it leaves its report.

    `minimum` is the least number of test cases that must have run (with format "junit"); `timeout` is in seconds.
    """

    name: str
    command: tuple[str, ...]
    report: str | None = None
    format: str = "none"
    minimum: int = 1
    timeout: float = CHECK_TIMEOUT


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSettings:
    """What holds for a project's roll-out; `root` is the folder of its pyproject.toml.

    `roles` maps a role to the persons who may have it (none named: whoever the list of signers gives it to). `soak` is
    in seconds. `gated` are the environments that need approvals, `production` always. `schedule` is free text by name,
    as the schedule shows it.
    """

    root: Path
    url: str | None = None
    staging_url: str | None = None
    base: str | None = None
    unsigned: bool = False
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    templates: str | None = None
    prometheus: str | None = None
    soak: int = SOAK
    gated: tuple[str, ...] = ("production",)
    gates: Mapping[str, Gate] = field(default_factory=lambda: DEFAULTS)
    schedule: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None
    escalation: str | None = None
    runbooks: str | None = None
    checks: Mapping[str, Check] = field(default_factory=dict)
    load: Mapping[str, Any] = field(default_factory=dict)


def load(folder: Path) -> RolloutSettings:
    """The settings that hold for a folder: those of the nearest pyproject.toml with a `[tool.unhush]` table.

    Without one the defaults hold, and the root is the project's. Raises ConfigError: one line with file and key.
    """
    file, table = find_table(str(folder.resolve()))
    if file is None:
        from .git import root_of

        return _with_environment(RolloutSettings(root=root_of(folder)), {})
    rollout = table.get("rollout", {})
    place = f"{file}: [tool.unhush.rollout]"
    if not isinstance(rollout, dict):
        raise ConfigError(f"{place} must be a table")
    return _with_environment(RolloutSettings(root=Path(file).parent), _fields(place, rollout, _KEYS))


def _with_environment(settings: RolloutSettings, values: dict[str, Any]) -> RolloutSettings:
    url = os.environ.get(DATABASE_VARIABLE)
    return replace(settings, **{**values, "url": url or values.get("url")})


def _fields(place: str, table: dict[str, Any], keys: Mapping[str, Callable[[str, Any], Any]]) -> dict[str, Any]:
    """The values of a table by field name. Raises ConfigError for the first key or value that is not valid."""
    found = {}
    for key, value in table.items():
        if key not in keys:
            hint = nearest(key, keys) or f"; valid keys: {', '.join(keys)}"
            raise ConfigError(f"{place} has an unknown key {key!r}{hint}")
        found[key.replace("-", "_")] = keys[key](f"{place} {key}", value)
    return found


def _text(place: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{place} must be a string that says something")
    return value


def _flag(place: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{place} must be true or false")
    return value


def _count(place: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ConfigError(f"{place} must be a whole number from 1 on")
    return value


def _seconds(place: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value < 10**9:
        raise ConfigError(f"{place} must be a number of seconds above 0")
    return float(value)


def _soak(place: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ConfigError(f"{place} must be a whole number of seconds")
    return value


def _words(place: str, value: Any) -> tuple[str, ...]:
    """A command: a list of its words, or a string that is split as a shell does; no shell runs it."""
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ConfigError(f"{place} can't be split into words: {error}") from error
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words) or not words[0]:
        raise ConfigError(f"{place} must be a command: a string, or a list of strings")
    return tuple(words)


def _texts(place: str, value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ConfigError(f"{place} must be a table of strings")
    return MappingProxyType({key: _text(f"{place}.{key}", text) for key, text in value.items()})


def _names(place: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise ConfigError(f"{place} must be a list of names")
    return ("production", *(name for name in value if name != "production"))


def _roles(place: str, value: Any) -> Mapping[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise ConfigError(f"{place} must be a table: a list of persons for each role")
    for role, persons in value.items():
        if not isinstance(persons, list) or not all(isinstance(person, str) and person for person in persons):
            raise ConfigError(f"{place}.{role} must be a list of persons")
    return MappingProxyType({role: tuple(persons) for role, persons in value.items()})


def _share(place: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ConfigError(f"{place} must be a number from 0 to 1")
    return float(value)


def _paths(place: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(path, str) and path[:1] == "/" for path in value):
        raise ConfigError(f"{place} must be a list of paths that begin with a slash")
    return tuple(value)


def _load(place: str, value: Any) -> Mapping[str, Any]:
    """How staging is loaded: jobs of the queue, and users of the address `host`."""
    if not isinstance(value, dict):
        raise ConfigError(f"{place} must be a table")
    return MappingProxyType(_fields(place, value, _LOAD_KEYS))


def _format(place: str, value: Any) -> str:
    if value not in FORMATS:
        raise ConfigError(f"{place} must be one of {', '.join(FORMATS)}")
    return str(value)


def _checks(place: str, value: Any) -> Mapping[str, Check]:
    if not isinstance(value, dict):
        raise ConfigError(f"{place} must be a table of checks")
    found = {}
    for name, table in value.items():
        here = f"{place}.{name}"
        if not isinstance(table, dict) or "command" not in table:
            raise ConfigError(f"{here} must be a table with a command")
        try:
            path_of(name)
        except RolloutProblem as error:
            raise ConfigError(f"{here}: {error.message}") from error
        fields = _fields(here, table, _CHECK_KEYS)
        if "/" in name or name in RESERVED:
            raise ConfigError(f"{here}: that name is taken by a check of unhush's own, or has a `/`; choose another")
        if (fields.get("format") == "junit") != ("report" in fields):
            raise ConfigError(f"{here}: format = 'junit' and report go together")
        found[name] = Check(name=name, **fields)
    return MappingProxyType(found)


_CHECK_KEYS: Mapping[str, Callable[[str, Any], Any]] = {
    "command": _words,
    "report": _text,
    "format": _format,
    "minimum": _count,
    "timeout": _seconds,
}
_LOAD_KEYS: Mapping[str, Callable[[str, Any], Any]] = {
    "jobs": _count,
    "concurrency": _count,
    "fail": _share,
    "p95-ms": _seconds,
    "host": _text,
    "paths": _paths,
    "users": _count,
    "seconds": _count,
    "minimum": _count,
    "error-share": _share,
    "http-p95-ms": _seconds,
    "locustfile": _text,
}
_KEYS: Mapping[str, Callable[[str, Any], Any]] = {
    "url": _text,
    "staging-url": _text,
    "base": _text,
    "unsigned": _flag,
    "roles": _roles,
    "templates": _text,
    "prometheus": _text,
    "soak": _soak,
    "gated": _names,
    "gates": from_settings,
    "schedule": _texts,
    "owner": _text,
    "escalation": _text,
    "runbooks": _text,
    "checks": _checks,
    "load": _load,
}

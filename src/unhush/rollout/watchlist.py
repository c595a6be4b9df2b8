"""The handlers that log what they ignore, as the code has them: what is to be watched after a release."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..codemods import engine
from ..codemods.backends import FAILURE
from ..codemods.discover import discover
from ..codemods.loggers import Loggers, module_loggers
from ..codemods.model import SEVERITY_RANK, FileError
from ..codemods.parsing import ParseFailure, parse
from ..codemods.plan import event_of
from ..codemods.project import Home
from ..codemods.settings import Settings
from ..codemods.source import DecodeFailure, Source
from ..config import load_settings
from ..runtime.ignored import ENDING
from . import git
from .errors import RolloutProblem
from .evidence import Evidence
from .settings import RolloutSettings

UNKNOWN = "unknown"  # the severity of a handler that no finding of the base tells of


@dataclass(frozen=True, slots=True)
class Call:
    """A log call of an ignored exception; `line` is 1-based. `logger` is empty where its name can't be told."""

    file: str
    line: int
    event: str
    logger: str
    level: str


def gather(root: Path, base: str | None) -> list[dict[str, Any]]:
    """The handlers to watch, those first that were worst; `base` is the revision that the change starts from.

    Read from the code itself as it lies there, so that the list holds whoever inserted the logging and whatever else was
    changed. Each has event, logger, level, severity (before), new (not in the base yet) and places (file, line). Raises
    RolloutProblem for a file that can't be read, or a base that git does not know: a list with gaps would lull.
    """
    settings = load_settings([str(root)])
    since = git.resolve(root, base) if base else None
    handlers: list[dict[str, Any]] = []
    for name, data in _files(root, settings):
        calls = list(calls_of(data, str(root / name), name))
        if calls:
            handlers += _grouped(calls, _before(root, name, since, settings))
    return sorted(
        handlers, key=lambda one: (-_rank(one["severity"]), one["event"], one["logger"], one["places"][0]["file"])
    )


def document(plan: Mapping[str, Any], records: Mapping[str, Evidence], rollout: RolloutSettings) -> str:
    """The watch list as a document of the roll-out. Raises RolloutProblem."""
    from ..reports.runbooks import WATCHLIST, render
    from .runbooks import facts, filled, templates_of

    handlers = gather(rollout.root, plan.get("base"))
    data = {**facts(rollout), "commit": plan.get("commit") or UNKNOWN, "handlers": handlers}
    return filled(lambda: render(WATCHLIST, data, templates_of(rollout)))


def calls_of(data: bytes, path: str, name: str) -> Iterator[Call]:
    """The log calls in a file whose constant event says that an exception was ignored. Raises RolloutProblem."""
    if ENDING.encode() not in data:
        return
    try:
        source = Source(data, path)
        tree = parse(source)
        loggers = module_loggers(source)
    except (DecodeFailure, ParseFailure) as failure:
        raise RolloutProblem(f"{name}: can't be parsed: {failure.reason}") from failure
    module = ".".join(Home.of(path, data).parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (event := _event(node)):
            assert isinstance(node.func, ast.Attribute)
            logger = _logger_name(loggers, node.func.value, module)
            yield Call(name, node.lineno, event, logger, node.func.attr)


def _files(root: Path, settings: Settings) -> Iterator[tuple[str, bytes]]:
    for item in discover([str(root)], settings):
        name = os.path.relpath(item.filename if isinstance(item, FileError) else item, root).replace(os.sep, "/")
        if isinstance(item, FileError):
            raise RolloutProblem(f"{name}: {item.reason}")
        try:
            yield name, engine.read(item)
        except OSError as error:
            raise RolloutProblem(f"{name}: can't be read: {error.strerror}") from error


def _event(call: ast.Call) -> str | None:
    """The event of a log method's call that says that an exception was ignored."""
    if not isinstance(call.func, ast.Attribute) or not call.args or not isinstance(call.args[0], ast.Constant):
        return None
    text = call.args[0].value
    if not isinstance(text, str):
        return None
    text = text.removesuffix(f" {FAILURE}")
    return text if text.endswith(ENDING) else None


def _logger_name(loggers: Loggers, head: ast.expr, module: str) -> str:
    """The name under which a logger's records come; empty where it can't be told."""
    if isinstance(head, ast.Call) and isinstance(head.func, ast.Attribute):  # loguru's `opt(...)`
        head = head.func.value
    backend = loggers.backend_of(head.id) if isinstance(head, ast.Name) else None
    binding = loggers.names.only(head.id) if isinstance(head, ast.Name) else None
    if backend in ("loguru", "structlog"):
        return module
    if backend != "stdlib" or binding is None:
        return ""
    value = getattr(binding.node, "value", None)
    argument = value.args[0] if isinstance(value, ast.Call) and value.args else None
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return argument.value
    return module if isinstance(argument, ast.Name) and argument.id == "__name__" else ""


def _before(root: Path, name: str, base: str | None, settings: Settings) -> dict[str, str]:
    """What the base says of a file: the severity of what would log as an event, and `""` for events it has already."""
    if base is None:
        return {}
    listed = git.git(root, "ls-tree", "-z", "--name-only", base, "--", name)
    if not listed:
        return {}
    data = git.git(root, "cat-file", "blob", f"{base}:./{name}")
    path = str(root / name)
    found = {call.event: "" for call in calls_of(data, path, f"{name} at {base[:12]}")}
    for finding in engine.check_bytes(data, path, settings).findings:
        event = event_of(finding.qualname)
        if _rank(finding.severity) > _rank(found.get(event, "")):
            found[event] = finding.severity
    return found


def _rank(severity: str) -> int:
    return SEVERITY_RANK.get(severity, -1)


def _grouped(calls: Iterable[Call], before: dict[str, str]) -> Iterator[dict[str, Any]]:
    """One entry for each event of a logger, with all its places."""
    groups: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        groups.setdefault((call.logger, call.event), []).append(call)
    for (logger, event), some in groups.items():
        yield {
            "event": event,
            "logger": logger,
            "level": some[0].level,
            "severity": before.get(event) or UNKNOWN,
            "new": before.get(event) != "",
            "places": [
                {key: value for key, value in asdict(call).items() if key in ("file", "line")}
                for call in sorted(some, key=lambda call: call.line)
            ],
        }

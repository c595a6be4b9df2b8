"""Evidence: the record of one check that was run, and the verdict, which is worked out anew each time it is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from . import store
from .errors import RolloutProblem

FOLDER = "rollout/evidence"
UNREADABLE = "unreadable"  # the kind of a record that could not be read
MISSING = "missing"  # the kind of a record that is not there

# For each kind, where its judge is: `module:function` of this package, called with the evidence and the root.
KINDS: dict[str, str] = {
    "command": "judges:command",
    "tests": "junit:judge",
    "handlers": "scans:judge",
    "proof": "proofs:judge",
    "flags": "flags_off:judge",
    "migrations": "idempotence:judge",
    "load": "load:judge",
    "http_load": "http_load:judge",
    "flags_on": "staging:judge_flags_on",
    "watch": "staging:judge_watch",
    "rehearsal": "rehearsal:judge",
    "dry_run": "dryrun.judge:judge",
    UNREADABLE: "judges:unusable",
    MISSING: "judges:unusable",
}

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*)?\Z")
_AHEAD = timedelta(minutes=5)  # by how much the clocks of two machines may differ

Status = Literal["pass", "fail", "no evidence"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a record says: only "pass" is green. `why` is one line. Never stored."""

    status: Status
    why: str

    @property
    def passed(self) -> bool:
        """Whether the check ran, did something, and found all in order."""
        return self.status == "pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One check that was run: facts alone, no verdict.

    `exit_code` is None where the command could not be run or did not end in time; `facts` then say why. `inputs` and
    `outputs` give the SHA-256 of files below the project's root, by posix path. Records of one run share `run_id`.
    Times are ISO 8601 in UTC.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    exit_code: int | None
    started_at: str
    ended_at: str
    run_id: str
    tool_version: str
    commit: str | None = None
    environment: str | None = None
    database: dict[str, Any] | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


KEYS = frozenset(item.name for item in fields(Evidence))


def now() -> str:
    """The time in the form of `started_at`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def path_of(name: str) -> str:
    """The file of a record, relative to the root. Raises RolloutProblem for a name that no record may have."""
    if not _NAME.match(name) or name.startswith("files/"):
        raise RolloutProblem(f"{name!r} is no name for evidence: lower case letters, digits, `-`, `_`, at most one `/`")
    return f"{FOLDER}/{name}.json"


def files_of(name: str) -> str:
    """The folder with a record's own files, relative to the root."""
    return f"{FOLDER}/files/{name}"


def write(root: Path, evidence: Evidence) -> None:
    """Writes a record in its place. Raises RolloutProblem where that fails, or the record breaks the form."""
    path = store.within(root, path_of(evidence.name))
    data = {**asdict(evidence), "command": list(evidence.command)}
    problem = _wrong(data, evidence.name)
    if problem:
        raise RolloutProblem(f"{evidence.name}: {problem}")
    store.write_json(path, data)


def read(root: Path, name: str) -> Evidence:
    """A record. One that is not there has the kind "missing", one that can't be used "unreadable". Never raises."""
    try:
        path = store.within(root, path_of(name))
        if not path.exists():
            return _unusable(name, MISSING, f"{FOLDER}/{name}.json is not there")
        data = store.read_json(path)
        problem = _wrong(data, name)
    except RolloutProblem as error:
        return _unusable(name, UNREADABLE, error.message)
    if problem:
        return _unusable(name, UNREADABLE, f"{FOLDER}/{name}.json: {problem}")
    return Evidence(**{**data, "command": tuple(data["command"])})


def read_all(root: Path) -> dict[str, Evidence]:
    """Every record by name, sorted; what can't be used has the kind "unreadable"."""
    folder = root / FOLDER
    paths = sorted({*folder.glob("*.json"), *folder.glob("*/*.json")})
    names = [path.relative_to(folder).as_posix().removesuffix(".json") for path in paths]
    return {name: read(root, name) for name in names if not name.startswith("files/")}


def verdict(evidence: Evidence, root: Path) -> Verdict:
    """What the record proves, worked out from exit code, counts, facts and files. Whatever a judge trips over is red."""
    if evidence.kind not in KINDS:
        return Verdict("no evidence", f"unknown kind {evidence.kind!r}; another version of unhush made it")
    try:
        return _files_differ(evidence, root) or judge_of(evidence.kind)(evidence, root)
    except Exception as error:  # noqa: BLE001 - a verdict that can't be reached must not end the report, and is red
        from ..runtime.telling import first_line

        return Verdict("fail", f"could not be judged: {type(error).__name__}: {first_line(error)}")


def judge_of(kind: str) -> Callable[[Evidence, Path], Verdict]:
    """The function that judges a kind; its module is imported now."""
    module, _, name = KINDS[kind].partition(":")
    judge: Callable[[Evidence, Path], Verdict] = getattr(import_module(f".{module}", __package__), name)
    return judge


def _files_differ(evidence: Evidence, root: Path) -> Verdict | None:
    """A verdict where a file of the record is not what it was, or not there."""
    for word, listed in (("output", evidence.outputs), ("input", evidence.inputs)):
        for name, digest in listed.items():
            try:
                if store.sha256_file(store.within(root, name)) != digest:
                    return Verdict("fail", f"{word} {name} is not the file that was seen: it changed since")
            except FileNotFoundError:
                return Verdict("no evidence", f"{word} {name} is not there any more")
            except (OSError, RolloutProblem) as error:
                return Verdict("fail", f"{word} {name} can't be used: {error}")
    return None


def _unusable(name: str, kind: str, why: str) -> Evidence:
    return Evidence(
        name=name,
        kind=kind,
        command=(),
        exit_code=None,
        started_at="",
        ended_at="",
        run_id="",
        tool_version="",
        facts={"why": " ".join(why.split())},
    )


def _wrong(data: Any, name: str) -> str | None:
    """What breaks the form of a record, in a few words; None where nothing does."""
    if not isinstance(data, dict) or data.keys() != KEYS:
        return "is not the record of a check (other keys)"
    if data["name"] != name:
        return f"says that it is {data['name']!r}"
    for key, fits in _FORM.items():
        if not fits(data[key]):
            return f"{key} is not what it should be"
    if data["ended_at"] < data["started_at"]:
        return "ended before it started"
    if datetime.fromisoformat(data["ended_at"]) > datetime.now(UTC) + _AHEAD:
        return "lies in the future"
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def _is_int(value: Any) -> bool:
    return type(value) is int


def _is_time(value: Any) -> bool:
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return False
    return at is not None and at.tzinfo is not None and at.isoformat(timespec="milliseconds") == value


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _are_hashes(value: Any) -> bool:
    return _is_table(value) and all(_is_text(digest) and store.SHA256.match(digest) for digest in value.values())


_FORM: dict[str, Callable[[Any], object]] = {
    "name": _is_line,
    "kind": _is_line,
    "command": lambda value: isinstance(value, (list, tuple)) and all(map(_is_text, value)),
    "exit_code": lambda value: value is None or _is_int(value),
    "started_at": _is_time,
    "ended_at": _is_time,
    "run_id": _is_line,
    "tool_version": _is_line,
    "commit": lambda value: value is None or _is_line(value),
    "environment": lambda value: value is None or _is_line(value),
    "database": lambda value: value is None or _is_table(value),
    "inputs": _are_hashes,
    "outputs": _are_hashes,
    "counts": lambda value: _is_table(value) and all(_is_int(count) and count >= 0 for count in value.values()),
    "facts": _is_table,
}

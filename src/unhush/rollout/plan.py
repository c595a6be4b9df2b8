"""The plan: what exactly is rolled out, and the digest to which approvals bind people."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..sql.files import DIALECTS, dialect_named, migrations
from ..version import __version__
from . import evidence, git, store
from .errors import Refused, RolloutProblem
from .settings import RolloutSettings

FILE = "rollout/plan.json"
SIGNERS = "rollout/allowed_signers"
SCHEMA = 1
ABSENT = "absent"  # in place of a file's hash
KEYS = frozenset(
    """schema plan_id created_at commit base tool_version migrations flags stages schedule documents allowed_signers
    evidence staging unsigned""".split()
)
_IDENTITY = ("plan_id", "created_at")
_TABLES = ("flags", "schedule", "documents", "evidence", "staging")

Plan = dict[str, Any]


def digest(plan: Mapping[str, Any]) -> str:
    """What approvals sign: the SHA-256 of the whole plan as canonical JSON."""
    return store.sha256_bytes(store.canonical(dict(plan)))


def read(root: Path) -> Plan:
    """The plan as it lies there. Raises Refused where there is none, RolloutProblem for one that was edited."""
    path = store.within(root, FILE)
    if not path.exists():
        raise Refused(f"there is no {FILE}: run `unhush rollout prepare`")
    plan: Plan = store.read_json(path)
    problem = _wrong(plan)
    if problem:
        raise RolloutProblem(f"{FILE}: {problem}; run `unhush rollout prepare`")
    if store.pretty(plan).encode() != path.read_bytes():
        raise RolloutProblem(f"{FILE}: was edited: it is not as unhush writes it; run `unhush rollout prepare`")
    return plan


def write(root: Path, plan: Plan) -> Plan:
    """Puts a plan in its place and returns it; one that says the same as before keeps its id, and so its approvals."""
    last = before(root)
    if last and _said(last) == _said(plan):
        return last
    store.write_json(store.within(root, FILE), plan)
    return plan


def draft(
    root: Path, settings: RolloutSettings, *, base: str, records: Iterable[str], staging: Iterable[str] = ()
) -> Plan:
    """A plan for HEAD without its documents, which are rendered from it. Raises RolloutProblem.

    `records` and `staging` name the evidence that it rests on. What the last plan drew by lot, the flags' salts, stays:
    other salts would give each percentage other jobs.
    """
    from . import stages

    last = before(root) or {}
    return {
        "schema": SCHEMA,
        "plan_id": str(uuid4()),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(root, last),
        "base": git.resolve(root, base),
        "tool_version": __version__,
        "migrations": list(_migrations(settings)),
        "flags": stages.flags(last.get("flags", {})),
        "stages": stages.planned(settings),
        "schedule": dict(settings.schedule),
        "documents": {},
        "allowed_signers": file_hash(root, SIGNERS),
        "evidence": record_hashes(root, records),
        "staging": record_hashes(root, staging),
        "unsigned": settings.unsigned,
    }


def _commit(root: Path, last: Mapping[str, Any]) -> str:
    """HEAD, or the last plan's commit where HEAD differs from it by files alone that the roll-out makes."""
    try:
        return str(last["commit"]) if last and git.same_source(root, last["commit"], "HEAD") else git.head(root)
    except RolloutProblem:  # a commit that was rewritten since
        return git.head(root)


def differences(root: Path, plan: Mapping[str, Any]) -> list[str]:
    """A line for each thing of the plan that is not as the plan says any more; none where it stands.

    Raises RolloutProblem where git does not know the plan's commits.
    """
    return [*source_differences(root, plan), *file_differences(root, plan)]


def source_differences(root: Path, plan: Mapping[str, Any]) -> list[str]:
    """The same for code, tool and migrations. Raises RolloutProblem."""
    return list(_source_differences(root, plan))


def file_differences(root: Path, plan: Mapping[str, Any], *, but: Container[str] = ()) -> list[str]:
    """The same for the files of which the plan holds a hash, without those named in `but`. Raises RolloutProblem."""
    seen = {**plan["documents"], SIGNERS: plan["allowed_signers"]}
    seen |= {evidence.path_of(name): known for part in ("evidence", "staging") for name, known in plan[part].items()}
    now = {path: file_hash(root, path) for path in seen if path not in but}
    return [
        f"{path} {'is not there' if there == ABSENT else 'is not the one of the plan: it changed'}"
        for path, there in now.items()
        if there != seen[path]
    ]


def _source_differences(root: Path, plan: Mapping[str, Any]) -> Iterator[str]:
    if plan["tool_version"] != __version__:
        yield f"the plan is of unhush {plan['tool_version']}, this is {__version__}"
    git.resolve(root, plan["base"])
    for name in git.changed(root, git.resolve(root, plan["commit"]), git.head(root)):
        yield f"{name} changed after the plan's commit {plan['commit'][:12]}"
    for name in git.dirty(root):
        yield f"{name} is not as committed"
    for step in plan["migrations"]:
        yield from _step_differs(step)


def _step_differs(step: Mapping[str, Any]) -> Iterator[str]:
    known = {one.label: one for one in migrations(step["dialect"])}
    found = known.get(step["label"])
    place = f"{step['label']} ({step['dialect']}) is not that of the plan"
    if not found or found.checksum != step["sha256"]:
        yield f"migration {place}"
    if not found or _sha256(found.backout.data) != step["backout_sha256"]:
        yield f"backout of migration {place}"


def file_hash(root: Path, path: str) -> str:
    """The SHA-256 of a file of the project, or "absent". Raises RolloutProblem for a link or a path that leads out."""
    try:
        return store.sha256_file(store.within(root, path))
    except FileNotFoundError:
        return ABSENT
    except OSError as error:
        raise RolloutProblem(f"{path}: can't be read: {error.strerror}") from error


def record_hashes(root: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each record's file by the record's name."""
    return {name: file_hash(root, evidence.path_of(name)) for name in sorted(set(names))}


def _migrations(settings: RolloutSettings) -> Iterator[dict[str, Any]]:
    for dialect in dialects(settings):
        for step in migrations(dialect):
            if not step.apart:
                yield {
                    "label": step.label,
                    "dialect": dialect,
                    "sha256": step.checksum,
                    "backout_sha256": _sha256(step.backout.data),
                    # Each has a backout, which drops the tables that the migration made.
                    "reversible": "with loss of the rows written since",
                }


def dialects(settings: RolloutSettings) -> tuple[str, ...]:
    """The kinds of database that the roll-out is for: that of the settings' URL, or all where there is none."""
    if settings.url is None:
        return DIALECTS
    from ..database import database_url

    return (dialect_named(database_url(settings.url).get_backend_name()),)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def before(root: Path) -> Plan | None:
    """The plan that lies there, where it can be used."""
    try:
        return read(root)
    except (Refused, RolloutProblem):
        return None


def _said(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plan.items() if key not in _IDENTITY}


def _wrong(plan: Any) -> str | None:
    """What breaks the form of a plan, in a few words; None where nothing does."""
    if not isinstance(plan, dict) or plan.keys() != KEYS:
        return "is no plan of this version"
    if type(plan["schema"]) is not int or plan["schema"] != SCHEMA:
        return f"has schema {plan['schema']!r}, this version knows {SCHEMA}"
    for key in _TABLES:
        if not isinstance(plan[key], dict):
            return f"{key} is no table"
    for key in ("documents", "evidence", "staging"):
        if not all(isinstance(seen, str) and store.SHA256.match(seen) for seen in plan[key].values()):
            return f"{key} holds what is no SHA-256"
    if not isinstance(plan["migrations"], list) or not isinstance(plan["stages"], list):
        return "migrations and stages are no lists"
    if type(plan["unsigned"]) is not bool:
        return "unsigned is neither true nor false"
    texts = ("plan_id", "created_at", "commit", "base", "tool_version", "allowed_signers")
    return next((f"{key} is no text" for key in texts if not isinstance(plan[key], str)), None)

"""Migrations are idempotent: up, up again, down, up on a scratch database leave the same catalogue."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..database import database, database_url
from ..output import Failure
from ..runtime.redact import redact_text
from ..sql.errors import SchemaProblem
from ..sql.files import dialect_named
from ..version import __version__
from . import checks, evidence, git, store
from .errors import Refused
from .evidence import Evidence, Verdict

if TYPE_CHECKING:
    from sqlalchemy import Engine

NAME = "migrations"
STEPS = (
    ("up", "upgrade"),
    ("up again", "upgrade"),
    ("down", "downgrade --to 0 --yes"),
    ("up once more", "upgrade"),
    ("down at the end", "downgrade --to 0 --yes"),
)
_UP = ("up", "up again", "up once more")


def gather(root: Path, wanted: Iterable[str], scratch: str | None, run_id: str) -> Evidence:
    """Tries the migrations on a SQLite file and, where one is given, on an empty scratch database.

    `wanted` are the dialects of the roll-out. Writes the record "migrations". Raises Refused for a scratch database
    that holds tables of unhush, Failure for one that can't be reached.
    """
    started = evidence.now()
    with tempfile.TemporaryDirectory(prefix="unhush-scratch-") as folder:
        urls = [f"sqlite:///{folder}/scratch.db", *([scratch] if scratch else [])]
        try:
            tried = [_try(url) for url in urls]
        except Failure as error:
            raise type(error)(error.message.replace("--url", "--scratch")) from error
    output = checks.keep(root, NAME, "steps.json", store.pretty(tried).encode())
    codes = [step["exit_code"] for one in tried for step in one["steps"]]
    record = Evidence(
        name=NAME,
        kind="migrations",
        command=("unhush", "db", "upgrade"),
        exit_code=max(codes),
        started_at=started,
        ended_at=evidence.now(),
        run_id=run_id,
        tool_version=__version__,
        commit=git.head(root),
        database={"tried": [one["database"] for one in tried]},
        outputs=store.hashes(root, [output]),
        counts={"databases": len(tried), "steps": len(codes)},
        facts={"wanted": sorted(wanted)},
    )
    evidence.write(root, record)
    return record


def judge(record: Evidence, root: Path) -> Verdict:
    """Green where on each wanted kind of database all steps ended with 0, and each "up" left the same catalogue."""
    path = f"{evidence.files_of(NAME)}/steps.json"
    if path not in record.outputs:
        return Verdict("no evidence", "the record holds no steps")
    tried = store.read_json(store.within(root, path))
    for one in tried:
        if problem := _problem(one):
            return Verdict("fail", f"{one['dialect']}: {problem}")
    seen = {one["dialect"] for one in tried}
    if lacking := sorted(set(record.facts["wanted"]) - seen):
        return Verdict("no evidence", f"not tried on {lacking[0]}: give an empty scratch database with --scratch URL")
    return Verdict("pass", f"up, up, down, up leave the same catalogue on {', '.join(sorted(seen))}")


def _problem(one: dict[str, Any]) -> str | None:
    steps = {step["step"]: step for step in one["steps"]}
    for name, _ in STEPS:
        if name not in steps:
            return f"{name!r} was not tried"
        if steps[name]["exit_code"] != 0:
            return f"{name!r} ended with exit code {steps[name]['exit_code']}"
    first, *others = (steps[name]["catalogue"] for name in _UP)
    if not first or any(other != first for other in others):
        return "the catalogue is another one after the second or third 'up'"
    if (
        steps["down"]["catalogue"] in (first, None)
        or steps["down"]["catalogue"] != steps["down at the end"]["catalogue"]
    ):
        return "'down' does not take back what 'up' made"
    return None


def _try(url: str) -> dict[str, Any]:
    """Takes the steps on one database, until one fails: what each said, and the catalogue after it."""
    from ..sql.urls import shown

    parsed = database_url(url)
    with database(url, create=True) as engine:
        _demand_empty(engine)
        steps: list[dict[str, Any]] = []
        for name, words in STEPS:
            steps.append({"step": name, "command": f"unhush db {words}", **_step(engine, words)})
            if steps[-1]["exit_code"]:
                break
        version = ".".join(map(str, engine.dialect.server_version_info or ())) or "unknown"
    dialect = dialect_named(parsed.get_backend_name())
    where = {"url": "a new file" if dialect == "sqlite" else shown(parsed), "dialect": dialect, "server": version}
    return {"dialect": dialect, "database": where, "steps": steps}


def _step(engine: Engine, words: str) -> dict[str, Any]:
    """What the command of these words does, and the exit code that it would end with."""
    from ..sql import runner

    try:
        done = runner.upgrade(engine) if words == "upgrade" else runner.downgrade(engine, 0)
    except SchemaProblem as problem:
        return {"exit_code": 1, "said": redact_text(str(problem)), "catalogue": None}
    with engine.connect() as connection:
        found = runner.fingerprint(connection)
    return {"exit_code": 0, "said": ", ".join(step.label for step in done) or "nothing", "catalogue": found}


def _demand_empty(engine: Engine) -> None:
    from ..sql.runner import status

    found = status(engine)
    if found.current or found.applied:
        raise Refused("--scratch: that database holds tables of unhush; give an empty one, for they would be dropped")

"""The way back, rehearsed: flags OFF and seen OFF by another process, the schema taken back and put there again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..runtime.redact import redact_text
from ..version import __version__
from . import checks, evidence, figures, git, store
from .evidence import Evidence, Verdict
from .flag_probe import FLAGS
from .flag_watch import READY

NAME = "staging/rehearsal"
OBEYED = 5.0  # seconds within which every process must see an OFF
PATIENCE = 300.0  # seconds for a step
STEPS = (
    ("flags off", "rollout rollback --reason rehearsal"),
    ("flags off again", "rollout rollback --reason rehearsal"),
    ("schema back", "db downgrade --to 0 --yes"),
    ("schema back again", "db downgrade --to 0 --yes"),
    ("schema there again", "db upgrade"),
    ("all is well", "db status"),
)
_FILE = "steps.json"


def gather(root: Path, *, run_id: str, url: str, environment: str) -> Evidence:
    """Takes the way back on a database that is not production, and forward again; writes the record.

    Letters that nobody dealt with hold it: they are not dropped. Raises RolloutProblem where the record can't be written.
    """
    started = evidence.now()
    env = {"UNHUSH_DATABASE_URL": url}
    watcher = _watch(root, env)
    steps = [_step(root, env, *STEPS[0])]
    seen = _seen(watcher)
    for step in STEPS[1:]:
        if steps[-1]["exit_code"] != 0:
            break
        steps.append(_step(root, env, *step))
    data = {"steps": steps, "on_before": seen.get("on", {}), "jobs": seen.get("jobs", 0)}
    data["off_after"] = seen.get("off_after")
    path = checks.keep(root, NAME, _FILE, store.pretty(data).encode())
    record = Evidence(
        name=NAME,
        kind="rehearsal",
        command=("unhush", "rollout", "rollback"),
        exit_code=0,
        started_at=started,
        ended_at=evidence.now(),
        run_id=run_id,
        tool_version=__version__,
        commit=git.head(root),
        environment=environment,
        outputs=store.hashes(root, [path]),
        counts=counts_of(data),
    )
    evidence.write(root, record)
    return record


def judge(record: Evidence, root: Path) -> Verdict:
    """Green where flags that were on were seen OFF in time, and the schema went and came, each step run twice."""
    path = f"{evidence.files_of(NAME)}/{_FILE}"
    if red := figures.wrong(root, record, path, counts_of):
        return red
    data = store.read_json(store.within(root, path))
    for step in data["steps"]:
        if step["exit_code"] != 0:
            return Verdict("fail", f"{step['step']}: {step['said'] or 'it could not be run'}")
    if [step["step"] for step in data["steps"]] != [name for name, _ in STEPS]:
        return Verdict("no evidence", "not every step was taken")
    if not data["jobs"] or any(data["on_before"].get(flag) != data["jobs"] for flag in FLAGS):
        return Verdict("no evidence", "the flags were not on before, so that nobody could see them go off")
    if data["off_after"] is None or data["off_after"] > OBEYED:
        seen = "not seen" if data["off_after"] is None else f"seen after {data['off_after']:g} s"
        return Verdict("fail", f"OFF was {seen} by another process, {OBEYED:g} s are allowed")
    return Verdict(
        "pass", f"OFF was seen by another process after {data['off_after']:g} s; schema back and there again"
    )


def counts_of(data: Mapping[str, Any]) -> dict[str, int]:
    """Steps that were taken, and those that ended with 0."""
    return {"steps": len(data["steps"]), "passed": sum(step["exit_code"] == 0 for step in data["steps"])}


def _step(root: Path, env: Mapping[str, str], name: str, words: str) -> dict[str, Any]:
    ran = checks.execute([sys.executable, "-m", "unhush", *words.split()], root, PATIENCE, env)
    lines = redact_text(ran.output.decode("utf-8", "replace")).strip().splitlines()
    said = ran.why or (lines[-1] if lines else "")
    return {"step": name, "command": f"unhush {words}", "exit_code": ran.exit_code, "said": said[:300]}


def _watch(root: Path, env: Mapping[str, str]) -> subprocess.Popen[str]:
    """A process that asks the flags, once it has asked them for the first time."""
    import os

    watcher = subprocess.Popen(
        [sys.executable, "-m", "unhush.rollout.flag_watch", "--until-off", str(OBEYED * 6)],
        cwd=root,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert watcher.stdout is not None
    for line in watcher.stdout:
        if line.strip() == READY:
            break
    return watcher


def _seen(watcher: subprocess.Popen[str]) -> dict[str, Any]:
    """What the process saw; nothing where it broke."""
    said, _ = watcher.communicate()
    lines = said.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}

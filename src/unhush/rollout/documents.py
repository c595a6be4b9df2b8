"""The documents of a roll-out: each is rendered from the plan and the evidence, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..output import Failure
from . import store
from .errors import RolloutProblem
from .evidence import Evidence
from .settings import RolloutSettings

Renderer = Callable[[Mapping[str, Any], Mapping[str, Evidence], RolloutSettings], str]

# By path, `module:function` of the package unhush. Covered documents are rendered from the plan without its documents,
# and their hashes stand in the plan: approvals cover them. Status documents are rendered from the whole plan.
COVERED: dict[str, str] = {
    **{
        f"runbooks/{name}.md": f"rollout.runbooks:{name}"
        for name in ("dlq_growing", "stuck_jobs", "roll_back", "watchdog_silent", "spool_in_use", "ignored_exceptions")
    },
    "runbooks/first_24h_watchlist.md": "rollout.watchlist:document",
    "runbooks/unhush.rules.yml": "rollout.runbooks:rules",
    "migration/operator_instructions.md": "rollout.papers:operator_instructions",
    "rollout/schedule.md": "rollout.papers:schedule",
    "backout_command.txt": "rollout.papers:backout_command",
    "verification/health_check_script.sh": "rollout.papers:health_check_script",
    "canary/ci/canary_rollout.sh": "rollout.papers:canary_rollout",
}
STATUS: dict[str, str] = {
    "verification/final_verification.md": "rollout.papers:final_verification",
    "verification/rollout_checklist.md": "rollout.papers:rollout_checklist",
    "verification/load_test.md": "rollout.papers:load_test",
    "verification/load_latency.svg": "rollout.papers:load_picture",
    "rollout/pull_request.md": "rollout.papers:pull_request",
}

_UNKNOWN = ("documents", "plan_id", "created_at")  # not known yet when covered documents are rendered


def covered(plan: Mapping[str, Any], records: Mapping[str, Evidence], settings: RolloutSettings) -> dict[str, str]:
    """The text of each covered document by path; of the plan only what is known before them counts."""
    body = {key: value for key, value in plan.items() if key not in _UNKNOWN}
    return {path: _renderer(place)(body, records, settings) for path, place in COVERED.items()}


def status(plan: Mapping[str, Any], records: Mapping[str, Evidence], settings: RolloutSettings) -> dict[str, str]:
    """The text of each status document by path."""
    return {path: _renderer(place)(plan, records, settings) for path, place in STATUS.items()}


def write(root: Path, texts: Mapping[str, str]) -> dict[str, str]:
    """Puts documents in their places, scripts executable, and returns the SHA-256 of each by path. Raises RolloutProblem."""
    for path, text in texts.items():
        mode = store.EXECUTABLE if path.endswith(".sh") else store.MODE
        store.write_text(store.within(root, path), text, mode)
    return {path: store.sha256_bytes(text.encode()) for path, text in texts.items()}


def differences(root: Path, texts: Mapping[str, str]) -> list[str]:
    """A line for each document that is not, byte for byte, what is rendered now. Raises RolloutProblem."""
    return [line for path, text in texts.items() if (line := _difference(root, path, text))]


def _difference(root: Path, path: str, text: str) -> str | None:
    try:
        there = store.within(root, path).read_bytes()
    except FileNotFoundError:
        return f"{path} is not there: run `unhush rollout prepare`"
    except OSError as error:
        raise RolloutProblem(f"{path}: can't be read: {error.strerror}") from error
    if there == text.encode():
        return None
    return f"{path} is not what the evidence gives: it was edited, or something changed since it was rendered"


def _renderer(place: str) -> Renderer:
    if not find_spec("jinja2"):
        raise Failure("jinja2 is not installed: pip install 'unhush[rollout]'")
    module, _, name = place.partition(":")
    found: Renderer = getattr(import_module(f"unhush.{module}"), name)
    return found

"""Flags seen OFF: asked in a process of its own, with the environment as it is and without their database."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from . import checks, evidence, store
from .errors import RolloutProblem
from .evidence import Evidence, Verdict
from .flag_probe import FLAGS, HERE, NOWHERE

NAME = "flags"
PATIENCE = 120.0  # seconds
COMMAND = (sys.executable, "-m", "unhush.rollout.flag_probe")
_SHOWN = ("python", *COMMAND[1:])


def gather(root: Path, run_id: str) -> Evidence:
    """Asks the flags, and writes the record "flags". Raises RolloutProblem where it can't be written."""
    return checks.run(NAME, "flags", COMMAND, root, run_id=run_id, timeout=PATIENCE, counted=_counts, shown=_SHOWN)


def judge(record: Evidence, root: Path) -> Verdict:
    """Green where each flag was asked in both situations and was off for every job."""
    from .judges import not_ended

    if ended := not_ended(record):
        return ended
    path = f"{evidence.files_of(NAME)}/output.txt"
    if path not in record.outputs:
        raise RolloutProblem("the record holds no output")
    counts = _counts(store.within(root, path).read_bytes())
    if not counts:
        return Verdict("no evidence", "the flags were not asked")
    if counts != record.counts:
        return Verdict("fail", "the record's counts are not those of the output that it holds")
    if on := [name.removeprefix("on_") for name, count in counts.items() if name.startswith("on_") and count]:
        return Verdict("fail", f"{', '.join(on)} is on for some jobs")
    return Verdict(
        "pass", f"{', '.join(FLAGS)} off for all {counts['jobs']} jobs asked about, with and without a database"
    )


def _counts(output: bytes) -> dict[str, int]:
    """How many jobs were asked about, and for how many each flag was on; empty where not all was asked."""
    try:
        seen: Any = json.loads(output.splitlines()[-1])
        counts = {"jobs": int(seen["jobs"])}
        for key in FLAGS:
            counts[f"on_{key}"] = sum(int(seen["on"][place][key]) for place in (HERE, NOWHERE))
    except (ValueError, KeyError, TypeError, IndexError):  # what is printed then says nothing of the flags
        return {}
    return counts if counts["jobs"] > 0 else {}

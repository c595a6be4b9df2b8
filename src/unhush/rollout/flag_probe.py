"""Prints as one line of JSON what the flags say here and now, and where their database can't be reached.

Run as `python -m unhush.rollout.flag_probe`: in a process of its own, which sees the environment as a service would.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from ..runtime.flags import PROBE, Flag

FLAGS = ("DLQ_ENABLED", "JOB_HEARTBEAT")
JOBS = 200  # jobs that are asked about, so that a percentage is seen
NOWHERE = "an unreachable database"
HERE = "the environment as it is"


def seen() -> dict[str, dict[str, int]]:
    """For each situation and flag, for how many of the jobs it is on."""
    import structlog
    from openfeature import api

    from ..runtime.flag_provider import DatabaseFlags

    # That the database is lost is what is tried here; the last line must be the JSON.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    found = {HERE: _on()}
    with tempfile.TemporaryDirectory() as folder:
        provider = DatabaseFlags(f"sqlite:///{Path(folder, 'is', 'not', 'there.db')}")
        api.set_provider(provider, "unhush")
        found[NOWHERE] = _on()
        provider.shutdown()
    return found


def _on() -> dict[str, int]:
    jobs = [None, PROBE, *(f"job-{number}" for number in range(JOBS))]
    return {key: sum(flag.on(job) for job in jobs) for key in FLAGS for flag in [Flag(key)]}


if __name__ == "__main__":
    print(json.dumps({"jobs": JOBS + 2, "on": seen()}, sort_keys=True), flush=True)

"""A load on the HTTP side, made by Locust: 100 users by default, on the service's own paths or by its own locust file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import checks, evidence, figures, store
from .errors import Refused
from .evidence import Evidence, Verdict
from .figures import BadFigures
from .judges import not_ended

USERS, SECONDS, P95_MS, ERRORS = 100, 20, 500.0, 0.01
FILE = str(Path(__file__).with_name("locustfile.py"))
_STATS = "requests.json"
_GRACE = 60.0  # seconds beyond the run, for its start and end


def gather(
    root: Path,
    name: str,
    *,
    run_id: str,
    host: str,
    paths: Sequence[str] = ("/",),
    users: int = USERS,
    seconds: int = SECONDS,
    p95_ms: float = P95_MS,
    error_share: float = ERRORS,
    minimum: int | None = None,
    locustfile: str | None = None,
    environment: str | None = None,
) -> Evidence:
    """Loads `host` for so many seconds, and writes the record of kind "http_load".

    `minimum` is the least number of requests that tells something, one for each user by default. Raises Refused without
    Locust, RolloutProblem where the record can't be written.
    """
    if find_spec("locust") is None:
        raise Refused("locust is not installed: pip install 'unhush[load]'")
    stats = f"{evidence.files_of(name)}/{_STATS}"
    file = locustfile or FILE
    words = f"--headless --only-summary --users {users} --spawn-rate {users} --run-time {seconds}s --json-file"
    path = store.within(root, stats)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    # Locust puts `.json` behind the name that it is given.
    options = [*words.split(), stats.removesuffix(".json"), "--exit-code-on-error", "0", "--host", host]
    shown = ["locust", "-f", Path(file).name, *options]
    record = checks.run(
        name,
        "http_load",
        [sys.executable, "-m", "locust", "-f", file, *options],
        root,
        run_id=run_id,
        timeout=seconds + _GRACE,
        shown=shown,
        facts={"p95_ms": p95_ms, "error_share": error_share, "minimum": users if minimum is None else minimum},
        environment=environment,
        env={"UNHUSH_LOAD_PATHS": json.dumps(list(paths))},
    )
    return figures.taken(root, record, stats, counts_of)


def judge(record: Evidence, root: Path) -> Verdict:
    """Green where enough requests were answered, few enough failed, and 95% of them were fast enough."""
    path = f"{evidence.files_of(record.name)}/{_STATS}"
    if red := not_ended(record) or figures.wrong(root, record, path, counts_of):
        return red
    facts, counts = record.facts, record.counts
    requests = counts["requests"]
    if requests < max(1, int(facts["minimum"])):
        return Verdict("no evidence", f"{requests} requests, at least {max(1, int(facts['minimum']))} are asked for")
    if counts["failures"] > requests * float(facts["error_share"]):
        return Verdict("fail", f"{counts['failures']} of {requests} requests failed")
    if counts["p95_ms"] > float(facts["p95_ms"]):
        return Verdict("fail", f"95% of requests took up to {counts['p95_ms']} ms, more than {facts['p95_ms']:g} ms")
    return Verdict("pass", f"{requests} requests, {counts['failures']} failed, 95% within {counts['p95_ms']} ms")


def counts_of(data: Any) -> dict[str, int]:
    """Requests, failures and the response time in ms below which 95% lie, over all of Locust's entries.

    Raises BadFigures where the totals are not those of the parts.
    """
    times: dict[float, int] = {}
    requests = failures = 0
    for entry in data:
        if entry["num_requests"] != sum(entry["num_reqs_per_sec"].values()):
            raise BadFigures("Locust's totals are not those of its seconds")
        requests += int(entry["num_requests"])
        failures += int(entry["num_failures"])
        for took, times_seen in entry["response_times"].items():
            times[float(took)] = times.get(float(took), 0) + int(times_seen)
    if sum(times.values()) > requests:
        raise BadFigures("Locust's figures hold more response times than requests")
    return {"requests": requests, "failures": failures, "p95_ms": _percentile(times, 0.95)}


def _percentile(times: dict[float, int], share: float) -> int:
    left = sum(times.values()) * share
    for took in sorted(times):
        left -= times[took]
        if left <= 0:
            return round(took)
    return 0

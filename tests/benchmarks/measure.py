"""Runs commands and says what they cost, the processes that they start included."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of wall and of CPU, megabytes of the biggest process, exit status."""

    wall: float
    cpu: float
    megabytes: float
    status: int


def run(command: Sequence[str], limit: float | None = None) -> Cost:
    """Runs a command to its end, its output thrown away; a command that takes longer than `limit` seconds is killed."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    if limit is not None:
        deadline = begun + limit
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if time.perf_counter() > deadline:
                process.kill()
            time.sleep(0.005)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begun
    scale = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / scale, process.returncode)


def interleaved(
    commands: Mapping[str, Sequence[str]], runs: int, prepare: Callable[[str], None] = lambda name: None
) -> dict[str, Cost]:
    """The median cost of each command over a number of rounds, in each of which every command runs once."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            prepare(name)
            costs[name].append(run(command))
    return {name: _median(found) for name, found in costs.items()}


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        median(cost.wall for cost in costs),
        median(cost.cpu for cost in costs),
        median(cost.megabytes for cost in costs),
        max(cost.status for cost in costs),
    )

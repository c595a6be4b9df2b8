"""Processes of their own in which `heartbeat.py` measures, so that nothing else runs in them. Each prints JSON."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Self

import structlog
from sqlalchemy import Engine, event

from unhush.runtime import Heartbeats, Watchdog
from unhush.runtime.beater import Beater
from unhush.runtime.engine import make_engine

NEVER = 86_400.0  # seconds
DELAYS = ("p50", "p99", "p99.9", "worst")


def child(what: str, *arguments: object) -> Any:
    """What a process measures."""
    command = [sys.executable, str(Path(__file__)), what, *map(str, arguments)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


class Statements:
    """Counts an engine's statements and transactions within a block."""

    def __init__(self, engine: Engine) -> None:
        self.statements = self.transactions = 0
        self._engine = engine

    def __enter__(self) -> Self:
        event.listen(self._engine, "before_cursor_execute", self._statement)
        event.listen(self._engine, "begin", self._transaction)
        return self

    def __exit__(self, *error: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._statement)
        event.remove(self._engine, "begin", self._transaction)

    def _statement(self, *arguments: object) -> None:
        self.statements += 1

    def _transaction(self, *arguments: object) -> None:
        self.transactions += 1


def watch(url: str, seconds: str, every: str) -> dict[str, float]:
    """A watchdog that finds all well, for so many seconds after its first run."""
    engine = make_engine(url)
    pids: set[int] = set()
    event.listen(engine, "checkout", lambda connection, *rest: pids.add(connection.info.backend_pid))
    watchdog = Watchdog(engine, stuck_after=float(every) * 4)
    watchdog.run_once()
    with Statements(engine) as counted:
        before = time.process_time(), sum(map(_cpu_of, pids))
        threading.Timer(float(seconds) - float(every) / 2, watchdog.stop).start()
        watchdog.run()
        cpu, server = time.process_time() - before[0], sum(map(_cpu_of, pids)) - before[1]
    runs = round(float(seconds) / float(every))
    numbers = {"statements": counted.statements, "transactions": counted.transactions, "runs": runs}
    return {"cpu": cpu, "server_cpu": server, **numbers}


def _cpu_of(pid: int) -> float:
    """CPU seconds of another process; nan where this system, or another host, doesn't tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loop(url: str, jobs: str, every: str, kind: str, rounds: str) -> dict[str, dict[str, float]]:
    """How late an event loop is in phases with and without beats, which take turns."""
    return asyncio.run(_loop(url, int(jobs), float(every), _idle if kind == "idle" else _busy, int(rounds)))


async def _loop(
    url: str, jobs: int, every: float, probe: Callable[[float, list[float]], Any], rounds: int
) -> dict[str, dict[str, float]]:
    phases: dict[str, list[dict[str, float]]] = {"off": [], "on": [], "off again": []}
    heartbeats = Heartbeats(url, every=every, patience=60)
    async with AsyncExitStack() as stack:
        for number in range(jobs):
            await stack.enter_async_context(heartbeats.job(number, kind=f"loop {os.getpid()}"))
        assert heartbeats._beater is not None
        for turn in range(rounds):
            for phase, found in list(phases.items())[:: 1 if turn % 2 else -1]:
                _turn(heartbeats._beater, phase == "on")
                await asyncio.sleep(0.02)
                delays: list[float] = []
                await probe(time.monotonic() + every, delays)
                found.append(_quantiles(delays))
        stack.pop_all()  # the database is dropped: ends need not be written
    heartbeats.close()
    found = {phase: {name: median(one[name] for one in all) for name in DELAYS} for phase, all in phases.items()}
    return found | {"added": _added(phases["on"], phases["off"]), "noise": _added(phases["off again"], phases["off"])}


def _added(more: Sequence[dict[str, float]], less: Sequence[dict[str, float]]) -> dict[str, float]:
    """How much more one phase has than its neighbour, by the median of all pairs."""
    return {name: median(one[name] - other[name] for one, other in zip(more, less, strict=True)) for name in DELAYS}


def _turn(beater: Beater, on: bool) -> None:
    """Has the beats go on, or come no more."""
    with beater._awake:
        beater._next_beat = time.monotonic() + (0.1 if on else NEVER)
        beater._awake.notify()


async def _idle(until: float, found: list[float]) -> None:
    """A loop that mostly sleeps: how much later than asked it wakes."""
    while (begun := time.perf_counter()) and time.monotonic() < until:
        await asyncio.sleep(0.001)
        found.append((time.perf_counter() - begun - 0.001) * 1000)


async def _busy(until: float, found: list[float]) -> None:
    """A loop that never sleeps: how long a call that is ready waits for its turn."""
    while (begun := time.perf_counter()) and time.monotonic() < until:
        await asyncio.sleep(0)
        found.append((time.perf_counter() - begun) * 1000)


def _quantiles(found: list[float]) -> dict[str, float]:
    cuts = quantiles(found, n=1000)
    return dict(zip(DELAYS, (cuts[499], cuts[989], cuts[998], max(found)), strict=True))


def many(url: str, jobs: str) -> dict[str, float]:
    """Many jobs in one process: memory, how long they take to begin, the CPU of a round of beats."""
    number = int(jobs)
    heartbeats = Heartbeats(url, every=NEVER)
    heartbeats.job("first", kind=f"many {os.getpid()}").__enter__()
    before = _memory()
    begun = [time.perf_counter()]
    kept = []
    for job in range(number):
        kept.append(heartbeats.job(job, kind=f"many {os.getpid()}"))
        kept[-1].__enter__()
        begun.append(time.perf_counter())
    tenth = max(number // 10, 1)
    assert heartbeats._beater is not None
    cpu = []
    for _ in range(10):
        worked = time.process_time()
        heartbeats._beater._beat()
        cpu.append(time.process_time() - worked)
    grown = _memory() - before
    heartbeats.close()
    return {
        "bytes": grown,
        "cpu": median(cpu),
        "first": (begun[tenth] - begun[0]) / tenth,
        "last": (begun[-1] - begun[-1 - tenth]) / tenth,
    }


def _memory() -> float:
    """The bytes of memory that this process holds; nan where this system doesn't tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("nan")
    return float(pages * resource.getpagesize())


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print(json.dumps({"watch": watch, "loop": loop, "many": many}[sys.argv[1]](*sys.argv[2:])))

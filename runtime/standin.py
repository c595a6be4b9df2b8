"""A small process that beats in another one's stead while that one's thread can't: C code that holds Python's lock.

It is told of every beat that the thread made itself, and only beats when none came in time. It ends with its parent: when
the pipe from it closes, or, where forked children hold that open, when it has another parent.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Collection
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

import structlog

from .states import INTERVALS
from .telling import first_line

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from .beats import Claim, Process

PATIENCE_INTERVALS = 1.5  # how long no beat may come from the parent's thread before the stand-in beats
STOP_SECONDS = 2.0  # how long it may take to end
LOOK_SECONDS = 1.0  # how often it looks whether its parent lives

_log = structlog.get_logger("unhush.runtime")


class StandIn:
    """The parent's side."""

    def __init__(self, url: str, process: Process, own: tuple[str, str] | None = None) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "unhush.runtime.standin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self._process = process
        self._told = False
        # The URL may hold a password: it goes through the pipe, not among the arguments that anybody can list.
        self._say({"url": url, "process": asdict(process), "own": own, "parent": os.getpid()})

    @property
    def pid(self) -> int:
        """The process that stands in."""
        return self._child.pid

    def tell(self, claims: Collection[Claim]) -> None:
        """Tells which jobs run, and that the thread has just beaten for them."""
        self._say({"claims": [[claim.id, claim.fence] for claim in claims]})

    def stop(self) -> None:
        """Ends it."""
        self.let_go()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()  # its database hangs
            self._child.wait()

    def let_go(self) -> None:
        """Closes this process's end of the pipe: what a forked child does with its parent's."""
        pipe = self._child.stdin
        if pipe is not None and not pipe.closed:
            try:
                pipe.close()
            except OSError as error:
                self._gone(error)

    def _say(self, what: dict[str, Any]) -> None:
        pipe = self._child.stdin
        if pipe is None or pipe.closed:
            return
        try:
            pipe.write(json.dumps(what) + "\n")
            pipe.flush()
        except OSError as error:
            self._gone(error)

    def _gone(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            _log.warning("heartbeat.stand_in_gone", pid=self._child.pid, error=str(error))


def main(source: IO[str]) -> None:
    """The child's side: reads lines until they end."""
    from .engine import make_engine

    begun = json.loads(source.readline() or "null")
    if begun is None:
        return
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_forward, args=(source, lines), daemon=True).start()
    engine = make_engine(begun["url"], idle_seconds=INTERVALS * begun["process"]["every"])
    _Stand(engine, begun["process"], begun["own"], begun["parent"]).watch(lines)


def _forward(source: IO[str], lines: queue.SimpleQueue[str]) -> None:
    for line in source:
        lines.put(line)
    lines.put("")


class _Stand:
    def __init__(self, engine: Engine, process: dict[str, Any], own: list[str] | None, parent: int) -> None:
        from .beats import Process
        from .own_rows import OwnRows

        self._engine = engine
        self._process = Process(**process)
        self._own_rows = None if own is None else OwnRows(engine, *own)
        self._parent = parent
        self._claims: list[Claim] = []
        self._failing = False

    def watch(self, lines: queue.SimpleQueue[str]) -> None:
        """Beats whenever no line came for one and a half intervals."""
        from .beats import Claim

        silent = 0.0
        while True:
            pause = min(LOOK_SECONDS, self._process.every / 2)
            try:
                line = lines.get(timeout=pause)
            except queue.Empty:
                if hasattr(os, "getppid") and os.getppid() != self._parent:
                    return
                silent += pause
                if silent >= PATIENCE_INTERVALS * self._process.every:
                    silent -= self._process.every
                    self._beat()
                continue
            if not line:
                return
            self._claims = [Claim(job, fence) for job, fence in json.loads(line)["claims"]]
            silent = 0.0

    def _beat(self) -> None:
        from . import acts, beats

        try:
            acts.write(self._engine, beats.beat_process, self._process, None)
            pulses = [beats.Pulse(claim=claim) for claim in self._claims]
            for start in range(0, len(pulses), beats.BATCH):
                acts.write(self._engine, beats.beat_jobs, pulses[start : start + beats.BATCH])
        except Exception as error:  # noqa: BLE001 - it must outlive whatever the database does
            if not self._failing:
                _log.warning("heartbeat.stand_in_failed", error_type=type(error).__qualname__, error=first_line(error))
            self._failing = True
        else:
            self._failing = False
            if self._own_rows is not None:
                self._own_rows.show(self._claims, beaten=True)


if __name__ == "__main__":
    main(sys.stdin)

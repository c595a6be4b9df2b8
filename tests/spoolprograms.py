"""Processes that tests of the spool start, and kill: `python spoolprograms.py NAME ARGUMENTS...`."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Any

from unhush.runtime.spool import Spool, SpoolError, StoreDown


def say(text: object) -> None:
    os.write(1, f"{text}\n".encode())


class Table:
    """A table of unique capture ids in SQLite."""

    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = OFF")
        self.connection.execute("CREATE TABLE IF NOT EXISTS letters (capture_id TEXT PRIMARY KEY, pad TEXT)")

    def store(self, record: dict[str, Any]) -> None:
        """Puts it in, if it isn't there."""
        try:
            self.connection.execute(
                "INSERT INTO letters VALUES (?, ?) ON CONFLICT DO NOTHING", (record["capture_id"], record["pad"])
            )
        except sqlite3.OperationalError as error:
            raise StoreDown(str(error)) from error

    def ids(self) -> list[str]:
        """What it holds, in the order in which it came."""
        return [row[0] for row in self.connection.execute("SELECT capture_id FROM letters ORDER BY rowid")]


def write(folder: str, name: str) -> None:
    """Appends for ever, and says each id when it is safe."""
    spool, number = Spool(folder), 0
    while True:
        capture_id = f"{name}-{number}"
        spool.append({"capture_id": capture_id, "pad": "x" * random.choice([0, 100, 5_000, 300_000])})
        say(capture_id)
        number += 1


def drain(folder: str, database: str) -> None:
    """Drains for ever."""
    spool, table = Spool(folder), Table(database)
    say("ready")
    while True:
        spool.drain(table.store)
        time.sleep(0.001)


def fill(folder: str, size: str) -> None:
    """Appends until a file may grow no more; then once more, without the limit; then drains."""
    import resource

    spool, number = Spool(folder), 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.RLIM_INFINITY))
    try:
        while True:
            spool.append({"capture_id": str(number), "pad": "x" * 300})
            number += 1
    except SpoolError as error:
        say(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    spool.append({"capture_id": "after", "pad": ""})
    got: list[str] = []
    drained = spool.drain(lambda record: got.append(record["capture_id"]))
    say(got == [*map(str, range(number)), "after"])
    say(f"{number > 0} {drained.corrupt} {drained.kept}")


def fork(folder: str) -> None:
    """Appends before, during and after a fork at a bad moment: another thread is just appending."""
    spool = Spool(folder)
    spool.append({"capture_id": "before", "pad": ""})
    with spool._lock:
        child = os.fork()
    spool.append({"capture_id": "child" if not child else "parent", "pad": ""})
    if not child:
        os._exit(0)
    say(os.waitpid(child, 0)[1])


def die_draining(folder: str) -> None:
    """Is killed in the middle of a drain, while a process that it forked lives on until its input ends."""
    spool, inside = Spool(folder), threading.Event()

    def store(_: dict[str, Any]) -> None:
        inside.set()
        time.sleep(600)

    threading.Thread(target=spool.drain, args=(store,), daemon=True).start()
    inside.wait()
    if os.fork():
        time.sleep(600)
    say("forked")
    sys.stdin.read()
    os._exit(0)


def start(name: str, *args: str | Path) -> Any:
    """One of these programs, in a process of its own."""
    import subprocess

    return subprocess.Popen(
        [sys.executable, __file__, name, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def kill(process: Any) -> str:
    """Kills it, and returns what it said."""
    process.send_signal(signal.SIGKILL)
    said: str = process.communicate()[0].decode()
    assert process.returncode == -signal.SIGKILL, f"it had ended by itself: {process.returncode}"
    return said


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

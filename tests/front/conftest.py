"""Runs `unhush dlq` within the test's process, on databases with letters in them."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from services import fresh_database

from unhush.__main__ import run


@dataclass
class Ended:
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its JSON."""
        return json.loads(self.out)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs the command line in this process, from the fresh folder."""
    structlog.reset_defaults()  # capture_logs of other tests leaves it configured
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNHUSH_SPOOL", str(tmp_path / "spool"))
    for name in ("UNHUSH_DATABASE_URL", "FEATURE_FLAG_DLQ_ENABLED"):
        monkeypatch.delenv(name, raising=False)

    def call(*args: str, stdin: str | bytes = "") -> Ended:
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["unhush", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        path = list(sys.path)
        importlib.invalidate_caches()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = run()
            except SystemExit as ended:
                code = int(ended.code or 0)
        sys.path[:] = path
        for name, module in list(sys.modules.items()):  # the next process imports the app afresh
            if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
                del sys.modules[name]
        return Ended(code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture
def quick(
    cli: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs the command line as `unhush` does, from `cwd`, but in this process, for tests of many runs."""

    def run(*args: str | Path, cwd: Path = tmp_path) -> subprocess.CompletedProcess[bytes]:
        monkeypatch.chdir(cwd)
        ended = cli(*args)
        out, err = (text.encode("utf-8", "surrogateescape") for text in (ended.out, ended.err))
        return subprocess.CompletedProcess(args, ended.code, out, err)

    return run


@pytest.fixture
def queue(cli: Callable[..., Ended], tmp_path: Path) -> Iterator[Any]:
    """A queue on the SQLite file that the commands use by default, its tables made."""
    from unhush.runtime import DeadLetterQueue

    assert cli("db", "upgrade").code == 0
    with DeadLetterQueue(f"sqlite:///{tmp_path}/unhush.db", deadline=20) as dlq:
        yield dlq


@pytest.fixture(params=["postgresql", "mariadb"])
def server_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new, empty database on each server."""
    with fresh_database(request.param, str(tmp_path)) as url:
        yield url


@pytest.fixture
def app(tmp_path: Path, queue: Any) -> str:
    """The name of an app on that file, whose handler fails for the payload "bad" and doubts "doubt"."""
    (tmp_path / "app_of_test.py").write_text(APP)
    return "app_of_test:dlq"


APP = """
from unhush.runtime import AsyncDeadLetterQueue, DeadLetterQueue, InDoubt

dlq = DeadLetterQueue("sqlite:///unhush.db")
waiting = AsyncDeadLetterQueue("sqlite:///unhush.db")
nothing = object()

def handle(letter):
    print("handling", letter.payload)
    if letter.payload == "bad":
        raise ValueError("still bad")
    if letter.payload == "doubt":
        raise InDoubt("sent?")

async def handle_waiting(letter):
    handle(letter)

dlq.register("mail", handle)
waiting.register("mail", handle_waiting)
"""

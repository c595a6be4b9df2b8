"""Heartbeats on each of the three databases, with the flag on, and a look at what they wrote."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, select

from unhush.runtime.beat import CURRENT
from unhush.runtime.beat_tables import jobs, processes
from unhush.runtime.engine import make_engine
from unhush.runtime.heartbeat import Heartbeats

EVERY = 0.1  # seconds


@pytest.fixture(autouse=True)
def _flag_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "true")


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """An engine of the test's own."""
    engine = make_engine(database)
    yield engine
    engine.dispose()


@pytest.fixture
def heartbeats(database: str) -> Iterator[Heartbeats]:
    """Heartbeats that beat ten times a second."""
    with Heartbeats(database, every=EVERY, name="tests") as heartbeats:
        yield heartbeats


@pytest.fixture
def job_row(engine: Engine) -> Callable[..., Any]:
    """Reads the row of a job, once a condition holds on it."""

    def read(job_id: str = "42", until: Callable[[Any], object] = lambda row: True) -> Any:
        return waited(lambda: one(engine, job_id), until)

    return read


@pytest.fixture
def process_rows(engine: Engine) -> Callable[[], list[Any]]:
    """Reads all processes, in order of their start."""

    def read() -> list[Any]:
        with engine.connect() as connection:
            return list(connection.execute(select(processes).order_by(processes.c.id)))

    return read


def one(engine: Engine, job_id: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(jobs).where(jobs.c.job_id == job_id)).one_or_none()


def waited(read: Callable[[], Any], until: Callable[[Any], object], seconds: float = 20.0) -> Any:
    """What is read, once the condition holds; fails after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        found = read()
        if until(found):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.01)


@pytest.fixture
def wait() -> Callable[..., Any]:
    """Waits until what is read meets a condition."""
    return waited


@pytest.fixture(autouse=True)
def no_job_runs_here() -> Iterator[None]:
    """A test that leaves a job open, or a flag's provider, must not make the next one run inside it, or by it."""
    CURRENT.set(None)
    if "openfeature.api" in sys.modules:
        sys.modules["openfeature.api"].clear_providers()
    yield
    CURRENT.set(None)

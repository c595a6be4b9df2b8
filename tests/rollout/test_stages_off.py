from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rollout.stageworld import named
from services import fresh_database
from sqlalchemy import Engine, create_engine, func, select

from unhush.rollout import controller, settings
from unhush.runtime import flag_rows
from unhush.runtime.beat_tables import jobs
from unhush.runtime.engine import make_engine
from unhush.runtime.flag_tables import flags
from unhush.runtime.tables import letters

WORKER = Path(__file__).with_name("offworker.py")
PROCESSES = 3
LIMIT = 5.0  # seconds: what is promised


def newest(engine: Engine, column: Any, process: Any) -> dict[str, datetime]:
    """When each process last did it, by the database's clock."""
    with engine.connect() as connection:
        found = connection.execute(select(process, func.max(column, type_=column.type)).group_by(process))
        return {row[0]: row[1] for row in found}


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_off_within_five_seconds(dialect: str, tmp_path: Path, record_property: Any) -> None:
    """After a rollback no process captures by a decorator, and none lets a job begin to beat, once 5 s have passed.

    Before it each of them did both. The time that it took is in the test's record.
    """
    with fresh_database(dialect, str(tmp_path)) as url, ExitStack() as stack:
        plain = create_engine(url)
        named(plain)
        plain.dispose()
        engine = make_engine(url)
        stack.callback(engine.dispose)
        with engine.begin() as connection:
            for name in ("DLQ_ENABLED", "JOB_HEARTBEAT"):
                flag_rows.write(connection, name, state="on", percentage=100, actor="ann")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FEATURE_FLAG_")}
        command = [sys.executable, str(WORKER), url, str(tmp_path / "spool")]
        workers = [
            stack.enter_context(
                subprocess.Popen(command, env=clean, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(PROCESSES)
        ]
        acts = ((letters.c.captured_at, letters.c.process), (jobs.c.started_at, jobs.c.process_id))
        try:
            wait_until(lambda: all(len(newest(engine, *act)) == PROCESSES for act in acts))
            one = controller.Case(engine=engine, root=tmp_path, settings=settings.load(tmp_path), actor="ann")
            assert controller.rollback(one, "as a test").status == "rolled_back"
            time.sleep(LIMIT + 2)  # the workers go on, and may do wrong
            assert all(worker.poll() is None for worker in workers)
        finally:
            for worker in workers:
                worker.communicate("", timeout=60)
        with engine.connect() as connection:
            off = connection.scalars(select(func.min(flags.c.changed_at, type_=flags.c.changed_at.type))).one()
        last = [max(newest(engine, *act).values()) for act in acts]
        took = [(at - off).total_seconds() for at in last]
        record_property("seconds_to_last_capture", took[0])
        record_property("seconds_to_last_new_beat", took[1])
        print(f"{dialect}: last capture {took[0]:.2f} s, last new beat {took[1]:.2f} s after OFF")
        assert max(took) < LIMIT
        assert not any((tmp_path / "spool").rglob("*.json"))


def wait_until(truth: Any) -> None:
    until = time.monotonic() + 120
    while not truth():
        assert time.monotonic() < until
        time.sleep(0.1)

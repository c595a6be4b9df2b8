"""A project with a plan whose stages take no time, a database for it, and a Prometheus that says what a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from rollout.conftest import Project
from sqlalchemy import Engine

from unhush.rollout import environment, evidence, git, plan, settings
from unhush.rollout.controller import Case
from unhush.runtime.beat_tables import jobs
from unhush.runtime.columns import database_now
from unhush.sql.runner import upgrade
from unhush.version import __version__

JOBS, FAILED = "sum(jobs)", "sum(failed)"
SETTINGS = """
[tool.unhush.rollout]
soak = {soak}
unsigned = true
prometheus = "{prometheus}"
[tool.unhush.rollout.gates.error_share]
jobs = "{jobs}"
failed = "{failed}"
[tool.unhush.rollout.gates.error_share_all]
jobs = "{jobs}"
failed = "{failed}"
{more}
"""


class Prometheus:
    """A server of instant queries: a number for each query, or what else it answers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.numbers: dict[str, float | str] = {JOBS: 0, FAILED: 0}
        self.status = 200
        self.raw: bytes | None = None
        self.many = 1
        self.age = 0.0
        self.hanging = threading.Event()
        self.hanging.set()
        self.asked: list[str] = []

    def answer(self, query: str) -> bytes:
        """The JSON for a query."""
        import time

        self.asked.append(query)
        if self.raw is not None:
            return self.raw
        value = [time.time() - self.age, str(self.numbers.get(query, "NaN"))]
        result = [{"metric": {}, "value": value}] * (self.many if query in self.numbers else 0)
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


@contextmanager
def prometheus() -> Iterator[Prometheus]:
    """Such a server on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            query = parse_qs(self.rfile.read(length).decode())["query"][0]
            said.hanging.wait(60)
            data = said.answer(query)
            self.send_response(said.status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    said = Prometheus(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield said
    finally:
        said.hanging.set()
        server.shutdown()
        server.server_close()


def planned(project: Project, server: str, *, soak: int = 0, more: str = "") -> None:
    """Writes settings and commits them, and a plan for them that rests on one passed check."""
    said = SETTINGS.format(soak=soak, prometheus=server, jobs=JOBS, failed=FAILED, more=more)
    project.write("pyproject.toml", f'[project]\nname = "service"\n[tool.unhush]\n{said}')
    project.commit()
    replan(project.root)


def replan(root: Path) -> plan.Plan:
    """A plan for HEAD."""
    now = evidence.now()
    record = evidence.Evidence(
        name="build",
        kind="command",
        command=("true",),
        exit_code=0,
        started_at=now,
        ended_at=now,
        run_id=str(uuid4()),
        tool_version=__version__,
        commit=git.head(root),
    )
    evidence.write(root, record)
    return plan.write(root, plan.draft(root, settings.load(root), base="base", records=["build"]))


def case(engine: Engine, root: Path, actor: str = "ann@example.test") -> Case:
    """An operator at a database."""
    return Case(engine=engine, root=root, settings=settings.load(root), actor=actor)


def named(engine: Engine, name: str = "staging") -> None:
    """Makes all tables in a database and gives it its name."""
    upgrade(engine)
    environment.name(engine, name, "ann@example.test")


def jobs_ended(engine: Engine, finished: int, failed: int = 0, variant: str | None = "on 5% v2") -> None:
    """Jobs that beat and have ended."""
    with engine.begin() as connection:
        for number in range(finished + failed):
            row = {
                **dict.fromkeys(("id", "process_id"), str(uuid4())),
                **dict.fromkeys(("started_at", "beat_at", "progress_at", "ended_at"), database_now()),
                "kind": "mail",
                "variant": variant,
                "job_id": str(uuid4()),
                "fence": 1,
                "every": 15,
                "rescues": 0,
                "status": "failed" if number >= finished else "finished",
            }
            connection.execute(jobs.insert().values(row))

"""The admin API on a server of its own, with letters in it, and schemathesis sent against it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from deadletters import add_many
from fastapi import FastAPI

from unhush.runtime import tokens
from unhush.runtime.admin import app
from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.letters import Filter

STATUSES = ("dead", "parked", "in_doubt", "discarded", "redriven")


@contextmanager
def served(api: Any) -> Iterator[str]:
    """The URL of the app on a free port of loopback."""
    server = uvicorn.Server(uvicorn.Config(api, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


class Counted:
    """An ASGI app around another that counts answers: by method, path with its ids as `{}`, and status."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.answers: Counter[tuple[str, str, int]] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes the request on."""

        async def counting(message: Any) -> None:
            if message["type"] == "http.response.start":
                path = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "{}", scope["path"])
                self.answers[scope["method"], path, message["status"]] += 1
            await send(message)

        await self.inner(scope, receive, counting)


def peopled(dlq: DeadLetterQueue) -> tuple[FastAPI, dict[str, list[str]], str]:
    """The API on a queue with letters of each status and bulk acts; the ids by path parameter, and a token."""
    dlq.register("mail", lambda letter: None)
    rows = [
        {"status": status, "payload": {"to": f"a{n}@example.org"}, "job_id": f"{status}-{n}"}
        for n in range(40)
        for status in STATUSES
    ]
    letters = add_many(dlq, rows)
    add_many(dlq, [{"queue": "bills", "error_message": "x"}])
    dlq.register("empty", lambda letter: None)
    acts = [dlq.start("redrive", Filter(queue="empty"), actor="test").id for _ in range(5)]
    _, token = dlq._write(tokens.create, "ann", "operator", actor="test")
    return app(dlq, auth="tokens"), {"letter_id": letters, "operation_id": acts}, token


def schemathesis(
    url: str, folder: Path, *arguments: str, ids: dict[str, list[str]], token: str, examples: int
) -> tuple[int, str]:
    """All checks and phases of schemathesis against that server: its exit code and what it says."""
    config = folder / "schemathesis.toml"
    config.write_text(
        f"""
base-url = "{url}"
headers = {{ Authorization = "Bearer {token}" }}

[dictionaries.letters]
values = {json.dumps(ids["letter_id"])}

[dictionaries.operations]
values = {json.dumps(ids["operation_id"])}

[dictionaries.etags]
values = ['"0"']

[parameters]
"header.If-Match" = {{ dictionary = "etags", probability = 0.8 }}
"path.letter_id" = {{ dictionary = "letters", probability = 0.8 }}
"path.operation_id" = {{ dictionary = "operations", probability = 0.8 }}

[checks.positive_data_acceptance]
expected-statuses = ["2xx", 404, 409, 412]

[checks.negative_data_rejection]
expected-statuses = [400, 401, 404, 409, 412, 413, 415, 422, 428]

[checks.missing_required_header]
expected-statuses = [400, 428]
"""
    )
    command = f"{sys.executable} -m schemathesis.cli --config-file {config} --no-color run"
    options = f"--checks all --phases examples,coverage,fuzzing,stateful --max-examples {examples} --seed 20260301"
    told = subprocess.run(
        [*command.split(), f"{url}/openapi.json", *options.split(), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    return told.returncode, told.stdout + told.stderr

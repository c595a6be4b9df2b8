"""The sample service `examples/courier` in a git repository of its own, with databases, a worker and a Prometheus."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import IO, Any, NamedTuple
from urllib.parse import parse_qs

from prometheus_client.parser import text_string_to_metric_families
from rollout.sshkeys import listed, make_key
from services import fresh_database

SAMPLE = Path(__file__).parents[2] / "examples" / "courier"
ROLES = {"operator": "ann", "dev-lead": "dan", "ops-oncall": "oli", "product-owner": "pam"}
PATIENCE = 600.0  # seconds for whatever is waited for, on a busy machine


class Ran(NamedTuple):
    """What a command said: its exit code, and both of its outputs."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All of it."""
        return self.out + self.err


@dataclass
class World:
    """The service's folder, its databases, and what runs."""

    root: Path
    production: str
    staging: str
    scratch: str
    port: int
    prometheus: str
    real: bool
    keys: dict[str, Path]
    stack: ExitStack
    worker: subprocess.Popen[bytes] | None = None

    def env(self, url: str | None = None) -> dict[str, str]:
        """The environment in which an operator works: the service's database, and this interpreter's tools first."""
        clean = {name: said for name, said in os.environ.items() if not name.startswith(("UNHUSH_", "FEATURE_FLAG_"))}
        return {
            **clean,
            "UNHUSH_DATABASE_URL": url or self.production,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "XDG_STATE_HOME": str(self.root.parent / "state"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
        }

    def start(self, *words: str, url: str | None = None, out: int | IO[bytes] = subprocess.PIPE) -> Any:
        """Starts a command in the folder, to end at the latest with the tests."""
        process = subprocess.Popen(words, cwd=self.root, env=self.env(url), stdout=out, stderr=subprocess.STDOUT)
        self.stack.callback(ended, process)
        return process

    def run(self, *words: str, code: int | None = 0, url: str | None = None) -> Ran:
        """Runs a command in the folder, and holds it to its exit code."""
        done = subprocess.run(
            words, cwd=self.root, env=self.env(url), capture_output=True, timeout=PATIENCE, check=False
        )
        ran = Ran(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert code in (None, ran.code), f"{' '.join(words)}: exit code {ran.code}\n{ran.said}"
        return ran

    def unhush(self, *words: str, code: int | None = 0, url: str | None = None) -> Ran:
        """Runs unhush."""
        return self.run("unhush", *words, code=code, url=url)

    def json(self, *words: str, code: int = 0, url: str | None = None) -> Any:
        """What unhush says to programs."""
        return json.loads(self.unhush(*words, "--json", code=code, url=url).out)

    def shell(self, command: str, code: int | None = 0) -> Ran:
        """Runs a command as somebody would who copied it from a page."""
        return self.run("bash", "-euo", "pipefail", "-c", command, code=code)

    def courier(self, *words: str) -> Ran:
        """Runs the sample."""
        return self.run("python", "-m", "courier.worker", *words)

    def commit(self, message: str) -> str:
        """Commits all."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)
        return self.run("git", "rev-parse", "HEAD").out.strip()

    def deploy(self) -> None:
        """Starts the worker on production, with its counters on the port that Prometheus knows."""
        log = self.stack.enter_context((self.root.parent / "worker.log").open("wb"))
        self.worker = self.start("python", "-m", "courier.worker", "work", "--metrics-port", str(self.port), out=log)
        until(lambda: self.jobs() is not None, "the worker shows its counters")

    def jobs(self, **labels: str) -> float | None:
        """How many jobs the worker counted under these labels; None where it does not answer."""
        try:
            return summed(scraped(self.port), "jobs_total", labels)
        except OSError:
            return None

    def entries(self, act: str) -> list[dict[str, Any]]:
        """The acts of one kind in the log."""
        lines = (self.root / "rollout/audit.jsonl").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["act"] == act]

    def commands(self) -> dict[int, Step]:
        """The steps of the operator's instructions by number."""
        return steps_of((self.root / "migration/operator_instructions.md").read_text())

    def follow(self, number: int, code: int | None = 0) -> Ran:
        """Takes a step of the instructions, and holds what it says to what the page expects."""
        step = self.commands()[number]
        ran = self.shell(step.command, code=code)
        assert expected(step.expect, ran.said), f"step {number}: {step.command}\n{step.expect}\n---\n{ran.said}"
        return ran


class Step(NamedTuple):
    """A step of the operator's instructions."""

    title: str
    command: str
    expect: str
    otherwise: str


def steps_of(page: str) -> dict[int, Step]:
    """The steps of a page that have a command."""
    found = {}
    for part in re.split(r"^### Step ", page, flags=re.M)[1:]:
        head, _, body = part.partition("\n")
        number, _, title = head.partition(": ")
        blocks = re.findall(r"^```(?:bash|text)\n(.*?)\n```$", body, flags=re.M | re.S)
        otherwise = re.search(r"^If not: (.*)$", body, flags=re.M)
        assert otherwise, f"step {number} does not say what to do if not"
        if blocks:
            found[int(number)] = Step(title, blocks[0], blocks[1], otherwise[1])
    return found


def expected(pattern: str, said: str) -> bool:
    """Whether an output is what a page expects: its lines in this order, `...` for anything."""
    text = ".*".join(re.escape(piece) for piece in pattern.split("..."))
    return re.search(text.replace(re.escape("\n"), r".*\n"), said, flags=re.S) is not None


def until(holds: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Waits until something holds, and gives what it gave."""
    ends = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < ends, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
    return found


def ended(process: subprocess.Popen[bytes]) -> None:
    """Ends a process, kindly at first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def scraped(port: int) -> str:
    """What a process shows to Prometheus."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def summed(text: str, name: str, labels: dict[str, str]) -> float:
    """The sum of the samples of a name that have these labels."""
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(
        sample.value for sample in samples if sample.name == name and labels.items() <= dict(sample.labels).items()
    )


@contextmanager
def real_prometheus(program: str, folder: Path, port: int) -> Iterator[str]:
    """A Prometheus server that scrapes the worker each second."""
    here = free_port()
    target = f"    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: courier\n{target}"
    )
    with open(folder / "prometheus.log", "wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/tsdb",
                f"--web.listen-address=127.0.0.1:{here}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: answers(f"http://127.0.0.1:{here}/-/ready"), "Prometheus is ready")
        yield f"http://127.0.0.1:{here}"
    finally:
        ended(process)


def answers(url: str) -> bool:
    """Whether an address answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class StandIn(BaseHTTPRequestHandler):
    """Answers `sum(increase(NAME{LABELS}[SECONDSs]))` by what the worker shows now and showed that long ago."""

    worker: int
    past: list[tuple[float, str]]

    def do_POST(self) -> None:
        """One query."""
        query = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["query"][0]
        asked = re.fullmatch(r"sum\(increase\((\w+)\{(.*)\}\[(\d+)s\]\)\)", query)
        assert asked, query
        labels = dict(re.findall(r'(\w+)="(.*?)"', asked[2]))
        began = time.time() - float(asked[3])
        before = next((text for at, text in reversed(self.past) if at <= began), "")
        value = summed(scraped(self.worker), asked[1], labels) - summed(before, asked[1], labels)
        result = [{"metric": {}, "value": [time.time(), str(value)]}]
        data = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def stand_in(port: int) -> Iterator[str]:
    """A server that answers as Prometheus would, for the sample's queries alone."""
    past: list[tuple[float, str]] = []
    closed = threading.Event()

    def scrape() -> None:
        while not closed.wait(0.5):
            if answers(f"http://127.0.0.1:{port}/metrics"):
                past.append((time.time(), scraped(port)))

    handler = type("StandInOf", (StandIn,), {"worker": port, "past": past})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    for work in (server.serve_forever, scrape):
        threading.Thread(target=work, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        closed.set()
        server.shutdown()
        server.server_close()


@contextmanager
def world(folder: Path, dialect: str, *, real: bool, changed: Mapping[str, str] | None = None) -> Iterator[World]:
    """The sample, committed and tagged `v1`, with its list of signers.

    `real` wants a Prometheus server where there is one. `changed` are lines of pyproject.toml that become others.
    """
    with ExitStack() as stack:
        names = ("production", "staging", "scratch")
        for name in names:
            (folder / name).mkdir()
        urls = {name: stack.enter_context(fresh_database(dialect, str(folder / name))) for name in names}
        port = free_port()
        program = shutil.which("prometheus") if real else None
        server = real_prometheus(program, folder, port) if program else stand_in(port)
        address = stack.enter_context(server)
        root = folder / "courier"
        shutil.copytree(SAMPLE, root, ignore=shutil.ignore_patterns("__pycache__", "*.db", "reports", ".pytest_cache"))
        keys = {person: make_key(folder, person) for person in [*ROLES.values(), "dev"]}
        known = {"port": port, "prometheus": address, "real": program is not None}
        made = World(root=root, keys=keys, stack=stack, **known, **urls)
        text = (root / "pyproject.toml").read_text().replace("http://127.0.0.1:9090", address)
        for old, new in (changed or {}).items():
            assert text.count(f"\n{old}\n") == 1, old
            text = text.replace(old, new)
        (root / "pyproject.toml").write_text(text)
        (root / "rollout").mkdir()
        signers = [listed(f"{person}@example.com", keys[person], role) for role, person in ROLES.items()]
        signers.append(listed("dev@example.com", keys["dev"], "dev-lead"))
        (root / "rollout/allowed_signers").write_text("".join(signers))
        made.run("git", "init", "--quiet", "--template=", "--initial-branch", "main")
        for key, said in {"user.email": "dev@example.com", "user.name": "Dev", "commit.gpgsign": "false"}.items():
            made.run("git", "config", key, said)
        made.commit("The service as it is")
        made.run("git", "tag", "v1")
        yield made


class Leg(NamedTuple):
    """A leg of the way that was gone: the world after it, and what was said by name."""

    world: World
    said: dict[str, Any]


def dead(of: World) -> int:
    """How many dead letters there are."""
    return sum(depth["count"] for depth in of.json("dlq", "stats")["depths"] if depth["status"] == "dead")

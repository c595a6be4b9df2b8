from __future__ import annotations

import json
import logging
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from unhush.reports.watchlist import fired
from unhush.rollout import watchlist
from unhush.rollout.errors import RolloutProblem
from unhush.rollout.fetching import shown
from unhush.rollout.fired import HELD, TOTAL, Source, _rises, from_log, from_metrics, from_prometheus, together
from unhush.rollout.watching import joined
from unhush.runtime import IgnoredExceptions

NOW = datetime(2026, 8, 2, 12, tzinfo=UTC).timestamp()
OLD = """import logging
import os

logger = logging.getLogger(__name__)


def save():
    try:
        os.remove("a")
    except Exception:
        pass


def load():
    try:
        os.remove("b")
    except OSError:
        logger.debug("load.exception_ignored", exc_info=True)
"""


def git(folder: Path, *args: str) -> None:
    subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(write_tree: Callable[..., Path], unhush: Callable[..., Any]) -> Path:
    """A project in git whose second commit holds what `unhush fix` made of the first, and another change."""
    folder = write_tree(
        {
            "pyproject.toml": '[project]\nname = "shop"\n[tool.unhush]\n',
            "shop/__init__.py": "",
            "shop/store.py": OLD,
            "shop/mail.py": "def send():\n    try:\n        open('c').close()\n    except Exception:\n        return None\n",
            "notes.py": "TEXT = 'save.exception_ignored'\n",
        }
    )
    git(folder, "init", "-q")
    git(folder, "config", "user.email", "a@example.org")
    git(folder, "config", "user.name", "A")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    assert unhush("fix", ".", cwd=folder).returncode == 0
    store = folder / "shop" / "store.py"
    store.write_text(store.read_text().replace('"a"', '"another"'))
    git(folder, "commit", "-qam", "two")
    return folder


def test_the_list_holds_what_was_rewritten(project):
    """Each handler with event, logger, place, level and severity before, whatever else a commit changed; old ones too."""
    found = watchlist.gather(project, "HEAD~1")
    assert [(one["event"], one["logger"], one["severity"], one["level"], one["new"]) for one in found] == [
        ("save.exception_ignored", "shop.store", "high", "warning", True),
        ("send.exception_ignored", "shop.mail", "high", "warning", True),
        ("load.exception_ignored", "shop.store", "unknown", "debug", False),
    ]
    lines = (project / "shop" / "store.py").read_text().splitlines()
    places = {one["event"]: one["places"] for one in found}
    assert places["save.exception_ignored"] == [
        {"file": "shop/store.py", "line": 1 + next(at for at, line in enumerate(lines) if "save.exception" in line)}
    ]


def test_without_a_base_nothing_is_invented(project):
    """Where no base is known, the severity before is unknown."""
    assert {one["severity"] for one in watchlist.gather(project, None)} == {"unknown"}
    with pytest.raises(RolloutProblem, match="knows no commit"):
        watchlist.gather(project, "nowhere")


CALLS = {
    "literal": ("import logging\nlog = logging.getLogger('billing')\nlog.error('a.exception_ignored', exc_info=True)\n", "billing"),
    "child": ("import logging\nlog = logging.getLogger(__name__)\nlog.error('a.exception_ignored')\n", "mod"),
    "structlog": ("import structlog\nlog = structlog.get_logger()\nlog.error('a.exception_ignored')\n", "mod"),
    "loguru": ("from loguru import logger\nlogger.opt(exception=True).error('a.exception_ignored')\n", "mod"),
    "unknown": ("from elsewhere import log\nlog.error('a.exception_ignored')\n", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_the_loggers_name_is_told_where_it_is_sure(name, tmp_path):
    """The name is that under which the library gives the record, and empty where the code does not say."""
    text, logger = CALLS[name]
    found = list(watchlist.calls_of(text.encode(), str(tmp_path / "mod.py"), "mod.py"))
    assert [(call.event, call.logger, call.level) for call in found] == [("a.exception_ignored", logger, "error")]


def test_a_file_that_cannot_be_read_leaves_no_gap(project):
    """A list that would lack a file's handlers is refused, with the file's name."""
    (project / "shop" / "broken.py").write_text("def f(:\n    log.error('a.exception_ignored')\n")
    with pytest.raises(RolloutProblem, match=r"shop/broken\.py: can't be parsed"):
        watchlist.gather(project, "HEAD~1")


Answer = tuple[int, str]


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[str, dict[str, list[str]]], Answer]], str]]:
    """Serves what a function of path and query gives, on loopback; gives the URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[str, dict[str, list[str]]], Answer]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                code, text = answer(parts.path, parse_qs(parts.query))
                self.send_response(code)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args: Any) -> None:
                """Nothing to stderr."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def prometheus(*series: tuple[dict[str, str], list[tuple[float, str]]], watched: bool = True) -> Any:
    """What a Prometheus with these series answers."""

    def answer(path: str, query: dict[str, list[str]]) -> Answer:
        if path == "/api/v1/query":
            assert query["query"] == [HELD]
            result: Any = [{"metric": {}, "value": [NOW, "0"]}] if watched else []
        else:
            assert (path, query["query"]) == ("/api/v1/query_range", [TOTAL])
            result = [{"metric": labels, "values": values} for labels, values in series]
        return 200, json.dumps({"status": "success", "data": {"resultType": "x", "result": result}})

    return answer


SAVE = {"__name__": TOTAL, "logger": "shop.store", "event": "save.exception_ignored"}


def test_prometheus_tells_rises(serve):
    """Counts are what the series rose by, over instances, births and restarts; the time is that of the last rise."""
    began = NOW - 24 * 3600
    url = serve(
        prometheus(
            ({**SAVE, "instance": "a"}, [(began, "100"), (NOW - 600, "103"), (NOW, "103")]),  # older than the window
            ({**SAVE, "instance": "b"}, [(NOW - 300, "7"), (NOW - 200, "9"), (NOW - 100, "2")]),  # born, and restarted
        )
    )
    source = from_prometheus(url, NOW)
    assert source.problem is None
    came = source.came["shop.store", "save.exception_ignored"]
    assert (came.count, came.last) == (3 + 9 + 2, NOW - 100)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda path, query: (500, "no"), "answers with HTTP 500"),
        (lambda path, query: (200, "<html>"), "can't be understood"),
        (lambda path, query: (200, '{"status": "error", "error": "too many samples"}'), "says too many samples"),
        (lambda path, query: (200, '{"status": "success"}'), "can't be understood"),
        (prometheus(watched=False), "nothing there counts"),
        (prometheus((SAVE, [(NOW - 100, "1"), (NOW, "NaN")])), "no number"),
    ],
    ids=["500", "html", "error", "no data key", "empty vector", "nan"],
)
def test_prometheus_without_an_answer_is_no_data(serve, answer, problem):
    """An error, an empty vector, NaN and what is no JSON are a problem of the source, and never 0."""
    assert problem in str(from_prometheus(serve(answer), NOW).problem)
    assert from_prometheus(serve(prometheus((SAVE, [(NOW - 50, "1")]))), NOW).problem is None  # the control


def test_unreachable_sources_are_no_data(tmp_path):
    """A server that is not there, what is no URL, and a log that is missing or empty are told so, without a password."""
    refused = from_metrics("http://me:secret@127.0.0.1:1/metrics")
    assert "can't be reached" in str(refused.problem)
    assert "secret" not in refused.name + str(refused.problem)
    assert shown("http://me:secret@h:1/m?token=x") == "http://me:***@h:1/m"
    assert from_prometheus("ftp://h", NOW).problem == "is no http or https URL"
    (tmp_path / "empty.log").write_text("\n")
    assert from_log(str(tmp_path / "empty.log"), NOW).problem == "is empty"
    assert "No such file" in str(from_log(str(tmp_path / "none.log"), NOW).problem)


def test_metrics_of_a_process(serve):
    """A scrape tells the counts of that process; one of a process that counts nothing of this is no data."""
    registry = CollectorRegistry()
    ignored = IgnoredExceptions(registry=registry, exporters=["prometheus"], later=lambda *_: None)
    url = serve(lambda path, query: (200, generate_latest(registry).decode()))
    assert (from_metrics(url).problem, from_metrics(url).came) == (None, {})
    for _ in range(3):
        ignored.filter(logging.makeLogRecord({"name": "shop.store", "msg": "save.exception_ignored"}))
    assert from_metrics(url).came["shop.store", "save.exception_ignored"].count == 3
    other = serve(lambda path, query: (200, "# TYPE up gauge\nup 1\n"))
    assert "nothing there counts" in str(from_metrics(other).problem)


LOG = """2026-08-02T11:00:00Z [warning  ] save.exception_ignored [shop.store]
2026-08-02 11:30:00+00:00 WARNING shop.store save.exception_ignored
Traceback (most recent call last):
  File "x.py", line 3, in save
    logger.warning("inner.exception_ignored", exc_info=True)
2026-08-02T11:31:00Z ignored_exceptions.held_back ignored_event=save.exception_ignored ignored_logger=shop.store held_back=40 seconds=60.0
\x1b[2m2026-08-02T11:32:00Z\x1b[0m [\x1b[33mwarning\x1b[0m] \x1b[1mload.exception_ignored\x1b[0m
2026-07-30T11:00:00Z [warning  ] old.exception_ignored
{"event": "send.exception_ignored", "logger": "shop.mail", "timestamp": "2026-08-02T11:40:00Z"}
{"msg": "ignored_exceptions.held_back", "ignored_event": "send.exception_ignored", "ignored_logger": "shop.mail", "held_back": 5, "ts": 1785671000}
{"text": "x", "record": {"message": "loguru.exception_ignored", "name": "shop.a", "time": {"timestamp": 1785671000.5}}}
{"cut
"""  # noqa: E501 - a line of a log


def test_a_log_is_read_in_every_form(tmp_path):
    """Text, coloured text and JSON lines of each library count, with those held back; old lines and tracebacks do not."""
    path = tmp_path / "app.log"
    path.write_text(LOG)
    source = from_log(str(path), NOW)
    assert source.problem is None
    assert {key: came.count for key, came in source.came.items()} == {
        ("", "save.exception_ignored"): 2,
        ("shop.store", "save.exception_ignored"): 40,
        ("", "load.exception_ignored"): 1,
        ("shop.mail", "send.exception_ignored"): 6,
        ("shop.a", "loguru.exception_ignored"): 1,
    }
    assert source.came["", "save.exception_ignored"].last == datetime(2026, 8, 2, 11, 30, tzinfo=UTC).timestamp()
    assert from_log(str(path), NOW + 30 * 3600).problem == "has no line of the last 24 hours"
    path.write_text("a line without a time\n")
    assert "no line with a time" in str(from_log(str(path), NOW).problem)


def test_rises_of_a_counter():
    """A series that was there counts from its first value, one that is born from 0; a fall is a restart."""
    assert list(_rises([(0, 5), (1, 5), (2, 8), (3, 1)], 1)) == [(2, 3), (3, 1)]
    assert list(_rises([(5, 2), (6, 2)], 1)) == [(5, 2)]
    assert list(_rises([], 1)) == []


def handler(event: str, logger: str, severity: str = "high", file: str = "a.py") -> dict[str, Any]:
    """An entry of a list."""
    return {
        "event": f"{event}.exception_ignored",
        "logger": logger,
        "severity": severity,
        "level": "warning",
        "new": True,
        "places": [{"file": file, "line": 1}],
    }


def source(kind: str, problem: str | None = None, **counts: int) -> Source:
    """A source; counts by event, or by `logger__event`."""
    made = Source(kind, kind, problem=problem)
    for key, count in counts.items():
        logger, _, event = key.rpartition("__")
        made.add(logger.replace("_", "."), f"{event}.exception_ignored", count, 1.0)
    return made


def test_worst_first_and_unlisted():
    """Those that fired most come first, silent ones by severity; what fired without being listed is told apart."""
    handlers = [handler("a", "m", "low"), handler("b", "m", "medium"), handler("c", "m"), handler("d", "m", "low")]
    seen = joined(handlers, [source("log", m__d=3, m__b=9, m__z=4)])
    assert [(row["event"][0], row["count"]) for row in seen["handlers"]] == [("b", 9), ("d", 3), ("c", 0), ("a", 0)]
    assert [(row["event"], row["count"]) for row in seen["unlisted"]] == [("z.exception_ignored", 4)]
    assert seen["data"] is True


def test_names_of_loggers_are_matched_as_far_as_they_tell():
    """Longer and shorter names of a module meet; where several may be meant, each shows the count as shared."""
    handlers = [handler("a", "shop.store"), handler("a", "shop.mail", file="b.py"), handler("b", "src.shop.x")]
    seen = {row["logger"]: row for row in joined(handlers, [source("log", shop_store__a=2, shop_x__b=1)])["handlers"]}
    assert [(name, row["count"], row["shared"]) for name, row in sorted(seen.items())] == [
        ("shop.mail", 0, False),
        ("shop.store", 2, False),
        ("src.shop.x", 1, False),
    ]
    seen = {row["logger"]: row for row in joined(handlers, [source("log", a=5)])["handlers"]}
    assert {row["count"] for name, row in seen.items() if name != "src.shop.x"} == {5}
    assert all(row["shared"] for name, row in seen.items() if name != "src.shop.x")


def test_no_data_is_no_zero():
    """While a source has no data, a handler that nobody saw fire has no count, and nothing is called well."""
    handlers = [handler("a", "m"), handler("b", "m")]
    seen = joined(handlers, [source("log", m__a=1), source("metrics", "can't be reached")])
    assert seen["data"] is False
    assert [(row["event"][0], row["count"]) for row in seen["handlers"]] == [("a", 1), ("b", None)]
    assert joined(handlers, [])["data"] is False


def test_sources_of_one_kind_add_up_and_of_two_kinds_do_not():
    """Two processes' counts add up; a log and Prometheus saw the same events."""
    key = ("m", "a.exception_ignored")
    assert together([source("metrics", m__a=2), source("metrics", m__a=3)])[key].count == 5
    assert together([source("metrics", m__a=2), source("prometheus", m__a=3)])[key].count == 3
    mixed = together([source("log", a=4), source("prometheus", m__a=3)])
    assert {name: came.count for name, came in mixed.items()} == {key: 3}


def run(unhush: Callable[..., Any], project: Path, *args: str) -> Any:
    return unhush("rollout", "watch", *args, cwd=project)


def test_the_command_shows_what_fired(project, unhush, serve):
    """From a process's metrics: the table, worst first, exit 0; the same as JSON."""
    registry = CollectorRegistry()
    ignored = IgnoredExceptions(registry=registry, exporters=["prometheus"], later=lambda *_: None)
    for _ in range(12):
        ignored.filter(logging.makeLogRecord({"name": "shop.store", "msg": "save.exception_ignored"}))
    url = serve(lambda path, query: (200, generate_latest(registry).decode()))
    done = run(unhush, project, "--metrics", url, "--base", "HEAD~1")
    assert (done.returncode, done.stderr) == (0, b"")
    rows = done.stdout.decode().splitlines()
    assert re.match(r" *12 +\w+ +save\.exception_ignored +shop\.store +shop/store\.py:\d+$", rows[1])
    assert rows[-2:] == [f"data from {url}", "1 event fired in the last 24 hours"]
    found = json.loads(run(unhush, project, "--metrics", url, "--base", "HEAD~1", "--json").stdout)
    assert (found["data"], found["handlers"][0]["count"], found["handlers"][1]["count"]) == (True, 12, 0)


def test_the_command_without_data_is_no_all_clear(project, unhush):
    """A source that can't be reached is `no data` and exit 1; no source at all is wrong use."""
    done = run(unhush, project, "--metrics", "http://127.0.0.1:1/metrics")
    assert done.returncode == 1
    assert b"no data: http://127.0.0.1:1/metrics: can't be reached" in done.stdout
    assert b"none has fired" not in done.stdout
    done = run(unhush, project)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"error: say what to look at: --prometheus URL, --metrics URL or --log FILE\n"


def test_the_command_follows_until_ctrl_c(project):
    """With --follow it shows the table and looks on, until it is interrupted."""
    (project / "app.log").write_text(f"{datetime.now(UTC).isoformat()} save.exception_ignored\n")
    words = [sys.executable, "-m", "unhush", "rollout", "watch", "--log", "app.log", "--base", "HEAD~1", "--follow"]
    with subprocess.Popen(words, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        shown = []
        while not shown or "fired in the last" not in shown[-1]:
            shown.append(process.stdout.readline())
            assert shown[-1], "it ended"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert shown[-1] == "1 event fired in the last 24 hours\n"
    assert (process.returncode, said.strip()) == (130, "interrupted")


def test_what_is_unlisted_and_shared_is_shown():
    """The table says what fired without being listed, and which counts may be another handler's."""
    handlers = [handler("a", "shop.store"), handler("a", "shop.mail", file="b.py")]
    text = "".join(fired(joined(handlers, [source("log", a=5, x__z=2)])))
    assert text.count("   5?") == 2
    assert re.search(r"fired, but not on the list:\n.*\n +2 .* z\.exception_ignored +x *\n", text)
    assert text.endswith("data from log\n3 events fired in the last 24 hours\n")

"""What unhush and its peers report in the sampled files, as places: file below the corpus, and line of the handler."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from unhush.codemods.engine import check_bytes, visible
from unhush.codemods.rules import default_codes
from unhush.codemods.settings import Settings

Place = tuple[str, int]
# From a handler's place to the rule's code and the severity; peers have no severity.
Reported = dict[Place, tuple[str, str]]
Blamed = dict[str, dict[int, int]]

_CHUNK = 200
_SUPPRESSED = re.compile(r"Suppressed '(?:bare-except|broad-exception-caught)'")


def run_unhush(corpus: Path, files: Sequence[str], settings: Settings | None = None) -> Reported:
    """What unhush shows as it comes out of the box, but for other tools' suppressions."""
    settings = settings or Settings(select=default_codes(), foreign_suppressions=False)
    reported: Reported = {}
    for file in files:
        report = check_bytes((corpus / file).read_bytes(), file, settings)
        if report.errors:
            raise SystemExit(f"{corpus / file}: {report.errors[0].reason}")
        reported |= {(file, one.row): (one.code, one.severity) for one in visible(report, settings)}
    return reported


def run_ruff(corpus: Path, blamed: Blamed) -> Reported:
    """ruff's five nearest rules, one row for each handler and code."""
    options = ["check", "--isolated", "--no-cache", "--ignore-noqa", "--exit-zero", "--output-format=json"]
    select = "--select=S110,S112,BLE001,E722,SIM105"
    found = [
        (item["filename"], item["location"]["row"], item["code"])
        for part in _chunks(corpus, blamed)
        for item in json.loads(_run("ruff", *options, select, *part))
        if item["code"] != "invalid-syntax"
    ]
    return _placed(corpus, blamed, found)


def run_pylint(corpus: Path, blamed: Blamed) -> Reported:
    """pylint's W0702 and W0718, those that a comment suppresses included."""
    options = ["--rcfile=", "--disable=all", "--enable=W0702,W0718,I0020", "--exit-zero", "--output-format=json"]
    codes = {"bare-except": "W0702", "broad-exception-caught": "W0718", "suppressed-message": "W0718"}
    found = [
        (item["path"], item["line"], codes[item["symbol"]])
        for part in _chunks(corpus, blamed)
        for item in json.loads(_run("pylint", *options, *part))
        if item["symbol"] in codes and (item["symbol"] != "suppressed-message" or _SUPPRESSED.match(item["message"]))
    ]
    return _placed(corpus, blamed, found)


def run_bandit(corpus: Path, blamed: Blamed) -> Reported:
    """bandit's B110 and B112."""
    options = ["-q", "--ignore-nosec", "-t", "B110,B112", "-f", "json", "--exit-zero"]
    found = [
        (item["filename"], item["line_number"], item["test_id"])
        for part in _chunks(corpus, blamed)
        for item in json.loads(_run("bandit", *options, *part))["results"]
    ]
    return _placed(corpus, blamed, found)


PEERS: dict[str, Callable[[Path, Blamed], Reported]] = {"ruff": run_ruff, "pylint": run_pylint, "bandit": run_bandit}
ROWS: dict[str, tuple[str, frozenset[str]]] = {
    "ruff S110+S112": ("ruff", frozenset({"S110", "S112"})),
    "ruff BLE001": ("ruff", frozenset({"BLE001"})),
    "ruff's five": ("ruff", frozenset({"S110", "S112", "BLE001", "E722", "SIM105"})),
    "pylint W0702+W0718": ("pylint", frozenset({"W0702", "W0718"})),
    "bandit B110+B112": ("bandit", frozenset({"B110", "B112"})),
}


def installed(peer: str) -> bool:
    """Whether a peer can be run by this Python."""
    return importlib.util.find_spec(peer) is not None


def _chunks(corpus: Path, blamed: Blamed) -> Iterator[list[str]]:
    """The files' absolute names, so many at a time as fit a command line."""
    names = [str(corpus / file) for file in blamed]
    return (names[at : at + _CHUNK] for at in range(0, len(names), _CHUNK))


def _run(tool: str, *args: str) -> str:
    done = subprocess.run([sys.executable, "-m", tool, *args], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{tool} failed with {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}")
    return done.stdout


def _placed(corpus: Path, blamed: Blamed, found: list[tuple[str, int, str]]) -> Reported:
    """Reports by place of the handler; the codes of one handler are joined by commas."""
    codes: dict[Place, set[str]] = {}
    for name, row, code in found:
        file = Path(os.path.relpath(name, corpus)).as_posix()
        if row in blamed[file]:
            codes.setdefault((file, blamed[file][row]), set()).add(code)
    return {place: (",".join(sorted(found)), "") for place, found in codes.items()}

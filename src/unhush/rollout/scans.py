"""Handlers found before, fixed, and remaining: two scans compared by the handlers' fingerprints."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..version import __version__
from . import checks, evidence, git, store
from .errors import RolloutProblem
from .evidence import Evidence, Verdict

NAME = "handlers"
COMMAND = (sys.executable, "-m", "unhush", "check", "--no-cache", "--output-format", "json", ".")
_SHOWN = ("unhush", *COMMAND[3:])
_FILES = re.compile(r"\bin (?:[\d,]+ of )?([\d,]+) files?\b")
_LISTS = ("before.json", "now.json", "by_old_settings.json")
_KEPT = ("fingerprint", "code", "name", "severity", "filename", "qualname")
# A comment that tells unhush, or another linter, not to look.
_SUPPRESSION = re.compile(rb"#\s*(?:unhush:\s*ignore|.*\b(?:noqa|nosec|pylint:\s*disable))[^\n]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Scan:
    """What `unhush check` found in a tree."""

    exit_code: int
    files: int
    findings: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the scans of two commits found: HEAD by its own settings, and by those of the base."""

    exit_code: int
    lists: tuple[list[dict[str, Any]], ...]
    counts: dict[str, int]


def compare(root: Path, base: str, commit: str) -> Comparison:
    """Scans two commits as git has them. Raises RolloutProblem.

    Two ways to lose a handler without a fix are looked for: a scan of the second by the settings of the first, and the
    comments that suppress findings, counted in both.
    """
    with tempfile.TemporaryDirectory(prefix="unhush-scan-") as place:
        before, now = Path(place, "before"), Path(place, "now")
        for folder, ref in ((before, base), (now, commit)):
            folder.mkdir()
            git.export(root, ref, folder)
            _unignore(folder)
        was, has = scan(before), scan(now)
        comments = {
            "suppressing_comments_before": _suppressions(before),
            "suppressing_comments_now": _suppressions(now),
        }
        _take_settings(before, now)
        by_old_settings = scan(now)
    lists = (was.findings, has.findings, by_old_settings.findings)
    counts = {**_compared(*lists), "files_before": was.files, "files_now": has.files, **comments}
    return Comparison(has.exit_code, lists, counts)


def gather(root: Path, base: str, run_id: str) -> Evidence:
    """Scans the base and HEAD, and writes the record "handlers". Raises RolloutProblem."""
    started, commit = evidence.now(), git.head(root)
    seen = compare(root, base, commit)
    outputs = [
        checks.keep(root, NAME, name, store.pretty(found).encode())
        for name, found in zip(_LISTS, seen.lists, strict=True)
    ]
    record = Evidence(
        name=NAME,
        kind="handlers",
        command=_SHOWN,
        exit_code=seen.exit_code,
        started_at=started,
        ended_at=evidence.now(),
        run_id=run_id,
        tool_version=__version__,
        commit=commit,
        outputs=store.hashes(root, outputs),
        counts=seen.counts,
        facts={"base": git.resolve(root, base)},
    )
    evidence.write(root, record)
    return record


def seen_again(record: Evidence, root: Path) -> str | None:
    """Scans both commits once more; a line where that finds another thing than the record says. Raises RolloutProblem."""
    seen = compare(root, str(record.facts.get("base")), str(record.commit))
    stored = tuple(_findings(record, root, name) for name in _LISTS)
    if (seen.lists, seen.counts, seen.exit_code) != (stored, record.counts, record.exit_code):
        return "another scan of the same commits finds something else than the record says"
    return None


def judge(record: Evidence, root: Path) -> Verdict:
    """Green where both trees held files, the project's own gate is open, and no handler was lost without a fix."""
    if not record.counts.get("files_before") or not record.counts.get("files_now"):
        return Verdict("no evidence", "no Python file was scanned")
    lists = [_findings(record, root, name) for name in _LISTS]
    numbers = _compared(*lists)
    if any(record.counts.get(key) != value for key, value in numbers.items()):
        return Verdict("fail", "the record's counts are not those of the scans that it holds")
    if record.exit_code not in (0, 1):
        return Verdict("fail", f"unhush check ended with exit code {record.exit_code}: a file can't be read or parsed")
    if numbers["set_aside"]:
        return Verdict("fail", f"{numbers['set_aside']} handlers are not fixed, but set aside by changed settings")
    said = f"{numbers['before']} before, {numbers['fixed']} fixed, {numbers['remaining']} remain, {numbers['new']} new"
    more = record.counts["suppressing_comments_now"] - record.counts["suppressing_comments_before"]
    said += f"; {more} more comments that suppress findings" if more > 0 else ""
    if numbers["new"]:
        return Verdict("fail", said)
    return Verdict("pass" if record.exit_code == 0 else "fail", said)


def fixed_files(root: Path) -> list[str]:
    """The files in which handlers of the record "handlers" were fixed, sorted. Raises RolloutProblem."""
    record = evidence.read(root, NAME)
    before, *after = (_findings(record, root, name) for name in _LISTS)
    left = {found["fingerprint"] for findings in after for found in findings}
    return sorted({found["filename"] for found in before if found["fingerprint"] not in left})


def scan(folder: Path) -> Scan:
    """Runs `unhush check` on a tree, by the settings in it. Raises RolloutProblem where it says nothing of use."""
    done = subprocess.run(COMMAND, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    said = done.stderr.decode("utf-8", "replace")
    counted = _FILES.search(said)
    try:
        listed = json.loads(done.stdout)
        found = [{**{key: item[key] for key in _KEPT}, "row": item["location"]["row"]} for item in listed]
    except (ValueError, KeyError, TypeError) as error:
        raise RolloutProblem(f"unhush check said nothing of use: {said.strip().partition(chr(10))[0]}") from error
    for item in found:
        item["filename"] = os.path.relpath(os.path.realpath(item["filename"]), os.path.realpath(folder))
    files = int(counted[1].replace(",", "")) if counted else 0
    return Scan(done.returncode, files, sorted(found, key=lambda item: (item["filename"], item["row"], item["code"])))


def _compared(before: list[Any], now: list[Any], by_old_settings: list[Any]) -> dict[str, int]:
    was, has, still = ({item["fingerprint"] for item in items} for items in (before, now, by_old_settings))
    return {
        "before": len(was),
        "fixed": len(was - has - still),
        "remaining": len(has),
        "new": len(has - was),
        "set_aside": len((was & still) - has),
    }


def _findings(record: Evidence, root: Path, name: str) -> list[Any]:
    path = f"{evidence.files_of(NAME)}/{name}"
    if path not in record.outputs:
        raise RolloutProblem(f"the record holds no {name}")
    found = store.read_json(store.within(root, path))
    if not isinstance(found, list):
        raise RolloutProblem(f"{path}: is no list of findings")
    return found


def _take_settings(source: Path, target: Path) -> None:
    """Lays one tree's settings over the other's."""
    (target / "pyproject.toml").unlink(missing_ok=True)
    if (source / "pyproject.toml").is_file():
        shutil.copyfile(source / "pyproject.toml", target / "pyproject.toml")


def _unignore(folder: Path) -> None:
    """Has all files looked at: what git tracks is part of the project, whatever `.gitignore` says of it."""
    for path in folder.rglob(".gitignore"):
        path.unlink()


def _suppressions(folder: Path) -> int:
    paths = (path for path in folder.rglob("*.py") if path.is_file() and not path.is_symlink())
    return sum(len(_SUPPRESSION.findall(path.read_bytes())) for path in paths)

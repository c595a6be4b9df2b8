"""How old findings are: the day on which git says that their first line was written."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from .codemods.model import SEVERITY_RANK, Finding
from .codemods.pool import usable_cores
from .git import GitFailure, Repository, real
from .output import Output

SECONDS = 120.0  # after that no further file is asked for
NO_GIT, NOT_COMMITTED, NOT_REACHED = "no git history", "not committed", "not asked in time"
_HEAD = re.compile(rb"^([0-9a-f]{40,64}) \d+ (\d+)(?: \d+)?$")
_RANGES = 200  # more of them make git slower than the whole file does


def ages_of(
    findings: Iterable[Finding], output: Output, seconds: float = SECONDS, jobs: int | None = None
) -> Mapping[tuple[str, int], str]:
    """For the file and row of each finding its day (ISO 8601, UTC), or words for why there is none.

    Files are asked for side by side, those with the worst findings first. Lines that differ by their layout alone count
    as old as they were (`git blame -w`), and a project's own `blame.ignoreRevsFile` is heeded.
    """
    rows: dict[str, list[int]] = {}
    for finding in sorted(findings, key=lambda finding: -SEVERITY_RANK[finding.severity]):
        rows.setdefault(finding.filename, []).append(finding.row)
    repositories = _Repositories()
    end = time.monotonic() + seconds
    found: dict[tuple[str, int], str] = {}

    def ask(name: str) -> dict[int, str]:
        if time.monotonic() > end:
            return dict.fromkeys(rows[name], NOT_REACHED)
        return _blamed(repositories.of(os.path.dirname(real(name))), real(name), rows[name])

    with ThreadPoolExecutor(jobs or usable_cores()) as pool:
        for name, days in zip(rows, output.progress(pool.map(ask, rows), "asked git about"), strict=True):
            found.update({(name, row): day for row, day in days.items()})
    if missed := sum(day == NOT_REACHED for day in found.values()):
        of = "1 finding is" if missed == 1 else f"{missed:,} findings are"
        output.remark(f"The age of {of} missing: git took longer than {seconds:g} seconds.")
    return found


class _Repositories:
    """The repository of each folder, found once."""

    def __init__(self) -> None:
        self._known: dict[str, Repository | None] = {}

    def of(self, folder: str) -> Repository | None:
        """None where there is none, or no git."""
        if folder not in self._known:
            self._known[folder] = self._find(folder)
        return self._known[folder]

    def _find(self, folder: str) -> Repository | None:
        for top, repository in list(self._known.items()):
            if repository and folder.startswith(top + os.sep) and not _is_root(folder, repository.top):
                return repository
        try:
            return Repository(folder)
        except GitFailure:
            return None


def _is_root(folder: str, top: str) -> bool:
    """Whether another repository begins between a folder and the root of one above it."""
    while folder != top:
        if os.path.lexists(os.path.join(folder, ".git")):
            return True
        folder = os.path.dirname(folder)
    return False


def _blamed(repository: Repository | None, name: str, rows: list[int]) -> dict[int, str]:
    """The day of each row of a file."""
    if repository is None:
        return dict.fromkeys(rows, NO_GIT)
    ranges = [f"-L{row},{row}" for row in sorted(set(rows))] if len(rows) <= _RANGES else []
    try:
        said = repository.ask("blame", "-w", "--porcelain", *ranges, "--", os.path.relpath(name, repository.top))
    except GitFailure:  # the file is not tracked, or there is no commit yet
        return dict.fromkeys(rows, NOT_COMMITTED)
    days = _days(said)
    return {row: days.get(row, NOT_COMMITTED) for row in rows}


def _days(porcelain: bytes) -> dict[int, str]:
    """The days by row: of each commit the facts stand where it is first named."""
    days: dict[bytes, str] = {}
    commits: dict[int, bytes] = {}
    commit = b""
    for line in porcelain.split(b"\n"):
        if line.startswith(b"\t"):
            continue
        if head := _HEAD.match(line):
            commit = head[1]
            commits[int(head[2])] = commit
        elif line.startswith(b"author-time "):
            seconds = int(line.removeprefix(b"author-time "))
            days[commit] = (
                datetime.fromtimestamp(seconds, UTC).date().isoformat() if commit.strip(b"0") else NOT_COMMITTED
            )
    return {row: days[commit] for row, commit in commits.items()}

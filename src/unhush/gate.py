"""Which findings of a run count: those in changed lines, and those that no baseline knows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .codemods.model import FileReport, Finding
from .codemods.source import DecodeFailure
from .config import Nearest, common_folder
from .files import read_source
from .git import Repository, real
from .output import Failure, Output
from .reports import baseline as words

if TYPE_CHECKING:
    from .baseline_match import Matched, Reach
    from .caching import Checker
    from .changed import Changes


@dataclass(frozen=True)
class Asked:
    """What the command line asks of the gate. `baseline` is the file's absolute name."""

    baseline: str | None = None
    is_strict: bool = False
    since: str | None = None
    staged: bool = False


class Gate:
    """One run's gate. Raises Failure where the baseline or the repository can't be used, before anything is read."""

    def __init__(self, asked: Asked, paths: Iterable[str], nearest: Nearest) -> None:
        self._asked, self._nearest, self._settings = asked, nearest, nearest.base
        self._paths = [_resolved(path) for path in paths] or [os.path.realpath(os.getcwd())]
        self._failed: set[str] = set()
        self.changes = self._find_changes(common_folder(paths)) if asked.since is not None or asked.staged else None
        self.matched: Matched | None = None
        self.baseline = None
        if asked.baseline:
            from .baseline import load

            self.baseline = load(asked.baseline)

    def _find_changes(self, folder: str) -> Changes:
        from .changed import changes_since, staged_changes

        self._repository = Repository(folder)
        for path in self._paths:
            self._repository.refuse_others(path)
        if self._asked.since is None:
            return staged_changes(self._repository)
        return changes_since(self._repository, self._asked.since)

    def check(self, files: Iterable[str], checker: Checker) -> Iterator[FileReport]:
        """The reports of the files that the gate asks for. Raises Failure for one that is staged only in part."""
        if self.changes is not None:
            files = [file for file in files if self.changes.of(file)]
            self._refuse_half_staged(files, self.changes.half_staged)
        return checker.check(files)

    def _refuse_half_staged(self, files: list[str], half_staged: frozenset[str]) -> None:
        # What is staged and no longer in the working tree is found by no walk.
        gone = {name for name in half_staged if name.endswith((".py", ".pyi")) and not os.path.lexists(name)}
        names = sorted({file for file in files if real(file) in half_staged} | {*filter(self._is_asked, gone)})
        if names:
            more = f" (and {len(names) - 1} more)" if names[1:] else ""
            raise Failure(
                f"{names[0]}{more}: is staged, and was changed after that, so what is checked would not be what is "
                "committed: stage all of it with `git add`, or lay the rest aside with `git stash push --keep-index`"
            )

    def _is_asked(self, filename: str) -> bool:
        return any(filename == path or filename.startswith(path.rstrip(os.sep) + os.sep) for path in self._paths)

    def judged(self, reports: Iterable[FileReport], jobs: int | None) -> Iterator[FileReport]:
        """The reports with the findings that count. With a baseline all files are checked before the first is shown."""
        if self.baseline is None:
            for report in reports:
                kept = tuple(finding for finding in report.findings if self._counts(finding))
                yield FileReport(report.filename, kept, report.errors)
            return
        from .baseline_match import found_in, match

        collected = list(reports)
        self._failed = {real(report.filename) for report in collected if report.errors}
        changed = self._counts if self.changes is not None else lambda finding: False
        found = found_in(collected, self.baseline, self._settings, jobs, changed)
        self.matched = match(self.baseline, found, self.reach())
        self.matched.new = [item for item in self.matched.new if self._counts(item.finding)]
        known = {id(item.finding) for _, item in self.matched.known}
        for report in collected:
            kept = tuple(finding for finding in report.findings if id(finding) not in known and self._counts(finding))
            yield FileReport(report.filename, kept, report.errors)

    def _counts(self, finding: Finding) -> bool:
        """Whether a finding stands in lines that the run is about."""
        if self.changes is None:
            return True
        change = self.changes.of(finding.filename)
        if change is None:
            return False
        if not change.touches(finding):
            return self._has_own_rows(finding.filename)
        return True

    def _has_own_rows(self, filename: str) -> bool:
        """Whether git counts other lines in a file than Python: it holds a carriage return that ends a line alone."""
        try:
            data = read_source(filename).data
        except (OSError, DecodeFailure):
            return True  # it went away, and what stood there can't be told
        return b"\r" in data.replace(b"\r\n", b"")

    def reach(self) -> Reach:
        """What this run can tell of the baseline's entries."""
        from .baseline_match import Reach

        return Reach(self._speaks_of, self._is_gone, self._nearest.codes)

    def _speaks_of(self, filename: str) -> bool:
        if filename in self._failed:
            return False
        if self.changes is None:
            return self._is_asked(filename)
        return self._is_asked(filename) and (filename in self.changes.files or filename in self.changes.gone)

    def _is_gone(self, filename: str) -> bool:
        return not os.path.lexists(filename) or (self.changes is not None and filename in self.changes.gone)

    @property
    def fails(self) -> bool:
        """Whether the run fails for stale entries."""
        return self._asked.is_strict and bool(self.matched and self.matched.stale.total())

    def tell(self, output: Output) -> None:
        """Writes what the summary of findings leaves out: what was looked at, what is tolerated, what is gone."""
        if self.changes is not None:
            output.remark(words.changed(self._asked.since, len(self.changes.files), self.changes.submodules))
        if self.baseline is None or self.matched is None:
            return
        path = os.path.relpath(self.baseline.path)
        known = sum(item.shown for _, item in self.matched.known)
        new = sum(item.shown for item in self.matched.new)
        output.remark(words.compared(path, known, new, self.matched.stale.total()))
        if self.fails:
            for line in words.stale(self.matched.stale):
                output.error(f"{path}: {line}")


def _resolved(path: str) -> str:
    """A path of the command line as files' names are compared: a link to a folder stands for it, one to a file does not."""
    return os.path.realpath(path) if os.path.isdir(path) else real(os.path.abspath(path))

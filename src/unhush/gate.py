"""Which findings of a run count: those in changed lines, and those that no baseline knows."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .codemods.model import FileReport, Finding
from .codemods.perfile import settings_for
from .codemods.source import DecodeFailure
from .config import Nearest, common_folder
from .files import read_source
from .git import Repository, real
from .output import Failure, Output
from .reports import baseline as words

if TYPE_CHECKING:
    from .baseline import Baseline
    from .baseline_match import Matched, Reach
    from .caching import Checker
    from .changed import Changes


@dataclass(frozen=True)
class Asked:
    """What is asked of the gate. `baseline` is the absolute name of one for all files; `by_settings`: each goes by its own."""

    baseline: str | None = None
    by_settings: bool = False
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
        self.compared: list[tuple[Baseline, Matched]] = []  # once all is judged
        self._baselines: dict[str, Baseline] = {}
        if first := asked.baseline or (asked.by_settings and nearest.base.baseline):
            self._load(first)

    def _load(self, path: str) -> Baseline:
        from .baseline import load

        if path not in self._baselines:
            self._baselines[path] = load(path)
        return self._baselines[path]

    def _baseline_of(self, filename: str) -> str | None:
        """The baseline that a file goes by."""
        if self._asked.by_settings and not self._asked.baseline:
            return settings_for(filename, self._settings).baseline
        return self._asked.baseline

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
        if isinstance(files, list):  # all are found already: a broken baseline is refused before anything is shown
            for path in filter(None, map(self._baseline_of, files)):
                self._load(path)
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
        """The reports with the findings that count. From the first file with a baseline on all are checked before one is shown."""
        groups: dict[str, list[FileReport]] = {path: [] for path in self._baselines}
        waiting = []
        for report in reports:
            path = self._baseline_of(report.filename)
            if path:
                groups.setdefault(path, []).append(report)
            if groups:
                waiting.append(report)
            else:
                yield self._kept(report, frozenset())
        self._failed = {real(report.filename) for report in waiting if report.errors}
        known = {id(finding) for path, group in groups.items() for finding in self._compare(path, group, jobs)}
        for report in waiting:
            yield self._kept(report, known)

    def _compare(self, path: str, reports: list[FileReport], jobs: int | None) -> list[Finding]:
        """Compares reports with the baseline that they go by, and returns the findings that it knows."""
        from .baseline_match import found_in, match

        baseline = self._load(path)
        changed = self._counts if self.changes is not None else lambda finding: False
        matched = match(baseline, found_in(reports, baseline, self._settings, jobs, changed), self.reach())
        matched.new = [item for item in matched.new if self._counts(item.finding)]
        self.compared.append((baseline, matched))
        return [item.finding for _, item in matched.known]

    def _kept(self, report: FileReport, known: Collection[int]) -> FileReport:
        """A report without known findings, by identity, and those that do not count."""
        kept = tuple(finding for finding in report.findings if id(finding) not in known and self._counts(finding))
        return FileReport(report.filename, kept, report.errors)

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
        return self._asked.is_strict and any(matched.stale.total() for _, matched in self.compared)

    def tell(self, output: Output) -> None:
        """Writes what the summary of findings leaves out: what was looked at, what is tolerated, what is gone."""
        if self.changes is not None:
            output.remark(words.changed(self._asked.since, len(self.changes.files), self.changes.submodules))
        for baseline, matched in self.compared:
            path = os.path.relpath(baseline.path)
            known = sum(item.shown for _, item in matched.known)
            new = sum(item.shown for item in matched.new)
            output.remark(words.compared(path, known, new, matched.stale.total()))
            for line in words.stale(matched.stale) if self.fails else ():
                output.error(f"{path}: {line}")


def _resolved(path: str) -> str:
    """A path of the command line as files' names are compared: a link to a folder stands for it, one to a file does not."""
    return os.path.realpath(path) if os.path.isdir(path) else real(os.path.abspath(path))

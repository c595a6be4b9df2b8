"""Immutable settings that are passed in to finder and fixer; reading them from files is the front door's work."""

from __future__ import annotations

from dataclasses import dataclass

from .model import Severity


@dataclass(frozen=True, slots=True)
class Settings:
    """What to look for, and how to rewrite it.

    `select` holds resolved rule codes. `root` is the folder that fingerprints and `exclude` are relative to;
    `excludes` are more such patterns, each list with its folder, and `per_file_ignores` triples of folder, pattern and
    the codes that are left out in files that fit it. `logger_names`, `logger_calls` and `reporting_calls` are dotted
    names of the project's own loggers, log functions and reporters, in addition to the known ones. `backend` is auto,
    structlog, stdlib or loguru; levels are names of logging methods. `baseline` is an absolute name, `target_version`
    such as (3, 11).
    """

    select: frozenset[str] = frozenset()
    min_severity: Severity = "medium"
    fail_on: Severity | None = None
    exclude: tuple[str, ...] = ()
    force_exclude: bool = False
    logger_names: tuple[str, ...] = ()
    reporting_calls: tuple[str, ...] = ()
    foreign_suppressions: bool = True
    backend: str = "auto"
    level_broad: str = "warning"
    level_narrow: str = "debug"
    unsafe_fixes: bool = False
    root: str = "."
    logger_calls: tuple[str, ...] = ()
    excludes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    per_file_ignores: tuple[tuple[str, str, frozenset[str]], ...] = ()
    baseline: str | None = None
    target_version: tuple[int, int] | None = None

    @property
    def fixes(self) -> tuple[str, ...]:
        """The kinds of fixes that are made."""
        return ("safe", "unsafe") if self.unsafe_fixes else ("safe",)

    @property
    def fails_from(self) -> Severity:
        """The least severity that fails a run."""
        return self.fail_on or self.min_severity

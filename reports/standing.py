"""How a run's findings stand against a baseline, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .tally import LEVELS


@dataclass(frozen=True)
class Standing:
    """Counts by severity: of the baseline `before`, and of the findings that are `known`, `gone` from it, and `new`."""

    before: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    gone: Counter[str] = field(default_factory=Counter)
    new: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> list[tuple[str, int, int, int, int, int]]:
        """Severity, before, gone, known, new and now: a row for each severity, and one for all."""
        rows = [(level, *self._row(level)) for level in LEVELS]
        return [*rows, ("all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True)))]  # type: ignore[list-item]

    def _row(self, level: str) -> tuple[int, int, int, int, int]:
        before, gone, known, new = (counts[level] for counts in (self.before, self.gone, self.known, self.new))
        return before, gone, known, new, known + new

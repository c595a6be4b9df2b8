"""What `unhush fix` says: what was rewritten, what stays, and the sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..codemods.fixreport import Changed, Failed, FixReport
from ..codemods.model import SEVERITY_RANK
from .excerpt import shown
from .paths import relative
from .tally import LEVELS, joined
from .text import headline


@dataclass(slots=True)
class FixTally:
    """Counts over a run of the fixer; `remaining` counts findings by severity."""

    files: int = 0
    changed: int = 0
    failed: int = 0
    fixed: int = 0
    unproved: int = 0
    remaining: Counter[str] = field(default_factory=Counter)

    def add(self, report: FixReport) -> None:
        """Counts one file's outcome."""
        self.files += 1
        self.failed += isinstance(report, Failed)
        self.remaining.update(finding.severity for finding in report.remaining)
        if isinstance(report, Changed):
            self.changed += 1
            self.fixed += len(report.fixed)
            self.unproved += report.verdict != "proved"

    def at_least(self, severity: str) -> int:
        """How many findings of that severity or a worse one remain."""
        least = SEVERITY_RANK[severity]
        return sum(count for level, count in self.remaining.items() if SEVERITY_RANK[level] >= least)


def render(reports: Iterable[FixReport], base: str) -> Iterator[str]:
    """A line for each finding that was rewritten, with the event it logs now, and one or two for each that stays."""
    for report in reports:
        name = shown(relative(report.filename, base))
        lines = []
        if isinstance(report, Changed):
            for fixed in report.fixed:
                finding = fixed.finding
                place = f"{name}:{finding.row}:{finding.column}"
                loop = " (in a loop)" if finding.in_loop else ""
                lines.append(f"{place}: {finding.code} fixed: {fixed.event or finding.name}{loop}\n")
        for finding in report.remaining:
            lines.append(headline(finding, name))
            lines.extend(f"    not fixed: {reason}\n" for reason in (finding.fix_reason,) if reason)
        if lines:
            yield "".join(lines)


def summary(tally: FixTally, wrote: bool) -> str:
    """What was rewritten and proved, what stays by severity (the high ones first), what failed."""
    did = "Rewrote" if wrote else "Would rewrite"
    files = f"{tally.files:,} file{'s' * (tally.files != 1)}"
    lines = [f"{did} {_findings(tally.fixed)} in {tally.changed:,} of {files}{_proof(tally)}."]
    if left := tally.remaining.total():
        levels = joined([f"{tally.remaining[level]:,} {level}" for level in LEVELS if tally.remaining[level]])
        lines.append(f"{_findings(left)} {'remains' if left == 1 else 'remain'}: {levels}.")
    if tally.failed:
        lines.append(f"{tally.failed:,} file{'s' * (tally.failed != 1)} left alone because of errors.")
    return "\n".join(lines)


def _findings(count: int) -> str:
    return f"{count:,} finding{'s' * (count != 1)}"


def _proof(tally: FixTally) -> str:
    if not tally.changed:
        return ""
    if not tally.unproved:
        return ", each file proved"
    return f", {tally.changed - tally.unproved:,} proved, {tally.unproved:,} with unsafe changes that no proof covers"

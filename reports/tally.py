"""Counts over the findings of a run, and what they come to in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from ..codemods.model import SEVERITY_RANK, Finding

LEVELS = ("high", "medium", "low")


class Tally:
    """What was shown and what was not. `by_rule` counts shown findings by (code, name, severity)."""

    def __init__(self, files: int = 0) -> None:
        self.files = files
        self.files_with_findings = 0
        self.by_rule: Counter[tuple[str, str, str]] = Counter()
        self.hidden: Counter[str] = Counter()
        self.fixes: Counter[str | None] = Counter()

    def add(self, findings: Iterable[Finding], shown: Collection[Finding]) -> None:
        """Counts the findings of one file, of which some are shown; `files` is counted by whoever goes through them."""
        self.files_with_findings += bool(shown)
        for finding in shown:
            self.by_rule[finding.code, finding.name, finding.severity] += 1
            self.fixes[finding.fix] += 1
        seen = {id(finding) for finding in shown}
        self.hidden.update(finding.severity for finding in findings if id(finding) not in seen)

    def of(self, severity: str) -> int:
        """How many findings of a severity were shown."""
        return sum(count for key, count in self.by_rule.items() if key[2] == severity)

    def at_least(self, severity: str) -> int:
        """How many findings of that severity or a worse one were shown."""
        least = SEVERITY_RANK[severity]
        return sum(count for key, count in self.by_rule.items() if SEVERITY_RANK[key[2]] >= least)

    def total(self) -> int:
        """How many findings were shown."""
        return self.by_rule.total()


def summary(tally: Tally, kind: str = "") -> str:
    """One or more lines: findings by severity, the high ones first; what was not shown; what can be fixed.

    `kind` is a word for the findings that were asked for, where these are not all.
    """
    lines = [_found(tally, kind)]
    hidden = [f"{tally.hidden[level]:,} {level}" for level in LEVELS if tally.hidden[level]]
    if hidden:
        least = next(level for level in reversed(LEVELS) if tally.hidden[level])
        verb = "was" if tally.hidden.total() == 1 else "were"
        lines.append(f"{joined(hidden)} {verb} not shown (--min-severity {least} shows them).")
    fixable, unsafe = tally.fixes["safe"], tally.fixes["unsafe"]
    if fixable:
        more = f", {unsafe:,} more with --unsafe-fixes" if unsafe else ""
        lines.append(f"[*] {fixable:,} can be fixed by `unhush fix`{more}.")
    elif unsafe:
        lines.append(f"{unsafe:,} can be fixed by `unhush fix --unsafe-fixes`.")
    return "\n".join(lines)


def statistics(tally: Tally) -> str:
    """A table of the shown findings by rule and severity, the rules with most high ones first."""
    rows = [["code", "name", *LEVELS, "total"]]
    rows += [[str(cell) for cell in row.values()] for row in counts(tally)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for code, name, *numbers in rows:
        cells = [code.ljust(widths[0]), name.ljust(widths[1])]
        cells += [number.rjust(width) for number, width in zip(numbers, widths[2:], strict=True)]
        lines.append("  ".join(cells) + "\n")
    return "".join(lines)


def statistics_json(tally: Tally) -> str:
    """The same counts as a JSON list of `{"code", "name", "high", "medium", "low", "total"}`."""
    import json

    return json.dumps(counts(tally), indent=2) + "\n"


def counts(tally: Tally) -> list[dict[str, Any]]:
    """One row for each rule with findings, the rules with most high ones first."""
    rows: list[dict[str, Any]] = []
    for code, name in {key[:2] for key in tally.by_rule}:
        by_level = {level: tally.by_rule[code, name, level] for level in LEVELS}
        rows.append({"code": code, "name": name, **by_level, "total": sum(by_level.values())})
    return sorted(rows, key=lambda row: (*(-row[level] for level in LEVELS), row["code"]))


def _found(tally: Tally, kind: str) -> str:
    what = f"{kind} swallowed exception".lstrip()
    looked_at = f"{tally.files:,} file{'s' * (tally.files != 1)}"
    if not tally.by_rule:
        return f"No {what}s in {looked_at}."
    total = tally.total()
    levels = joined([f"{tally.of(level):,} {level}" for level in LEVELS if tally.of(level)])
    noun = what + "s" * (total != 1)
    return f"{total:,} {noun} in {tally.files_with_findings:,} of {looked_at}: {levels}."


def joined(parts: list[str]) -> str:
    """The parts in a sentence: `a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

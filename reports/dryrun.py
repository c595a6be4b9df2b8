"""The report of a dry run: Markdown from its facts alone, the same bytes each time."""

from __future__ import annotations

from typing import Any

from . import dryrun_checks as checked
from .dryrun_checks import Facts
from .templating import render

TEMPLATE = "dry_run_report.md.j2"
_SHORT = 0.01  # seconds: quicker statements that did nothing to others share one row
_WORDS = {checked.PASSED: "PASSED", checked.FAILED: "FAILED", checked.INCOMPLETE: "INCOMPLETE"}
_MARKS = {
    checked.PASS: "held", checked.FAIL: "FAILED", checked.NOT_EXECUTED: "NOT EXECUTED",
    checked.NO_EVIDENCE: "NO EVIDENCE", checked.NOTHING: "-",
}  # fmt: skip


def report(facts: Facts, templates: str | None = None) -> str:
    """The report as Markdown. Raises jinja2.TemplateError for a template of the user's own that does not fit."""
    names = checked.touched(facts)
    return render(
        TEMPLATE,
        templates,
        facts=facts,
        headlines=headlines(facts),
        checks=[(check.name, _MARKS[check.status], check.why) for check in checked.checks(facts)],
        tables=[checked.table(facts, name) for name in names],
        reversible=[(item["migration"], *_reversible(facts, item["migration"])) for item in facts["migrations"]],
        statements=_rows(facts),
        locks=_locks(facts),
        disk={name: size(count) for name, count in checked.disk(facts).items()},
        size=size,
        ms=ms,
        seconds=lambda value: "-" if value is None else f"{value:.1f} s",
        rewritten=lambda item: f"{item['relation']} ({size(item['bytes'])}, under {item['under'] or 'no lock'})",
    )


def headlines(facts: Facts) -> list[str]:
    """What must be read first: the verdict, and what the numbers below do not say."""
    found = [_verdict_line(facts)]
    count = checked.not_executed(facts)
    if count:
        found.append(f"NOT EXECUTED: {count:,} {'statement' if count == 1 else 'statements'}. Run this on a copy.")
    if facts["contents"] and checked.empty(facts):
        found.append(
            "The database tried is EMPTY: none of its tables holds a row. No time below says anything about one with rows."
        )
    elif names := [name for name in checked.touched(facts) if not (checked.table(facts, name) or {}).get("rows")]:
        found.append(
            f"EMPTY here: {', '.join(names)}. Times, locks and scans of these tables say nothing about ones with rows."
        )
    bare = [
        name
        for name in checked.touched(facts)
        if (there := checked.table(facts, name)) and there["rows"] and not there["statistics"]
    ]
    if bare:
        found.append(f"Without statistics here: {', '.join(bare)}. Queries in these files may be planned otherwise.")
    if facts["mode"] == "transaction":
        found.append(
            "Tried in a transaction that was rolled back: its locks were held on the database itself, and nothing was"
            " tried against a lock of others."
        )
        if moved := (facts["target"] or {}).get("sequences_moved"):
            found.append(f"These sequences moved on, which no rollback takes back: {', '.join(moved)}.")
    gone = [
        item["migration"]
        for item in facts["migrations"]
        if _reversible(facts, item["migration"])[0] == "not reversible"
    ]
    if gone:
        found.append(f"NOT REVERSIBLE: {', '.join(gone)}.")
    return found


def summary(facts: Facts) -> dict[str, Any]:
    """Verdict and checks as data for programs."""
    return {
        "verdict": checked.verdict(facts),
        "not_executed": checked.not_executed(facts),
        "checks": [{"name": one.name, "status": one.status, "why": one.why} for one in checked.checks(facts)],
        "reversibility": {item["migration"]: _reversible(facts, item["migration"])[0] for item in facts["migrations"]},
    }


def _reversible(facts: Facts, label: str) -> tuple[str, list[str]]:
    if not facts["phases"]:
        return "not tried", []
    return checked.reversibility(facts, label)


def _verdict_line(facts: Facts) -> str:
    all_ = checked.checks(facts)
    failed = [check.name for check in all_ if check.status == checked.FAIL]
    short = [check.name for check in all_ if check.status in (checked.NOT_EXECUTED, checked.NO_EVIDENCE)]
    word = _WORDS[checked.verdict(facts)]
    if failed:
        return f"{word}: {', '.join(failed)}."
    if short:
        return f"{word}: nothing failed, but this is not known: {', '.join(short)}."
    held = sum(check.status == checked.PASS for check in all_)
    return f"{word}: {held} checks held, on {_where(facts)}."


def _where(facts: Facts) -> str:
    contents = facts["contents"] or {"tables": []}
    rows = sum(table["rows"] or 0 for table in contents["tables"])
    place = {"copy": "a copy", "transaction": "the database itself", "given copy": "a copy that was given"}[
        facts["mode"]
    ]
    return f"{place} with {len(contents['tables']):,} tables and {rows:,} rows"


def _rows(facts: Facts) -> list[dict[str, Any]]:
    """A row for each statement of the first ways up and down, and what did not run."""
    found: list[dict[str, Any]] = []
    for phase in facts["phases"]:
        if phase["phase"] not in ("up", "down"):
            continue
        for step in phase["steps"]:
            head = {"phase": phase["phase"], "migration": step["migration"]}
            if not step["executed"]:
                why = f"NOT EXECUTED: {step['why']}"
                found.append({**head, "why": why, "count": step["not_executed"], "statement": None})
            told = [statement for statement in step["statements"] if _says_something(statement)]
            found += [{**head, "why": None, "count": 1, "statement": statement} for statement in told]
            if rest := [statement for statement in step["statements"] if not _says_something(statement)]:
                why = f"{ms(sum(one['seconds'] or 0 for one in rest))} together, less than {ms(_SHORT)} each, and nothing to tell"
                found.append({**head, "why": why, "count": len(rest), "statement": None})
    return found


def _says_something(statement: Facts) -> bool:
    told = ("error", "locks", "rewritten", "scanned", "changed", "notices", "shared", "ended_transaction")
    return any(statement[name] for name in told) or (statement["seconds"] or 0) >= _SHORT


def _locks(facts: Facts) -> list[dict[str, Any]]:
    """A row for each lock on what was there before, in order."""
    return [
        {"phase": row["phase"], "migration": row["migration"], "number": row["statement"]["number"], **lock}
        for row in _rows(facts)
        if row["statement"]
        for lock in row["statement"]["locks"]
    ]


def ms(value: float | None) -> str:
    """Seconds as milliseconds; `-` where they are not known."""
    return "-" if value is None else f"{value * 1000:,.1f} ms"


def size(count: int | None) -> str:
    """Bytes for people; `unknown` where they are not known."""
    if count is None:
        return "unknown"
    number, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"

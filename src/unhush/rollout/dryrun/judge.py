"""The record of a dry run among the roll-out's evidence, and what it proves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...reports import dryrun as reports
from ...reports import dryrun_checks as checked
from ...sql.files import migrations
from .. import checks, evidence, git, store
from ..evidence import Evidence, Verdict

NAME = "dry_run"
JSON, MARKDOWN = "migration/dry_run_report.json", "migration/dry_run_report.md"


def record(
    root: Path, command: tuple[str, ...], exit_code: int, facts: dict[str, Any], templates: str | None
) -> Evidence:
    """Writes the record of a dry run whose report lies in the project's folder. Raises RolloutProblem."""
    found = Evidence(
        name=NAME,
        kind=NAME,
        command=command,
        exit_code=exit_code,
        started_at=facts["started_at"],
        ended_at=facts["ended_at"],
        run_id=checks.new_run(),
        tool_version=facts["tool_version"],
        commit=git.head(root),
        environment=facts["database"]["environment"],
        database=facts["database"],
        outputs=store.hashes(root, [JSON, MARKDOWN]),
        counts={
            "migrations": len(facts["migrations"]),
            "statements": sum(1 for _ in checked.statements(facts)),
            "not_executed": checked.not_executed(facts),
        },
        facts={"mode": facts["mode"], "templates": templates},
    )
    evidence.write(root, found)
    return found


def judge(found: Evidence, root: Path) -> Verdict:
    """Green where every check, worked out anew from what was seen, held, on the files that this unhush ships."""
    if not {JSON, MARKDOWN} <= found.outputs.keys():
        return Verdict("no evidence", "the record holds no report")
    facts = store.read_json(store.within(root, JSON))
    if facts.get("schema") != 1 or facts.get("kind") != NAME:
        return Verdict("no evidence", f"{JSON} is no report of a dry run that this unhush reads")
    if facts["database"] != found.database or facts["tool_version"] != found.tool_version:
        return Verdict("fail", f"{JSON} is of another run than its record")
    if problem := _other_files(facts):
        return Verdict("fail", problem)
    said = checked.verdict(facts)
    if said == checked.FAILED:
        bad = next(check for check in checked.checks(facts) if check.status == checked.FAIL)
        return Verdict("fail", f"{bad.name}: {bad.why}")
    if said == checked.INCOMPLETE:
        short = (checked.NOT_EXECUTED, checked.NO_EVIDENCE)
        bad = next(check for check in checked.checks(facts) if check.status in short)
        return Verdict("no evidence", f"{bad.name}: {bad.why}")
    if found.exit_code != 0:
        return Verdict("fail", f"exit code {found.exit_code}, though the facts are good")
    if reports.report(facts, found.facts["templates"]).encode() != store.within(root, MARKDOWN).read_bytes():
        return Verdict("fail", f"{MARKDOWN} is not what {JSON} says")
    return Verdict("pass", reports.headlines(facts)[0])


def _other_files(facts: dict[str, Any]) -> str | None:
    """What was tried that this unhush does not ship, in one line."""
    ours = {step.label: step for step in migrations(facts["database"]["dialect"])}
    for item in facts["migrations"]:
        step = ours.get(item["migration"])
        if step is None or item["own_file"] or step.checksum != item["sha256"]:
            return f"{item['migration']} is not the file of this unhush"
        if store.sha256_bytes(step.backout.data) != item["backout_sha256"]:
            return f"the backout of {item['migration']} is not the file of this unhush"
    return None

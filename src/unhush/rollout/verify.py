"""Checks everything that was said so far, from the raw facts: no verdict is stored, so none can be edited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..output import Failure
from ..runtime.telling import first_line
from . import approvals, audit, binding, documents, evidence, plan, proofs, scans
from .errors import Refused, RolloutProblem
from .evidence import Evidence
from .settings import DATABASE_VARIABLE, RolloutSettings

MANY = 10_000  # events of a roll-out, more than any has
AGAIN = {"handlers": scans.seen_again, "proof": proofs.seen_again}  # what is cheap enough to be looked at anew


@dataclass(slots=True)
class Report:
    """What was checked: lines that hold, lines that do not, and what is missing."""

    unsigned: bool = False
    holds: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all holds, 1 something does not, 3 evidence or an approval is missing."""
        return 1 if self.wrong else 3 if self.missing else 0


def verify(root: Path, settings: RolloutSettings, environment: str, url: str | None = None) -> Report:
    """Works everything out anew: records, plan, log, approvals, documents. Raises nothing for what it finds wrong.

    `url` is the database of the roll-out, whose events hold heads of the log beside those that approvals signed.
    """
    report = Report(unsigned=settings.unsigned)
    try:
        found = plan.read(root)
    except Refused as error:
        report.missing.append(error.message)
        return report
    except RolloutProblem as error:
        report.wrong.append(error.message)
        return report
    report.unsigned = bool(found["unsigned"])
    records = evidence.read_all(root)
    for what, part in _PARTS.items():
        try:
            part(_Case(root, settings, environment, url, found, records), report)
        except Failure as error:
            report.wrong.append(error.message)
        except Exception as error:  # noqa: BLE001 - what can't be checked is wrong, and must not end the report
            report.wrong.append(f"{what} can't be checked: {type(error).__name__}: {first_line(error)}")
    return report


@dataclass(frozen=True, slots=True)
class _Case:
    root: Path
    settings: RolloutSettings
    environment: str
    url: str | None
    plan: Mapping[str, Any]
    records: Mapping[str, Evidence]

    def names(self) -> list[str]:
        return [*self.plan["evidence"], *self.plan["staging"]]


def _source(case: _Case, report: Report) -> None:
    # A record that is gone is missing evidence, and told of as such.
    gone = {evidence.path_of(name) for name in case.names() if name not in case.records}
    lines = plan.source_differences(case.root, case.plan)
    lines += plan.file_differences(case.root, case.plan, but=gone)
    if case.settings.unsigned != case.plan["unsigned"]:
        lines.append("the settings say `unsigned` otherwise than the plan")
    was, now = sorted({step["dialect"] for step in case.plan["migrations"]}), sorted(plan.dialects(case.settings))
    if was != now:
        how = f"set `url` or ${DATABASE_VARIABLE} as for `prepare`"
        lines.append(f"the plan is for {', '.join(was)}, the settings now say {', '.join(now)}: {how}")
    report.wrong += lines
    if not lines:
        report.holds.append(
            f"plan {case.plan['plan_id']}: code, tool, migrations, documents and records are as it says"
        )


def _records(case: _Case, report: Report) -> None:
    for name in case.names():
        record = case.records.get(name) or evidence.read(case.root, name)
        verdict = binding.judged(record, case.root, case.settings, case.plan["base"], case.plan["commit"])
        if verdict.passed and name in AGAIN and (other := AGAIN[name](record, case.root)):
            report.wrong.append(f"{name}: {other}")
        elif verdict.passed:
            report.holds.append(f"{name}: {verdict.why}")
        elif verdict.status == "fail":
            report.wrong.append(f"{name}: {verdict.why}")
        else:
            report.missing.append(f"{name}: no evidence: {verdict.why}")


def _required(case: _Case, report: Report) -> None:
    for name in binding.required(case.settings, case.records):
        if name not in case.plan["evidence"]:
            report.missing.append(f"{name}: no evidence: the plan does not rest on it")
    lost = binding.without_git(case.root, case.plan["documents"], case.records)
    report.missing += [line for line in (binding.without_tests(case.settings), lost) if line]


def _log(case: _Case, report: Report) -> None:
    signed = [*approvals.heads(case.root).values(), *(_heads_in(case.url) if case.url else ())]
    lines = audit.check(case.root, signed)
    digest = plan.digest(case.plan)
    made = (entry["facts"].get("plan_digest") for entry in audit.entries(case.root) if entry["act"] == "prepared")
    if digest not in made:
        lines.append(f"{audit.FILE}: has no entry that this plan was made: it, or the plan, was edited")
    report.wrong += lines
    if not lines:
        report.holds.append(f"{audit.FILE}: the chain holds, with each of {len(signed)} signed heads in it")


def _heads_in(url: str) -> list[str]:
    """The heads of the log that the roll-out's acts left in its database. Raises Failure."""
    from ..database import database
    from . import stand

    with database(url) as engine, engine.connect() as connection:
        events = stand.events(connection, MANY)
    return [str(event.detail["audit_head"]) for event in events if "audit_head" in event.detail]


def _approvals(case: _Case, report: Report) -> None:
    for one in approvals.standing(case.root, case.plan, case.environment):
        if one.ok:
            how = "signed" if one.signed else "UNSIGNED"
            report.holds.append(f"{one.role}: approved for {case.environment} by {one.person}, {how}")
        elif one.person is None:
            report.missing.append(f"approval: {one.why}")
        else:
            report.wrong.append(f"approval: {one.why}")


def _documents(case: _Case, report: Report) -> None:
    if any(name not in case.records for name in case.names()):
        report.missing.append("documents: not rendered anew, for records are missing from which they were made")
        return
    texts = documents.covered(case.plan, case.records, case.settings)
    texts |= documents.status(case.plan, case.records, case.settings)
    lines = documents.differences(case.root, texts)
    report.wrong += lines
    if not lines:
        report.holds.append(f"{len(texts)} documents: rendered anew, they are the same byte for byte")


_PARTS = {
    "the plan": _source,
    "evidence": _records,
    "what is wanted": _required,
    "the log": _log,
    "an approval": _approvals,
    "a document": _documents,
}

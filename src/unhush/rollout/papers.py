"""The papers of a roll-out: what an operator does, what was verified, the way back, the schedule, the pull request.

Covered ones say what will be done; status ones what is known so far. No box is ticked by hand: each is worked out from
records, approvals and the log whenever it is rendered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..reports.templating import render
from ..sql.files import migrations
from . import approvals, audit, binding, evidence, load, plan, runbooks, stages, store
from .evidence import Evidence
from .settings import RolloutSettings

Papers = Callable[[Mapping[str, Any], Mapping[str, Evidence], RolloutSettings], str]
GATED = approvals.GATED
LOAD = "staging/load"
LOAD_PICTURE = "verification/load_latency.svg"
# What the plan rests on, in words.
SAYS = {
    "handlers": "handlers that swallow exceptions: before, fixed, remaining",
    "proof": "nothing but logging was inserted",
    "flags": "both flags are OFF unless somebody turns them on",
    "migrations": "migrations: up, up again, down, up leave the same schema",
    "dry_run": "the migrations were tried",
}


def known(plan: Mapping[str, Any], settings: RolloutSettings) -> dict[str, Any]:
    """What every paper may say of the plan and the settings."""
    dialects = sorted({step["dialect"] for step in plan["migrations"]})
    return {
        **runbooks.facts(settings),
        "plan": plan,
        "commit": plan["commit"],
        "base": plan["base"],
        "unsigned": plan["unsigned"],
        "environment": GATED,
        "dialects": dialects,
        "steps": {name: [step for step in plan["migrations"] if step["dialect"] == name] for name in dialects},
        "labels": sorted({step["label"] for step in plan["migrations"]}),
        "stages": list(_stages(plan)),
        "soak": sum(stage["soak"] for stage in plan["stages"]),
        "roles": {role.name: role.answers_for for role in approvals.ROLES.values()},
        "flags": stages.FLAGS,
    }


def _stages(plan: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The stages with what each flag is in them, in words."""
    for stage in plan["stages"]:
        settings = {name: flag["stages"][stage["number"]] for name, flag in sorted(plan["flags"].items())}
        said = {name: "OFF" if value == stages.OFF else f"{value:g}%" for name, value in settings.items()}
        yield {**stage, "flags": said}


def covered(template: str, plan: Mapping[str, Any], records: Mapping[str, Evidence], settings: RolloutSettings) -> str:
    """A paper that says what will be done. Raises RolloutProblem for a template of the team's own that is broken."""
    facts = known(plan, settings)
    if template == "backout_command.txt.j2":
        facts["backouts"] = {name: _backouts(name) for name in facts["dialects"]}
    return runbooks.filled(partial(render, template, settings.templates, **facts))


def _backouts(dialect: str) -> list[dict[str, Any]]:
    """The backouts of a dialect's migrations, newest first."""
    return [
        {
            "label": step.label,
            "version": step.version,
            "sql": step.backout.text.rstrip("\n"),
            "whole": step.backout.in_transaction,
        }
        for step in reversed(migrations(dialect))
        if not step.apart
    ]


def status(template: str, plan: Mapping[str, Any], records: Mapping[str, Evidence], settings: RolloutSettings) -> str:
    """A paper that says what is known so far. Raises RolloutProblem as `covered` does."""
    rows = list(_rows(plan, records, settings))
    staging = [row for row in rows if row["name"].startswith(binding.STAGING)]
    standing = approvals.standing(settings.root, plan, GATED)
    lacking = [name for name in binding.required(settings, records) if name not in plan["evidence"]]
    problems = [
        *(f"{row['name']}: {row['status']}: {row['why']}" for row in rows if row["status"] != "pass"),
        *(f"{name}: no evidence: the plan does not rest on it" for name in lacking),
        *filter(None, [binding.without_tests(settings)]),
        *([] if staging else ["staging: no evidence: run `unhush rollout staging`"]),
    ]
    facts = {
        **known(plan, settings),
        "digest": _digest(plan),
        "rows": [row for row in rows if row not in staging],
        "staging": staging,
        "standing": standing,
        "problems": problems,
        "verified": not problems,
        "counts": {name: dict(record.counts) for name, record in records.items()},
        "says": SAYS,
        "reached": list(_reached(settings.root, plan)),
        "documents": sorted(plan["documents"]),
    }
    return runbooks.filled(partial(render, template, settings.templates, **facts))


def load_test(plan: Mapping[str, Any], records: Mapping[str, Evidence], settings: RolloutSettings) -> str:
    """The load test of staging as a page. Raises RolloutProblem as `covered` does."""
    from ..reports import load as pages

    record = records.get(LOAD)
    if record is None:
        return runbooks.filled(partial(pages.page, "not run", None, 0.0, "", settings.templates))
    said = evidence.verdict(record, settings.root)
    counts = dict(record.counts) if said.status != "no evidence" else None
    text = f"{said.status}: {said.why}"
    picture = Path(LOAD_PICTURE).name
    return runbooks.filled(
        partial(pages.page, text, counts, float(record.facts["p95_ms"]), picture, settings.templates)
    )


def load_picture(plan: Mapping[str, Any], records: Mapping[str, Evidence], settings: RolloutSettings) -> str:
    """The plot of the load test; an empty one where there is none. Raises RolloutProblem for samples that can't be read."""
    from ..reports import load as pages

    record, path = records.get(LOAD), f"{evidence.files_of(LOAD)}/{load.SAMPLES}"
    if record is None or path not in record.outputs or not evidence.verdict(record, settings.root).passed:
        return pages.plot([], 0.0)
    return pages.plot(store.read_json(store.within(settings.root, path))["samples"], float(record.facts["p95_ms"]))


def _digest(found: Mapping[str, Any]) -> str:
    return plan.digest(found)


def _rows(
    plan: Mapping[str, Any], records: Mapping[str, Evidence], settings: RolloutSettings
) -> Iterator[dict[str, Any]]:
    """A row for each record on which the plan rests."""
    for name in [*plan["evidence"], *plan["staging"]]:
        record = records.get(name) or evidence.read(settings.root, name)
        said = binding.judged(record, settings.root, settings, plan["base"], plan["commit"])
        yield {
            "name": name,
            "kind": record.kind,
            "status": said.status,
            "why": said.why,
            "command": " ".join(record.command),
            "exit_code": record.exit_code,
            "ended_at": record.ended_at,
            "counts": dict(record.counts),
            "sha256": {**plan["evidence"], **plan["staging"]}[name],
        }


def _reached(root: Path, found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What the log says of this plan's stages: begun, advanced, rolled back, done, in order."""
    digest, of_this = plan.digest(found), False
    for entry in audit.entries(root):
        facts = entry["facts"]
        if entry["act"] in ("begin", "advance", "done"):
            of_this = facts.get("plan_digest") == digest
        if of_this and entry["act"] in ("begin", "advance", "done", "pause", "resume", "rollback"):
            yield {"at": entry["at"], "act": entry["act"], "actor": entry["actor"], "stage": facts.get("stage")}


def refresh(root: Path, settings: RolloutSettings) -> None:
    """Renders the status papers anew, after an approval or an act. Nothing where there is no plan. Raises RolloutProblem."""
    from . import documents

    if not store.within(root, plan.FILE).exists():
        return
    found, records = plan.read(root), evidence.read_all(root)
    documents.write(root, documents.status(found, records, settings))


operator_instructions: Papers = partial(covered, "migration/operator_instructions.md.j2")
schedule: Papers = partial(covered, "rollout/schedule.md.j2")
backout_command: Papers = partial(covered, "backout_command.txt.j2")
health_check_script: Papers = partial(covered, "verification/health_check_script.sh.j2")
canary_rollout: Papers = partial(covered, "canary/canary_rollout.sh.j2")
final_verification: Papers = partial(status, "verification/final_verification.md.j2")
rollout_checklist: Papers = partial(status, "verification/rollout_checklist.md.j2")
pull_request: Papers = partial(status, "rollout/pull_request.md.j2")

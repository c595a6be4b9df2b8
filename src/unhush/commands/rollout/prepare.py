"""`unhush rollout prepare`: gathers the evidence, and writes plan and documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...database import json_option
from ...options import quiet_option
from ...output import Output

if TYPE_CHECKING:
    from ...rollout.prepare import Prepared


@click.command("prepare")
@click.option("--base", metavar="REF", help="The commit before the change (default: as set, or as in the last plan).")
@click.option(
    "--scratch", metavar="URL", envvar="UNHUSH_SCRATCH_URL", help="An empty database to try the migrations on."
)
@click.option("--fresh", is_flag=True, help="Gather all evidence anew, also what still holds.")
@json_option
@quiet_option
@click.pass_context
def command(
    ctx: click.Context, /, base: str | None, scratch: str | None, fresh: bool, as_json: bool, quiet: bool
) -> None:
    """Runs the checks, records what was seen in rollout/evidence, and writes rollout/plan.json and the documents.

    What passed for this commit less than a day ago is kept. Exits with 0 where all is green, 1 where a check failed, 2
    where the command line or the settings are wrong, 3 where evidence is missing.
    """
    from ...rollout import prepare, settings

    output = Output(quiet)
    found = settings.load(Path.cwd())
    done = prepare.prepare(
        found.root,
        found,
        base=prepare.base_of(found.root, found, base),
        scratch=scratch,
        fresh=fresh,
        tell=lambda name: output.remark(f"checking {name}"),
    )
    output.write([_json(done) if as_json else _text(done)])
    ctx.exit(done.exit_code)


def _text(done: Prepared) -> str:
    from ...rollout import plan

    lines = ["unsigned: the settings say that approvals need no signature"] if done.plan["unsigned"] else []
    for outcome in done.outcomes:
        kept = " (kept)" if outcome.kept and outcome.verdict.passed else ""
        lines.append(f"{outcome.verdict.status}: {outcome.name}: {outcome.verdict.why}{kept}")
    lines += [f"no evidence: {done.lacking}"] if done.lacking else []
    lines.append(f"{plan.FILE}: digest {plan.digest(done.plan)}")
    return "".join(f"{line}\n" for line in lines)


def _json(done: Prepared) -> str:
    from ...rollout import plan

    data: dict[str, Any] = {
        "exit_code": done.exit_code,
        "plan_digest": plan.digest(done.plan),
        "unsigned": done.plan["unsigned"],
        "evidence": {
            one.name: {"status": one.verdict.status, "why": one.verdict.why, "kept": one.kept} for one in done.outcomes
        },
        "lacking": done.lacking,
    }
    return json.dumps(data, indent=2) + "\n"

"""`unhush rollout staging`: runs and records the staging half."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ...database import database, json_option
from ...options import quiet_option
from ...output import Output


@click.command("staging")
@click.option("--url", help="Staging's database (default: `staging-url` of the settings, UNHUSH_DATABASE_URL).")
@click.option(
    "--watch",
    "seconds",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the database's health is watched with the flags on.",
)
@json_option
@quiet_option
@click.pass_context
def command(ctx: click.Context, /, url: str | None, seconds: float, as_json: bool, quiet: bool) -> None:
    """Runs deploy check, migrations, flags on, smoke tests, load, watch and the way back on a database that is not gated.

    The records become part of the plan, which needs new approvals then; the flags are OFF afterwards. It stops at the
    first step that is not green. Exits with 0 when the operator can sign off, 1 where a check failed, 3 where it is
    refused or evidence is missing.
    """
    from ...rollout import settings, staging

    output = Output(quiet)
    found = settings.load(Path.cwd())
    wanted = staging.demand_url(found, url)
    with database(wanted) as engine:
        done = staging.run(
            found.root,
            found,
            engine,
            wanted,
            watch_seconds=seconds,
            tell=lambda name: output.remark(f"staging: {name}"),
        )
    statuses = {one.verdict.status for one in done}
    code = 1 if "fail" in statuses else 3 if "no evidence" in statuses else 0
    data = {
        "exit_code": code,
        "staging": {one.name: {"status": one.verdict.status, "why": one.verdict.why} for one in done},
    }
    lines = [f"{one.verdict.status}: {one.name}: {one.verdict.why}\n" for one in done]
    if code == 0:
        lines.append("all is green: `unhush rollout approve --role operator` signs it off\n")
    output.write([json.dumps(data, indent=2) + "\n"] if as_json else lines)
    ctx.exit(code)

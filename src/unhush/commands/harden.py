"""`unhush harden`: leads through scan, fix, proof, dry run, evidence and approvals, and says what is next."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ..database import json_option
from ..output import Output


@click.command("harden")
@click.option("--url", envvar="UNHUSH_DATABASE_URL", help="The database that the migrations are for, not touched here.")
@click.option("--scratch", envvar="UNHUSH_SCRATCH_URL", help="An empty database to try the migrations on.")
@click.option("--base", metavar="REF", help="The commit that the change starts from (default: HEAD at the first run).")
@click.option("--yes", is_flag=True, help="Do not ask before files are rewritten.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, /, url: str | None, scratch: str | None, base: str | None, yes: bool, as_json: bool
) -> None:
    """Takes the steps of a hardening change that can be taken now, and says which is next. May be run again at any time.

    Exits with 0 where the next step is a person's, 1 where a step failed, 2 on wrong use.
    """
    from ..rollout import harden, settings

    output = Output()
    found = settings.load(Path.cwd())
    way = harden.Way(
        root=found.root,
        settings=found,
        base=harden.base_of(found.root, found, base),
        url=url or found.url,
        scratch=scratch,
        may=lambda question: yes or (sys.stdin.isatty() and click.confirm(question, err=True)),
    )
    taken = []
    for step in harden.steps(way):
        taken.append(step)
        if not as_json:
            output.write([f"{step.state:<8} {step.name}: {step.said}\n"])
            if step.command:
                output.write([f"         run: {step.command}\n"])
    if as_json:
        output.write([json.dumps(harden.data_of(taken), indent=2) + "\n"])
    ctx.exit(harden.code_of(taken))

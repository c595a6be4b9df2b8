"""`unhush rollout verify`: works out anew everything that was said so far."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...database import json_option
from ...output import Output
from .acting import named

if TYPE_CHECKING:
    from ...rollout.verify import Report


@click.command("verify")
@click.option(
    "--environment", default="production", callback=named, show_default=True, help="Whose approvals must stand."
)
@click.option("--url", metavar="URL", help="The roll-out's database: heads of the log stand in its events, too.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, environment: str, url: str | None, as_json: bool) -> None:
    """Checks plan, evidence, log, approvals and documents, from the raw facts. Changes nothing.

    Exits with 0 where all holds, 1 where something does not, 2 where the command line or the settings are wrong, 3 where
    evidence or an approval is missing. A line for each.
    """
    from ...rollout import settings
    from ...rollout.verify import verify

    found = settings.load(Path.cwd())
    report = verify(found.root, found, environment, url)
    Output().write([_json(report) if as_json else _text(report)])
    ctx.exit(report.exit_code)


def _text(report: Report) -> str:
    lines = ["unsigned: whoever can write these files can write approvals too"] if report.unsigned else []
    lines += [f"wrong: {line}" for line in report.wrong]
    lines += [f"missing: {line}" for line in report.missing]
    lines += [f"holds: {line}" for line in report.holds]
    verdict = {0: "all holds", 1: "does not hold", 3: "not complete"}[report.exit_code]
    lines.append(f"{verdict}: {len(report.holds)} hold, {len(report.wrong)} do not, {len(report.missing)} are missing")
    return "".join(f"{line}\n" for line in lines)


def _json(report: Report) -> str:
    keys = ("exit_code", "unsigned", "wrong", "missing", "holds")
    return json.dumps({key: getattr(report, key) for key in keys}, indent=2) + "\n"

"""`unhush rollout pause`: holds a roll-out where it stands."""

from __future__ import annotations

import click

from ...database import json_option, url_option
from ...output import Output
from .acting import case_of, tell


@click.command("pause")
@url_option
@json_option
@click.option("--reason", default="an operator's word", show_default=True, help="Why, for the log.")
@click.option("--end", is_flag=True, help="End the pause instead.")
@click.pass_context
def command(ctx: click.Context, /, url: str, as_json: bool, reason: str, end: bool) -> None:
    """Holds the roll-out at its stage: no `advance` goes on, and the flags stay as they are.

    Exits with 0 when it is done, 3 where nothing runs (or, with --end, nothing is paused).
    """
    from ...rollout import controller

    with case_of(url) as case:
        outcome = controller.resume(case) if end else controller.pause(case, reason)
    ctx.exit(tell(Output(), case, outcome, as_json))

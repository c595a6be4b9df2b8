"""`unhush rollout rollback`: the flags OFF at once, for every job."""

from __future__ import annotations

import click

from ...database import json_option, url_option
from ...output import Output
from .acting import case_of, tell


@click.command("rollback")
@url_option
@json_option
@click.option("--reason", default="an operator's word", show_default=True, help="Why, for the log.")
@click.pass_context
def command(ctx: click.Context, /, url: str, as_json: bool, reason: str) -> None:
    """Sets the flags OFF and ends the roll-out, at any stage, without an approval; then checks the database's health.

    Every process obeys within 5 seconds. May be run twice. Exits with 0 when all is well afterwards, 1 where the health
    check finds something (the flags are OFF all the same), 3 where the database has no roll-out.
    """
    from ...rollout import controller

    with case_of(url, whatever_settings=True) as case:
        outcome = controller.rollback(case, reason)
    ctx.exit(tell(Output(), case, outcome, as_json))

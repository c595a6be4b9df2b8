"""`unhush rollout advance`: on to the next stage, once all that it needs is there."""

from __future__ import annotations

import time

import click

from ...database import json_option, url_option
from ...output import Output
from .acting import WRONG, case_of, tell


@click.command("advance")
@url_option
@json_option
@click.option("--to", "wanted", type=click.IntRange(0, 5), metavar="STAGE", help="Refuse unless this is the next one.")
@click.option(
    "--until",
    type=click.IntRange(0, 5),
    metavar="STAGE",
    help="Guard the roll-out, and go on by itself, until this stage is reached and its gates have passed.",
)
@click.option("--every", type=click.FloatRange(min=0.05), default=5.0, show_default=True, metavar="SECONDS")
@click.option(
    "--deadline",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a gate may have no data before --until rolls back.",
)
@click.pass_context
def command(
    ctx: click.Context, /, url: str, as_json: bool, wanted: int | None, until: int | None, every: float, deadline: float
) -> None:
    """Brings the roll-out to its next stage, and after stage 5 to its end.

    It needs a plan that still holds, the approvals where the database is gated, evidence, the soak time, and every gate
    at "pass". A breached gate rolls back. With --until it waits for what is missing, and guards meanwhile. Exits with 0
    when it is done, 1 where it rolled back, 3 where it is refused.
    """
    from ...rollout import controller
    from ...rollout.guarding import until_stage

    output = Output()
    with case_of(url) as case:
        if until is None:
            outcome = controller.advance(case, wanted)
        else:
            outcome = until_stage(case, until, deadline=deadline, wait=lambda: time.sleep(every), tell=output.remark)
    code = tell(output, case, outcome, as_json)
    ctx.exit(WRONG if outcome.status == "rolled_back" else code)

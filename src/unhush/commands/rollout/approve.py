"""`unhush rollout approve`: a person consents to the plan in one role."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import click

from ...database import json_option
from ...output import Output
from .acting import named

ROLES = ("operator", "dev-lead", "ops-oncall", "product-owner")


@click.command("approve")
@click.option("--role", type=click.Choice(ROLES), required=True, help="The role in which you approve.")
@click.option("--environment", default="production", callback=named, show_default=True, help="Where the plan is to go.")
@click.option("--person", metavar="ADDRESS", help="Who you are (default: the name of your key on the list of signers).")
@click.option("--key", type=click.Path(path_type=Path), help="Your SSH key; its .pub file where an agent holds it.")
@click.option("--valid-days", type=click.IntRange(1, 90), default=14, show_default=True, help="When it expires.")
@json_option
def command(role: str, environment: str, person: str | None, key: Path | None, valid_days: int, as_json: bool) -> None:
    """Binds you to the plan as it lies here: what changes in it later voids your approval.

    Exits with 0 when the approval is written, 3 where it is refused, with one line that says why.
    """
    from ...rollout import papers, settings
    from ...rollout.approvals import approve

    found = settings.load(Path.cwd())
    given = approve(found.root, role, environment=environment, person=person, key=key, valid=timedelta(days=valid_days))
    papers.refresh(found.root, found)
    how = "" if given.signed else " (unsigned)"
    text = f"{given.person} approves as {role} for {environment}{how}\n"
    data = {"role": role, "person": given.person, "environment": environment, "signed": given.signed}
    Output().write([json.dumps(data, indent=2) + "\n" if as_json else text])

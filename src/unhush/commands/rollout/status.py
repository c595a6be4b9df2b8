"""`unhush rollout status`: where a roll-out stands, and what the next stage lacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ...database import json_option, url_option
from ...output import Output
from .acting import case_of, told_in_json

if TYPE_CHECKING:
    from ...rollout.controller import Case


@click.command("status")
@url_option
@json_option
def command(url: str, as_json: bool) -> None:
    """Shows stage, flags, gates with what they see, and what is missing for the next stage. Changes nothing.

    Exits with 0, also while something is missing; 3 where the database has no name.
    """
    output = Output()
    with case_of(url) as case:
        data = _data(case)
    output.write([told_in_json(data)] if as_json else _lines(data))


def _data(case: Case) -> dict[str, Any]:
    from ...rollout import controller, stages, stand
    from ...runtime import flag_rows

    seen = controller.see(case)
    with case.engine.connect() as connection:
        flags, events = flag_rows.read(connection), stand.events(connection, 10)
    found = seen.stand
    return {
        "environment": {"name": seen.environment.name, "gated": seen.environment.gated},
        "stage": found.stage if found else None,
        "name": stages.STAGES[found.stage].name if found else None,
        "status": found.status if found else "not begun",
        "note": found.note if found else None,
        "since": found.stage_since.isoformat() if found else None,
        "plan_digest": found.plan_digest if found else None,
        "flags": {
            name: {"state": row.state, "percentage": row.percentage, "salt": row.salt, "version": row.version}
            for name, row in sorted(flags.items())
        },
        "gates": [one.as_data() for one in seen.judged],
        "missing": [*seen.lasting, *seen.passing],
        "events": [
            {"at": event.at.isoformat(), "act": event.act, "actor": event.actor, "stage": event.stage}
            for event in events
        ],
    }


def _lines(data: dict[str, Any]) -> Iterator[str]:
    gated = "needs approvals" if data["environment"]["gated"] else "needs no approvals"
    yield f"{data['environment']['name']} ({gated}): {_where(data)}\n"
    for name, flag in data["flags"].items():
        setting = "OFF" if flag["state"] == "off" else f"{flag['percentage']:g}%"
        yield f"flag     {name}: {setting} (version {flag['version']})\n"
    for gate in data["gates"]:
        yield f"gate     {gate['gate']}: {gate['verdict']}: {gate['why']}\n"
    for line in data["missing"]:
        yield f"missing  {line}\n"
    if not data["missing"]:
        yield "nothing is missing: `unhush rollout advance` goes on\n"


def _where(data: dict[str, Any]) -> str:
    if data["stage"] is None:
        return "no roll-out was begun"
    note = f" ({data['note']})" if data["note"] else ""
    status = data["status"].replace("_", " ")
    return f"stage {data['stage']}, {data['name']}: {status}{note} since {data['since'][:19].replace('T', ' ')} UTC"

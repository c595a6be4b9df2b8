"""`unhush health`: whether all is well, for monitors."""

from __future__ import annotations

from typing import Any

import click

from ..database import database, database_url, json_option, url_option
from ..output import Failure, Output

WELL, UNWELL = 0, 1


@click.command("health")
@url_option
@json_option
@click.option(
    "--max-dead", type=click.IntRange(0), metavar="N", help="How many dead letters are still well (default: any)."
)
@click.option("--spool", type=click.Path(file_okay=False), help="The spool's folder (default: this database's own).")
@click.pass_context
def command(ctx: click.Context, /, url: str, as_json: bool, max_dead: int | None, spool: str | None) -> None:
    """Shows whether database, migrations, spool, dead letters and watchdogs are well.

    Exits with 0 where all is well, 1 where something is wrong or the database does not answer, 2 on wrong use.
    """
    database_url(url)  # what is no URL at all is wrong use
    output = Output()
    try:
        found: dict[str, Any] = {"database": "answers", **_found(url, max_dead, spool)}
    except Failure as failure:
        found = {"database": "does not answer", "problems": [failure.message]}
    if as_json:
        from ..reports.letterjson import document

        output.write([document({"well": not found["problems"], **found})])
    else:
        output.write([f"{line}\n" for line in found["problems"]] or ["all is well\n"])
    ctx.exit(UNWELL if found["problems"] else WELL)


def _found(url: str, max_dead: int | None, spool: str | None) -> dict[str, Any]:
    from ..reports.letterjson import data
    from ..runtime.health import look
    from ..sql.errors import SchemaProblem
    from ..sql.runner import status

    with database(url) as engine:
        try:
            found: dict[str, Any] = data(look(engine, status(engine), max_dead=max_dead, spool=spool))
        except SchemaProblem as problem:
            raise Failure(str(problem)) from problem
    return found

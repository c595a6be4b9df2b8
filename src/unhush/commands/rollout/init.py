"""`unhush rollout init`: the roll-out's tables, and the name of the environment."""

from __future__ import annotations

import click

from ...database import database, json_option, url_option
from ...output import Failure, Output
from .acting import told_in_json


@click.command("init")
@url_option
@json_option
@click.option("--environment", metavar="NAME", help="What this database belongs to, such as staging or production.")
@click.option("--remove", is_flag=True, help="Drop the roll-out's tables instead, with the story of all roll-outs.")
def command(url: str, as_json: bool, environment: str | None, remove: bool) -> None:
    """Makes the roll-out's tables in a database and writes into it which environment it is.

    `production`, and what the setting `gated` lists, takes migrations and stages only with all approvals. A name is never
    changed. Exits with 0 when it is done (and where it was so already), 2 on wrong use, 3 where it has another name.
    """
    from pathlib import Path

    from ...rollout import audit, git, settings
    from ...rollout import environment as environments
    from ...sql.errors import SchemaProblem

    if remove == (environment is not None):
        raise Failure("say either --environment NAME or --remove")
    if environment is not None and not environments.valid_name(environment):
        raise Failure("--environment: lower case letters, digits, `-` and `_`, as in staging or production")
    found = settings.load(Path.cwd())
    actor = git.mail(found.root)
    try:
        with database(url, create=not remove) as engine:
            named = environments.of(engine)
            if environment is None:
                done = environments.remove(engine)
                text = "dropped the tables of the roll-out" if done else "there were no tables of a roll-out"
            else:
                done = environments.name(engine, environment, actor, found.gated)
                text = f"this database is {environment}" + ("" if done else ", as it was")
    except SchemaProblem as problem:
        from ...rollout.errors import RolloutProblem

        raise RolloutProblem(str(problem)) from problem
    if done:
        shown = environment or (named.name if named else None)
        audit.append(found.root, "removed" if remove else "named", actor, environment=shown)
    Output().write([told_in_json({"environment": environment, "done": done}) if as_json else f"{text}\n"])

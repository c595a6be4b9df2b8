"""What the commands on a roll-out's stages share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...database import database
from ...output import Failure, Output

if TYPE_CHECKING:
    from ...rollout.controller import Case, Outcome

WRONG = 1


@contextmanager
def case_of(url: str, *, whatever_settings: bool = False) -> Iterator[Case]:
    """Who acts on the database at a URL, for the project of the working folder. Raises Failure as `database` does.

    Where neither --url nor the variable says one it is that of the settings. With `whatever_settings` those that can't be
    read are left out: a way back must not wait for them.
    """
    from click import get_current_context
    from click.core import ParameterSource

    from ...config import ConfigError
    from ...rollout import git, settings
    from ...rollout.controller import Case

    try:
        found = settings.load(Path.cwd())
    except ConfigError:
        if not whatever_settings:
            raise
        found = settings.RolloutSettings(root=git.root_of(Path.cwd()))
    if found.url and get_current_context().get_parameter_source("url") is ParameterSource.DEFAULT:
        url = found.url
    with database(url) as engine:
        yield Case(engine=engine, root=found.root, settings=found, actor=git.mail(found.root))


def tell(output: Output, case: Case, outcome: Outcome, as_json: bool) -> int:
    """Writes what an act came to, renders the papers that say how things stand, and gives the exit code.

    The act stands whatever becomes of the papers.
    """
    from ...rollout import papers
    from ...rollout.gates import FAIL, NO_DATA
    from ...rollout.stages import STAGES
    from ...runtime.flag_tables import ROLLED_BACK

    problems = list(outcome.problems)
    try:
        papers.refresh(case.root, case.settings)  # first: what is said may meet a closed pipe
    except Failure as failure:
        problems.append(f"the papers could not be rendered anew: {failure.message}")
    if as_json:
        data = {
            "stage": outcome.stage,
            "status": outcome.status,
            "gates": [one.as_data() for one in outcome.judged],
            "problems": problems,
        }
        output.write([told_in_json(data)])
    else:
        output.write([f"stage {outcome.stage}, {STAGES[outcome.stage].name}: {outcome.status.replace('_', ' ')}\n"])
        if outcome.status == ROLLED_BACK:  # what it was rolled back for
            bad = [one for one in outcome.judged if one.verdict in (FAIL, NO_DATA)]
            output.write(f"gate     {one.gate.name}: {one.verdict}: {one.why}\n" for one in bad)
        output.write(f"problem  {problem}\n" for problem in problems)
    return WRONG if problems else 0


def named(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    """The name of an environment, as an option gives it. Raises BadParameter for one that no database can have."""
    from ...rollout.environment import valid_name

    if not valid_name(value):
        raise click.BadParameter("lower case letters, digits, `-` and `_`, as in staging or production")
    return value


def told_in_json(data: dict[str, Any]) -> str:
    """JSON for programs."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"

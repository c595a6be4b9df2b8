"""`unhush rollout`: a change reaches production stage by stage, on evidence and approvals."""

from __future__ import annotations

from typing import Any

import click

from ...database import needs_runtime
from ...lazygroup import LazyGroup

COMMANDS: tuple[str, ...] = (
    "init",
    "prepare",
    "staging",
    "approve",
    "status",
    "advance",
    "pause",
    "rollback",
    "watch",
    "verify",
)  # the modules of this package, in the order of an operator's work


class Group(LazyGroup):
    """The commands, all of which need the extra `runtime`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command that is named. Raises Failure where a package is missing."""
        with needs_runtime():
            return super().invoke(ctx)


@click.group("rollout", cls=Group, package=__name__, names=COMMANDS)
def command() -> None:
    """Brings a change to production on evidence and approvals, stage by stage, with a way back at each."""

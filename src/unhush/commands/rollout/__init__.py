"""`unhush rollout`: a change reaches production stage by stage, on evidence and approvals."""

from __future__ import annotations

import click

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


@click.group("rollout", cls=LazyGroup, package=__name__, names=COMMANDS)
def command() -> None:
    """Brings a change to production on evidence and approvals, stage by stage, with a way back at each."""

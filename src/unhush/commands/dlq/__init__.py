"""`unhush dlq`: dead letters, seen and put back to work."""

from __future__ import annotations

import click

from . import acting, bulk, looking, moving, tokens


class InOrder(click.Group):
    """A group that lists its commands in the order of a user's work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, as they were added."""
        return list(self.commands)


@click.group("dlq", cls=InOrder)
def command() -> None:
    """Shows the jobs that failed for good, and puts them back to work."""


for subcommand in (
    looking.list_letters,
    looking.show_letter,
    looking.show_history,
    looking.list_groups,
    looking.show_stats,
    acting.redrive_letters,
    acting.edit_letter,
    acting.discard_letters,
    acting.restore_letters,
    acting.purge_letters,
    moving.export_letters,
    moving.import_letters,
    moving.drain_spool,
    bulk.operations,
    tokens.token,
):
    command.add_command(subcommand)

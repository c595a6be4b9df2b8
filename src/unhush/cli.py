"""The command line: a group whose commands are imported only when they are called."""

from __future__ import annotations

import click

from .lazygroup import LazyGroup
from .version import __version__

COMMANDS = (
    "check",
    "fix",
    "init",
    "baseline",
    "prove",
    "rule",
    "rules",
    "config",
    "clean",
    "db",
    "dlq",
    "jobs",
    "watchdog",
    "health",
    "rollout",
    "harden",
)


class FrontDoor(LazyGroup):
    """The group of all commands, which names the nearest one where there is none of a name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the nearest command named where there is none."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from .selectors import nearest

            ctx.fail(f"no such command {args[0]!r}{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=FrontDoor,
    package=f"{__package__}.commands",
    names=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="unhush", message="%(prog)s %(version)s")
def cli() -> None:
    """Finds swallowed exceptions, rewrites them to structured logging, and proves that nothing else changed."""

"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from .config import Nearest, Selection
from .keys import SEVERITIES
from .version import __version__

F = TypeVar("F", bound=Callable[..., Any])

paths_argument = click.argument("paths", nargs=-1, type=click.Path(), metavar="[PATHS]...")

quiet_option = click.option("-q", "--quiet", is_flag=True, help="No summary and no progress on stderr, only errors.")

version_option = click.version_option(__version__, prog_name="unhush", message="%(prog)s %(version)s")

jobs_option = click.option(
    "-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Processes to use (default: one for each core)."
)

cache_dir_option = click.option(
    "--cache-dir",
    envvar="UNHUSH_CACHE_DIR",
    metavar="DIR",
    help="The folder of the cache (default: .unhush_cache in the project's folder).",
)

_SHARED = (
    click.option("--select", multiple=True, metavar="RULES", help="The rules to use: codes, families (UNH1), names."),
    click.option("--extend-select", multiple=True, metavar="RULES", help="Rules to use beside the selected ones."),
    click.option("--ignore", multiple=True, metavar="RULES", help="Rules to leave out."),
    click.option("--exclude", multiple=True, metavar="PATTERNS", help="Also skip these (as in .gitignore)."),
    click.option("--force-exclude", is_flag=True, help="Skip excluded files even where they are named."),
    click.option(
        "--min-severity",
        type=click.Choice(SEVERITIES),
        help="The least severity that is shown, fixed and counted (default: medium).",
    ),
    click.option("--no-foreign-suppressions", is_flag=True, help="Do not heed other tools' comments (noqa: S110 ...)."),
    jobs_option,
    quiet_option,
    version_option,
)


def shared_options(command: F) -> F:
    """Adds the options that `check` and `fix` have in common, but for the paths."""
    for option in reversed(_SHARED):
        command = option(command)
    return command


def settings_from(paths: Iterable[str], shared: dict[str, Any], **more: Any) -> Nearest:
    """The settings for a command that was called with the shared options. Raises ConfigError and UsageError."""
    select = split(shared["select"])
    return Nearest(
        paths,
        Selection(select or None, split(shared["extend_select"]), split(shared["ignore"])),
        split(shared["exclude"]),
        min_severity=shared["min_severity"],
        force_exclude=shared["force_exclude"] or None,
        foreign_suppressions=False if shared["no_foreign_suppressions"] else None,
        **more,
    )


def split(values: Iterable[str]) -> tuple[str, ...]:
    """The parts of options that may be repeated and may hold several values with commas between them."""
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())

"""The options that several of the commands share, and what their words mean."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ...runtime.letters import Filter

F = TypeVar("F", bound=Callable[..., Any])

# Those of runtime/tables.py, which needs SQLAlchemy: help must not.
STATUSES = ("dead", "redriving", "in_doubt", "redriven", "parked", "discarded")
OPERATION_STATUSES = ("running", "paused", "stopped", "cancelled", "done")

_AGE = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _span(text: str) -> timedelta | None:
    """The length of time that an age says; None for other text."""
    said = _AGE.fullmatch(text)
    return timedelta(**{_UNITS[said[2]]: int(said[1])}) if said else None


def as_span(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    """Reads a length of time such as `90m`, `24h`, `7d`."""
    if value is None:
        return None
    span = _span(value)
    if span is None:
        raise click.BadParameter(f"{value!r} is no length of time such as 90m, 24h, 7d", ctx, param)
    return span


def _as_moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Reads a time in ISO format, in UTC where it names no zone, or an age."""
    if value is None:
        return None
    try:
        span = _span(value)
        if span is not None:
            return datetime.now(UTC) - span
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = f"{value!r} is neither a time such as 2026-03-01T12:00Z nor an age such as 90m, 24h, 7d"
        raise click.BadParameter(message, ctx, param) from error


since_option = click.option("--since", callback=_as_moment, metavar="TIME", help="Only after this time, or age (24h).")
until_option = click.option("--until", callback=_as_moment, metavar="TIME", help="Only before this time, or age (30d).")

_FILTERS = (
    click.option("--queue", help="Only letters of this queue."),
    click.option("--status", type=click.Choice(STATUSES), help="Only letters of this status."),
    click.option("--job-name", metavar="NAME", help="Only letters of this kind of job."),
    click.option("--job-id", metavar="ID", help="Only letters of this job."),
    click.option("--fingerprint", help="Only letters of this bug."),
    click.option("--error-type", metavar="TYPE", help="Only letters of this type of error."),
    click.option("--operation", metavar="ID", help="Only letters that this bulk act holds."),
    since_option,
    until_option,
)


def filter_options(command: F) -> F:
    """Adds the options that say which letters are meant; `filter_of` reads them."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def filter_of(given: dict[str, Any]) -> Filter:
    """The filter that those options say; they are taken out of `given`."""
    from ...runtime.letters import Filter

    return Filter(
        failed_after=given.pop("since"),
        failed_before=given.pop("until"),
        operation_id=given.pop("operation"),
        **{name: given.pop(name) for name in ("queue", "status", "job_name", "job_id", "fingerprint", "error_type")},
    )


limit_option = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most."
)
cursor_option = click.option("--cursor", metavar="TEXT", help="Go on from there, as the page before said.")


def page_options(command: F) -> F:
    """Adds what pages need."""
    return limit_option(cursor_option(command))


def _login_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    if value is not None:
        return _said(ctx, param, value)
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError) as error:
        raise click.UsageError("this system knows no name for you: say --actor") from error


def _said(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    if value is not None and not value.strip():
        raise click.BadParameter("it is blank", ctx, param)
    return value


actor_option = click.option(
    "--actor", callback=_login_name, metavar="NAME", help="Who does it, for the history (default: your login name)."
)
reason_option = click.option("--reason", callback=_said, metavar="TEXT", help="Why, for the history.")
needed_reason_option = click.option(
    "--reason", required=True, callback=_said, metavar="TEXT", help="Why, for the history."
)
all_option = click.option("--all", "everything", is_flag=True, help="Mean every letter, where no filter is said.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would be done.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask before a bulk act.")

"""`unhush watchdog`: finds jobs in a bad state, and acts on them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import click

from ..database import database_url, demand_file, json_option, needs_runtime, told, url_option
from ..output import Failure, Output
from .jobs import Seconds, stuck_after_option

if TYPE_CHECKING:
    from ..runtime.watchdog import Watchdog

WELL, BAD = 0, 1
ACTIONS = ("report", "requeue", "dead_letter")


@click.group("watchdog")
def command() -> None:
    """Finds jobs that are stuck or dead by their heartbeats, and acts on them as told."""


def _actions(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Reads KIND=ACTION, the last `=` counting."""
    found = {}
    for text in given:
        kind, equals, action = text.rpartition("=")
        if not (kind and equals and action in ACTIONS):
            raise click.BadParameter(f"{text!r} is not KIND=report, KIND=requeue or KIND=dead_letter", ctx, param)
        found[kind] = action
    return found


_OPTIONS = (
    url_option,
    click.option("--app", metavar="MODULE:ATTR", help="Your configured Watchdog, with its hooks, in place of these options."),
    click.option("--action", "actions", multiple=True, callback=_actions, metavar="KIND=ACTION", help="What is done with jobs of a kind."),
    stuck_after_option,
    click.option("--every", type=Seconds(), metavar="SECONDS", help="Between two runs (default: a quarter)."),
)  # fmt: skip


def _watchdog_options(function: Any) -> Any:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@command.command("once")
@_watchdog_options
@json_option
@click.option("--no-brake", is_flag=True, help="Act however many jobs are in a bad state: you know that they are dead.")
@click.pass_context
def run_once(ctx: click.Context, /, as_json: bool, no_brake: bool, **given: Any) -> None:
    """Looks once. Exits with 0 where no job is in a bad state, 1 where one is."""
    output = Output()
    with _opened(**given) as watchdog:
        found = watchdog.run_once(brake=not no_brake)
        off = watchdog.off
    if off:
        output.remark("the flag JOB_HEARTBEAT is off, or can't be asked: nothing was looked at")
    _tell(output, as_json, found)
    ctx.exit(BAD if found else WELL)


@command.command("run")
@_watchdog_options
def run_on(**given: Any) -> None:
    """Looks again and again, until Ctrl-C or SIGTERM."""
    with _opened(**given) as watchdog:
        signal.signal(signal.SIGTERM, lambda *_: watchdog.stop())
        watchdog.run()


@contextmanager
def _opened(url: str, app: str | None, **options: Any) -> Iterator[Watchdog]:
    """The watchdog, whose log and hooks print to stderr. Raises Failure with what a user can put right, in one line."""
    with needs_runtime():
        from sqlalchemy.exc import DBAPIError

        from ..runtime.beat_errors import HeartbeatError
        from ..runtime.letters import DeadLetterError
        from ..runtime.watchdog import Watchdog

    if app is not None:
        from .dlq.app import attribute

        with redirect_stdout(sys.stderr):
            watchdog = attribute(app, "watchdog")
        if not isinstance(watchdog, Watchdog):
            raise Failure(f"--app: {app!r} is of type {type(watchdog).__name__}, not a Watchdog")
    else:
        demand_file(database_url(url))
        watchdog = Watchdog(url, **options)
    try:
        with watchdog, redirect_stdout(sys.stderr):
            yield watchdog
    except (HeartbeatError, DeadLetterError) as error:
        raise Failure(str(error)) from error
    except DBAPIError as error:
        raise Failure(told(error.orig or error, database_url(url))) from error


def _tell(output: Output, as_json: bool, found: Any) -> None:
    from ..reports.jobs import verdicts
    from ..reports.letterjson import document
    from ..reports.table import Screen, render

    if as_json:
        output.write([document({"verdicts": found})])
        return
    screen = Screen(get_terminal_size().columns, output.color) if sys.stdout.isatty() else Screen()
    output.write(render(verdicts(found, datetime.now(UTC)), screen) if found else ["no job is in a bad state\n"])

"""What each of the commands works with: the queue, at a URL or the app's own, and where results go."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, TextIO

import click
from click.core import ParameterSource

from ...database import database_url, demand_file, json_option, needs_runtime, told, url_option
from ...output import Failure, Output
from ...reports.table import Screen, Table, render

if TYPE_CHECKING:
    from ...runtime.dlq import DeadLetterQueue

DONE, REFUSED = 0, 1

app_option = click.option(
    "--app", metavar="MODULE:ATTR", help="Your configured queue, with its handlers (default: `app` in [tool.unhush])."
)


@dataclass(frozen=True, slots=True)
class Desk:
    """One call of a command. What handlers and the app print goes to stderr: stdout holds results alone."""

    queue: DeadLetterQueue
    output: Output
    stdout: TextIO
    as_json: bool
    app: str | None
    again: str

    def write(self, chunks: Iterable[str]) -> None:
        """Writes results."""
        with redirect_stdout(self.stdout):
            self.output.write(chunks)

    def tell(self, found: object, table: Table | Iterable[str]) -> None:
        """Writes what was found: JSON for programs, or the table or texts for people."""
        if self.as_json:
            from ...reports.letterjson import document

            self.write([document(found)])
        else:
            self.write(render(table, self.screen) if isinstance(table, Table) else table)

    @property
    def screen(self) -> Screen:
        """Where tables are shown."""
        if not self.stdout.isatty():
            return Screen()
        with redirect_stdout(self.stdout):
            return Screen(get_terminal_size().columns, self.output.color)

    @property
    def now(self) -> datetime:
        """The time by which ages are told."""
        return datetime.now(UTC)


def demand_app(app: str | None, act: str) -> None:
    """Raises Failure where there is no app, and so no handler."""
    if app is None:
        raise Failure(
            f"{act} runs your handlers: name the queue that has them by --app module:attr, or `app` in [tool.unhush]"
        )


def on_queue(
    *, spool: bool = False, handlers: str | None = None
) -> Callable[[Callable[..., int]], Callable[..., None]]:
    """Makes a function of a Desk, which returns the exit code, one of click's with --url, --app and --json.

    `handlers` names an act that can't be done without the app; `spool` adds --spool.
    """

    def decorate(function: Callable[..., int]) -> Callable[..., None]:
        @url_option
        @app_option
        @json_option
        @click.pass_context
        @functools.wraps(function)
        def run(ctx: click.Context, /, url: str, app: str | None, as_json: bool, **options: Any) -> None:
            output, stdout = Output(), sys.stdout
            folder = options.pop("spool", None)
            with redirect_stdout(sys.stderr):
                named = _app_named(ctx, app)
                if handlers is not None:
                    demand_app(named, handlers)
                with _quiet_log(), _opened(named, url, folder) as queue:
                    desk = Desk(queue, output, stdout, as_json, named, f" --app {app}" if app else "")
                    with _one_line(ctx, desk):
                        code = function(desk, **options)
            ctx.exit(code)

        return _spool_option(run) if spool else run

    return decorate


_spool_option = click.option(
    "--spool", type=click.Path(exists=True, file_okay=False), help="The spool's folder (default: this database's own)."
)


def _app_named(ctx: click.Context, app: str | None) -> str | None:
    """The app that is meant; a URL on the command line means none."""
    url_said = ctx.get_parameter_source("url") is ParameterSource.COMMANDLINE
    if app is not None and url_said:
        raise click.UsageError("say --url or --app, not both: the app names its own database")
    if app is not None or url_said:
        return app
    from .app import app_of_settings

    return app_of_settings()


@contextmanager
def _opened(app: str | None, url: str, spool: str | None) -> Iterator[DeadLetterQueue]:
    """The queue, closed at the end. Raises Failure where there is none; a SQLite file is never made."""
    if app is not None:
        if spool is not None:
            raise click.UsageError("--spool goes with --url: the app names its own spool")
        from .app import imported

        queue = imported(app)
    else:
        queue = _made(url, spool)
    from ...runtime.letters import DeadLetterError

    try:
        demand_file(queue.engine.url)
    except DeadLetterError as error:
        raise Failure(str(error)) from error
    try:
        yield queue
    finally:
        queue.close()


def _made(url: str, spool: str | None) -> DeadLetterQueue:
    where = database_url(url)
    with needs_runtime():
        from ...runtime import acts  # noqa: F401 - what it needs is missed here, in one line
        from ...runtime.dlq import DeadLetterQueue
    return DeadLetterQueue(where, spool=spool)


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Warnings of the runtime go to stderr, and nothing less, unless the app configures structlog itself."""
    import logging

    with needs_runtime():
        import structlog
    if structlog.is_configured():
        yield
        return
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.reset_defaults()


@contextmanager
def _one_line(ctx: click.Context, desk: Desk) -> Iterator[None]:
    """What the queue or the database refuses, as one line: exit 1 for an act, 2 for wrong use or no database."""
    from sqlalchemy.exc import DBAPIError

    from ...runtime.letters import BadCursor, DeadLetterError, EmptyFilter, SchemaProblem
    from ...runtime.spool import SpoolError

    try:
        yield
    except EmptyFilter as error:
        raise Failure(f"{error} (--all)") from error
    except (BadCursor, SchemaProblem, SpoolError) as error:
        raise Failure(str(error)) from error
    except DeadLetterError as error:
        desk.output.error(str(error))
        ctx.exit(REFUSED)
    except DBAPIError as error:
        raise Failure(told(error.orig or error, desk.queue.engine.url)) from error

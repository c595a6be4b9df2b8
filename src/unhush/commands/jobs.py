"""`unhush jobs`: running jobs, by their heartbeats."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from ..database import database, json_option, needs_runtime, url_option
from ..output import Failure, Output

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

P = ParamSpec("P")
T = TypeVar("T")

FOUND, NONE = 0, 1
# Those of runtime/states.py and runtime/beat_tables.py, which need SQLAlchemy or would slow the help down.
STATES = ("alive", "late", "stalled", "stuck", "lost", "rescuing", "given_away", "finished", "failed", "parked")
CLEAR = "\033[H\033[2J"


class Seconds(click.FloatRange):
    """Seconds, more than none and less than a hundred years, as runtime/heartbeat.py has them."""

    def __init__(self) -> None:
        super().__init__(0, 100 * 365 * 24 * 3600, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Refuses NaN too, which is in any range."""
        number: float = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return number


stuck_after_option = click.option(
    "--stuck-after",
    type=Seconds(),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long without a beat is lost.",
)


@click.group("jobs")
def command() -> None:
    """Shows jobs by their heartbeats."""


@command.command("list")
@url_option
@json_option
@click.option("--kind", help="Only jobs of this kind.")
@click.option("--state", type=click.Choice(STATES), help="Only jobs in this state.")
@click.option("--ended", is_flag=True, help="Jobs that have ended too.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@click.option("--cursor", metavar="TEXT", help="Go on from there, as the page before said.")
@stuck_after_option
@click.option("--watch", is_flag=True, help="Show it anew every two seconds, until Ctrl-C.")
def list_running(url: str, as_json: bool, watch: bool, **asked: Any) -> None:
    """Lists jobs that run, with how they stand."""
    with needs_runtime():
        from ..runtime.running import list_jobs

    output = Output()
    with database(url) as engine, _one_line():
        while True:
            page = _read(engine, list_jobs, **asked)
            if watch and output.color:
                output.write([CLEAR])
            _tell(output, as_json, page)
            if not watch:
                return
            time.sleep(2)


@command.command("show")
@click.argument("job")
@click.option("--kind", help="Of this kind, where several kinds have a job with that id.")
@stuck_after_option
@url_option
@json_option
@click.pass_context
def show_job(ctx: click.Context, /, job: str, kind: str | None, stuck_after: float, url: str, as_json: bool) -> None:
    """Shows the latest run of one JOB. Exits with 1 where there is none."""
    from ..reports.jobs import job as text
    from ..reports.letterjson import document

    with needs_runtime():
        from ..runtime.running import get_jobs

    output = Output()
    with database(url) as engine, _one_line():
        found = _read(engine, get_jobs, job, kind=kind, stuck_after=stuck_after)
    if as_json:
        output.write([document({"jobs": found})])
    elif found:
        output.write("".join(text(one)) + ("\n" if one is not found[-1] else "") for one in found)
    if not found:
        output.error(f"there is no job {job!r}")
        ctx.exit(NONE)


def _read(engine: Engine, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Reads in one transaction, on a database that has the tables."""
    from ..sql.runner import require_schema

    with engine.connect() as connection:
        require_schema(connection, 2)
        return act(connection, *args, **kwargs)


def _tell(output: Output, as_json: bool, page: Any) -> None:
    from ..reports.jobs import jobs
    from ..reports.letterjson import document
    from ..reports.table import Screen, render

    if as_json:
        output.write([document({"jobs": page.jobs, "next": page.cursor})])
        return
    screen = Screen(get_terminal_size().columns, output.color) if sys.stdout.isatty() else Screen()
    output.write(render(jobs(page.jobs, page.now), screen) if page.jobs else ["no jobs\n"])
    if page.cursor:
        output.remark(f"next page: --cursor {page.cursor}")


@contextmanager
def _one_line() -> Iterator[None]:
    """What a user can put right, as one line."""
    from ..runtime.letters import DeadLetterError
    from ..sql.errors import SchemaProblem

    try:
        yield
    except (SchemaProblem, DeadLetterError) as problem:
        raise Failure(str(problem)) from problem

"""`unhush rollout watch`: which of the rewritten handlers fired, worst first."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import click

from ...database import json_option
from ...output import Output

if TYPE_CHECKING:
    from ...rollout.fired import Source
    from ...rollout.settings import RolloutSettings

KNOWN, NO_DATA = 0, 1
PAUSE = 15.0  # seconds between two looks
CLEAR = "\033[H\033[2J"


@click.command("watch")
@click.option("--prometheus", metavar="URL", help="Ask this Prometheus (default: `prometheus` in the settings).")
@click.option("--metrics", multiple=True, metavar="URL", help="Read the /metrics of a process; again for more of them.")
@click.option("--log", "logs", multiple=True, metavar="FILE", help="Read a log of JSON or text lines; again for more.")
@click.option("--base", metavar="REF", help="The revision that the change starts from (default: the plan's).")
@click.option("--follow", is_flag=True, help="Look again every 15 seconds, until Ctrl-C.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    prometheus: str | None,
    metrics: tuple[str, ...],
    logs: tuple[str, ...],
    base: str | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Shows which handlers that log what they ignore fired in the last 24 hours, worst first.

    Exits with 0 where each source had data, also where handlers fired; 1 where one had none, which is not "all is well";
    2 on wrong use.
    """
    from ...rollout.settings import load
    from ...rollout.watching import joined
    from ...rollout.watchlist import gather

    settings = load(Path.cwd())
    server = prometheus or (None if metrics or logs else settings.prometheus)
    if not (server or metrics or logs):
        raise click.UsageError("say what to look at: --prometheus URL, --metrics URL or --log FILE")
    output = Output()
    handlers = gather(settings.root, base or _base(settings))
    while True:
        seen = joined(handlers, _sources(server, metrics, logs))
        _tell(output, seen, as_json, follow)
        if not follow:
            ctx.exit(KNOWN if seen["data"] else NO_DATA)
        time.sleep(PAUSE)


def _base(settings: RolloutSettings) -> str | None:
    """The base that the settings name, or the plan that was made last."""
    from ...rollout import plan

    if settings.base is not None:
        return settings.base
    return str(plan.read(settings.root)["base"]) if (settings.root / plan.FILE).exists() else None


def _sources(server: str | None, metrics: Sequence[str], logs: Sequence[str]) -> list[Source]:
    from ...rollout.fired import from_log, from_metrics, from_prometheus

    now = time.time()
    found = [from_prometheus(server, now)] if server else []
    return [*found, *(from_metrics(url) for url in metrics), *(from_log(path, now) for path in logs)]


def _tell(output: Output, seen: dict[str, Any], as_json: bool, follow: bool) -> None:
    from ...reports.letterjson import document
    from ...reports.table import Screen
    from ...reports.watchlist import fired

    if as_json:
        output.write([document(seen)])
        return
    if follow and output.color:
        output.write([CLEAR])
    screen = Screen(get_terminal_size().columns, output.color) if sys.stdout.isatty() else Screen()
    output.write(fired(seen, screen))

"""Looking at letters: lists, one whole, its history, groups of the same bug, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from ...reports import letters as texts
from .desk import DONE, REFUSED, Desk, on_queue
from .options import STATUSES, filter_of, filter_options, limit_option, page_options, since_option, until_option


@click.command("list")
@filter_options
@page_options
@on_queue()
def list_letters(desk: Desk, /, limit: int, cursor: str | None, **given: Any) -> int:
    """Lists letters, the newest first."""
    asked = filter_of(given)
    page = desk.queue.list(asked, limit=limit, cursor=cursor)
    desk.tell({"letters": page.letters, "next": page.cursor}, _table(desk, page.letters))
    next_page(desk, page.cursor, asked.failed_after, asked.failed_before)
    return DONE


def _table(desk: Desk, found: Sequence[Any]) -> Any:
    return texts.letters(found, desk.now) if found else ["no letters\n"]


def next_page(desk: Desk, cursor: str | None, since: Any = None, until: Any = None) -> None:
    """Says how to go on; ages as the times that they stood for, since a cursor goes with those."""
    if cursor is None:
        return
    from ...reports.letterjson import moment

    times = "".join(f" {name} {moment(at)}" for name, at in (("--since", since), ("--until", until)) if at)
    desk.output.remark(f"next page: --cursor {cursor}{times}")


@click.command("show")
@click.argument("letter")
@on_queue()
def show_letter(desk: Desk, /, letter: str) -> int:
    """Shows one LETTER whole, with its payload as it may be shown and its history; it counts as seen then."""
    found = desk.queue.get(letter)
    events = desk.queue.history(found.id)
    desk.tell({"letter": found, "history": events}, texts.letter(found, events, desk.screen))
    return DONE


@click.command("history")
@click.argument("letter", required=False)
@click.option("--operation", metavar="ID", help="Only what this bulk act did.")
@click.option("--kind", help="Only events of this kind.")
@click.option("--by", metavar="ACTOR", help="Only what this one did.")
@since_option
@until_option
@page_options
@on_queue()
def show_history(desk: Desk, /, letter: str | None, limit: int, cursor: str | None, **given: Any) -> int:
    """Shows all that happened to one LETTER, also to one that was purged; without one, who did what, newest first."""
    from ...runtime.letters import EventFilter

    if letter is not None:
        if cursor is not None or any(value is not None for value in given.values()):
            raise click.UsageError("a letter's history is shown whole: leave the other options out")
        events = desk.queue.history(letter)
        desk.tell({"events": events}, texts.history(events) if events else [])
        if not events:
            desk.output.error(f"there is no letter {letter!r}, and there was none: look its id up in the list")
        return DONE if events else REFUSED
    asked = EventFilter(
        operation_id=given["operation"],
        kind=given["kind"],
        actor=given["by"],
        since=given["since"],
        until=given["until"],
    )
    page = desk.queue.audit(asked, limit=limit, cursor=cursor)
    table = texts.history(page.events, whose=True) if page.events else ["nothing\n"]
    desk.tell({"events": page.events, "next": page.cursor}, table)
    next_page(desk, page.cursor, asked.since, asked.until)
    return DONE


@click.command("groups")
@click.option(
    "--status", type=click.Choice(STATUSES), default="dead", show_default=True, help="Letters of which status."
)
@limit_option
@on_queue()
def list_groups(desk: Desk, /, status: str, limit: int) -> int:
    """Groups letters by bug, the bug with the most letters first."""
    found = desk.queue.groups(status=status, limit=limit)
    desk.tell({"groups": found}, texts.groups(found, desk.now) if found else ["no letters\n"])
    return DONE


@click.command("stats")
@on_queue()
def show_stats(desk: Desk, /) -> int:
    """Counts the letters of each queue by status, and what waits in this host's spool."""
    found = desk.queue.stats()
    desk.tell(asdict(found), texts.stats(found, STATUSES, desk.now, desk.screen))
    return DONE

"""Bulk acts: asked for, begun, worked on with an outcome for each letter, paused and taken up again."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ...output import Failure
from ...reports import letters as texts
from .desk import DONE, REFUSED, Desk, demand_app, on_queue
from .looking import next_page
from .options import OPERATION_STATUSES, actor_option, page_options, reason_option

if TYPE_CHECKING:
    from ...runtime.bulk import BulkOptions
    from ...runtime.letters import Filter, Operation, Outcome, Preview

# How an act on one letter ends that did what was asked.
_GOOD = ("redriven", "discarded", "restored", "would_redrive")


class Report:
    """Writes the outcome of each letter as it comes: lines for people, one JSON object for programs."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._count = 0
        self.refused = 0

    def add(self, outcome: Outcome) -> None:
        """Writes one outcome, and counts those that are not what was asked."""
        self.refused += outcome.result not in _GOOD
        if self._desk.as_json:
            from ...reports.letterjson import data

            lead = ",\n    " if self._count else '{\n  "outcomes": [\n    '
            self._desk.write([lead + json.dumps(data(outcome))])
        else:
            self._desk.write([texts.outcome(outcome)])
        self._count += 1

    def cut_off(self) -> None:
        """Ends the JSON where an error ends the act."""
        if self._count:
            self.end(None)

    def end(self, operation: Operation | None) -> None:
        """Writes how the bulk act stands, if it was one."""
        if self._desk.as_json:
            from ...reports.letterjson import data

            end = "\n  ]" if self._count else '{\n  "outcomes": []'
            told = "" if operation is None else f',\n  "operation": {json.dumps(data(operation))}'
            self._desk.write([f"{end}{told}\n}}\n"])
        elif operation is not None:
            self._desk.write([texts.operation(operation)])


def bulk(
    desk: Desk,
    kind: str,
    asked: Filter,
    actor: str,
    reason: str | None,
    options: BulkOptions | None = None,
    *,
    everything: bool,
    dry_run: bool,
    yes: bool,
) -> int:
    """Does a bulk act once it is confirmed; the exit code. Raises what the queue raises."""
    found = desk.queue.preview(kind, asked, everything=everything, options=options)
    if dry_run:
        desk.tell({"preview": found}, [_preview(found)])
        return DONE if found.total else REFUSED
    if not found.total:
        held = _holding(desk, kind, asked)
        but = f"; an unfinished bulk act holds some that match, resume or cancel it: {', '.join(held)}" if held else ""
        desk.output.error(f"no letter matches that {kind} could take{but}")
        return REFUSED
    if not yes:
        _confirm(found)
    begun = desk.queue.start(kind, asked, actor=actor, reason=reason, everything=everything, options=options)
    return work(desk, begun.id)


def _holding(desk: Desk, kind: str, asked: Filter) -> list[str]:
    """The unfinished bulk acts that hold letters which this one would take."""
    from ...runtime.bulk import HOLDING, TAKES

    statuses = TAKES[kind] if asked.status is None else (asked.status,)
    acts = [act.id for status in HOLDING for act in desk.queue.operations(status=status).operations]
    return [
        act
        for act in acts
        if asked.operation_id in (None, act)
        and any(
            desk.queue.list(replace(asked, status=status, operation_id=act), limit=1).letters for status in statuses
        )
    ]


def _preview(found: Preview) -> str:
    refused = f", and surely refuse {found.refused:,} of them" if found.refused else ""
    return f"would {found.kind} {_letters(found.total)}{refused}\n"


def _letters(count: int) -> str:
    return f"{count:,} letter{'' if count == 1 else 's'}"


def _confirm(found: Preview) -> None:
    """Asks on a terminal. Raises Failure where nobody can be asked, or says no."""
    what = f"{found.kind} {_letters(found.total)}"
    if not sys.stdin.isatty():
        raise Failure(f"this would {what}: say --yes")
    if not click.confirm(f"{what.capitalize()}?", err=True):
        raise Failure("nothing was changed")


def work(desk: Desk, operation_id: str) -> int:
    """Works on a bulk act, with an outcome for each letter; the exit code. Ctrl-C leaves it to be taken up again."""
    report = Report(desk)
    try:
        done = desk.queue.work(operation_id, told=report.add)
    except KeyboardInterrupt:
        report.end(desk.queue.operation(operation_id))
        desk.output.error(f"interrupted: `unhush dlq operations resume {operation_id}{desk.again}` goes on")
        raise
    except Exception:
        report.cut_off()
        raise
    report.end(done)
    whole = done.status == "done" and done.total and not (done.failed or done.skipped)
    return DONE if whole else REFUSED


@click.group("operations")
def operations() -> None:
    """Shows bulk acts, pauses them, takes them up again and cancels them."""


@operations.command("list")
@click.option("--status", type=click.Choice(OPERATION_STATUSES), help="Only those of this status.")
@page_options
@on_queue()
def list_operations(desk: Desk, /, status: str | None, limit: int, cursor: str | None) -> int:
    """Lists bulk acts, the newest first."""
    page = desk.queue.operations(status=status, limit=limit, cursor=cursor)
    table = texts.operations(page.operations, desk.now) if page.operations else ["no bulk acts\n"]
    desk.tell({"operations": page.operations, "next": page.cursor}, table)
    next_page(desk, page.cursor)
    return DONE


@operations.command("pause")
@click.argument("operation")
@actor_option
@reason_option
@on_queue()
def pause_operation(desk: Desk, /, operation: str, actor: str, reason: str | None) -> int:
    """Stops a bulk act before its next letter, to be resumed."""
    return _stands(desk, desk.queue.pause(operation, actor=actor, reason=reason))


@operations.command("cancel")
@click.argument("operation")
@actor_option
@reason_option
@on_queue()
def cancel_operation(desk: Desk, /, operation: str, actor: str, reason: str | None) -> int:
    """Ends a bulk act before its next letter, for good."""
    return _stands(desk, desk.queue.cancel(operation, actor=actor, reason=reason))


@operations.command("resume")
@click.argument("operation")
@actor_option
@reason_option
@on_queue()
def resume_operation(desk: Desk, /, operation: str, actor: str, reason: str | None) -> int:
    """Works on a bulk act that was paused or stopped, or whose process died."""
    found = desk.queue.operation(operation)
    if found.kind == "redrive":
        demand_app(desk.app, "resuming a redrive")
    if found.status != "running":
        desk.queue.resume(found.id, actor=actor, reason=reason)
    return work(desk, found.id)


def _stands(desk: Desk, found: Operation) -> int:
    desk.tell({"operation": found}, [texts.operation(found)])
    return DONE

"""Acts on letters, named one by one or by a filter: redrive, edit, discard, restore, purge."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ...output import Failure
from .bulk import Report, bulk
from .desk import DONE, REFUSED, Desk, on_queue
from .options import (
    actor_option,
    all_option,
    dry_run_option,
    filter_of,
    filter_options,
    needed_reason_option,
    reason_option,
    yes_option,
)

if TYPE_CHECKING:
    from ...runtime.letters import Filter, Letter, Outcome

letters_argument = click.argument("letters", nargs=-1, metavar="[LETTERS]...")


@click.command("redrive")
@letters_argument
@filter_options
@all_option
@actor_option
@reason_option
@dry_run_option
@yes_option
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="Letters per second at most (bulk).")
@click.option("--jitter", type=click.FloatRange(0, 1), metavar="SHARE", help="How uneven the rate is (default: 0.1).")
@click.option(
    "--max-failures",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Stop a bulk act when more than this share of its last redrives failed again (default: 0.5).",
)
@click.option("--window", type=click.IntRange(1), metavar="N", help="How many redrives that share is of (default: 20).")
@click.option(
    "--max-redrives",
    type=click.IntRange(1),
    metavar="N",
    help="Park a letter that failed this often (default: the app's).",
)
@on_queue(handlers="redrive")
def redrive_letters(
    desk: Desk,
    /,
    letters: tuple[str, ...],
    everything: bool,
    actor: str,
    reason: str | None,
    dry_run: bool,
    yes: bool,
    max_redrives: int | None,
    **given: Any,
) -> int:
    """Puts letters back to work: those named, or all dead ones that match.

    Exits with 0 where each was redriven, 1 where one was refused or failed again or none matched.
    """
    from ...runtime.bulk import BulkOptions

    named = {"rate": "rate", "jitter": "jitter", "max_failures": "stop_share", "window": "window"}
    said = {field: value for option, field in named.items() if (value := given.pop(option)) is not None}
    asked = _ids_or_filter(letters, given, everything, said)
    if max_redrives is not None:
        desk.queue._core.max_redrives = max_redrives
    if asked is None:
        return _told(desk, desk.queue.redrive(letters, actor=actor, reason=reason, dry_run=dry_run))
    options = BulkOptions(**said)
    return bulk(desk, "redrive", asked, actor, reason, options, everything=everything, dry_run=dry_run, yes=yes)


@click.command("discard")
@letters_argument
@filter_options
@all_option
@actor_option
@needed_reason_option
@dry_run_option
@yes_option
@on_queue()
def discard_letters(desk: Desk, /, **given: Any) -> int:
    """Drops dead, parked and doubtful letters: they are kept, but not redriven.

    Exits with 0 where each was dropped, 1 where one was refused or none matched.
    """
    return _move(desk, "discard", desk.queue.discard, given)


@click.command("restore")
@letters_argument
@filter_options
@all_option
@actor_option
@reason_option
@dry_run_option
@yes_option
@on_queue()
def restore_letters(desk: Desk, /, **given: Any) -> int:
    """Makes parked, discarded and doubtful letters dead again, so that they can be redriven.

    Exits with 0 where each was restored, 1 where one was refused or none matched.
    """
    return _move(desk, "restore", desk.queue.restore, given)


def _move(desk: Desk, kind: str, by_id: Callable[..., Sequence[Outcome]], given: dict[str, Any]) -> int:
    letters, everything, dry_run = given.pop("letters"), given.pop("everything"), given.pop("dry_run")
    actor, reason, yes = given.pop("actor"), given.pop("reason"), given.pop("yes")
    asked = _ids_or_filter(letters, given, everything, {"dry-run": True} if dry_run else {})
    if asked is None:
        return _told(desk, by_id(letters, actor=actor, reason=reason))
    return bulk(desk, kind, asked, actor, reason, everything=everything, dry_run=dry_run, yes=yes)


@click.command("purge")
@filter_options
@all_option
@actor_option
@reason_option
@dry_run_option
@yes_option
@click.option("--unseen", is_flag=True, help="Also letters that nobody looked at.")
@on_queue()
def purge_letters(
    desk: Desk,
    /,
    everything: bool,
    actor: str,
    reason: str | None,
    dry_run: bool,
    yes: bool,
    unseen: bool,
    **given: Any,
) -> int:
    """Deletes redriven and discarded letters that match, or those of --status; their history stays.

    Exits with 0 where each was deleted, 1 where one was refused or none matched.
    """
    from ...runtime.bulk import BulkOptions

    asked, options = filter_of(given), BulkOptions(unseen=unseen)
    return bulk(desk, "purge", asked, actor, reason, options, everything=everything, dry_run=dry_run, yes=yes)


@click.command("edit")
@click.argument("letter")
@click.option("--payload", type=click.File("rb"), metavar="FILE", help="The new payload as JSON; - is stdin.")
@click.option("--if-match", type=int, metavar="VERSION", help="Only if the letter is still of this version.")
@actor_option
@reason_option
@on_queue()
def edit_letter(desk: Desk, /, letter: str, payload: Any, if_match: int | None, actor: str, reason: str | None) -> int:
    """Gives a dead or parked LETTER another payload, from a file or in your editor.

    The payload is JSON as `show --json` prints it. A masked value that stays where it stood keeps its original, if that
    is stored encrypted. Exits with 0 when it is done, 1 where it is refused.
    """
    from ...runtime.payload import decode

    if payload is None:
        found = desk.queue.get(letter)
        data, if_match = _in_editor(found), found.fence if if_match is None else if_match
    else:
        data = _parsed(payload.read(), "--payload")
    edited = desk.queue.edit(letter, decode(data), actor=actor, reason=reason, if_match=if_match)
    desk.tell({"letter": edited}, [_edited(edited)])
    return DONE


def _in_editor(letter: Letter) -> Any:
    from ...reports.letterjson import payload

    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to edit on: give the payload by --payload FILE")
    text = click.edit(json.dumps(payload(letter), indent=2, ensure_ascii=False) + "\n", extension=".json")
    if text is None:
        raise Failure("nothing was saved, and nothing was changed")
    return _parsed(text.encode(), "what you wrote")


def _parsed(text: bytes, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Failure(f"{name} is not JSON: {error}") from error
    except RecursionError as error:
        raise Failure(f"{name} is nested too deeply") from error


def _edited(letter: Letter) -> str:
    if letter.redrivable:
        return f"edited {letter.id}: it can be redriven\n"
    return f"edited {letter.id}: it can't be redriven yet (changed: {', '.join(letter.changed_paths)})\n"


def _ids_or_filter(
    letters: tuple[str, ...], given: dict[str, Any], everything: bool, only_bulk: dict[str, Any]
) -> Filter | None:
    """The filter, or None where letters are named. Raises UsageError where both are."""
    asked = filter_of(given)
    if not letters:
        return asked
    if everything or not asked.empty or asked.status is not None:
        raise click.UsageError("name letters or say a filter, not both")
    if only_bulk:
        names = {"stop_share": "max-failures"}
        option = next(names.get(name, name) for name in only_bulk)
        raise click.UsageError(f"--{option} goes with a filter, not with named letters")
    return None


def _told(desk: Desk, outcomes: Sequence[Outcome]) -> int:
    """Writes an outcome for each letter; the exit code."""
    report = Report(desk)
    for outcome in outcomes:
        report.add(outcome)
    report.end(None)
    return REFUSED if report.refused else DONE

"""Dead letters for people: lists, one letter whole, its history, counts and bulk acts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .excerpt import shown
from .letterjson import payload
from .table import Column, Screen, Table, render

if TYPE_CHECKING:
    from ..runtime.letters import Depth, Event, Group, Letter, LetterSummary, Operation, Outcome, Stats
    from ..runtime.tokens import Token

STATUS_COLORS = {
    "dead": "red",
    "redriving": "cyan",
    "in_doubt": "bold magenta",
    "redriven": "green",
    "parked": "yellow",
    "discarded": "dim",
    "running": "cyan",
    "paused": "yellow",
    "stopped": "bold red",
    "cancelled": "dim",
    "done": "green",
}
PAYLOAD_SHOWN = 20_000  # characters; --json shows all

_UNITS = ((7 * 86_400, "w"), (86_400, "d"), (3_600, "h"), (60, "m"))


def age(then: datetime, now: datetime) -> str:
    """How long ago, in its largest unit of which there are two or more: `90s`, `5m`, `36h`, `3d`."""
    seconds = max(0, int((now - then).total_seconds()))
    return next((f"{seconds // size}{unit}" for size, unit in _UNITS if seconds >= 2 * size), f"{seconds}s")


def letters(found: Sequence[LetterSummary], now: datetime) -> Table:
    """A page of letters."""
    columns = [
        Column("id"),
        Column("status", colors=STATUS_COLORS),
        Column("queue", cut=True),
        Column("job", cut=True),
        Column("error", cut=True),
        Column("attempts", right=True, spare=True),
        Column("redrives", right=True, spare=True),
        Column("age", right=True),
    ]
    return Table(columns, [_letter(letter, now) for letter in found])


def _letter(letter: LetterSummary, now: datetime) -> list[str]:
    return [
        letter.id,
        letter.status,
        letter.queue,
        _job(letter),
        letter.error_type,
        f"{letter.attempts:,}",
        f"{letter.redrives:,}",
        age(letter.failed_at, now),
    ]


def _job(letter: LetterSummary) -> str:
    return letter.job_name if letter.job_id is None else f"{letter.job_name} {letter.job_id}"


def groups(found: Sequence[Group], now: datetime) -> Table:
    """Bugs, the one with the most letters first."""
    columns = [
        Column("fingerprint"),
        Column("letters", right=True),
        Column("error", cut=True),
        Column("queue", cut=True),
        Column("job", cut=True),
        Column("newest", spare=True),
        Column("age", right=True),
    ]
    rows = [
        [
            group.fingerprint,
            _count(group),
            group.newest.error_type,
            group.newest.queue,
            group.newest.job_name,
            group.newest.id,
            age(group.newest.failed_at, now),
        ]
        for group in found
    ]
    return Table(columns, rows)


def _count(counted: Group | Depth) -> str:
    return f"{counted.count:,}" + ("" if counted.exact else "+")


def stats(found: Stats, statuses: Sequence[str], now: datetime, screen: Screen) -> Iterator[str]:
    """How many letters each queue has in each status, then what waits."""
    by_queue: dict[str, dict[str, str]] = {}
    for depth in found.depths:
        by_queue.setdefault(depth.queue, {})[depth.status] = _count(depth)
    columns = [Column("queue", cut=True), *(Column(status, right=True) for status in statuses)]
    rows = [[queue, *(counts.get(status, "0") for status in statuses)] for queue, counts in by_queue.items()]
    if rows:
        yield from render(Table(columns, rows), screen)
    else:
        yield "no letters\n"
    if found.oldest_dead_at is not None:
        yield f"the oldest dead letter has waited for {age(found.oldest_dead_at, now)}\n"
    if found.spool_records:
        yield f"{_of(found.spool_records, 'record')} ({found.spool_bytes:,} bytes) in this host's spool\n"


def history(found: Sequence[Event], *, whose: bool = False) -> Table:
    """What happened, in the order given; `whose` shows of which letter."""
    columns = [
        Column("time"),
        *([Column("letter")] if whose else []),
        Column("event"),
        Column("actor", cut=True),
        Column("reason", cut=True),
        Column("detail", cut=True),
    ]
    rows = [
        [
            _time(event.at),
            *([event.letter_id or ""] if whose else []),
            event.kind,
            event.actor,
            event.reason or "",
            _detail(event.detail),
        ]
        for event in found
    ]
    return Table(columns, rows)


def _time(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _detail(detail: Any) -> str:
    """What an event holds, in one line; tracebacks are in the letter itself."""
    if not isinstance(detail, Mapping):
        return "" if detail is None else json.dumps(detail, ensure_ascii=False)
    if "error_type" in detail:
        return ": ".join(filter(None, (detail["error_type"], detail.get("error_message")))).partition("\n")[0]
    return ", ".join(f"{name} {_word(value)}" for name, value in detail.items() if value not in (None, {}, []))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def letter(found: Letter, events: Sequence[Event], screen: Screen) -> Iterator[str]:
    """One letter whole: what failed, why, with what payload, and what happened since."""
    told = {
        "letter": found.id,
        "status": found.status + ("" if found.redrivable else ", not redrivable as it is"),
        "queue": found.queue,
        "job": _job(found),
        "attempts": f"{found.attempts:,}, redrives {found.redrives:,}",
        "failed": f"{_time(found.failed_at)}, first {_time(found.first_failed_at)}",
        "where": f"{found.host} {found.process}" + (f", version {found.code_version}" if found.code_version else ""),
        "trace": found.trace_id,
        "claimed by": found.claimed_by,
        "fingerprint": found.fingerprint,
        "version": f"{found.fence}",
        "changed": ", ".join(found.changed_paths),
        "headers": json.dumps(found.headers, ensure_ascii=False) if found.headers else "",
        "error": f"{found.error_type}: {found.error_message}".partition("\n")[0],
    }
    for name, value in told.items():
        if value:
            yield f"{name:<12}{shown(value)}\n"
    yield from _block("traceback", found.traceback)
    yield from _block("payload", json.dumps(payload(found), indent=2, ensure_ascii=False))
    if events:
        yield "\nhistory\n"
        yield from render(history(events), screen)


def _block(title: str, text: str) -> Iterator[str]:
    more = len(text) - PAYLOAD_SHOWN
    lines = text[:PAYLOAD_SHOWN].rstrip("\n").split("\n")
    yield f"\n{title}\n" + "".join(f"  {shown(line)}".rstrip() + "\n" for line in lines)
    if more > 0:
        yield f"  ... and {_of(more, 'more character')}: --json shows all\n"


def outcome(found: Outcome) -> str:
    """What became of one letter, as a line that may be written before the next is known."""
    return f"{shown(found.letter_id):<36}  {found.result:<14}  {shown(found.detail)}".rstrip() + "\n"


def operations(found: Sequence[Operation], now: datetime) -> Table:
    """Bulk acts, and how far they are."""
    columns = [
        Column("id"),
        Column("act"),
        Column("status", colors=STATUS_COLORS),
        Column("done", right=True),
        Column("failed", right=True),
        Column("skipped", right=True),
        Column("of", right=True),
        Column("actor", cut=True, spare=True),
        Column("age", right=True),
        Column("note", cut=True, spare=True),
    ]
    rows = [
        [
            act.id,
            act.kind,
            act.status,
            f"{act.succeeded:,}",
            f"{act.failed:,}",
            f"{act.skipped:,}",
            f"{act.total:,}",
            act.actor,
            age(act.started_at, now),
            act.note or "",
        ]
        for act in found
    ]
    return Table(columns, rows)


def operation(found: Operation) -> str:
    """How a bulk act stands, in one line."""
    counts = f"{found.succeeded:,} done, {found.failed:,} failed, {found.skipped:,} skipped"
    note = f": {shown(found.note)}" if found.note else ""
    return f"{found.kind} {found.id} is {found.status}: {counts} of {_of(found.total, 'letter')}{note}\n"


def tokens(found: Sequence[Token], now: datetime) -> Table:
    """Tokens of the admin API, and whether they may still be used."""
    columns = [
        Column("name", cut=True),
        Column("role"),
        Column("status", colors={"valid": "green", "expired": "yellow", "revoked": "dim"}),
        Column("created"),
        Column("expires"),
        Column("used", right=True),
    ]
    rows = [
        [
            token.name,
            token.role,
            _token_status(token, now),
            _time(token.created_at),
            _time(token.expires_at) if token.expires_at else "never",
            age(token.last_used_at, now) if token.last_used_at else "never",
        ]
        for token in found
    ]
    return Table(columns, rows)


def _token_status(token: Token, now: datetime) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else "valid"


def _of(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

"""The watch list of the first 24 hours, and what fired of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .table import Column, Screen, Table
from .table import render as table

_COLORS = {"high": "bold red", "medium": "yellow", "low": "dim"}


def fired(seen: Mapping[str, Any], screen: Screen = Screen()) -> Iterator[str]:  # noqa: B008 - it can't change
    """What fired, worst first, as a table; then what each source said."""
    rows = [_row(row) for row in seen["handlers"]]
    if rows:
        yield from table(_table(rows), screen)
    else:
        yield "no handler is on the list\n"
    if seen["unlisted"]:
        yield "\nfired, but not on the list:\n"
        yield from table(_table([_row(row) for row in seen["unlisted"]]), screen)
    yield "\n"
    for source in seen["sources"]:
        yield (
            f"no data: {source['name']}: {source['problem']}\n"
            if source["problem"]
            else f"data from {source['name']}\n"
        )
    yield f"{summary(seen)}\n"


def summary(seen: Mapping[str, Any]) -> str:
    """The one line that matters."""
    count = sum(1 for row in (*seen["handlers"], *seen["unlisted"]) if row["count"])
    events = f"{count} event{'' if count == 1 else 's'}"
    if any(source["problem"] for source in seen["sources"]):
        return f"{events} fired as far as is known; what the sources without data saw is not known"
    return f"{events} fired in the last 24 hours" if count else "none has fired in the last 24 hours"


def _table(rows: Sequence[Sequence[str]]) -> Table:
    columns = [
        Column("fired", right=True),
        Column("last", spare=True),
        Column("severity", colors=_COLORS),
        Column("event", cut=True),
        Column("logger", cut=True, spare=True),
        Column("place", cut=True),
    ]
    return Table(columns, rows)


def _row(row: Mapping[str, Any]) -> list[str]:
    places = ", ".join(f"{place['file']}:{place['line']}" for place in row["places"])
    return [
        f"{row['count']:,}{'?' if row['shared'] else ''}" if row["count"] is not None else "-",
        "" if row["last"] is None else f"{datetime.fromtimestamp(row['last'], UTC):%Y-%m-%d %H:%M:%S} UTC",
        row["severity"],
        row["event"],
        row["logger"],
        places,
    ]

"""The lines of source that a finding is shown with, made fit for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

WIDTH = 160
_BEFORE, _AFTER = 2, 1
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def excerpt(
    lines: Sequence[bytes], row: int, column: int, end_row: int, end_column: int
) -> Iterator[tuple[int | None, str]]:
    """Yields (row, text) for the blamed row and those around it, and (None, carets) below the blamed row.

    `lines` are all rows of the file in UTF-8. Rows and columns are 1-based, in code points, the end exclusive. Tabs
    are widened, control characters and changes of writing direction shown as `?` (they could rewrite the terminal),
    long rows cut to `WIDTH`.
    """
    for at in range(max(1, row - _BEFORE), min(len(lines), row + _AFTER) + 1):
        line = lines[at - 1].decode("utf-8", "replace")
        if at != row:
            if line.strip():
                yield at, shown(line[:WIDTH])
            continue
        end = end_column - 1 if end_row == row else len(line.rstrip())
        start = max(0, column - 1 - WIDTH // 2) if len(line) > WIDTH else 0
        yield at, shown(line[start : start + WIDTH])
        lead = shown(line[start : column - 1])
        blamed = shown(line[column - 1 : max(end, column)][: WIDTH // 2])
        yield None, " " * width(lead) + "^" * max(1, width(blamed))


def shown(text: str) -> str:
    """Text without tabs and without anything that a terminal would obey."""
    return text if text.isprintable() else _CONTROL.sub("?", text.expandtabs(4)).rstrip()


def width(text: str) -> int:
    """The number of terminal cells that a text takes (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def printable(text: str) -> str:
    """A name or text for a document: as `shown`, and bytes that are no UTF-8 as `\\xff`."""
    return shown(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))

"""Edits of a file's bytes: each replaces one old span by a new one, and can be undone."""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from .source import Source

Kind = Literal["call", "import", "logger", "pass", "suppress", "except", "exc_info", "raise", "level", "comment"]
# The proof covers these kinds alone: what the others do to the program is for the user to judge.
PROVABLE = frozenset({"call", "import", "logger", "pass", "suppress", "except", "exc_info"})
_NEWLINE = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Edit:
    """At offset `start` of the old bytes, `old` gives way to `new`.

    `statement` is the Python text that the new span is expected to hold: a statement for call, import, logger, pass,
    raise and level; the keyword for exc_info; empty for suppress (`try` for the header) and, for except, the clause.
    """

    start: int
    old: bytes
    new: bytes
    kind: Kind
    statement: str = ""


def apply(data: bytes, edits: Iterable[Edit]) -> tuple[bytes, list[int]]:
    """The edited bytes, and for each edit in order of place the offset at which its new span begins.

    Raises ValueError where two edits overlap or an old span is not what the edit says.
    """
    parts: list[bytes] = []
    starts: list[int] = []
    at = length = 0
    for edit in edits:
        if edit.start < at or not data.startswith(edit.old, edit.start):
            raise ValueError("edits overlap or do not belong to these bytes")
        parts += [data[at : edit.start], edit.new]
        length += edit.start - at
        starts.append(length)
        length += len(edit.new)
        at = edit.start + len(edit.old)
    parts.append(data[at:])
    return b"".join(parts), starts


def undo(data: bytes, edits: Iterable[Edit], starts: Iterable[int]) -> bytes:
    """The bytes before the edits, made from the edited bytes and the edits alone.

    Raises ValueError where a new span does not hold what the edit put there.
    """
    parts: list[bytes] = []
    at = 0
    for edit, start in zip(edits, starts, strict=True):
        if start < at or not data.startswith(edit.new, start):
            raise ValueError("the edited bytes do not hold an edit")
        parts += [data[at:start], edit.old]
        at = start + len(edit.new)
    parts.append(data[at:])
    return b"".join(parts)


def old_offset(offset: int, edits: Iterable[Edit], starts: Iterable[int]) -> int:
    """Where a byte of the edited text stood in the old one; of what an edit put there, where the edit begins."""
    shift = 0
    for edit, start in zip(edits, starts, strict=True):
        if offset < start:
            break
        if offset < start + len(edit.new):
            return edit.start
        shift = edit.start + len(edit.old) - start - len(edit.new)
    return offset + shift


class Places:
    """Where the rows and columns of a source's tree stand in the file's own bytes, and back."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @cached_property
    def starts(self) -> list[int]:
        """The offsets in the file's bytes at which its rows begin; the byte order mark is no part of row 1."""
        data = self.source.data
        bom = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
        if b"\r" not in data and self.source.encoding == "utf-8":
            return [start + bom for start in self.source.line_starts]
        return [bom, *(found.end() for found in _NEWLINE.finditer(data))]

    def offset(self, row: int, column: int) -> int:
        """The offset of a place given as 1-based row and 0-based column in bytes of UTF-8."""
        start = self.starts[row - 1]
        if self.source.encoding in ("utf-8", "utf-8-sig"):
            return start + column
        return start + len(self.encode(self.source.line(row)[:column].decode("utf-8")))

    def place(self, offset: int) -> tuple[int, int]:
        """The 1-based row and 0-based column in bytes of UTF-8 of an offset in the file's bytes."""
        row = bisect_right(self.starts, offset)
        column = offset - self.starts[row - 1]
        if self.source.encoding in ("utf-8", "utf-8-sig"):
            return row, column
        head = self.source.data[self.starts[row - 1] : offset]
        return row, len(codecs.decode(head, self.source.encoding).encode("utf-8"))

    def encode(self, text: str) -> bytes:
        """Text in the file's encoding; raises UnicodeEncodeError."""
        return text.encode("utf-8" if self.source.encoding == "utf-8-sig" else self.source.encoding)

    def newline(self, row: int) -> bytes:
        """The newline that ends a row; that of the row before (or LF) where the file ends without one."""
        for at in (row, row - 1):
            if 0 < at < len(self.starts):
                tail = self.source.data[max(0, self.starts[at] - 2) : self.starts[at]]
                return b"\r\n" if tail == b"\r\n" else tail[-1:]
        return b"\n"

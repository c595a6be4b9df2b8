"""The lines of a file that begin functions and classes, and what stands between them, told from the bytes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from .lazy import lazy_pattern
from .patterns import lower_line
from .source import Source
from .strings import LongStrings, long_strings_of

_FORM_FEED = lazy_pattern(rb"\f(?![ \t\f]*\n)")
_NAME = lazy_pattern(rb"(?:async[ \t]+)?def[ \t]+([^\s(\[:]+)")
_NO_STRINGS = LongStrings([], [])


class Block(NamedTuple):
    """An outermost function's head by number, and the offsets of its lines, decorators included."""

    head: int
    start: int
    end: int


class Heads:
    """The lines of a file that begin a function or a class.

    `places` are the offsets of those lines' first letters, `columns` their indentation in bytes (a tab is one, which
    orders the lines of valid code as the parser does), `functions` tells them from classes. None lies in a string.
    Where `doubtful` the bytes can't tell and there are none. Heads behind the offset `limit` are left out.
    """

    def __init__(self, source: Source, limit: int | None = None) -> None:
        text = self.text = source.utf8
        self._limit = len(text) if limit is None else limit
        strings = long_strings_of(source)
        self.strings = strings or _NO_STRINGS
        self.places: list[int] = []
        self.columns: list[int] = []
        self.functions: list[bool] = []
        self.parents: list[int] = []
        self._clean: dict[int, int] = {}
        self.doubtful = (
            strings is None
            or (b"\t" in text and (b"def\t" in text or b"class\t" in text))
            or b"def\\" in text
            or b"class\\" in text
            or (b"\f" in text and _FORM_FEED.search(text) is not None)
        )
        if not self.doubtful:
            self._collect()

    def _collect(self) -> None:
        found = [*self._lines_with(b"def ", True), *self._lines_with(b"class ", False)]
        found.sort()
        stack: list[int] = []
        for at, (place, column, function) in enumerate(found):
            while stack and self.columns[stack[-1]] >= column:
                stack.pop()
            self.places.append(place)
            self.columns.append(column)
            self.functions.append(function)
            self.parents.append(stack[-1] if stack else -1)
            stack.append(at)

    def _lines_with(self, word: bytes, function: bool) -> Iterator[tuple[int, int, bool]]:
        """The lines of code that begin with a word (`async` before it allowed), as (place, column, function)."""
        text, at = self.text, -1
        while (at := text.find(word, at + 1, self._limit)) >= 0:
            start = text.rfind(b"\n", 0, at) + 1
            before = text[start:at]
            words = before.split()
            if (words and words != [b"async"]) or self.strings.end_around(start) is not None:
                continue
            if start > 1 and text[start - 2] == 0x5C:
                self.doubtful = True
            column = len(before) - len(before.lstrip())
            yield start + column, column, function

    def outermost(self, offset: int) -> int | None:
        """The outermost function, with nothing but classes around it, that holds the code at an offset.

        None where there is none, or where that takes more than a look at the lines between the heads.
        """
        start = self.text.rfind(b"\n", 0, offset) + 1
        indented = self.text[start:offset]
        column = len(indented) - len(indented.lstrip())
        chain: list[int] = []
        at = bisect_right(self.places, offset) - 1
        while at >= 0:
            if self.columns[at] < column or (self.functions[at] and self.places[at] >= start):
                chain.append(at)
            at = self.parents[at]
        chain.reverse()
        for number, head in enumerate(chain):
            if self.functions[head]:
                return head if self._is_clean(head, start) else None
            if number + 1 == len(chain) or not self._is_clean(head, self.places[chain[number + 1]]):
                return None
        return None

    def _is_clean(self, head: int, end: int) -> bool:
        """Whether everything between a head and an offset is indented deeper than the head, as its block is."""
        start = self._clean.get(head, self.places[head])
        if start < end:
            if self._lower_line(start, end, self.columns[head]) is not None:
                return False
            self._clean[head] = end
        return True

    def _lower_line(self, start: int, end: int, column: int) -> int | None:
        """The newline before the first line of code that begins at the column or before it."""
        lower = lower_line(column)
        while found := lower.search(self.text, start, end):
            string_end = self.strings.end_around(found.start())
            if string_end is None:
                return found.start()
            start = string_end
        return None

    def end(self, head: int) -> int:
        """Where the block of a head ends, unless a line within brackets, or joined by a backslash, looks like that."""
        newline = self._lower_line(self.places[head], len(self.text), self.columns[head])
        return len(self.text) if newline is None else newline + 1

    def is_joined_at(self, end: int) -> bool:
        """Whether the line at an offset is but a backslash, so that the line below it may belong to the block above."""
        return self.text[end : self.text.find(b"\n", end) + 1].strip() == b"\\"

    def decorated_start(self, head: int) -> int:
        """The start of the first line of a function, its decorators included."""
        floor = self.places[head - 1] if head else 0
        line = self.places[head] - self.columns[head]
        indent = self.text[line : self.places[head]]
        if head == 0 and self.text.startswith(indent + b"@"):
            return 0
        mark = b"\n" + indent + b"@"
        at = self.text.find(mark, floor, line)
        while at >= 0 and self.strings.end_around(at) is not None:
            at = self.text.find(mark, at + 1, line)
        return line if at < 0 else at + 1

    def outline(self) -> tuple[bytes, list[Block]] | None:
        """The text with each outermost function made a stub of as many rows, and where those functions stand.

        A block that is cut short leaves a bracket that does not parse; None where a backslash could hide that.
        """
        parts: list[bytes] = []
        blocks: list[Block] = []
        at = 0
        for head, place in enumerate(self.places):
            if place < at or not self.functions[head]:
                continue
            start, end = self.decorated_start(head), self.end(head)
            name = _NAME.match(self.text, place)
            if start < at or name is None or self.text.endswith(b"\\\n", 0, end) or self.is_joined_at(end):
                return None
            above = self.text.count(b"\n", start, place)
            stub = self.text[place - self.columns[head] : place] + name[0] + b"(): pass"
            below = self.text.count(b"\n", place, end)
            parts += (self.text[at:start], b"\n" * above, stub, b"\n" * below)
            blocks.append(Block(head, start, end))
            at = end
        parts.append(self.text[at:])
        return b"".join(parts), blocks

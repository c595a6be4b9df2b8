"""Where the strings that span lines stand in a file's bytes, found without reading the file token by token."""

from __future__ import annotations

import re
import sys
from bisect import bisect_right

from .lazy import lazy_pattern
from .source import Source

# Code up to a comment, a triple quote or a string that does not end, over complete strings of one line.
_CODE = lazy_pattern(rb"""(?>(?:[^"'#]++|"(?>(?:[^"\\\n]|\\.)*)"|'(?>(?:[^'\\\n]|\\.)*)')*)""", re.S)
_STRING = lazy_pattern(rb""""(?>(?:[^"\\\n]|\\.)*)"|'(?>(?:[^'\\\n]|\\.)*)'""", re.S)
_QUOTE_OR_COMMENT = lazy_pattern(rb"""["'#]""")
_F_STRING = lazy_pattern(rb"""\b(?i:[ft]r?|r[ft])["']""")
_F_PREFIX = lazy_pattern(rb"""(?i:[ft]r?|r[ft])$""")
_PLAIN_F_BODY = lazy_pattern(rb"""(?>(?:[^{}]++|\{\{|\}\}|\{[^{}"']*+\})*)""")
_NESTING = sys.version_info >= (3, 12)  # PEP 701: quotes of the same kind may stand within an f-string's fields


class LongStrings:
    """The triple-quoted strings of a text, as offsets. Strings continued by a backslash are not among them."""

    def __init__(self, starts: list[int], ends: list[int]) -> None:
        self.starts, self.ends = starts, ends

    def end_around(self, offset: int) -> int | None:
        """The end of the string that the offset lies in, or None."""
        at = bisect_right(self.starts, offset) - 1
        return self.ends[at] if at >= 0 and offset < self.ends[at] else None


def long_strings(text: bytes) -> LongStrings | None:
    """The triple-quoted strings of a text with LF newlines, or None where only a real lexer could tell."""
    starts: list[int] = []
    ends: list[int] = []
    at, double, single = 0, -2, -2
    while True:
        if double != -1 and double < at:
            double = text.find(b'"""', at)
        if single != -1 and single < at:
            single = text.find(b"'''", at)
        if (quote := min(double, single) if min(double, single) >= 0 else max(double, single)) < 0:
            return LongStrings(starts, ends)
        line = _line_start(text, at, quote)
        beyond = _beyond(text, line, quote)
        if beyond is None:
            return None
        if beyond != quote:  # it stands in a comment or in a string of one line
            at = beyond
            continue
        end = _close(text, quote)
        if end is None:
            return None
        starts.append(quote)
        ends.append(end)
        at = end


def long_strings_of(source: Source) -> LongStrings | None:
    """The long strings of a file's text, found once."""
    if "long_strings" not in source.__dict__:
        source.__dict__["long_strings"] = long_strings(source.utf8)
    return source.__dict__["long_strings"]


def _line_start(text: bytes, floor: int, offset: int) -> int:
    """Where the line of the offset begins, those that a backslash joins to it included, but not before `floor`."""
    start = text.rfind(b"\n", floor, offset) + 1
    while start >= floor + 2 and text[start - 2] == 0x5C:
        start = text.rfind(b"\n", floor, start - 1) + 1
    return max(start, floor)


def _beyond(text: bytes, at: int, quote: int) -> int | None:
    """`quote` itself where the triple quote there begins a string, else where the comment or string around it ends.

    `at` is a place before it that is known to be code. None where that can't be told.
    """
    if _QUOTE_OR_COMMENT.search(text, at, quote) is None:
        return quote
    if _NESTING and _F_STRING.search(text, at, quote):
        return None
    while at < quote:
        at = _CODE.match(text, at, quote).end()  # type: ignore[union-attr]
        if at >= quote:
            break
        if text[at] == 0x23:
            newline = text.find(b"\n", at)
            at = newline if newline >= 0 else len(text)
        elif found := _STRING.match(text, at):
            at = found.end()
        else:
            return None
    return at


def _close(text: bytes, quote: int) -> int | None:
    """Where the string that a triple quote begins ends, or None."""
    mark, at = text[quote : quote + 3], quote + 3
    while (at := text.find(mark, at)) >= 0:
        slashes = at
        while text[slashes - 1] == 0x5C and slashes > quote + 3:
            slashes -= 1
        if (at - slashes) % 2 == 0:
            break
        at += 1
    if at < 0:
        return None
    if _NESTING and _F_PREFIX.search(text, max(quote - 2, 0), quote):
        body = _PLAIN_F_BODY.match(text, quote + 3, at)
        if body is None or body.end() != at:
            return None
    return at + 3

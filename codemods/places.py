"""Where in a file's bytes a scope rule may have something to say: cheap, and never too little."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from .lazy import lazy_pattern
from .patterns import lower_line
from .source import Source

# A block that may go on below a lower indentation: within a string or brackets, after a joined line.
_UNSURE = lazy_pattern(rb"'''|\"\"\"|\\\n|\f")
_OPENING = lazy_pattern(rb"(?>(?:\s|\\\n)*)\(")
_AS = lazy_pattern(rb"[ \t]+as[ \t]+(\w+)")
_WORD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") | frozenset(range(0x80, 0x100))
_PAIRS = ((b"(", b")"), (b"[", b"]"), (b"{", b"}"))


def occurrences(utf8: bytes, text: bytes) -> Iterator[int]:
    """The offsets at which a text stands."""
    at = utf8.find(text)
    while at >= 0:
        yield at
        at = utf8.find(text, at + 1)


def whole_words(utf8: bytes, word: bytes) -> Iterator[int]:
    """The offsets at which a word stands that is no part of a longer one."""
    size, at = len(word), utf8.find(word)
    while at >= 0:
        end = at + size
        if (at == 0 or utf8[at - 1] not in _WORD) and (end == len(utf8) or utf8[end] not in _WORD):
            yield at
        at = utf8.find(word, end)


def calls(utf8: bytes, names: Iterable[bytes]) -> Iterator[int]:
    """The offsets at which one of the names is called, whatever it is called on, or a name that an import gives it."""
    todo = list(names)
    known = set(todo)
    for name in todo:
        size = len(name)
        for at in whole_words(utf8, name):
            if renamed := _AS.match(utf8, at + size):
                if renamed[1] not in known:
                    known.add(renamed[1])
                    todo.append(renamed[1])
            elif _OPENING.match(utf8, at + size) and utf8[at - 4 : at] != b"def ":
                yield at


def renames(utf8: bytes, name: bytes) -> Iterator[bytes]:
    """The other names that the file's imports give to a name."""
    for at in whole_words(utf8, name):
        if renamed := _AS.match(utf8, at + len(name)):
            yield renamed[1]


def rows_of(source: Source, places: Callable[[bytes], Iterable[int]]) -> list[int]:
    """The rows of a rule's places in a file, in order, found once."""
    memo = source.__dict__.setdefault("rows_of_places", {})
    if places not in memo:
        memo[places] = sorted({source.row_of(at) for at in places(source.utf8)})
    return memo[places]


def is_on(rows: list[int], first: int, last: int) -> bool:
    """Whether one of the rows is among those from first to last."""
    at = bisect_left(rows, first)
    return at < len(rows) and rows[at] <= last


def blocks(utf8: bytes, word: bytes, header: re.Pattern[bytes], inside: re.Pattern[bytes]) -> Iterator[int]:
    """The offsets of the word in headers whose block, told by its indentation, holds the pattern or can't be told.

    `header` matches from the start of the line that holds the word, with its indentation as first group.
    """
    for at in whole_words(utf8, word):
        found = header.match(utf8, utf8.rfind(b"\n", 0, at) + 1)
        if found is None or found.end() <= at:
            continue
        ends = lower_line(len(found[1])).search(utf8, found.end())
        block = utf8[found.end() : ends.start() if ends else len(utf8)]
        if inside.search(block) or _UNSURE.search(block) or any(block.count(a) != block.count(b) for a, b in _PAIRS):
            yield at

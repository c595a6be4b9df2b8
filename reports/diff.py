"""Unified diffs of files in any encoding, with any newlines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal

_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_REACH = 200  # lines that are looked through for the place where both texts agree again
_CONTEXT = 3
_QUOTED = re.compile(rb'["\\\x00-\x1f\x7f]')

Tag = Literal["replace", "delete", "insert", "equal"]
Opcode = tuple[Tag, int, int, int, int]


def unified(old: bytes, new: bytes, name: str) -> bytes:
    """The difference of two texts as `patch -p1` and `git apply` read it; nothing where there is none.

    Lines end at LF alone, as those programs see them, so CRLF and CR stay in the lines. `name` is the file's name
    relative to where the patch is to be applied.
    """
    before, after = _LINE.findall(old), _LINE.findall(new)
    grouped = _Compared(before, after).get_grouped_opcodes(_CONTEXT)
    hunks = [b"".join(_hunk(group, before, after)) for group in grouped]
    if not hunks:
        return b""
    return b"".join((_header(b"--- ", b"a/", name), _header(b"+++ ", b"b/", name), *hunks))


class _Compared(SequenceMatcher[bytes]):
    """difflib's matcher, which cuts opcodes into hunks, with opcodes found in another way."""

    def __init__(self, before: list[bytes], after: list[bytes]) -> None:
        super().__init__(None, (), ())
        self._found = list(_opcodes(before, after))

    def get_opcodes(self) -> list[Opcode]:
        return self._found


def _header(mark: bytes, prefix: bytes, name: str) -> bytes:
    """A file's line in the head of a diff, quoted as git does where the name could be misread."""
    path = prefix + os.fsencode(name.replace(os.sep, "/")).lstrip(b"/")
    if _QUOTED.search(path):
        path = b'"' + _QUOTED.sub(lambda found: b"\\%03o" % ord(found[0]), path) + b'"'
    elif b" " in path:
        path += b"\t"
    return mark + path + b"\n"


def _hunk(group: Sequence[tuple[str, int, int, int, int]], before: list[bytes], after: list[bytes]) -> Iterator[bytes]:
    first, last = group[0], group[-1]
    yield b"@@ -%s +%s @@\n" % (_range(first[1], last[2]), _range(first[3], last[4]))
    for tag, start, stop, new_start, new_stop in group:
        if tag == "equal":
            yield from (_marked(b" ", line) for line in before[start:stop])
            continue
        yield from (_marked(b"-", line) for line in before[start:stop])
        yield from (_marked(b"+", line) for line in after[new_start:new_stop])


def _marked(mark: bytes, line: bytes) -> bytes:
    return mark + line if line.endswith(b"\n") else mark + line + b"\n\\ No newline at end of file\n"


def _range(start: int, stop: int) -> bytes:
    length = stop - start
    return b"%d" % (start + 1) if length == 1 else b"%d,%d" % (start + bool(length), length)


def _opcodes(before: list[bytes], after: list[bytes]) -> Iterator[Opcode]:
    """Opcodes as difflib's, in time that grows with the texts: fixes are small insertions, so both soon agree again."""
    at = new_at = 0
    while at < len(before) or new_at < len(after):
        start, new_start = at, new_at
        while at < len(before) and new_at < len(after) and before[at] == after[new_at]:
            at, new_at = at + 1, new_at + 1
        if at > start:
            yield "equal", start, at, new_start, new_at
            continue
        found = _agree_again(before, after, at, new_at)
        if found is None:
            yield from _by_difflib(before, after, at, new_at)
            return
        at, new_at = found
        if at == start:
            yield "insert", start, at, new_start, new_at
        else:
            yield "delete" if new_at == new_start else "replace", start, at, new_start, new_at


def _agree_again(before: list[bytes], after: list[bytes], at: int, new_at: int) -> tuple[int, int] | None:
    """The nearest places from which two lines (or all that is left) are the same in both."""
    for reach in range(1, _REACH):
        for skipped in range(reach + 1):
            left, right = at + skipped, new_at + reach - skipped
            if left <= len(before) and right <= len(after) and before[left : left + 2] == after[right : right + 2]:
                return left, right
    return None


def _by_difflib(before: list[bytes], after: list[bytes], at: int, new_at: int) -> Iterator[Opcode]:
    for tag, start, stop, new_start, new_stop in SequenceMatcher(None, before[at:], after[new_at:]).get_opcodes():
        yield tag, start + at, stop + at, new_start + new_at, new_stop + new_at

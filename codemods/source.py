"""One file's bytes, and the UTF-8 text with plain newlines that everything else reads."""

from __future__ import annotations

import codecs
import os
from bisect import bisect_right
from functools import cached_property
from itertools import accumulate

from .fingerprint import relative
from .lazy import lazy_pattern

_COOKIE = lazy_pattern(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_FEW = 10
_BLANK = lazy_pattern(rb"^[ \t\f]*(?:#.*)?$")


class DecodeFailure(Exception):
    """The bytes do not decode as the file says they do; `row` is 1-based where the place is known."""

    def __init__(self, reason: str, row: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.row = reason, row


class Source:
    """A Python source file.

    `data` is what the file holds; `utf8` the same text in UTF-8 with LF newlines and without BOM, whose rows are
    the file's rows, so that `ast` positions of either agree. `root` is the project's folder. Raises DecodeFailure
    (PEP 263).
    """

    __slots__ = ("__dict__", "_counts", "data", "encoding", "filename", "root", "utf8")

    def __init__(self, data: bytes, filename: str, root: str = ".") -> None:
        self.data, self.filename, self.root = data, filename, root
        self.encoding = "utf-8"
        body = data
        if data.startswith(codecs.BOM_UTF8):
            body = data[3:]
        cookie = _cookie(body)
        if cookie and cookie not in ("utf-8", "utf8", "ascii", "us-ascii", "utf-8-unix"):
            body = self._reencode(body, cookie)
        if b"\r" in body:
            body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self.utf8 = body
        self._counts = 0

    def _reencode(self, body: bytes, cookie: str) -> bytes:
        try:
            codec = codecs.lookup(cookie)
            plain = "\n".encode(cookie) == b"\n"
        except (LookupError, UnicodeError):
            raise DecodeFailure(f"unknown encoding {cookie!r} in the coding cookie", 1) from None
        if not plain:
            raise DecodeFailure(f"{cookie!r} in the coding cookie is no encoding for source code", 1)
        if self.data.startswith(codecs.BOM_UTF8) and codec.name != "utf-8":
            raise DecodeFailure(f"the coding cookie says {cookie!r}, the byte order mark says utf-8", 1)
        self.encoding = codec.name
        try:
            return body.decode(cookie).encode("utf-8")
        except UnicodeError as error:
            row = body.count(b"\n", 0, getattr(error, "start", 0)) + 1
            raise DecodeFailure(f"not valid {cookie}", row) from None

    def check(self) -> None:
        """Raises DecodeFailure where the text is none that a parser could take, wherever in the file that shows."""
        if (null := self.utf8.find(b"\0")) >= 0:
            raise DecodeFailure("holds null bytes: this is no Python source", self.row_of(null))
        try:
            self.utf8.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DecodeFailure(
                "not valid utf-8, and no coding cookie says what else", self.row_of(error.start)
            ) from None

    @cached_property
    def place(self) -> str:
        """The file's name as seen from the project's root; of a file elsewhere only its folder's name and its own.

        What a file is for is read off this: where the project itself lies tells nothing.
        """
        below = relative(self.filename, self.root)
        return "/".join(below.split("/")[-2:]) if os.path.isabs(self.filename) and below.startswith("/") else below

    @cached_property
    def line_starts(self) -> list[int]:
        """Offsets in `utf8` at which the rows begin; one more than rows at the end of the text."""
        starts = list(accumulate(map(len, self.utf8.splitlines(True)), initial=0))
        return starts if self.utf8.endswith(b"\n") or len(starts) == 1 else starts[:-1]

    def line(self, row: int) -> bytes:
        """Row `row` (1-based) without its newline."""
        starts = self.line_starts
        if row > len(starts):
            return b""
        end = starts[row] - 1 if row < len(starts) else len(self.utf8)
        return self.utf8[starts[row - 1] : end]

    def row_of(self, offset: int) -> int:
        """The 1-based row that holds the offset of `utf8`."""
        if "line_starts" not in self.__dict__:
            self._counts += 1
            if self._counts < _FEW:  # counting is that much cheaper than finding every line
                return self.utf8.count(b"\n", 0, offset) + 1
        return bisect_right(self.line_starts, offset)

    def column(self, row: int, col_offset: int) -> int:
        """The 1-based column in code points of a byte offset within a row."""
        line = self.line(row)[:col_offset]
        return col_offset + 1 if line.isascii() else len(line.decode("utf-8", "replace")) + 1


def _cookie(body: bytes) -> str | None:
    """The encoding named in the first two lines, normalised, or None (PEP 263)."""
    if b"coding" not in body[:1000]:
        return None
    lines = body[:1000].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n", 2)[:2]
    for line in lines:
        if found := _COOKIE.match(line):
            return found[1].decode("ascii", "replace").lower().replace("_", "-")
        if not _BLANK.match(line):
            return None
    return None

"""Cuts a `.sql` file into its statements, each with the bytes it has in the file."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

# What a semicolon may hide in. A word is one token, so that neither `$` nor `e` inside it begins a string.
_TOKENS = {
    "postgresql": re.compile(
        r"""(?P<blank>\s+|--[^\n]*) | (?P<comment>/\*) | [eE]'(?:[^'\\]|\\.|'')*' | '[^']*' | "[^"]*"
        | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ | \w[\w$]* | (?P<end>;) | .""",
        re.VERBOSE | re.DOTALL,
    ),
    "mariadb": re.compile(
        r"""(?P<blank>\s+|--(?=\s)[^\n]*|\#[^\n]*) | (?P<comment>/\*) | '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | `[^`]*`
        | \w[\w$]* | (?P<end>;) | .""",
        re.VERBOSE | re.DOTALL,
    ),
}
_COMMENT_EDGE = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a quoted text or a sign of SQL, as it is written, and where it begins."""

    text: str
    start: int


def tokens(text: str, dialect: str) -> Iterator[Token]:
    """What stands in SQL but for blanks and comments. SQLite is read as PostgreSQL."""
    token, place = _TOKENS["postgresql" if dialect == "sqlite" else dialect], 0
    while match := token.match(text, place):
        place = match.end()
        if match["comment"]:
            place = _comment_end(text, place, nested=dialect == "postgresql")
        elif not match["blank"]:
            yield Token(match[0], match.start())


def split(text: str, dialect: str) -> list[str]:
    """The statements of a file, without the blanks around them; a piece that holds only comments is none.

    Knows quotes, dollar quotes, comments and the triggers of SQLite. Not bodies that only a client's DELIMITER or
    BEGIN ATOMIC holds together.
    """
    pieces = _sqlite_pieces(text) if dialect == "sqlite" else _pieces(text, dialect)
    return [piece.strip() for piece in pieces]


def _pieces(text: str, dialect: str) -> Iterator[str]:
    token = _TOKENS[dialect]
    start = place = 0
    says_something = False
    while match := token.match(text, place):
        place = match.end()
        if match["comment"]:
            place = _comment_end(text, place, nested=dialect == "postgresql")
        elif match["end"]:
            if says_something:
                yield text[start:place]
            start, says_something = place, False
        elif not match["blank"]:
            says_something = True
    if says_something:
        yield text[start:]


def _comment_end(text: str, place: int, nested: bool) -> int:
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(text, place)):
        place = edge.end()
        if edge[0] == "*/":
            depth -= 1
        elif nested:
            depth += 1
    return place if not depth else len(text)


def _sqlite_pieces(text: str) -> Iterator[str]:
    """SQLite says itself where a statement is complete. Its comments are those of MariaDB, but for `#`."""
    start = place = 0
    while place := text.find(";", place) + 1:
        if sqlite3.complete_statement(text[start:place]):
            if _says_something(text[start:place]):
                yield text[start:place]
            start = place
    if _says_something(text[start:]):
        yield text[start:]


def _says_something(piece: str) -> bool:
    return bool(re.sub(r"--[^\n]*|/\*.*?(\*/|\Z)|[\s;]", "", piece, flags=re.DOTALL))

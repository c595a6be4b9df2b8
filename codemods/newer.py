"""Source that only a newer Python parses, rewritten through LibCST to what this one parses, row for row.

The result is there to be looked at, never to be run or written: its statements and handlers stand where they stood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from . import beyond
from .lazy import lazy_pattern
from .parsing import ParseFailure, parse_text

if TYPE_CHECKING:
    import libcst as cst
    from libcst.metadata import CodeRange

_MOST_BYTES = 100_000
# LibCST's time grows with the square of a chain's length, and its stack with the depth of brackets.
_MOST_OPERATORS = 1_500
_MOST_BRACKETS = 100
_OPERATORS = lazy_pattern(rb"[-+*/%|&^<>~]|\b(?:not|and|or|lambda|if)\b")
_LONG_CHAIN = lazy_pattern(rb"(?:\.\w++\s*+){300}")

# A replacement of the text between two places (1-based row, 0-based column in code points).
Patch = tuple[tuple[int, int], tuple[int, int], str]


def downgrade(utf8: bytes) -> bytes | None:
    """UTF-8 text in syntax that this Python parses, or None where LibCST does not parse it either.

    Known are `except A, B` (PEP 758), quotes and backslashes within f-strings (PEP 701), t-strings (PEP 750), type
    parameters and aliases (PEP 695) and lazy imports (PEP 810). Rows and columns stay.
    """
    if len(utf8) > _MOST_BYTES or _depth(utf8) > _MOST_BRACKETS or _LONG_CHAIN.search(utf8):
        return None
    if sum(1 for _ in _OPERATORS.finditer(utf8)) > _MOST_OPERATORS:
        return None
    beyond.note()
    import libcst as cst
    from libcst.metadata import MetadataWrapper, PositionProvider

    text = utf8.decode("utf-8", "replace")
    try:
        places = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True).resolve(PositionProvider)
    except (cst.ParserSyntaxError, cst.CSTLogicError, RecursionError):
        return None
    lines = text.split("\n")
    for start, end, new in sorted(_patches(places, lines), reverse=True):
        lines[start[0] - 1 : end[0]] = (lines[start[0] - 1][: start[1]] + new + lines[end[0] - 1][end[1] :]).split("\n")
    older = "\n".join(lines).encode()
    try:
        parse_text(older)
    except ParseFailure:
        return None
    return older


def _patches(places: Mapping[cst.CSTNode, CodeRange], lines: list[str]) -> Iterator[Patch]:
    """What is to be replaced so that this Python parses the text: the outermost where one lies within another."""
    last = (0, 0)
    nodes = sorted(places.items(), key=lambda entry: (entry[1].start.line, entry[1].start.column, -entry[1].end.line))
    for node, place in nodes:
        start, end = (place.start.line, place.start.column), (place.end.line, place.end.column)
        if start < last:
            continue
        kind = type(node).__name__
        text = _between(lines, start, end)
        if kind == "TypeParameters":
            patch = (start, end, " " * len(text))
        elif kind == "TypeAlias":
            end = (start[0], places[node.name].end.column)  # type: ignore[attr-defined]
            text = _between(lines, start, end)
            patch = (start, end, text.split()[-1].ljust(len(text)))
        elif kind in ("LazyImport", "LazyImportFrom"):
            word = "import" if kind == "LazyImport" else "from"
            gap = text.index(word)
            patch = (start, (start[0], start[1] + gap + len(word)), word + " " * gap)
        elif kind in ("FormattedString", "TemplatedString") and not _is_parsed(text):
            patch = (start, end, _filled(text))
        elif kind in ("ExceptHandler", "ExceptStarHandler") and type(node.type).__name__ == "Tuple":  # type: ignore[attr-defined]
            types = places[node.type]  # type: ignore[attr-defined]
            if node.type.lpar:  # type: ignore[attr-defined]
                continue
            start, end = (types.start.line, types.start.column - 1), (types.end.line, types.end.column)
            patch = _in_parentheses(lines, start, end)
        else:
            continue
        if kind not in ("ExceptHandler", "ExceptStarHandler"):
            last = end
        yield patch


def _in_parentheses(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> Patch:
    """The types of an `except`, and the blank before them, with parentheses for two blanks of the line."""
    types = _between(lines, (start[0], start[1] + 1), end)
    if ", " not in types and lines[end[0] - 1][end[1] : end[1] + 2] == ": ":
        return start, (end[0], end[1] + 2), f"({types}):"
    return start, end, f"({types.replace(', ', ',', 1)})"


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text between two places."""
    rows = lines[start[0] - 1 : end[0]]
    rows[-1] = rows[-1][: end[1]]
    rows[0] = rows[0][start[1] :]
    return "\n".join(rows)


def _is_parsed(text: str) -> bool:
    """Whether this Python parses an expression."""
    try:
        parse_text(f"({text})".encode())
    except ParseFailure:
        return False
    return True


def _filled(text: str) -> str:
    """An f-string without fields that is as long as a given one, its line breaks kept."""
    filled = "f'" + re.sub(r"[^\n]", "x", text[2:-1]) + "'"
    return re.sub(r".?\n", r"\\\n", filled)


def _depth(utf8: bytes) -> int:
    """How deep brackets are nested at most, those in strings counted too."""
    depth = most = 0
    for byte in re.sub(rb"[^()\[\]{}]++", b"", utf8):
        depth += 1 if byte in b"([{" else -1
        most = max(most, depth)
    return most

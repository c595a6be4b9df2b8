"""Cuts the outermost function around a place out of a file's bytes, so that only its text has to be parsed.

Exact by construction: whatever the bytes alone can't tell (a string or bracket that hides where a line begins, a
form feed or backslash that moves it) makes the whole file be parsed instead.
"""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from .heads import Block, Heads
from .lazy import lazy_pattern
from .names import dotted
from .newer import downgrade
from .parsing import ParseFailure, parse_text
from .scope import ClassHeader, Function, Scope, path_to
from .source import Source

_CLASS = lazy_pattern(rb"class[ \t]+(\w+)[ \t]*(?:\(([\w., \t]*)\)[ \t]*)?:")
_MOST_HEADER_LINES = 50


class Pieces:
    """The scopes of one file, cut out and parsed when they are asked for."""

    def __init__(self, source: Source, offsets: Sequence[int]) -> None:
        """`offsets` of `utf8`, in ascending order, are the places that will be asked about."""
        self._source, self._offsets = source, offsets
        self._heads = Heads(source, offsets[-1])
        self._functions: dict[int, Scope] = {}  # by the row of their `def`
        self._module: Scope | None = None
        self._blocks: list[Block] = []
        self._outlined_as: bool | None = None  # whether the last try of an outline allowed a newer Python's syntax
        self._whole: ast.Module | ParseFailure | None = None
        self._newer = False

    def scopes(self) -> Iterator[tuple[Scope, list[int]]]:
        """Yields the scopes that hold the code at the offsets, each with its own.

        Functions come in order and are forgotten then, the module comes last. Offsets that lie in a string of several
        lines are left out. Raises ParseFailure where the file has to be parsed whole and can't be.
        """
        current: tuple[Scope, list[int]] | None = None
        outside: list[int] = []
        for offset in self._offsets:
            if self._heads.strings.end_around(offset) is not None:
                continue
            scope = self._scope_at(offset)
            if scope is self._module:
                outside.append(offset)
            elif current and scope is current[0]:
                current[1].append(offset)
            else:
                if current:
                    yield current
                    self._functions = {row: at for row, at in self._functions.items() if at is scope}
                current = scope, [offset]
        if current:
            yield current
        if self._module and outside:
            yield self._module, outside

    def _scope_at(self, offset: int) -> Scope:
        """The scope that holds the code at an offset: the same object for the same scope."""
        if scope := self._piece_at(offset):
            return scope
        try:
            return self._scope_in_whole(self._source.row_of(offset))
        except ParseFailure:
            self._newer = True
            if scope := self._piece_at(offset):
                return scope
            if not self._read_as_newer():
                raise
            return self._scope_in_whole(self._source.row_of(offset))

    def _read_as_newer(self) -> bool:
        """Puts a newer Python's tree in the place of the whole file's; False where there is none either."""
        older = downgrade(self._source.utf8)
        if older is not None:
            self._whole = parse_text(older)
        return older is not None

    def _piece_at(self, offset: int) -> Scope | None:
        """The scope at an offset without a look at the whole file's tree; None where it takes that."""
        if self._heads.doubtful:
            return None
        head = self._heads.outermost(offset)
        if head is None:
            return self._scope_in_outline(offset)
        row = self._source.row_of(self._heads.places[head])
        return self._functions.get(row) or self._cut(head, row, self._classes_around(head))

    def _cut(self, head: int, row: int, classes: tuple[ClassHeader, ...] | None) -> Scope | None:
        """The function at a head as a scope, from its own text; None where the text does not parse to just that."""
        if classes is None:
            return None
        start, end = self._heads.decorated_start(head), self._heads.end(head)
        if self._heads.is_joined_at(end):
            return None
        wrapped = self._heads.columns[head] > 0
        text = b"if 1:\n" * wrapped + self._source.utf8[start:end]
        parsed = self._parse_piece(text)
        if parsed is None:
            return None
        body, newer = parsed[0].body, parsed[1]
        if wrapped and len(body) == 1:
            body = body[0].body  # type: ignore[attr-defined]
        if len(body) != 1 or not isinstance(body[0], Function):
            return None
        offset = self._source.row_of(start) - 1 - wrapped
        if body[0].lineno + offset != row:
            return None
        self._functions[row] = Scope(self._source, body[0], classes, offset, newer)
        return self._functions[row]

    def _parse_piece(self, text: bytes) -> tuple[ast.Module, bool] | None:
        """The tree of a piece, and whether the file takes a newer Python, whose syntax is tried only where it has to be."""
        try:
            return parse_text(text), self._newer
        except ParseFailure:
            older = downgrade(text) if self._newer else None
            return None if older is None else (parse_text(older), True)

    def _scope_in_outline(self, offset: int) -> Scope | None:
        """The scope at an offset from the file's outline, whose functions are stubs; None where that can't tell."""
        if self._module is None and self._outlined_as != self._newer:
            self._outlined_as = self._newer
            self._heads = Heads(self._source)
            if (outline := self._heads.outline()) and (parsed := self._parse_piece(outline[0])):
                self._module = Scope(self._source, parsed[0], newer=parsed[1])
                self._blocks = outline[1]
        if self._module is None or self._module.tree is self._whole:
            return None
        at = bisect_right(self._blocks, offset, key=lambda block: block.start) - 1
        if at < 0 or offset >= self._blocks[at].end:
            return None if self._holds_stub(self._source.row_of(offset)) else self._module
        head = self._blocks[at].head
        row = self._source.row_of(self._heads.places[head])
        path = path_to(self._module.tree, row)
        if row in self._functions or not isinstance(path[-1], ast.Pass):
            return self._functions.get(row)
        return self._cut(head, row, tuple(class_header(node) for node in path if isinstance(node, ast.ClassDef)))

    def _holds_stub(self, row: int) -> bool:
        """Whether the handler at a row of the outline holds a function, whose stub hides where the handler ends."""
        for node in path_to(self._module.tree, row):  # type: ignore[union-attr]
            if isinstance(node, ast.ExceptHandler) and node.lineno == row:
                return any(isinstance(part, Function) for part in ast.walk(node))
        return False

    def _scope_in_whole(self, row: int) -> Scope:
        """The scope that holds a row, from the tree of the whole file."""
        if self._whole is None:
            try:
                self._whole = parse_text(self._source.utf8)
            except ParseFailure as failure:
                self._whole = failure
        if isinstance(self._whole, ParseFailure):
            raise self._whole
        path = path_to(self._whole, row)
        at = next((at for at, node in enumerate(path) if isinstance(node, Function)), None)
        if at is None:
            if self._module is None or self._module.tree is not self._whole:
                self._module = Scope(self._source, self._whole, newer=self._newer)
            return self._module
        function = path[at]
        if function.lineno not in self._functions:
            classes = tuple(class_header(node) for node in path[:at] if isinstance(node, ast.ClassDef))
            self._functions[function.lineno] = Scope(self._source, function, classes, newer=self._newer)  # type: ignore[arg-type]
        return self._functions[function.lineno]

    def _classes_around(self, head: int) -> tuple[ClassHeader, ...] | None:
        """The classes around a head, the outermost first; None where one of them can't be read."""
        found: list[ClassHeader] = []
        while (head := self._heads.parents[head]) >= 0:
            header = self._class_header_at(self._heads.places[head])
            if header is None:
                return None
            found.append(header)
        return tuple(reversed(found))

    def _class_header_at(self, place: int) -> ClassHeader | None:
        """The header of the class that begins at an offset, or None where no end of it is found."""
        text = self._source.utf8
        if simple := _CLASS.match(text, place):
            bases = [base.strip() for base in (simple[2] or b"").split(b",")]
            if not any(b" " in base or b"\t" in base for base in bases):
                return ClassHeader(simple[1].decode(), tuple(base.decode() for base in bases if base))
        end = place
        for _ in range(_MOST_HEADER_LINES):
            newline = text.find(b"\n", end)
            if newline < 0:
                break
            line = text[end:newline]
            end = newline + 1
            if b":" in line and (parsed := self._parse_piece(text[place:newline] + b"\n  pass")):
                return class_header(parsed[0].body[0])  # type: ignore[arg-type]
        return None


def class_header(node: ast.ClassDef) -> ClassHeader:
    """What a scope keeps of a class around it: bases by their dotted name, without subscripts; others are left out."""
    bases = (dotted(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases)
    return ClassHeader(node.name, tuple(base for base in bases if base))

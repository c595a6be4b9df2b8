"""From a finding's place to the node of the file's tree that it blames."""

from __future__ import annotations

import ast
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .model import Finding
from .names import own_nodes
from .scope import Try, blocks
from .source import Source

Path = tuple[ast.AST, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """What a finding blames: `node` (a handler, a call or a statement) below `path`, which starts at the top level.

    For a handler the path ends at the handler; for a call at the statement that holds it.
    """

    finding: Finding
    node: ast.AST
    path: Path

    @property
    def handler(self) -> ast.ExceptHandler | None:
        """The innermost handler around the node, or the node itself."""
        return next((node for node in reversed(self.path) if isinstance(node, ast.ExceptHandler)), None)


def locate(tree: ast.Module, source: Source, findings: Iterable[Finding]) -> list[Target | Finding]:
    """The target of each finding in turn; the finding itself where no node stands at its place."""
    wanted = {finding: (finding.row, byte_column(source, finding.row, finding.column)) for finding in findings}
    found: dict[tuple[int, int], list[tuple[ast.AST, Path]]] = {}
    rows = sorted({row for row, _ in wanted.values()})
    for path in paths_to(tree, rows):
        for node in _blamable(path[-1], rows):
            found.setdefault((node.lineno, node.col_offset), []).append((node, path))  # type: ignore[attr-defined]
    return [_choose(finding, found.get(place, [])) for finding, place in wanted.items()]


def _choose(finding: Finding, found: list[tuple[ast.AST, Path]]) -> Target | Finding:
    """The node that ends where the finding ends, or else the first of those at its place: handlers go before calls."""
    for node, path in found:
        if isinstance(node, ast.ExceptHandler):
            return Target(finding, node, path)
    for node, path in found:
        if (node.end_lineno, isinstance(node, ast.Call)) == (finding.end_row, True):  # type: ignore[attr-defined]
            return Target(finding, node, path)
    return Target(finding, *found[0]) if found else finding


def byte_column(source: Source, row: int, column: int) -> int:
    """The 0-based column in bytes of UTF-8 of a 1-based column in code points."""
    line = source.line(row)
    return column - 1 if line.isascii() else len(line.decode("utf-8", "replace")[: column - 1].encode("utf-8"))


def paths_to(tree: ast.Module, rows: list[int]) -> Iterator[Path]:
    """The paths, starting at the top level, of every statement and handler that holds one of the rows."""
    stack: list[Path] = [(node,) for node in reversed(tree.body)]
    while stack:
        path = stack.pop()
        node = path[-1]
        if (low := getattr(node, "lineno", None)) is not None:
            at = bisect_left(rows, low)
            if at == len(rows) or rows[at] > node.end_lineno:  # type: ignore[attr-defined]
                continue
            yield path
        stack.extend((*path, child) for child in reversed(list(blocks(node))))


def _blamable(node: ast.AST, rows: list[int]) -> Iterator[ast.AST]:
    """What a finding of a statement or handler may blame: itself, or the calls within its own expressions."""
    if isinstance(node, (ast.ExceptHandler, *Try)):
        yield node
        return
    below = {id(child) for child in blocks(node)}
    heads = [part for part in ast.iter_child_nodes(node) if id(part) not in below]
    wanted = set(rows)
    yield from (part for part in own_nodes(heads) if isinstance(part, ast.Call) and part.lineno in wanted)  # type: ignore[arg-type]
    if isinstance(node, ast.stmt):
        yield node

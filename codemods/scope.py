"""The piece of a file that a rule looks at: an outermost function, or the module, with what stands around it."""

from __future__ import annotations

import ast
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from . import handlers
from .places import is_on
from .source import Source

Function = (ast.FunctionDef, ast.AsyncFunctionDef)
Loop = (ast.For, ast.AsyncFor, ast.While)
Try = (ast.Try, ast.TryStar)
NEAR = 64  # the statements that are looked at after a try


@dataclass(frozen=True, slots=True)
class ClassHeader:
    """A class around a scope: its name, and its bases as dotted text."""

    name: str
    bases: tuple[str, ...] = ()


@dataclass(slots=True)
class Scope:
    """An outermost function (its only enclosers are classes), or the whole module.

    `tree`'s rows count from its own text: add `row_offset` to get the file's. Columns are the file's own, in bytes.
    A module's scope is asked about the code outside functions alone: the functions have scopes of their own, and may be
    mere stubs in its tree. `newer` scopes hold syntax that this Python does not parse, replaced by what it does.
    """

    source: Source
    tree: ast.FunctionDef | ast.AsyncFunctionDef | ast.Module
    classes: tuple[ClassHeader, ...] = ()
    row_offset: int = 0
    newer: bool = False
    memo: dict[object, Any] = field(default_factory=dict)

    def sites(self) -> Iterator[HandlerSite]:
        """Every handler of the scope, in order of place, nested functions and classes included."""
        for try_, path in self.tries():
            for handler in try_.handlers:
                yield HandlerSite(self, try_, handler, path)

    def site_at(self, row: int) -> HandlerSite | None:
        """The handler whose `except` stands on a row of the file, or None: what looks like one may be in a string."""
        path = path_to(self.tree, row - self.row_offset)
        for at in range(len(path) - 1, 0, -1):
            node, try_ = path[at], path[at - 1]
            if isinstance(node, ast.ExceptHandler) and isinstance(try_, Try):
                return HandlerSite(self, try_, node, path[:at]) if node.lineno + self.row_offset == row else None
        return None

    def tries(self) -> Iterator[tuple[ast.Try | ast.TryStar, tuple[ast.AST, ...]]]:
        """Every try statement with the nodes from the scope's tree down to it, itself last."""
        for node, path in self.statements():
            if isinstance(node, Try):
                yield node, path

    def statements(self, rows: list[int] | None = None) -> Iterator[tuple[ast.stmt, tuple[ast.AST, ...]]]:
        """Every statement below the tree with its path (itself last); a module's functions are left out.

        With `rows` of the file, in order, only the statements that hold one of them.
        """
        stack: list[tuple[ast.AST, tuple[ast.AST, ...]]] = [(self.tree, (self.tree,))]
        module = isinstance(self.tree, ast.Module)
        while stack:
            node, path = stack.pop()
            if isinstance(node, ast.stmt) and node is not self.tree:
                yield node, path
                if module and isinstance(node, Function):
                    continue
            below = [child for child in blocks(node) if rows is None or self._holds(child, rows)]
            below.reverse()
            stack += [(child, (*path, child)) for child in below]

    def _holds(self, node: ast.AST, rows: list[int]) -> bool:
        return is_on(rows, _first_row(node) + self.row_offset, _last_row(node) + self.row_offset)


def blocks(node: ast.AST) -> Iterator[ast.AST]:
    """The statements, handlers and match cases directly below a node, in order of place."""
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        below = getattr(node, name, None)
        if isinstance(below, list):
            yield from below


def path_to(tree: ast.AST, row: int) -> tuple[ast.AST, ...]:
    """The nodes from a tree down to the innermost statement, handler or match case that holds a row of its text."""
    path = [tree]
    while child := _child_at(path[-1], row):
        path.append(child)
    return tuple(path)


def _child_at(node: ast.AST, row: int) -> ast.AST | None:
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        below = getattr(node, name, None)
        if isinstance(below, list) and below:
            child = below[max(0, bisect_right(below, row, key=_first_row) - 1)]
            if _first_row(child) <= row <= _last_row(child):
                return child
    return None


def _first_row(node: ast.AST) -> int:
    """The row on which a statement begins, its decorators included."""
    if isinstance(node, ast.match_case):
        return node.pattern.lineno
    decorators = getattr(node, "decorator_list", None)
    return decorators[0].lineno if decorators else node.lineno  # type: ignore[attr-defined]


def _last_row(node: ast.AST) -> int:
    return node.body[-1].end_lineno if isinstance(node, ast.match_case) else node.end_lineno  # type: ignore[attr-defined, return-value]


class HandlerSite:
    """One handler, and what stands around it. `path` leads from the scope's tree down to `try_`."""

    def __init__(
        self,
        scope: Scope,
        try_: ast.Try | ast.TryStar,
        handler: ast.ExceptHandler,
        path: tuple[ast.AST, ...],
    ) -> None:
        self.scope, self.try_, self.handler, self.path = scope, try_, handler, path

    @cached_property
    def breadth(self) -> str:
        """How much the handler catches: bare, broad, narrow or nothing."""
        return handlers.breadth(self.handler.type, self.scope.source)

    @cached_property
    def caught(self) -> tuple[str, ...]:
        """The names of the caught types as written."""
        return handlers.caught(self.handler.type)

    @cached_property
    def shape(self) -> str:
        """What a silent handler does, or `acts`."""
        return handlers.shape_of(self.handler, broad=self.breadth in ("bare", "broad"))

    @cached_property
    def function(self) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The innermost function around the handler."""
        return next((node for node in reversed(self.path) if isinstance(node, Function)), None)

    @cached_property
    def inner(self) -> tuple[ast.AST, ...]:
        """The path below the innermost function (or class, or module), `try_` last."""
        for at in range(len(self.path) - 1, -1, -1):
            if isinstance(self.path[at], (*Function, ast.ClassDef, ast.Module)):
                return self.path[at + 1 :]
        return self.path

    @cached_property
    def in_loop(self) -> bool:
        """Whether the handler runs once for each turn of a loop of its own function."""
        return in_loop(self.path)

    @cached_property
    def following(self) -> list[ast.stmt]:
        """The statements that can run after the try when the handler is left at its end, nearest first.

        Only those of the same function: the rest of each block around the try, up to a loop's end. Not more than the
        nearest `NEAR`, so that what is asked about them costs the same however long the function is.
        """
        found: list[ast.stmt] = []
        for at in range(len(self.path) - 1, 0, -1):
            node, parent = self.path[at], self.path[at - 1]
            found.extend(_after(parent, node))
            if len(found) >= NEAR or isinstance(parent, (*Function, ast.ClassDef, *Loop)):
                break
        return found[:NEAR]


def _after(parent: ast.AST, node: ast.AST) -> list[ast.stmt]:
    """What runs after `node` within the block of `parent` that holds it, the nearest statements."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(parent, name, None)
        if isinstance(block, list) and (at := index_in(block, node)) is not None:
            rest = block[at + 1 : at + 1 + NEAR]
            if name != "finalbody" and isinstance(parent, Try):
                rest = rest + (parent.orelse if name == "body" else []) + parent.finalbody
            return rest
    if isinstance(parent, Try) and isinstance(node, ast.ExceptHandler):
        return list(parent.finalbody)
    return []


def index_in(block: list[ast.stmt], node: ast.AST) -> int | None:
    """The index of a node in a block, whose statements are in order of place; None where the block does not hold it."""
    if not block or not isinstance(node, ast.stmt):
        return None
    at = bisect_left(block, (node.lineno, node.col_offset), key=_place)
    return at if at < len(block) and block[at] is node else None


def _place(node: ast.stmt) -> tuple[int, int]:
    return node.lineno, node.col_offset


def in_loop(path: tuple[ast.AST, ...]) -> bool:
    """Whether the last node of a path stands in a loop body of its own function."""
    for at in range(len(path) - 2, -1, -1):
        node, child = path[at], path[at + 1]
        if isinstance(node, Loop) and index_in(node.body, child) is not None:
            return True
        if isinstance(node, (*Function, ast.ClassDef)):
            return False
    return False


def qualname(scope: Scope, path: tuple[ast.AST, ...]) -> str:
    """The qualified name of the code at a path, as Python spells it (PEP 3155), or `<module>`."""
    names: list[str] = [header.name for header in scope.classes]
    for node in path:
        if isinstance(node, Function):
            names += [node.name, "<locals>"]
        elif isinstance(node, ast.ClassDef):
            names.append(node.name)
    if names and names[-1] == "<locals>":
        names.pop()
    return ".".join(names) or "<module>"

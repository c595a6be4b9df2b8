"""What a whole function holds, gathered once: so that asking for each of its handlers stays cheap."""

from __future__ import annotations

import ast
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from .links import ENDS, keys, place_of
from .names import dotted, last_name, own_nodes
from .scope import Scope

Place = tuple[int, int]
_PUTS = frozenset({"append", "add", "extend"})


class Facts:
    """What stands where in a function: awaits, yields and raises, in order of place, and more by name.

    `asked` tells on which rows a name is looked at by an `if`, `while` or conditional expression, `read` where a plain
    name is read, `made` the names of the calls whose values are assigned to a name or put into it. `first_end` is the
    first row on which something is closed, stopped and the like.
    """

    def __init__(self, block: list[ast.stmt]) -> None:
        self.awaits: list[ast.AST] = []
        self.yields: list[Place] = []
        self.raises: list[ast.Raise] = []
        self.asked: dict[str, list[int]] = {}
        self.read: dict[str, list[ast.Name]] = {}
        self.made: dict[str, dict[str, None]] = {}
        self.first_end: int | None = None
        for node in own_nodes(block):
            self._note(node)
        self.awaits.sort(key=place_of)
        self.raises.sort(key=place_of)
        self.yields.sort()
        for rows in self.asked.values():
            rows.sort()
        for names in self.read.values():
            names.sort(key=place_of)

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                self.read.setdefault(node.id, []).append(node)
        elif isinstance(node, ast.Call):
            self._note_call(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._make(keys(target), node.value)
        elif isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
            self.awaits.append(node)
        elif isinstance(node, (ast.Yield, ast.YieldFrom)):
            self.yields.append(place_of(node))
        elif isinstance(node, ast.Raise):
            self.raises.append(node)
        elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
            for part in ast.walk(node.test):
                if name := dotted(part):
                    self.asked.setdefault(name, []).append(node.test.lineno)

    def _note_call(self, node: ast.Call) -> None:
        name = last_name(node.func)
        if name in _PUTS and isinstance(node.func, ast.Attribute):
            for argument in node.args:
                self._make(keys(node.func.value), argument)
        elif ENDS.search(name):
            self.first_end = min(node.lineno, self.first_end or node.lineno)

    def _make(self, targets: set[str], value: ast.expr) -> None:
        calls = [last_name(part.func) for part in ast.walk(value) if isinstance(part, ast.Call)]
        for target in targets if calls else ():
            self.made.setdefault(target, {}).update(dict.fromkeys(calls))

    def is_asked_after(self, name: str, row: int) -> bool:
        """Whether a condition below a row looks at a name."""
        rows = self.asked.get(name, [])
        return bool(rows) and rows[-1] > row


def facts_of(scope: Scope, function: ast.AST) -> Facts:
    """The facts of a function of a scope, or of a module."""
    memo = scope.memo.setdefault("facts", {})
    if id(function) not in memo:
        memo[id(function)] = Facts(function.body)
    return memo[id(function)]


def yields_within(facts: Facts, statements: Iterable[ast.stmt]) -> bool:
    """Whether a yield of the function stands in one of the statements."""
    return any(
        bisect_left(facts.yields, place_of(node)) < bisect_right(facts.yields, _end(node)) for node in statements
    )


def awaits_within(facts: Facts, statements: Iterable[ast.stmt]) -> Iterable[ast.AST]:
    """The awaits of the function that stand in one of the statements."""
    for node in statements:
        first = bisect_left(facts.awaits, place_of(node), key=place_of)
        yield from facts.awaits[first : bisect_right(facts.awaits, _end(node), key=place_of)]


def _end(node: ast.stmt) -> Place:
    return node.end_lineno or node.lineno, node.end_col_offset or 0

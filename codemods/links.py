"""Which names of a function stand for the same things: loops, assignments and containers followed loosely."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .lazy import lazy_pattern
from .names import dotted, last_name, own_nodes
from .scope import Scope

_TAKES = frozenset(
    {"pop", "popitem", "popleft", "get", "values", "items", "keys", "copy", "setdefault", "union", "difference"}
)
_PUTS = frozenset({"append", "appendleft", "add", "extend", "update", "insert", "put", "put_nowait"})
_LOOKS = frozenset({"result", "exception", "add_done_callback"})
_CANCEL_HELPER = lazy_pattern(r"(?:^|_)cancel(?:$|_)|^cancel[A-Z]|[a-z]Cancel(?:$|[A-Z])")
# Names of calls that end something: clean-up, whatever comes of it.
ENDS = lazy_pattern(
    r"close|shut_?down|stop|clean_?up|disconnect|cancel|release|drain|dispose|finali[sz]e|tear_?down|kill|terminate",
    re.I,
)


class Links:
    """The names of some statements in groups: two are of one group when one was made, taken or filled from the other.

    A name is a dotted text such as `task` or `self._tasks`. Groups are rather too large than too small.
    """

    def __init__(self, nodes: list[ast.AST]) -> None:
        self._group: dict[str, str] = {}
        for node in nodes:
            for names in _linked(node):
                for name in names[1:]:
                    self._group[self._root(names[0])] = self._root(name)
        # By group: the first place at which one of its things is cancelled; under "" where a helper hides what is.
        self._cancelled: dict[str, tuple[int, int]] = {}
        # The groups that a task's result, exception or callback is asked of.
        self._asked: set[str] = set()
        for node in nodes:
            self._note(node)

    def _note(self, node: ast.AST) -> None:
        if (found := _cancel(node)) is not None:
            for group in {self._root(name) for name in found} or {""}:
                self._cancelled[group] = min(place_of(node), self._cancelled.get(group, place_of(node)))
        if isinstance(node, ast.Attribute) and node.attr in _LOOKS:
            self._asked |= {self._root(name) for name in keys(node.value)}

    def _root(self, name: str) -> str:
        group = self._group
        while (above := group.get(name, name)) != name:
            group[name] = group.get(above, above)
            name = above
        return name

    def is_cancelled(self, names: set[str], last: tuple[int, int]) -> bool:
        """Whether one of the named things is cancelled, or something by a helper, at a place before `last`."""
        groups = {self._root(name) for name in names} | {""}
        return any(self._cancelled[group] < last for group in groups if group in self._cancelled)

    def is_asked(self, names: set[str]) -> bool:
        """Whether one of the named tasks is asked for its result or exception, or given a callback."""
        return any(self._root(name) in self._asked for name in names)


def keys(node: ast.AST | None) -> set[str]:
    """The names that an expression's value comes from: not those of what it calls, but for `tasks.pop()` and kin."""
    found: set[str] = set()
    stack = [node] if node is not None else []
    while stack:
        part = stack.pop()
        if name := dotted(part):
            if name not in ("self", "cls"):
                found.add(name)
        elif isinstance(part, ast.Call):
            stack += [*part.args, *(keyword.value for keyword in part.keywords)]
            if isinstance(part.func, ast.Attribute) and part.func.attr in _TAKES:
                stack.append(part.func.value)
        elif isinstance(part, ast.Subscript):
            stack.append(part.value)
        else:
            stack += ast.iter_child_nodes(part)
    return found


def links_of(scope: Scope, function: ast.AST) -> Links:
    """The name groups of a function of a scope, or of a module."""
    memo = scope.memo.setdefault("links", {})
    if id(function) not in memo:
        memo[id(function)] = Links(list(own_nodes(function.body)))  # type: ignore[attr-defined]
    return memo[id(function)]


def _cancel(node: ast.AST) -> set[str] | None:
    """What a node cancels: the receiver of `.cancel`, the arguments of a helper whose name says so, or None."""
    if isinstance(node, ast.Attribute) and node.attr == "cancel":
        return keys(node.value) or None
    if isinstance(node, ast.Call) and _CANCEL_HELPER.search(last_name(node.func)) and last_name(node.func) != "cancel":
        return {key for argument in node.args for key in keys(argument)}
    return None


def place_of(node: ast.AST) -> tuple[int, int]:
    """The row and column at which a node starts; those of a comprehension are its target's."""
    target = node.target if isinstance(node, ast.comprehension) else node
    return target.lineno, target.col_offset


def _pairs(node: ast.Assign) -> list[tuple[ast.expr, ast.expr]]:
    """The targets of an assignment, each with its value: `a, b = c, d` taken apart."""
    target, value = node.targets[0], node.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value) for target in node.targets]


def _linked(node: ast.AST) -> Iterator[list[str]]:
    """Names that a node ties together."""
    if isinstance(node, ast.Assign):
        yield from ([*keys(target), *keys(value)] for target, value in _pairs(node))
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr, ast.AugAssign)):
        yield [*keys(node.target), *keys(node.value)]
    elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
        yield [*keys(node.target), *keys(node.iter)]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and last_name(node.func) in _PUTS:
        yield [*keys(node.func.value), *(key for argument in node.args for key in keys(argument))]

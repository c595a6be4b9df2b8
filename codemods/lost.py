"""Values that nobody looks at: thrown away as a statement, or bound to a name that is never read."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from .names import all_nodes, last_name
from .scope import Function, Scope

PUTS = frozenset({"append", "appendleft", "add", "insert", "extend", "put", "put_nowait"})
# What waits for its first argument, or hands it on to be waited for.
_WAITS = frozenset({"wait_for", "shield", "run_until_complete", "run", "ensure_future", "create_task"})


def lost_values(
    scope: Scope, wanted: Callable[[ast.Call], bool], rows: list[int], *, awaited: bool
) -> Iterator[tuple[ast.Call, tuple[ast.AST, ...]]]:
    """The wanted calls of a scope whose value is lost, each with the path to its statement, in order of place.

    No statement is looked at that holds none of the rows of the file. With `awaited` the value is what waiting for
    the call gives, else the call's own.
    """
    for node, path in scope.statements(rows):
        if isinstance(node, ast.Expr):
            for call in _calls(node.value, wanted, awaited):
                yield call, path
            for argument in _put(node):
                for call in _calls(argument, wanted, awaited):
                    if (names := _names(scope, path)) and names.is_dropped(last_name(node.value.func.value)):
                        yield call, path
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            found, targets = list(_calls(node.value, wanted, awaited)), _targets(node)
            if not found or None in targets:
                continue
            if (names := _names(scope, path)) and all(map(names.is_unread, targets)):
                for call in found:
                    yield call, path


def _calls(node: ast.expr, wanted: Callable[[ast.Call], bool], awaited: bool) -> Iterator[ast.Call]:
    """The wanted calls among the expressions that a value consists of: elements, both ways of a condition, waits."""
    if isinstance(node, ast.Call):
        if wanted(node):
            yield node
        elif awaited and node.args and last_name(node.func) in _WAITS:
            yield from _calls(node.args[0], wanted, awaited)
    elif isinstance(node, ast.Await) and awaited:
        yield from _calls(node.value, wanted, awaited)
    elif isinstance(node, (ast.IfExp, ast.BoolOp)):
        for value in [node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values[-1:]:
            yield from _calls(value, wanted, awaited)
    elif isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        for element in node.elts:
            yield from _calls(element, wanted, awaited)
    elif isinstance(node, (ast.ListComp, ast.SetComp)):
        yield from _calls(node.elt, wanted, awaited)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from _calls(value, wanted, awaited)
    elif isinstance(node, ast.DictComp):
        yield from _calls(node.value, wanted, awaited)


def owner(path: tuple[ast.AST, ...]) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The innermost function around the code at a path; None at module level and in a class body."""
    for node in reversed(path[:-1]):
        if isinstance(node, ast.ClassDef):
            return None
        if isinstance(node, Function):
            return node
    return None


def _put(node: ast.Expr) -> list[ast.expr]:
    """The values that a statement puts into a container with a plain name."""
    call = node.value
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or call.func.attr not in PUTS:
        return []
    return call.args if isinstance(call.func.value, ast.Name) else []


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str | None]:
    """The names that a statement binds; None for a target that is no plain name."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    parts = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return [part.id if isinstance(part, ast.Name) else None for part in parts]


def _names(scope: Scope, path: tuple[ast.AST, ...]) -> _Names | None:
    """How the innermost function at a path uses its names; None outside functions, where others may read them."""
    function = owner(path)
    if function is None:
        return None
    memo = scope.memo.setdefault("names", {})
    if id(function) not in memo:
        memo[id(function)] = _Names(function)
    return memo[id(function)]


class _Names:
    """How a function uses names: those of nested functions count too, since they may be its own."""

    def __init__(self, function: ast.AST) -> None:
        self._reads: dict[str, list[int]] = {}
        self._shared: set[str] = set()
        self._containers: set[str] = set()
        # By the id of a read: the receivers of `append` and kin, and its arguments with the container's name.
        self._filled: set[int] = set()
        self._put_into: dict[int, str] = {}
        for node in all_nodes(function):
            self._note(node)

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            self._reads.setdefault(node.id, []).append(id(node))
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            self._shared.update(node.names)
        elif isinstance(node, ast.arg):
            self._shared.add(node.arg)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and _is_container(node.value):
            self._containers.update(name for name in _targets(node) if name)
        elif isinstance(node, ast.Expr) and _put(node):
            container = node.value.func.value  # type: ignore[attr-defined]
            self._filled.add(id(container))
            self._put_into |= {id(argument): container.id for argument in node.value.args}  # type: ignore[attr-defined]

    def is_unread(self, name: str | None) -> bool:
        """Whether a name is the function's own and never read, but to be put into a container that is dropped."""
        if name is None or name in self._shared:
            return False
        return all(at in self._put_into and self.is_dropped(self._put_into[at]) for at in self._reads.get(name, ()))

    def is_dropped(self, name: str) -> bool:
        """Whether a name is a container of the function that is filled and never read."""
        own = name in self._containers and name not in self._shared
        return own and all(at in self._filled for at in self._reads.get(name, ()))


def _is_container(value: ast.expr | None) -> bool:
    """Whether an expression makes a new container."""
    if isinstance(value, ast.Call):
        return last_name(value.func) in ("list", "set", "deque", "dict")
    return isinstance(value, (ast.List, ast.Set, ast.Dict, ast.ListComp, ast.SetComp))

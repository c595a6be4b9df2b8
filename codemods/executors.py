"""Which names of a file are executors of concurrent.futures."""

from __future__ import annotations

import ast
import re

from .names import all_nodes, dotted
from .origins import origin, origins
from .scope import Function, Scope
from .source import Source

_CLASSES = "(?:Thread|Process|Interpreter)PoolExecutor"
_MADE = r"(?<![\w.])%s[ \t]*(?::[^=\n]*)?=\s*\(?\s*(?:[^\n=]*?[^\w.\n])??([\w.]*" + _CLASSES + r")[ \t]*\("
_WITH = r"([\w.]*" + _CLASSES + r")[ \t]*\([^\n]*\)[ \t]*as[ \t]+%s(?!\w)"


def is_executor(node: ast.expr, path: tuple[ast.AST, ...], scope: Scope) -> bool:
    """Whether an expression is known to be an executor of concurrent.futures.

    It is made here, or its name is bound to one: in a function around the path, else anywhere in the file.
    """
    if isinstance(node, ast.Call):
        return is_executor_class(node.func, scope.source)
    name = dotted(node)
    if name is None:
        return False
    for function in (part for part in reversed(path) if isinstance(part, Function)):
        bound = scope.memo.setdefault("bindings", {})
        if id(function) not in bound:
            bound[id(function)] = _bindings(function)
        if values := bound[id(function)].get(name):
            return all(_makes(value, scope.source) for value in values)
    return _is_made_somewhere(name, scope.source)


def _is_made_somewhere(name: str, source: Source) -> bool:
    """Whether the file binds a name to a new executor at any place."""
    memo = source.__dict__.setdefault("executors", {})
    if name not in memo:
        text = source.utf8.decode("utf-8", "replace")
        made = [found for pattern in (_MADE, _WITH) for found in re.findall(pattern % re.escape(name), text)]
        memo[name] = any(_is_class_name(found, source) for found in made)
    return memo[name]


def is_executor_class(node: ast.expr | None, source: Source) -> bool:
    """Whether an expression names a class of executors."""
    return (origin(node, source) or "").startswith("concurrent.futures.")


def _is_class_name(name: str, source: Source) -> bool:
    head, dot, rest = name.partition(".")
    return (origins(source).get(head, head) + dot + rest).startswith("concurrent.futures.")


def _bindings(function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, list[ast.expr | None]]:
    """What a function binds names to: assigned values, contexts, annotations of parameters (None: no annotation)."""
    found: dict[str, list[ast.expr | None]] = {}
    pairs: list[tuple[str | None, ast.expr | None]]
    for node in all_nodes(function):
        if isinstance(node, ast.Assign):
            pairs = [(dotted(target), node.value) for target in node.targets]
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
            pairs = [(dotted(node.target), node.value)]
        elif isinstance(node, ast.withitem):
            pairs = [(dotted(node.optional_vars), node.context_expr)]
        elif isinstance(node, ast.arg):
            pairs = [(node.arg, node.annotation)]
        else:
            continue
        for name, value in pairs:
            if name:
                found.setdefault(name, []).append(value)
    return found


def _makes(value: ast.expr | None, source: Source) -> bool:
    """Whether a value is a new executor, or an annotation that names the class."""
    if isinstance(value, ast.BinOp):
        return _makes(value.left, source) or _makes(value.right, source)
    if isinstance(value, ast.IfExp):
        return _makes(value.body, source) or _makes(value.orelse, source)
    if isinstance(value, ast.BoolOp):
        return any(_makes(part, source) for part in value.values)
    return is_executor_class(value.func if isinstance(value, ast.Call) else value, source)

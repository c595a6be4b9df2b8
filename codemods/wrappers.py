"""Functions of a project that give loggers: what they return, followed as far as it surely is a library's logger."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

from .names import own_nodes
from .scope import Function

# Backends of a function's local names; None where what is stored under one is not known for sure.
Local = Mapping[str, str | None]
_MOST = 200  # nodes of a function that is followed
_UNSURE = (ast.Yield, ast.YieldFrom, ast.Await, ast.Global, ast.Nonlocal, ast.Match, ast.ListComp, ast.SetComp)
_PARTS = (ast.DictComp, ast.GeneratorExp, *Function, ast.ClassDef, ast.Import, ast.ImportFrom, ast.ExceptHandler)


def returned_backend(
    function: ast.FunctionDef, arguments: list[str | None], backend_of: Callable[[ast.expr, Local], str | None]
) -> str | None:
    """The backend of the loggers that a function returns, if every way out returns one of the same; else None.

    `arguments` are the backends of what is given by place, `backend_of` tells that of an expression. A function that
    does more than assign, ask and return is not followed.
    """
    nodes = list(own_nodes(function.body))
    if len(nodes) > _MOST or function.decorator_list or not isinstance(function.body[-1], ast.Return):
        return None
    if any(isinstance(node, (*_UNSURE, *_PARTS)) for node in nodes):
        return None
    local = _local(function, arguments, nodes, backend_of)
    returns = [node.value for node in nodes if isinstance(node, ast.Return)]
    found = {backend_of(value, local) if value else None for value in returns}
    return found.pop() if len(found) == 1 else None


def _local(
    function: ast.FunctionDef,
    arguments: list[str | None],
    nodes: list[ast.AST],
    backend_of: Callable[[ast.expr, Local], str | None],
) -> Local:
    """The backends of the parameters, and of the names to which plain assignments give one and nothing else does."""
    spec = function.args
    places = [parameter.arg for parameter in (*spec.posonlyargs, *spec.args)]
    others = [parameter.arg for parameter in (*spec.kwonlyargs, spec.vararg, spec.kwarg) if parameter]
    local: dict[str, str | None] = dict.fromkeys(others)
    local.update(zip(places, [*arguments, *[None] * len(places)], strict=False))
    stores = [node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)]
    plain = [
        node
        for node in nodes
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
    ]
    unset = {name: None for name in stores if name not in local}
    local.update(unset)
    given: set[str] = local.keys() - unset.keys()
    for node in sorted(plain, key=lambda node: (node.lineno, node.col_offset)):
        name = node.targets[0].id  # type: ignore[attr-defined]
        found = backend_of(node.value, local)
        local[name] = found if name not in given or local[name] == found else None
        given.add(name)
        stores.remove(name)
    return {name: None if name in stores else backend for name, backend in local.items()}

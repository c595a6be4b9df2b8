"""Which files of a project a module of it imports while it is imported itself, so that none of them may import it."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache

from .parsing import ParseFailure, parse
from .project import Home
from .scope import Function, blocks
from .source import DecodeFailure, Source


def imports_file(module: str, home: Home) -> bool:
    """Whether importing a module of a file's project executes that file, or may: imports in functions do not count."""
    start = home.find(0, module)
    return start is None or home.filename in _executed(start)


@cache
def _executed(start: str) -> frozenset[str]:
    """The files that are executed when the one at a path is imported, packages' own and itself included."""
    found: set[str] = set()
    open_ = [start]
    while open_:
        path = open_.pop()
        if path not in found:
            found.add(path)
            open_ += _imported(path)
    return frozenset(found)


def _imported(path: str) -> Iterator[str]:
    """The project's files that a file's imports name, and those of the packages around them."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        tree = parse(Source(data, path))
    except (DecodeFailure, ParseFailure):
        return
    home = Home.of(path, data)
    for level, module in _modules(tree):
        parts = module.split(".") if module else []
        for count in range(not level, len(parts) + 1):
            if found := home.find(level, ".".join(parts[:count])):
                yield os.path.abspath(found)


def _modules(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What the imports outside functions name, as level and dotted module; a name taken from one may be one too."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, ".".join(filter(None, (node.module, alias.name)))) for alias in node.names)
        elif not isinstance(node, Function):
            stack += blocks(node)

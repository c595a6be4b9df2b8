"""Which classes are cancellations: by where their names come from, followed through the files of the project."""

from __future__ import annotations

import ast
import os
import re
from typing import TYPE_CHECKING

from .names import dotted
from .origins import origins
from .source import DecodeFailure, Source

if TYPE_CHECKING:
    from .project import Home

_NAMES = frozenset({"CancelledError", "Cancelled", "get_cancelled_exc_class"})
_LIBRARIES = ("asyncio", "concurrent", "trio", "anyio")
# How many files a name is followed through, and up to which size in bytes.
_DEPTH = 5
_LARGEST = 1_000_000


def names_cancellation(node: ast.expr, source: Source) -> bool:
    """Whether a type of an `except` clause is a cancellation of asyncio, concurrent.futures, trio or anyio."""
    name = dotted(node.func if isinstance(node, ast.Call) else node)
    return name is not None and is_cancellation(name, source)


def is_cancellation(name: str, source: Source) -> bool:
    """Whether a dotted name of a file is a cancellation; a call of it, as text, counts as the name.

    A name that nothing in the file binds is taken for what it says; so is one that a star import may bind.
    """
    memo = source.__dict__.setdefault("cancellations", {})
    if name not in memo:
        head, dot, rest = name.removesuffix("()").partition(".")
        # Most files speak of no cancellation and need not be asked for their imports.
        memo[name] = b"ancel" in source.utf8 and _is_one(origins(source).get(head, head) + dot + rest, source, _DEPTH)
    return memo[name]


def is_twisted(source: Source) -> bool:
    """Whether the coroutines of a file are plainly Twisted's, where a cancellation is an exception like any other."""
    if b"twisted" not in source.utf8:
        return False
    homes = {origin.partition(".")[0] for origin in origins(source).values()}
    return "twisted" in homes and homes.isdisjoint(_LIBRARIES)


def _is_one(origin: str, source: Source, depth: int) -> bool:
    """Whether a dotted origin, as seen from a file, is a cancellation."""
    if origin.rpartition(".")[2] not in _NAMES:
        return False
    if origin.partition(".")[0] in _LIBRARIES:
        return True
    from .project import Home  # only here: it takes longer to import than most files take to check

    home = Home.of(source.filename)
    if "." not in origin:
        return _is_bound_to_one(origin, source, home)
    level = len(origin) - len(origin.lstrip("."))
    module, _, last = origin[level:].rpartition(".")
    path = home.find(level, module) if module or level else None
    other = _read(path) if path and depth and path != home.filename else None
    if other is None:
        return home.parts[0] in _LIBRARIES if home.parts else False
    return _is_one(origins(other).get(last, last), other, depth - 1)


def _is_bound_to_one(name: str, source: Source, home: Home) -> bool:
    """Whether a name that no import binds is a cancellation: one of a library's own, or no class of the file."""
    if home.parts and home.parts[0] in _LIBRARIES:
        return True
    return re.search(rb"^[ \t]*class[ \t]+%s\b" % name.encode(), source.utf8, re.M) is None


def _read(path: str) -> Source | None:
    """Another file of the project; None where it is too large or can't be read."""
    if not os.access(path, os.R_OK) or os.path.getsize(path) > _LARGEST:
        return None
    with open(path, "rb") as file:
        data = file.read()
    try:
        return Source(data, path)
    except DecodeFailure:
        return None

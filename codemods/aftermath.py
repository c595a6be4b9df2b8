"""More signs of a silent handler's severity: who hears of the failure later or elsewhere, and what is set or called."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from . import context
from .lazy import lazy_pattern
from .names import is_heard_call, last_name, own_nodes
from .scope import HandlerSite, Loop
from .settings import Settings

_SETTINGS = Settings()
_ERRORS = frozenset(
    "exc error err e ex exception tb traceback failure reason errors exc_info exc_type exc_value exc_val exc_tb".split()
)
_DELETES = frozenset("delete remove destroy drop purge".split())
_NUMBERS = frozenset("size count total num length tokens cost usage price amount score duration".split())
_FLAG = lazy_pattern(
    r"(?:^|_)(?:status|state|flag|success|ok|can|has|is|enabled|available|valid|use|should|supported|found|needs?|do|"
    r"skip|done|alive|ready|exists|connected)(?:_|$)",
    re.I,
)
_TESTED = lazy_pattern(rb"\b(?:if|elif|while|not|or|and|assert)\b")
_BOUND = lazy_pattern(rb"\s*([\w.]+)(?:: [\w\[\]| ]+)? =")
_CALLERS = 6  # More callers than these are not looked at.


def add_signs(site: HandlerSite, found: set[str]) -> None:
    """Adds the signs of this module that a handler bears."""
    _, names, returned = context.outcome(site)
    if any(isinstance(node, ast.Raise) for node in site.following):
        found.add("raises_later")
    if site.in_loop and _heard(own_nodes(_after_loop(site))):
        found.add("loop_then_heard")
    if any(_heard(own_nodes(other.body)) for other in site.try_.handlers if other is not site.handler):
        found.add("siblings_heard")
    if any(_FLAG.search(name) for name in names):
        found.add("flag_name")
    if site.function is not None:
        arguments = site.function.args
        if any(part.arg in _ERRORS for part in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)):
            found.add("error_given")
        if returned and _callers_test(site):
            found.add("result_tested")
    _sets(site, found, bool(names or returned))
    verbs = context.body_of(site).verbs
    if verbs & _DELETES:
        found.add("deletes")
    if any(_is_super(call) for call in context.calls_of(site)):
        found.add("calls_super")


def _heard(nodes: Iterable[ast.AST]) -> bool:
    """Whether some node raises, or tells somebody."""
    return any(
        isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and is_heard_call(node, _SETTINGS)) for node in nodes
    )


def _after_loop(site: HandlerSite) -> Iterator[ast.stmt]:
    """What follows the innermost loop around the try in the loop's own block, its `else` first."""
    at = next(at for at in range(len(site.path) - 1, -1, -1) if isinstance(site.path[at], Loop))
    loop, parent = site.path[at], site.path[at - 1]
    yield from loop.orelse  # type: ignore[attr-defined]
    for name in ("body", "orelse", "finalbody"):
        block = getattr(parent, name, None)
        if isinstance(block, list) and loop in block:
            yield from block[block.index(loop) + 1 :]


def _sets(site: HandlerSite, found: set[str], answers: bool) -> None:
    """What the guarded block binds: a value's own conversion, an attribute such as `__name__`, a number."""
    body, words = site.try_.body, set[str]()
    for node in context.nodes_of(site):
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            words.update(context.words(last_name(node)))
            if isinstance(node, ast.Attribute) and node.attr.startswith("__"):
                found.add("sets_dunder")
    if words & _NUMBERS:
        found.add("gets_number")
    first = body[0]
    if len(body) == 1 and isinstance(first, ast.Assign) and len(first.targets) == 1 and not answers:
        target = ast.unparse(first.targets[0])
        kinds = (ast.Name, ast.Attribute, ast.Subscript)
        if any(isinstance(part, kinds) and ast.unparse(part) == target for part in ast.walk(first.value)):
            found.add("converts_itself")


def _is_super(call: ast.Call) -> bool:
    inner = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(inner, ast.Call) and last_name(inner.func) == "super"


def _callers_test(site: HandlerSite) -> bool:
    """Whether the file calls a function of this name, and tests the result there or on the next line."""
    name, utf8 = site.function.name.encode(), site.scope.source.utf8  # type: ignore[union-attr]
    at, seen = utf8.find(name + b"("), 0
    while at >= 0 and len(name) > 4 and seen < _CALLERS:
        start, end = utf8.rfind(b"\n", 0, at) + 1, utf8.find(b"\n", at)
        before, end = utf8[start:at], end if end >= 0 else len(utf8)
        if not before.endswith(b"def ") and not re.search(rb"\w$", before):
            seen += 1
            if _TESTED.search(before) or b" or " in utf8[start:end]:
                return True
            bound, following = _BOUND.match(utf8, start, end), utf8.find(b"\n", end + 1)
            after = utf8[end + 1 : following if following >= 0 else len(utf8)]
            if bound and re.search(rb"\b(?:if|while|assert)\b[^\n]*\b" + re.escape(bound[1]), after):
                return True
        at = utf8.find(name + b"(", at + 1)
    return False

"""`contextlib.suppress` seen as the silent handler that it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from . import idioms, severity
from .lazy import lazy_pattern
from .links import ENDS
from .model import Severity
from .names import last_name, own_nodes
from .origins import origin, origins
from .places import calls, is_on, renames, rows_of, whole_words
from .rules import Match
from .scope import Function, HandlerSite, Scope, blocks, index_in
from .source import Source

_ENDS = lazy_pattern(ENDS.pattern + r"|unlink|rmtree|^remove$|unregister|^disable$", re.I)
# Types whose exception is an answer: there is none, or there is one already, or no more.
_EXPECTED = lazy_pattern(
    r"Not_?Found|Not?Exist|NoSuch|Missing|AlreadyExists|Existing|Exists|NotConfigured|NotRegistered|Stop(?:Async)?Iteration|"
    r"(?:Key|Index|Lookup|Attribute)Error|Empty|Full|Finished|Closed|KeyboardInterrupt"
)
_REST = 16  # the statements that are looked at after `enter_context`
_HOMES = ("contextlib", "contextlib2")
_ASSIGNED = lazy_pattern(rb"[ \t]*(\w+)[ \t]*=[ \t]*(?:\w+\.)?suppress[ \t]*(?=[#\n]|\Z)")
# A call whose arguments are plain names; the group is these.
_NAMING = lazy_pattern(rb"\w+(?>(?:\s|\\\n)*)\(([\w.,\s]*+)\)")


class SuppressSite(HandlerSite):
    """A `suppress(...)` call as a HandlerSite: what it guards is the try's body, the handler holds a `pass`.

    `call` is the call itself. `path` leads to the statement that holds it, as that of a handler leads to its try.
    Where the context manager is made for use elsewhere, what it guards is unknown and the try's body is empty.
    """

    def __init__(self, scope: Scope, call: ast.Call, body: list[ast.stmt], path: tuple[ast.AST, ...]) -> None:
        self.call = call
        caught = call.args[0] if len(call.args) == 1 else ast.Tuple(elts=call.args, ctx=ast.Load())
        handler = ast.ExceptHandler(type=caught, name=None, body=[ast.copy_location(ast.Pass(), call)])
        ast.copy_location(handler, call)
        ast.copy_location(caught, call)
        try_ = ast.Try(body=body, handlers=[handler], orelse=[], finalbody=[])
        super().__init__(scope, ast.copy_location(try_, path[-1]), handler, path)


@lru_cache(maxsize=1)
def places(utf8: bytes) -> list[int]:
    """The offsets at which something is called that may be `contextlib.suppress`, whatever it was renamed to."""
    return list(calls(utf8, _names(utf8)))


def places_of(
    wanted: re.Pattern[bytes], may_rename: Callable[[bytes], bool] = lambda utf8: False
) -> Callable[[bytes], Iterable[int]]:
    """A search for those suppress calls that may name a type in which the pattern is found.

    `may_rename` tells whether a file gives such a type another name: then every call may be meant.
    """

    def find(utf8: bytes) -> Iterable[int]:
        found = places(utf8)
        return found if found and may_rename(utf8) else [at for at in found if _may_name(wanted, utf8, at)]

    return find


def _may_name(wanted: re.Pattern[bytes], utf8: bytes, at: int) -> bool:
    """Whether a call may have an argument that is wanted: it is seen there, or not all of them are plain names."""
    naming = _NAMING.match(utf8, at)
    return naming is None or wanted.search(naming[1]) is not None


def _names(utf8: bytes) -> set[bytes]:
    """The names of suppress in a file: its own, and others that an import or an assignment gives it."""
    starts = {utf8.rfind(b"\n", 0, at) + 1 for at in whole_words(utf8, b"suppress")}
    assigned = (_ASSIGNED.match(utf8, start) for start in starts)
    return {b"suppress", *renames(utf8, b"suppress"), *(found[1] for found in assigned if found)}


def is_suppress(node: ast.expr, source: Source) -> bool:
    """Whether an expression is `contextlib.suppress`, by any import or alias."""
    if "suppress_names" not in source.__dict__:
        source.__dict__["suppress_names"] = frozenset(name.decode() for name in _names(source.utf8))
    if last_name(node) not in source.__dict__["suppress_names"]:
        return False
    found = origin(node, source) or ""
    home, _, last = found.rpartition(".")
    if last == "suppress" and home in _HOMES:
        return True
    if found == "suppress":
        return any(f"*{home}" in origins(source) for home in _HOMES)
    return isinstance(node, ast.Name) and found == node.id


def sites(scope: Scope) -> list[SuppressSite]:
    """Every `suppress(...)` of a scope that names what it suppresses, in order of place."""
    if "suppress" not in scope.memo:
        scope.memo["suppress"] = list(_find(scope))
    return scope.memo["suppress"]


def _find(scope: Scope) -> Iterator[SuppressSite]:
    rows, offset = rows_of(scope.source, places), scope.row_offset
    for node, path in scope.statements(rows):
        block = getattr(node, "body", None)
        last = block[0].lineno if isinstance(block, list) else node.end_lineno or node.lineno
        if is_on(rows, node.lineno + offset, last + offset):
            for call in _calls(node, scope.source):
                yield SuppressSite(scope, call, _guarded(node, call, path), path)


def _calls(node: ast.stmt, source: Source) -> Iterator[ast.Call]:
    """The suppress calls of a statement's own expressions that name at least one type."""
    if isinstance(node, (*Function, ast.ClassDef)):
        return
    below = {id(child) for child in blocks(node)}
    heads = [child for child in ast.iter_child_nodes(node) if id(child) not in below]
    found = [part for part in own_nodes(heads) if isinstance(part, ast.Call) and is_suppress(part.func, source)]
    for call in sorted(found, key=lambda call: (call.lineno, call.col_offset)):
        if any(not isinstance(arg, ast.Starred) for arg in call.args):
            yield call


def _guarded(node: ast.stmt, call: ast.Call, path: tuple[ast.AST, ...]) -> list[ast.stmt]:
    """The statements that run under a suppress call: a with's body, or what follows `stack.enter_context(...)`."""
    if isinstance(node, ast.With):
        for at, item in enumerate(node.items):
            if any(part is call for part in ast.walk(item.context_expr)):
                later = node.items[at + 1 :]
                inner = ast.With(items=later, body=node.body) if later else None
                return [ast.copy_location(inner, node)] if inner else node.body
    entered = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and call in node.value.args
    if entered and last_name(node.value.func) == "enter_context":
        block = next((block for block in _lists(path[-2]) if index_in(block, node) is not None), [node])
        at = index_in(block, node) or 0
        return block[at + 1 : at + 1 + _REST]
    return []


def _lists(parent: ast.AST) -> list[list[ast.stmt]]:
    """The blocks of a statement, a handler or a match case."""
    blocks = (getattr(parent, name, None) for name in ("body", "orelse", "finalbody"))
    return [block for block in blocks if isinstance(block, list)]


def suppress_matches(scope: Scope, wanted: str) -> Iterator[Match]:
    """The findings of the suppress calls of a scope that catch as much as wanted (broad or narrow) and no idiom."""
    for site in sites(scope):
        if site.breadth != wanted:
            continue
        if site.try_.body and idioms.excuse(site):
            continue
        level, reasons = _severity(site)
        names = ", ".join(site.caught)
        message = f"`suppress({names})` swallows the exception, and nobody hears of the failure"
        yield Match(site.call, (*site.path, site.call), message, level, reasons, site.caught)


def _severity(site: SuppressSite) -> tuple[Severity, tuple[str, ...]]:
    """That of the silent handler, but for clean-up and named types: who writes those has thought of the failure."""
    if not site.try_.body:
        return "medium", ("what it guards is decided elsewhere",)
    function = site.function.name if site.function else ""
    if function == "__del__" or all(map(_ends_something, site.try_.body)):
        return "low", ("best-effort clean-up",)
    level, reasons = severity.judge(site)
    if site.breadth == "broad":
        return level, reasons
    if all(map(_EXPECTED.search, site.caught)):
        return "low", ("the types name an answer, not a failure",)
    return ("medium", reasons) if level == "high" else ("low", ("the types were thought of",))


def _ends_something(node: ast.stmt) -> bool:
    """Whether a statement is a plain clean-up call, awaited or not, or waits for a future's end."""
    value = node.value if isinstance(node, ast.Expr) else None
    call = value.value if isinstance(value, ast.Await) else value
    name = last_name(call.func) if isinstance(call, ast.Call) else ""
    return _ENDS.search(name) is not None or name in ("result", "exception")

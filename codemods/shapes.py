"""Which code the rewrites other than a plain log call fit: suppress to try, traceback, re-raise, level."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator

from .cancellations import names_cancellation
from .handlers import BROAD
from .lazy import lazy_pattern
from .names import dotted, last_name, own_nodes
from .origins import origins
from .places import whole_words
from .scope import Function, Scope, blocks
from .source import Source

_GROUPS = lazy_pattern(rb"ExceptionGroup|TaskGroup|open_nursery|create_task_group")
_ASSIGNED = lazy_pattern(rb"[ \t]*(?::[^=\n]*)?=[^=]")
_NAMED = (*Function, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
_JUMPS = (ast.Return, ast.Continue, ast.Break, ast.Raise)
# Methods that take `exc_info` and write a record that a default configuration shows.
TRACEABLE = frozenset({"warning", "warn", "error", "critical", "fatal"})


def guarding(path: tuple[ast.AST, ...], call: ast.AST) -> ast.With | None:
    """The `with` statement whose only item is a suppress call, without `as`; None for every other use of one."""
    node = next((node for node in reversed(path) if isinstance(node, ast.stmt)), None)
    if isinstance(node, ast.With) and len(node.items) == 1:
        item = node.items[0]
        return node if item.context_expr is call and item.optional_vars is None else None
    return None


def suppress_reason(call: ast.AST, path: tuple[ast.AST, ...], scope: Scope, fix: str) -> str | None:
    """Why a suppress call has no equal `try`, as far as its scope tells; None where it has one."""
    if fix == "reraise":
        return "what else is suppressed here is for you to decide"
    node = guarding(path, call)
    if node is None or not isinstance(call, ast.Call):
        return "only a `with` that holds nothing but this suppress has an equal `try`"
    local = set(_stored(scope.tree)) if isinstance(scope.tree, Function) else set()
    return types_reason(call, scope.source, local) or comment_reason(call, node, scope)


def comment_reason(call: ast.Call, node: ast.With, scope: Scope) -> str | None:
    """Why a header of several lines has no equal: a comment in it would be lost."""
    source = scope.source
    rows = range(node.lineno + scope.row_offset, max(call.end_lineno or 0, call.lineno) + scope.row_offset)
    if any(b"#" in source.line(row) for row in rows):
        return "a comment stands within the parentheses of the suppress call"
    return None


def types_reason(call: ast.Call, source: Source, local: set[str]) -> str | None:
    """Why the arguments of a suppress call can't stand in an `except` clause; `local` names are not the module's.

    An `except` clause looks its types up when an exception arrives, `suppress` when the block is entered, and asks
    `issubclass`, which a metaclass may answer: equal for the classes of Python itself, unknown for all others.
    """
    if call.keywords or not call.args:
        return "its arguments are not plain exception classes"
    for arg in call.args:
        name = dotted(arg)
        if name is None:
            return "its arguments are not plain exception classes"
        head = name.partition(".")[0]
        if head in local:
            return f"`{head}` is a local name, which may mean something else when the exception arrives"
        if not _of_python_itself(name, source):
            return f"whether `{name}` is caught alike by `except` can't be told"
    return None


def _of_python_itself(name: str, source: Source) -> bool:
    """Whether a dotted name is a builtin exception, or comes from a module of the standard library."""
    origin = origins(source).get(name.partition(".")[0])
    if origin is None:
        found = getattr(builtins, name, None)
        return isinstance(found, type) and issubclass(found, BaseException) and not _defined(name, source)
    return origin.partition(".")[0] in sys.stdlib_module_names


def _defined(name: str, source: Source) -> bool:
    """Whether a file seems to bind a builtin's name to something else: looked for once."""
    memo = source.__dict__.setdefault("defined", {})
    if name not in memo:
        memo[name] = _is_bound(source.utf8, name.encode())
    return memo[name]


def _is_bound(utf8: bytes, word: bytes) -> bool:
    for at in whole_words(utf8, word):
        before = utf8[utf8.rfind(b"\n", 0, at) + 1 : at]
        if before.endswith((b"class ", b"class\t")) or (not before.strip() and _ASSIGNED.match(utf8, at + len(word))):
            return True
    return False


def suppress_doubt(path: tuple[ast.AST, ...], caught: tuple[str, ...], source: Source) -> str | None:
    """Why a suppress call and its `try` might differ: since 3.12 suppress takes exception groups apart."""
    names = {name.rpartition(".")[2] for name in caught}
    if "BaseException" in names:
        return None
    node = next((node for node in reversed(path) if isinstance(node, ast.With)), None)
    waits = (ast.Await, ast.AsyncWith, ast.AsyncFor)
    if node is not None and any(isinstance(part, waits) for part in own_nodes(node.body)):
        return "suppress takes exception groups apart, which what is awaited may raise"
    if not names & BROAD and _GROUPS.search(source.utf8):
        return "suppress takes exception groups apart, which this file knows of"
    return None


def _stored(tree: ast.AST) -> Iterator[str]:
    """Every name that a function binds, parameters included, in nested functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, _NAMED) and node.name and node is not tree:
            yield node.name


def reraise_reason(node: ast.AST, source: Source) -> str | None:
    """Why a `raise` can't be added to a handler; None where it can."""
    if not isinstance(node, ast.ExceptHandler):
        return "where to raise again is for you to decide"
    shutdown = {"KeyboardInterrupt", "SystemExit", "GeneratorExit"}
    types = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type] if node.type else []
    if not types or not all(last_name(part) in shutdown or names_cancellation(part, source) for part in types):
        return "the handler catches more than this: split it first"
    if any(isinstance(part, _JUMPS) for part in _statements(node.body)):
        return "the handler jumps: where to raise again is for you to decide"
    return None


def _statements(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Every statement of a body, nested blocks included, but for those of nested functions and classes."""
    for node in body:
        yield node
        if not isinstance(node, (*Function, ast.ClassDef)):
            yield from _statements(list(blocks(node)))  # type: ignore[arg-type]


def untraced(node: ast.AST, source: Source) -> tuple[ast.Call | None, str | None]:
    """The log call of a handler (or the call itself) that a traceback can be added to, or why there is none."""
    from .loggers import module_loggers
    from .parsing import ParseFailure

    body = node.body if isinstance(node, ast.ExceptHandler) else [node]
    calls = [part for part in own_nodes(body) if isinstance(part, ast.Call)]  # type: ignore[arg-type]
    calls = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in TRACEABLE]
    first = None
    for call in calls:
        try:
            reason = _call_reason(call) or module_loggers(source).exc_info_reason(call)
        except ParseFailure as failure:
            return None, f"the file can't be parsed: {failure.reason}"
        if reason is None:
            return call, None
        first = first or reason
    return None, first or "no log call that takes `exc_info` stands here"


def _call_reason(call: ast.Call) -> str | None:
    if any(keyword.arg in (None, "exc_info") for keyword in call.keywords):
        return "the call says already what becomes of the traceback, or takes `**` arguments"
    if len(call.args) == 1 and isinstance(call.args[0], ast.GeneratorExp) and not call.keywords:
        return "its argument is a bare generator"
    return None


def level_reason(node: ast.AST) -> str | None:
    """Why the level of the record can't be changed by another method name; None where it can."""
    return None if quiet_call(node) else "no call of `debug` or `trace` stands here as a statement"


def quiet_call(node: ast.AST) -> ast.Call | None:
    """The first call of a method `debug` or `trace` that is a statement of a handler's body (or is the node)."""
    body = node.body if isinstance(node, ast.ExceptHandler) else [node]
    for part in body:
        call = part.value if isinstance(part, ast.Expr) else part
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in ("debug", "trace"):
            return call
    return None

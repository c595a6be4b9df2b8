"""What stands around a silent handler: what its `try` does, what its function is for, what comes after."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from typing import NamedTuple

from .lazy import lazy_pattern
from .names import last_name, own_nodes
from .scope import HandlerSite, Loop, Try

_WORD = lazy_pattern(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_COMMENT = lazy_pattern(rb"#+[ \t]*([^\n]*)")
_LINTER = lazy_pattern(
    rb"(?:noqa|nosec|pylint|pragma|type:|mypy|pyright|flake8|ruff|fmt:|isort|unhush|nolint|BLE001|S110)", re.I
)

_MOST_COMMENTS = 500  # the lines of comment that are read in a handler: more say nothing new


@lru_cache(maxsize=20_000)
def words(name: str) -> tuple[str, ...]:
    """The lower-case words of an identifier: `_getHTTPReply_now` gives get, http, reply, now."""
    return tuple(part.lower() for part in _WORD.findall(name))


class Body(NamedTuple):
    """What a try's own block does. `calls` are the called names' last parts, `verbs` all their words."""

    statements: int
    calls: tuple[str, ...]
    verbs: frozenset[str]
    imports: int
    raises: bool
    loops: bool
    withs: bool
    stores: bool
    returns: bool


def body_of(site: HandlerSite) -> Body:
    """The facts of the block that the handler guards, nested functions left out."""
    memo, key = site.scope.memo, ("body", id(site.try_))
    if key not in memo:
        memo[key] = _body(nodes_of(site))
    return memo[key]


def nodes_of(site: HandlerSite) -> list[ast.AST]:
    """Every node of the guarded block that runs with it."""
    memo, key = site.scope.memo, ("nodes", id(site.try_))
    if key not in memo:
        memo[key] = list(own_nodes(site.try_.body))
    return memo[key]


def calls_of(site: HandlerSite) -> list[ast.Call]:
    """The calls of the guarded block."""
    return [node for node in nodes_of(site) if isinstance(node, ast.Call)]


def returns_only_bools(site: HandlerSite) -> bool:
    """Whether every return of the innermost function gives True or False, and there are two of them at least."""
    if site.function is None:
        return False
    memo, key = site.scope.memo, ("bools", id(site.function))
    if key not in memo:
        values = [node.value for node in own_nodes(site.function.body) if isinstance(node, ast.Return)]
        plain = [value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, bool)]
        memo[key] = len(values) >= 2 and len(plain) == len(values)
    return memo[key]


def _body(nodes: list[ast.AST]) -> Body:
    statements = imports = 0
    raises = loops = withs = stores = returns = False
    calls: list[str] = []
    for node in nodes:
        if isinstance(node, ast.stmt):
            statements += not isinstance(node, ast.Pass)
            imports += isinstance(node, (ast.Import, ast.ImportFrom))
            raises = raises or isinstance(node, ast.Raise)
            loops = loops or isinstance(node, Loop)
            withs = withs or isinstance(node, (ast.With, ast.AsyncWith))
            returns = returns or isinstance(node, ast.Return)
        elif isinstance(node, ast.Call):
            calls.append(last_name(node.func))
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
            stores = True
    verbs = frozenset(word for name in calls for word in words(name))
    return Body(statements, tuple(calls), verbs, imports, raises, loops, withs, stores, returns)


def comment_of(site: HandlerSite) -> str:
    """The comments of the handler and its header, and one that stands alone right above the except, as one text.

    Words addressed to linters alone do not count.
    """
    source, offset = site.scope.source, site.scope.row_offset
    first = site.handler.lineno + offset
    last = (site.handler.end_lineno or site.handler.lineno) + offset
    found: list[bytes] = []
    for row in range(first, last + 3):
        line = source.line(row)
        if b"#" not in line:
            if row > last:
                break
            continue
        match = _COMMENT.search(line)
        if row > last and not line.lstrip().startswith(b"#"):
            break
        if row > last and len(line) - len(line.lstrip()) <= site.handler.col_offset:
            break
        if match and not _LINTER.match(match[1]):
            found.append(match[1])
            if len(found) == _MOST_COMMENTS:
                break
    return b" ".join(found).decode("utf-8", "replace")


def docstring_of(site: HandlerSite) -> str:
    """The docstring of the innermost function, or the empty string."""
    node = site.function
    if node is None or not node.body or not isinstance(node.body[0], ast.Expr):
        return ""
    value = node.body[0].value
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def within(site: HandlerSite) -> str:
    """Whether the try stands in another try's handler, its `finally`, or neither: `handler`, `finally`, or ``."""
    inner = site.inner
    for at in range(len(inner) - 2, -1, -1):
        node, child = inner[at], inner[at + 1]
        if isinstance(node, ast.ExceptHandler):
            return "handler"
        if isinstance(node, Try) and child in node.finalbody:
            return "finally"
    return ""


def outcome(site: HandlerSite) -> tuple[ast.expr | None, tuple[str, ...], bool]:
    """The plain value a silent handler leaves behind, the names it is left in, and whether it is returned."""
    value: ast.expr | None = None
    names: list[str] = []
    for node in site.handler.body:
        if isinstance(node, ast.Return):
            if node.value is not None and not (isinstance(node.value, ast.Name) and value is not None):
                value = node.value
            return value, tuple(names), True
        if isinstance(node, ast.Assign):
            value = node.value
            names += [last_name(target) or ast.unparse(target) for target in node.targets]
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            value = node.value
            names.append(last_name(node.target) or ast.unparse(node.target))
    return value, tuple(names), False


def value_kind(value: ast.expr | None) -> str:
    """A plain value in one word: none, false, true, zero, empty, text, number, name, or literal."""
    if value is None or (isinstance(value, ast.Constant) and value.value is None):
        return "none"
    if isinstance(value, ast.Constant):
        if value.value is False:
            return "false"
        if value.value is True:
            return "true"
        if value.value in (0, 0.0) and not isinstance(value.value, (str, bytes)):
            return "zero"
        if isinstance(value.value, (str, bytes)):
            return "text" if value.value.strip() else "empty"
        return "number"
    if isinstance(value, (ast.Name, ast.Attribute)):
        return "name"
    if isinstance(value, ast.UnaryOp):
        return "number"
    if isinstance(value, ast.Call):
        return "empty"
    if isinstance(value, (ast.List, ast.Tuple, ast.Set)):
        kinds = {value_kind(element) for element in value.elts}
        return "empty" if not kinds else kinds.pop() if len(kinds) == 1 else "literal"
    return "empty" if isinstance(value, ast.Dict) and not value.keys else "literal"


def function_name(site: HandlerSite) -> str:
    """The innermost function's name, or the empty string outside functions."""
    return site.function.name if site.function is not None else ""


def after_names(site: HandlerSite) -> tuple[bool, bool]:
    """Of the names a handler assigns: whether a later `if`, `while` or assert looks at one, and whether it acts on it

    by raising, logging or returning; the first such test decides.
    """
    _, names, returned = outcome(site)
    if returned or not names:
        return False, False
    wanted = set(names)
    for statement in site.following:
        tests = [
            node for node in own_nodes([statement]) if isinstance(node, (ast.If, ast.IfExp, ast.While, ast.Assert))
        ]
        for node in sorted(tests, key=lambda node: (node.lineno, node.col_offset)):
            if _names(node.test) & wanted:
                return True, isinstance(node, ast.Assert) or _acts(node)
    return False, False


def _names(node: ast.AST) -> set[str]:
    """The names and attribute names an expression reads."""
    return {last_name(part) for part in own_nodes([node]) if isinstance(part, (ast.Name, ast.Attribute))}


def _acts(node: ast.AST) -> bool:
    """Whether a branch raises, returns or makes a call of its own."""
    return any(isinstance(part, (ast.Raise, ast.Return)) for part in own_nodes([node]))


def enclosing_class_names(site: HandlerSite) -> tuple[str, ...]:
    """The names and bases of the classes around the handler."""
    names = [part for header in site.scope.classes for part in (header.name, *header.bases)]
    names += [node.name for node in site.path if isinstance(node, ast.ClassDef)]
    return tuple(names)

"""The facts of one handler: what it catches, what it does, and whether anybody hears of the exception."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Literal

from .aliases import broad_aliases
from .lazy import lazy_pattern
from .names import all_nodes, dotted, is_heard_call, own_nodes
from .settings import Settings
from .source import Source

if TYPE_CHECKING:
    from .scope import HandlerSite

Breadth = Literal["bare", "broad", "narrow", "nothing"]

BROAD = frozenset({"Exception", "BaseException"})
_BUILTIN_HOMES = ("builtins.", "__builtin__.", "exceptions.", "six.moves.builtins.")
# Method names of plain clean-up: after such a call nobody has heard of the failure.
CLEANUP = lazy_pattern(
    r"^_*(?:a?close\w*|rollback\w*|terminate\w*|disconnect\w*|clean_?up\w*|shut_?down\w*|kill\w*|unlink)$", re.I
)
EMPTY_CONTAINERS = frozenset({"dict", "list", "set", "tuple", "frozenset", "str", "bytes"})


def types_of(node: ast.expr | None) -> list[ast.expr]:
    """The single types of an `except` clause's expression: tuples, sums and `A or B` taken apart."""
    if node is None:
        return []
    if isinstance(node, ast.Tuple):
        return [part for element in node.elts for part in types_of(element)]
    if isinstance(node, ast.Starred):
        return types_of(node.value)
    if isinstance(node, ast.BoolOp):
        return [part for value in node.values for part in types_of(value)]
    if isinstance(node, ast.BinOp):
        return types_of(node.left) + types_of(node.right)
    return [node]


def caught(node: ast.expr | None) -> tuple[str, ...]:
    """The names of the caught types as written; empty for a bare handler."""
    return tuple(dotted(part) or ast.unparse(part) for part in types_of(node))


def is_broad_name(name: str, source: Source | None = None) -> bool:
    """Whether a dotted name is Exception or BaseException: itself, by builtins, or by an alias of the file."""
    for home in _BUILTIN_HOMES:
        name = name.removeprefix(home)
    return name in BROAD or (source is not None and name in broad_aliases(source))


def breadth(node: ast.expr | None, source: Source | None = None) -> Breadth:
    """How much an `except` clause's expression catches."""
    if node is None:
        return "bare"
    names = caught(node)
    if not names:
        return "nothing"
    return "broad" if any(is_broad_name(name, source) for name in names) else "narrow"


def is_plain(value: ast.expr | None) -> bool:
    """Whether an expression is a plain value: nothing is called or computed."""
    if value is None or isinstance(value, (ast.Constant, ast.Name)):
        return True
    if isinstance(value, ast.Attribute):
        return is_plain(value.value)
    if isinstance(value, ast.UnaryOp):
        return isinstance(value.operand, ast.Constant)
    if isinstance(value, (ast.List, ast.Tuple, ast.Set)):
        return all(is_plain(element) for element in value.elts)
    if isinstance(value, ast.Dict):
        return all(key is not None and is_plain(key) for key in value.keys) and all(map(is_plain, value.values))
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id in EMPTY_CONTAINERS and not value.args and not value.keywords
    return False


def is_cleanup(node: ast.stmt) -> bool:
    """Whether a statement is a plain clean-up call, by the method's name, awaited or not."""
    if not isinstance(node, ast.Expr):
        return False
    call = node.value.value if isinstance(node.value, ast.Await) else node.value
    if not isinstance(call, ast.Call):
        return False
    func = call.func
    name = func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
    return CLEANUP.match(name) is not None


def own_statements(handler: ast.ExceptHandler) -> list[ast.stmt]:
    """The handler's statements that can run: those up to its first unconditional jump."""
    for at, node in enumerate(handler.body):
        if isinstance(node, (ast.Return, ast.Continue, ast.Break, ast.Raise)):
            return handler.body[: at + 1]
    return handler.body


def shape_of(handler: ast.ExceptHandler, *, broad: bool) -> str:
    """The shape of a silent handler (empty, continue, break, return, assign, cleanup, mixed), or `acts`."""
    kinds: set[str] = set()
    for node in own_statements(handler):
        kind = _kind(node, broad)
        if kind == "acts":
            return "acts"
        kinds.add(kind)
    kinds.discard("empty")
    if uses_exception(handler):
        return "acts"
    return "empty" if not kinds else kinds.pop() if len(kinds) == 1 else "mixed"


def _kind(node: ast.stmt, broad: bool) -> str:
    """What one statement of a handler does, in the words of `shape_of`."""
    if isinstance(node, (ast.Pass, ast.Global, ast.Nonlocal)):
        return "empty"
    if isinstance(node, ast.Expr):
        if isinstance(node.value, (ast.Constant, ast.Name)):
            return "empty"
        return "cleanup" if broad and is_cleanup(node) else "acts"
    if isinstance(node, ast.Continue):
        return "continue"
    if isinstance(node, ast.Break):
        return "break"
    if isinstance(node, ast.Return):
        return "return" if is_plain(node.value) else "acts"
    if isinstance(node, ast.Assign):
        return "assign" if is_plain(node.value) and all(map(_is_plain_target, node.targets)) else "acts"
    if isinstance(node, ast.AnnAssign):
        return "assign" if is_plain(node.value) and _is_plain_target(node.target) else "acts"
    return "assign" if isinstance(node, ast.Delete) and all(map(_is_plain_target, node.targets)) else "acts"


def _is_plain_target(node: ast.expr) -> bool:
    """Whether assigning to a target calls nothing but item and attribute setting on plain things."""
    if isinstance(node, ast.Subscript):
        return _is_plain_target(node.value) and (is_plain(node.slice) or isinstance(node.slice, ast.Slice))
    if isinstance(node, (ast.Tuple, ast.List)):
        return all(map(_is_plain_target, node.elts))
    if isinstance(node, ast.Starred):
        return _is_plain_target(node.value)
    return is_plain(node)


def uses_exception(handler: ast.ExceptHandler) -> bool:
    """Whether the handler reads the exception it named: not by `del e`, rebinding it or a lone `e`."""
    if handler.name is None:
        return False
    lone = {id(node.value) for node in handler.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Name)}
    for node in all_nodes(handler):
        if (
            isinstance(node, ast.Name)
            and node.id == handler.name
            and isinstance(node.ctx, ast.Load)
            and id(node) not in lone
        ):
            return True
    return False


def raises(handler: ast.ExceptHandler) -> bool:
    """Whether a raise stands where the handler's own code can reach it."""
    return any(isinstance(node, ast.Raise) for node in _live(own_statements(handler)))


def _live(statements: list[ast.stmt]) -> list[ast.AST]:
    """The nodes of statements, in nested blocks too only those before an unconditional jump."""
    found: list[ast.AST] = []
    for node in statements:
        found.append(node)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for _name, value in ast.iter_fields(node):
            if (
                isinstance(value, list)
                and value
                and isinstance(value[0], (ast.stmt, ast.ExceptHandler, ast.match_case))
            ):
                found += _live_block(value)
            else:
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, ast.AST):
                        found += own_nodes([part])  # type: ignore[list-item]
        if isinstance(node, (ast.Return, ast.Continue, ast.Break, ast.Raise)):
            break
    return found


def _live_block(block: list[ast.AST]) -> list[ast.AST]:
    """The live nodes of a block, whose items may be handlers or match cases."""
    if isinstance(block[0], ast.stmt):
        return _live(block)  # type: ignore[arg-type]
    return [node for item in block for node in _live(item.body)]  # type: ignore[attr-defined]


def is_heard(site: HandlerSite, settings: Settings) -> bool:
    """Whether anybody hears of the exception in the handler itself: raise, log, report, print, exit, or use of it."""
    if uses_exception(site.handler):
        return True
    for node in _live(own_statements(site.handler)):
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Call) and is_heard_call(node, settings):
            return True
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and not node.test.value:
            return True
        if isinstance(node, ast.Attribute) and node.attr in ("exc_info", "format_exc"):
            return True
    return False

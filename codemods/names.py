"""Names as text: dotted names, and which calls make a failure heard."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from .lazy import lazy_pattern
from .settings import Settings

LOG_METHODS = frozenset(
    "debug info warning warn error critical exception fatal log msg failure err trace success notice emit".split()
)
# Receivers of log methods that are loggers by name alone, as in ruff's BLE001, and wider.
_LOGGER_NAME = lazy_pattern(
    r"(?:^|_)(?:log|logs|logger|logging|loguru|log_?ger\d*|l|audit|syslog|app_log)\d*$|log(?:ger|ging)?\d*$", re.I
)
# Names of functions after which somebody has heard of the failure, whatever they belong to.
_HEARD_CALL = lazy_pattern(
    r"^_*(?:log|logs|warn|print|report|capture|notify|alert|abort|fail|die|bail|panic|echo|secho|usage|"
    r"show|display|error|exception|critical|fatal|traceback|excepthook|messagebox|flash|set_exception|errback|"
    r"handle_?(?:error|exception|failure)|on_?(?:error|exception|failure)|record_?(?:error|exception|failure)|"
    r"set_?(?:error|exception|failure|failed)|add_?(?:error|exception|failure|note)|print_exc|print_exception|"
    r"format_exc|exc_info|exit|_exit|quit|send_error|write_err|perror|showwarning|showerror|raise)"
    r"(?:$|_|(?<=[a-z])[A-Z]|s$|f$|ed$|ing$)|(?:_|[a-z](?=[EFW]))(?:error|errors|exception|exc|failure|failed|warning|warn|traceback)s?$",
    re.I,
)
# Kinds of nodes below which nothing is looked at: what has nothing below, and what does not run with its surroundings.
_ENDS = frozenset({ast.Name, ast.Constant, ast.Pass, ast.Continue, ast.Break, ast.Global, ast.Nonlocal, ast.alias})
_OWN_ENDS = _ENDS | {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda}
_EXIT = frozenset({"sys.exit", "os._exit", "os.abort", "exit", "quit"})


def dotted(node: ast.AST | None) -> str | None:
    """The dotted name of a Name or a chain of attributes, else None."""
    if type(node) is ast.Name:
        return node.id
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    parts.append(node.id)
    return ".".join(reversed(parts))


def last_name(node: ast.AST | None) -> str:
    """The last part of what is called or named: `c` of `a.b().c`, or the empty string."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def is_logger_name(name: str) -> bool:
    """Whether a variable of this name is taken for a logger."""
    return _LOGGER_NAME.search(name) is not None


def is_log_call(call: ast.Call, settings: Settings) -> bool:
    """Whether a call writes a log record, judged by the method and the receiver's name."""
    func = call.func
    if settings.logger_calls and dotted(func) in settings.logger_calls:
        return True
    if isinstance(func, ast.Attribute):
        if func.attr not in LOG_METHODS:
            return False
        name = dotted(func.value)
        if name is not None and name in settings.logger_names:
            return True
        return is_logger_name(_receiver(func.value))
    return isinstance(func, ast.Name) and func.id in settings.logger_names


def _receiver(node: ast.expr) -> str:
    """The name that tells what a method is called on: `get_logger` of `structlog.get_logger().bind(a=1)`."""
    while isinstance(node, ast.Call):
        if last_name(node.func) in ("getLogger", "get_logger"):
            return "logger"
        node = node.func.value if isinstance(node.func, ast.Attribute) else node.func
    return last_name(node)


def is_heard_call(call: ast.Call, settings: Settings) -> bool:
    """Whether somebody hears of the failure by this call: a log, a report, a print, an exit, a failed test."""
    if is_log_call(call, settings):
        return True
    name = dotted(call.func) or ""
    if name in _EXIT or name in settings.reporting_calls or name.startswith(("warnings.", "sentry_sdk.")):
        return True
    last = last_name(call.func)
    if last in LOG_METHODS - {"log", "emit", "msg", "trace", "success", "info", "debug"}:
        return True
    if last == "write" and "stderr" in name:
        return True
    return _HEARD_CALL.search(last) is not None


def own_nodes(statements: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Every node that runs when these statements run: not the bodies of nested functions, classes and lambdas.

    In no order that is promised. It reads the nodes' own dictionaries: `ast.iter_child_nodes` costs thrice as much.
    """
    return _nodes(list(statements), _OWN_ENDS)


def all_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """A node and every node below it, but for expression contexts, in no order that is promised."""
    return _nodes([node], _ENDS)


def _nodes(stack: list[ast.AST], ends: frozenset[type[ast.AST]]) -> Iterator[ast.AST]:
    """The nodes on a stack and what lies below them, but for what lies below the kinds in `ends`."""
    while stack:
        node = stack.pop()
        yield node
        if type(node) in ends:
            continue
        for value in vars(node).values():
            if type(value) is list:
                stack += [part for part in value if isinstance(part, ast.AST)]
            elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
                stack.append(value)

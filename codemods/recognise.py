"""Inserted logging, whoever wrote it: what a comparison of two versions of a module lets pass, and why not."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from itertools import islice
from typing import ParamSpec

from . import backends
from .binding import bound_here
from .compare import Mismatch, Pair
from .fixability import compiling, is_logging_code
from .locate import paths_to
from .module import Module
from .plan import class_problem
from .proof import Disproof, check_name, check_new_names
from .scope import Function
from .shapes import types_reason
from .splice import is_empty

_METHODS = {
    "stdlib": frozenset("debug info warning error critical exception".split()),
    "structlog": frozenset("debug info warning error critical exception".split()),
    "loguru": frozenset("trace debug info success warning error critical exception".split()),
    "twisted": frozenset("debug info warn error critical failure".split()),
    "absl": frozenset("debug info warning error exception".split()),
}
_ANY_METHOD = frozenset().union(*_METHODS.values())
_KEYWORDS = {
    "stdlib": frozenset({"exc_info", "stack_info", "stacklevel"}),
    "absl": frozenset({"exc_info", "stack_info", "stacklevel"}),
    "twisted": frozenset({"level", "isError"}),
    "loguru": frozenset[str](),
}
_FROM = {
    "logging": frozenset({"getLogger"}),
    "structlog": frozenset({"get_logger", "getLogger"}),
    "structlog.stdlib": frozenset({"get_logger", "getLogger"}),
    "loguru": frozenset({"logger"}),
    "twisted.logger": frozenset({"Logger", "LogLevel"}),
    "absl": frozenset({"logging"}),
}
_BACKEND_OF_MODULE = {module: name for name, module in backends.MODULES.items()}
P = ParamSpec("P")


class Recognised:
    """The policy that lets inserted logging pass by its form; `problems` then asks whether it can do no harm.

    `calls` are the inserted log calls (statements), `setups` the inserted imports and logger lines, `traced` the calls
    that got `exc_info=True`, `empties` the old `pass` statements that calls replaced with these, and `suppressed` the
    pairs of `with suppress(...)` and `try`. `used` tells of a backend whether enough files of the project import it.
    """

    def __init__(self, old: Module, new: Module, used: Callable[[str], bool]) -> None:
        self.old, self.new, self._used = old, new, used
        self.calls: list[ast.stmt] = []
        self.setups: list[ast.stmt] = []
        self.traced: list[ast.Call] = []
        self.empties: list[tuple[ast.stmt, ast.stmt]] = []
        self.suppressed: list[tuple[ast.With, ast.Try]] = []
        self._top = {id(node) for node in new.tree.body}

    def inserted(self, node: ast.stmt, pending: ast.stmt | None) -> bool:
        """Whether a statement has the form of a log call, or at the top level that of an import or logger line."""
        if pending is not None and _is_kept(pending, node):
            return False
        if _has_log_form(node):
            self.calls.append(node)
            return True
        if id(node) in self._top and (_is_backend_import(node) or self._is_logger_line(node)):
            self.setups.append(node)
            return True
        return False

    def replaced(self, old: ast.stmt, block: list[ast.stmt], at: int) -> list[Pair] | None:
        """A `pass` or `...` may give way to a log call, a `with suppress(...)` to a `try` with one."""
        new = block[at]
        if is_empty(old) and _has_log_form(new):
            after = next((node for node in islice(block, at + 1, None) if not _has_log_form(node)), None)
            if after is not None and ast.dump(after) == ast.dump(old):
                return None
            self.calls.append(new)
            self.empties.append((old, new))
            return []
        if isinstance(old, ast.With) and isinstance(new, ast.Try) and _suppress_form(old, new):
            self.suppressed.append((old, new))
            self.calls.append(new.handlers[0].body[0])
            return [(ast.Module(old.body, []), ast.Module(new.body, []))]
        return None

    def argument(self, old: ast.Call, new: ast.Call) -> bool:
        """Whether the last keyword of a call is a new `exc_info=True`."""
        keyword = new.keywords[-1]
        if keyword.arg != "exc_info" or not isinstance(keyword.value, ast.Constant) or keyword.value.value is not True:
            return False
        self.traced.append(new)
        return True

    def attribute(self, old: ast.Attribute, new: ast.Attribute) -> bool:
        """No other attribute is logging alone: a change of level is for a person to judge."""
        return False

    def problems(self) -> Iterator[Mismatch]:
        """Why what was let pass by its form may do more than log."""
        places = {_place(node): node for node in self.calls}
        traced = {_place(node): node for node in self.traced}
        rows = sorted({row for row, _ in (*places, *traced)})
        for path in paths_to(self.new.tree, rows):
            node = places.pop(_place(path[-1]), None)
            if node is path[-1]:
                yield from self._judge(node.lineno, self._call_problem, node, path)  # type: ignore[union-attr]
            for call in _calls(path[-1], traced):
                yield from self._judge(call.lineno, self._traced_problem, call, path)
        for setup in self.setups:
            yield from self._judge(setup.lineno, self._setup_problem, setup)
        suppressed = dict(self.suppressed)
        for path in paths_to(self.old.tree, sorted(old.lineno for old in suppressed)):
            if path[-1] in suppressed:
                row = suppressed[path[-1]].lineno  # type: ignore[index]
                yield from self._judge(row, self._suppress_problem, path[-1], path)

    def _judge(self, row: int, work: Callable[P, str | None], *args: P.args, **named: P.kwargs) -> Iterator[Mismatch]:
        try:
            problem = work(*args, **named)
        except (Disproof, LookupError) as disproof:
            problem = str(disproof)
        if problem:
            yield Mismatch(row, problem.removeprefix(f"line {row}: "))

    def _call_problem(self, node: ast.stmt, path: tuple[ast.AST, ...]) -> str | None:
        """Why an inserted log call may do more than log."""
        for part in path:
            if isinstance(part, (*Function, ast.ClassDef)) and (name := compiling(part, self.new.source)):
                return f"a call was inserted under `{name}`, which compiles the function or ships its source"
        if is_logging_code(path):
            return "logging from within logging code may never end"
        if problem := self.new.circle or class_problem(path):
            return problem
        call: ast.Call = node.value  # type: ignore[attr-defined]
        head = _head(call)
        table = self.new.tables.of(path)
        for name in {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}:
            check_name(self.new, table, path, name)
        return _form_problem(call, self.new.loggers.backend_of(head.id) or "", path)

    def _traced_problem(self, call: ast.Call, path: tuple[ast.AST, ...]) -> str | None:
        """Why a call that got `exc_info=True` may not be a log call."""
        head = call.func
        while isinstance(head, (ast.Attribute, ast.Call)):
            head = head.value if isinstance(head, ast.Attribute) else head.func
        if not isinstance(head, ast.Name) or not self.new.sees_global(path, head.id):
            return "the logger is a local name, which may be anything"
        return self.new.loggers.exc_info_reason(call)

    def _setup_problem(self, node: ast.stmt) -> str | None:
        """Why an inserted import or logger line may do more than bind a new name to a logger."""
        names = [alias.asname or alias.name for alias in getattr(node, "names", ())] or list(bound_here(node))
        for name in names:
            if self.old.is_private and not name.startswith("_") and name not in self.old.names.names:
                return f"the new global `{name}` may be seen by code that lists or takes this module's names"
        check_new_names(self.old, self.new, node, self.old.uses_global)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = (node.names[0].name if isinstance(node, ast.Import) else node.module or "").partition(".")[0]
            backend = _BACKEND_OF_MODULE[module]
            known = any(origin.partition(".")[0] == module for origin in self.old.loggers.origins)
            if not (known or backends.is_available(backend, self.new.home, self.new.source) or self._used(backend)):
                return f"{module} is imported, which the project neither declares nor uses"
            return self.new.import_problem(module)
        return None

    def _suppress_problem(self, old: ast.With, path: tuple[ast.AST, ...]) -> str | None:
        """Why a suppressed block and the `try` that took its place may not be equal."""
        call: ast.Call = old.items[0].context_expr  # type: ignore[assignment]
        origin = self.old.loggers.origin(call.func)
        if origin != "contextlib.suppress":
            return "whether this is contextlib's suppress can't be told"
        return types_reason(call, self.old.source, set()) or self.old.types_problem(path, call.args)

    def _is_logger_line(self, node: ast.stmt) -> bool:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            return False
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        named = len(targets) == 1 and isinstance(targets[0], ast.Name)
        return named and _is_plain_factory(node.value) and bool(self.new.loggers.backend_of_value(node.value))


def _is_plain_factory(value: ast.expr) -> bool:
    """Whether a logger is made from constants and `__name__` alone, so that nothing else is called."""
    if not isinstance(value, ast.Call) or value.keywords:
        return False
    plain = all(
        isinstance(arg, ast.Constant) or (isinstance(arg, ast.Name) and arg.id == "__name__") for arg in value.args
    )
    return plain and all(not isinstance(part, ast.Call) for part in ast.walk(value.func))


def _is_backend_import(node: ast.stmt) -> bool:
    """Whether a statement imports nothing but a logging library's module, logger or logger factory."""
    if isinstance(node, ast.Import):
        return len(node.names) == 1 and node.names[0].name in ("logging", "structlog")
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module in _FROM:
        return all(alias.name in _FROM[node.module] for alias in node.names)
    return False


def _is_kept(old: ast.stmt, new: ast.stmt) -> bool:
    """Whether a statement that looks inserted is the old one, perhaps with a traceback added."""
    if old.__class__ is not new.__class__:
        return False
    if ast.dump(old) == ast.dump(new):
        return True
    call = new.value if isinstance(new, ast.Expr) else None
    if isinstance(call, ast.Call) and call.keywords and call.keywords[-1].arg == "exc_info":
        return ast.dump(old) == ast.dump(ast.Expr(ast.Call(call.func, call.args, call.keywords[:-1])))
    return False


def _has_log_form(node: ast.stmt) -> bool:
    """Whether a statement is a log method's call on a plain name, with constants for arguments."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return False
    call = node.value
    func = call.func
    if not isinstance(func, ast.Attribute) or func.attr not in _ANY_METHOD:
        return False
    made = func.value
    if isinstance(made, ast.Call):
        options = [(keyword.arg, getattr(keyword.value, "value", None)) for keyword in made.keywords]
        if options != [("exception", True)] or made.args or not isinstance(made.func, ast.Attribute):
            return False
        if made.func.attr != "opt":
            return False
        made = made.func.value
    return isinstance(made, ast.Name) and all(map(_is_constant, (*call.args, *(part.value for part in call.keywords))))


def _is_constant(node: ast.expr) -> bool:
    """Whether an argument is a constant, or names one of Twisted's levels."""
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.attr in ("debug", "info", "warn", "error", "critical")
    return isinstance(node, ast.Constant)


def _head(call: ast.Call) -> ast.Name:
    made = call.func.value  # type: ignore[attr-defined]
    return made.func.value if isinstance(made, ast.Call) else made


def _form_problem(call: ast.Call, backend: str, path: tuple[ast.AST, ...]) -> str | None:
    """Why a log call of a known backend may raise, or do more than log."""
    method = call.func.attr  # type: ignore[attr-defined]
    if method not in _METHODS.get(backend, ()):
        return f"`{method}` is no log method of {backend or 'this logger'}"
    if isinstance(call.func.value, ast.Call) and backend != "loguru":  # type: ignore[attr-defined]
        return f"{backend} has no `opt`"
    if len(call.args) != 1 or not isinstance(call.args[0], ast.Constant) or not isinstance(call.args[0].value, str):
        return "a log call is proved with one constant text only"
    if backend == "twisted" and "{" in call.args[0].value.replace(backends.FAILURE, ""):
        return "Twisted computes what a text holds in braces"
    names = {keyword.arg for keyword in call.keywords}
    if None in names or "event" in names or not names <= _KEYWORDS.get(backend, names):
        return "a log call is proved with no keywords but those of the traceback"
    if any(isinstance(keyword.value, ast.Attribute) != (keyword.arg == "level") for keyword in call.keywords):
        return "a level is to be Twisted's, and all else a constant"
    inner = next(
        (node for node in reversed(path[:-1]) if isinstance(node, (*Function, ast.ClassDef, ast.ExceptHandler))), None
    )
    if method == "failure" and not isinstance(inner, ast.ExceptHandler):
        return "`failure` raises where there is no exception to log"
    return None


def _suppress_form(old: ast.With, new: ast.Try) -> bool:
    """Whether a `try` catches and logs what the `with suppress(...)` in its place suppressed."""
    call = old.items[0].context_expr
    if len(old.items) != 1 or old.items[0].optional_vars or not isinstance(call, ast.Call) or not call.args:
        return False
    if len(new.handlers) != 1 or new.orelse or new.finalbody or new.handlers[0].name or len(new.handlers[0].body) != 1:
        return False
    types = call.args[0] if len(call.args) == 1 else ast.Tuple(call.args, ast.Load())
    caught = new.handlers[0].type
    return caught is not None and ast.dump(caught) == ast.dump(types) and _has_log_form(new.handlers[0].body[0])


def _calls(node: ast.AST, wanted: dict[tuple[int, int], ast.Call]) -> list[ast.Call]:
    """The wanted calls that a statement holds, each taken by the first (innermost-last) statement asked."""
    if not wanted:
        return []
    inside = [call for call in wanted.values() if any(part is call for part in ast.walk(node))]
    deeper = [
        part for part in ast.iter_child_nodes(node) if isinstance(part, (ast.stmt, ast.ExceptHandler, ast.match_case))
    ]
    return [call for call in inside if not any(part is call for below in deeper for part in ast.walk(below))]


def _place(node: ast.AST) -> tuple[int, int]:
    return node.lineno, node.col_offset  # type: ignore[attr-defined]

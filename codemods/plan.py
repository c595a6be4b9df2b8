"""From findings to edits: which logger each rewrite uses, what it writes, and why some findings stay."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from . import backends
from .edits import Edit
from .fixability import compiling, is_logging_code, kind_of_fix
from .handlers import breadth
from .locate import Target, locate
from .loggers import Logger
from .model import Finding
from .module import Module
from .place import setup_edits
from .rules import all_rules
from .scope import Function
from .splice import Refusal, edit_call, edit_handler, edit_suppress

REST = "exception_ignored"


@dataclass(slots=True)
class Plan:
    """The edits of one file in order of place, what they fix, and the findings that stay with the reason."""

    edits: list[Edit] = field(default_factory=list)
    seen: set[Edit] = field(default_factory=set)
    fixed: list[tuple[Finding, str | None]] = field(default_factory=list)
    refused: list[Finding] = field(default_factory=list)

    def refuse(self, finding: Finding, reason: str) -> None:
        """Notes that a finding stays, and why."""
        self.refused.append(replace(finding, fix=None, fix_reason=reason))


@dataclass(frozen=True, slots=True)
class Choice:
    """The logger that a target's call uses: a name bound already, or (None) one that is to be added."""

    backend: str
    name: str | None
    level_name: str | None = None


def event_of(qualname: str) -> str:
    """The event's name: the qualified name without `<locals>`, or `module`, and what happened."""
    name = "module" if qualname == "<module>" else qualname.replace(".<locals>", "")
    return f"{name}.{REST}"


def plan(module: Module, findings: list[Finding]) -> Plan:
    """The rewrites of the findings of one file. A finding is fixed whole or refused with a reason, never in part."""
    made = Plan()
    targets: list[tuple[Target, str]] = []
    for found in locate(module.tree, module.source, findings):
        if isinstance(found, Finding):
            made.refuse(found, "no code was found at its place")
        elif reason := _refusal(module, found):
            made.refuse(found.finding, reason)
        else:
            targets.append((found, _kind(module, found)))
    _plan_calls(module, [target for target, fix in targets if fix in ("log", "suppress")], made)
    for target, fix in targets:
        if fix in ("exc_info", "level"):
            _edit(made, target, None, partial(edit_call, module, target, fix))
        elif fix == "reraise":
            _edit(made, target, None, partial(edit_handler, module, target, "raise"))
    made.edits.sort(key=_order)
    return made


def _order(edit: Edit) -> tuple[int, bool, int]:
    """Edits go by place; at the same place insertions go first, and of clauses that of the inner block."""
    text = edit.new.lstrip(b"\r\n")
    inner = len(text) - len(text.lstrip(b" \t")) if edit.kind == "except" else 0
    return edit.start, bool(edit.old), -inner


def _edit(made: Plan, target: Target, event: str | None, work: Callable[[], list[Edit]]) -> None:
    """Takes up the edits of one target, or the reason why there are none."""
    try:
        edits = [edit for edit in work() if edit not in made.seen]
    except Refusal as refusal:
        made.refuse(target.finding, str(refusal))
    else:
        made.edits += edits
        made.seen.update(edits)
        made.fixed.append((target.finding, event))


def _kind(module: Module, target: Target) -> str:
    """How a target is rewritten."""
    return kind_of_fix(all_rules()[target.finding.code], target.finding.caught, module.source) or ""


def _refusal(module: Module, target: Target) -> str | None:
    """Why a target can't be rewritten whatever the logger."""
    fix = _kind(module, target)
    if not fix:
        return target.finding.fix_reason or "no rewrite is known that leaves the program as it is"
    for node in target.path:
        if isinstance(node, (*Function, ast.ClassDef)) and (name := compiling(node, module.source)):
            return f"`{name}` compiles the function or ships its source"
    if is_logging_code(target.path):
        return "logging from within logging code may never end"
    if fix in ("log", "suppress"):
        if fix == "log" and target.handler is None:
            return "no handler stands here"
        if fix == "suppress" and not isinstance(target.node, ast.Call):
            return "no suppress call stands here"
        return module.circle or class_problem(target.path)
    return None


def class_problem(path: tuple[ast.AST, ...]) -> str | None:
    """Why a global name can't be relied on in the code at a path: a metaclass may answer for a class body's names."""
    inner = next((node for node in reversed(path) if isinstance(node, (*Function, ast.ClassDef))), None)
    if isinstance(inner, ast.ClassDef) and (inner.bases or inner.keywords or inner.decorator_list):
        return "names in a class body may be looked up by its metaclass"
    return None


def _plan_calls(module: Module, targets: list[Target], made: Plan) -> None:
    """The log calls of targets, with the lines that make a logger where none can be used."""
    choices = [(target, _choose(module, target)) for target in targets]
    new, setup = _set_up(module, [(target, choice) for target, choice in choices if choice.name is None], made)
    level, level_edits = _set_up_level(module, choices, made, new)
    before = len(made.fixed)
    for target, choice in choices:
        if choice.name is None and new is None:
            continue
        name = choice.name or (new.name if new else "")
        level_name = choice.level_name or (new.level_name if new and choice.name is None else level)
        event = event_of(target.finding.qualname)
        call = backends.log_call(
            choice.backend, name, _level(module, target), _encodable(module, event), level_name or ""
        )
        rewriter = edit_suppress if _is_suppress(target) else edit_handler
        _edit(made, target, event, partial(rewriter, module, target, call))
    if len(made.fixed) > before:
        made.edits += setup + level_edits


def _is_suppress(target: Target) -> bool:
    return all_rules()[target.finding.code].fix == "suppress"


def _encodable(module: Module, event: str) -> str:
    """The event as the file's encoding can hold it."""
    try:
        module.places.encode(event)
    except UnicodeEncodeError:
        return event.encode("ascii", "backslashreplace").decode("ascii")
    return event


def _level(module: Module, target: Target) -> str:
    """The level of the record: that for broad handlers or that for narrow ones."""
    if _is_suppress(target):
        call = target.node
        kinds = {breadth(arg, module.source) for arg in call.args}  # type: ignore[attr-defined]
    else:
        kinds = {breadth(target.handler.type, module.source)} if target.handler else set()
    return module.settings.level_narrow if kinds == {"narrow"} else module.settings.level_broad


def _choose(module: Module, target: Target) -> Choice:
    """The logger for one target: the module's own where it is the right one and bound for sure, else a new one."""
    wanted = module.settings.backend
    for logger in module.loggers.all:
        if wanted in ("auto", logger.backend) and _usable(module, logger, target):
            levels = module.loggers.log_levels() if logger.backend == "twisted" else []
            level = next((level.name for level in levels if _usable(module, level, target)), None)
            return Choice(logger.backend, logger.name, level)
    return Choice(module.new_backend, None)


def _usable(module: Module, logger: Logger, target: Target) -> bool:
    """Whether a logger is the module's global in the target's scope, and bound before its code can run."""
    return module.sees_global(target.path, logger.name) and module.is_bound_before(logger, target.path)


def _set_up(
    module: Module, targets: list[tuple[Target, Choice]], made: Plan
) -> tuple[backends.NewLogger | None, list[Edit]]:
    """The new logger that targets need, and the edits that add it; None where it can't be added."""
    if not targets:
        return None, []
    backend = targets[0][1].backend
    limit = min(module.index_of(target.path) for target, _ in targets)
    problem = module.import_problem(backends.MODULES[backend])
    if not problem:
        reach = module.loggers.reaches(backend) if backend in ("stdlib", "structlog") else []
        levels = module.loggers.log_levels() if backend == "twisted" else []
        known, level = (
            next((entry.name for entry in found if entry.binding.index < limit), None) for found in (reach, levels)
        )
        again = module.loggers.module_origin(backends.MODULES[backend]) == backends.MODULES[backend]
        new = backends.new_logger(backend, module.free, known, level, again=again)
        edits = setup_edits(module, new, limit)
        if edits is not None and (not known or _stands_above(module, reach, known, edits)):
            return new, edits
        problem = "there is no line for a logger above the code that needs it"
    for target, _ in targets:
        made.refuse(target.finding, problem)
    return None, []


def _stands_above(module: Module, reach: list[Logger], known: str, edits: list[Edit]) -> bool:
    """Whether the import by which the backend is reached stands above the new logger's line."""
    index = next(entry.binding.index for entry in reach if entry.name == known)
    node = module.tree.body[index]
    return module.places.offset(node.lineno, node.col_offset) < min(edit.start for edit in edits)


def _set_up_level(
    module: Module, choices: list[tuple[Target, Choice]], made: Plan, new: backends.NewLogger | None
) -> tuple[str | None, list[Edit]]:
    """The name of Twisted's LogLevel for calls of loggers that the module has, and the edits that import it."""
    needy = [
        target
        for target, choice in choices
        if choice.backend == "twisted" and choice.name and not choice.level_name
        if _level(module, target) not in backends.UNLEVELLED
    ]
    if not needy:
        return None, []
    limit = min(module.index_of(target.path) for target in needy)
    name = module.free("LogLevel")
    if new and new.level_name == name:
        name = module.free("TwistedLogLevel")
    line = "from twisted.logger import " + ("LogLevel" if name == "LogLevel" else f"LogLevel as {name}")
    edits = setup_edits(module, backends.NewLogger("twisted", name, line), limit)
    return name, edits or []

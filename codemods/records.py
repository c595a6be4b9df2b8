"""The evidence that a handler leaves: records, prints, the exception handed on, and whether its traceback is kept."""

from __future__ import annotations

import ast
import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from .facts import facts_of
from .handlers import own_statements, raises
from .lazy import lazy_pattern
from .links import place_of
from .names import dotted, is_heard_call, is_log_call, last_name, own_nodes
from .scope import HandlerSite
from .settings import Settings

# Levels of log methods, as the numbers of the standard library's logging.
_NUMBERS = {
    5: ("trace",),
    10: ("debug",),
    20: ("info", "msg", "success", "notice", "emit"),
    30: ("warn", "warning"),
    40: ("error", "exception", "err", "failure"),
    50: ("critical", "fatal"),
}
LEVELS = {name: number for number, names in _NUMBERS.items() for name in names}
# What keeps the traceback, in a record or elsewhere.
_TRACES = lazy_pattern(
    r"exc_info|(?:format|print)_(?:exc|exception|tb)|extract_tb|excepthook|__traceback__|Failure|TracebackException|"
    r"showtraceback|exc_text|traceback"
)
_PRINTS = frozenset({"print", "echo", "secho", "pprint", "cprint", "rprint", "print_formatted_text"})
_STREAMS = lazy_pattern(r"(?:^|\.)_*(?:stdout|stderr)\.(?:write|print)$")
_EXITS = frozenset({"sys.exit", "os._exit", "os.abort", "exit", "quit"})
# Calls that make a text of the exception, or ask what it is, without handing it on.
_TEXTS = frozenset({"str", "repr", "format", "type", "isinstance", "getattr", "hasattr", "len", "text_type"})
_REPORTS = lazy_pattern(r"exc(?:eption)?(?:$|_|s$)|traceback|capture|report|raise|abort|fail|die|panic", re.I)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a handler tells, and whom.

    `levels` are those of its log records (None for an unknown one); `prints` says that it prints, `mentions` that a
    record or a print names the exception, `traced` that the traceback is kept, `handed` that the exception is raised,
    reported or passed on, `shown` that somebody hears of the failure in another way.
    """

    levels: tuple[int | None, ...]
    prints: bool
    mentions: bool
    traced: bool
    handed: bool
    shown: bool


def evidence(site: HandlerSite, settings: Settings) -> Evidence:
    """The evidence of a site's handler."""
    memo, key = site.scope.memo, ("evidence", id(site.handler))
    if key not in memo:
        memo[key] = _evidence(site, settings)
    return memo[key]


def _evidence(site: HandlerSite, settings: Settings) -> Evidence:
    nodes = list(own_nodes(own_statements(site.handler)))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    records = [call for call in calls if is_log_call(call, settings)]
    prints = [call for call in calls if is_print(call)]
    told = {id(part) for call in records + prints for part in ast.walk(call)}
    others = [call for call in calls if id(call) not in told and last_name(call.func) not in _TEXTS]
    heard = [call for call in others if is_heard_call(call, settings)]
    names = {last_name(node) for node in nodes if isinstance(node, (ast.Name, ast.Attribute))}
    uses = _Uses(site, told)
    return Evidence(
        levels=tuple(level_of(call) for call in records),
        prints=bool(prints),
        mentions=uses.told,
        traced=any(map(_TRACES.fullmatch, names)) or any(has_traceback(call) for call in records),
        handed=uses.handed or raises(site.handler) or any(_REPORTS.search(last_name(call.func)) for call in heard),
        shown=uses.text or bool(heard) or any(dotted(call.func) in _EXITS for call in calls),
    )


class _Uses:
    """Where a handler's exception goes: told in a record or a print, handed on, or made a text for something else."""

    def __init__(self, site: HandlerSite, told: set[int]) -> None:
        self.told = self.handed = self.text = False
        self._told, self._site = told, site
        if site.handler.name:
            for node in site.handler.body:
                self._note(node, site.handler.name, False)

    def _note(self, node: ast.AST, name: str, text: bool) -> None:
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
            if id(node) in self._told:
                self.told = True
            elif text:
                self.text = True
            else:
                self.handed = True
            return
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _is_text(node.value, name):
            self._follow(node.targets[0].id)
            return
        makes_text = isinstance(node, (ast.FormattedValue, ast.Attribute, ast.Compare, ast.BinOp)) or (
            isinstance(node, ast.Call) and last_name(node.func) in _TEXTS
        )
        for child in ast.iter_child_nodes(node):
            self._note(child, name, text or makes_text)

    def _follow(self, name: str) -> None:
        """A text of the exception under a name: where that is read."""
        site = self._site
        read = facts_of(site.scope, site.function or site.scope.tree).read.get(name, [])
        first, last = (site.handler.lineno, 0), (site.handler.end_lineno or site.handler.lineno, 1 << 30)
        self.text = self.text or bool(read and place_of(read[-1]) > last)
        for node in read[bisect_left(read, first, key=place_of) : bisect_right(read, last, key=place_of)]:
            if id(node) in self._told:
                self.told = True
            else:
                self.text = True


def _is_text(value: ast.expr, name: str) -> bool:
    """Whether an expression holds the name and is not the name itself."""
    return not isinstance(value, ast.Name) and any(
        isinstance(part, ast.Name) and part.id == name for part in ast.walk(value)
    )


def level_of(call: ast.Call) -> int | None:
    """The level of a log call by its method, or by the first argument of `log`; None where it is unknown."""
    method = last_name(call.func)
    if method != "log":
        return LEVELS.get(method)
    first = call.args[0] if call.args else None
    if isinstance(first, ast.Constant):
        return first.value if isinstance(first.value, int) else LEVELS.get(str(first.value).lower())
    return LEVELS.get(last_name(first).lower())


def has_traceback(call: ast.Call) -> bool:
    """Whether a log call records the traceback, or may: by method, by `exc_info`, by loguru's `opt(exception=...)`."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    info = given.get("exc_info", given.get("exception"))
    if info is not None:
        return not isinstance(info, ast.Constant) or bool(info.value)
    if last_name(call.func) in ("exception", "err", "failure") or None in given:
        return True
    receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(receiver, ast.Call) and last_name(receiver.func) == "opt" and has_traceback(receiver)


def is_print(call: ast.Call) -> bool:
    """Whether a call writes to the terminal: print, click's echo, a console's print, a write to stdout or stderr."""
    return last_name(call.func) in _PRINTS or _STREAMS.search(dotted(call.func) or "") is not None

"""Handlers that take a coroutine's cancellation: what they catch, where it comes from, and whether it goes on."""

from __future__ import annotations

import ast
import itertools
from bisect import bisect_right

from .cancellations import is_twisted, names_cancellation
from .context import comment_of, within
from .facts import Facts, awaits_within, facts_of
from .handlers import own_statements, raises, types_of
from .idioms import excuse
from .lazy import lazy_pattern
from .links import ENDS, keys, links_of, place_of
from .model import Severity
from .names import dotted, is_log_call, last_name, own_nodes
from .scope import NEAR, HandlerSite, Loop
from .settings import Settings
from .source import Source

# What the header of a handler must hold to catch a cancellation.
HEADER = lazy_pattern(rb"except\*?\s*:|\bBaseException\b|ancel")
NAMED = lazy_pattern(rb"\bBaseException\b|ancel")
_RENAMED = lazy_pattern(rb"ancel\w*+\s*+(?:as\b|[#\\])")
_DELIBERATE = frozenset({"cancelled", "cancelling", "uncancel", "cancelled_caught"})
_HANDS_ON = frozenset({"exc_info", "set_running_or_notify_cancel", "set_exception", "set_cancelled"})
_RERAISES = lazy_pattern(r"(?:^|_)(?:re)?raise(?:$|_)")
_FOR_EVER = lazy_pattern(r"^(?:serve|run)_(?:for_?ever|until_\w+)$|(?:^|_)loop$|^_?main$")
_COMMENT_WORD = lazy_pattern(r"\b[^\W\d_]{2,}\b|\ba\b")
_LAST_WORD = lazy_pattern(rb"\w+$")
_JUMPS = (ast.Raise, ast.Return, ast.Break, ast.Continue)
_EXITS = frozenset({"sys.exit", "os._exit", "exit", "quit"})


def may_rename(utf8: bytes) -> bool:
    """Whether an import of the file may give a cancellation another name."""
    return b"ancel" in utf8 and _RENAMED.search(utf8) is not None


def takes(handler_type: ast.expr | None, source: Source) -> bool:
    """Whether an `except` clause catches a cancellation: by name, by BaseException, or because it is bare."""
    types = types_of(handler_type)
    if any(names_cancellation(part, source) for part in types):
        return True
    return (handler_type is None or any(last_name(part) == "BaseException" for part in types)) and not is_twisted(
        source
    )


def swallows(site: HandlerSite, settings: Settings) -> bool:
    """Whether the handler ends a cancellation of its own coroutine: it takes it from an await and hands nothing on."""
    source = site.scope.source
    if not isinstance(site.function, ast.AsyncFunctionDef) or not takes(site.handler.type, source):
        return False
    earlier = site.try_.handlers[: site.try_.handlers.index(site.handler)]
    if any(takes(handler.type, source) for handler in earlier):
        return False
    waits = suspensions(site.try_.body)
    if not waits or _is_shielded(site) or hands_on(site, settings):
        return False
    awaited = {key for node in waits for key in _subjects(node)}
    if any(_waits_for(loop, awaited) for loop in site.inner if isinstance(loop, ast.While)):
        return False
    return not links_of(site.scope, site.function).is_cancelled(awaited, max(map(_arrives, waits)))


def suspensions(block: list[ast.stmt]) -> list[ast.AST]:
    """The places of a block at which a cancellation can arrive."""
    kinds = (ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Yield)
    return [
        node
        for node in own_nodes(block)
        if isinstance(node, kinds) or (isinstance(node, ast.comprehension) and node.is_async)
    ]


def hands_on(site: HandlerSite, settings: Settings) -> bool:
    """Whether the handler raises, exits, asks whose cancellation it is, or passes the exception to somebody."""
    handler = site.handler
    if raises(handler) or raised_after(site):
        return True
    told: set[int] = set()
    handed = False
    for node in own_nodes(own_statements(handler)):
        if isinstance(node, ast.Attribute) and node.attr in _DELIBERATE and isinstance(node.ctx, ast.Load):
            return True
        if isinstance(node, ast.Attribute) and node.attr in _HANDS_ON and id(node) not in told:
            return True
        if isinstance(node, ast.Call):
            if _RERAISES.search(last_name(node.func)) or dotted(node.func) in _EXITS or _cancels_itself(node):
                return True
            if is_log_call(node, settings) or last_name(node.func) in ("print", "echo", "warn"):
                told |= {id(part) for part in ast.walk(node)}
        if isinstance(node, ast.Name) and node.id == handler.name and isinstance(node.ctx, ast.Load):
            handed = handed or id(node) not in told
    return handed


def raises_nothing(handler: ast.ExceptHandler) -> bool:
    """Whether a handler raises nothing: one that does hands the cancellation on, whatever stands around it."""
    return not raises(handler)


def raised_after(site: HandlerSite) -> bool:
    """Whether something is raised after the handler in any case, or a cancellation under a condition."""
    last = own_statements(site.handler)[-1]
    if isinstance(last, ast.Return):
        return False
    outer = [node for node in site.inner if isinstance(node, ast.ExceptHandler)]
    if any(isinstance(node, ast.Raise) for handler in outer for node in handler.body):
        return True
    if isinstance(last, (ast.Break, ast.Continue)):
        return False
    jump = next((node for node in site.following if isinstance(node, _JUMPS)), None)
    if isinstance(jump, ast.Raise):
        return True
    later = _facts(site).raises
    after = bisect_right(later, (site.handler.end_lineno or site.handler.lineno, 0), key=place_of)
    return any(_raises_cancellation(node, site.scope.source) for node in later[after : after + NEAR])


def _facts(site: HandlerSite) -> Facts:
    return facts_of(site.scope, site.function or site.scope.tree)


def _cancels_itself(call: ast.Call) -> bool:
    """Whether a call is `current_task().cancel()`."""
    func = call.func
    if not isinstance(func, ast.Attribute) or func.attr != "cancel" or not isinstance(func.value, ast.Call):
        return False
    return last_name(func.value.func) == "current_task"


def _raises_cancellation(node: ast.Raise, source: Source) -> bool:
    """Whether a raise is one of a cancellation by name."""
    return node.exc is not None and names_cancellation(node.exc, source)


def _is_shielded(site: HandlerSite) -> bool:
    """Whether the awaits stand under `CancelScope(shield=True)`, where no cancellation arrives."""
    inside = [*site.inner, *site.try_.body[:1]] if len(site.try_.body) == 1 else site.inner
    items = [item for node in inside if isinstance(node, (ast.With, ast.AsyncWith)) for item in node.items]
    for item in items:
        call = item.context_expr
        for keyword in call.keywords if isinstance(call, ast.Call) else ():
            if keyword.arg == "shield" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True:
                return True
    return False


def _waits_for(loop: ast.While, awaited: set[str]) -> bool:
    """Whether a loop is a wait that can't be cancelled on purpose: it ends when what is awaited in it is done."""
    calls = [node for node in ast.walk(loop.test) if isinstance(node, ast.Call) and last_name(node.func) == "done"]
    return any(isinstance(call.func, ast.Attribute) and keys(call.func.value) & awaited for call in calls)


def _arrives(node: ast.AST) -> tuple[int, int]:
    """The place by which a suspension waits: the end of what is awaited, else where it starts."""
    if isinstance(node, ast.Await):
        return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
    return place_of(node)


def _subjects(node: ast.AST) -> set[str]:
    """The names of what is waited for at a suspension, receivers of awaited methods too."""
    if isinstance(node, ast.AsyncWith):
        return {key for item in node.items for key in keys(item.context_expr)}
    value = node.iter if isinstance(node, (ast.AsyncFor, ast.comprehension)) else node.value
    receiver = value.func.value if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) else None
    return keys(value) | keys(receiver)


def judge(site: HandlerSite) -> tuple[Severity, tuple[str, ...]]:
    """How much a swallowed cancellation matters: high where the coroutine works on, low where it ends anyway."""
    level, reason = _judge(site)
    if level != "low" and is_explained(site):
        return ("medium" if level == "high" else "low"), (reason, "a comment says why")
    return level, (reason,)


def is_explained(site: HandlerSite) -> bool:
    """Whether a comment in the handler says something: three words at least, so no mere mark."""
    return len(_COMMENT_WORD.findall(comment_of(site))) >= 3


def _judge(site: HandlerSite) -> tuple[Severity, str]:
    last = own_statements(site.handler)[-1]
    if excuse(site) or _tells(site.handler):
        return "low", "the failure is made visible in another way"
    if within(site) == "finally":
        return "low", "an exception that is on its way goes on after the finally"
    stored = _stored(site)
    if stored & _cancelled_in(site.scope.source):
        return "low", "it waits for the end of what the file cancels elsewhere"
    if isinstance(last, ast.Return):
        if last.value is not None and not (isinstance(last.value, ast.Constant) and last.value.value is None):
            return "medium", "the caller gets a value as if the coroutine had run to its end"
    elif site.in_loop and not isinstance(last, ast.Break) and not _stops_loop(site):
        return ("medium" if stored else "high"), "the loop goes on although its task was cancelled"
    elif any(_works(node, site) for node in awaits_within(_facts(site), site.following)):
        return ("medium" if stored else "high"), "the coroutine goes on to await although its task was cancelled"
    if site.in_loop or _never_ends(site):
        return "low", "the loop of the task ends with its cancellation"
    return "medium", "the coroutine ends as if it had not been cancelled"


def _tells(handler: ast.ExceptHandler) -> bool:
    """Whether the handler returns or sets a text that tells of a cancellation."""
    values = [node.value for node in handler.body if isinstance(node, (ast.Return, ast.Assign)) and node.value]
    parts = [part for value in values for part in ast.walk(value) if isinstance(part, ast.Constant)]
    return any(isinstance(part.value, str) and "cancel" in part.value.lower() for part in parts)


def _stored(site: HandlerSite) -> set[str]:
    """The last parts of the names under which the tasks or futures are kept that the try does nothing but wait for."""
    found: set[str] = set()
    for node in suspensions(site.try_.body):
        value = node.value if isinstance(node, ast.Await) else None
        while isinstance(value, ast.Call) and last_name(value.func) in ("wait_for", "shield", "wait") and value.args:
            value = value.args[0]
        if not (name := dotted(value)):
            return set()
        found.add(name.rpartition(".")[2])
    return found


def _cancelled_in(source: Source) -> frozenset[str]:
    """The last parts of the names that a file cancels by `.cancel`, wherever."""
    if "cancelled" not in source.__dict__:
        parts = source.utf8.split(b".cancel")
        words = (_LAST_WORD.search(part[-80:]) for part, after in itertools.pairwise(parts) if not after[:1].isalnum())
        source.__dict__["cancelled"] = frozenset(word[0].decode("utf-8", "replace") for word in words if word)
    return source.__dict__["cancelled"]


def _works(node: ast.AST, site: HandlerSite) -> bool:
    """Whether an await is one of something else than clean-up."""
    called = node.value.func if isinstance(node, ast.Await) and isinstance(node.value, ast.Call) else None
    if ENDS.search(last_name(called)):
        return False
    function = site.function or site.scope.tree
    return not links_of(site.scope, function).is_cancelled(_subjects(node), place_of(node))


def _stops_loop(site: HandlerSite) -> bool:
    """Whether the handler sets what the loop around it asks for."""
    loop = next(node for node in reversed(site.inner) if isinstance(node, Loop))
    if not isinstance(loop, ast.While):
        return False
    asked = keys(loop.test)
    targets = [node for node in own_nodes(site.handler.body) if isinstance(node, (ast.Name, ast.Attribute))]
    return any(isinstance(node.ctx, ast.Store) and dotted(node) in asked for node in targets)


def _never_ends(site: HandlerSite) -> bool:
    """Whether the try holds an endless loop, or waits for ever, as the body of a background task does."""
    for node in own_nodes(site.try_.body):
        if isinstance(node, (ast.While, ast.AsyncFor)):
            return True
        if isinstance(node, ast.Attribute) and (node.attr == "inf" or _FOR_EVER.search(node.attr)):
            return True
    return site.function is not None and _FOR_EVER.search(site.function.name) is not None

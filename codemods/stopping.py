"""Handlers that take the signals which end a program or a generator: do they go on as if nothing had happened?"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from .cancelling import is_explained, raised_after
from .context import within, words
from .facts import facts_of, yields_within
from .handlers import caught, own_statements, shape_of
from .idioms import excuse
from .lazy import lazy_pattern
from .links import ENDS
from .model import Severity
from .names import dotted, last_name, own_nodes
from .scope import Function, HandlerSite, Loop

# What the header of a handler must hold to catch one of the signals by name.
HEADER = lazy_pattern(rb"\b(?:KeyboardInterrupt|SystemExit|GeneratorExit|BaseException)\b")
_YIELDS = (ast.Yield, ast.YieldFrom)
_ALL = frozenset({"KeyboardInterrupt", "SystemExit", "GeneratorExit", "BaseException"})
# Calls that run a program's main loop, wait for somebody else, or talk to the user: Ctrl-C is the way to end them.
_MAIN = lazy_pattern(
    r"main|run|serve|start|loop|mainloop|cli|app|exec|execute|wait|join|communicate|sleep|poll|select|listen|accept|"
    r"pause|call|dispatch|cmdloop|interact|embed|shell|console|monitor|watch|follow|tail|print|write|server|boot|launch|"
    r"daemon|worker|command|program|entry|entrypoint|script|target"
)
_ASKS = lazy_pattern(
    r"input|prompt|readline|getpass|getkey|getche?|getraw|confirm|ask|cmdloop|interact|key|choice|editor"
)
_WAITS = lazy_pattern(r"wait|communicate|join")
_SHELLS = lazy_pattern(r"interact|embed|shell|console")
_PARSES = frozenset({"parse_args", "parse_known_args", "parse_intermixed_args"})
_FAILURE = lazy_pattern(r"err(?:or)?(?:$|_|s$)|fail", re.I)
_ON_PURPOSE = lazy_pattern(r"ignore|suppress|swallow|without_interrupt|uninterrupt", re.I)


def stopped(site: HandlerSite) -> str | None:
    """The signal that a silent handler swallows: KeyboardInterrupt, SystemExit, GeneratorExit, or None.

    An interrupt may quietly end a main loop, `main`, a wait or a dialogue; an exit may come from a command line that
    was reported as wrong; a closed generator may return.
    """
    earlier = site.try_.handlers[: site.try_.handlers.index(site.handler)]
    taken = {signal for handler in earlier for signal in (_signals(handler) if handler.type else _ALL)}
    names = set() if "BaseException" in taken else _signals(site.handler) - taken
    if names & {"GeneratorExit", "BaseException"} and "GeneratorExit" not in taken and _yields_again(site):
        return "GeneratorExit"
    if not names & {"KeyboardInterrupt", "SystemExit"} or not _is_silent(site):
        return None
    if raised_after(site) or _is_asked_later(site) or says_failure(site):
        return None
    called = _called(site)
    if "KeyboardInterrupt" in names:
        return None if _may_interrupt(site, called) else "KeyboardInterrupt"
    return None if _may_exit(site, called) else "SystemExit"


def _signals(handler: ast.ExceptHandler) -> set[str]:
    """The signals, or their base, that a handler names."""
    return {name.rpartition(".")[2] for name in caught(handler.type)} & _ALL


def judge(site: HandlerSite, signal: str) -> tuple[Severity, tuple[str, ...]]:
    """High where a loop or generator goes on, low where a comment says why or clean-up is under way, else medium."""
    if is_explained(site):
        return "low", ("a comment says why",)
    if within(site) or (site.function is not None and ENDS.search(site.function.name)):
        return "low", ("it stands in clean-up code",)
    if signal == "GeneratorExit":
        return "high", ("the generator yields again after it was closed, which is a RuntimeError",)
    if site.in_loop and not _leaves_loop(site):
        return "high", ("the loop goes on although the program was told to end",)
    return "medium", ("the program goes on although it was told to end",)


def _is_silent(site: HandlerSite) -> bool:
    return shape_of(site.handler, broad=True) != "acts" and excuse(site) is None


def _yields_again(site: HandlerSite) -> bool:
    """Whether the handler is silent, takes what is thrown at a yield, and its generator yields again."""
    if not any(isinstance(node, _YIELDS) for node in own_nodes(site.try_.body)) or raised_after(site):
        return False
    if yields(site.handler):
        return not any(isinstance(node, ast.Raise) for node in own_nodes(site.handler.body))
    if not _is_silent(site):
        return False
    last = own_statements(site.handler)[-1]
    if isinstance(last, ast.Return):
        return False
    if site.in_loop and not _leaves_loop(site):
        return True
    return site.function is not None and yields_within(facts_of(site.scope, site.function), site.following)


def yields(handler: ast.ExceptHandler) -> bool:
    """Whether a handler yields, which is all that one that acts can be reported for."""
    return any(isinstance(node, _YIELDS) for node in own_nodes(own_statements(handler)))


def _leaves_loop(site: HandlerSite) -> bool:
    return isinstance(own_statements(site.handler)[-1], (ast.Break, ast.Return))


def _called(site: HandlerSite) -> set[str]:
    """The words of the names that the try calls, and the names themselves."""
    return {
        word
        for node in own_nodes(site.try_.body)
        if isinstance(node, ast.Call)
        for word in (last_name(node.func).lower(), *words(last_name(node.func)))
    }


def _may_interrupt(site: HandlerSite, called: set[str]) -> bool:
    """Whether Ctrl-C may quietly end what the try does."""
    names = [node.name for node in site.path if isinstance(node, Function)]
    if _any(_ASKS, called) or _any(_WAITS, called) or any(_ON_PURPOSE.search(name) for name in names):
        return True
    in_main = site.function is None or _any(_MAIN, words(site.function.name))
    if site.in_loop and not _leaves_loop(site):
        return in_main and _any(_MAIN, called) and _sets_flag_of_loop(site)
    if within(site) or _any(_MAIN, called) or any(isinstance(node, Loop) for node in own_nodes(site.try_.body)):
        return True
    return in_main


def _sets_flag_of_loop(site: HandlerSite) -> bool:
    """Whether the try sets, to True or False, what the `while` around it asks for: so that loop ends, Ctrl-C or not."""
    loop = next(node for node in reversed(site.inner) if isinstance(node, Loop))
    asked = {dotted(part) for part in ast.walk(loop.test)} if isinstance(loop, ast.While) else set()
    return any(
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, bool)
        and any(_stored(target) in asked for target in node.targets)
        for node in own_nodes([*site.try_.body, *site.try_.finalbody])
    )


def _may_exit(site: HandlerSite, called: set[str]) -> bool:
    """Whether an exit is no news: of a parser that told the user, of an interactive shell, of a loop that ends."""
    if called & _PARSES or _any(_SHELLS, called):
        return True
    return any(isinstance(node, ast.While) for node in own_nodes(site.try_.body)) and not site.in_loop


def _any(pattern: re.Pattern[str], found: Iterable[str]) -> bool:
    """Whether one of the words is of a pattern, as a whole."""
    return any(map(pattern.fullmatch, found))


def _is_asked_later(site: HandlerSite) -> bool:
    """Whether the handler sets a flag that a later condition of the function, or of its loop, looks at."""
    flags = {name for node in own_nodes(site.handler.body) if (name := _stored(node))}
    if site.function is None or not flags:
        return False
    facts = facts_of(site.scope, site.function)
    loops = [node.test for node in site.inner if isinstance(node, ast.While)]
    return any(facts.is_asked_after(flag, site.handler.lineno) for flag in flags) or any(
        dotted(part) in flags for test in loops for part in ast.walk(test)
    )


def _stored(node: ast.AST) -> str | None:
    """The name under which a node stores something, that of the container for an item."""
    if not isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) or not isinstance(node.ctx, ast.Store):
        return None
    return dotted(node.value if isinstance(node, ast.Subscript) else node)


def says_failure(site: HandlerSite) -> bool:
    """Whether the handler tells of the failure by its value: a non-zero code or a name that says error."""
    values = [node.value for node in site.handler.body if isinstance(node, (ast.Return, ast.Assign))]
    after = next((node for node in site.following if isinstance(node, ast.Return)), None)
    if not values and after is not None:
        values.append(after.value)
    return any(map(_is_failure, values))


def _is_failure(value: ast.expr | None) -> bool:
    if isinstance(value, ast.UnaryOp):
        value = value.operand
    if isinstance(value, ast.Constant):
        return type(value.value) is int and value.value != 0
    return _FAILURE.search(last_name(value)) is not None

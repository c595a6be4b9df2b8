"""How surely a failure is lost that matters: high, medium or low, with the reasons.

Each sign of `signals` has two weights, in tenths of a logit: one for "there is a case at all", one for "a clear case".
They were fitted by logistic regression to handlers of real packages that readers labelled (`tests/accuracy`), and
judged on others; the last column is what a person is told, where the sign speaks for itself.
"""

from __future__ import annotations

from .model import Severity
from .scope import HandlerSite
from .signals import signs_of

# Sums at and above which a handler is shown, and shown among the worst.
_SHOWN, _WORST = -2, -6
_BASE = (-6, -16)

_WEIGHTS: dict[str, tuple[int, int, str | None]] = {
    "acted_on": (4, 4, "the value set here decides what is done next"),
    "asks": (7, 9, None),
    "async": (1, -3, None),
    "awaits": (2, 3, "awaits other work"),
    "bare": (2, 1, None),
    "base": (-6, -5, None),
    "calls0": (-12, -15, "nothing is called"),
    "calls1": (4, 3, None),
    "calls3": (5, 4, None),
    "calls9": (4, 8, "many calls are guarded"),
    "calls_back": (4, 7, "calls back into code given by others"),
    "calls_super": (11, 15, "the base class is called"),
    "cleans": (5, 3, "clean-up is skipped half way"),
    "comment": (-1, 2, None),
    "comment_explains": (1, 6, None),
    "comment_long": (-1, -7, "a comment explains it"),
    "comment_todo": (2, 6, "a comment says that this is unfinished"),
    "comment_told": (-9, -9, "a comment says that somebody hears of it"),
    "comment_very_long": (0, -3, None),
    "commits": (3, 5, "saves, commits, sends or deletes"),
    "converts_itself": (-8, -10, "a value is converted in place"),
    "counts": (-5, 4, "counts"),
    "deletes": (10, 16, "deletes something"),
    "display": (-1, -6, "display code"),
    "doc_fallback": (-1, -4, "the docstring tells of a fallback"),
    "else": (-14, -14, "the good case has a branch of its own"),
    "error_class": (2, 1, None),
    "error_given": (-10, -12, "an error is being dealt with"),
    "error_name": (-7, -7, "the name it is stored under tells of an error"),
    "error_value": (-20, -19, "the value says that something is wrong"),
    "falls_through": (-3, -1, "another way is tried next"),
    "far": (3, 6, None),
    "flag_name": (-11, -9, None),
    "for_closing": (3, -1, None),
    "for_environment": (-1, -5, "asks about the environment"),
    "for_getting": (4, 5, "the function is there to get this data"),
    "for_loading": (4, 3, "the function is there to load this data"),
    "for_reporting": (-9, -5, "part of a report"),
    "for_text": (-6, -3, "makes a text for display"),
    "for_trying": (-7, -4, "the name says that this may fail"),
    "for_writing": (5, 6, "the function is there to change something"),
    "gets_number": (6, 12, "a number is computed"),
    "imports": (0, -4, "optional import"),
    "in_del": (1, -8, "clean-up at the end of an object"),
    "in_finally": (0, -7, "clean-up"),
    "in_handler": (-14, -2, "a first failure is being handled"),
    "in_init": (1, 0, None),
    "in_loop": (3, 8, "an item of a loop is skipped"),
    "in_main": (-1, 1, None),
    "in_test": (-3, 0, "test code"),
    "last": (5, 6, "nothing after it tells of the failure"),
    "looked_at": (-5, -2, "the value set here is looked at later"),
    "loop_then_heard": (-11, -12, "what follows the loop tells of it"),
    "loops": (2, 4, "the rest of a loop is lost"),
    "measures": (4, 2, None),
    "module_level": (-11, -1, "runs at import"),
    "network": (7, 9, "asks a network, a database or another party"),
    "one_of_several": (-2, -1, "a catch-all behind named handlers"),
    "only_cleans": (2, -11, "best-effort clean-up"),
    "only_converts": (-5, -5, "a plain conversion or lookup"),
    "only_imports": (-5, -1, "optional import"),
    "optional": (-4, -2, "the annotation says that there may be no result"),
    "parses": (3, 6, "reads or parses data"),
    "predicate": (-10, -5, "answers a yes or no question"),
    "private": (-2, -4, None),
    "probes": (-6, -9, "a probe"),
    "procedure": (-1, -8, None),
    "raises": (-6, -7, "raises to itself"),
    "raises_later": (-15, -10, "what comes later raises"),
    "remote": (3, 6, "works on a connection, a session or a client"),
    "replaces": (6, 7, None),
    "result_tested": (-8, -9, "the callers look at the result"),
    "returns": (-10, -10, None),
    "returns_empty": (12, 15, "an empty result passes for a good one"),
    "returns_false": (-12, -10, "False says that it failed"),
    "returns_literal": (-7, -4, None),
    "returns_name": (2, 4, "another value passes for the result"),
    "returns_none": (5, 5, "None passes for a good result"),
    "returns_number": (1, 1, None),
    "returns_text": (0, -4, None),
    "returns_true": (-2, -3, None),
    "returns_zero": (9, 5, "0 passes for a good result"),
    "sets_dunder": (-10, -5, "sets an attribute for display"),
    "sets_empty": (8, 8, "an empty value passes for a good one"),
    "sets_false": (9, 7, "False passes for a good value"),
    "sets_name": (-7, -8, "another value stands in"),
    "sets_none": (5, 3, "None passes for a good value"),
    "sets_number": (-7, -6, "a number stands in"),
    "sets_text": (-6, 0, "a text stands in"),
    "sets_true": (-10, -7, "True stands in"),
    "sets_zero": (3, 2, "0 passes for a good value"),
    "shape_assign": (-5, -4, None),
    "shape_break": (-5, -7, None),
    "shape_continue": (6, 4, "the rest of the item is skipped"),
    "shape_empty": (2, -3, None),
    "shape_mixed": (5, 7, None),
    "shape_return": (-2, 2, None),
    "shows": (0, 3, None),
    "siblings_heard": (5, 12, "the other handlers tell, this one does not"),
    "size1": (-2, -1, None),
    "size15": (5, 0, "many statements are guarded"),
    "size3": (-3, 1, None),
    "stores": (7, 7, "state is left half set"),
    "system": (-5, -7, "asks the system"),
    "telemetry": (1, -3, "telemetry"),
    "tests": (-4, -1, "test or example code"),
    "then_raises": (-9, -2, "what comes next raises"),
    "then_returns": (-3, -3, None),
    "then_tries": (-2, 7, None),
    "tiny": (-9, -3, "a small conversion or lookup"),
    "tools": (-2, -6, None),
    "withs": (3, 1, "works with a resource"),
    "work1": (5, 8, None),
    "work2": (4, 5, "the guarded code does real work"),
    "work3": (8, 8, "the guarded code does much"),
    "writes": (6, 7, "writes or changes something"),
}


def judge(site: HandlerSite) -> tuple[Severity, tuple[str, ...]]:
    """The severity of a silent handler, and the weightiest reasons for it, three at most."""
    known = [_WEIGHTS[sign] for sign in sorted(signs_of(site)) if sign in _WEIGHTS]
    case = _BASE[0] + sum(row[0] for row in known)
    clear = _BASE[1] + sum(row[1] for row in known)
    if case < _SHOWN:
        return "low", _reasons([(-row[0], row[2]) for row in known])
    if clear < _WORST:
        return "medium", _reasons([(row[0], row[2]) for row in known])
    return "high", _reasons([(row[0] + row[1], row[2]) for row in known])


def _reasons(weighed: list[tuple[int, str | None]]) -> tuple[str, ...]:
    """The texts of the heaviest signs that speak for the verdict, each once."""
    told = dict.fromkeys(text for weight, text in sorted(weighed, key=lambda pair: -pair[0]) if text and weight > 0)
    return tuple(told)[:3]

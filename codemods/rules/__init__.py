"""The rules, one file each: a module `unhNNN_name.py` that holds one `RULE`. Found by walking this package."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from ..model import Severity
from ..scope import HandlerSite, Scope
from ..settings import Settings

if TYPE_CHECKING:
    from ..hushes import Hush, Hushes


@dataclass(slots=True)
class Match:
    """What a rule found: the node to blame with the path that leads to it, and what the finding will say."""

    node: ast.AST
    path: tuple[ast.AST, ...]
    message: str
    severity: Severity
    reasons: tuple[str, ...] = ()
    caught: tuple[str, ...] = ()
    shape: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `doc` is its documentation in the fixed order of headings; `good` and `bad` are whole modules.

    kind "handler": `match(site, settings)` returns a Match or None. kind "scope": `match(scope, settings)` yields
    Matches; a handler rule whose subject also stands outside handlers has such a matcher in `match_scope`. kind
    "comment": `match(hush, hushes)` returns what the finding about one of unhush's own comments says, or None. Of the
    rules that blame the same node the one with the lowest `priority` wins, see `winners`. `fix` names how the fixer
    rewrites a finding: log (insert a log call), suppress (with suppress to try/except and log), exc_info (add it to
    the call), reraise, level, comment (take it out), or None.

    What the screen may trust: a handler rule reports only handlers of its `breadths`, in whose header (`except` to
    its colon) the pattern `header` is found, and only silent ones (`shape` is not "acts") unless `acting`; `alone` may
    rule out one that acts, by its own tree, whatever stands around it. A scope
    matcher has nothing to say where the file's text holds none of its `triggers`, nor about a scope that holds none
    of the offsets that `places(utf8)` yields; without `places` these are all places of the triggers. Neither has
    anything to say of files that hold none of the rule's `words`.
    """

    code: str
    name: str
    summary: str
    default: bool
    kind: Literal["handler", "scope", "comment"]
    match: (
        Callable[[HandlerSite, Settings], Match | None]
        | Callable[[Scope, Settings], Iterator[Match]]
        | Callable[[Hush, Hushes], str | None]
    )
    doc: str
    bad: tuple[str, ...]
    good: tuple[str, ...]
    fix: Literal["log", "suppress", "exc_info", "reraise", "level", "comment"] | None = None
    priority: int = 50
    breadths: tuple[str, ...] = ("bare", "broad", "narrow")
    header: re.Pattern[bytes] | None = None
    words: tuple[bytes, ...] = ()
    acting: bool = False
    alone: Callable[[ast.ExceptHandler], bool] | None = None
    match_scope: Callable[[Scope, Settings], Iterator[Match]] | None = None
    triggers: tuple[bytes, ...] = ()
    places: Callable[[bytes], Iterable[int]] | None = None
    options: tuple[str, ...] = field(default=())

    @property
    def scope_match(self) -> Callable[[Scope, Settings], Iterator[Match]] | None:
        """The matcher that is asked about whole scopes, if the rule has one."""
        return self.match if self.kind == "scope" else self.match_scope  # type: ignore[return-value]


def winners(found: Iterable[tuple[Rule, Match]]) -> list[tuple[Rule, Match]]:
    """One match for each node that is to blame: of several rules the most specific wins.

    Family 4 (evidence lost although handled) is a race of its own: it may stand beside another family's finding.
    """
    best: dict[tuple[int, bool], tuple[Rule, Match]] = {}
    for rule, match in found:
        key = (id(match.node), rule.code.startswith("UNH4"))
        if key not in best or rule.priority < best[key][0].priority:
            best[key] = (rule, match)
    return list(best.values())


@cache
def all_rules() -> dict[str, Rule]:
    """Every rule by code, in order of code."""
    names = sorted(name[:-3] for name in os.listdir(__path__[0]) if name.startswith("unh") and name.endswith(".py"))
    rules = [import_module(f".{name}", __package__).RULE for name in names]
    return {rule.code: rule for rule in rules}


def default_codes() -> frozenset[str]:
    """The codes that are selected when nothing is said."""
    return frozenset(code for code, rule in all_rules().items() if rule.default)

"""The screen: which places of a file the selected rules have to look at, told from its bytes alone.

It may let through too much, never too little: what the bytes do not settle is parsed, first the handler's own text,
then (by `pieces`) the function around it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from . import handlers
from .aliases import BROAD_NAME, broad_aliases
from .lazy import lazy_pattern
from .parsing import ParseFailure, parse_text
from .patterns import FIRST, HEADER, NEXT_LINE, lower_line
from .rules import Rule, all_rules
from .scope import Try
from .source import Source
from .strings import long_strings_of

_NAME = lazy_pattern(rb"\w+")
_BEFORE = frozenset(b" \t\f\n")
_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_" + bytes(range(0x80, 0x100))
_INDENT = 200  # bytes that an indentation hardly exceeds: no more are looked at before each of many `except` in a line
_FEW = 20  # handlers that are parsed on their own before it is looked at which ones lie in a string
_MOST_HEADERS = 20_000
OWN_WORD = b"unhush:"  # which each of unhush's own comments holds


class Fit(NamedTuple):
    """The rules that a header lets through: whether there are any, those for handlers that act, whether one takes all."""

    any: bool
    acting: tuple[Rule, ...]
    at_once: bool


# What a header lets through where its types are what they seem, and where one of them is another name of Exception.
Verdicts = tuple[Fit, Fit]


@dataclass(frozen=True, slots=True)
class Plan:
    """The selected rules, in order of priority, and the words without which none of them has anything to say."""

    handler_rules: tuple[Rule, ...]
    scope_rules: tuple[Rule, ...]
    words: tuple[bytes, ...]
    comment_rules: tuple[Rule, ...] = ()
    verdicts: dict[tuple[str, ...], dict[bytes, Verdicts]] = field(default_factory=dict)


@dataclass(slots=True)
class Candidates:
    """What a file's bytes leave to be looked at: offsets of `except` keywords, and of each scope rule's places."""

    handlers: list[int] = field(default_factory=list)
    places: list[tuple[Rule, list[int]]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.handlers or self.places)


@cache
def plan_for(select: frozenset[str]) -> Plan:
    """The plan of a selection of rule codes."""
    chosen = sorted((rule for code, rule in all_rules().items() if code in select), key=lambda rule: rule.priority)
    by_handler = tuple(rule for rule in chosen if rule.kind == "handler")
    by_scope = tuple(rule for rule in chosen if rule.scope_match)
    by_comment = tuple(rule for rule in chosen if rule.kind == "comment")
    words = [word for rule in by_scope for word in rule.words or rule.triggers] + [OWN_WORD] * bool(by_comment)
    return Plan(by_handler, by_scope, tuple(dict.fromkeys([b"except"] * bool(by_handler) + words)), by_comment)


def may_match(data: bytes, plan: Plan) -> bool:
    """Whether a file's raw bytes hold any word that a selected rule needs. Most files end here."""
    for word in plan.words:  # noqa: SIM110 - a generator costs more than the search, for every file
        if word in data:
            return True
    return False


def screen(source: Source, plan: Plan) -> Candidates:
    """What the selected rules have to look at in a file."""
    utf8 = source.utf8
    found = Candidates()
    known: dict[bytes, bool] = {}
    if plan.handler_rules and b"except" in utf8:
        live = [rule for rule in plan.handler_rules if not rule.words or _holds(utf8, rule.words, known)]
        found.handlers = list(_handlers(source, plan, live))
    seen: dict[object, list[int]] = {}
    for rule in plan.scope_rules:
        if (not rule.words or _holds(utf8, rule.words, known)) and _holds(utf8, rule.triggers, known):
            key = rule.places or rule.triggers
            if key not in seen:
                seen[key] = sorted(set(_places(rule, utf8)))
            if seen[key]:
                found.places.append((rule, seen[key]))
    return found


def _holds(utf8: bytes, words: tuple[bytes, ...], known: dict[bytes, bool]) -> bool:
    """Whether a text holds one of the words; `known` keeps the answers."""
    for word in words:
        if word not in known:
            known[word] = word in utf8
        if known[word]:
            return True
    return False


def _places(rule: Rule, utf8: bytes) -> Iterator[int]:
    """The offsets about which a scope rule may have something to say."""
    if rule.places is not None:
        yield from rule.places(utf8)
        return
    for word in rule.triggers:
        at = utf8.find(word)
        while at >= 0:
            yield at
            at = utf8.find(word, at + 1)


def _handlers(source: Source, plan: Plan, live: list[Rule]) -> Iterator[int]:
    """The offsets of the `except` keywords whose handler one of the live rules has to look at."""
    utf8 = source.utf8
    verdicts = plan.verdicts.setdefault(tuple(rule.code for rule in live), {})
    if len(verdicts) > _MOST_HEADERS:
        verdicts.clear()
    parsed = 0
    for at in _excepts(utf8):
        header = HEADER.match(utf8, at)
        if header is None:
            yield at
            continue
        text = header[0]
        if text not in verdicts:
            verdicts[text] = _verdicts(text, header[1], live)
        fit, aliased = verdicts[text]
        if not aliased.any:
            continue
        silent = _is_silent_at_once(utf8, header)
        if fit is not aliased and (silent is not False or aliased.acting) and _is_aliased(header[1], source):
            fit = aliased
        if not fit.any or (silent is False and not fit.acting):
            continue
        if silent or fit.at_once:
            yield at
            continue
        parsed += 1
        if parsed > _FEW and (strings := long_strings_of(source)) and strings.end_around(at):
            continue
        if _may_be_any(_alone(utf8, header), silent, fit.acting):
            yield at


def _excepts(utf8: bytes) -> Iterator[int]:
    """The offsets of the `except` that begin a line."""
    find = utf8.find
    at = find(b"except", 1)
    while at >= 0:
        if utf8[at - 1] in _BEFORE and utf8[at + 6 : at + 7] not in _LETTERS:
            near = utf8[max(at - _INDENT, 0) : at].rpartition(b"\n")
            if not near[2].strip() and (near[1] or not utf8[utf8.rfind(b"\n", 0, at) + 1 : at].strip()):
                yield at
        at = find(b"except", at + 6)


def _verdicts(header: bytes, types: bytes, rules: list[Rule]) -> Verdicts:
    """What lets a handler with a header through: as it stands, and if a name were Exception's."""
    rules = [rule for rule in rules if rule.header is None or rule.header.search(header)]
    if not types.strip(b"* \t\n"):
        bare = _fit({"bare"}, rules)
        return bare, bare
    broad = _fit({"broad", "narrow"}, rules)
    return broad if BROAD_NAME.search(types) else _fit({"narrow"}, rules), broad


def _fit(breadths: set[str], rules: list[Rule]) -> Fit:
    found = [rule for rule in rules if not breadths.isdisjoint(rule.breadths)]
    acting = tuple(rule for rule in found if rule.acting)
    return Fit(bool(found), acting, any(rule.alone is None for rule in acting))


def _is_aliased(types: bytes, source: Source) -> bool:
    """Whether one of a header's names is another name of Exception in this file."""
    aliases = broad_aliases(source)
    return bool(aliases) and any(name.decode() in aliases for name in _NAME.findall(types))


def _is_silent_at_once(utf8: bytes, header: re.Match[bytes]) -> bool | None:
    """Whether a handler may be silent by shape, as its first statement tells, or None where that does not tell."""
    first = FIRST.match(utf8, header.end())
    if first is None:
        return None
    if first[2]:
        rest = NEXT_LINE.match(utf8, first.end())
        column = header.start() - utf8.rfind(b"\n", 0, header.start()) - 1
        return True if rest and len(rest[1]) <= column else None
    return first[1] is not None


def _may_be_any(handler: ast.ExceptHandler | None, silent: bool | None, acting: tuple[Rule, ...]) -> bool:
    """Whether a handler, seen alone, may be silent by shape, unless that is known, or of interest though it acts."""
    if handler is None or (silent is None and handlers.shape_of(handler, broad=True) != "acts"):
        return True
    return any(rule.alone is None or rule.alone(handler) for rule in acting)


def _alone(utf8: bytes, header: re.Match[bytes]) -> ast.ExceptHandler | None:
    """A handler parsed from its own text, or None where what its indentation tells is not just a handler.

    A text that is cut short, within a string or brackets, does not parse.
    """
    start = utf8.rfind(b"\n", 0, header.start()) + 1
    indent = utf8[start : header.start()]
    cut = lower_line(len(indent)).search(utf8, header.end())
    text = utf8[start : cut.start() + 1 if cut else len(utf8)]
    try:
        body = parse_text((b"if 1:\n" if indent else b"") + indent + b"try: pass\n" + text).body
    except ParseFailure:
        return None
    if indent and len(body) == 1:
        body = body[0].body  # type: ignore[attr-defined]
    if len(body) != 1 or not isinstance(body[0], Try) or len(body[0].handlers) != 1:
        return None
    return body[0].handlers[0]

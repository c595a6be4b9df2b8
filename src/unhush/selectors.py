"""Turns what a user writes for rules (codes, families, names, presets) into a set of rule codes."""

from __future__ import annotations

from collections.abc import Iterable

from .codemods.rules import all_rules, default_codes

PRESETS = ("ALL", "default", "strict")


class UnknownRule(Exception):
    """A selector that names no rule; the text is one line that says so, with the nearest valid one."""


def codes_for(selector: str) -> frozenset[str]:
    """The rule codes that one selector stands for.

    A selector is a code (`UNH102`), the beginning of codes (`UNH1`: a family), a rule's name
    (`silent-broad-except`), `default`, `strict` (the default and the opt-in rules) or `ALL`; case does not matter.
    Raises UnknownRule.
    """
    wanted = selector.strip()
    if wanted.lower() == "default":
        return default_codes()
    if wanted.lower() in ("all", "strict"):
        return frozenset(all_rules())
    found = frozenset(
        code
        for code, rule in all_rules().items()
        if rule.name == wanted.lower() or (len(wanted) > 2 and code.startswith(wanted.upper()))
    )
    if not found:
        raise UnknownRule(f"unknown rule {selector!r}{nearest(wanted, valid_selectors())}")
    return found


def resolve(selectors: Iterable[str]) -> frozenset[str]:
    """The union of what several selectors stand for. Raises UnknownRule."""
    return frozenset().union(*(codes_for(selector) for selector in selectors))


def valid_selectors() -> list[str]:
    """Every code, family, name and preset, in this order."""
    rules = all_rules()
    families = sorted({code[:4] for code in rules})
    return [*rules, *families, *(rule.name for rule in rules.values()), *PRESETS]


def nearest(word: str, valid: Iterable[str]) -> str:
    """`; did you mean 'X'?` with the valid word that is most like `word`, or nothing where none is like it."""
    from difflib import get_close_matches

    by_lower = {name.lower(): name for name in valid}
    close = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.4)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""

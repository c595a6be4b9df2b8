"""The alert rules for Prometheus, with the address under which a team reads its runbooks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .templating import text

DOCUMENT = "runbooks/unhush.rules.yml"
_SHIPPED = "alerts/unhush.rules.yml"
_PLACE = "RUNBOOKS"
_RULE = re.compile(
    r"^ *# (?P<note>.*)\n *- alert: (?P<name>\w+)\n *expr: (?P<expr>(?:>-\n(?: {10}.*\n)+)|.*\n)"
    r"(?: *for: (?P<pending>\w+)\n)? *labels: \{severity: (?P<severity>\w+)\}\n(?:.*\n)*? *runbook_url: RUNBOOKS/(?P<runbook>.*)$",
    re.M,
)


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule as its runbook shows it: `pending` is how long it must hold, `note` what is normal and why this limit."""

    name: str
    expr: str
    pending: str
    severity: str
    runbook: str
    note: str


def render(runbooks: str, templates: str | None = None) -> str:
    """The rules as YAML. `runbooks` is the folder of the runbooks: a URL, or a path in the repository.

    The file is no Jinja template: Prometheus has its own in double braces. Raises ValueError for an address that YAML
    would not read as plain text.
    """
    if not runbooks or any(char.isspace() or char in "\"'#{}[]&*!|>%`" for char in runbooks):
        raise ValueError(f"{runbooks!r} is no address of runbooks: no spaces, quotes or braces")
    return text(_SHIPPED, templates).replace(_PLACE, runbooks.rstrip("/"))


def alerts(templates: str | None = None) -> list[Alert]:
    """Every rule of the file. Raises ValueError for a file of a user's own in which one is written in another way."""
    rules = text(_SHIPPED, templates)
    found = [
        Alert(
            name=match["name"],
            expr=" ".join(match["expr"].removeprefix(">-").split()),
            pending=match["pending"] or "0m",
            severity=match["severity"],
            runbook=match["runbook"],
            note=match["note"],
        )
        for match in _RULE.finditer(rules)
    ]
    if len(found) != rules.count("- alert:"):
        raise ValueError(f"{_SHIPPED}: write each rule as those that are shipped: a comment, alert, expr, for, labels")
    return found

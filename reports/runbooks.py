"""The runbooks of a roll-out as Markdown: who, what, how bad, the way back, and one action a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .alerts import alerts
from .templating import render as fill

WATCHLIST = "first_24h_watchlist"
NAMES = (
    "dlq_growing",
    "stuck_jobs",
    "roll_back",
    "watchdog_silent",
    "spool_in_use",
    "ignored_exceptions",
    WATCHLIST,
)


def render(name: str, data: Mapping[str, Any], templates: str | None = None) -> str:
    """One runbook. `templates` is the folder of a user's own templates.

    `data` has owner, escalation, variable (that holds the database's URL), dialect, prometheus (a URL or None) and
    version; the watch list also commit and handlers. Raises jinja2.TemplateError, and ValueError for rules that are no
    rules.
    """
    if name not in NAMES:
        raise ValueError(f"there is no runbook {name!r}")
    found = fill(f"runbooks/{name}.md.j2", templates, **data, alerts=alerts(templates))
    return _tidy(found)


def _tidy(text: str) -> str:
    """Without the empty lines that the template's own lines leave: one at most between two others, none at the ends."""
    lines: list[str] = []
    for line in (line.rstrip() for line in text.splitlines()):
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines).strip() + "\n"

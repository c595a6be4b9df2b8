"""Runbooks and alert rules as documents of the roll-out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..reports import alerts, runbooks
from ..version import __version__
from .errors import RolloutProblem
from .evidence import Evidence
from .fetching import shown
from .settings import DATABASE_VARIABLE, RolloutSettings

UNSAID = "not said: the setting {} of the roll-out says it"


def facts(settings: RolloutSettings) -> dict[str, Any]:
    """What every runbook needs of a project's settings."""
    return {
        "owner": settings.owner or UNSAID.format("owner"),
        "escalation": settings.escalation or UNSAID.format("escalation"),
        "prometheus": shown(settings.prometheus) if settings.prometheus else None,
        "variable": DATABASE_VARIABLE,
        "dialect": _dialect(settings.url),
        "version": __version__,
    }


def render(name: str, plan: Mapping[str, Any], records: Mapping[str, Evidence], settings: RolloutSettings) -> str:
    """One runbook. Raises RolloutProblem for a template of the team's own that is broken."""
    return filled(partial(runbooks.render, name, facts(settings), templates_of(settings)))


def rules(plan: Mapping[str, Any], records: Mapping[str, Evidence], settings: RolloutSettings) -> str:
    """The alert rules for Prometheus. Raises RolloutProblem for rules of the team's own that are broken."""
    return filled(partial(alerts.render, settings.runbooks or "runbooks", templates_of(settings)))


def templates_of(settings: RolloutSettings) -> str | None:
    """The folder of the team's own templates, wherever a command is called from."""
    return str(settings.root / settings.templates) if settings.templates else None


def filled(make: Callable[[], str]) -> str:
    """What a renderer gives. Raises RolloutProblem with the template's name and line where it can't."""
    from jinja2 import TemplateError

    try:
        return make()
    except TemplateError as error:
        place = ":".join(str(part) for part in (getattr(error, "name", None), getattr(error, "lineno", None)) if part)
        raise RolloutProblem(f"template {place}: {error.message or type(error).__name__}") from error
    except (ValueError, OSError) as error:
        raise RolloutProblem(str(error)) from error


def _dialect(url: str | None) -> str | None:
    """The kind of database that a URL names."""
    kind = (url or "").partition(":")[0].partition("+")[0]
    return {"mysql": "mariadb", "": None}.get(kind, kind)


dlq_growing = partial(render, "dlq_growing")
stuck_jobs = partial(render, "stuck_jobs")
roll_back = partial(render, "roll_back")
watchdog_silent = partial(render, "watchdog_silent")
spool_in_use = partial(render, "spool_in_use")
ignored_exceptions = partial(render, "ignored_exceptions")

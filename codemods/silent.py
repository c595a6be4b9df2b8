"""What the three rules on silent handlers share: one definition of silent, three breadths."""

from __future__ import annotations

from . import handlers, idioms, severity
from .rules import Match
from .scope import HandlerSite

_DOES = {
    "empty": "does nothing with it",
    "continue": "goes on with the next item",
    "break": "leaves the loop",
    "return": "returns a plain value",
    "assign": "sets a plain value",
    "cleanup": "only cleans up",
    "mixed": "goes on as if nothing had happened",
}


def silent_match(site: HandlerSite, wanted: handlers.Breadth) -> Match | None:
    """A Match when the handler has the wanted breadth, is silent by shape and follows no idiom."""
    if site.breadth != wanted or site.shape == "acts" or idioms.excuse(site):
        return None
    level, reasons = severity.judge(site)
    if wanted == "narrow" and level == "high":
        level = "medium"  # the weights were fitted to broad handlers; whoever names a type expects it
    names = ", ".join(site.caught)
    header = f"`except {names}`" if names else "bare `except`"
    message = f"{header} swallows the exception: the handler {_DOES[site.shape]}, and nobody hears of the failure"
    return Match(site.handler, (*site.path, site.handler), message, level, reasons, site.caught, site.shape)

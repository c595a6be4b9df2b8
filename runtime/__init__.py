"""What runs inside a production service: the dead letter queue, heartbeats, the watchdog and what they stand on."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .async_dlq import AsyncDeadLetterQueue
    from .beat import current_beat
    from .bulk import BulkOptions
    from .dlq import DeadLetterQueue
    from .flag_provider import DatabaseFlags
    from .heartbeat import Heartbeats
    from .ignored import IgnoredExceptions
    from .letters import (
        DeadLetterError,
        EventFilter,
        Filter,
        Given,
        InDoubt,
        Letter,
        LetterSummary,
        Operation,
        Outcome,
    )
    from .watchdog import Verdict, Watchdog

__all__ = [
    "AsyncDeadLetterQueue",
    "BulkOptions",
    "DatabaseFlags",
    "DeadLetterError",
    "DeadLetterQueue",
    "EventFilter",
    "Filter",
    "Given",
    "Heartbeats",
    "IgnoredExceptions",
    "InDoubt",
    "Letter",
    "LetterSummary",
    "Operation",
    "Outcome",
    "Verdict",
    "Watchdog",
    "current_beat",
]

_HOMES = {
    "AsyncDeadLetterQueue": "async_dlq",
    "BulkOptions": "bulk",
    "DatabaseFlags": "flag_provider",
    "DeadLetterQueue": "dlq",
    "Heartbeats": "heartbeat",
    "IgnoredExceptions": "ignored",
    "Verdict": "watchdog",
    "Watchdog": "watchdog",
    "current_beat": "beat",
}


def __getattr__(name: str) -> Any:
    """Each name is imported when it is first asked for: the package itself costs next to nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES.get(name, 'letters')}", __name__), name)

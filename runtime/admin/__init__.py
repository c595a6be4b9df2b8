"""The admin API of the dead letter queue: a FastAPI router for a service of one's own, or an app by itself."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .auth import Principal
    from .routes import PREFIX, app, router

__all__ = ["PREFIX", "Principal", "app", "router"]


def __getattr__(name: str) -> Any:
    """Each name is imported when it is first asked for: the package itself needs no FastAPI."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(".auth" if name == "Principal" else ".routes", __name__), name)

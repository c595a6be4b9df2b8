"""Reviewed migrations, one `.sql` file each with its backout, and the runner that applies them.

Its names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .autogenerate import include_object
    from .errors import SchemaProblem
    from .jobs_table import downgrade_table, upgrade_table
    from .runner import Status, downgrade, fingerprint, rendered, require_schema, status, upgrade

__all__ = [
    "SchemaProblem",
    "Status",
    "downgrade",
    "downgrade_table",
    "fingerprint",
    "include_object",
    "rendered",
    "require_schema",
    "status",
    "upgrade",
    "upgrade_table",
]

_HOMES = {
    "SchemaProblem": "errors",
    "downgrade_table": "jobs_table",
    "include_object": "autogenerate",
    "upgrade_table": "jobs_table",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES.get(name, 'runner')}", __name__), name)

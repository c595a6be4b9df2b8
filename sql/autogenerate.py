"""Keeps a user's own `alembic revision --autogenerate` from dropping our tables."""

from __future__ import annotations

from typing import Any

from .files import table_names
from .history import TABLE
from .names import index_name
from .own_history import TABLE as JOBS_TABLES
from .own_table import COLUMNS

_OURS = table_names("postgresql") | {TABLE, JOBS_TABLES}


def include_object(obj: Any, name: str | None, type_: str, reflected: bool, compare_to: Any) -> bool:
    """For `context.configure(include_object=...)` in a user's env.py: no to our tables and all that is in them.

    No too to what `unhush db upgrade --jobs-table` has added to a user's own table, unless the user's model has it.
    """
    table = name if type_ == "table" else getattr(getattr(obj, "table", None), "name", None)
    if reflected and compare_to is None and table is not None:
        added = COLUMNS if type_ == "column" else (index_name(table),) if type_ == "index" else ()
        if name in added:
            return False
    return table not in _OURS

"""What the runtime writes to the log. What it needs for that is imported only by a process with something to tell."""

from __future__ import annotations

from typing import Any


def log(level: str, event: str, **facts: Any) -> None:
    """Logs an event of a constant name; `level` is the name of structlog's method."""
    import structlog

    getattr(structlog.get_logger("unhush.runtime"), level)(event, **facts)


def first_line(error: BaseException) -> str:
    """What the error says, short and without what may hold the values of a row: SQLAlchemy puts them into later lines."""
    from .redact import redact_text

    return redact_text(str(error).partition("\n")[0])[:300]

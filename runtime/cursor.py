"""Where the next page of a list begins, as text that callers hand back unread."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import astuple
from typing import Any, TypeVar
from uuid import UUID

from .letters import BadCursor

T = TypeVar("T")

_PROBLEM = "the cursor is not one of this list: leave it out to begin at the first page"


def to_cursor(position: str | int, asked: Any) -> str:
    """The cursor after `position` in the list that the dataclass `asked` describes."""
    return urlsafe_b64encode(f"{_digest(asked)}{position}".encode()).decode().rstrip("=")


def from_cursor(cursor: str, asked: Any, read: Callable[[str], T]) -> T:
    """The position that a cursor of the same list holds, as `read` reads it. Raises BadCursor for any other text."""
    try:
        text = urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
        position = read(text[8:])
    except ValueError as error:
        raise BadCursor(_PROBLEM) from error
    if to_cursor(text[8:], asked) != cursor:
        raise BadCursor(_PROBLEM)
    return position


def id_in(cursor: str) -> str:
    """The id that a cursor of nothing but an id is. Raises BadCursor for any other text."""
    try:
        return read_id(cursor)
    except ValueError as error:
        raise BadCursor(_PROBLEM) from error


def read_id(text: str) -> str:
    """An id as the database writes it. Raises ValueError for what is none."""
    return str(UUID(text))


def _digest(asked: Any) -> str:
    return hashlib.sha256(repr((type(asked).__name__, astuple(asked))).encode()).hexdigest()[:8]

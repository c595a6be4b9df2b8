"""What the dead letter queue gives, as JSON for programs: fields by their names, times in UTC with a Z."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from ..runtime.letters import Letter
from ..runtime.payload import encode


def data(value: Any) -> Any:
    """Plain JSON values: a dataclass becomes an object of its fields, a letter's payload JSON with type tags."""
    if isinstance(value, datetime):
        return moment(value)
    if is_dataclass(value) and not isinstance(value, type):
        members = {field.name: data(getattr(value, field.name)) for field in fields(value) if field.name != "payload"}
        return members | ({"payload": payload(value)} if isinstance(value, Letter) else {})
    if isinstance(value, Mapping):
        return {str(key): data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [data(item) for item in value]
    return value


def payload(letter: Letter) -> Any:
    """A letter's payload as JSON, as `edit` takes it and exports hold it."""
    return encode(letter.payload).data


def moment(value: datetime) -> str:
    """A time in UTC, always in microseconds: texts sort as their times."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def document(value: Any) -> str:
    """The JSON text of it."""
    return json.dumps(data(value), indent=2) + "\n"

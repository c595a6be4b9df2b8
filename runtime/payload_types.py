"""The types that a payload may hold beside JSON's own: how each becomes JSON values, and comes back."""

from __future__ import annotations

import base64
import re
from collections import deque
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from math import isfinite
from numbers import Integral, Real
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

Json = Any  # what json.loads gives
Class = TypeVar("Class", bound=type)


class Lost(str):
    """What stands where a value could not be kept: a text that tells a person what was there."""

    __slots__ = ()


# -- scalars ----------------------------------------------------------------------------------------------------------

_UNPLAIN = re.compile("[\0\ud800-\udfff]")


def is_plain(text: str) -> bool:
    """Whether every database takes the text: jsonb refuses NUL and lone surrogates."""
    return _UNPLAIN.search(text) is None


def escape(text: str) -> str:
    """The text without what jsonb refuses, written out as `\\u0000`; backslashes are doubled."""
    escaped = text.replace("\\", "\\\\").replace("\0", "\\u0000")
    return escaped.encode("utf-8", "backslashreplace").decode()


def _unescape(text: str) -> str:
    return re.sub(r"\\(?:u([0-9a-f]{4})|\\)", lambda match: chr(int(match[1], 16)) if match[1] else "\\", text)


def _datetime_text(value: datetime) -> str:
    """ISO 8601, with the zone's name in brackets (RFC 9557) where it has one: its offset alone is not the zone."""
    zone = value.tzinfo
    return f"{value.isoformat()}[{zone.key}]" if isinstance(zone, ZoneInfo) and zone.key else value.isoformat()


def _datetime_value(text: str) -> datetime:
    text, _, key = text.partition("[")
    value = datetime.fromisoformat(text)
    if key:
        offset, value = value.utcoffset(), value.replace(tzinfo=ZoneInfo(key.removesuffix("]")))
        if value.utcoffset() != offset:
            value = value.replace(fold=1)  # the second of an hour that came twice
    return value


def _bytes_data(value: bytes) -> dict[str, Json]:
    """Bytes that are text stay legible, for people and for redaction."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    return {"$bytes": text} if is_plain(text) else {"$base64": base64.b64encode(value).decode()}


def _path_value(text: str, pure: type[PurePath]) -> PurePath:
    return Path(text) if isinstance(Path(), pure) else pure(text)


# Each scalar's tag, and how it becomes text and comes back. A subclass counts as the first of these that it is.
_SCALARS: tuple[tuple[type, str, Callable[[Any], str], Callable[[str], Any]], ...] = (
    (datetime, "$datetime", _datetime_text, _datetime_value),
    (date, "$date", lambda value: value.isoformat(), date.fromisoformat),
    (time, "$time", lambda value: value.isoformat(), time.fromisoformat),
    (UUID, "$uuid", str, UUID),
    (Decimal, "$decimal", str, Decimal),
    (Fraction, "$fraction", str, Fraction),
    (complex, "$complex", repr, complex),
    (PurePosixPath, "$path", str, lambda text: _path_value(text, PurePosixPath)),
    (PureWindowsPath, "$windows_path", str, lambda text: _path_value(text, PureWindowsPath)),
)
# How the decoded content of a tag becomes the value.
FROM_TAG: dict[str, Callable[[Any], Any]] = {
    **{tag: from_text for _, tag, _, from_text in _SCALARS},
    "$text": _unescape,
    "$int": lambda text: int(text, 16),
    "$float": float,
    "$bytes": str.encode,
    "$base64": lambda text: base64.b64decode(text, validate=True),
    "$timedelta": lambda numbers: timedelta(*numbers),
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$deque": deque,
    "$dict": dict,
    "$lost": Lost,
}
COLLECTIONS: tuple[tuple[type, str], ...] = (
    (tuple, "$tuple"),
    (set, "$set"),
    (frozenset, "$frozenset"),
    (deque, "$deque"),
)


def scalar(value: object) -> Json:
    """A scalar's data, or None where it is none. Raises whatever the value's own methods raise."""
    if isinstance(value, Lost):
        return {"$lost": str.__str__(value)}
    if isinstance(value, str):
        text = str.__str__(value)
        return text if is_plain(text) else {"$text": escape(text)}
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        number = int(value)
        return number if -(2**63) <= number < 2**63 else {"$int": hex(number)}
    if isinstance(value, float):
        return _float_data(float(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes_data(bytes(value))
    if isinstance(value, timedelta):
        return {"$timedelta": [value.days, value.seconds, value.microseconds]}
    return _tagged_scalar(value)


def _tagged_scalar(value: object) -> Json:
    for cls, tag, to_text, from_text in _SCALARS:
        if isinstance(value, cls):
            text = to_text(value)
            if type(value) is not cls and not isinstance(value, PurePath):
                equal = from_text(text) == value
                if not equal:
                    return None  # a subclass that holds more than its text says
            return {tag: text if is_plain(text) else {"$text": escape(text)}}
    if isinstance(value, (Integral, Real)):  # those of numpy, say
        number = int(value) if isinstance(value, Integral) else float(value)
        return scalar(number) if number == value else None
    return None


def _float_data(number: float) -> Json:
    # jsonb writes exponents out, so 1e300 would come back as an int, and knows no -0.0.
    text = repr(number)
    return {"$float": text} if not isfinite(number) or "e" in text or text == "-0.0" else number


# -- the caller's own types -------------------------------------------------------------------------------------------

_registered: dict[str, type] = {}


def register_type(cls: Class) -> Class:
    """Lets objects of this class come back as such: a dataclass, attrs class, pydantic model, named tuple or enum.

    Serves as a decorator too. They are made anew from their fields, without a call of `__init__` where the stored
    fields are just those of the class. Raises TypeError for another kind of class.
    """
    if field_names(cls) is None and not issubclass(cls, Enum):
        raise TypeError(f"{cls.__qualname__} is no dataclass, attrs class, pydantic model, named tuple or enum")
    _registered[type_name(cls)] = cls
    return cls


def is_registered(cls: type) -> bool:
    """Whether objects of exactly this class come back as such."""
    return _registered.get(type_name(cls)) is cls


def type_name(cls: type) -> str:
    """The name that stands in the data; nothing is ever imported by it."""
    return f"{cls.__module__}.{cls.__qualname__}"


def field_names(cls: type) -> list[str] | None:
    """The fields of a class that has such, None for any other class."""
    if is_dataclass(cls):
        return [field.name for field in fields(cls)]
    if hasattr(cls, "__attrs_attrs__"):
        return [attribute.name for attribute in cls.__attrs_attrs__]
    if hasattr(cls, "__pydantic_fields__"):
        return list(cls.__pydantic_fields__)
    return list(cls._fields) if issubclass(cls, tuple) and hasattr(cls, "_fields") else None


def stored_fields(value: object) -> dict[str, Any]:
    """What an object's fields hold, with those that a pydantic model allows beside its own."""
    names = field_names(type(value)) or []
    extra = getattr(value, "__pydantic_extra__", None) or {}
    return {**{name: getattr(value, name) for name in names if hasattr(value, name)}, **extra}


def from_named_tag(tag: str, content: Any) -> Any:
    """The object or enum member that `$object:NAME` or `$enum:NAME` stands for, or its bare content."""
    kind, _, name = tag.partition(":")
    cls = _registered.get(name)
    if kind not in ("$object", "$enum"):
        raise ValueError("no tag of ours")
    if cls is None:
        return content
    return cls(content) if kind == "$enum" else _make(cls, content)


def _make(cls: Any, values: dict[str, Any]) -> Any:
    if hasattr(cls, "model_construct"):
        return cls.model_construct(**values)
    if issubclass(cls, tuple) or sorted(field_names(cls) or ()) != sorted(values):
        return cls(**values)  # captured by another version of the class: its constructor knows the defaults
    made = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made

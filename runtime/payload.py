"""A payload as plain JSON values that every database gives back equal, with type tags for what JSON lacks.

A tag is an object with one key that begins with `$`: `{"$uuid": "..."}`. A dict of the caller's that looks like one gets
one `$` more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .payload_types import (
    COLLECTIONS,
    FROM_TAG,
    Json,
    Lost,
    escape,
    field_names,
    from_named_tag,
    is_plain,
    is_registered,
    register_type,
    scalar,
    stored_fields,
    type_name,
)
from .redact import step

__all__ = ["LIMIT_BYTES", "Encoded", "Lost", "decode", "encode", "register_type"]

LIMIT_BYTES = 64 * 2**20
PATHS_LIMIT = 100  # paths that are named; more help nobody to mend a payload
REPR_LIMIT = 1000  # characters of a repr
# MariaDB refuses JSON of more than 31 levels. Containers that lie deeper become parts of their own, beside the root. The
# levels in between are for the list of parts and for the tags of the last level.
_LEVELS = 24


@dataclass(frozen=True, slots=True)
class Encoded:
    """Plain JSON values, and the paths (`$.items[3]`) where they are not what was given, but its repr or a part."""

    data: Json
    degraded: tuple[str, ...]


def encode(value: object, *, limit_bytes: int = LIMIT_BYTES) -> Encoded:
    """The value as plain JSON values. Never raises, and leaves the caller's objects alone.

    What can't be serialised becomes a marked repr, and what goes beyond `limit_bytes` (of its JSON text, roughly) is
    cut off and marked. `decode` gives back an equal value, but for the paths in `degraded`. Subclasses of plain types
    come back as the plain type; objects of types that are not registered as dicts, and their enums as values.
    """
    encoder = _Encoder(limit_bytes)
    parts = encoder.parts(value)
    return Encoded(parts[0] if len(parts) == 1 else {"$parts": parts}, encoder.paths())


def decode(data: Json) -> Any:
    """The value that `encode` was given. What looks like a tag but is none comes back as it stands."""
    if isinstance(data, dict) and list(data) == ["$parts"] and isinstance(data["$parts"], list):
        parts = data["$parts"]
        decoded: dict[int, Any] = {}
        for index in reversed(range(len(parts))):  # a part names only later ones
            decoded[index] = _decode(parts[index], decoded)
        return decoded.get(0)
    return _decode(data, {})


def _decode(data: Json, parts: dict[int, Any]) -> Any:
    if isinstance(data, list):
        return [_decode(item, parts) for item in data]
    if not isinstance(data, dict):
        return data
    values = {key: _decode(item, parts) for key, item in data.items()}
    if len(values) != 1:
        return values
    ((key, content),) = values.items()
    if key.startswith("$$"):
        return {key[1:]: content}
    return _tagged(key, content, parts) if key.startswith("$") else values


def _tagged(tag: str, content: Any, parts: dict[int, Any]) -> Any:
    try:
        if tag == "$part":
            return parts[content]
        return FROM_TAG[tag](content) if tag in FROM_TAG else from_named_tag(tag, content)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return {tag: content}  # redacted or edited by hand, or of a class that changed: still to be seen


@dataclass(slots=True)
class _Place:
    """Where in the value: a path is written only when somebody asks. Holds its value, so that ids stay unique."""

    outer: _Place | None
    key: object
    value: object
    hashed: bool  # it is a key or a member of a set, and so must come back hashable

    def inner(self, key: object, value: object, *, hashed: bool = False) -> _Place:
        """The place of an item of this one."""
        return _Place(self, key, value, hashed or self.hashed)

    def path(self) -> str:
        """Such as `$.items[3]`. A very long one loses its middle."""
        steps: list[str] = []
        place = self
        while place.outer is not None:
            steps.append(step(place.key))
            place = place.outer
        if len(steps) > 2 * _LEVELS:
            steps[_LEVELS:-_LEVELS] = ["..."]
        return "$" + "".join(reversed(steps))


@dataclass(frozen=True, slots=True)
class _Around:
    """The ids of the containers around a part."""

    ids: frozenset[int]
    outer: _Around | None


class _Encoder:
    """One encoding: what is left of the limit, which parts still wait, and what could not be kept."""

    def __init__(self, limit_bytes: int) -> None:
        self.left = limit_bytes
        self.places: list[_Place] = []
        self.unnamed = 0
        self.waiting: deque[tuple[_Place, _Around | None]] = deque()
        self.lifted = 0
        self.open: set[int] = set()  # the containers of this part that are being worked on
        self.around: _Around | None = None

    def paths(self) -> tuple[str, ...]:
        """Where something was lost, each place once."""
        paths = tuple(dict.fromkeys(place.path() for place in self.places))
        return (*paths, f"... and {self.unnamed} more") if self.unnamed else paths

    def parts(self, value: object) -> list[Json]:
        """The root's data, then that of what lies too deep in it, and so on."""
        self.waiting.append((_Place(None, None, value, hashed=False), None))
        made: list[Json] = []
        while self.waiting:
            place, self.around = self.waiting.popleft()
            made.append(self.node(place, 0))
        return made

    def node(self, place: _Place, level: int) -> Json:
        """One value's data. Whatever its own methods raise ends in its repr."""
        value = place.value
        if value is None or type(value) is bool:
            self.left -= 5
            return value
        try:
            if isinstance(value, Enum):
                return {f"$enum:{type_name(type(value))}": self.node(place.inner("value", value.value), level + 1)}
            data = scalar(value)
            return self.container(place, level) if data is None else self.afforded(data, place)
        except Exception as problem:  # noqa: BLE001 - the marked repr says so, and the path is named
            return self.lost(place, problem)

    def afforded(self, data: Json, place: _Place) -> Json:
        """A scalar's data, or as much of it as the limit leaves room for."""
        text = next(iter(data.values())) if isinstance(data, dict) else data
        size = len(text) if isinstance(text, str) else 4
        if isinstance(text, str) and not text.isascii():
            size = len(text.encode())
        if isinstance(place.value, Lost):
            self.lose(place)
        if size <= self.left or not isinstance(text, str):
            self.left -= size + 2
            return data
        kept = max(0, self.left if text.isascii() else self.left // 4)
        self.left = 0
        return self.mark(place, f"{text[:kept]}... {len(text) - kept} of {len(text)} characters cut")

    def container(self, place: _Place, level: int) -> Json:
        """The data of a value that holds others; of one that holds none, its repr."""
        value = place.value
        if id(value) in self.open or self.is_around(id(value)):
            return self.mark(place, "a container that holds itself")
        if level >= _LEVELS and self.holds_values(value):
            return self.lift(place)
        self.left -= 4
        self.open.add(id(value))
        try:
            return self.content(place, level)
        finally:
            self.open.discard(id(value))

    def is_around(self, identity: int) -> bool:
        """Whether that container is around this whole part."""
        around = self.around
        while around is not None:
            if identity in around.ids:
                return True
            around = around.outer
        return False

    def holds_values(self, value: object) -> bool:
        """Whether it is of a kind that `content` takes apart."""
        return (
            isinstance(value, (dict, list, tuple, set, frozenset, deque, Mapping))
            or field_names(type(value)) is not None
        )

    def lift(self, place: _Place) -> Json:
        """Leaves the value to a part of its own, and names that."""
        self.waiting.append((place, _Around(frozenset(self.open), self.around)))
        self.lifted += 1
        return {"$part": self.lifted}

    def content(self, place: _Place, level: int) -> Json:
        """A container's data by its kind."""
        value = place.value
        if isinstance(value, dict):
            return self.mapping(list(dict.items(value)), place, level)
        if isinstance(value, list):
            return self.items(list(value), place, level)
        cls = type(value)
        if field_names(cls) is not None and (not isinstance(value, tuple) or is_registered(cls)):
            return self.fields(place, level)
        for kind, tag in COLLECTIONS:
            if isinstance(value, kind):
                hashed = kind in (set, frozenset)
                return {tag: self.items(list(value), place, level + 1, hashed=hashed)}  # type: ignore[call-overload]
        if isinstance(value, Mapping):
            return self.mapping(list(value.items()), place, level)
        return self.lost(place)

    def fields(self, place: _Place, level: int) -> Json:
        """An object with fields, under the name of its type."""
        cls = type(place.value)
        tag = f"$object:{type_name(cls)}"
        if not is_plain(tag) or (place.hashed and not is_registered(cls)):
            return self.lost(place)  # it would come back as a dict, which has no hash
        return {tag: self.entries(list(stored_fields(place.value).items()), place, level + 1)}

    def items(self, values: list[Any], place: _Place, level: int, *, hashed: bool = False) -> list[Json]:
        """The data of each item, as far as the limit goes."""
        made: list[Json] = []
        for index, item in enumerate(values):
            if self.left <= 0:
                made.append(self.mark(place, f"{len(values) - index} more items cut"))
                break
            self.left -= 2
            made.append(self.node(place.inner(index, item, hashed=hashed), level + 1))
        return made

    def mapping(self, pairs: list[tuple[Any, Any]], place: _Place, level: int) -> Json:
        """An object, or a list of pairs where a key is not a plain text."""
        if all(isinstance(key, str) and not isinstance(key, (Enum, Lost)) and is_plain(key) for key, _ in pairs):
            made = self.entries(pairs, place, level)
            ((key, content),) = made.items() if len(made) == 1 else (("", None),)
            return {f"${key}": content} if key.startswith("$") else made
        entries: list[Json] = []
        for index, (key, item) in enumerate(pairs):
            if self.left <= 0:
                marked = self.mark(place, f"{len(pairs) - index} more entries cut")
                entries.append(["...", marked])
                break
            self.left -= 4
            key_data = self.node(place.inner(key, key, hashed=True), level + 3)
            entries.append([key_data, self.node(place.inner(key, item), level + 3)])
        return {"$dict": entries}

    def entries(self, pairs: list[tuple[str, Any]], place: _Place, level: int) -> dict[str, Json]:
        """The data of each entry, as far as the limit goes."""
        made: dict[str, Json] = {}
        for key, item in pairs:
            if self.left <= 0 or len(key) > self.left:
                made["..." if "..." not in made else "... cut"] = self.mark(
                    place, f"{len(pairs) - len(made)} more entries cut"
                )
                break
            self.left -= len(key) + 4
            made[str.__str__(key)] = self.node(place.inner(key, item), level + 1)
        return made

    def lost(self, place: _Place, problem: Exception | None = None) -> Json:
        """The marked repr of what can't be serialised, and why where its own methods raised."""
        text = _safe_repr(place.value)
        if problem is not None:
            text = f"{text} raised {type(problem).__name__}"
        self.left -= len(text)
        return self.mark(place, text)

    def mark(self, place: _Place, text: str) -> Json:
        """A text in place of a value, whose path is named."""
        self.lose(place)
        return {"$lost": escape(text)}

    def lose(self, place: _Place) -> None:
        """Names the place, or counts it where enough are named."""
        if len(self.places) < PATHS_LIMIT:
            self.places.append(place)
        else:
            self.unnamed += 1


def _safe_repr(value: object) -> str:
    try:
        text = str.__str__(repr(value))
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # noqa: BLE001 - the text says so
        return f"<{object.__repr__(value)[1:-1]}, whose __repr__ raised {type(problem).__name__}>"
    return text if len(text) <= REPR_LIMIT else f"{text[:REPR_LIMIT]}... {len(text) - REPR_LIMIT} characters cut"

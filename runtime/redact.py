"""Masks what looks like a secret in JSON-like values and in texts. Needs nothing but the standard library.

A changed payload can't be put back to work, so what merely resembles a secret (ids, hashes, counts) is left alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from .redact_names import HEADER, PASSWORD, is_id_name, secret_kind
from .redact_texts import MASK, is_folder, is_placeholder, mask_text

__all__ = ["MASK", "Redacted", "redact", "redact_text", "step"]

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_NAME_AND_VALUE = (("name", "value"), ("key", "value"), ("header", "value"), ("Name", "Value"), ("Key", "Value"))
_PAIRS = "$dict"  # in place of a name: what follows is the list of a dict's keys and values
_PAIR, _ENTRY = "pair", "entry"  # what a list is: a name with its value; the same, and a dict's
_KEY_SHOWN = 80  # characters of a key in a path


@dataclass(frozen=True, slots=True)
class Redacted:
    """A value with its secrets masked, and where (`$.user.password`): empty, and the very same value, without any."""

    value: Any
    paths: tuple[str, ...]


def redact(value: Any) -> Redacted:
    """Masks the secrets in dicts, lists, tuples, texts and bytes, however deep; other values are left as they are.

    A value is masked whole under a key that names a secret, and else where the secret stands in its text. The given
    value is not changed. Redacting twice is the same as once.
    """
    walk = _Walk()
    masked = walk.all(value)
    return Redacted(masked if walk.paths else value, tuple(dict.fromkeys(walk.paths)))


def redact_text(text: str) -> str:
    """The text (a message, a traceback) with the secrets in it masked."""
    return mask_text(text)


def step(key: object) -> str:
    """One step of a path: `.name` or `["a key"]` for a key, `[3]` for an index. A secret in it is masked."""
    if isinstance(key, str):
        shown = mask_text(key)
        shown = shown if len(shown) <= _KEY_SHOWN else f"{shown[:_KEY_SHOWN]}..."
        return f".{shown}" if _IDENTIFIER.match(shown) else f"[{json.dumps(shown)}]"
    if isinstance(key, (int, float)) or key is None:
        return f"[{key!r}]"
    if isinstance(key, bytes):
        return step(key.decode("latin-1"))
    return f"[{type(key).__name__}]"


@dataclass(slots=True)
class _Path:
    """Where in the value; its text is made only when somebody asks."""

    outer: _Path | None
    key: object  # None for what a type tag wraps: a tag is no step

    def text(self) -> str:
        steps: list[str] = []
        path = self
        while path.outer is not None:
            steps.append("" if path.key is None else step(path.key))
            path = path.outer
        return "$" + "".join(reversed(steps))


class _Walk:
    """One walk through a value: without recursion, and each container once, so that cycles end."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.todo: list[tuple[Any, _Path, Any, Any, str, str]] = []
        self.copies: dict[int, Any] = {}
        self.barren: set[tuple[int, str]] = set()  # containers without anything to mask under a name of that kind
        self.sources: list[Any] = []  # the parts of a deep payload, as given
        self.parts: list[Any] = []  # and their copies
        self.unreached: set[int] = set()
        # Copies of tuples are lists until all inside is done: how many tuples each still waits for, and who holds it.
        self.waits: dict[int, int] = {}
        self.holders: dict[int, list[tuple[Any, Any]]] = {}

    def all(self, value: Any) -> Any:
        """The masked copy."""
        root = [value]
        path = _Path(None, None)
        if isinstance(value, dict) and _tag(value) == "$parts" and isinstance(value["$parts"], list):
            self.sources = value["$parts"]
            self.parts = list(self.sources)
            self.unreached = set(range(len(self.parts)))
            root = [{"$parts": self.parts}]
            self.follow(0, path, "", "")
        else:
            self.todo.append((value, path, root, 0, "", ""))
        while self.todo or self.unreached:
            if not self.todo:  # no reference led there
                index = min(self.unreached)
                self.follow(index, _Path(path, index), "", "")
            while self.todo:
                self.one(*self.todo.pop())
        self.close_tuples()
        return root[0]

    def follow(self, index: Any, path: _Path, name: str, paired: str) -> None:
        """Goes on in a part that payload.py put elsewhere because it lay too deep."""
        if isinstance(index, int) and index in self.unreached:
            self.unreached.discard(index)
            self.todo.append((self.sources[index], path, self.parts, index, name, paired))

    def one(self, value: Any, path: _Path, holder: Any, key: Any, name: str, paired: str) -> None:
        """Puts the masked copy of one value into its holder. `name` is the key above; `paired`: it is a name with its value."""
        if isinstance(value, (str, bytes)):
            masked = _mask_scalar(value, name)
            if masked != value:
                holder[key] = masked
                self.paths.append(path.text())
        elif isinstance(value, (dict, list, tuple)):
            copy = self.copies.get(id(value))
            if copy is None:
                copy = self.copy(value, path, name, paired)
            holder[key] = copy
            if isinstance(value, tuple):
                self.holders[id(copy)].append((holder, key))
                if id(holder) in self.waits:
                    self.waits[id(holder)] += 1

    def copy(self, value: Any, path: _Path, name: str, paired: str) -> Any:
        """A container's copy, in which what its names give away is masked already; the rest is still to do."""
        copy: Any
        if isinstance(value, dict):
            copy = dict(value)
            self.entries(copy, path, name, paired)
        else:
            copy = list(value)
            self.items(copy, path, name, paired)
            if isinstance(value, tuple):
                self.waits[id(copy)], self.holders[id(copy)] = 0, []
        self.copies[id(value)] = copy
        return copy

    def entries(self, copy: dict[Any, Any], path: _Path, name: str, paired: str) -> None:
        """Goes through a dict's copy: what its keys name, and the keys themselves."""
        tag = _tag(copy)
        if tag == "$part":
            self.follow(copy[tag], path, name, paired)
            return
        if tag:
            self.todo.append((copy[tag], _Path(path, None), copy, tag, _PAIRS if tag == "$dict" else name, paired))
            return
        named = _named_value(copy)
        entries = list(copy.items())
        copy.clear()
        rest = []
        for key, value in entries:
            shown = self.masked_key(key, copy, path)
            only_escaped = len(entries) == 1 and isinstance(shown, str) and shown.startswith("$$")
            inner = _Path(path, shown[1:] if only_escaped else shown)
            name = _text(key) or ""
            copy[shown] = value
            # A masked key may be short enough to be read as a name.
            covered = self.covers(name, value) or (shown != key and self.covers(_text(shown) or "", value))
            if covered or (named and key == named[0] and self.covers(named[1], value)):
                self.mask(copy, shown, inner)
            else:
                rest.append((value, inner, copy, shown, name, ""))
        self.todo.extend(reversed(rest))

    def items(self, copy: list[Any], path: _Path, name: str, paired: str) -> None:
        """Goes through the copy of a list or tuple: its items, what a pair's first one names, and options with values."""
        pairs = _ENTRY if name == _PAIRS else _PAIR if copy and all(map(self.is_pair, copy)) else ""
        rest = []
        before = ""
        for index, value in enumerate(copy):
            inner = path if paired == _ENTRY else _Path(path, _key_of(value) if pairs == _ENTRY else index)
            text = _text(value) or ""
            option = before.startswith("--") and not text.startswith("-")
            if (option or (paired and index == 1 and len(copy) == 2)) and self.covers(before, value):
                self.mask(copy, index, inner)
            else:
                rest.append((value, inner, copy, index, name if pairs != _ENTRY else "", pairs))
            before = text
        self.todo.extend(reversed(rest))

    def is_pair(self, value: Any) -> bool:
        """Whether an item of a list is a name with its value; a list of such is a mapping, headers say."""
        for _ in range(2):  # a type tag, and a part in its place
            tag = _tag(value) if isinstance(value, dict) else ""
            if tag == "$part" and isinstance(value[tag], int) and value[tag] < len(self.sources):
                value = self.sources[value[tag]]
            elif tag:
                value = value[tag]
        return isinstance(value, (list, tuple)) and len(value) == 2 and _text(value[0]) is not None

    def mask(self, copy: Any, key: Any, path: _Path) -> None:
        """Masks a value whole."""
        self.mask_parts(copy[key])
        copy[key] = MASK.encode() if isinstance(copy[key], bytes) else MASK
        self.paths.append(path.text())

    def masked_key(self, key: Any, copy: dict[Any, Any], path: _Path) -> Any:
        """The key without the secrets in it, and still unlike the others."""
        masked = _mask_scalar(key, "") if isinstance(key, (str, bytes)) else key
        if masked == key:
            return key
        number, unique = 2, masked
        while unique in copy:
            unique = masked + (f" {number}" if isinstance(masked, str) else f" {number}".encode())
            number += 1
        self.paths.append(_Path(path, unique).text())
        return unique

    def covers(self, name: str, value: Any) -> bool:
        """Whether the name says that the value is a secret, and the value may be one."""
        kind = secret_kind(name) if name else ""
        if not kind or value is None or isinstance(value, bool):
            return False
        text = _text(value)
        if text is not None:
            return not is_placeholder(text) and not is_folder(name, text)
        if isinstance(value, (int, float)):
            return kind == PASSWORD
        if kind == HEADER and isinstance(value, dict):
            return False  # a payment's, say
        return isinstance(value, (dict, list, tuple)) and self.bears(value, kind)

    def bears(self, value: Any, kind: str) -> bool:
        """Whether a container under a secret's name holds anything that may be one."""
        todo, seen = [value], set()
        while todo:
            inner = todo.pop()
            if isinstance(inner, (str, bytes)):
                if not is_placeholder(_text(inner) or ""):
                    return True
            elif isinstance(inner, (int, float)):
                if kind == PASSWORD and not isinstance(inner, bool):
                    return True
            elif (
                isinstance(inner, (dict, list, tuple))
                and id(inner) not in seen
                and (id(inner), kind) not in self.barren
            ):
                if isinstance(inner, dict) and _tag(inner) == "$part":
                    return True
                seen.add(id(inner))
                todo.extend(inner.values() if isinstance(inner, dict) else inner)
        self.barren.update((identity, kind) for identity in seen)
        return False

    def mask_parts(self, value: Any) -> None:
        """Masks what lies so deep in a masked value that it stands elsewhere."""
        todo, seen = [value], set()
        while todo:
            inner = todo.pop()
            if isinstance(inner, (dict, list, tuple)) and id(inner) not in seen:
                seen.add(id(inner))
                index = inner["$part"] if isinstance(inner, dict) and _tag(inner) == "$part" else None
                if isinstance(index, int) and index in self.unreached:
                    self.unreached.discard(index)
                    self.parts[index] = MASK
                    todo.append(self.sources[index])
                todo.extend(inner.values() if isinstance(inner, dict) else inner)

    def close_tuples(self) -> None:
        """Makes tuples of their copies, the innermost first."""
        lists = {id(copy): copy for copy in self.copies.values() if id(copy) in self.waits}
        ready = [copy for identity, copy in lists.items() if self.waits[identity] == 0]
        while ready:
            copy = ready.pop()
            made = tuple(copy)
            for holder, key in self.holders[id(copy)]:
                holder[key] = made
                if id(holder) in self.waits:
                    self.waits[id(holder)] -= 1
                    if self.waits[id(holder)] == 0:
                        ready.append(holder)


def _tag(value: dict[Any, Any]) -> str:
    """The type tag of a dict that is but one (payload.py writes such), or nothing."""
    if len(value) != 1:
        return ""
    (key,) = value
    return key if isinstance(key, str) and key.startswith("$") and not key.startswith("$$") else ""


def _text(value: Any) -> str | None:
    """The text of a text or of bytes, also where a type tag is around it."""
    if isinstance(value, dict):
        tag = _tag(value)
        value = value[tag] if tag else None
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else None


def _key_of(entry: Any) -> Any:
    """The key of a dict's entry that is written as a list, as a path shows it."""
    key = entry[0] if isinstance(entry, list) and entry else None
    return key if isinstance(key, (int, float)) else _text(key)


def _named_value(entries: dict[Any, Any]) -> tuple[str, str] | None:
    """Of `{"name": "password", "value": ...}`: the key of the value, and its name."""
    if len(entries) > 1:
        for name_key, value_key in _NAME_AND_VALUE:
            if value_key in entries and isinstance(name := entries.get(name_key), str):
                return value_key, name
    return None


def _mask_scalar(value: Any, name: str) -> Any:
    """A text or bytes with the secrets in it masked."""
    cards = not is_id_name(name)
    if isinstance(value, bytes):
        text = value.decode("latin-1")
        masked = mask_text(text, cards=cards)
        return value if masked == text else masked.encode("latin-1")
    return mask_text(value, cards=cards)

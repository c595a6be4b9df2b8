"""Settings files: which one is nearest, what it says and extends, and the line of it that is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .keys import BY_NAME, KEYS, kind_of, said, wanted
from .output import Failure
from .selectors import nearest

PYPROJECT = "pyproject.toml"
NAMES = (".unhush.toml", "unhush.toml", PYPROJECT)  # of several in one folder the first counts


class ConfigError(Failure):
    """A settings file that can't be used; the text is one line that names the file, and the line where one is to blame."""


class Layer(NamedTuple):
    """One settings file and its checked table."""

    file: str
    table: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """What the file's patterns and paths are relative to."""
        return os.path.dirname(self.file)

    def error(self, text: str, *keys: str) -> ConfigError:
        """The error about a key of this file (or a key within its table)."""
        return ConfigError(f"{place(self.file, *keys)}: {text}")


def find_layers(folder: str) -> tuple[Layer, ...]:
    """The nearest settings file from a folder upward and those that it extends, the nearest first. Raises ConfigError."""
    for at in upward(folder):
        if layers := own_layers(at):
            return layers
    return ()


def own_layers(folder: str) -> tuple[Layer, ...]:
    """The same for the settings file that lies in this very folder."""
    for name in NAMES:
        file = os.path.join(folder, name)
        if os.path.isfile(file) and (table := read_table(file)) is not None:
            return _with_extended(Layer(file, table))
    return ()


def farther_up(layers: tuple[Layer, ...]) -> Iterator[tuple[Layer, ...]]:
    """Some layers, then those of each settings file above them, within their repository. Raises ConfigError."""
    yield layers
    folder = layers[0].folder if layers else ""
    top = next((at for at in upward(folder) if os.path.lexists(os.path.join(at, ".git"))), None) if folder else None
    while top and folder != top:
        layers = find_layers(os.path.dirname(folder))
        if not layers or not (layers[0].folder + os.sep).startswith(top.rstrip(os.sep) + os.sep):
            return
        yield layers
        folder = layers[0].folder


def upward(folder: str) -> Iterator[str]:
    """A folder and the folders above it."""
    while True:
        yield folder
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def read_table(file: str) -> Mapping[str, Any] | None:
    """The checked table of one file, or None for a pyproject.toml that has none. Raises ConfigError."""
    try:
        with open(file, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise ConfigError(f"{file}: can't be read: {error.strerror}") from error
    own = os.path.basename(file) != PYPROJECT
    if not own and b"unhush" not in data:  # most files say nothing of us: tomllib costs more than all the rest here
        return None
    import tomllib

    try:
        document = tomllib.loads(data.decode("utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error
    if own:
        return _checked(file, document)
    tool = document.get("tool", {})
    table = tool.get("unhush") if isinstance(tool, dict) else None
    return None if table is None else _checked(file, table)


def _with_extended(layer: Layer) -> tuple[Layer, ...]:
    """A file with those that it extends, one after the other."""
    layers = [layer]
    while path := layers[-1].table.get("extend"):
        last = layers[-1]
        written = os.path.expandvars(os.path.expanduser(path))
        file = os.path.normpath(os.path.join(last.folder, written))
        if any(_same(file, known.file) for known in layers):
            chain = " -> ".join(_told(known.file, layer.folder) for known in (*layers, Layer(file, {})))
            raise last.error(f"{_label(last.file)}extend goes round in a circle: {chain}", "extend")
        if not os.path.isfile(file):
            raise last.error(f"{_label(last.file)}extend names {path!r}, which is no file", "extend")
        table = read_table(file)
        if table is None:
            raise last.error(f"{_label(last.file)}extend names {path!r}, which has no [tool.unhush] table", "extend")
        layers.append(Layer(file, table))
    return tuple(layers)


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _told(file: str, folder: str) -> str:
    same_drive = os.path.splitdrive(file)[0] == os.path.splitdrive(folder)[0]
    return os.path.relpath(file, folder) if same_drive else file


def _checked(file: str, table: Any) -> Mapping[str, Any]:
    """The table itself. Raises ConfigError for the first key or value that is not valid."""
    if not isinstance(table, dict):
        raise ConfigError(f"{place(file)}: tool.unhush must be a table, not {kind_of(table)}")
    label = _label(file)
    for name, value in table.items():
        key = BY_NAME.get(name)
        if key is None:
            hint = nearest(name, KEYS) or f"; valid keys: {', '.join(KEYS)}"
            raise ConfigError(f"{place(file, name)}: {label}{'has an ' * bool(label)}unknown key {name!r}{hint}")
        if should := wanted(key, value):
            raise ConfigError(f"{place(file, name)}: {label}{name} must be {should}, not {said(value)}")
    return table


def _label(file: str) -> str:
    """What a message calls the table of a file, before a key."""
    return "[tool.unhush] " if os.path.basename(file) == PYPROJECT else ""


def place(file: str, *keys: str) -> str:
    """`file:line` of a key (a path of keys) in a file's table; the name alone where no line is found."""
    line = line_of(file, keys)
    return f"{file}:{line}" if line else file


def line_of(file: str, keys: tuple[str, ...]) -> int | None:
    """The line in which a key of the table is set, or a table is opened.

    tomllib tells no lines, so it is asked about beginnings of the file: the statement that sets a key ends with the
    first line up to which the file both parses and has the key, and begins behind the last line before that up to
    which it parses.
    """
    with open(file, "rb") as stream:
        lines = stream.read().decode("utf-8", "replace").splitlines(keepends=True)
    path = keys if os.path.basename(file) != PYPROJECT else ("tool", "unhush", *keys)
    low, high = 0, len(lines)  # numbers of lines that parse: the key is not in the first, but in the second
    if not _has(_document(lines, high) or {}, path):
        return None
    while found := _between(lines, low, high):
        count, document = found
        low, high = (low, count) if _has(document, path) else (count, high)
    return low + 1


def _between(lines: list[str], low: int, high: int) -> tuple[int, Mapping[str, Any]] | None:
    """A number of lines strictly between two, near the middle, that parses, and what it says; None where none does."""
    middle = (low + high) // 2
    for count in (*range(middle, low, -1), *range(middle + 1, high)):
        if (document := _document(lines, count)) is not None:
            return count, document
    return None


def _document(lines: list[str], count: int) -> Mapping[str, Any] | None:
    import tomllib

    try:
        return tomllib.loads("".join(lines[:count]))
    except tomllib.TOMLDecodeError:
        return None


def _has(document: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    found: Any = document
    for part in path:
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return True

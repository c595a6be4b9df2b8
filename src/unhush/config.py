"""Settings: the nearest settings file and what it extends, then what the command line says."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from .codemods.rules import all_rules, default_codes
from .codemods.settings import Settings
from .configfile import ConfigError, Layer, farther_up, find_layers, own_layers, upward
from .keys import DECLARED
from .selectors import UnknownRule, resolve

__all__ = ["ConfigError", "Nearest", "Selection", "common_folder", "find_table", "load_settings", "project_root"]

_COPIED = [(key.name, key.field) for key in DECLARED if key.field]


class Selection(NamedTuple):
    """One layer's word on rules: selectors as written; `select` is None where the layer does not say."""

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def over(self, below: frozenset[str]) -> frozenset[str]:
        """The codes that are selected once this layer is laid over another. Raises UnknownRule."""
        base = below if self.select is None else resolve(self.select)
        return (base | resolve(self.extend_select)) - resolve(self.ignore)


_UNSAID = Selection()


def load_settings(
    paths: Iterable[str], rules: Selection = _UNSAID, exclude: Iterable[str] = (), **options: Any
) -> Settings:
    """The settings that hold for these paths as a whole: those of their common folder. See `Nearest`."""
    return Nearest(paths, rules, exclude, **options).base


class Nearest:
    """Which settings hold where: each file's are those of the nearest settings file upward, under the command line.

    `base` are those of the paths' common folder. `options` are fields of Settings that the command line sets; those
    that are None leave the file's word. Everything raises ConfigError, and UsageError for an unknown rule on the
    command line.
    """

    def __init__(
        self, paths: Iterable[str], rules: Selection = _UNSAID, exclude: Iterable[str] = (), **options: Any
    ) -> None:
        self._rules, self._exclude = rules, tuple(exclude)
        self._options = {name: value for name, value in options.items() if value is not None}
        self._known: dict[str, Settings] = {}  # by settings file
        folder = common_folder(paths)
        self.layers = find_layers(folder)
        self.root = self.layers[0].folder if self.layers else project_root(folder)
        self.codes: frozenset[str] = frozenset()  # that hold in any file that was asked about
        self.base = self._settings(self.layers)
        self._at = {folder: self.base}  # by folder

    def own(self, folder: str) -> Settings | None:
        """The settings of the settings file in this very folder; None where there is none."""
        if self.layers and folder == self.layers[0].folder:
            return self.base
        layers = own_layers(folder)
        return self._settings(layers) if layers else None

    def above(self, folder: str) -> Settings:
        """The settings that hold in a folder."""
        found, passed = None, []
        for at in upward(folder):
            if found := self._at.get(at) or self.own(at):
                break
            passed.append(at)
        self._at.update(dict.fromkeys([folder, *passed], found or self.base))
        return self._at[folder]

    def _settings(self, layers: tuple[Layer, ...]) -> Settings:
        """What some layers (the nearest first) say, with the command line over them."""
        name = layers[0].file if layers else ""
        if name not in self._known:
            self._known[name] = self._made(layers)
            self.codes |= self._known[name].select
        return self._known[name]

    def _made(self, layers: tuple[Layer, ...]) -> Settings:
        table = merged(layers)
        codes = _codes(layers)
        try:
            codes = self._rules.over(codes)
        except UnknownRule as error:
            raise click.UsageError(str(error)) from error
        fields: dict[str, Any] = {field: _frozen(table[key]) for key, field in _COPIED if key in table}
        groups = [group for group in _excludes(layers) if group[1]]
        own = [patterns for folder, patterns in groups if folder == self.root]
        return Settings(
            select=codes,
            exclude=(*(word for patterns in own for word in patterns), *self._exclude),
            excludes=tuple(group for group in groups if group[0] != self.root),
            per_file_ignores=tuple(_ignores(layers)),
            baseline=_baseline_of(layers),
            target_version=_version(table.get("target-version")),
            root=self.root,
            **{**fields, **self._options},
        )


def merged(layers: Sequence[Layer]) -> Mapping[str, Any]:
    """The values of some layers: of a key that several have the nearest counts."""
    return ChainMap(*(dict(layer.table) for layer in layers))


def path_of(layers: Sequence[Layer], key: str) -> str | None:
    """A path that the layers name, made absolute from the file that names it."""
    for layer in layers:
        if key in layer.table:
            return os.path.normpath(os.path.join(layer.folder, os.path.expanduser(layer.table[key])))
    return None


def _baseline_of(layers: tuple[Layer, ...]) -> str | None:
    """The baseline that the layers name, else the next file upward: what a hook finds must not hang on what it is given."""
    return next((path for found in farther_up(layers) if (path := path_of(found, "baseline"))), None)


def find_table(folder: str) -> tuple[str | None, Mapping[str, Any]]:
    """The nearest settings file upward, and its table with what it extends, checked. Raises ConfigError."""
    layers = find_layers(folder)
    return (layers[0].file, merged(layers)) if layers else (None, {})


def common_folder(paths: Iterable[str]) -> str:
    """The deepest folder that holds all the paths, absolute; the working directory where there are none."""
    full = [os.path.abspath(path) for path in paths] or [os.getcwd()]
    drives = {os.path.splitdrive(path)[0] for path in full}
    folder = os.path.commonpath(full) if len(drives) == 1 else os.getcwd()
    return folder if os.path.isdir(folder) else os.path.dirname(folder)


def project_root(folder: str) -> str:
    """The folder of the project: the nearest upward that holds a pyproject.toml or a `.git`.

    Where there is none it is the working directory, or the folder itself if that lies elsewhere.
    """
    for place in upward(folder):
        if any(os.path.exists(os.path.join(place, name)) for name in ("pyproject.toml", ".git")):
            return place
    here = os.getcwd()
    return here if here in upward(folder) else folder


def _codes(layers: Sequence[Layer]) -> frozenset[str]:
    """The rules that the layers select, each laid over those that it extends."""
    codes = default_codes()
    for layer in reversed(layers):
        table = layer.table
        if "preset" in table:
            codes = frozenset(all_rules()) if table["preset"] == "strict" else default_codes()
        for key in ("select", "extend-select", "ignore"):
            try:
                found = resolve(table.get(key, ()))
            except UnknownRule as error:
                raise layer.error(str(error), key) from error
            if key == "select":
                codes = found if key in table else codes
            else:
                codes = codes | found if key == "extend-select" else codes - found
    return codes


def _ignores(layers: Sequence[Layer]) -> Iterator[tuple[str, str, frozenset[str]]]:
    """The rules left out in some files, each with the folder and pattern."""
    for layer in layers:
        if "per-file-ignores" not in layer.table:
            continue
        for pattern, words in layer.table["per-file-ignores"].items():
            try:
                yield _base(layer, layers[0], pattern), pattern, resolve(words)
            except UnknownRule as error:
                raise layer.error(str(error), "per-file-ignores", pattern) from error
        return


def _excludes(layers: Sequence[Layer]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The patterns of what is skipped, each list with its folder; a file's `exclude` takes the place of those below."""
    for layer in layers:
        lines = (*layer.table.get("exclude", ()), *layer.table.get("extend-exclude", ()))
        for folder in dict.fromkeys(_base(layer, layers[0], line) for line in lines):
            yield folder, tuple(line for line in lines if _base(layer, layers[0], line) == folder)
        if "exclude" in layer.table:
            return


def _base(layer: Layer, nearest: Layer, pattern: str) -> str:
    """The folder that a layer's pattern is relative to: the layer's own.

    Where the file that extends it lies elsewhere, a pattern that is tied to no folder holds there.
    """
    bare = pattern.removeprefix("!").removeprefix("**/").rstrip("/")
    above = (nearest.folder + os.sep).startswith(layer.folder.rstrip(os.sep) + os.sep)
    return layer.folder if above or "/" in bare else nearest.folder


def _version(word: str | None) -> tuple[int, int] | None:
    return (3, int(word[3:])) if word else None


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

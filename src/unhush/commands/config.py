"""`unhush config`: the settings in force, and where each comes from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import click

from ..codemods.perfile import without_ignored
from ..config import Nearest
from ..configfile import Layer, farther_up, line_of
from ..keys import DECLARED, STRINGS, Key, keys_table
from ..options import settings_from, shared_options, split
from ..output import Output
from ..reports.paths import relative

_RULES = ("preset", "select", "extend-select", "ignore")
_ADDED_TO = ("extend", "extend-select", "ignore", "exclude", "extend-exclude")
_FRESH = {
    **dict.fromkeys(_RULES, ("select", "preset")),
    "exclude": ("exclude",),
    "extend-exclude": ("exclude",),
}


class Origin(NamedTuple):
    """Where a value comes from: a line of a file, the command line, or (neither) the default."""

    file: str | None = None
    line: int | None = None
    option: str | None = None

    def told(self, base: str) -> str:
        """It in words; a file by its name as seen from a folder."""
        if self.option:
            return f"command line: {self.option}"
        return f"{relative(self.file, base)}:{self.line}" if self.file else "default"


class Value(NamedTuple):
    """A key's value in force, as written; keys that add to each other have several."""

    key: Key
    value: Any
    origin: Origin


@click.command("config")
@click.argument("path", required=False, type=click.Path(exists=True))
@shared_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--schema", "as_schema", is_flag=True, help="Print the JSON schema of the settings, for editors.")
@click.option("--keys", "as_keys", is_flag=True, help="Print the keys with type, default and meaning (Markdown).")
def command(path: str | None, as_json: bool, as_schema: bool, as_keys: bool, **shared: Any) -> None:
    """Shows the settings in force for the file or folder PATH (default: the working directory) and their origin.

    Options of `check` and `fix` may be given as well: they are shown as they would count. Exits with 2 for a settings
    file that can't be used.
    """
    output = Output(shared["quiet"])
    if as_schema or as_keys:
        from ..schema import schema_text

        output.write([schema_text() if as_schema else keys_table()])
        return
    path = os.path.abspath(path or ".")
    nearest = settings_from([path], shared)
    values = list(_values(nearest.layers, _given(shared)))
    rules = sorted(without_ignored(path, nearest.base).select if os.path.isfile(path) else nearest.base.select)
    output.write([_json(path, nearest, values, rules) if as_json else _text(path, nearest, values, rules)])


def _given(shared: dict[str, Any]) -> dict[str, Any]:
    """What the command line says, by key."""
    given: dict[str, Any] = {
        key: list(split(shared[key.replace("-", "_")])) for key in ("select", "extend-select", "ignore", "exclude")
    }
    given["min-severity"] = shared["min_severity"]
    found = {key: value for key, value in given.items() if value}
    return {**found, "foreign-suppressions": False} if shared["no_foreign_suppressions"] else found


def _values(layers: tuple[Layer, ...], given: dict[str, Any]) -> Iterator[Value]:
    """Every key's value, in order of declaration."""
    for key in DECLARED:
        name = key.name
        found = [Value(key, given[name], Origin(option=_option(key)))] if name in given else []
        if not found or name in _ADDED_TO:
            all_layers = [layer for found in farther_up(layers) for layer in found] if name == "baseline" else layers
            for layer in _counting(all_layers, name, afresh="select" in given):
                line = line_of(layer.file, (name,))
                found.append(Value(key, _safe(key, layer.table[name]), Origin(layer.file, line)))
        yield from found or [Value(key, list(key.default) if key.kind in STRINGS else key.default, Origin())]


def _option(key: Key) -> str:
    return "--no-foreign-suppressions" if key.kind == "boolean" else f"--{key.name}"


def _counting(layers: Sequence[Layer], name: str, afresh: bool) -> Iterator[Layer]:
    """The layers whose word on a key counts: the nearest that has it, or of adding ones all down to a fresh start.

    `afresh` says that the command line selects rules, so that no file does.
    """
    if afresh and name in _RULES:
        return
    for layer in layers:
        if name in layer.table:
            if name == "preset" and "select" in layer.table:
                return
            yield layer
            if name not in _ADDED_TO:
                return
        if any(key in layer.table for key in _FRESH.get(name, ())):
            return


def _safe(key: Key, value: Any) -> Any:
    """A value that may be shown: of tables with keys of their own (which may hold passwords) only the keys."""
    return dict.fromkeys(value, "...") if key.kind == "table" else value


def _text(path: str, nearest: Nearest, values: Sequence[Value], rules: Sequence[str]) -> str:
    """The values as TOML, each with its origin as a comment."""
    base = os.getcwd()
    rows = [(f"{value.key.name} = {_toml(value.value)}", value.origin.told(base)) for value in values]
    width = min(max(len(row[0]) for row in rows), 60)
    files = ", ".join(relative(layer.file, base) for layer in nearest.layers) or "none"
    lines = [f"# for {'.' if path == base else relative(path, base)}; settings files: {files}"]
    lines += [f"{text:{width}}  # {origin}" for text, origin in rows]
    lines += [f"# {len(rules)} rules in force: {', '.join(rules)}"]
    return "\n".join(lines) + "\n"


def _json(path: str, nearest: Nearest, values: Sequence[Value], rules: Sequence[str]) -> str:
    document = {
        "path": path,
        "files": [layer.file for layer in nearest.layers],
        "root": nearest.root,
        "values": [
            {
                "key": value.key.name,
                "value": value.value,
                "origin": "option" if value.origin.option else "file" if value.origin.file else "default",
                "file": value.origin.file,
                "line": value.origin.line,
                "option": value.origin.option,
            }
            for value in values
        ],
        "rules": list(rules),
    }
    return json.dumps(document, indent=2) + "\n"


def _toml(value: Any) -> str:
    """A value as TOML; `unset` where there is none."""
    if value is None:
        return "unset"
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(name)} = {_toml(item)}" for name, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)

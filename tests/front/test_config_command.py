"""`unhush config`, and the schema of the settings."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from unhush.config import load_settings
from unhush.configfile import ConfigError, read_table
from unhush.keys import DECLARED, KEYS, keys_table
from unhush.schema import FILE, schema, schema_text

Write = Callable[[dict[str, str | bytes]], Path]

BASE = 'preset = "strict"\nignore = ["UNH4"]\nextend-exclude = ["b"]\nmin-severity = "low"\n'
OWN = """\
[tool.unhush]
extend = "base.toml"

ignore = [
    "UNH5",
]
extend-exclude = ["a"]
[tool.unhush.per-file-ignores]
"x.py" = ["UNH1"]
[tool.unhush.rollout]
url = "postgresql://me:secret@host/db"
"""


def origins(data: Any) -> dict[str, list[tuple[Any, str]]]:
    """The values of `unhush config --json` by key, each with its origin."""
    found: dict[str, list[tuple[Any, str]]] = {}
    for row in data["values"]:
        where = row["option"] or (f"{Path(row['file']).name}:{row['line']}" if row["file"] else row["origin"])
        found.setdefault(row["key"], []).append((row["value"], where))
    return found


def test_every_value_is_shown_with_its_origin(cli: Callable[..., Any], write_tree: Write) -> None:
    """Each key has its value and the file and line, the option, or the default that it comes from."""
    write_tree({"base.toml": BASE, "pyproject.toml": OWN, "x.py": "", "y.py": ""})
    data = cli("config", "--json", "--exclude", "c", "--no-foreign-suppressions").data
    found = origins(data)
    assert list(found) == list(KEYS)
    assert found["preset"] == [("strict", "base.toml:1")]
    assert found["ignore"] == [(["UNH5"], "pyproject.toml:4"), (["UNH4"], "base.toml:2")]
    assert found["extend-exclude"] == [(["a"], "pyproject.toml:7"), (["b"], "base.toml:3")]
    assert found["exclude"] == [(["c"], "--exclude")]
    assert found["min-severity"] == [("low", "base.toml:4")]
    assert found["foreign-suppressions"] == [(False, "--no-foreign-suppressions")]
    assert found["fail-on"] == [(None, "default")]
    assert data["rules"] == sorted(load_settings(["."]).select)
    assert "UNH102" in cli("config", "--json", "y.py").data["rules"]
    assert "UNH102" not in cli("config", "--json", "x.py").data["rules"]


def test_the_command_line_starts_a_selection_afresh(cli: Callable[..., Any], write_tree: Write) -> None:
    """With --select no file's word on rules counts, and none is shown."""
    write_tree({"base.toml": BASE, "pyproject.toml": OWN})
    data = cli("config", "--json", "--select", "UNH101", "--min-severity", "high").data
    found = origins(data)
    assert found["select"] == [(["UNH101"], "--select")]
    assert found["ignore"] == [([], "default")]
    assert found["min-severity"] == [("high", "--min-severity")]
    assert data["rules"] == ["UNH101"]


def test_the_text_names_places_and_no_secrets(cli: Callable[..., Any], write_tree: Write) -> None:
    """People see the same, and nobody a password of the roll-out's settings."""
    write_tree({"base.toml": BASE, "pyproject.toml": OWN})
    for arguments in ((), ("--json",)):
        shown = cli("config", *arguments)
        assert (shown.code, "secret" in shown.out) == (0, False)
    lines = cli("config").out.splitlines()
    assert lines[0] == "# for .; settings files: pyproject.toml, base.toml"
    assert [line.split() for line in lines if line.startswith("ignore")] == [
        ["ignore", "=", '["UNH5"]', "#", "pyproject.toml:4"],
        ["ignore", "=", '["UNH4"]', "#", "base.toml:2"],
    ]
    assert any(line.startswith("rollout = { ") and line.endswith("pyproject.toml:10") for line in lines)


@pytest.mark.parametrize("arguments", [("config", "gone.py"), ("config", "--select", "UNH1O1"), ("config", "bad")])
def test_bad_input_ends_with_2(cli: Callable[..., Any], write_tree: Write, arguments: tuple[str, ...]) -> None:
    """A path that is not there, an unknown rule and a bad file are one line and exit code 2."""
    write_tree({"bad/unhush.toml": "baseline = 3\n"})
    ended = cli(*arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert cli("config").code == 0


def test_the_table_of_keys_is_that_of_the_documentation(cli: Callable[..., Any], root: Path) -> None:
    """docs/configuration.md holds what `unhush config --keys` prints."""
    page = (root / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert cli("config", "--keys").out == keys_table()
    assert keys_table() in page, "write the table anew with the command above"


def test_the_shipped_schema_is_current_and_sound(cli: Callable[..., Any], root: Path) -> None:
    """The file in the package is what `unhush config --schema` prints, and is a schema."""
    shipped = (root / "src" / "unhush" / FILE).read_text(encoding="utf-8")
    assert shipped == cli("config", "--schema").out == schema_text(), "write it anew with the command above"
    jsonschema.Draft7Validator.check_schema(schema())
    assert list(schema()["properties"]) == list(KEYS)
    assert all(
        key.default is None or jsonschema.validate({key.name: _plain(key.default)}, schema()) is None
        for key in DECLARED
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_the_schema_takes_real_files(root: Path) -> None:
    """This project's own settings and the documentation's examples are valid."""
    own = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["unhush"]
    assert own
    jsonschema.validate(own, schema())
    page = (root / "docs" / "configuration.md").read_text(encoding="utf-8")
    blocks = [tomllib.loads(part.split("```")[0]) for part in page.split("```toml\n")[1:]]
    assert len(blocks) >= 3
    for block in blocks:
        jsonschema.validate(block.get("tool", {}).get("unhush", block), schema())


@pytest.mark.parametrize(
    "text",
    [
        "selct = []",
        "select = 'UNH1'",
        "select = ['UNH999']",
        "ignore = [1]",
        "min-severity = 3",
        "fail-on = 'hgh'",
        "foreign-suppressions = 'no'",
        "baseline = ''",
        "per-file-ignores = ['a']",
        "[per-file-ignores]\na = 'UNH1'",
        "[per-file-ignores]\na = [1]",
        "app = 'module'",
        "rollout = 1",
        "target-version = '3.11'",
        "extend = ['a']",
        "preset = 'all'",
    ],
)
def test_schema_and_reader_refuse_the_same(write_tree: Write, text: str) -> None:
    """What the reader refuses, an editor marks; and the reader names file and line."""
    folder = write_tree({"unhush.toml": f"{text}\n"})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(text), schema())
    with pytest.raises(ConfigError) as refused:
        load_settings([str(folder)])
    assert str(refused.value).startswith(f"{folder / 'unhush.toml'}:1: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("word", ["UNH1", "unh102", "Silent-Broad-Except", "strict", "ALL", "all", "default"])
def test_schema_and_reader_take_the_same_words_for_rules(write_tree: Write, word: str) -> None:
    """Rules may be named in any way that the reader knows."""
    folder = write_tree({"unhush.toml": f"select = ['{word}']"})
    assert load_settings([str(folder)]).select
    jsonschema.validate(dict(read_table(str(folder / "unhush.toml")) or {}), schema())

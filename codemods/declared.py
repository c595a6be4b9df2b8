"""Which packages a project declares that it needs at run time, in whatever file it says so."""

from __future__ import annotations

import configparser
import os
import re
import tomllib
from collections.abc import Iterator
from typing import Any

from .setup_script import install_requires

_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*([^;#]*)(;)?")
_REQUIREMENT_FILES = (
    "requirements.txt",
    "requirements.in",
    "requirements/base.txt",
    "requirements/main.txt",
    "requirements/production.txt",
    "requirements/requirements.txt",
)
_SCRIPT = re.compile(rb"(?m)^# /// script\s*$\s((?:^#(?: .*)?$\s)+?)^# ///\s*$")


def declared(root: str) -> frozenset[str]:
    """Normalised names of the packages that the project at `root` needs wherever it runs.

    Read are pyproject.toml (PEP 621, Poetry), setup.cfg, setup.py (`install_requires`), requirements files
    and Pipfile. Extras, groups, and requirements with an environment marker are not counted: they may be absent.
    """
    found: set[str] = set()
    for name, reader in (("pyproject.toml", _pyproject), ("setup.cfg", _setup_cfg), ("setup.py", install_requires)):
        found.update(_names(reader(_text(os.path.join(root, name)))))
    for name in _REQUIREMENT_FILES:
        found.update(_names(_text(os.path.join(root, *name.split("/"))).splitlines()))
    found.update(_names(_keys(_toml(_text(os.path.join(root, "Pipfile"))).get("packages"))))
    return frozenset(found)


def declared_in_script(data: bytes) -> frozenset[str]:
    """Normalised names of the packages that a script's own metadata block names (PEP 723)."""
    if b"# /// script" not in data:
        return frozenset()
    match = _SCRIPT.search(data.replace(b"\r\n", b"\n"))
    if match is None:
        return frozenset()
    text = "\n".join(line[2:] for line in match[1].decode("utf-8", "replace").splitlines())
    return frozenset(_names(_strings(_toml(text).get("dependencies"))))


def _text(path: str) -> str:
    """A file's text; nothing where there is no such file or it can't be read."""
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        return ""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _names(requirements: Iterator[str] | list[str]) -> Iterator[str]:
    """The normalised names of requirements (PEP 503) that hold whatever the environment."""
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match and not match[3]:
            yield re.sub(r"[-_.]+", "-", match[1]).lower()


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _keys(table: object) -> list[str]:
    """The names of a table of packages (Poetry, Pipfile), without the optional ones and Python itself."""
    if not isinstance(table, dict):
        return []
    return [
        name
        for name, value in table.items()
        if name.lower() != "python"
        and not (isinstance(value, dict) and (value.get("optional") or "markers" in value or "python" in value))
    ]


def _pyproject(text: str) -> list[str]:
    table = _toml(text)
    project = table.get("project")
    poetry = table.get("tool", {}).get("poetry", {}) if isinstance(table.get("tool"), dict) else {}
    found = _strings(project.get("dependencies")) if isinstance(project, dict) else []
    return found + (_keys(poetry.get("dependencies")) if isinstance(poetry, dict) else [])


def _setup_cfg(text: str) -> list[str]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return []
    return parser.get("options", "install_requires", fallback="").splitlines()

"""`ruff format --range` on the inserted lines alone, where the user's project configures ruff and ruff is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import replace
from functools import cache

from .edits import Edit, Places, apply
from .module import Module
from .source import Source

_FORMATTED = frozenset({"call", "pass", "import", "logger", "except"})


def formatted(module: Module, edits: list[Edit]) -> list[Edit]:
    """The edits with their new text as ruff lays it out; those of which ruff would touch more stay as they are."""
    source = module.source
    folder = os.path.dirname(os.path.abspath(source.filename))
    command = _ruff() if _configured(folder) else None
    if command is None or source.encoding != "utf-8" or b"\r" in source.data.replace(b"\r\n", b""):
        return edits
    edits = list(edits)
    for at in reversed(range(len(edits))):
        if edits[at].kind in _FORMATTED:
            edits[at] = _formatted(command, source.filename, source.data, edits, at)
    return edits


def _formatted(command: str, filename: str, data: bytes, edits: list[Edit], at: int) -> Edit:
    edit = edits[at]
    new, starts = apply(data, edits)
    start = starts[at] + len(edit.new) - len(edit.new.lstrip())
    end = starts[at] + len(edit.new.rstrip())
    places = Places(Source(new, filename))
    first, last = places.place(start)[0], places.place(end)[0]
    done = subprocess.run(
        [command, "format", "--range", f"{first}:1-{last + 1}:1", "--stdin-filename", filename, "-"],
        input=new,
        capture_output=True,
        check=False,
        cwd=os.path.dirname(os.path.abspath(filename)),
    )
    head, tail = new[: starts[at]], new[starts[at] + len(edit.new) :]
    fits = done.returncode == 0 and done.stdout.startswith(head) and done.stdout.endswith(tail)
    if not fits or len(done.stdout) < len(head) + len(tail):
        return edit
    return replace(edit, new=done.stdout[len(head) : len(done.stdout) - len(tail)])


@cache
def _ruff() -> str | None:
    """The ruff to run: that of this Python's environment, or the one on the path."""
    own = os.path.join(sysconfig.get_path("scripts"), "ruff" + (".exe" if sys.platform == "win32" else ""))
    return own if os.path.isfile(own) else shutil.which("ruff")


@cache
def _configured(folder: str) -> bool:
    """Whether ruff's settings for a folder are given by the project: in this folder or one above."""
    if any(os.path.isfile(os.path.join(folder, name)) for name in ("ruff.toml", ".ruff.toml")):
        return True
    pyproject = os.path.join(folder, "pyproject.toml")
    if os.path.isfile(pyproject) and os.access(pyproject, os.R_OK):
        with open(pyproject, "rb") as file:
            data = file.read()
        if b"ruff" in data and "ruff" in _tools(data):
            return True
    above = os.path.dirname(folder)
    return above != folder and _configured(above)


def _tools(data: bytes) -> dict[str, object]:
    """The `tool` table of a pyproject.toml; empty for a file that is not TOML."""
    try:
        return tomllib.loads(data.decode("utf-8", "replace")).get("tool", {})
    except tomllib.TOMLDecodeError:
        return {}

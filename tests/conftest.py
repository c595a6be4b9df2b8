"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from unhush.codemods.model import Finding

ROOT = Path(__file__).parent.parent

if os.environ.get("UNHUSH_REQUIRE_SERVICES"):  # the same commit gives the same result; people's runs go on searching
    hypothesis.settings.load_profile("ci")


@pytest.fixture
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture
def write_tree(tmp_path: Path) -> Callable[[dict[str, str | bytes]], Path]:
    """Writes files, given by relative name and content, into a fresh folder and returns it."""

    def write(files: dict[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return write


@pytest.fixture
def unhush(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs the command line as a user would: in a process of its own, from `cwd` (default: the fresh folder)."""

    def run(
        *args: str | Path, cwd: Path = tmp_path, stdin: bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PYTHONUTF8")}
        return subprocess.run(
            [sys.executable, "-m", "unhush", *map(str, args)],
            cwd=cwd,
            input=stdin,
            env={**clean, **(env or {})},
            capture_output=True,
            check=False,
        )

    return run


@pytest.fixture
def make_finding() -> Callable[..., Finding]:
    """Makes a finding in which only what a test is about must be said."""

    def make(**fields: Any) -> Finding:
        values: dict[str, Any] = {
            "code": "UNH102",
            "name": "silent-broad-except",
            "message": "`except Exception` swallows the exception",
            "filename": "/app/store.py",
            "row": 4,
            "column": 5,
            "end_row": 5,
            "end_column": 13,
            "qualname": "Store.save",
            "shape": "empty",
            "caught": ("Exception",),
            "severity": "high",
            "severity_reasons": ("the try commits",),
            "fingerprint": "0123456789abcdef",
            "in_loop": False,
            "fix": "safe",
        }
        return Finding(**{**values, **fields})

    return make

"""What the tests of executors have called, also in processes of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def send(folder: str, to: str, *, name: str = "") -> str:
    """Fails until a file says that it is mended."""
    if not (Path(folder) / f"mended-{to}").exists():
        raise ValueError("no such address")
    return f"{to} {name}"


def kill() -> None:
    """Kills its process."""
    os.kill(os.getpid(), signal.SIGKILL)

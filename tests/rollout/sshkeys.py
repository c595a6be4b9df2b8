"""SSH keys and lists of signers, made by ssh-keygen for a test."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_key(folder: Path, name: str) -> Path:
    """A new private key without a passphrase, with its `.pub` beside it."""
    path = folder / name
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], check=True, capture_output=True
    )
    return path


def public(key: Path) -> Path:
    """The `.pub` file of a key."""
    return key.with_name(f"{key.name}.pub")


def listed(person: str, key: Path, role: str | None = None, **options: str) -> str:
    """A line of a list of signers; `role` binds the key to one role, options are such as `valid_before`."""
    words = [f'namespaces="unhush-rollout-{role}"'] if role else []
    words += [f'{name.replace("_", "-")}="{value}"' for name, value in options.items()]
    kind, blob, *_ = public(key).read_text(encoding="utf-8").split()
    return " ".join([person, *([",".join(words)] if words else []), kind, blob]) + "\n"

"""Whether somebody wrote commits of a plan, by address and by the SSH keys that signed them."""

from __future__ import annotations

import re
from pathlib import Path

from . import git
from .signing import BadSignature, public_key

_ADDRESS = re.compile(r"<([^<>]+)>")
_SIGNED = re.compile(rb"^gpgsig(?:-sha256)? (-----BEGIN SSH SIGNATURE-----\n(?: .*\n)+)", re.MULTILINE)


def address(person: str) -> str:
    """A person's address in the form in which two are compared: `Ann <Ann@x.org>` and `ann@x.org` are one."""
    match = _ADDRESS.search(person)
    return (match[1] if match else person).strip().lower()


def wrote(root: Path, base: str, commit: str, person: str, key: bytes | None) -> bool:
    """Whether a person, or the holder of a public key, is an author, committer or co-author after `base` up to `commit`.

    Raises RolloutProblem where git does not know the commits.
    """
    if address(person) in git.people(root, base, commit):
        return True
    return key is not None and key in _signing_keys(root, base, commit)


def _signing_keys(root: Path, base: str, commit: str) -> set[bytes]:
    """The keys that signed those commits, whether or not anybody lists them."""
    span = f"{git.resolve(root, base)}..{git.resolve(root, commit)}"
    keys = set()
    for name in git.git(root, "rev-list", span, "--").decode().split():
        if match := _SIGNED.search(git.git(root, "cat-file", "commit", name)):
            armored = match[1].replace(b"\n ", b"\n").decode("ascii", "replace")
            try:
                keys.add(public_key(armored))
            except BadSignature:  # one that git can't read either names no key
                continue
    return keys

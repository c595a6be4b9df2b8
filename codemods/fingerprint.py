"""A finding's identity across runs: the same while its handler, its function and its file's place stay the same."""

from __future__ import annotations

import os


def fingerprint(code: str, filename: str, root: str, qualname: str, text: bytes, occurrence: int) -> str:
    """16 hex digits of code, file relative to `root`, qualname, text without layout, and number among equals.

    Rows, columns and indentation do not count, so that code may move within its file. `occurrence` is 0 for the
    first of several findings that are equal in all the rest.
    """
    from hashlib import blake2b

    parts = (
        code,
        relative(filename, root),
        qualname,
        " ".join(text.decode("utf-8", "replace").split()),
        str(occurrence),
    )
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def relative(filename: str, root: str) -> str:
    """A file's name as seen from a folder, with slashes; the whole name where it lies elsewhere."""
    root = os.path.abspath(root)
    below = filename[len(root) :].lstrip(os.sep) if filename.startswith(root.rstrip(os.sep) + os.sep) else filename
    return below.replace(os.sep, "/")

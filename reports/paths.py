"""File names as reports show them."""

from __future__ import annotations

import os
from pathlib import PurePath
from urllib.parse import quote


def relative(filename: str, base: str) -> str:
    """The name relative to an absolute folder where it lies in it, else unchanged."""
    prefix = base if base.endswith(os.sep) else base + os.sep
    return filename[len(prefix) :] if filename.startswith(prefix) else filename


def uri(filename: str) -> str:
    """A relative file name as a URI reference (RFC 3986); names that are not UTF-8 keep their bytes."""
    return quote(os.fsencode(filename.replace(os.sep, "/")))


def file_uri(filename: str) -> str:
    """An absolute file name as a `file:` URI (RFC 8089), without a slash at its end."""
    return PurePath(filename).as_uri().rstrip("/")

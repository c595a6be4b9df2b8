"""One page by HTTP, with a limit of time and size; trouble is one line that shows no password."""

from __future__ import annotations

import base64
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

TIMEOUT = 10.0  # seconds
LARGEST = 64 * 1024 * 1024  # bytes


class FetchProblem(Exception):
    """A page that can't be had; the text is one line."""


def fetch(url: str) -> str:
    """The text behind an http or https URL, which may hold name and password. Raises FetchProblem."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchProblem("is no http or https URL")
    request = Request(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    try:
        with urlopen(request, timeout=TIMEOUT) as answer:
            data: bytes = answer.read(LARGEST + 1)
    except HTTPError as error:
        raise FetchProblem(f"answers with HTTP {error.code}") from error
    except (URLError, HTTPException, OSError) as error:
        raise FetchProblem(f"can't be reached: {getattr(error, 'reason', None) or error}") from error
    if len(data) > LARGEST:
        raise FetchProblem(f"answers with more than {LARGEST // 2**20} MiB")
    return data.decode("utf-8", "replace")


def shown(url: str) -> str:
    """A URL without its password and query."""
    parts = urlsplit(url)
    name = f"{parts.username}:***@" if parts.password else ""
    return urlunsplit(parts._replace(netloc=name + parts.netloc.rpartition("@")[2], query="", fragment=""))

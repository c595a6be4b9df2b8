"""One number from a Prometheus server, or why there is none: whatever is not one clear, fresh number is no data."""

from __future__ import annotations

import http.client
import json
import math
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

TIMEOUT = 5.0  # seconds
FRESH = 300.0  # seconds by which a sample's time may differ from this clock
LIMIT = 1024 * 1024  # bytes of an answer


@dataclass(frozen=True, slots=True)
class Answer:
    """A number, or None and in `why` what was there instead."""

    value: float | None
    why: str = ""


def ask(server: str, query: str, *, timeout: float = TIMEOUT) -> Answer:
    """The value of an instant query that has exactly one series. Never raises."""
    if urlsplit(server).scheme not in ("http", "https"):
        return Answer(None, "the setting `prometheus` is no http or https URL")
    request = urllib.request.Request(
        server.rstrip("/") + "/api/v1/query",
        data=urlencode({"query": query, "timeout": f"{timeout:g}s"}).encode(),
        headers={"Accept": "application/json"},
    )
    until = time.monotonic() + timeout
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            data = _read(response, until)
    except urllib.error.HTTPError as error:
        return Answer(None, f"Prometheus answers {error.code}{_said(error)}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return Answer(None, f"Prometheus does not answer: {str(reason) or type(reason).__name__}")
    return _number(data)


def _read(response: http.client.HTTPResponse, until: float) -> bytes:
    """The body; raises TimeoutError where it trickles on, ValueError where it has no end."""
    data = b""
    while piece := response.read1(65536):
        data += piece
        if len(data) > LIMIT:
            raise ValueError("its answer is too long")
        if time.monotonic() > until:
            raise TimeoutError("its answer does not end in time")
    return data


def _said(error: urllib.error.HTTPError) -> str:
    try:
        said = json.loads(error.read(4096)).get("error", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return f": {' '.join(str(said).split())[:200]}" if said else ""


def _number(data: bytes) -> Answer:
    try:
        answer = json.loads(data)
        status, result = answer["status"], answer["data"]["result"]
        kind = answer["data"]["resultType"]
        if status != "success":
            return Answer(None, f"Prometheus says {status}")
        if kind == "vector":
            if len(result) != 1:
                many = f"{len(result)} series, not one: sum them up" if result else "no series"
                return Answer(None, f"the query gives {many}")
            at, text = result[0]["value"]
        elif kind == "scalar":
            at, text = result
        else:
            return Answer(None, f"the query gives a {kind}, not one number")
        at, value = float(at), float(text)
    except (ValueError, TypeError, KeyError, IndexError):
        return Answer(None, "what Prometheus answers is not its JSON")
    if not math.isfinite(value):
        return Answer(None, f"the query gives {text}")
    age = time.time() - at
    if not abs(age) <= FRESH:
        return Answer(None, f"the number is of {age:.0f} s ago")
    return Answer(value)

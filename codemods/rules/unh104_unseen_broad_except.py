"""UNH104: a broad handler that acts, while nobody hears of the exception (opt-in)."""

from __future__ import annotations

from ..handlers import is_heard
from ..scope import HandlerSite
from ..settings import Settings
from . import Match, Rule


def match(site: HandlerSite, settings: Settings) -> Match | None:
    """The finding of a bare or broad handler that does something, but tells nobody."""
    if site.breadth not in ("bare", "broad") or site.shape != "acts" or is_heard(site, settings):
        return None
    header = f"`except {', '.join(site.caught)}`" if site.caught else "bare `except`"
    message = f"{header} handles the failure, but nobody hears of the exception"
    return Match(
        site.handler, (*site.path, site.handler), message, "medium", ("the handler acts",), site.caught, site.shape
    )


RULE = Rule(
    code="UNH104",
    name="unseen-broad-except",
    summary="A broad handler acts on the failure, but the exception itself leaves no trace",
    default=False,
    kind="handler",
    priority=60,
    match=match,
    fix="log",
    breadths=("bare", "broad"),
    acting=True,
    doc="""\
## What it does
Reports a bare or broad handler that does something (a call, a computation, a branch) without raising, logging,
reporting, printing or using the exception. It is the nearest to ruff's BLE001, and opt-in.

## Why is this bad
The fallback may be right for the failure that was meant. For all others it hides the cause: nobody can tell why the
slow path, the stale copy or the retry was taken.

## Example
```python
def settings(url, cache):
    try:
        return download(url)
    except Exception:
        return cache.read(url)
```

## Use instead
```python
import logging

logger = logging.getLogger(__name__)


def settings(url, cache):
    try:
        return download(url)
    except Exception:
        logger.warning("settings.exception_ignored", exc_info=True)
        return cache.read(url)
```

## Fix safety
The fix inserts one log call and is safe: what the handler does stays as it was.

## Options
`logger-names`, `reporting-calls`, `backend`, `level-broad`

## References
- [ruff: blind-except (BLE001)](https://docs.astral.sh/ruff/rules/blind-except/)
""",
    bad=(
        "def settings(url, cache):\n    try:\n        return download(url)\n    except Exception:\n"
        "        return cache.read(url)\n",
        "def close(sock):\n    try:\n        sock.send(b'bye')\n    except:\n        if sock.open:\n            retry(sock)\n",
    ),
    good=(
        "def settings(url, cache):\n    try:\n        return download(url)\n    except Exception as error:\n"
        "        cache.note(error)\n        return cache.read(url)\n",
        "import sys\n\n\ndef start(app):\n    try:\n        app.run()\n    except Exception:\n        sys.exit(app.stop())\n",
        "def settings(url, cache):\n    try:\n        return download(url)\n    except OSError:\n"
        "        return cache.read(url)\n",
    ),
)

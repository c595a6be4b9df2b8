"""UNH401: a broad handler that logs the failure without its traceback (opt-in)."""

from __future__ import annotations

from ..model import Severity
from ..records import Evidence, evidence
from ..scope import HandlerSite
from ..settings import Settings
from ..testcode import is_test
from . import Match, Rule


def match(site: HandlerSite, settings: Settings) -> Match | None:
    """The finding of a broad handler whose record of level warning or more lacks the traceback."""
    if site.breadth not in ("bare", "broad"):
        return None
    found = evidence(site, settings)
    if found.traced or found.handed or not any(level is not None and level >= 30 for level in found.levels):
        return None
    level, reasons = _severity(found)
    if is_test(site.scope.source):
        level, reasons = "low", ("test or example code",)
    message = "the log record lacks the traceback: what failed, and where, is lost"
    return Match(site.handler, (*site.path, site.handler), message, level, reasons, site.caught)


def _severity(found: Evidence) -> tuple[Severity, tuple[str, ...]]:
    """High where the record does not even name the exception."""
    if not found.mentions:
        return "high", ("the record does not name the exception",)
    return "medium", ("the record names the exception alone",)


RULE = Rule(
    code="UNH401",
    name="logged-without-traceback",
    summary="A broad handler logs a warning or an error without the traceback",
    default=False,
    kind="handler",
    priority=60,
    match=match,
    breadths=("bare", "broad"),
    words=(b"warn", b"err", b"crit", b"fatal", b".log(", b"fail"),
    acting=True,
    fix="exc_info",
    doc="""\
## What it does
Reports a bare or broad handler that logs at level warning or above without the traceback (`exc_info=False` too), and
neither raises again, reports nor hands on the exception.

## Why is this bad
A broad handler catches failures that nobody foresaw. Their text alone, `'id'` of a KeyError or nothing at all, does
not tell what failed; the traceback does, and is gone once the handler ends.

## Example
```python
def sync(client, users):
    try:
        client.send_all(users)
    except Exception as error:
        logger.error("sync failed: %s", error)
```

## Use instead
```python
def sync(client, users):
    try:
        client.send_all(users)
    except Exception:
        logger.exception("sync failed")
```

## Fix safety
The fix adds `exc_info=True` to the call (for loguru `opt(exception=True)`) and is safe: the record gets a traceback,
nothing else changes.

## Options
`min-severity`, `logger-names`, `reporting-calls`

## References
- [Python documentation: Logger.exception](https://docs.python.org/3/library/logging.html#logging.Logger.exception)
- [ruff: error-instead-of-exception (TRY400)](https://docs.astral.sh/ruff/rules/error-instead-of-exception/)
""",
    bad=(
        "import logging\n\nlogger = logging.getLogger(__name__)\n\n\ndef sync(client, users):\n    try:\n"
        "        client.send_all(users)\n    except Exception as error:\n"
        "        logger.error('sync failed: %s', error)\n",
        "import logging\n\n\ndef load(path):\n    try:\n        return parse(path)\n    except:\n"
        "        logging.warning('no data', exc_info=False)\n        return None\n",
        "def load(self, path):\n    try:\n        return parse(path)\n    except (OSError, Exception) as error:\n"
        "        text = f'{path}: {error}'\n        self.log.critical(text)\n",
    ),
    good=(
        "import logging\n\nlogger = logging.getLogger(__name__)\n\n\ndef sync(client, users):\n    try:\n"
        "        client.send_all(users)\n    except Exception as error:\n"
        "        logger.warning('sync failed: %s', error, exc_info=True)\n",
        "def sync(client, users, logger):\n    try:\n        client.send_all(users)\n    except Exception:\n"
        "        logger.error('sync failed')\n        raise\n",
        "def sync(client, users, logger):\n    try:\n        client.send_all(users)\n    except Exception as error:\n"
        "        logger.error('sync failed')\n        client.failures.append(error)\n",
        "def sync(client, users, logger):\n    try:\n        client.send_all(users)\n    except OSError as error:\n"
        "        logger.error('sync failed: %s', error)\n",
    ),
)

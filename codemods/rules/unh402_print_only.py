"""UNH402: a broad handler whose only evidence is a print (opt-in)."""

from __future__ import annotations

from ..idioms import excuse
from ..model import Severity
from ..records import Evidence, evidence
from ..scope import HandlerSite
from ..settings import Settings
from ..stopping import says_failure
from ..testcode import is_test
from . import Match, Rule


def match(site: HandlerSite, settings: Settings) -> Match | None:
    """The finding of a broad handler that only prints, without the traceback."""
    if site.breadth not in ("bare", "broad"):
        return None
    found = evidence(site, settings)
    if not found.prints or found.levels or found.traced or found.handed or found.shown:
        return None
    if says_failure(site) or excuse(site):
        return None
    level, reasons = _severity(found)
    if is_test(site.scope.source):
        level, reasons = "low", ("test or example code",)
    message = "the only evidence of the failure is a print without traceback"
    return Match(site.handler, (*site.path, site.handler), message, level, reasons, site.caught)


def _severity(found: Evidence) -> tuple[Severity, tuple[str, ...]]:
    """High where what is printed does not even name the exception."""
    if not found.mentions:
        return "high", ("what is printed does not name the exception",)
    return "medium", ("a print is lost with its terminal",)


RULE = Rule(
    code="UNH402",
    name="print-only",
    summary="The only evidence of a failure in a broad handler is a print",
    default=False,
    kind="handler",
    priority=61,
    match=match,
    breadths=("bare", "broad"),
    words=(b"print", b"echo", b"write"),
    acting=True,
    fix="log",
    doc="""\
## What it does
Reports a bare or broad handler that prints (`print`, `click.echo`, a console's `print`, a write to stdout or stderr)
without the traceback, where nothing else tells of the failure: no log record, no exit, no error value, no use of the
exception.

## Why is this bad
In a service, a job or a pipe nobody reads what is printed, and without a traceback it says little: the failure is as
good as silent.

## Example
```python
def sync(client, users):
    try:
        client.send_all(users)
    except Exception as error:
        print("sync failed:", error)
```

## Use instead
```python
import logging

logger = logging.getLogger(__name__)


def sync(client, users):
    try:
        client.send_all(users)
    except Exception as error:
        logger.warning("sync.exception_ignored", exc_info=True)
        print("sync failed:", error)
```

## Fix safety
The fix inserts one log call before the print and is safe: what is printed stays.

## Options
`min-severity`, `logger-names`, `reporting-calls`, `backend`, `level-broad`

## References
- [Python documentation: When to use logging](https://docs.python.org/3/howto/logging.html#when-to-use-logging)
""",
    bad=(
        "def sync(client, users):\n    try:\n        client.send_all(users)\n    except Exception as error:\n"
        "        print('sync failed:', error)\n",
        "import sys\n\n\ndef load(path):\n    try:\n        return parse(path)\n    except:\n"
        "        sys.stderr.write('no data\\n')\n        return None\n",
        "import click\n\n\ndef load(path):\n    try:\n        return parse(path)\n    except Exception as error:\n"
        "        message = str(error)\n        click.echo(message)\n",
    ),
    good=(
        "import traceback\n\n\ndef sync(client, users):\n    try:\n        client.send_all(users)\n"
        "    except Exception:\n        print('sync failed')\n        traceback.print_exc()\n",
        "import sys\n\n\ndef main():\n    try:\n        work()\n    except Exception as error:\n"
        "        print(error, file=sys.stderr)\n        sys.exit(1)\n",
        "def sync(client, users, logger):\n    try:\n        client.send_all(users)\n    except Exception:\n"
        "        print('sync failed')\n        logger.warning('sync failed', exc_info=True)\n",
        "def sync(client, users):\n    try:\n        client.send_all(users)\n    except OSError as error:\n"
        "        print('sync failed:', error)\n",
    ),
)

"""UNH202: `contextlib.suppress` of named types (opt-in)."""

from __future__ import annotations

from collections.abc import Iterator

from ..scope import Scope
from ..settings import Settings
from ..suppress import places, suppress_matches
from . import Match, Rule


def match(scope: Scope, settings: Settings) -> Iterator[Match]:
    """The findings of the narrow suppress calls of a scope."""
    return suppress_matches(scope, "narrow")


RULE = Rule(
    code="UNH202",
    name="suppress-narrow",
    summary="`suppress` of named types swallows the exception",
    default=False,
    kind="scope",
    priority=32,
    match=match,
    triggers=(b"suppress",),
    places=places,
    fix="suppress",
    doc="""\
## What it does
Reports `contextlib.suppress` of specific types, by any import or alias, one finding for each call. Expected signals
(a file that is already gone, a key that may be missing, an optional import) are left alone, as they are for a silent
narrow handler.

## Why is this bad
Most of these are a good way to write EAFP. The others hide a failure of a file, a network or a process that somebody
will look for later. The rule is opt-in, for code where each of these should leave a trace.

## Example
```python
from contextlib import suppress


def publish(report, path):
    with suppress(OSError):
        upload(report, path)
        mark_published(report)
```

## Use instead
```python
import logging

logger = logging.getLogger(__name__)


def publish(report, path):
    try:
        upload(report, path)
        mark_published(report)
    except OSError:
        logger.debug("publish.exception_ignored", exc_info=True)
```

## Fix safety
Where the `with` has this one item, the fix writes the equal `try` with a log call at the level of `level-narrow`, and
is safe. In other places (several items, `enter_context`) the call is only reported.

## Options
`min-severity`, `backend`, `level-narrow`

## References
- [Python documentation: contextlib.suppress](https://docs.python.org/3/library/contextlib.html#contextlib.suppress)
""",
    bad=(
        "from contextlib import suppress\n\n\ndef publish(report, path):\n    with suppress(OSError):\n"
        "        upload(report, path)\n        mark_published(report)\n",
        "import contextlib\n\n\ndef restart(service):\n    with contextlib.suppress(ConnectionError, ServiceError):\n"
        "        service.stop()\n        service.deploy()\n        service.start()\n",
    ),
    good=(
        "import os\nfrom contextlib import suppress\n\n\ndef remove(path):\n    with suppress(FileNotFoundError):\n"
        "        os.remove(path)\n",
        "from contextlib import suppress\n\nwith suppress(ImportError):\n    import ujson\n",
    ),
)

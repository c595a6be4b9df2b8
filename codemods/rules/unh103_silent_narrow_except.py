"""UNH103: a handler of named types that is silent (opt-in)."""

from __future__ import annotations

from ..scope import HandlerSite
from ..settings import Settings
from ..silent import silent_match
from . import Match, Rule


def match(site: HandlerSite, settings: Settings) -> Match | None:
    """The finding of a silent narrow handler."""
    return silent_match(site, "narrow")


RULE = Rule(
    code="UNH103",
    name="silent-narrow-except",
    summary="A handler of named types swallows the exception",
    default=False,
    kind="handler",
    priority=32,
    match=match,
    breadths=("narrow",),
    fix="log",
    doc="""\
## What it does
Reports a handler of specific types that holds nothing but `pass`, `...`, strings, `continue`, `break`, plain returns
and assignments, or `del`. Expected signals handled right (EAFP lookups and conversions, optional imports, removal of
what is already gone, polls that time out, the end of an iterator) are left alone.

## Why is this bad
Most narrow handlers are Python's way to ask a question. The others hide a failure of a file, a network or a process
that somebody will look for later. The rule is opt-in, for code where each of these should leave a trace.

## Example
```python
def publish(report, path):
    try:
        upload(report, path)
        mark_published(report)
    except OSError:
        pass
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
The fix inserts one log call at the level of `level-narrow` and is safe: control flow stays as it was.

## Options
`min-severity`, `logger-names`, `reporting-calls`, `backend`, `level-narrow`

## References
- [ruff: try-except-pass (S110) with check-typed-exception](https://docs.astral.sh/ruff/rules/try-except-pass/)
""",
    bad=(
        "def publish(report, path):\n    try:\n        upload(report, path)\n        mark_published(report)\n"
        "    except OSError:\n        pass\n",
    ),
    good=(
        "def port(text):\n    try:\n        return int(text)\n    except ValueError:\n        return None\n",
        "try:\n    import ujson\nexcept ImportError:\n    ujson = None\n",
    ),
)

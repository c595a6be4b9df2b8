"""UNH201: `contextlib.suppress` of everything."""

from __future__ import annotations

from collections.abc import Iterator

from ..aliases import BROAD_NAME, aliases_in
from ..scope import Scope
from ..settings import Settings
from ..suppress import places_of, suppress_matches
from . import Match, Rule


def match(scope: Scope, settings: Settings) -> Iterator[Match]:
    """The findings of the broad suppress calls of a scope."""
    return suppress_matches(scope, "broad")


RULE = Rule(
    code="UNH201",
    name="suppress-broad",
    summary="`suppress(Exception)` swallows every failure, the unexpected ones included",
    default=True,
    kind="scope",
    priority=31,
    match=match,
    triggers=(b"suppress",),
    places=places_of(BROAD_NAME, lambda utf8: bool(aliases_in(utf8))),
    fix="suppress",
    doc="""\
## What it does
Reports `contextlib.suppress` of `Exception` or `BaseException`, by any import or alias, alone or among other types,
one finding for each call. What follows a documented idiom (an optional import, a small predicate, a fallback within a
report) is left alone, as it is for `except Exception: pass`. `suppress(*kinds)` is unknown and not reported.

## Why is this bad
`with suppress(Exception)` is `except Exception: pass` in other words, and hides a typo as well as a lost connection.
Linters that look at `except` clauses do not see it, and one of them even rewrites the handler to it.

## Example
```python
from contextlib import suppress


def save(order, database):
    with suppress(Exception):
        database.insert(order)
        database.commit()
```

## Use instead
```python
import logging

logger = logging.getLogger(__name__)


def save(order, database):
    try:
        database.insert(order)
        database.commit()
    except Exception:
        logger.warning("save.exception_ignored", exc_info=True)
```

## Fix safety
Where the `with` has this one item, the fix writes the equal `try` with a log call in the handler, and is safe: the
guarded lines stay as they were. In other places (several items, `enter_context`) the call is only reported.

## Options
`min-severity`, `backend`, `level-broad`

## References
- [Python documentation: contextlib.suppress](https://docs.python.org/3/library/contextlib.html#contextlib.suppress)
- [ruff: suppressible-exception (SIM105)](https://docs.astral.sh/ruff/rules/suppressible-exception/)
""",
    bad=(
        "from contextlib import suppress\n\n\ndef save(order, database):\n    with suppress(Exception):\n"
        "        database.insert(order)\n        database.commit()\n",
        "import contextlib as ctx\n\n\ndef send(client, rows):\n"
        "    with client.lock, ctx.suppress(OSError, BaseException):\n"
        "        client.send_all(rows)\n        client.commit()\n",
        "from contextlib import suppress as quietly\n\n\ndef store(rows, database):\n    for row in rows:\n"
        "        with quietly(Exception):\n            database.insert(row)\n            database.commit()\n",
    ),
    good=(
        "from contextlib import suppress\n\n\ndef save(order, database):\n    with suppress(KeyError):\n"
        "        database.insert(order['row'])\n",
        "from contextlib import suppress\n\n\ndef run(job, *kinds):\n    with suppress(*kinds):\n        job.run()\n",
        "from warnings_tool import suppress\n\n\ndef run(job):\n    with suppress(Exception):\n        job.run()\n",
    ),
)

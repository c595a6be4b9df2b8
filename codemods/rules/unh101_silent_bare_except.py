"""UNH101: a bare `except:` whose handler is silent."""

from __future__ import annotations

from ..scope import HandlerSite
from ..settings import Settings
from ..silent import silent_match
from . import Match, Rule


def match(site: HandlerSite, settings: Settings) -> Match | None:
    """The finding of a silent bare handler."""
    return silent_match(site, "bare")


RULE = Rule(
    code="UNH101",
    name="silent-bare-except",
    summary="A bare `except:` swallows every exception, KeyboardInterrupt and SystemExit included",
    default=True,
    kind="handler",
    priority=30,
    match=match,
    breadths=("bare",),
    fix="log",
    doc="""\
## What it does
Reports a bare `except:` whose handler holds nothing but `pass`, `...`, strings, `continue`, `break`, plain returns and
assignments, `del`, and plain clean-up calls.

## Why is this bad
A bare handler catches everything: the failure that was meant, each one that was not, and the signals that end a
program (KeyboardInterrupt, SystemExit). When it is also silent, data or results go missing while all looks well, and
nothing tells whoever runs the program.

## Example
```python
def save(order, database):
    try:
        database.insert(order)
        database.commit()
    except:
        pass
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
The fix inserts one log call and is safe: what is caught and where control flows stay as they were. It is unsafe or not
offered where a log call could itself do harm (`__del__`, signal handlers, logging handlers, compiled functions).

## Options
`min-severity`, `logger-names`, `reporting-calls`, `backend`, `level-broad`

## References
- [Python documentation: Handling exceptions](https://docs.python.org/3/tutorial/errors.html#handling-exceptions)
- [PEP 8: Programming recommendations](https://peps.python.org/pep-0008/#programming-recommendations)
""",
    bad=(
        "def save(order, database):\n    try:\n        database.insert(order)\n        database.commit()\n"
        "    except:\n        pass\n",
        "def load(rows, store):\n    for row in rows:\n        try:\n            record = parse(row)\n"
        "            store.append(record)\n        except:\n            continue\n",
    ),
    good=(
        "import logging\n\nlogger = logging.getLogger(__name__)\n\n\ndef save(order, database):\n    try:\n"
        "        database.insert(order)\n    except:\n        logger.exception('save.failed')\n",
        "def save(order, database):\n    try:\n        database.insert(order)\n    except:\n"
        "        database.rollback()\n        raise\n",
    ),
)

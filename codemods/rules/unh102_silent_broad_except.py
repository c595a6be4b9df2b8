"""UNH102: `except Exception` or `except BaseException` whose handler is silent."""

from __future__ import annotations

from ..scope import HandlerSite
from ..settings import Settings
from ..silent import silent_match
from . import Match, Rule


def match(site: HandlerSite, settings: Settings) -> Match | None:
    """The finding of a silent broad handler."""
    return silent_match(site, "broad")


RULE = Rule(
    code="UNH102",
    name="silent-broad-except",
    summary="`except Exception` swallows every failure, the unexpected ones included",
    default=True,
    kind="handler",
    priority=31,
    match=match,
    breadths=("broad",),
    fix="log",
    doc="""\
## What it does
Reports a handler of `Exception` or `BaseException` (by alias, by `builtins.`, in a tuple too) that holds nothing but
`pass`, `...`, strings, `continue`, `break`, plain returns and assignments, `del`, and plain clean-up calls. Documented
idioms are left alone: errors made visible to the caller, predicates, optional imports, fallbacks within a report.

## Why is this bad
The handler was written for one failure and hides all others too: a typo, a changed schema, a lost connection. Data or
results go missing, the default passes for a good value, and nobody hears of it.

## Example
```python
def load_prices(rows):
    prices = {}
    for row in rows:
        try:
            prices[row["sku"]] = parse_price(row)
        except Exception:
            continue
    return prices
```

## Use instead
```python
import logging

logger = logging.getLogger(__name__)


def load_prices(rows):
    prices = {}
    for row in rows:
        try:
            prices[row["sku"]] = parse_price(row)
        except Exception:
            logger.warning("load_prices.exception_ignored", exc_info=True)
            continue
    return prices
```

## Fix safety
The fix inserts one log call and is safe: what is caught and where control flows stay as they were. It is unsafe or not
offered where a log call could itself do harm (`__del__`, signal handlers, logging handlers, compiled functions).

## Options
`min-severity`, `logger-names`, `reporting-calls`, `backend`, `level-broad`

## References
- [Python documentation: Handling exceptions](https://docs.python.org/3/tutorial/errors.html#handling-exceptions)
- [ruff: blind-except (BLE001)](https://docs.astral.sh/ruff/rules/blind-except/)
""",
    bad=(
        "def load_prices(rows):\n    prices = {}\n    for row in rows:\n        try:\n"
        "            prices[row['sku']] = parse_price(row)\n        except Exception:\n            continue\n"
        "    return prices\n",
        "def sync(client, users):\n    try:\n        client.connect()\n        client.send_all(users)\n"
        "    except (ValueError, Exception):\n        return None\n",
    ),
    good=(
        "import logging\n\nlogger = logging.getLogger(__name__)\n\n\ndef sync(client, users):\n    try:\n"
        "        client.send_all(users)\n    except Exception:\n        logger.warning('sync.failed', exc_info=True)\n",
        "try:\n    import simplejson as json\nexcept Exception:\n    json = None\n",
    ),
)

"""UNH403: a broad handler that logs the failure below level info alone (opt-in)."""

from __future__ import annotations

from .. import severity
from ..idioms import excuse
from ..records import evidence
from ..scope import HandlerSite
from ..settings import Settings
from ..stopping import says_failure
from ..testcode import is_test
from . import Match, Rule


def match(site: HandlerSite, settings: Settings) -> Match | None:
    """The finding of a broad handler whose only record is below info."""
    if site.breadth not in ("bare", "broad"):
        return None
    found = evidence(site, settings)
    quiet = found.levels and all(level is not None and level < 20 for level in found.levels)
    if not quiet or found.prints or found.handed or found.shown or says_failure(site) or excuse(site):
        return None
    level, reasons = severity.judge(site)
    if level != "high" or not reasons:
        level, reasons = "medium", ("records below info are not kept where programs run",)
    if is_test(site.scope.source):
        level, reasons = "low", ("test or example code",)
    message = "the only record of the failure is below level info: where programs run nobody sees it"
    return Match(site.handler, (*site.path, site.handler), message, level, reasons, site.caught)


RULE = Rule(
    code="UNH403",
    name="debug-only",
    summary="The only log record of a failure in a broad handler is below level info",
    default=False,
    kind="handler",
    priority=62,
    match=match,
    breadths=("bare", "broad"),
    words=(b"debug", b"trace", b".log("),
    acting=True,
    fix="level",
    doc="""\
## What it does
Reports a bare or broad handler whose log records are all below level info (`debug`, `trace`, `log(DEBUG, ...)`), with
or without traceback, where nothing else tells of the failure.

## Why is this bad
Programs run at level info or warning. There the handler is silent: data or results go missing, and the record that
would tell why is never written.

## Example
```python
def save(order, database):
    try:
        database.insert(order)
        database.commit()
    except Exception:
        logger.debug("not saved")
```

## Use instead
```python
def save(order, database):
    try:
        database.insert(order)
        database.commit()
    except Exception:
        logger.warning("not saved", exc_info=True)
```

## Fix safety
The fix raises the level of the record and adds the traceback. It is unsafe: the program writes a record where it wrote
none, and may do so often.

## Options
`min-severity`, `logger-names`, `reporting-calls`, `level-broad`

## References
- [Python documentation: Logging levels](https://docs.python.org/3/library/logging.html#logging-levels)
""",
    bad=(
        "import logging\n\nlogger = logging.getLogger(__name__)\n\n\ndef save(order, database):\n    try:\n"
        "        database.insert(order)\n        database.commit()\n    except Exception:\n"
        "        logger.debug('not saved')\n",
        "import logging\n\n\ndef save(order, database):\n    try:\n        database.insert(order)\n"
        "        database.commit()\n    except Exception as error:\n"
        "        logging.log(logging.DEBUG, 'not saved: %s', error, exc_info=True)\n",
    ),
    good=(
        "def save(order, database, logger):\n    try:\n        database.insert(order)\n    except Exception:\n"
        "        logger.info('not saved', exc_info=True)\n",
        "def save(order, database, logger):\n    try:\n        database.insert(order)\n    except Exception as error:\n"
        "        logger.debug('not saved')\n        database.failed(error)\n",
        "def save(order, database, logger):\n    try:\n        database.insert(order)\n    except KeyError:\n"
        "        logger.debug('not saved')\n",
    ),
)

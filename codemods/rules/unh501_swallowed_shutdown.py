"""UNH501: a signal to end the program or the generator that is caught by name, and swallowed."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .. import stopping, suppress
from ..scope import HandlerSite, Scope
from ..settings import Settings
from ..testcode import is_test
from . import Match, Rule

_SAYS = {
    "KeyboardInterrupt": "swallows KeyboardInterrupt: the program goes on although somebody asked it to stop",
    "SystemExit": "swallows SystemExit: the program goes on, and the exit code is lost",
    "GeneratorExit": "swallows GeneratorExit, and the generator yields again: closing it raises RuntimeError",
}


def match(site: HandlerSite, settings: Settings) -> Match | None:
    """The finding of a handler that swallows KeyboardInterrupt, SystemExit or GeneratorExit."""
    return _match(site, site.handler, f"`except {', '.join(site.caught)}`", settings)


def match_scope(scope: Scope, settings: Settings) -> Iterator[Match]:
    """The findings of the suppress calls of a scope that swallow KeyboardInterrupt or SystemExit."""
    for site in suppress.sites(scope):
        if site.try_.body and (found := _match(site, site.call, f"`suppress({', '.join(site.caught)})`", settings)):
            yield found


def _match(site: HandlerSite, node: ast.AST, header: str, settings: Settings) -> Match | None:
    """The finding at a node, when the site swallows a signal."""
    signal = stopping.stopped(site)
    if signal is None:
        return None
    level, reasons = stopping.judge(site, signal)
    if is_test(site.scope.source):
        level, reasons = "low", ("test or example code", *reasons)
    return Match(node, (*site.path, node), f"{header} {_SAYS[signal]}", level, reasons, site.caught)


RULE = Rule(
    code="UNH501",
    name="swallowed-shutdown",
    summary="KeyboardInterrupt, SystemExit or GeneratorExit is caught by name and swallowed",
    default=True,
    kind="handler",
    priority=20,
    match=match,
    breadths=("broad", "narrow"),
    header=stopping.HEADER,
    acting=True,
    alone=stopping.yields,
    match_scope=match_scope,
    triggers=(b"suppress",),
    places=suppress.places_of(stopping.HEADER),
    fix="log",
    doc="""\
## What it does
Reports a silent handler, or a `suppress`, of KeyboardInterrupt or SystemExit by name where the program then goes on,
and one of GeneratorExit (or BaseException) around a `yield` after which the generator yields again. Left alone: Ctrl-C
that quietly ends a main loop, `main`, a wait or a dialogue with the user; an exit code that is read and kept, or the
exit of an argument parser, which has told the user; a flag that is looked at later; a closed generator that returns.

## Why is this bad
These are not errors but the ways to end something. A loop that swallows Ctrl-C can't be stopped, a swallowed
SystemExit turns a failed run into a good one, and a generator that yields after GeneratorExit makes its closing fail.

## Example
```python
def retry(jobs):
    for job in jobs:
        try:
            job.perform()
        except (KeyboardInterrupt, ConnectionError):
            continue
```

## Use instead
```python
def retry(jobs):
    for job in jobs:
        try:
            job.perform()
        except ConnectionError:
            logger.warning("retry.exception_ignored", exc_info=True)
```

## Fix safety
The fix inserts one log call and is safe for KeyboardInterrupt and SystemExit: control flows as before. For
GeneratorExit the remedy is to raise it again, which changes what the program does: that is unsafe.

## Options
`min-severity`, `logger-names`, `reporting-calls`

## References
- [Python documentation: KeyboardInterrupt](https://docs.python.org/3/library/exceptions.html#KeyboardInterrupt)
- [Python documentation: SystemExit](https://docs.python.org/3/library/exceptions.html#SystemExit)
- [PEP 342: Coroutines via enhanced generators](https://peps.python.org/pep-0342/)
""",
    bad=(
        "def retry(jobs):\n    for job in jobs:\n        try:\n            job.perform()\n"
        "        except (KeyboardInterrupt, ConnectionError):\n            continue\n",
        "def build(package):\n    try:\n        package.setup()\n    except SystemExit:\n        pass\n"
        "    package.publish()\n",
        "def rows(source):\n    while True:\n        try:\n            yield source.next()\n"
        "        except GeneratorExit:\n            pass\n",
    ),
    good=(
        "def main():\n    try:\n        serve()\n    except KeyboardInterrupt:\n        pass\n",
        "import sys\n\n\ndef check(argv):\n    try:\n        return tool(argv)\n    except SystemExit as error:\n"
        "        return error.code\n",
        "def rows(source):\n    try:\n        yield from source\n    except GeneratorExit:\n        return\n",
        "def ask(choices):\n    while True:\n        try:\n            return choices[input('which? ')]\n"
        "        except (KeyError, KeyboardInterrupt):\n            continue\n",
    ),
)

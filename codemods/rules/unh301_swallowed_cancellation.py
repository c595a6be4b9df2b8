"""UNH301: a coroutine's cancellation that is caught and not raised again."""

from __future__ import annotations

from collections.abc import Iterator

from .. import cancelling, suppress
from ..scope import HandlerSite, Scope
from ..settings import Settings
from . import Match, Rule


def match(site: HandlerSite, settings: Settings) -> Match | None:
    """The finding of a handler that swallows the cancellation of its own coroutine."""
    if not cancelling.swallows(site, settings):
        return None
    header = f"`except {', '.join(site.caught)}`" if site.caught else "bare `except`"
    level, reasons = cancelling.judge(site)
    return Match(site.handler, (*site.path, site.handler), _message(header), level, reasons, site.caught)


def match_scope(scope: Scope, settings: Settings) -> Iterator[Match]:
    """The findings of the `suppress(CancelledError)` calls of a scope."""
    for site in suppress.sites(scope):
        if site.try_.body and cancelling.swallows(site, settings):
            level, reasons = cancelling.judge(site)
            message = _message(f"`suppress({', '.join(site.caught)})`")
            yield Match(site.call, (*site.path, site.call), message, level, reasons, site.caught)


def _message(header: str) -> str:
    return f"{header} swallows the task's cancellation: whoever cancelled it is told that it ended by itself"


RULE = Rule(
    code="UNH301",
    name="swallowed-cancellation",
    summary="A coroutine catches its own cancellation and does not raise it again",
    default=True,
    kind="handler",
    priority=10,
    match=match,
    header=cancelling.HEADER,
    words=(b"async",),
    acting=True,
    alone=cancelling.raises_nothing,
    match_scope=match_scope,
    triggers=(b"suppress",),
    places=suppress.places_of(cancelling.NAMED, cancelling.may_rename),
    fix="reraise",
    doc="""\
## What it does
Reports a handler in an `async def` that takes a cancellation and does not raise it again: `CancelledError` of asyncio
or concurrent.futures, `trio.Cancelled` or `anyio.get_cancelled_exc_class()` by name, in a tuple or in `suppress`, or a
bare handler or `BaseException` around an `await`. Not where what is awaited was cancelled in the same function, where
the exception is passed on or raised again under a condition, nor under `CancelScope(shield=True)`.

## Why is this bad
A cancellation is how time-outs, task groups and shutdown stop a coroutine. One that swallows it works on, or ends as
if it had finished: the time-out does not fire, the group waits for ever, a half-done job counts as done.

## Example
```python
async def poll(queue):
    while True:
        try:
            await queue.get()
        except (asyncio.CancelledError, ConnectionError):
            continue
```

## Use instead
```python
async def poll(queue):
    while True:
        try:
            await queue.get()
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            logger.warning("poll.exception_ignored", exc_info=True)
            continue
```

## Fix safety
The fix raises the exception again, which changes what the program does: it is unsafe, and made on request only.

## Options
`min-severity`

## References
- [Python documentation: Task cancellation](https://docs.python.org/3/library/asyncio-task.html#task-cancellation)
- [Trio: Cancellation, time-outs](https://trio.readthedocs.io/en/stable/reference-core.html#cancellation-and-timeouts)
""",
    bad=(
        "import asyncio\n\n\nasync def poll(queue):\n    while True:\n        try:\n            await queue.get()\n"
        "        except (asyncio.CancelledError, ConnectionError):\n            continue\n",
        "import asyncio\nfrom contextlib import suppress\n\n\nasync def settle(event, store):\n"
        "    with suppress(asyncio.CancelledError):\n        await event.wait()\n    await store.save()\n",
        "async def fetch(client):\n    try:\n        return await client.get()\n    except BaseException:\n"
        "        return None\n",
        "import anyio\n\n\nasync def fetch(client, log):\n    try:\n        await client.get()\n"
        "    except anyio.get_cancelled_exc_class():\n        log.info('stopped')\n",
    ),
    good=(
        "import asyncio\n\n\nasync def stop(task):\n    task.cancel()\n    try:\n        await task\n"
        "    except asyncio.CancelledError:\n        pass\n",
        "import asyncio\n\n\nasync def fetch(client):\n    try:\n        await client.get()\n"
        "    except asyncio.CancelledError:\n        if asyncio.current_task().cancelling():\n            raise\n",
        "import asyncio\n\n\nasync def fetch(client):\n    try:\n        await client.get()\n"
        "    except asyncio.CancelledError:\n        raise\n    except BaseException:\n        return None\n",
        "async def relay(source, future):\n    try:\n        future.set_result(await source.read())\n"
        "    except BaseException as error:\n        future.set_exception(error)\n",
    ),
)

"""UNH302: `gather(..., return_exceptions=True)` whose result nobody looks at."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator

from ..facts import Facts, facts_of
from ..lazy import lazy_pattern
from ..links import ENDS, keys, links_of
from ..lost import lost_values, owner
from ..model import Severity
from ..names import last_name
from ..origins import origin
from ..places import rows_of, whole_words
from ..scope import Scope, Try
from ..settings import Settings
from ..started import handles_own_failures, says_why
from . import Match, Rule

_GATHER = frozenset({"asyncio.gather", "asyncio.tasks.gather"})
_STARTERS = frozenset({"create_task", "ensure_future", "shield", "wait_for", "list", "tuple", "set", "map"})
_TRUE = lazy_pattern(rb"return_exceptions[\s\\]*+(?:#|=[\s\\(]*+(?:True\b|#))")
_WRITES = lazy_pattern(
    r"(?:^|_)(?:send|save|write|store|put|post|push|publish|upload|insert|update|delete|remove|commit|sync|persist|"
    r"create|add|set|process|handle|execute|notify|apply|import|migrate|flush)(?:_|$)"
)


def match(scope: Scope, settings: Settings) -> Iterator[Match]:
    """The findings of the gathers of a scope."""
    rows = rows_of(scope.source, places)
    for call, path in lost_values(scope, lambda call: _is_quiet_gather(call, scope), rows, awaited=True):
        if _is_seen_otherwise(call, path, scope):
            continue
        level, reasons = _severity(call, path, scope)
        message = "the exceptions that `gather(..., return_exceptions=True)` returns are thrown away with its result"
        yield Match(call, (*path, call), message, level, reasons)


def _is_quiet_gather(call: ast.Call, scope: Scope) -> bool:
    """Whether a call is asyncio's gather that returns exceptions instead of raising them."""
    if origin(call.func, scope.source) not in _GATHER:
        return False
    given = {keyword.arg: keyword.value for keyword in call.keywords}.get("return_exceptions")
    return isinstance(given, ast.Constant) and given.value is True


def _is_seen_otherwise(call: ast.Call, path: tuple[ast.AST, ...], scope: Scope) -> bool:
    """Whether the function cancelled what is gathered, or asks the tasks themselves for their results."""
    links = links_of(scope, owner(path) or scope.tree)
    names = {key for argument in call.args for key in keys(argument)}
    end = (call.end_lineno or call.lineno, call.end_col_offset or call.col_offset)
    return links.is_cancelled(names, end) or links.is_asked(names)


def _severity(call: ast.Call, path: tuple[ast.AST, ...], scope: Scope) -> tuple[Severity, tuple[str, ...]]:
    """Low for clean-up and the wait for an end, high where the gathered calls write, else medium."""
    function = owner(path) or scope.tree
    facts = facts_of(scope, function)
    called = _gathered(call, facts)
    if called and all(ENDS.search(name) or name in ("join", "wait") for name in called):
        return "low", ("what is gathered is clean-up",)
    if ENDS.search(getattr(function, "name", "")) or _in_finally(path):
        return "low", ("it stands in clean-up code",)
    if called and all(handles_own_failures(name, scope) for name in called):
        return "low", ("what is gathered catches its own failures",)
    if "all_tasks" in called or _after_end(call, facts):
        return "low", ("it waits for the end of what was told to stop",)
    if says_why(path[-1], scope):
        return "low", ("a comment says why",)
    if any(_WRITES.search(name) for name in called):
        return "high", ("a write that fails is lost",)
    return "medium", ("a failed part looks like a finished one",)


def _gathered(call: ast.Call, facts: Facts) -> list[str]:
    """The names of the calls that make what is gathered: in the gather itself, or where its list is filled."""
    parts = [part for argument in call.args for part in ast.walk(argument)]
    found = [last_name(part.func) for part in parts if isinstance(part, ast.Call)]
    for name in {key for argument in call.args for key in keys(argument)}:
        found += facts.made.get(name, {})
    return [name for name in found if name not in _STARTERS]


def _in_finally(path: tuple[ast.AST, ...]) -> bool:
    """Whether a path leads through a finally block."""
    return any(isinstance(node, Try) and below in node.finalbody for node, below in itertools.pairwise(path))


def _after_end(call: ast.Call, facts: Facts) -> bool:
    """Whether stored tasks are gathered after something was stopped or closed in the same function."""
    inner = [part for part in ast.walk(call) if isinstance(part, ast.Call) and part is not call]
    if any(last_name(part.func) not in _STARTERS for part in inner):
        return False
    return facts.first_end is not None and facts.first_end < call.lineno


def places(utf8: bytes) -> Iterator[int]:
    """The offsets of the arguments that make a gather a quiet one."""
    return (at for at in whole_words(utf8, b"return_exceptions") if _TRUE.match(utf8, at))


RULE = Rule(
    code="UNH302",
    name="gather-result-lost",
    summary="The exceptions that `gather(..., return_exceptions=True)` returns are thrown away",
    default=True,
    kind="scope",
    match=match,
    words=(b"async",),
    triggers=(b"return_exceptions",),
    places=places,
    doc="""\
## What it does
Reports `asyncio.gather(..., return_exceptions=True)` whose result is thrown away, or bound to a name that is never
read, awaited as it stands or within `wait_for`, `shield` and `run`. Not where the same function cancelled what is
gathered, nor where it asks the tasks themselves for their results.

## Why is this bad
`return_exceptions=True` asks for the exceptions as values instead of raising the first one. Without a look at the
values, each failed part looks like a finished one, and nothing is ever logged.

## Example
```python
async def publish(sinks, report):
    await asyncio.gather(*(sink.send(report) for sink in sinks), return_exceptions=True)
```

## Use instead
```python
async def publish(sinks, report):
    results = await asyncio.gather(*(sink.send(report) for sink in sinks), return_exceptions=True)
    for sink, result in zip(sinks, results):
        if isinstance(result, BaseException):
            logger.error("publish.failed", exc_info=result)
```

## Fix safety
There is no fix: what to do with a failed part is for the author to say.

## Options
`min-severity`

## References
- [Python documentation: asyncio.gather](https://docs.python.org/3/library/asyncio-task.html#asyncio.gather)
""",
    bad=(
        "import asyncio\n\n\nasync def publish(sinks, report):\n"
        "    await asyncio.gather(*(sink.send(report) for sink in sinks), return_exceptions=True)\n",
        "from asyncio import gather\n\n\nasync def load(pages):\n"
        "    results = await gather(*map(fetch, pages), return_exceptions=True)\n    print('done')\n",
        "import asyncio\n\n\ndef run(loop, jobs):\n"
        "    loop.run_until_complete(asyncio.gather(*jobs, return_exceptions=True))\n",
    ),
    good=(
        "import asyncio\n\n\nasync def stop(tasks):\n    for task in tasks:\n        task.cancel()\n"
        "    await asyncio.gather(*tasks, return_exceptions=True)\n",
        "import asyncio\n\n\nasync def publish(sinks, report):\n"
        "    results = await asyncio.gather(*(sink.send(report) for sink in sinks), return_exceptions=True)\n"
        "    check(results)\n",
        "import asyncio\n\n\nasync def publish(sinks, report):\n"
        "    await asyncio.gather(*(sink.send(report) for sink in sinks))\n",
        "import asyncio\n\n\nasync def publish(tasks):\n    await asyncio.gather(*tasks, return_exceptions=True)\n"
        "    return [task.result() for task in tasks if not task.exception()]\n",
    ),
)

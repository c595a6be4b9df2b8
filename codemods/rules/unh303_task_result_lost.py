"""UNH303: a task or job that is started and never looked at again."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ..executors import is_executor
from ..lazy import lazy_pattern
from ..links import ENDS
from ..lost import PUTS, lost_values, owner
from ..model import Severity
from ..names import last_name
from ..origins import origin
from ..patterns import lower_line
from ..places import calls, rows_of
from ..scope import Scope
from ..settings import Settings
from ..started import handles_own_failures, says_why
from . import Match, Rule

_WORDS = (b"async", b"concurrent")  # without one of them a file has nothing to do with tasks or executors
_STARTS = frozenset({"create_task", "ensure_future", "submit"})
_ASYNCIO = frozenset(f"asyncio.{home}{name}" for home in ("", "tasks.") for name in ("create_task", "ensure_future"))
# What stands before a call, from its line's start on, whose value is returned, awaited, kept in an attribute or item,
# or handed to another call, but for one that puts it into a container.
_KEPT = lazy_pattern(
    rb"[ \t]*(?:(?:return|raise|yield|assert|del)\b.*|await[ \t]+[\w.]*(?:\([\w.]*)*|"
    rb"\w+(?:(?:\.\w+)+|[\w.]*\[[^\]\n]*\])[ \t]*(?::[^=\n]*)?=(?!=).*|"
    rb"(?:[\w.]+[ \t]*=[ \t]*)?[\w.]*?\b(?!(?:%s)\()\w+\([\w.]*)" % b"|".join(sorted(name.encode() for name in PUTS))
)
_BOUND = lazy_pattern(rb"([ \t]+)(\w+)[ \t]*(?::[^=\n]*)?=[ \t]*[\w.]*")
_UNSURE = lazy_pattern(rb"\"\"\"|'''|\\\n")
_NEAR = 1500  # bytes below a call in which it is looked for a use of the name that its value is bound to
_LOOP_NAME = lazy_pattern(r"(?:^|_)(?:event|io|aio)?_?loop$", re.I)
_LOOP_MAKERS = frozenset({"get_event_loop", "get_running_loop", "new_event_loop"})


def match(scope: Scope, settings: Settings) -> Iterator[Match]:
    """The findings of the tasks and jobs that a scope starts."""
    if not any(word in scope.source.utf8 for word in _WORDS):
        return
    rows = rows_of(scope.source, places)
    for call, path in lost_values(scope, lambda call: _may_start(call, scope), rows, awaited=False):
        if kind := _kind(call, path, scope):
            level, reasons = _severity(call, kind, scope)
            message = f"nobody keeps or waits for this {kind}: its result is lost, and so is its exception"
            yield Match(call, (*path, call), message, level, reasons)


def _may_start(call: ast.Call, scope: Scope) -> bool:
    return last_name(call.func) in _STARTS or origin(call.func, scope.source) in _ASYNCIO


def _kind(call: ast.Call, path: tuple[ast.AST, ...], scope: Scope) -> str | None:
    """What a call starts: a task of asyncio, a job of an executor of concurrent.futures, or something else (None)."""
    if origin(call.func, scope.source) in _ASYNCIO:
        return "task"
    if not isinstance(call.func, ast.Attribute):
        return None
    receiver = call.func.value
    if call.func.attr == "submit":
        return "job" if is_executor(receiver, path, scope) else None
    return "task" if call.func.attr == "create_task" and _is_loop(receiver, owner(path)) else None


def _is_loop(node: ast.expr, function: ast.AST | None) -> bool:
    """Whether an expression is an event loop: by its name, by the call that gives it, or by an assignment of one."""
    if isinstance(node, ast.Call):
        return last_name(node.func) in _LOOP_MAKERS
    if _LOOP_NAME.search(last_name(node)):
        return True
    if not isinstance(node, ast.Name) or function is None:
        return False
    made = (part for part in ast.walk(function) if isinstance(part, ast.Assign) and isinstance(part.value, ast.Call))
    return any(
        last_name(part.value.func) in _LOOP_MAKERS and any(last_name(target) == node.id for target in part.targets)
        for part in made
    )


def _severity(call: ast.Call, kind: str, scope: Scope) -> tuple[Severity, tuple[str, ...]]:
    """Low for clean-up and what minds its own failures, high for a job that is known not to, else medium."""
    started = call.args[0] if call.args else None
    name = last_name(started.func if isinstance(started, ast.Call) else started)
    if ENDS.search(name):
        return "low", ("what is started is clean-up",)
    minded = handles_own_failures(name, scope)
    if minded:
        return "low", ("what is started catches its own failures",)
    if says_why(call, scope):
        return "low", ("a comment says why",)
    if kind == "job":
        return ("medium" if minded is None else "high"), ("nothing ever tells of the exception of an executor's job",)
    return "medium", ("asyncio tells of the exception late, if ever, and may collect the task while it runs",)


def places(utf8: bytes) -> Iterator[int]:
    """The offsets of the calls that may start a task or a job."""
    starts = _STARTS if b"concurrent" in utf8 else _STARTS - {"submit"}
    for at in calls(utf8, [name.encode() for name in sorted(starts)]):
        start = utf8.rfind(b"\n", 0, at) + 1
        before = utf8[start:at]
        if b";" in before or not (_KEPT.fullmatch(before) or _is_used_below(utf8, start, at)):
            yield at


def _is_used_below(utf8: bytes, start: int, at: int) -> bool:
    """Whether a call's value is bound to a name that a later line of the same block surely reads."""
    if not (bound := _BOUND.fullmatch(utf8, start, at)):
        return False
    ends = lower_line(len(bound[1]) - 1).search(utf8, at, at + _NEAR)
    below = utf8[at : ends.start() if ends else at + _NEAR]
    used = lazy_pattern(rb"\n[ \t]*(?:(?:await|return)[ \t]+%s\b|%s\.\w)" % (bound[2], bound[2])).search(below)
    return used is not None and _UNSURE.search(below, 0, used.start()) is None


RULE = Rule(
    code="UNH303",
    name="task-result-lost",
    summary="A task or an executor's job is started and nobody looks at its result",
    default=True,
    kind="scope",
    match=match,
    words=_WORDS,
    triggers=(b"create_task", b"ensure_future", b"submit"),
    places=places,
    doc="""\
## What it does
Reports `asyncio.create_task`, `asyncio.ensure_future` and an event loop's `create_task` as a bare statement, bound to a
name that is never read, or kept in a container that is itself dropped; and `submit` of an executor of
concurrent.futures, where the receiver is known to be one. A task group or nursery looks after its tasks and is never
reported.

## Why is this bad
The exception of a task waits in the task. With no reference left the event loop may collect the task while it still
runs, and tells of its exception late, if ever. The exception of an executor's job is never told at all.

## Example
```python
async def handle(request):
    asyncio.create_task(store(request))
    return "accepted"
```

## Use instead
```python
tasks = set()


async def handle(request):
    task = asyncio.create_task(store(request))
    tasks.add(task)
    task.add_done_callback(finished)
    return "accepted"


def finished(task):
    tasks.discard(task)
    if not task.cancelled() and task.exception():
        logger.error("store.failed", exc_info=task.exception())
```

## Fix safety
There is no fix: who should wait for the task is for the author to say.

## Options
`min-severity`

## References
- [Python documentation: asyncio.create_task](https://docs.python.org/3/library/asyncio-task.html#asyncio.create_task)
- [ruff: asyncio-dangling-task (RUF006)](https://docs.astral.sh/ruff/rules/asyncio-dangling-task/)
""",
    bad=(
        "import asyncio\n\n\nasync def handle(request):\n    asyncio.create_task(store(request))\n"
        "    return 'accepted'\n",
        "from asyncio import ensure_future\n\n\nasync def handle(request):\n    task = ensure_future(store(request))\n"
        "    return 'accepted'\n",
        "import asyncio\n\n\ndef start(self):\n    tasks = []\n    for job in self.jobs:\n"
        "        tasks.append(self.loop.create_task(job()))\n",
        "from concurrent.futures import ThreadPoolExecutor\n\n\ndef store_all(rows):\n"
        "    with ThreadPoolExecutor() as pool:\n        for row in rows:\n            pool.submit(store, row)\n",
    ),
    good=(
        "import asyncio\n\n\nasync def run(jobs):\n    async with asyncio.TaskGroup() as group:\n"
        "        for job in jobs:\n            group.create_task(job())\n",
        "import asyncio\n\n\nasync def handle(self, request):\n    task = asyncio.create_task(store(request))\n"
        "    self.tasks.add(task)\n    task.add_done_callback(self.finished)\n",
        "async def run(nursery, job):\n    nursery.create_task(job())\n",
        "import asyncio\n\n\nasync def run(job):\n    await asyncio.create_task(job())\n",
        "def run(cluster, job):\n    cluster.submit(job)\n",
    ),
)

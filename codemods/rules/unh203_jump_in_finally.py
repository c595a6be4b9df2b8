"""UNH203: `return`, `break` or `continue` that leaves a `finally` (PEP 765)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ..handlers import breadth, raises
from ..lazy import lazy_pattern
from ..model import Severity
from ..places import blocks
from ..scope import Function, Loop, Scope
from ..settings import Settings
from . import Match, Rule

_FINALLY = lazy_pattern(rb"([ \t\f]*)finally\b")
_JUMP = lazy_pattern(rb"\b(?:return|break|continue)\b")


def match(scope: Scope, settings: Settings) -> Iterator[Match]:
    """One finding for each jump out of a finally block."""
    for try_, path in scope.tries():
        level, reasons = _severity(try_)
        for jump, below in _jumps(try_.finalbody, in_loop=False):
            word = type(jump).__name__.lower()
            message = f"`{word}` in `finally` swallows whatever exception is on its way, KeyboardInterrupt included"
            yield Match(jump, (*path, *below, jump), message, level, reasons)


def _jumps(block: list[ast.stmt], in_loop: bool) -> Iterator[tuple[ast.stmt, tuple[ast.AST, ...]]]:
    """The jumps of a block that leave its finally, with the path that leads to them.

    A nested finally is left out: the scope yields its try on its own.
    """
    for node in block:
        if isinstance(node, ast.Return) or (isinstance(node, (ast.Break, ast.Continue)) and not in_loop):
            yield node, ()
        elif not isinstance(node, (*Function, ast.ClassDef)):
            for name, below in _blocks(node):
                inside = in_loop or (isinstance(node, Loop) and name == "body")
                for jump, path in _jumps(below, inside):
                    yield jump, (node, *path)


def _blocks(node: ast.AST) -> Iterator[tuple[str, list[ast.stmt]]]:
    """The blocks below a statement, those of its handlers and cases too, without a try's finally."""
    for name in ("body", "orelse"):
        if isinstance(block := getattr(node, name, None), list):
            yield name, block
    for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield "part", part.body


def _severity(try_: ast.Try | ast.TryStar) -> tuple[Severity, tuple[str, ...]]:
    """Medium where a broad handler that raises nothing already takes the common failures, else high."""
    for handler in try_.handlers:
        if breadth(handler.type) in ("bare", "broad") and not raises(handler):
            return "medium", ("a broad handler already takes what the body commonly raises",)
    return "high", ("the exceptions that no handler takes are dropped",)


def places(utf8: bytes) -> Iterator[int]:
    """The offsets of the finally blocks that may hold a jump."""
    return blocks(utf8, b"finally", _FINALLY, _JUMP)


RULE = Rule(
    code="UNH203",
    name="jump-in-finally",
    summary="`return`, `break` or `continue` in `finally` swallows the exception on its way",
    default=True,
    kind="scope",
    match=match,
    triggers=(b"finally",),
    places=places,
    doc="""\
## What it does
Reports each `return`, `break` and `continue` that leaves a `finally` block. A jump within a function or a loop that
stays inside the block is fine.

## Why is this bad
A `finally` also runs while an exception is on its way up. A jump out of it drops that exception without a trace,
whatever it is: a failed write, KeyboardInterrupt, a cancelled task. This holds also where handlers stand before it,
since they may raise and do not catch everything. Python 3.14 warns of it (PEP 765).

## Example
```python
def total(rows):
    result = 0
    try:
        for row in rows:
            result += parse(row)
    finally:
        return result
```

## Use instead
```python
def total(rows):
    result = 0
    for row in rows:
        result += parse(row)
    return result
```

## Fix safety
There is no fix: what the jump should become is for the author to say.

## Options
`min-severity`

## References
- [PEP 765: Disallow return/break/continue that exit a finally block](https://peps.python.org/pep-0765/)
- [ruff: jump-statement-in-finally (B012)](https://docs.astral.sh/ruff/rules/jump-statement-in-finally/)
""",
    bad=(
        "def total(rows):\n    result = 0\n    try:\n        for row in rows:\n            result += parse(row)\n"
        "    finally:\n        return result\n",
        "def drain(queue):\n    while True:\n        try:\n            queue.send()\n        finally:\n"
        "            if queue.empty():\n                break\n",
        "def sync(rows):\n    for row in rows:\n        try:\n            send(row)\n        except OSError:\n"
        "            report(row)\n        finally:\n            continue\n",
    ),
    good=(
        "def close_all(items):\n    try:\n        work(items)\n    finally:\n        for item in items:\n"
        "            if item.closed:\n                continue\n            item.close()\n",
        "def run(job):\n    try:\n        return job()\n    finally:\n\n        def note():\n"
        "            return job.name\n\n        job.done(note)\n",
        "def total(rows):\n    try:\n        return sum(rows)\n    finally:\n        rows.close()\n",
    ),
)

"""UNH204: an `__exit__` that returns a true value whatever happened."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ..lazy import lazy_pattern
from ..names import last_name, own_nodes
from ..places import blocks
from ..scope import Function, Scope
from ..settings import Settings
from . import Match, Rule

_NAMES = ("__exit__", "__aexit__")
_HEADER = lazy_pattern(rb"([ \t\f]*)(?:async[ \t]+)?def[ \t]+__a?exit__\b")
# A return of what may be a constant that counts as true.
_RETURN = lazy_pattern(rb"\breturn\b[\s\\(]*+(?:True\b|not\b|\.\.\.|Ellipsis\b|[\d.\"'#]|[A-Za-z]{1,2}[\"'])")
_ASKS = frozenset({"exc_info", "format_exc", "print_exc", "exception"})


def match(scope: Scope, settings: Settings) -> Iterator[Match]:
    """The findings of the exit methods of a scope, each at its last return."""
    for function, path in _methods(scope):
        returns = [node for node in own_nodes(function.body) if isinstance(node, ast.Return)]
        always = returns and all(_is_true(node.value) for node in returns) and _leaves_by_return(function.body)
        if always and not _looks(function):
            last = max(returns, key=lambda node: (node.lineno, node.col_offset))
            message = f"`{function.name}` always returns a true value: every exception of its `with` body is dropped"
            yield Match(last, (*path, last), message, "high", ("whatever the body raises is dropped",))


def _methods(scope: Scope) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, tuple[ast.AST, ...]]]:
    """The exit methods of a scope with the path that leads to each."""
    tree = scope.tree
    if isinstance(tree, Function) and tree.name in _NAMES:
        yield tree, (tree,)
    for node, path in scope.statements():
        if isinstance(node, Function) and node.name in _NAMES and not isinstance(tree, ast.Module):
            yield node, path


def _is_true(value: ast.expr | None) -> bool:
    """Whether an expression is a constant that counts as true."""
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not):
        return isinstance(value.operand, ast.Constant) and not value.operand.value
    return isinstance(value, ast.Constant) and bool(value.value)


def _leaves_by_return(block: list[ast.stmt]) -> bool:
    """Whether every way through a block ends at a return: none falls off its end, none raises on purpose."""
    if any(isinstance(node, ast.Raise) for node in own_nodes(block)):
        return False
    return bool(block) and _returns(block[-1])


def _returns(node: ast.stmt) -> bool:
    """Whether a statement can't be left at its end."""
    if isinstance(node, ast.Return):
        return True
    if isinstance(node, ast.If):
        return _block_returns(node.body) and _block_returns(node.orelse)
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return _block_returns(node.body)
    if isinstance(node, (ast.Try, ast.TryStar)):
        ways = [node.orelse or node.body, *(handler.body for handler in node.handlers)]
        return _block_returns(node.finalbody) or all(map(_block_returns, ways))
    return False


def _block_returns(block: list[ast.stmt]) -> bool:
    return bool(block) and _returns(block[-1])


def _looks(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the method looks at the exception: its parameters are used but to hand them to another's exit."""
    arguments = function.args
    names = {part.arg for part in (*arguments.posonlyargs, *arguments.args)[1:]}
    names |= {part.arg for part in (arguments.vararg, arguments.kwarg) if part}
    handed: set[int] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and last_name(node.func) in _NAMES:
            handed |= {id(part) for argument in node.args for part in ast.walk(argument)}
        if isinstance(node, ast.Attribute) and node.attr in _ASKS:
            return True
    used = (node for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    return any(node.id in names and id(node) not in handed for node in used)


def places(utf8: bytes) -> Iterator[int]:
    """The offsets of the exit methods that may return a value."""
    for name in (b"__exit__", b"__aexit__"):
        yield from blocks(utf8, name, _HEADER, _RETURN)


RULE = Rule(
    code="UNH204",
    name="exit-always-true",
    summary="An `__exit__` that returns a true value whatever happened swallows every exception of its `with`",
    default=True,
    kind="scope",
    match=match,
    triggers=(b"exit__",),
    places=places,
    doc="""\
## What it does
Reports an `__exit__` or `__aexit__` whose every way out returns a constant that counts as true, at its last `return`.
Not where the method looks at the exception: compares its type, logs it, keeps it, reports it.

## Why is this bad
A true value from `__exit__` tells Python that the exception was dealt with. Returned whatever happened, it turns each
`with` of that class into an invisible `except BaseException: pass`. Most often the author only meant "done".

## Example
```python
class Session:
    def __exit__(self, exc_type, exc_value, traceback):
        self.close()
        return True
```

## Use instead
```python
class Session:
    def __exit__(self, exc_type, exc_value, traceback):
        self.close()
```

## Fix safety
There is no fix: what the class should let through is for the author to say.

## Options
`min-severity`

## References
- [Python documentation: object.__exit__](https://docs.python.org/3/reference/datamodel.html#object.__exit__)
- [PEP 343: The "with" statement](https://peps.python.org/pep-0343/)
""",
    bad=(
        "class Session:\n    def __exit__(self, exc_type, exc_value, traceback):\n        self.close()\n"
        "        return True\n",
        "class Lock:\n    async def __aexit__(self, *args):\n        if self.held:\n            await self.release()\n"
        "            return True\n        return 1\n",
        "class Wrapper:\n    def __exit__(self, *args):\n        try:\n            self.inner.__exit__(*args)\n"
        "        finally:\n            self.done = True\n        return not False\n",
    ),
    good=(
        "class Ignore:\n    def __exit__(self, exc_type, exc_value, traceback):\n"
        "        return exc_type is not None and issubclass(exc_type, KeyError)\n",
        "class Session:\n    def __exit__(self, exc_type, exc_value, traceback):\n        if exc_type is KeyError:\n"
        "            return True\n        return True\n",
        "class Session:\n    def __exit__(self, *args):\n        if self.quiet:\n            return True\n",
        "class Keeper:\n    def __exit__(self, exc_type, exc_value, traceback):\n        self.error = exc_value\n"
        "        return True\n",
    ),
)

"""Whether two syntax trees are equal but for changes that a policy allows, and where they are not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from .source import Source

Pair = tuple[object, object]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A place (1-based row of the new tree, or of the old one where the new lacks it) at which the trees differ."""

    row: int
    what: str


_DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Text:
    """A tree with the source that it was parsed from."""

    tree: ast.Module
    source: Source

    def text_of(self, node: ast.stmt) -> bytes:
        """The text of a statement, decorators included."""
        decorators = getattr(node, "decorator_list", None)
        first = decorators[0] if decorators else node
        starts = self.source.line_starts
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        return self.source.utf8[starts[first.lineno - 1] + first.col_offset : end]


class Policy(Protocol):
    """What a comparison lets pass."""

    def inserted(self, node: ast.stmt, pending: ast.stmt | None) -> bool:
        """Whether a statement of the new tree is an allowed insertion before the old one that comes next."""
        ...

    def replaced(self, old: ast.stmt, block: list[ast.stmt], at: int) -> list[Pair] | None:
        """What is left to compare of `old` and the statement `block[at]`, which may differ; None if they must not."""
        ...

    def argument(self, old: ast.Call, new: ast.Call) -> bool:
        """Whether a call may have the one keyword more that its new form has at the end."""
        ...

    def attribute(self, old: ast.Attribute, new: ast.Attribute) -> bool:
        """Whether another attribute may be named."""
        ...


def mismatches(old: Text, new: Text, policy: Policy) -> Iterator[Mismatch]:
    """Every place at which the new tree differs from the old one in a way that the policy does not allow.

    Positions do not count. Constants are equal when type, value and (of strings) prefix are. Statements of the same
    text at the same place of both trees are the same tree, so only the others are walked through. The walk keeps its
    own stack, so that depth is no limit.
    """
    stack: list[Pair] = [(old.tree, new.tree)]
    row = 1
    while stack:
        one, two = stack.pop()
        kind = two.__class__
        if one.__class__ is not kind:
            yield Mismatch(getattr(two, "lineno", row), f"{_name(one)} became {_name(two)}")
            continue
        row = getattr(two, "lineno", row)
        if isinstance(two, ast.stmt) and old.text_of(one) == new.text_of(two):  # type: ignore[arg-type]
            continue
        for field in kind._fields:  # type: ignore[attr-defined]
            left, right = getattr(one, field, None), getattr(two, field, None)
            if left is right:
                continue
            if right.__class__ is list and left.__class__ is list:
                if field in ("body", "orelse", "finalbody"):
                    if kind in _DOCUMENTED and _is_text(left) != _is_text(right):
                        yield Mismatch(row, "the docstring is no longer first")
                    yield from _block(left, right, policy, stack, row)
                elif field == "keywords" and len(right) == len(left) + 1 and _argument_added(one, two, policy):
                    stack.extend(zip(left, right, strict=False))
                elif len(left) != len(right):
                    yield Mismatch(row, f"{_name(two)} has {len(right)} {field}, had {len(left)}")
                else:
                    yield from _items(left, right, stack, row)
            elif isinstance(right, ast.AST) and isinstance(left, ast.AST):
                stack.append((left, right))
            elif not _alike(left, right) and not (field == "attr" and policy.attribute(one, two)):  # type: ignore[arg-type]
                yield Mismatch(row, f"{_said(left)} became {_said(right)}")


def _argument_added(one: object, two: object, policy: Policy) -> bool:
    """Whether the last keyword of a call is one that the policy allows."""
    return isinstance(one, ast.Call) and isinstance(two, ast.Call) and policy.argument(one, two)


def _items(left: list, right: list, stack: list[Pair], row: int) -> Iterator[Mismatch]:  # type: ignore[type-arg]
    """Compares the items of two lists that are no blocks: nodes, names or None."""
    for one, two in zip(left, right, strict=True):
        if isinstance(one, ast.AST) and isinstance(two, ast.AST):
            stack.append((one, two))
        elif not _alike(one, two):
            yield Mismatch(row, f"{_said(one)} became {_said(two)}")


def _block(old: list[ast.stmt], new: list[ast.stmt], policy: Policy, stack: list[Pair], row: int) -> Iterator[Mismatch]:
    """Pairs the statements of two blocks, with the allowed insertions left out."""
    rest = iter(old)
    pending = next(rest, None)
    for at, node in enumerate(new):
        if pending is not None and (pairs := policy.replaced(pending, new, at)) is not None:
            stack.extend(pairs)
        elif policy.inserted(node, pending):
            continue
        elif pending is None:
            yield Mismatch(node.lineno, f"{_name(node)} was added")
            continue
        else:
            stack.append((pending, node))
        pending = next(rest, None)
    while pending is not None:
        yield Mismatch(row, f"{_name(pending)} of old line {pending.lineno} is gone")
        pending = next(rest, None)


def _is_text(body: list[ast.stmt]) -> bool:
    """Whether a block begins with a docstring."""
    first = body[0] if body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def _alike(one: object, two: object) -> bool:
    """Whether two plain values of a tree are the same: 1 is not True, 0.0 is not -0.0, and a NaN is a NaN."""
    if one.__class__ is not two.__class__:
        return False
    return one == two if not isinstance(one, (float, complex)) else repr(one) == repr(two)


def _name(node: object) -> str:
    return f"`{node.__class__.__name__}`" if isinstance(node, ast.AST) else _said(node)


def _said(value: object) -> str:
    text = repr(value) if not isinstance(value, ast.AST) else _name(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""From one target to its edits: cuts the text that LibCST works on out of the file, and maps the result back."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from . import shapes
from .edits import Edit, Kind
from .locate import Target
from .module import Module
from .rewrite import Unfit, at_end_of_handler, in_handler, suppress_to_try, with_exc_info

_REST = re.compile(rb"[ \t\f]*(?:#.*)?$")
P = ParamSpec("P")
T = TypeVar("T")


class Refusal(Exception):
    """Why a target can't be rewritten, in one line."""


def edit_handler(module: Module, target: Target, statement: str) -> list[Edit]:
    """The edit that puts a log call first into the target's handler, or `raise` last. Raises Refusal."""
    handler = target.handler
    if handler is None:
        raise Refusal("no handler stands here")
    if statement == "raise" and (reason := shapes.reraise_reason(handler, module.source)):
        raise Refusal(reason)
    body = handler.body
    lone = len(body) == 1 and is_empty(body[0])
    if statement == "raise" and not lone:
        return [_raise_last(module, handler)]
    row, column = _start(module, body[0])
    text = _text(module, handler.lineno, handler.col_offset, handler.end_lineno or 0)
    first = _span(module, (handler.lineno, 0), (row, column))
    stood = _span(module, (row, column), (body[0].end_lineno or 0, body[0].end_col_offset or 0)) if lone else ""
    new = _fit(in_handler, text, statement, len(first), stood)
    kind: Kind = "raise" if statement == "raise" else "pass" if lone else "call"
    return [_edit(module, (row, column), stood, new, kind, statement)]


def _raise_last(module: Module, handler: ast.ExceptHandler) -> Edit:
    """The edit that puts `raise` at the end of a handler that is a block."""
    if handler.body[0].lineno == handler.lineno:
        raise Refusal("the handler is one line: where to raise again is for you to decide")
    end = handler.end_lineno or 0
    text = _text(module, handler.lineno, handler.col_offset, end)
    new = _fit(at_end_of_handler, text, "raise")
    return _after_row(module, end, new, "raise", "raise")


def edit_suppress(module: Module, target: Target, call: str) -> list[Edit]:
    """The edits that turn the `with suppress(...)` of a target into a `try` with a log call. Raises Refusal."""
    node = shapes.guarding(target.path, target.node)
    if node is None or not isinstance(target.node, ast.Call):
        raise Refusal("only a `with` that holds nothing but this suppress has an equal `try`")
    types = target.node.args
    if reason := module.types_problem(target.path, types):
        raise Refusal(reason)
    colon = _colon(module, target.node, node.body[0])
    last = node.body[-1]
    end = last.end_lineno or 0
    if not _REST.match(module.source.line(end)[last.end_col_offset :]):
        raise Refusal("more stands on the line on which the block ends")
    end = _end_of_block(module, node, end)
    text = _text(module, node.lineno, node.col_offset, end)
    at = len(_span(module, (node.lineno, 0), colon))
    names = [ast.unparse(arg) for arg in types]
    clause = names[0] if len(names) == 1 else f"({', '.join(names)})"
    unit = _unit(module, node)
    header, tail = _fit(suppress_to_try, text, at, clause, call, unit)
    old = _span(module, (node.lineno, node.col_offset), colon)
    return [
        _edit(module, (node.lineno, node.col_offset), old, header, "suppress", ""),
        _after_row(module, end, tail, "except", f"except {clause}:\n    {call}"),
    ]


def edit_call(module: Module, target: Target, fix: str) -> list[Edit]:
    """The edit that adds `exc_info=True` to the target's log call, or changes its level. Raises Refusal."""
    node = target.handler if isinstance(target.node, ast.ExceptHandler) or target.handler else target.node
    blamed = target.node if isinstance(target.node, (ast.Call, ast.ExceptHandler)) else node
    if fix == "level":
        return [_edit_level(module, target, blamed)]
    call, reason = shapes.untraced(blamed, module.source) if blamed else (None, None)
    if call is None:
        raise Refusal(reason or "no log call stands here")
    head = call.func
    while isinstance(head, (ast.Attribute, ast.Call)):
        head = head.value if isinstance(head, ast.Attribute) else head.func
    if not isinstance(head, ast.Name) or not module.sees_global(target.path, head.id):
        raise Refusal("the logger is a local name, which may be anything")
    end = (call.end_lineno or 0, call.end_col_offset or 0)
    text = _span(module, (call.lineno, call.col_offset), end)
    at, new = _fit(with_exc_info, text)
    row = call.lineno + text[:at].count("\n")
    column = len(text[:at].rpartition("\n")[2].encode()) + (call.col_offset if row == call.lineno else 0)
    return [_edit(module, (row, column), "", new, "exc_info", "exc_info=True")]


def _edit_level(module: Module, target: Target, blamed: ast.AST | None) -> Edit:
    call = shapes.quiet_call(blamed) if blamed else None
    if call is None:
        raise Refusal("no call of `debug` or `trace` stands here as a statement")
    assert isinstance(call.func, ast.Attribute)
    old = call.func.attr
    row, column = call.func.end_lineno or 0, (call.func.end_col_offset or 0) - len(old.encode())
    return _edit(module, (row, column), old, module.settings.level_broad, "level", "")


def is_empty(node: ast.stmt) -> bool:
    """Whether a statement is `pass` or `...`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and node.value.value is Ellipsis
    return isinstance(node, ast.Pass)


def _fit(work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """What LibCST makes of a text, or the reason why it makes nothing."""
    try:
        return work(*args, **named)
    except Unfit as unfit:
        raise Refusal(str(unfit)) from None


def _start(module: Module, node: ast.stmt) -> tuple[int, int]:
    """Where a statement begins, its decorators included."""
    decorators = getattr(node, "decorator_list", [])
    if not decorators:
        return node.lineno, node.col_offset
    row = decorators[0].lineno
    line = module.source.line(row)
    column = len(line) - len(line.lstrip(b" \t\f"))
    if not line[column:].startswith(b"@"):
        raise Refusal("the handler's first statement does not begin its line")
    return row, column


def _text(module: Module, row: int, column: int, end_row: int) -> str:
    """The lines of a compound statement, with a newline at the end; raises Refusal if it does not begin its line."""
    source = module.source
    if source.line(row)[:column].strip(b" \t\f") or (row > 1 and source.line(row - 1).endswith(b"\\")):
        raise Refusal("the statement does not begin its line")
    starts = source.line_starts
    end = starts[end_row] if end_row < len(starts) else len(source.utf8)
    text = source.utf8[starts[row - 1] : end].decode("utf-8")
    return text if text.endswith("\n") else text + "\n"


def _span(module: Module, start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text between two places (1-based row, 0-based column in bytes of UTF-8)."""
    starts = module.source.line_starts
    return module.source.utf8[starts[start[0] - 1] + start[1] : starts[end[0] - 1] + end[1]].decode("utf-8")


def _edit(module: Module, place: tuple[int, int], old: str, new: str, kind: Kind, statement: str) -> Edit:
    """An edit at a place; newlines become those of the place's row."""
    places, start = module.places, module.places.offset(*place)
    lines = old.split("\n")
    end = (place[0] + len(lines) - 1, len(lines[-1].encode()) + (place[1] if len(lines) == 1 else 0))
    text = new.replace("\n", places.newline(place[0]).decode())
    return Edit(start, module.source.data[start : places.offset(*end)], places.encode(text), kind, statement)


def _after_row(module: Module, row: int, new: str, kind: Kind, statement: str) -> Edit:
    """An edit that writes whole lines after a row."""
    source, places = module.source, module.places
    newline = places.newline(row).decode()
    if row < len(source.line_starts):
        return Edit(places.starts[row], b"", places.encode(new.replace("\n", newline)), kind, statement)
    text = ("\n" + new.rstrip("\n")).replace("\n", newline)
    return Edit(len(source.data), b"", places.encode(text), kind, statement)


def _colon(module: Module, call: ast.Call, first: ast.stmt) -> tuple[int, int]:
    """The place of the colon that ends a `with` header, after its last item."""
    row, column = call.end_lineno or 0, call.end_col_offset or 0
    for at in range(row, first.lineno + 1):
        line = module.source.line(at)
        rest = line[column:] if at == row else line
        found = rest.find(b":")
        before = rest if found < 0 else rest[:found]
        if before.strip(b" \t\f)\\,"):
            break
        if found >= 0:
            return at, found + (column if at == row else 0)
    raise Refusal("the header of the `with` is laid out in a way that can't be kept")


def _end_of_block(module: Module, node: ast.With, end: int) -> int:
    """The last row of a block, with the comments that follow its last statement in the block's indentation."""
    source = module.source
    at = end + 1
    while at <= len(source.line_starts) and node.body[0].lineno != node.lineno:
        line = source.line(at)
        text = line.lstrip(b" \t")
        if text.startswith(b"#") and len(line) - len(text) > node.col_offset:
            end = at
        elif text:
            break
        at += 1
    return end


def _unit(module: Module, node: ast.With) -> str:
    """One step of indentation: that of the block, or the file's usual."""
    indent = module.source.line(node.lineno)[: node.col_offset].decode().rpartition("\f")[2]
    first = node.body[0]
    if first.lineno != node.lineno:
        inner = module.source.line(_start(module, first)[0])
        inner_text = inner[: len(inner) - len(inner.lstrip(b" \t\f"))].decode().rpartition("\f")[2]
        if inner_text.startswith(indent) and inner_text != indent:
            return inner_text[len(indent) :]
    return "\t" if "\t" in indent else "    "

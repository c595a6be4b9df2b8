"""The rewrites themselves: LibCST edits the text of one handler, `with` or call, and what it adds is cut out.

Texts have LF newlines and start at the beginning of a line, indentation included. Only the pieces that are added or
replaced are taken from LibCST's result, so everything around keeps the bytes that LibCST would not print again.
"""

from __future__ import annotations

from functools import lru_cache

import libcst as cst

_PLACEHOLDER = "first"
_INSERTED = "inserted()"
_LONG = 10_000


class Unfit(Exception):
    """LibCST can't take the text, or its result is more than an insertion; the message is one line."""


def in_handler(text: str, statement: str, first: int, stood: str) -> str:
    """What to write at offset `first` of a handler's text, where its first statement begins, to put `statement` first.

    `stood` is that statement's text where it is a lone `pass` or `...`, which gives way; else it is empty, and the
    result ends with what parts two statements. Raises Unfit.
    """
    return _around(text, first, stood).replace(_INSERTED, statement)


@lru_cache(maxsize=1024)
def _around(text: str, first: int, stood: str) -> str:
    """The same for a statement that stands for all others, so that handlers of one text are worked on once."""
    statement = _INSERTED
    head, tail = text[:first], text[first + len(stood) :]
    new = _printed(text, statement, replace=bool(stood), last=False) if len(text) < _LONG else None
    if new is None or not (new.startswith(head) and new.endswith(tail)):
        # LibCST drops form feeds and the space before a colon, and is slow on long texts: it gets the plain shape.
        head, tail = _plain_head(text, first), "\n"
        stood = stood and "pass"
        body = stood or _PLACEHOLDER
        new = _printed(head + body + tail, statement, replace=bool(stood), last=False)
        tail = tail if stood else body + tail
    if new is None or not (new.startswith(head) and new.endswith(tail)):
        raise Unfit("the handler's text is laid out in a way that can't be kept")
    return new[len(head) : len(new) - len(tail)]


def at_end_of_handler(text: str, statement: str) -> str:
    """What to write after a handler's text, which is a block and ends with a newline, to put `statement` last."""
    new = _printed(text, statement, replace=False, last=True)
    if new is None or not new.startswith(text):
        raise Unfit("the handler's text is laid out in a way that can't be kept")
    return new[len(text) :]


def _plain_head(text: str, first: int) -> str:
    """The head of a handler in the same shape as that of `text`: one line, or a block with the same indentation."""
    indent = _indent(text)
    before = text[:first].rpartition("\n")
    if not before[1]:
        return f"{indent}except: "
    inner = before[2].rpartition("\f")[2]
    if inner.strip():
        raise Unfit("the handler's first statement does not begin its line")
    return f"{indent}except:\n{inner}"


def _indent(text: str) -> str:
    line = text.partition("\n")[0].rpartition("\f")[2]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _printed(text: str, statement: str, *, replace: bool, last: bool) -> str | None:
    """A handler's text with a simple statement put into it, as LibCST prints it; None where LibCST can't parse it."""
    indent = _indent(text)
    wrapper = f"if 1:\n{indent}try: pass\n" if indent else "try: pass\n"
    try:
        module = cst.parse_module(wrapper + text)
    except (cst.ParserSyntaxError, RecursionError):
        return None
    outer = module.body[0]
    try_ = outer.body.body[0] if isinstance(outer, cst.If) else outer
    if not isinstance(try_, (cst.Try, cst.TryStar)):
        return None
    handler = try_.handlers[0]
    small = cst.parse_statement(statement).body[0]  # type: ignore[union-attr, index]
    body = with_statement(handler.body, small, replace=replace, last=last)  # type: ignore[arg-type]
    changed = try_.with_changes(handlers=[handler.with_changes(body=body)])
    return _unwrapped(module, changed, wrapper)


def _unwrapped(module: cst.Module, changed: cst.BaseStatement, wrapper: str) -> str | None:
    """The code of a wrapped module whose last statement was changed, without the wrapper."""
    outer = module.body[0]
    if isinstance(outer, cst.If):
        block = outer.body.with_changes(body=[*outer.body.body[:-1], changed])
        changed = outer.with_changes(body=block)
    code = module.with_changes(body=[*module.body[:-1], changed]).code
    return code[len(wrapper) :] if code.startswith(wrapper) else None


def with_statement(
    body: cst.BaseSuite, small: cst.BaseSmallStatement, *, replace: bool, last: bool = False
) -> cst.BaseSuite:
    """A suite with a small statement put first (or last), or in the place of the one statement that it holds.

    Comments above the first statement stay above the new one.
    """
    if isinstance(body, cst.SimpleStatementSuite):
        if replace:
            return body.with_changes(body=[small.with_changes(semicolon=body.body[0].semicolon)])
        return body.with_changes(body=[*body.body, small] if last else [small, *body.body])
    assert isinstance(body, cst.IndentedBlock)
    first, *rest = body.body
    if replace:
        old = first.body[0]  # type: ignore[index, union-attr]
        line = first.with_changes(body=[small.with_changes(semicolon=old.semicolon)])  # type: ignore[union-attr]
        return body.with_changes(body=[line, *rest])
    if last:
        return body.with_changes(body=[*body.body, cst.SimpleStatementLine([small])])
    line = cst.SimpleStatementLine([small], leading_lines=first.leading_lines)  # type: ignore[union-attr]
    return body.with_changes(body=[line, first.with_changes(leading_lines=[]), *rest])


def suppress_to_try(text: str, colon: int, types: str, statement: str, unit: str) -> tuple[str, str]:
    """The new header (up to the colon) and the clause to write after the text of a `with suppress(...)`.

    `text` ends with a newline; `colon` is the offset of the header's colon, `types` the expression of the `except`
    clause, `unit` one step of indentation. Raises Unfit.
    """
    indent = _indent(text)
    for body in (text[colon:], ": pass\n"):
        header = f"{indent}with {_PLACEHOLDER}"
        new = _printed_try(header + body, types, statement, unit)
        if new is not None and new.startswith(f"{indent}try{body}"):
            return "try", new[len(f"{indent}try{body}") :]
    raise Unfit("the block's text is laid out in a way that can't be kept")


def _printed_try(text: str, types: str, statement: str, unit: str) -> str | None:
    """A `with` printed as a `try` whose one handler holds a statement; None where LibCST can't parse it."""
    indent = _indent(text)
    wrapper = f"if 1:\n{indent}pass\n" if indent else "pass\n"
    try:
        module = cst.parse_module(wrapper + text)
    except cst.ParserSyntaxError:
        return None
    outer = module.body[0]
    with_ = outer.body.body[1] if isinstance(outer, cst.If) else module.body[1]
    if not isinstance(with_, cst.With):
        return None
    line = cst.SimpleStatementLine([cst.parse_statement(statement).body[0]])  # type: ignore[union-attr, index, list-item]
    handler = cst.ExceptHandler(
        body=cst.IndentedBlock([line], indent=unit),
        type=cst.parse_expression(types),
        whitespace_after_except=cst.SimpleWhitespace(" "),
    )
    try_ = cst.Try(body=with_.body, handlers=[handler], leading_lines=with_.leading_lines)
    return _unwrapped(module, try_, wrapper)


def with_exc_info(call: str) -> tuple[int, str]:
    """Where in a call's text to write what, so that `exc_info=True` is its last argument. Raises Unfit."""
    try:
        node = cst.parse_expression(call)
    except cst.ParserSyntaxError:
        raise Unfit("the call's text is laid out in a way that can't be kept") from None
    assert isinstance(node, cst.Call)
    added = cst.Arg(
        cst.Name("True"),
        keyword=cst.Name("exc_info"),
        equal=cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace("")),
    )
    args = list(node.args)
    if args:
        final = args[-1]
        added = added.with_changes(comma=final.comma, whitespace_after_arg=final.whitespace_after_arg)
        comma = cst.Comma(whitespace_after=_between(node))
        args[-1] = final.with_changes(comma=comma, whitespace_after_arg=cst.SimpleWhitespace(""))
    new = cst.Module([]).code_for_node(node.with_changes(args=[*args, added]))
    size = len(new) - len(call)
    at = next((at for at, (one, two) in enumerate(zip(call, new, strict=False)) if one != two), len(call))
    if size <= 0 or new[at + size :] != call[at:]:
        raise Unfit("the call's text is laid out in a way that can't be kept")
    return at, new[at : at + size]


def _between(call: cst.Call) -> cst.BaseParenthesizableWhitespace:
    """The space between the arguments of a call: a new line where each argument has its own."""
    opening = call.whitespace_before_args
    if isinstance(opening, cst.ParenthesizedWhitespace):
        return opening.with_changes(first_line=cst.TrailingWhitespace(), empty_lines=[])
    return cst.SimpleWhitespace(" ")

"""What a finding is, whatever its place: hashes that moved lines, other layout, comments and types leave alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from .engine import read
from .locate import Path, Target, byte_column, locate
from .model import Finding
from .newer import downgrade
from .parsing import ParseFailure, parse, parse_text
from .pieces import Pieces
from .scope import Function
from .source import DecodeFailure, Source

_COMPOUND = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.With, ast.AsyncWith, ast.Match)
_DIGITS = 10
# Fields that depend on the layout, on the Python that parsed, or on what types are told, and not on what the code does.
_SKIPPED = frozenset({"ctx", "kind", "simple", "type_comment", "type_ignores", "annotation", "returns", "type_params"})


class Identity(NamedTuple):
    """`code`'s finding by what is blamed (`own`) and by what stands around it (`around`), 10 hex digits each.

    Of a handler the surroundings are the statements of its `try`, of all else the statement with a block that holds it
    (a `with`, a function). Neither knows names of files or functions, rows or columns.
    """

    own: str
    around: str


def identities(source: Source, findings: Sequence[Finding]) -> list[Identity]:
    """The identity of each finding of a file: of its syntax tree, or of its text where there is none of it.

    That is so for comments, and in files that this Python does not parse, or that have changed since.
    """
    found = dict(_in_functions(source, findings))
    rest = [finding for finding in findings if finding not in found]
    found.update(zip(rest, _in_module(source, rest), strict=True))
    return [_identity(found[finding], source) for finding in findings]


def _in_functions(source: Source, findings: Sequence[Finding]) -> Iterator[tuple[Finding, Target | Finding]]:
    """The findings in functions with their targets. Only these functions are parsed, which is quicker than the file."""
    starts = source.line_starts
    at: dict[int, list[Finding]] = {}
    for finding in findings:
        if finding.row <= len(starts):
            offset = starts[finding.row - 1] + byte_column(source, finding.row, finding.column)
            at.setdefault(offset, []).append(finding)
    try:
        for scope, offsets in Pieces(source, sorted(at)).scopes() if at else ():
            if isinstance(scope.tree, Function):
                ast.increment_lineno(scope.tree, scope.row_offset)
                inside = [finding for offset in offsets for finding in at[offset]]
                targets = locate(ast.Module([scope.tree], []), source, inside)
                yield from zip(inside, targets, strict=True)
    except ParseFailure:
        return


def _in_module(source: Source, findings: Sequence[Finding]) -> Sequence[Target | Finding]:
    """The targets of findings outside of functions, or in functions that can't be told apart."""
    if not findings:
        return []
    try:
        tree = parse(source)
    except ParseFailure:
        older = downgrade(source.utf8)
        if older is None:
            return findings
        tree = parse_text(older)
    return locate(tree, source, findings)


def identities_of(findings: Mapping[str, Sequence[Finding]], filename: str) -> list[Identity]:
    """The identities of a file's findings; those of one that can't be read again are like no other."""
    try:
        source = Source(read(filename), filename)
    except (OSError, DecodeFailure):
        return [Identity("", "")] * len(findings[filename])
    return identities(source, findings[filename])


def _identity(target: Target | Finding, source: Source) -> Identity:
    if isinstance(target, Finding):  # a comment, or a file that can't be parsed
        text = " ".join(_text(target, source).decode("utf-8", "replace").split())
        return Identity(_digest([target.code, text]), _digest([text]))
    return Identity(
        _digest([target.finding.code, *canonical([target.node])]), _digest(canonical(_around(target.node, target.path)))
    )


def _text(finding: Finding, source: Source) -> bytes:
    """What stands between a finding's start and end."""
    rows = [source.line(row) for row in range(finding.row, finding.end_row + 1)]
    rows[-1] = rows[-1][: byte_column(source, finding.end_row, finding.end_column)]
    rows[0] = rows[0][byte_column(source, finding.row, finding.column) :]
    return b" ".join(rows)


def _around(node: ast.AST, path: Path) -> list[ast.AST]:
    """What stands around a node: the body of a handler's `try`, or else the innermost statement with a block."""
    above = [part for part in path if part is not node]
    if isinstance(node, ast.ExceptHandler):
        return list(above[-1].body)
    for part in reversed(above):
        if isinstance(part, Function):
            return list(part.body)
        if isinstance(part, _COMPOUND):
            return [part]
    return [path[-1]]


def canonical(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """The words of a syntax tree: the same for two texts that differ in layout, quotes, comments, docstrings or type
    annotations alone.

    The same also in every Python that parses the text: what is empty has no word.
    """
    stack: list[object] = list(reversed(nodes))
    while stack:
        item = stack.pop()
        if isinstance(item, ast.Constant):
            yield f"{type(item.value).__name__} {_constant(item.value)}"
        elif isinstance(item, ast.AnnAssign) and item.value:
            stack.append(ast.Assign([item.target], item.value))
        elif isinstance(item, ast.AST):
            yield f"({type(item).__name__}"
            stack.append(_Word(")"))
            stack.extend(reversed(list(_fields(item))))
        elif isinstance(item, list):
            stack.extend(reversed(item))
        else:
            yield item if isinstance(item, _Word) else ascii(item)


class _Word(str):
    """A word that is no name of the source."""

    __slots__ = ()


def _fields(node: ast.AST) -> Iterator[object]:
    """The name and the value of each field of a node that holds something."""
    for name in node._fields:
        value = getattr(node, name, None)
        if name in _SKIPPED or value is None or value == []:
            continue
        if name == "body" and isinstance(node, (*Function, ast.ClassDef)):
            value = _without_docstring(value)
        elif name == "targets" and isinstance(node, ast.Delete):
            value = _flat(value)
        yield _Word(f"{name}=")
        yield value


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    """A block without its docstring, which formatters indent anew."""
    first = body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if is_docstring and isinstance(first.value.value, str) else body


def _flat(targets: list[ast.expr]) -> list[ast.expr]:
    """What a `del` names, of which formatters drop the brackets."""
    return [part for target in targets for part in (_flat(target.elts) if isinstance(target, ast.Tuple) else [target])]


def _constant(value: object) -> str:
    return hex(value) if isinstance(value, int) else ascii(value)  # decimal digits of an integer may be too many


def _digest(words: Sequence[str] | Iterator[str]) -> str:
    from hashlib import blake2b

    return blake2b("\0".join(words).encode("utf-8", "surrogatepass"), digest_size=_DIGITS // 2).hexdigest()

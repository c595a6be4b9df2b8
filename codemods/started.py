"""What a task, a job or a gather runs: the function of the file that it names, and whether that minds its failures."""

from __future__ import annotations

import ast
import re

from .handlers import breadth, is_plain, raises
from .lazy import lazy_pattern
from .names import is_logger_name, last_name
from .parsing import ParseFailure, parse_text
from .patterns import lower_line
from .places import whole_words
from .scope import Function, Scope, Try

_WHY = lazy_pattern(
    r"fire.?(?:and|&|n).?forget|best.?effort|\bignor(?:e|ing)|swallow|without waiting|"
    r"(?:not|never|n't)\b.{0,40}\b(?:fail|raise|block|break|stop|cancel|matter|care|wait|slow)|"
    r"\b(?:failures?|exceptions?|errors?)\b",
    re.I,
)
_DEF = lazy_pattern(rb"([ \t]*)(?:async[ \t]+)?def[ \t]+")
_COMMENT = lazy_pattern(rb"(?:^[ \t]*|[ \t])#[ \t#]*+(?!noqa|type:|pylint|pyright|pragma)([^\n]*)")


def handles_own_failures(name: str, scope: Scope) -> bool | None:
    """Whether the one function of the file with this name catches what goes wrong in it; None where there is none."""
    found = definitions(name, scope)
    if len(found) != 1:
        return None
    return _is_guarded(found[0].body)


def definitions(name: str, scope: Scope) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of the file with a name, wherever they stand; those that do not parse alone are left out."""
    memo = scope.source.__dict__.setdefault("definitions", {})
    if name not in memo:
        memo[name] = list(_definitions(name, scope.source.utf8)) if name.isidentifier() else []
    return memo[name]


def _definitions(name: str, utf8: bytes) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    found = []
    for at in whole_words(utf8, name.encode()):
        start = utf8.rfind(b"\n", 0, at) + 1
        if not (head := _DEF.fullmatch(utf8, start, at)):
            continue
        width = len(head[1])
        ends = lower_line(width).search(utf8, at)
        text = b"if 1:\n" * bool(width) + utf8[start : ends.start() if ends else len(utf8)]
        try:
            tree = parse_text(text)
        except ParseFailure:
            continue
        body = tree.body[0].body if width else tree.body  # type: ignore[attr-defined]
        found += [node for node in body if isinstance(node, Function)]
    return found


def _is_guarded(block: list[ast.stmt]) -> bool:
    """Whether a block does its work within a try whose broad handler raises nothing, and else only what can't fail."""
    works = [node for node in block if not _is_harmless(node)]
    return bool(works) and all(map(_guards, works))


def _guards(node: ast.stmt) -> bool:
    if isinstance(node, Try):
        return any(breadth(part.type) in ("bare", "broad") and not raises(part) for part in node.handlers)
    if isinstance(node, (ast.With, ast.AsyncWith, ast.While, ast.If)):
        return _is_guarded([*node.body, *getattr(node, "orelse", [])])
    return False


def _is_harmless(node: ast.stmt) -> bool:
    """Whether a statement hardly fails: a definition, a plain assignment, a log call, a sleep."""
    if isinstance(node, (*Function, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Pass, ast.Global, ast.Nonlocal)):
        return True
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.Return)):
        return is_plain(node.value)
    if isinstance(node, ast.Expr):
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            return value.func.attr == "sleep" or is_logger_name(last_name(value.func.value))
        return isinstance(value, ast.Constant)
    return False


def says_why(node: ast.AST, scope: Scope) -> bool:
    """Whether a comment right above a node or on its lines says that its failure does not matter, or why."""
    source, first = scope.source, node.lineno + scope.row_offset  # type: ignore[attr-defined]
    rows = list(range(first, (node.end_lineno or node.lineno) + scope.row_offset + 1))  # type: ignore[attr-defined]
    while first > 1 and source.line(first - 1).lstrip().startswith(b"#"):
        first -= 1
        rows.append(first)
    comments = b" ".join(found[1] for found in map(_COMMENT.search, map(source.line, rows)) if found)
    return _WHY.search(comments.decode("utf-8", "replace")) is not None

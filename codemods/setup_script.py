"""What a setup.py requires for sure: read off its tree, never executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .parsing import ParseFailure, parse_text

_REQUIRES = "install_requires"
# After these a requirement's name has ended, so that what is computed behind them can't change it.
_ENDS = tuple(" <>=!~[(;@")


def install_requires(text: str) -> list[str]:
    """The requirements of `install_requires`, wherever the script gives it: as far as they begin with a constant.

    Of a computed one (`'Twisted ' + version`) the part known is told. What stands under a condition is left out.
    """
    try:
        tree = parse_text(text.encode())
    except ParseFailure:
        return []
    script = _Script(tree)
    given = [value for node in ast.walk(tree) for value in _given(node)]
    return [found for value in (*given, *script.values.get(_REQUIRES, ())) for found in script.items(value)]


def _given(node: ast.AST) -> Iterator[ast.expr]:
    """The value of a keyword or a dictionary's item of that name."""
    if isinstance(node, ast.keyword) and node.arg == _REQUIRES:
        yield node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == _REQUIRES:
                yield value


class _Script:
    """What a script's own statements, none of them under a condition, store under which names and constant keys."""

    def __init__(self, tree: ast.Module) -> None:
        self.values: dict[str, list[ast.expr]] = {}
        for node in tree.body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self.values[_name(target)] = [node.value]
            elif isinstance(node, (ast.AugAssign, ast.AnnAssign)) and node.value:
                self.values.setdefault(_name(node.target), []).append(node.value)
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                self._add(node.value)

    def _add(self, call: ast.Call) -> None:
        """Takes up what a call of `append` or `extend` adds to a list."""
        if isinstance(call.func, ast.Attribute) and len(call.args) == 1:
            added = {"append": ast.List(call.args, ast.Load()), "extend": call.args[0]}.get(call.func.attr)
            if added is not None:
                self.values.setdefault(_name(call.func.value), []).append(added)

    def items(self, value: ast.expr, depth: int = 5) -> list[str]:
        """The texts of a list's items, as far as they are known."""
        if not depth:
            return []
        if isinstance(value, (ast.List, ast.Tuple, ast.Set)):
            return [found for item in value.elts for found in self._item(item, depth)]
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
            return self.items(value.left, depth - 1) + self.items(value.right, depth - 1)
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and len(value.args) == 1:
            return self.items(value.args[0], depth - 1) if value.func.id in ("list", "sorted", "set", "tuple") else []
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value.splitlines()
        return [found for part in self._stored(value) for found in self.items(part, depth - 1)]

    def _item(self, item: ast.expr, depth: int) -> list[str]:
        if isinstance(item, ast.Starred):
            return self.items(item.value, depth - 1)
        text, whole = self._text(item, depth)
        return [text] if whole or any(end in text for end in _ENDS) else []

    def _text(self, value: ast.expr, depth: int) -> tuple[str, bool]:
        """What a text begins with for sure, and whether that is all of it."""
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value, True
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add) and depth:
            left, whole = self._text(value.left, depth - 1)
            right, end = self._text(value.right, depth - 1) if whole else ("", False)
            return left + right, end
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mod) and depth:
            return self._text(value.left, depth - 1)[0].partition("%")[0], False
        if isinstance(value, ast.JoinedStr):
            return (self._text(value.values[0], depth)[0] if value.values else ""), False
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "format":
            return self._text(value.func.value, depth)[0].partition("{")[0], False
        stored = self._stored(value)
        return self._text(stored[0], depth - 1) if len(stored) == 1 and depth else ("", False)

    def _stored(self, value: ast.expr) -> list[ast.expr]:
        return self.values.get(_name(value), []) if isinstance(value, (ast.Name, ast.Subscript)) else []


def _name(node: ast.expr) -> str:
    """A name, or the constant key of a subscript, under which something is stored; else nothing."""
    if isinstance(node, ast.Name):
        return node.id
    key = node.slice if isinstance(node, ast.Subscript) else None
    return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""

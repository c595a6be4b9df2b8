"""Where the names of a file come from: its import statements, read without parsing the file."""

from __future__ import annotations

import ast

from .lazy import lazy_pattern
from .names import dotted
from .parsing import ParseFailure, parse_text
from .source import Source

_IMPORT = lazy_pattern(
    rb"[ \t\f]*((?:from[ \t]+[.\w]+[ \t]+)?import\b[ \t]*(?:\((?:[^()#]|#[^\n]*\n)*\)|(?:[^\n#;\\]|\\\n)*))"
)
_PART = rb"[A-Za-z_]\w*+(?>(?:\.[A-Za-z_]\w*+)*)(?>(?:[ \t]+as[ \t]+\w++)?)[ \t]*+"
_PLAIN = lazy_pattern(rb"(?:from[ \t]+([.\w]+)[ \t]+)?import[ \t]+(%s(?:,[ \t]*%s)*)" % (_PART, _PART))


def origins(source: Source) -> dict[str, str]:
    """The dotted origin of each name that an import binds, at whatever place in the file.

    `from .compat import x as y` gives `{"y": ".compat.x"}`; a star import is kept under `*module`. The first
    binding of a name wins, so that a fallback within `except ImportError` does not hide what is meant.
    """
    if "origins" not in source.__dict__:
        found: dict[str, str] = {}
        for text in dict.fromkeys(_imports(source.utf8)):
            for name, origin in _bindings(text):
                found.setdefault(name, origin)
        source.__dict__["origins"] = found
    return source.__dict__["origins"]


def _imports(utf8: bytes) -> list[bytes]:
    """The texts of what looks like an import statement, each at the start of its line."""
    found: list[bytes] = []
    at = utf8.find(b"import")
    while at >= 0:
        end = at + 6
        if match := _IMPORT.match(utf8, utf8.rfind(b"\n", 0, at) + 1):
            end = max(end, match.end())
            if match.end() > at:
                found.append(match[1])
        at = utf8.find(b"import", end)
    return found


def _bindings(text: bytes) -> list[tuple[str, str]]:
    """The names that one import statement binds, each with its origin; nothing for prose that looks like one."""
    if plain := _PLAIN.fullmatch(text):
        home = (plain[1] or b"").decode()
        parts = (part.split() for part in plain[2].decode().split(","))
        return [_bound(home, part[0], part[2] if len(part) == 3 else None) for part in parts]
    try:
        node = parse_text(text).body[0]
    except ParseFailure:
        return []
    if isinstance(node, ast.ImportFrom):
        home = "." * node.level + (node.module or "")
        return [(f"*{home}", home) if part.name == "*" else _bound(home, part.name, part.asname) for part in node.names]
    if isinstance(node, ast.Import):
        return [_bound("", part.name, part.asname) for part in node.names]
    return []


def _bound(home: str, name: str, asname: str | None) -> tuple[str, str]:
    """The name that one part of an import binds, and its origin."""
    if home:
        return asname or name, (home if home.endswith(".") else home + ".") + name
    return (asname, name) if asname else (name.partition(".")[0],) * 2


def origin(node: ast.AST | None, source: Source) -> str | None:
    """The dotted name of an expression with its first part replaced by what the file's imports bind it to."""
    name = dotted(node)
    if name is None:
        return None
    head, dot, rest = name.partition(".")
    return origins(source).get(head, head) + dot + rest

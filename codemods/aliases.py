"""Other names that a file gives to Exception and BaseException, read off its bytes."""

from __future__ import annotations

import re

from .lazy import lazy_pattern
from .source import Source

BROAD_NAME = lazy_pattern(rb"\b(?:Base)?Exception\b")
_CLASS = rb"(?:builtins[ \t]*\.[ \t]*)?(?:Base)?Exception"
_BINDING = lazy_pattern(
    rb"""[ \t]*(\w+)[ \t]*(?::[^=\n\#]*)?=[ \t]*
    (?: %s | \([^()\n\#]*,?[^()\n\#]*\) ) [ \t]*(?=[\n\#;]|\Z)"""
    % _CLASS,
    re.X,
)
_IN_TUPLE = lazy_pattern(rb"[(,][ \t]*%s[ \t]*," % _CLASS + rb"|,[ \t]*%s[ \t]*\)" % _CLASS)
_AFTER = b" \t\n#;,)"  # what may follow the class where it is bound; most often a colon or parenthesis follows
_IMPORTED_AS = lazy_pattern(rb"[ \t]*from[ \t][^\n]*\b(?:Base)?Exception[ \t]+as[ \t]+(\w+)")


def broad_aliases(source: Source) -> frozenset[str]:
    """Names that the file binds to Exception or BaseException, or to a tuple, written on one line, that holds one."""
    if "broad_aliases" not in source.__dict__:
        source.__dict__["broad_aliases"] = frozenset(aliases_in(source.utf8))
    return source.__dict__["broad_aliases"]


def aliases_in(text: bytes) -> set[str]:
    """The same for a file's text."""
    found: set[str] = set()
    at = text.find(b"Exception")
    while at >= 0:
        if text[at + 9 : at + 10] not in _AFTER:
            at = text.find(b"Exception", at + 9)
            continue
        start = text.rfind(b"\n", 0, at) + 1
        before = text[start:at]
        if b"=" in before and (binding := _BINDING.match(text, start)):
            value = text[binding.end(1) : binding.end()]
            if b"(" not in value or _IN_TUPLE.search(value):
                found.add(binding[1].decode())
        elif b"import" in before and (binding := _IMPORTED_AS.match(text, start)):
            found.add(binding[1].decode())
        at = text.find(b"Exception", at + 9)
    return found

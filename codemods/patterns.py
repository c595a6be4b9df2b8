"""The byte patterns of the screen. Whatever one of them says is certain; where it does not match, nothing is said."""

from __future__ import annotations

import re
from functools import cache

from .handlers import CLEANUP, EMPTY_CONTAINERS

# Strings of one line that nothing within them can end early: no triple quotes, no quotes in an f-string's fields.
_STRING = rb"""(?:
    (?:(?<![fFtT])(?<![fFtT][rR])"(?>(?:[^"\\\n]|\\.)*)"(?!")) |
    (?:(?<![fFtT])(?<![fFtT][rR])'(?>(?:[^'\\\n]|\\.)*)'(?!')) |
    "(?>(?:[^"\\\n{]++|\{\{|\{[^"'\\\n{}]*+\})*)"(?!") |
    '(?>(?:[^'\\\n{]++|\{\{|\{[^"'\\\n{}]*+\})*)'(?!')
)"""


def _brackets(depth: int) -> bytes:
    """A pair of parentheses with what it holds, nested up to a depth, over several lines, without comments."""
    inner = rb"|" + _brackets(depth - 1) if depth > 1 else b""
    return rb"""\( (?>(?:[^()"'#\\]++|""" + _STRING + inner + rb""")*) \)"""


# The header of a handler from `except` to its colon; the group is all between the two.
HEADER = re.compile(rb"""except\b ( (?>(?: [^:()\[\]{}"'\#\\\n]++ | """ + _brackets(2) + rb""" )*) ) :""", re.X)
# What may stand between a header's colon and the first statement.
_SKIP = rb"(?>(?: [ \t]*+ (?:\#[^\n]*+)? \n )*) [ \t]*+"

_WORDS = rb"(?:return|del|pass|global|nonlocal|await|not|lambda|yield|assert|raise|and|or|in|is|if|else)\b"
_CLEANUP = b"(?i:" + CLEANUP.pattern.removeprefix("^").removesuffix("$").encode() + rb")(?!\w)"
_EMPTY = b"(?:" + b"|".join(sorted(name.encode() for name in EMPTY_CONTAINERS)) + rb")[ \t]*\([ \t\n]*[)\#\\]"
# A value that begins with a call other than that of an empty container is no plain value, whatever follows.
_CALL_VALUE = rb"(?!" + _WORDS + rb")(?!" + _EMPTY + rb")(?>(?:\w+\.)*)\w+[ \t]*\("
_ACTS = (
    rb"(?: (?:raise|if|for|while|with|try|import|from|yield|assert|async|def|class)\b"
    rb"| (?!"
    + _WORDS
    + rb") (?: (?>(?:\w+\.)*) (?!"
    + _CLEANUP
    + rb")\w+ [ \t]* "
    + _brackets(3)
    + rb" [ \t]*+ (?=[\#;\n])"
    rb"| [\w.]++ (?>(?:\[[\w.]++\])?) [ \t]*+ (?:=|\+=) [ \t]*+ " + _CALL_VALUE + rb")"
    rb"| return [ \t]++ (?: await\b | " + _CALL_VALUE + rb") )"
)
# Statements after which nothing else of a handler is reached, and which do not act.
_JUMPS = (
    rb"(?: continue | break | return (?: [ \t]+ (?: None | True | False | -?\d+ | \[\] | \{\} | \(\)"
    rb" | \"\"(?!\") | ''(?!') ) )? ) [ \t]*+ (?=[\n\#])"
)
# What a handler's first statement tells, matched from its header's colon on: it is silent (group 1), it is silent if
# that is all it holds (group 2), or it acts, whatever it catches (no group).
FIRST = re.compile(
    _SKIP + rb"(?: (" + _JUMPS + rb") | (pass) [ \t]*+ (?: \#[^\n]*+ )? \n |" + _ACTS + rb")", re.X | re.S
)
# Blank lines and comments, and the indentation (the group) of the line of code that follows.
NEXT_LINE = re.compile(rb"(?>(?: [ \t]*+ (?:\#[^\n]*+)? \n )*) ([ \t]*+) (?=[^\f\\])", re.X)


@cache
def lower_line(column: int) -> re.Pattern[bytes]:
    """Matches the newline, and the indentation, before a line of code that begins at a column or before it."""
    return re.compile(rb"\n[ \t]{0,%d}+(?=[^ \t\n#)\]}\f])" % column)

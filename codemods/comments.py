"""Comments and where they stand, told from strings by Python's own tokenizer. Asked only for files with findings."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .lazy import lazy_pattern
from .source import Source

_PYLINT = lazy_pattern(r"#.*?\bpylint:\s*(disable|disable-next|enable)\s*=\s*([\w\s,-]+)")


@dataclass(slots=True)
class LogicalLine:
    """A logical line's first row, column (1-based and 0-based) and comments; one of comments alone has no `code`.

    `places` are the rows and columns of the comments, `end_row` is the row on which the line ends.
    """

    row: int
    column: int
    code: bool
    opens_block: bool = False
    comments: list[str] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    end_row: int = 0


def logical_lines(source: Source, row: int) -> Iterator[LogicalLine]:
    """The logical lines from a row on, at which one must begin; ends early where the text can't be tokenized."""
    import tokenize

    text = source.utf8[source.line_starts[row - 1] :].decode("utf-8", "replace")
    line: LogicalLine | None = None
    last = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            kind = token.type
            if kind in (tokenize.NEWLINE, tokenize.NL):
                if line and (kind == tokenize.NEWLINE or not line.code):
                    line.opens_block = last == ":"
                    line.end_row = row + token.start[0] - 1
                    yield line
                    line = None
            elif kind not in (tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
                comment = kind == tokenize.COMMENT
                if line is None:
                    line = LogicalLine(row + token.start[0] - 1, token.start[1], not comment)
                if comment:
                    line.comments.append(token.string)
                    line.places.append((row + token.start[0] - 1, token.start[1]))
                else:
                    last = token.string
    except (tokenize.TokenError, SyntaxError):
        return


def pylint_disables(names: frozenset[str], source: Source, row: int) -> bool:
    """Whether a pylint comment switches one of the messages off for a row.

    On a line of code it holds for that line, and for the block that the line opens; alone on a line for the rest of
    the block that it stands in, or until it is enabled again.
    """
    off: list[tuple[int, int]] = []  # the columns from which on code is still within, and the row that ends none
    for line in logical_lines(source, 1):
        if line.row > row:
            break
        if line.code:
            off = [(least, once) for least, once in off if line.column >= least and once in (0, line.row)]
        for text in line.comments:
            said = _PYLINT.search(text)
            if said is None or not names.intersection(re.split(r"[\s,]+", said[2])):
                continue
            if said[1] == "enable":
                off.clear()
            elif line.code:
                if line.row == row:
                    return True
                if line.opens_block:
                    off.append((line.column + 1, 0))
            else:
                off.append((line.column, line.row + 1 if said[1] == "disable-next" else 0))
    return bool(off)

"""Whether two versions of a file have the same comments and layout but for what was inserted."""

from __future__ import annotations

import ast
import codecs
import io
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from .compare import Mismatch
from .edits import Places
from .recognise import Recognised
from .source import Source

_SPACE = frozenset(
    {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING}
)
# Above this number of tokens only the first difference is looked for: aligning takes quadratic time.
_MANY = 40_000
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Token:
    """A token or comment, where it stands (row, column in code points), and the number of tokens cut out before it."""

    text: str
    start: Place
    end: Place
    cut: int


def layout_mismatches(old: Source, new: Source, found: Recognised) -> Iterator[Mismatch]:
    """The comments and white space that differ elsewhere than at inserted logging; rows are those of the new text.

    The trees are known to be equal. White space that touches something inserted may differ: blank lines around it,
    a handler of one line that became two.
    """
    if _form(old) != _form(new):
        yield Mismatch(1, "the encoding or the byte order mark changed")
    try:
        left = list(_kept(old, _old_spans(found)))
        right = list(_kept(new, _new_spans(found)))
    except (tokenize.TokenError, SyntaxError) as error:
        yield Mismatch(1, f"comments and layout can't be compared: {error}")
        return
    yield from _tokens(left, right)
    if [token.text for token in left] == [token.text for token in right]:
        yield from _gaps(old, new, left, right)


def _form(source: Source) -> tuple[bool, str]:
    return source.data.startswith(codecs.BOM_UTF8), source.encoding


def _old_spans(found: Recognised) -> list[tuple[Place, Place]]:
    """What gave way in the old text: `pass` statements, and the headers of suppressed blocks."""
    spans = [_span(old) for old, _ in found.empties]
    spans += [((old.lineno, old.col_offset), _end(old.items[0].context_expr)) for old, _ in found.suppressed]
    return spans


def _new_spans(found: Recognised) -> list[tuple[Place, Place]]:
    """What was put into the new text."""
    spans = [_span(node) for node in (*found.calls, *found.setups)]
    spans += [_span(call.keywords[-1]) for call in found.traced]
    for _, new in found.suppressed:
        spans += [((new.lineno, new.col_offset), (new.lineno, new.col_offset + 3)), _span(new.handlers[0])]
    return spans


def _span(node: ast.AST) -> tuple[Place, Place]:
    return (node.lineno, node.col_offset), _end(node)  # type: ignore[attr-defined]


def _end(node: ast.AST) -> Place:
    return node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]


def _kept(source: Source, spans: list[tuple[Place, Place]]) -> Iterator[_Token]:
    """The tokens and comments of a text without those of the spans, and without the `;` or `,` that joined them on."""
    text = source.utf8.decode("utf-8")
    cuts = sorted((_in_points(source, start), _in_points(source, end)) for start, end in spans)
    read = tokenize.generate_tokens(io.StringIO(text).readline)
    tokens = [(token.string, token.start, token.end) for token in read if token.type not in _SPACE]
    drop = [False] * len(tokens)
    at = 0
    for start, end in cuts:
        while at and tokens[at - 1][1] >= start:
            at -= 1
        while at < len(tokens) and tokens[at][1] < start:
            at += 1
        first = at
        while at < len(tokens) and tokens[at][2] <= end:
            drop[at] = True
            at += 1
        _drop_joint(tokens, drop, first, at)
    cut = 0
    for token, dropped in zip(tokens, drop, strict=True):
        if dropped:
            cut += 1
        else:
            yield _Token(*token, cut)
            cut = 0
    yield _Token("", (len(source.line_starts), 0), (0, 0), cut)


def _drop_joint(tokens: list[tuple[str, Place, Place]], drop: list[bool], first: int, after: int) -> None:
    """Drops the `;` after an inserted statement, the `,` before an inserted argument, or what closes a `with (...)`."""
    if after < len(tokens) and tokens[after][0] == ";" and first < after:
        drop[after] = True
    elif first and tokens[first - 1][0] in (",", ";") and not drop[first - 1]:
        drop[first - 1] = True
    while after < len(tokens) and tokens[after][0] in (")", ",") and tokens[first][0] == "with":
        drop[after] = True
        after += 1


def _in_points(source: Source, place: Place) -> Place:
    """A place with its column in code points."""
    return place[0], source.column(*place) - 1


def _tokens(left: list[_Token], right: list[_Token]) -> Iterator[Mismatch]:
    """Where the tokens differ, which are comments, as the trees are equal, or other ways to write the same."""
    one, two = [token.text for token in left], [token.text for token in right]
    if one == two:
        return
    if len(one) + len(two) > _MANY:
        at = next((at for at, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]), 0)
        yield Mismatch(right[at].start[0], "the text differs from here on, in comments or spelling")
        return
    for tag, low, high, start, end in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        if tag != "equal":
            said, now = " ".join(one[low:high]), " ".join(two[start:end])
            row = right[min(start, len(right) - 1)].start[0]
            yield Mismatch(row, f"the text {_short(said)} became {_short(now)}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _gaps(old: Source, new: Source, left: list[_Token], right: list[_Token]) -> Iterator[Mismatch]:
    """Where white space between the same two neighbours differs."""
    before, after = _Gaps(old), _Gaps(new)
    last = _Token("", (1, 0), (1, 0), 0), _Token("", (1, 0), (1, 0), 0)
    for one, two in zip(left, right, strict=True):
        if not (one.cut or two.cut) and before.text(last[0].end, one.start) != after.text(last[1].end, two.start):
            yield Mismatch(two.start[0], "the layout changed")
        last = one, two
    if before.ends_with_newline() != after.ends_with_newline():
        yield Mismatch(len(new.line_starts), "the last line's newline changed")


class _Gaps:
    """The raw text between tokens: white space, backslashes and newlines as the file has them."""

    def __init__(self, source: Source) -> None:
        self.source, self.places = source, Places(source)

    def text(self, start: Place, end: Place) -> bytes:
        """The file's bytes between two places whose columns count code points."""
        return self.source.data[self._offset(start) : self._offset(end)]

    def _offset(self, place: Place) -> int:
        row, column = place
        line = self.source.line(row)
        width = column if line.isascii() else len(line.decode("utf-8")[:column].encode("utf-8"))
        return self.places.offset(row, min(width, len(line)))

    def ends_with_newline(self) -> bool:
        """Whether the file's last line is ended."""
        return self.source.data.endswith((b"\n", b"\r"))


def spans_text(source: Source, nodes: Iterable[ast.AST]) -> list[tuple[int, str]]:
    """The row and the text of nodes, in order of place."""
    found = []
    for node in nodes:
        (row, column), (end_row, end_column) = _span(node)
        starts = source.line_starts
        text = source.utf8[starts[row - 1] + column : starts[end_row - 1] + end_column]
        found.append((row, text.decode("utf-8")))
    return sorted(found)

"""Suppression comments written and taken out: edits of comments alone, proved to be nothing else."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Sequence

from .edits import Edit, Places, apply, undo
from .engine import check_bytes, raw_matches
from .hushes import Hush, Hushes
from .model import FileError, Finding
from .parsing import ParseFailure, parse
from .rules import all_rules
from .settings import Settings
from .source import DecodeFailure, Source


class CommentFailure(Exception):
    """Comments could not be written or taken out; the message is one line that says why."""


def without_unused(data: bytes, filename: str, settings: Settings) -> tuple[bytes, int]:
    """The bytes without the suppressions that suppress nothing, proved, and how many went. Raises CommentFailure."""
    source = _source(data, filename, settings)
    edits = list(_removals(source, settings).values())
    if not edits:
        return data, 0
    return _proved(source, _merged(edits)), len(edits)


def single_removals(source: Source, settings: Settings) -> dict[tuple[int, int], Edit]:
    """What takes out each suppression that suppresses nothing, proved by itself, by the row and column of its finding."""
    proved = {}
    for place, edit in _removals(source, settings).items():
        try:
            _proved(source, [edit])
        except CommentFailure:
            continue  # `unhush fix` names the reason
        proved[place] = edit
    return proved


def _removals(source: Source, settings: Settings) -> dict[tuple[int, int], Edit]:
    hushes, places = Hushes(source, settings, raw_matches), Places(source)
    rules = [rule for code, rule in all_rules().items() if rule.fix == "comment" and code in settings.select]
    found = {(finding.row, finding.column) for finding in hushes.findings(rules)}
    return {
        (hush.row, hush.start + 1): _removal(hush, hushes.unused(hush) or (), source, places)
        for hush in hushes.all
        if (hush.row, hush.start + 1) in found
    }


def with_ignores(
    data: bytes, filename: str, settings: Settings, findings: Sequence[Finding], reason: str = ""
) -> bytes:
    """The bytes with a suppression for each of the findings, proved: nothing but comments was added, and they are gone.

    A suppression that stands there already is added to. Raises CommentFailure.
    """
    source = _source(data, filename, settings)
    hushes, places = Hushes(source, settings, raw_matches), Places(source)
    wanted: dict[int, list[str]] = {}
    for finding in findings:
        codes = wanted.setdefault(hushes.line_at(finding.row), [])
        codes += [finding.code] * (finding.code not in codes)
    edits = [_addition(line, sorted(codes), reason, source, hushes, places) for line, codes in sorted(wanted.items())]
    new = _proved(source, edits)
    _check_gone(data, new, filename, settings, findings)
    return new


def _source(data: bytes, filename: str, settings: Settings) -> Source:
    try:
        return Source(data, filename, settings.root)
    except DecodeFailure as failure:
        raise CommentFailure(f"can't be decoded: {failure.reason}") from None


def _addition(line: int, codes: list[str], reason: str, source: Source, hushes: Hushes, places: Places) -> Edit:
    """The insertion at the end of a logical line, or into the brackets of the suppression that it has."""
    own = [hush for hush in hushes.all if hush.line == line and hush.names_at and not hush.whole_file]
    try:
        if own:
            _, end = own[-1].names_at or (0, 0)
            row, names = own[-1].row, own[-1].words or ()
            text = (", " if names else "") + ", ".join(codes)
            return Edit(_offset(source, places, row, end), b"", places.encode(text), "comment")
        row = hushes.lines[line].end_row if 0 <= line < len(hushes.lines) else 0
        if not row or not hushes.lines[line].code:
            raise CommentFailure("no line was found that can hold a comment")
        text = f"  # unhush: ignore[{', '.join(codes)}]" + (f" {reason}" if reason else "")
        return Edit(_end_of(source, places, row), b"", places.encode(text), "comment")
    except UnicodeEncodeError:
        raise CommentFailure(f"the reason can't be written in {source.encoding}") from None


def _removal(hush: Hush, unused: tuple[str, ...], source: Source, places: Places) -> Edit:
    """What takes out a comment, or the words of it that are unused; a line that holds nothing else goes whole."""
    line = source.line(hush.row).decode("utf-8")
    if unused and hush.names_at and len(unused) < len(hush.words or ()):
        start, end = hush.names_at
        kept = ", ".join(word for word in hush.words or () if word not in unused)
        return _edit(source, places, hush.row, start, end, kept)
    start, end = hush.start, hush.end
    if not line[end:]:
        start = len(line[:start].rstrip(" \t"))
        if start == 0:
            first, last = places.starts[hush.row - 1], _end_of(source, places, hush.row)
            if hush.row < len(places.starts):
                last = places.starts[hush.row]
            return Edit(first, source.data[first:last], b"", "comment")
    return _edit(source, places, hush.row, start, end, "")


def _edit(source: Source, places: Places, row: int, start: int, end: int, new: str) -> Edit:
    first, last = _offset(source, places, row, start), _offset(source, places, row, end)
    return Edit(first, source.data[first:last], places.encode(new), "comment")


def _offset(source: Source, places: Places, row: int, column: int) -> int:
    """The offset in the file's bytes of a column in code points."""
    return places.offset(row, len(source.line(row).decode("utf-8")[:column].encode("utf-8")))


def _end_of(source: Source, places: Places, row: int) -> int:
    """The offset at which a row ends, before its newline."""
    if row >= len(places.starts):
        return len(source.data)
    return places.starts[row] - len(places.newline(row))


def _merged(edits: Iterable[Edit]) -> list[Edit]:
    """The edits in order, none within another: two comments may go with the line that they share."""
    kept: list[Edit] = []
    for edit in sorted(edits, key=lambda edit: (edit.start, -len(edit.old))):
        if not kept or edit.start >= kept[-1].start + len(kept[-1].old):
            kept.append(edit)
    return kept


def _proved(source: Source, edits: Sequence[Edit]) -> bytes:
    """The edited bytes. Raises CommentFailure unless the edits can be undone and the program is the same without them."""
    try:
        new, starts = apply(source.data, edits)
        if undo(new, edits, starts) != source.data:
            raise CommentFailure("the proof failed, left as it was: the edits can't be undone")
        after = Source(new, source.filename, source.root)
        if after.encoding != source.encoding:
            raise CommentFailure("the proof failed, left as it was: the file would get another encoding")
        same = ast.dump(parse(source)) == ast.dump(parse(after))
    except (DecodeFailure, ParseFailure) as failure:
        raise CommentFailure(f"this Python can't parse the file, so that nothing could be proved: {failure}") from None
    except RecursionError:
        raise CommentFailure("nested too deeply, so that nothing could be proved") from None
    if not same or _type_comments(source) != _type_comments(after):
        raise CommentFailure("the proof failed, left as it was: the program would be another")
    return new


def _type_comments(source: Source) -> list[str] | None:
    """The type comments of a file as type checkers read them, up to a `#`; None where they are no valid ones."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_TYPE_COMMENTS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = compile(source.utf8.decode("utf-8"), "<source>", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    found = [getattr(node, "type_comment", None) for node in ast.walk(tree)]
    ignores = [f"{ignore.tag}" for ignore in tree.type_ignores]  # type: ignore[attr-defined]
    return [text.partition("#")[0].strip() for text in (*filter(None, found), *ignores)]


def _check_gone(data: bytes, new: bytes, filename: str, settings: Settings, findings: Sequence[Finding]) -> None:
    """Raises CommentFailure unless the new text has the old one's findings less these, but for those about comments."""
    gone = {_place(finding) for finding in findings}
    before, after = (check_bytes(text, filename, settings) for text in (data, new))
    about = {code for code, rule in all_rules().items() if rule.kind == "comment"}
    left = {_place(one) for one in before.findings if one.code not in about} - gone
    if after.errors or {_place(one) for one in after.findings if one.code not in about} != left:
        raise CommentFailure("left as it was: no comment that unhush would heed fits there")


def _place(finding: Finding) -> tuple[int, int, str]:
    return finding.row, finding.column, finding.code


def add_ignores(path: str, settings: Settings, findings: Sequence[Finding], reason: str = "") -> FileError | None:
    """Writes suppressions for the findings of a file, atomically. What goes wrong is returned, and nothing written."""
    from .atomic import WriteFailure, write_atomic
    from .engine import read

    try:
        data = read(path)
        write_atomic(path, with_ignores(data, path, settings, findings, reason), data)
    except OSError as error:
        return FileError(path, f"can't be read: {(error.strerror or str(error)).lower()}")
    except (CommentFailure, WriteFailure) as failure:
        return FileError(path, f"no suppressions were written: {failure}", findings[0].row)
    return None

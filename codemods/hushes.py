"""unhush's own suppression comments: where they stand, what they name, and which of them suppress nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from .comments import LogicalLine, logical_lines
from .fingerprint import fingerprint
from .lazy import lazy_pattern
from .model import Finding
from .parsing import ParseFailure, parse
from .rules import Match, Rule, all_rules
from .scope import Scope, path_to, qualname
from .settings import Settings
from .source import Source
from .suppressions import IGNORE_FILE, OWN, names_rule, rows_of, words_of

Matches = Callable[[Source, Settings], Iterable[tuple[Rule, Match, Scope]]]

# Where another comment begins behind one on the same line; `#12` goes on with a reason.
_NEXT = lazy_pattern(r"(?<=\s)#(?!\d)")
_WORD = lazy_pattern(r"\w")


@dataclass(frozen=True, slots=True)
class Hush:
    """One suppression comment: row (1-based), the span of columns (code points, 0-based) that it takes, and its text.

    It may be a part of what Python takes for one comment. `words` are the rules as named, None where it names none;
    `names_at` is the span of columns between its brackets. `line` is the number of its logical line.
    """

    row: int
    start: int
    end: int
    text: str
    words: tuple[str, ...] | None
    names_at: tuple[int, int] | None
    reason: str
    whole_file: bool
    line: int


class Hushes:
    """The comments of one file. `matches` yields what every rule would find there."""

    def __init__(self, source: Source, settings: Settings, matches: Matches) -> None:
        self._source, self._settings, self._matches = source, settings, matches

    @cached_property
    def lines(self) -> list[LogicalLine]:
        """The file's logical lines; ends early where the text can't be tokenized."""
        return list(logical_lines(self._source, 1))

    @cached_property
    def all(self) -> list[Hush]:
        """The comments in order of place."""
        return [
            hush
            for number, line in enumerate(self.lines)
            for text, (row, column) in zip(line.comments, line.places, strict=True)
            if (hush := _hush(text, row, column, number))
        ]

    def line_at(self, row: int) -> int:
        """The number of the logical line that holds a row, or that ends above it."""
        return bisect_right(self.lines, row, key=lambda line: line.row) - 1

    def unused(self, hush: Hush) -> tuple[str, ...] | None:
        """The words of a comment that suppress nothing, none for a bare one; None where all does its work."""
        if hush.whole_file or any(_names_comment_rule(word) for word in hush.words or ()):
            return None
        used = self._used.get((hush.row, hush.start), frozenset())
        if hush.words is None:
            return None if used else ()
        idle = tuple(word for word in hush.words if not any(names_rule(word, all_rules()[code]) for code in used))
        return idle if idle or not hush.words else None

    @cached_property
    def _used(self) -> dict[tuple[int, int], frozenset[str]]:
        """For each comment, by its place, the codes of what is found where it stands."""
        by_line: dict[int, list[Hush]] = {}
        for hush in self.all:
            by_line.setdefault(hush.line, []).append(hush)
        used: dict[tuple[int, int], set[str]] = {}
        for rule, match, scope in self._matches(self._source, self._settings):
            first = rows_of(match, scope)[0]
            for hush in by_line.get(self.line_at(first), ()):
                if hush.row >= first:
                    used.setdefault((hush.row, hush.start), set()).add(rule.code)
        return {place: frozenset(codes) for place, codes in used.items()}

    def findings(self, rules: Iterable[Rule]) -> Iterator[Finding]:
        """What the rules about comments find. Nothing in a file that Python can't parse: nobody knows what is used."""
        if not self.all:
            return
        try:
            tree = parse(self._source)
        except ParseFailure:
            return
        scope = Scope(self._source, tree)
        hidden = any(hush.whole_file for hush in self.all)
        seen: dict[tuple[str, str, str], int] = {}
        for rule in rules:
            for hush in self.all:
                if (hidden and not hush.whole_file) or any(names_rule(word, rule) for word in hush.words or ()):
                    continue
                if message := rule.match(hush, self):  # type: ignore[arg-type]
                    key = (rule.code, qualname(scope, path_to(tree, hush.row)[1:]), hush.text)
                    seen[key] = seen.get(key, -1) + 1
                    yield self._finding(rule, hush, message, key[1], seen[key])  # type: ignore[arg-type]

    def _finding(self, rule: Rule, hush: Hush, message: str, name: str, occurrence: int) -> Finding:
        source, root = self._source, self._settings.root
        return Finding(
            code=rule.code,
            name=rule.name,
            message=message,
            filename=source.filename,
            row=hush.row,
            column=hush.start + 1,
            end_row=hush.row,
            end_column=hush.start + 1 + len(hush.text),
            qualname=name,
            shape=None,
            caught=(),
            severity="medium",
            severity_reasons=("what comes to stand here later would be hidden",) if rule.fix else (),
            fingerprint=fingerprint(rule.code, source.filename, root, name, hush.text.encode(), occurrence),
            in_loop=False,
            fix="safe" if rule.fix else None,
            fix_reason=None if rule.fix else "only a person can say why",
        )


def is_about_comments(finding: Finding) -> bool:
    """Whether a finding blames a comment, not code."""
    return all_rules()[finding.code].kind == "comment"


def _names_comment_rule(word: str) -> bool:
    return any(rule.kind == "comment" and names_rule(word, rule) for rule in all_rules().values())


def _hush(text: str, row: int, column: int, line: int) -> Hush | None:
    """The suppression within one comment of Python's; None where it holds none."""
    found, whole_file = OWN.search(text), False
    if found is None:
        found, whole_file = IGNORE_FILE.match(text), True
    if found is None:
        return None
    after = _NEXT.search(text, found.end())
    end = after.start() if after else len(text)
    names = None if whole_file or found[1] is None else found[1]
    return Hush(
        row=row,
        start=column + found.start(),
        end=column + end,
        text=text[found.start() : end].rstrip(),
        words=None if names is None else tuple(words_of(names)),
        names_at=None if names is None else (column + found.start(1), column + found.end(1)),
        reason=reason if _WORD.search(reason := text[found.end() : end].strip()) else "",
        whole_file=whole_file,
        line=line,
    )

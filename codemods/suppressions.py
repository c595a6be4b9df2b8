"""Comments that take a finding away: unhush's own, `noqa`, and those of other tools that mean the same."""

from __future__ import annotations

import ast
import re
from functools import cached_property
from itertools import islice

from .comments import logical_lines, pylint_disables
from .lazy import lazy_pattern
from .rules import Match, Rule
from .scope import Scope
from .settings import Settings
from .source import Source

# What other tools call the same defect. `all` is what pylint takes for every message.
_SILENT = frozenset({"S110", "S112", "SIM105", "B110", "B112", "try_except_pass", "try_except_continue"})
_UNSEEN = frozenset(
    {"BLE001", "E722", "W0702", "W0703", "W0718", "bare-except", "broad-except", "broad-exception-caught", "all"}
)
FOREIGN = {"UNH101": _SILENT, "UNH102": _SILENT, "UNH103": _SILENT, "UNH201": _SILENT, "UNH104": _UNSEEN}

_HINT = lazy_pattern(rb"unhush:|noqa|nosec|pylint:", re.I)
OWN = lazy_pattern(r"#\s*unhush:\s*ignore\b(?!-)(?:\s*\[([\w\s,.-]*)\])?")
IGNORE_FILE = lazy_pattern(r"#\s*unhush:\s*ignore-file\b")
_NOQA = lazy_pattern(r"#\s*noqa\b(?!-)(?:\s*:\s*([A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*)|(?!\s*:))", re.I)
_FILE_NOQA = lazy_pattern(
    r"#\s*(?:flake8|ruff)[:=]\s*noqa\b(?:\s*:\s*([A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*)|(?!\s*:))", re.I
)
_MAY_BE_FILE_NOQA = lazy_pattern(rb"(?:flake8|ruff)[:=][\s\x80-\xff]*noqa", re.I)
_NOSEC = lazy_pattern(r"#\s*nosec\b:?\s*((?:(?:B[0-9]{3}|[a-z]+_[a-z_]+)[\s,]*)*)")
_SEPARATOR = lazy_pattern(r"[\s,]+")


class Suppressions:
    """The comments of one file. What holds for the whole file is looked for once, when it is first asked for."""

    def __init__(self, source: Source, settings: Settings) -> None:
        self._source, self._foreign = source, settings.foreign_suppressions

    @cached_property
    def whole_file(self) -> bool:
        """Whether a comment says `unhush: ignore-file`."""
        if b"ignore-file" not in self._source.utf8:
            return False
        return any(IGNORE_FILE.match(text) for text in self._comments)

    def hides(self, rule: Rule, match: Match, scope: Scope) -> bool:
        """Whether a comment takes a finding away."""
        if self.whole_file or _is_suppressed(rule, match, scope, self._foreign):
            return True
        if not self._foreign:
            return False
        if any(_file_noqa_means(codes, rule) for codes in self._file_noqas):
            return True
        if rule.code != "UNH104" or b"pylint:" not in self._source.utf8:
            return False
        return pylint_disables(_UNSEEN, self._source, match.node.lineno + scope.row_offset)  # type: ignore[attr-defined]

    @cached_property
    def _comments(self) -> list[str]:
        return [text for line in logical_lines(self._source, 1) for text in line.comments]

    @cached_property
    def _file_noqas(self) -> list[list[str]]:
        """The codes of each `# ruff: noqa` and `# flake8: noqa`."""
        utf8 = self._source.utf8
        if (b"flake8" not in utf8 and b"ruff:" not in utf8) or not _MAY_BE_FILE_NOQA.search(utf8):
            return []
        return [words_of((said[1] or "").upper()) for text in self._comments if (said := _FILE_NOQA.match(text))]


def _file_noqa_means(codes: list[str], rule: Rule) -> bool:
    return (
        not codes
        or bool(FOREIGN.get(rule.code, frozenset()).intersection(codes))
        or any(names_rule(c, rule) for c in codes)
    )


def _is_suppressed(rule: Rule, match: Match, scope: Scope, foreign: bool) -> bool:
    """Whether a comment on the lines to blame takes a finding away."""
    first, last, body = rows_of(match, scope)
    starts, utf8 = scope.source.line_starts, scope.source.utf8
    text = utf8[starts[first - 1] : starts[last] if last < len(starts) else len(utf8)]
    if b"#" in text and _HINT.search(text):
        lines = islice(logical_lines(scope.source, first), 2 if body else 1)
        for number, line in enumerate(lines):
            if any(_says(text, rule, foreign, own=number == 0) for text in line.comments):
                return True
    return foreign and isinstance(match.node, ast.ExceptHandler) and _is_sim105(rule, match, scope)


def rows_of(match: Match, scope: Scope) -> tuple[int, int, bool]:
    """The rows that may hold a comment on a match, and whether a handler's only statement is the last of them.

    That statement's line counts for other tools' comments: bandit's users write theirs there.
    """
    node = match.node
    if isinstance(node, ast.ExceptHandler):
        only = node.body[0]
        alone = len(node.body) == 1 and not hasattr(only, "body") and only.lineno > node.lineno
        first, last = node.lineno, only.end_lineno if alone else _end_of(node.body)
    else:
        statement = next((part for part in reversed(match.path) if isinstance(part, ast.stmt)), node)
        block = getattr(statement, "body", None)
        alone, first, last = False, statement.lineno, _end_of(block) if block else statement.end_lineno
    return first + scope.row_offset, (last or first) + scope.row_offset, alone


def _end_of(block: list[ast.stmt]) -> int | None:
    """The last row of the line that a block's first statement begins on; others may begin on it too."""
    last = block[0].lineno
    for statement in block:
        if statement.lineno > last or hasattr(statement, "body"):
            break
        last = statement.end_lineno or last
    return last


def _says(text: str, rule: Rule, foreign: bool, own: bool) -> bool:
    """Whether a comment takes a rule's finding away; `own` where unhush's own ones count."""
    if own and (said := OWN.search(text)):
        return said[1] is None or any(names_rule(word, rule) for word in words_of(said[1]))
    codes = _noqa_codes(text)
    if codes and own and any(names_rule(code, rule) for code in codes):
        return True
    if not foreign:
        return False
    same = FOREIGN.get(rule.code, frozenset())
    if codes is not None and ((not codes and own) or same.intersection(codes)):
        return True
    if "B110" in same and (said := _NOSEC.search(text)):
        return not said[1] or bool(same.intersection(words_of(said[1])))
    return False


def names_rule(word: str, rule: Rule) -> bool:
    """Whether a word of a comment means a rule: its name, its code or its family."""
    word = word.upper()
    return word == rule.name.upper() or (word.startswith("UNH") and rule.code.startswith(word))


def words_of(text: str) -> list[str]:
    """The words of a list in a comment, parted by commas or blanks."""
    return [word for word in _SEPARATOR.split(text) if word]


def _noqa_codes(text: str) -> list[str] | None:
    """The codes of a noqa comment, none of them for a bare one; None where there is no such comment."""
    said = _NOQA.search(text)
    return None if said is None else words_of((said[1] or "").upper())


def _is_sim105(rule: Rule, match: Match, scope: Scope) -> bool:
    """Whether the line of the `try` holds a noqa of SIM105, which ruff reports there."""
    row = match.path[-2].lineno + scope.row_offset
    if "SIM105" not in FOREIGN.get(rule.code, ()) or b"SIM105" not in scope.source.line(row):
        return False
    line = next(logical_lines(scope.source, row), None)
    return line is not None and any("SIM105" in (_noqa_codes(text) or ()) for text in line.comments)

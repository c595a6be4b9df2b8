"""Rules applied to files: bytes in, findings out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from .discover import is_generated
from .fingerprint import fingerprint
from .fixability import fixability
from .model import SEVERITY_RANK, FileError, FileReport, Finding, Fix, Severity
from .parsing import ParseFailure
from .perfile import Named, may_ignore, settings_for, without_ignored
from .pieces import Pieces
from .rules import Match, Rule, all_rules, winners
from .scope import Scope, in_loop, qualname
from .screen import OWN_WORD, Candidates, Plan, may_match, plan_for, screen
from .settings import Settings
from .source import DecodeFailure, Source
from .suppressions import Suppressions
from .testcode import is_test

_WEIGHED = frozenset({"UNH101", "UNH102", "UNH103", "UNH201", "UNH202"})
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NEWER = "this Python does not parse the code, so that no rewrite could be proved"


def check_file(path: str, settings: Settings) -> FileReport:
    """What a file holds. Nothing for a generated file, unless its name is `Named`; what goes wrong is a FileError."""
    try:
        data = read(path)
    except OSError as error:
        reason = f"can't be read: {(error.strerror or str(error)).lower()}"
        return FileReport(path, errors=(FileError(path, reason),))
    return check_content(data, path, settings)


def check_content(data: bytes, path: str, settings: Settings) -> FileReport:
    """What a file's content holds, as `check_file` has it."""
    report = check_bytes(data, path, settings_for(path, settings))
    if (report.findings or report.errors) and not isinstance(path, Named) and is_generated(data):
        return FileReport(path)
    return report


def read(path: str) -> bytes:
    """A file's bytes, by the fewest calls of the system. Raises OSError."""
    return read_with_status(path)[0]


def read_with_status(path: str) -> tuple[bytes, os.stat_result]:
    """A file's bytes, and its status before they were read. Raises OSError."""
    file = os.open(path, _READ)
    try:
        status = os.fstat(file)
        size = status.st_size
        data = os.read(file, size + 1)
        while len(data) != size:
            more = os.read(file, 1 << 20)
            if not more:
                break
            data += more
        return data, status
    finally:
        os.close(file)


def check_bytes(data: bytes, filename: str, settings: Settings) -> FileReport:
    """The findings of a file's bytes; bytes that do not decode are a FileError."""
    if not may_match(data, plan_for(settings.select)):
        return FileReport(filename)
    try:
        source = Source(data, filename, settings.root)
    except DecodeFailure as error:
        return FileReport(filename, errors=(FileError(filename, error.reason, error.row),))
    return check_source(source, settings)


def check_source(source: Source, settings: Settings) -> FileReport:
    """The findings of a file in order of place, of all severities, without the suppressed ones."""
    plan = plan_for(settings.select)
    candidates = screen(source, plan)
    commented = bool(plan.comment_rules) and OWN_WORD in source.utf8
    if not candidates and not commented:
        return FileReport(source.filename)
    try:
        source.check()
        findings = sorted(_findings(source, candidates, plan, settings), key=_place) if candidates else []
        if commented:
            from .hushes import Hushes

            findings = sorted(
                [*findings, *Hushes(source, settings, raw_matches).findings(plan.comment_rules)], key=_place
            )
        if settings.per_file_ignores and may_ignore(settings, {finding.code for finding in findings}):
            return check_source(source, without_ignored(source.filename, settings))
        return FileReport(source.filename, tuple(findings))
    except DecodeFailure as failure:
        problem = FileError(source.filename, failure.reason, failure.row)
    except ParseFailure as failure:
        kind = "can't be parsed" if failure.column is None else "syntax error"
        problem = FileError(source.filename, f"{kind}: {failure.reason}", failure.row, failure.column)
    except RecursionError:
        problem = FileError(source.filename, "nested too deeply to be checked")
    return FileReport(source.filename, errors=() if Suppressions(source, settings).whole_file else (problem,))


def visible(report: FileReport, settings: Settings) -> tuple[Finding, ...]:
    """The findings of a report that are at least of the settings' minimum severity."""
    least = SEVERITY_RANK[settings_for(report.filename, settings).min_severity]
    return tuple(finding for finding in report.findings if SEVERITY_RANK[finding.severity] >= least)


def _findings(source: Source, candidates: Candidates, plan: Plan, settings: Settings) -> Iterator[Finding]:
    """What the rules find at the candidates, scope by scope, so that no more than one of them is held at a time."""
    suppressions = Suppressions(source, settings)
    counts: dict[tuple[str, str, bytes], int] = {}
    for scope, rows, rules in _scopes(source, candidates, plan):
        if scope.newer and settings.target_version and settings.target_version <= sys.version_info[:2]:
            raise ParseFailure(_too_new(settings.target_version), getattr(scope.tree, "lineno", 1) + scope.row_offset)
        found = winners(_matches(scope, rows, rules, plan, settings))
        for rule, match in sorted(found, key=lambda entry: (entry[1].node.lineno, entry[1].node.col_offset)):
            if not suppressions.hides(rule, match, scope):
                key = (rule.code, qualname(scope, match.path), b" ".join(_text(match, scope).split()))
                counts[key] = counts.get(key, -1) + 1
                yield finding(rule, match, scope, settings, counts[key])


def raw_matches(source: Source, settings: Settings) -> Iterator[tuple[Rule, Match, Scope]]:
    """What every rule there is would find in a file, selected or not, suppressed or not, and whichever is more specific.

    Raises ParseFailure.
    """
    plan = plan_for(frozenset(all_rules()))
    if candidates := screen(source, plan):
        for scope, rows, rules in _scopes(source, candidates, plan):
            for rule, match in _matches(scope, rows, rules, plan, settings):
                yield rule, match, scope


def _scopes(source: Source, candidates: Candidates, plan: Plan) -> Iterator[tuple[Scope, list[int], list[Rule]]]:
    """The scopes that hold candidates, each with the rows of its handlers and the scope rules to ask."""
    handlers, asked = set(candidates.handlers), _asked(candidates)
    for scope, offsets in Pieces(source, sorted({*handlers, *asked})).scopes():
        rows = [source.row_of(offset) for offset in offsets if offset in handlers]
        rules = [rule for rule in plan.scope_rules if any(rule.code in asked.get(offset, ()) for offset in offsets)]
        yield scope, rows, rules


def _too_new(version: tuple[int, int]) -> str:
    return f"syntax of a newer Python than the target-version, {version[0]}.{version[1]}"


def _asked(candidates: Candidates) -> dict[int, list[str]]:
    """The codes of the scope rules that have something to say at each offset."""
    asked: dict[int, list[str]] = {}
    for rule, places in candidates.places:
        for offset in places:
            asked.setdefault(offset, []).append(rule.code)
    return asked


def _matches(
    scope: Scope, rows: list[int], rules: list[Rule], plan: Plan, settings: Settings
) -> Iterator[tuple[Rule, Match]]:
    """What the handler rules say of the handlers at some rows of a scope, and scope rules of the whole."""
    for row in rows:
        if site := scope.site_at(row):
            for rule in plan.handler_rules:
                if match := rule.match(site, settings):  # type: ignore[arg-type]
                    yield rule, match  # type: ignore[misc]
    for rule in rules:
        for match in rule.scope_match(scope, settings):  # type: ignore[misc]
            yield rule, match


def _place(finding: Finding) -> tuple[int, int, str]:
    return finding.row, finding.column, finding.code


def finding(rule: Rule, match: Match, scope: Scope, settings: Settings, occurrence: int = 0) -> Finding:
    """A match as a finding; `occurrence` counts those of the same rule, qualname and text before it in the file.

    The fix is judged only for findings that the settings' least severity lets through: it is asked for no others.
    """
    node, source = match.node, scope.source
    row, end_row = node.lineno + scope.row_offset, node.end_lineno + scope.row_offset
    name = qualname(scope, match.path)
    fix, fix_reason = _fix(rule, match, scope, settings)
    return Finding(
        code=rule.code,
        name=rule.name,
        message=match.message,
        filename=source.filename,
        row=row,
        column=source.column(row, node.col_offset),
        end_row=end_row,
        end_column=source.column(end_row, node.end_col_offset),
        qualname=name,
        shape=match.shape,
        caught=match.caught,
        severity=_severity(rule, match, source),
        severity_reasons=match.reasons,
        fingerprint=fingerprint(rule.code, source.filename, settings.root, name, _text(match, scope), occurrence),
        in_loop=in_loop(match.path),
        fix=fix,
        fix_reason=fix_reason,
    )


def _severity(rule: Rule, match: Match, source: Source) -> Severity:
    """A match's severity; a step lower in tests and examples, where no production data is lost.

    Of silent handlers and suppress the place is weighed along with all else.
    """
    if rule.code in _WEIGHED or match.severity == "low" or not is_test(source):
        return match.severity
    return "low" if match.severity == "medium" else "medium"


def _fix(rule: Rule, match: Match, scope: Scope, settings: Settings) -> tuple[Fix | None, str | None]:
    if SEVERITY_RANK[match.severity] < SEVERITY_RANK[settings.min_severity]:
        return None, "it is below the least severity asked for"
    return (None, _NEWER) if scope.newer else fixability(rule, match, scope)


def _text(match: Match, scope: Scope) -> bytes:
    """The source of the node to blame."""
    node, starts = match.node, scope.source.line_starts
    start = starts[node.lineno + scope.row_offset - 1] + node.col_offset
    return scope.source.utf8[start : starts[node.end_lineno + scope.row_offset - 1] + node.end_col_offset]

"""The rewrite of one file's findings: plan, edits and proof, until nothing more comes out."""

from __future__ import annotations

from dataclasses import replace

from . import engine
from .edits import Edit, apply, old_offset
from .fixreport import Changed, Failed, Fixed, FixReport, Unchanged, sha256
from .hushes import is_about_comments
from .locate import byte_column
from .model import FileError, Finding
from .module import Module
from .parsing import ParseFailure
from .plan import Plan, plan
from .proof import Disproof, is_provable, prove
from .ruffrange import formatted
from .settings import Settings
from .source import DecodeFailure

_ROUNDS = 8


def fix_findings(
    data: bytes, filename: str, settings: Settings, wanted: list[Finding], findings: tuple[Finding, ...]
) -> FixReport:
    """The fix of the wanted ones among a file's findings.

    A rewrite may bring out findings that were excused before (a small probe that logs is no small probe any more), so
    these are then fixed with the others, in one rewrite with one proof.
    """
    try:
        module = Module(data, filename, settings)
        for _ in range(_ROUNDS):
            report, more = _attempt(module, wanted, findings)
            if not more:
                break
            wanted = [*wanted, *more]
    except (DecodeFailure, ParseFailure) as failure:
        reason = f"this Python can't parse the file, so that nothing could be proved: {failure.reason}"
        refused = [replace(finding, fix=None, fix_reason=reason) for finding in wanted]
        return Unchanged(filename, _with_reasons(findings, refused), sha256(data))
    except (Disproof, ValueError) as disproof:
        problem = FileError(filename, f"the proof failed, left as it was: {disproof}")
        return Failed(filename, (problem,), findings, sha256(data))
    return report


def _attempt(module: Module, wanted: list[Finding], findings: tuple[Finding, ...]) -> tuple[FixReport, list[Finding]]:
    """One plan with its proof, and what it brought out that could be fixed too, placed in the old text."""
    source, settings = module.source, module.settings
    made = plan(module, wanted)
    if not made.edits:
        return Unchanged(source.filename, _with_reasons(findings, made.refused), sha256(source.data)), []
    edits = formatted(module, made.edits)
    new, starts = apply(source.data, edits)
    after = prove(module, new, edits, starts)
    report = _changed(source.data, new, source.filename, settings, made, edits)
    if not isinstance(report, Changed):
        return report, []
    fixable = [
        finding for finding in report.remaining if finding.fix in settings.fixes and not is_about_comments(finding)
    ]
    return report, [_placed_back(finding, module, after, edits, starts) for finding in fixable]


def _placed_back(finding: Finding, old: Module, new: Module, edits: list[Edit], starts: list[int]) -> Finding:
    """A finding of the new text at the place where the old text has what it blames."""

    def back(row: int, column: int) -> tuple[int, int]:
        offset = old_offset(new.places.offset(row, byte_column(new.source, row, column)), edits, starts)
        row, width = old.places.place(offset)
        return row, old.source.column(row, width)

    row, column = back(finding.row, finding.column)
    end_row, end_column = back(finding.end_row, finding.end_column)
    return replace(finding, row=row, column=column, end_row=end_row, end_column=end_column)


def _changed(data: bytes, new: bytes, filename: str, settings: Settings, made: Plan, edits: list[Edit]) -> FixReport:
    """The outcome of a proved rewrite, with the findings that the new text still has."""
    after = engine.check_bytes(new, filename, settings)
    if after.errors:
        return Failed(filename, after.errors, (), sha256(data))
    return Changed(
        filename=filename,
        old=data,
        new=new,
        before_sha256=sha256(data),
        after_sha256=sha256(new),
        fixed=tuple(Fixed(finding, event) for finding, event in sorted(made.fixed, key=lambda fixed: fixed[0].row)),
        remaining=_with_reasons(engine.visible(after, settings), made.refused),
        verdict="proved" if is_provable(edits) else "unsafe",
    )


def _with_reasons(findings: tuple[Finding, ...], refused: list[Finding]) -> tuple[Finding, ...]:
    """The findings, with the reason of those whose rewrite was looked for and refused."""
    reasons = {(finding.code, finding.fingerprint): finding.fix_reason for finding in refused}
    return tuple(
        replace(finding, fix=None, fix_reason=reason)
        if (reason := reasons.get((finding.code, finding.fingerprint)))
        else finding
        for finding in findings
    )

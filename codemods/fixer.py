"""The fix of one file: findings, plan, edits, proof, and the atomic write."""

from __future__ import annotations

import gc
from dataclasses import replace

from . import engine
from .discover import is_generated
from .fixreport import Changed, Failed, Fixed, FixReport, Unchanged, sha256
from .model import FileError, Finding
from .perfile import Named, settings_for
from .rules import all_rules
from .settings import Settings


def fix_file(path: str, settings: Settings, *, write: bool = True) -> FixReport:
    """Rewrites what can be rewritten in a file, and writes it if its proof holds and `write` says so.

    Nothing is raised for a bad file: what goes wrong with reading, the proof or writing is a Failed.
    """
    settings = settings_for(path, settings)
    try:
        data = engine.read(path)
    except OSError as error:
        return Failed(path, (FileError(path, f"can't be read: {(error.strerror or str(error)).lower()}"),))
    report = fix_bytes(data, path, settings)
    if isinstance(report, Unchanged) and not report.remaining:
        return report
    if not isinstance(path, Named) and is_generated(data):
        return Unchanged(path, ())
    if not write or not isinstance(report, Changed):
        return report
    from .atomic import WriteFailure, write_atomic

    try:
        write_atomic(path, report.new, data)
    except WriteFailure as failure:
        findings = engine.visible(engine.check_bytes(data, path, settings), settings)
        return Failed(path, (FileError(path, str(failure)),), findings, report.before_sha256)
    return report


def fix_bytes(data: bytes, filename: str, settings: Settings) -> FixReport:
    """The fix of a file's bytes, proved but not written. `filename` tells which project the file belongs to."""
    found = engine.check_bytes(data, filename, settings)
    findings = engine.visible(found, settings)
    if found.errors:
        return Failed(filename, found.errors, findings, sha256(data))
    wanted = [finding for finding in findings if finding.fix in settings.fixes]
    if comments := [finding for finding in wanted if _is_comment(finding)]:
        return _with_comments(data, filename, settings, comments, findings)
    if not wanted:
        return Unchanged(filename, findings, sha256(data) if findings else None)
    # Only here: a run that finds nothing to rewrite needs no LibCST, and no time to import it.
    from .backends import backend_problem
    from .rewriting import fix_findings

    if problem := backend_problem(settings, filename, data):
        return Failed(filename, (FileError(filename, problem),), findings, sha256(data))
    collecting = gc.isenabled()
    gc.disable()  # trees hold no cycles, and walking them again and again costs a fifth of the time
    try:
        report = fix_findings(data, filename, settings, wanted, findings)
    finally:
        if collecting:
            gc.enable()
    if late := [finding for finding in report.remaining if _is_comment(finding)]:  # the rewrite took away their use
        return _with_comments(data, filename, settings, late, findings)
    return report


def _is_comment(finding: Finding) -> bool:
    return all_rules()[finding.code].fix == "comment"


def _with_comments(
    data: bytes, filename: str, settings: Settings, comments: list[Finding], findings: tuple[Finding, ...]
) -> FixReport:
    """The fix of a file in which suppressions are to go: first all else, where the findings stand, then the comments."""
    from .commenting import CommentFailure, without_unused

    about = {rule.code for rule in all_rules().values() if rule.fix == "comment"}
    first = fix_bytes(data, filename, replace(settings, select=settings.select - about))
    if isinstance(first, Failed):
        return first
    try:
        new, _ = without_unused(first.new if isinstance(first, Changed) else data, filename, settings)
    except CommentFailure as failure:
        return Failed(filename, (FileError(filename, str(failure)),), findings, sha256(data))
    left = engine.check_bytes(new, filename, settings)
    if left.errors:
        return Failed(filename, left.errors, findings, sha256(data))
    reasons = {(one.code, one.fingerprint): one for one in first.remaining}
    fixed = [*(first.fixed if isinstance(first, Changed) else ()), *(Fixed(finding, None) for finding in comments)]
    return Changed(
        filename=filename,
        old=data,
        new=new,
        before_sha256=sha256(data),
        after_sha256=sha256(new),
        fixed=tuple(sorted(fixed, key=lambda one: one.finding.row)),
        remaining=tuple(_with_reason(one, reasons) for one in engine.visible(left, settings)),
        verdict=first.verdict if isinstance(first, Changed) else "proved",
    )


def _with_reason(finding: Finding, known: dict[tuple[str, str], Finding]) -> Finding:
    """A finding with the reason why it stays, as it was found before rows moved."""
    before = known.get((finding.code, finding.fingerprint))
    return replace(finding, fix=before.fix, fix_reason=before.fix_reason) if before else finding

"""What the fixer has to say of one file: a few frozen outcomes, and their form in the JSON report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .model import FileError, Finding


@dataclass(frozen=True, slots=True)
class Fixed:
    """A finding that was rewritten (placed in the old file), and the event that its log call names, if it has one."""

    finding: Finding
    event: str | None


@dataclass(frozen=True, slots=True)
class Changed:
    """A file that was rewritten, or would be where nothing is written.

    `remaining` are the findings left in the new text, with `fix_reason` where a rewrite was looked for and refused.
    `verdict` is "proved" where every edit is of a kind that the proof covers, "unsafe" where an edit that was asked
    for by `unsafe_fixes` (a re-raise, a change of level) is among them.
    """

    filename: str
    old: bytes
    new: bytes
    before_sha256: str
    after_sha256: str
    fixed: tuple[Fixed, ...]
    remaining: tuple[Finding, ...]
    verdict: Literal["proved", "unsafe"]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A file in which nothing was to be rewritten; `remaining` says with `fix_reason` why its findings stay.

    `sha256` is None where there are no findings.
    """

    filename: str
    remaining: tuple[Finding, ...]
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A file that was left alone because something went wrong: reading, the proof, or writing.

    `errors` has one line each; `remaining` are the findings that are known.
    """

    filename: str
    errors: tuple[FileError, ...]
    remaining: tuple[Finding, ...] = ()
    sha256: str | None = None


FixReport = Changed | Unchanged | Failed


def sha256(data: bytes) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def as_record(report: FixReport) -> dict[str, Any]:
    """One file's entry in the JSON report: hashes, findings fixed with their events, how many stay, the verdict."""
    record: dict[str, Any] = {"filename": report.filename}
    if isinstance(report, Changed):
        record |= {"sha256_before": report.before_sha256, "sha256_after": report.after_sha256}
        record["fixed"] = [_fixed(fixed) for fixed in report.fixed]
        record |= {"remaining": [_remaining(finding) for finding in report.remaining], "verdict": report.verdict}
        return record
    record |= {"sha256_before": report.sha256, "sha256_after": report.sha256, "fixed": []}
    record["remaining"] = [_remaining(finding) for finding in report.remaining]
    if isinstance(report, Failed):
        return record | {"verdict": "failed", "errors": [error.reason for error in report.errors]}
    return record | {"verdict": "unchanged"}


def _place(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "name": finding.name,
        "location": {"row": finding.row, "column": finding.column},
        "qualname": finding.qualname,
        "fingerprint": finding.fingerprint,
    }


def _fixed(fixed: Fixed) -> dict[str, Any]:
    return {**_place(fixed.finding), "event": fixed.event, "in_loop": fixed.finding.in_loop}


def _remaining(finding: Finding) -> dict[str, Any]:
    return {**_place(finding), "fix": finding.fix, "reason": finding.fix_reason}

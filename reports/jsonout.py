"""Findings as JSON (RFC 8259): a list, or one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..codemods.model import FileReport, Finding


def as_dict(finding: Finding) -> dict[str, Any]:
    """The stable form of a finding that other programs rely on."""
    return {
        "code": finding.code,
        "name": finding.name,
        "message": finding.message,
        "filename": finding.filename,
        "location": {"row": finding.row, "column": finding.column},
        "end_location": {"row": finding.end_row, "column": finding.end_column},
        "qualname": finding.qualname,
        "shape": finding.shape,
        "caught": list(finding.caught),
        "severity": finding.severity,
        "severity_reasons": list(finding.severity_reasons),
        "fingerprint": finding.fingerprint,
        "in_loop": finding.in_loop,
        "fix": finding.fix,
    }


def render(reports: Iterable[FileReport]) -> Iterator[str]:
    """A JSON list of all findings, in pieces, one finding a line."""
    before = "["
    for report in reports:
        for finding in report.findings:
            yield f"{before}\n  {json.dumps(as_dict(finding))}"
            before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def render_lines(reports: Iterable[FileReport]) -> Iterator[str]:
    """One JSON object a line (JSON Lines)."""
    for report in reports:
        for finding in report.findings:
            yield json.dumps(as_dict(finding)) + "\n"

"""Findings as GitLab's code quality report: a JSON list in the form of Code Climate."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

from ..codemods.model import FileReport, Finding
from .excerpt import printable
from .paths import relative

_SEVERITIES = {"high": "critical", "medium": "major", "low": "minor"}


def render(reports: Iterable[FileReport], base: str) -> Iterator[str]:
    """A list of all findings, in pieces; names relative to `base`, which should be the root of the checkout."""
    before = "["
    for report in reports:
        for finding in report.findings:
            yield f"{before}\n  {json.dumps(_issue(finding, base))}"
            before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def _issue(finding: Finding, base: str) -> dict[str, Any]:
    """The keys that GitLab reads, https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format."""
    return {
        "type": "issue",
        "categories": ["Bug Risk"],
        "check_name": finding.code,
        "description": f"{finding.code} {finding.name}: {printable(finding.message)}",
        "fingerprint": finding.fingerprint,
        "severity": _SEVERITIES[finding.severity],
        "location": {
            "path": printable(relative(finding.filename, base)).replace(os.sep, "/"),
            "lines": {"begin": finding.row, "end": finding.end_row},
        },
    }

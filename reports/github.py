"""Findings as GitHub Actions workflow commands, which become annotations of a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..codemods.model import FileReport, Finding
from .paths import relative

_LEVELS = {"high": "error", "medium": "warning", "low": "notice"}


def render(reports: Iterable[FileReport], base: str) -> Iterator[str]:
    """One command a finding; names relative to `base`, which should be the root of the checkout."""
    for report in reports:
        for finding in report.findings:
            yield _command(finding, relative(finding.filename, base))


def _command(finding: Finding, name: str) -> str:
    place = {"file": name, "line": finding.row, "endLine": finding.end_row}
    if finding.row == finding.end_row:  # GitHub refuses columns of an annotation that spans lines
        place |= {"col": finding.column, "endColumn": finding.end_column}
    place["title"] = f"{finding.code} {finding.name} ({finding.severity})"
    properties = ",".join(f"{key}={_property(str(value))}" for key, value in place.items())
    return f"::{_LEVELS[finding.severity]} {properties}::{_data(finding.message)}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

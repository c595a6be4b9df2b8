"""Findings as one line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..codemods.model import FileReport
from .excerpt import shown
from .paths import relative
from .text import headline


def render(reports: Iterable[FileReport], base: str) -> Iterator[str]:
    """One chunk for each report with findings; names relative to `base` where they lie in it."""
    for report in reports:
        if report.findings:
            name = shown(relative(report.filename, base))
            yield "".join(headline(finding, name) for finding in report.findings)

"""Findings as text for people: source, caret, and why it matters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..codemods.model import FileReport, Finding
from ..codemods.source import DecodeFailure, Source
from .excerpt import excerpt, shown
from .paths import relative

_PLAIN = dict.fromkeys(("high", "medium", "low", "bold", "dim", "caret", "off"), "")
_COLORS = {
    "high": "\033[1;31m",
    "medium": "\033[33m",
    "low": "\033[36m",
    "bold": "\033[1m",
    "dim": "\033[2m",
    "caret": "\033[31m",
    "off": "\033[0m",
}


def render(
    reports: Iterable[FileReport], base: str, read: Callable[[str], Source], color: bool = False
) -> Iterator[str]:
    """One chunk of text for each report with findings.

    Names are shown relative to the folder `base` where they lie in it. `read` gives a file's source; where it raises
    OSError or DecodeFailure (the file has changed since it was checked) the reason stands in place of the excerpt.
    """
    paint = _COLORS if color else _PLAIN
    for report in reports:
        if report.findings:
            lines, problem = _lines(report.filename, read)
            name = shown(relative(report.filename, base))
            yield "".join(_block(finding, name, lines, problem, paint) for finding in report.findings)


def _lines(filename: str, read: Callable[[str], Source]) -> tuple[list[bytes], str | None]:
    """A file's rows, or none of them and why."""
    try:
        return read(filename).utf8.split(b"\n"), None
    except (OSError, DecodeFailure) as error:
        return [], f"the source can't be shown: {error}"


def headline(finding: Finding, name: str, paint: dict[str, str] = _PLAIN) -> str:
    """`name:row:column: CODE severity message`, with `[*]` where a safe fix exists."""
    bold, off, level = paint["bold"], paint["off"], paint[finding.severity]
    mark = " [*]" if finding.fix == "safe" else ""
    return (
        f"{bold}{name}{off}:{finding.row}:{finding.column}: {bold}{finding.code}{off} "
        f"{level}{finding.severity}{off}{mark} {finding.message}\n"
    )


def _block(finding: Finding, name: str, lines: list[bytes], problem: str | None, paint: dict[str, str]) -> str:
    parts = [headline(finding, name, paint)]
    dim, off = paint["dim"], paint["off"]
    gutter = max(4, len(str(finding.row + 1)))
    for row, text in excerpt(lines, finding.row, finding.column, finding.end_row, finding.end_column):
        body = text if row else f"{paint['caret']}{text}{off}"
        parts.append(f"{dim}{row or '':>{gutter}} |{off} {body}".rstrip() + "\n")
    notes = (*_notes(finding), *([problem] if problem else ()))
    parts.extend(f"{dim}{'':{gutter}} ={off} {note}\n" for note in notes)
    return "".join(parts) + "\n"


def _notes(finding: Finding) -> Iterator[str]:
    where = "at module level" if finding.qualname == "<module>" else f"in {finding.qualname}"
    loop = ", in a loop" if finding.in_loop else ""
    yield f"{where}{loop}" + (f": {'; '.join(finding.severity_reasons)}" if finding.severity_reasons else "")
    if finding.fix is None and finding.fix_reason:
        yield f"not fixed by unhush: {finding.fix_reason}"
    elif finding.fix == "unsafe":
        yield "fixed with --unsafe-fixes only" + (f": {finding.fix_reason}" if finding.fix_reason else "")

"""Findings as a Markdown summary for a pull request or a job, the worst first, short enough to be posted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..codemods.model import SEVERITY_RANK, FileError, FileReport, Finding
from .ci import Links
from .excerpt import printable
from .paths import relative
from .standing import Standing
from .tally import LEVELS, Tally, counts, joined

LIMIT = 65_000  # characters: GitHub takes 65,536 in a comment; in UTF-8 this stays below the 1 MiB of a job's summary
_ROOM = 1_000  # for what follows the table
_SPECIAL = re.compile(r"[^\w \-./,;:()=+'\"?!]|_")


def render(
    reports: Iterable[FileReport],
    errors: Sequence[FileError],
    base: str,
    links: Links,
    standing: Callable[[], Standing | None] = lambda: None,
    limit: int = LIMIT,
) -> Iterator[str]:
    """The document, in pieces, of at most `limit` characters. Names are relative to the folder `base`.

    `errors` and `standing` are asked once the reports have been gone through; with a standing the findings are the new
    ones.
    """
    findings = [finding for report in reports for finding in report.findings]
    compared = standing()
    head = "\n".join([*_headline(findings, errors, compared), *_standing(compared), *_by_rule(findings)])
    yield head
    left = limit - len(head) - _ROOM
    rows = _rows(findings, base, links)
    shown = 0
    for row in rows:
        if left < len(row):
            break
        left -= len(row)
        shown += 1
        yield row
    if shown < len(findings):
        yield f"\n{len(findings) - shown:,} more are not listed here, none of them worse than the last one above.\n"


def _headline(findings: list[Finding], errors: Sequence[FileError], compared: Standing | None) -> Iterator[str]:
    new = "new " if compared else ""
    if findings:
        levels = [(level, sum(finding.severity == level for finding in findings)) for level in LEVELS]
        words = joined([f"{count:,} {level}" for level, count in levels if count])
        noun = "swallowed exception" + "s" * (len(findings) != 1)
        yield f"## unhush: {len(findings):,} {new}{noun} ({words})\n"
    else:
        yield f"## unhush: no {new}swallowed exceptions\n"
    if errors:
        files = "1 file" if len(errors) == 1 else f"{len(errors):,} files"
        yield f"**{files} could not be checked:** the first is {code(errors[0].filename)}, {inline(errors[0].reason)}.\n"


def _standing(compared: Standing | None) -> Iterator[str]:
    if compared is None:
        return
    yield "| severity | baseline | gone | known | new | now |\n|---|--:|--:|--:|--:|--:|"
    for level, *numbers in compared.rows:
        if level == "all" or any(numbers):
            yield f"| {level} | {' | '.join(f'{number:,}' for number in numbers)} |"
    yield ""


def _by_rule(findings: list[Finding]) -> Iterator[str]:
    if not findings:
        return
    tally = Tally()
    tally.add(findings, findings)
    yield f"| rule | {' | '.join(LEVELS)} | total |\n|---|--:|--:|--:|--:|"
    for row in counts(tally):
        numbers = " | ".join(f"{row[key]:,}" if row[key] else "" for key in (*LEVELS, "total"))
        yield f"| {row['code']} {row['name']} | {numbers} |"
    yield "\n| severity | place | what |\n|---|---|---|\n"


def _rows(findings: list[Finding], base: str, links: Links) -> Iterator[str]:
    worst_first = sorted(findings, key=lambda f: (-SEVERITY_RANK[f.severity], f.filename, f.row, f.column))
    for finding in worst_first:
        place = code(f"{relative(finding.filename, base)}:{finding.row}")
        if url := links.to(finding.filename, finding.row, finding.end_row):
            place = f"[{place}]({url})"
        where = "" if finding.qualname == "<module>" else f" in {code(finding.qualname)}"
        level = "**high**" if finding.severity == "high" else finding.severity
        yield f"| {level} | {place}{where} | {finding.code} {inline(finding.message)} |\n"


def code(text: str) -> str:
    """Any text in a code span that nothing in it can end: all that Markdown, HTML or a table reads is a reference."""
    return f"<code>{_escaped(text)}</code>"


def inline(text: str) -> str:
    """A message of ours: its code spans stay, the rest is plain text."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _escaped(text)
    return "".join(code(part) if at % 2 else _escaped(part) for at, part in enumerate(parts))


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", printable(text))

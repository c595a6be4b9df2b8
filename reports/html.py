"""Findings as one HTML page that needs nothing else: counts as plain tables, findings as data for the page's script.

The page is all ASCII, allows no script and no style but its own, and asks no network for anything.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import sha256
from importlib.resources import files
from string import Template
from typing import Any

from ..codemods.model import SEVERITY_RANK, FileError, Finding
from ..codemods.source import DecodeFailure, Source
from .ci import Links
from .excerpt import WIDTH, printable
from .htmltables import age_group, escaped, package, selects, tables
from .paths import relative
from .standing import Standing

_BEFORE, _AFTER, _LONGEST = 3, 2, 14


@dataclass(frozen=True)
class Page:
    """What a report is made with. Names are relative to the folder `base`.

    `ages` has for the file and row of a finding the day it was written on (ISO 8601), or words for why there is none;
    it is None where nobody asked. `standing` is None without a baseline.
    """

    base: str
    version: str
    links: Links
    read: Callable[[str], Source]
    standing: Standing | None = None
    ages: Mapping[tuple[str, int], str] | None = None
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))


def render(
    findings: Sequence[Finding], known: Sequence[Finding], errors: Sequence[FileError], page: Page
) -> Iterator[str]:
    """The page, in pieces. `known` are findings that a baseline tolerates, to be shown beside those of the run."""
    entries = [_entry(finding, page, "") for finding in findings]
    if page.standing:
        entries = [{**entry, "state": "new"} for entry in entries]
        entries += [_entry(finding, page, "known") for finding in known]
    entries.sort(
        key=lambda entry: (entry["state"] == "known", -SEVERITY_RANK[entry["severity"]], entry["file"], entry["row"])
    )
    style, script = _part("report.css"), _part("report.js")
    values = {
        "title": escaped(f"Swallowed exceptions in {os.path.basename(page.base) or page.base}"),
        "about": _about(entries, page),
        "style": style,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
        "notes": "\n".join(_notes(errors, page)),
        "tables": tables(entries, page.standing, page.ages is not None),
        "selects": selects(entries, page.standing is not None, page.ages is not None),
        "made": f"Made by unhush {escaped(page.version)}.",
    }
    yield Template(_part("report.html")).substitute(values)
    yield from _data(entries, page)
    yield Template(_part("report_end.html")).substitute(script=script)


def _part(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A source of a content security policy (CSP level 3): what may run or style the page."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _about(entries: list[dict[str, Any]], page: Page) -> str:
    noun = "finding" + "s" * (len(entries) != 1)
    names = len({entry["file"] for entry in entries})
    where = f" in {names:,} file{'s' * (names != 1)}" if entries else ""
    return f"{len(entries):,} {noun}{where}, as of {page.made_at:%Y-%m-%d %H:%M} UTC"


def _notes(errors: Sequence[FileError], page: Page) -> Iterator[str]:
    for error in errors:
        name = escaped(relative(error.filename, page.base))
        yield f'<p class="note"><code>{name}</code> could not be checked: {escaped(error.reason)}</p>'


def _entry(finding: Finding, page: Page, state: str) -> dict[str, Any]:
    """A finding as the page's script and the tables read it."""
    name = relative(finding.filename, page.base)
    entry = {
        "rule": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "file": printable(name).replace(os.sep, "/"),
        "row": finding.row,
        "qualname": printable(finding.qualname),
        "package": printable(package(name)),
        "message": printable(finding.message),
        "reasons": [printable(reason) for reason in finding.severity_reasons],
        "fix": _fix(finding),
        "state": state,
        "url": page.links.to(finding.filename, finding.row, finding.end_row),
        "finding": finding,
    }
    if page.ages is not None:
        said = page.ages.get((finding.filename, finding.row), "unknown")
        is_day = said[:1].isdigit()
        group = age_group((page.made_at.date() - date.fromisoformat(said)).days) if is_day else said
        entry |= {"age": f"since {said}" if is_day else said, "since": said if is_day else "", "agegroup": group}
    return entry


def _fix(finding: Finding) -> str:
    if finding.fix == "safe":
        return "`unhush fix` rewrites it"
    if finding.fix == "unsafe":
        return "`unhush fix --unsafe-fixes` rewrites it"
    return f"not fixed by unhush: {printable(finding.fix_reason)}" if finding.fix_reason else ""


def _data(entries: list[dict[str, Any]], page: Page) -> Iterator[str]:
    """The findings with their source as JSON that no script element can be ended or commented out by."""
    lines: dict[str, list[str] | str] = {}
    yield '{"findings": ['
    before = "\n"
    for entry in entries:
        finding: Finding = entry["finding"]
        if finding.filename not in lines:
            lines[finding.filename] = _lines(finding.filename, page.read)
        rows = lines[finding.filename]
        source = {"problem": rows} if isinstance(rows, str) else {"source": _excerpt(rows, finding)}
        told = {key: value for key, value in entry.items() if key != "finding" and value is not None}
        text = json.dumps(told | source, separators=(",", ":"))
        yield before + text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
        before = ",\n"
    yield "]}\n"


def _lines(filename: str, read: Callable[[str], Source]) -> list[str] | str:
    """A file's rows, or why there are none (it has changed since it was checked)."""
    try:
        return read(filename).utf8.decode("utf-8", "replace").split("\n")
    except (OSError, DecodeFailure) as error:
        return printable(f"The source can't be shown: {error}")


def _excerpt(lines: list[str], finding: Finding) -> dict[str, Any]:
    """The rows around a finding; what is blamed in its first row stands apart."""
    first = max(1, finding.row - _BEFORE)
    last = max(finding.row, min(len(lines), finding.end_row + _AFTER, first + _LONGEST - 1))
    if last == len(lines) > finding.row and not lines[-1]:
        last -= 1
    rows: list[str | list[str]] = [_cut(printable(line.rstrip())) for line in lines[first - 1 : last]]
    if finding.row <= len(lines):
        rows[finding.row - first] = _parted(lines[finding.row - 1].rstrip(), finding)
    return {"first": first, "from": finding.row, "to": finding.end_row, "rows": _dedented(rows)}


def _dedented(rows: list[str | list[str]]) -> list[str | list[str]]:
    """The rows without the indentation that all share: a phone is narrow."""
    texts = [row if isinstance(row, str) else "".join(row) for row in rows]
    shared = min((len(text) - len(text.lstrip(" ")) for text in texts if text.strip()), default=0)
    return [row[shared:] if isinstance(row, str) else [row[0][shared:], *row[1:]] for row in rows]


def _parted(line: str, finding: Finding) -> list[str]:
    """A row before, in and after what is blamed in it. Tabs are widened as from the row's start."""
    end = finding.end_column - 1 if finding.end_row == finding.row else len(line)
    wide = line.expandtabs(4)
    start, stop = (len(line[:column].expandtabs(4)) for column in (finding.column - 1, end))
    skipped = max(0, start - WIDTH // 2) if len(wide) > WIDTH else 0
    stop = min(stop, skipped + WIDTH)
    parts = wide[skipped:start], wide[start:stop], wide[stop : skipped + WIDTH]
    return ["".join(char if char == " " else printable(char) for char in part) for part in parts]


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[:WIDTH]} ..."

"""What a baseline holds and what a run found against it, in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Protocol, TypeVar

from .tally import LEVELS

_MOST = 20


class Key(Protocol):
    """What is read of a known finding."""

    @property
    def file(self) -> str:
        """Relative to the baseline's folder."""

    @property
    def qualname(self) -> str:
        """The function or class."""

    @property
    def code(self) -> str:
        """The rule's code."""


def compared(path: str, known: int, new: int, stale: int) -> str:
    """One line: how many findings the baseline tolerates, how many are new, how many of its own are gone."""
    text = f"{path}: {known:,} known {_findings(known)} tolerated, {new:,} new, {stale:,} gone"
    return f"{text}: `unhush baseline update` takes {'it' if stale == 1 else 'them'} out." if stale else f"{text}."


def changed(ref: str | None, files: int, submodules: int) -> str:
    """What a run in changed lines looked at."""
    where = "staged lines" if ref is None else f"lines changed since the merge base with {ref}"
    text = f"Only {where} count: {files:,} changed file{'s' * (files != 1)}."
    if submodules:
        text += (
            f" {submodules:,} changed submodule{'s' * (submodules != 1)} not looked into: check them as repositories."
        )
    return text


K = TypeVar("K", bound=Key)


def stale(entries: Mapping[K, int]) -> list[str]:
    """A line for each entry that is gone, the first twenty of them."""
    lines = [
        f"gone, but still known: {key.code} {key.file} {key.qualname} ({count:,})" for key, count in _sorted(entries)
    ]
    return lines if len(lines) <= _MOST else [*lines[:_MOST], f"and {len(lines) - _MOST:,} more entries"]


def _sorted(entries: Mapping[K, int]) -> list[tuple[K, int]]:
    return sorted((item for item in entries.items() if item[1]), key=lambda item: tuple(item[0]))  # type: ignore[arg-type]


def show(path: str, counts: Mapping[K, int], severities: Mapping[K, str]) -> str:
    """The number of known findings, by rule and severity and by file, the worst first."""
    lines = [f"{path}: {sum(counts.values()):,} known {_findings(sum(counts.values()))}"]
    for title, name in (("rule", "code"), ("file", "file")):
        rows = _rows(name, counts, severities)
        if rows:
            lines += ["", *_table([[title, *LEVELS, "total"], *rows[:_MOST]])]
        if len(rows) > _MOST:
            lines.append(f"and {len(rows) - _MOST:,} more {title}s")
    return "\n".join(lines) + "\n"


def show_json(counts: Mapping[K, int], severities: Mapping[K, str]) -> str:
    """The same as JSON: `{"total", "rules": {CODE: {"high", "medium", "low", "total"}}, "files": {...}}`."""
    names = [*LEVELS, "total"]
    parts = {
        title: {
            first: dict(zip(names, map(int, rest), strict=True)) for first, *rest in _rows(name, counts, severities)
        }
        for title, name in (("rules", "code"), ("files", "file"))
    }
    return json.dumps({"total": sum(counts.values()), **parts}, indent=2) + "\n"


def _rows(name: str, counts: Mapping[K, int], severities: Mapping[K, str]) -> list[list[str]]:
    by: dict[str, Counter[str]] = {}
    for key, count in counts.items():
        by.setdefault(getattr(key, name), Counter())[severities[key]] += count
    worst = sorted(by.items(), key=lambda item: (*(-item[1][level] for level in LEVELS), item[0]))
    return [[value, *(str(of[level]) for level in LEVELS), str(of.total())] for value, of in worst]


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))])
        for first, *rest in rows
    ]


def _findings(count: int) -> str:
    return "finding" if count == 1 else "findings"

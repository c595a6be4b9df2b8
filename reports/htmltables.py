"""The counts of the HTML report as tables, and the lists that its findings are filtered by."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .excerpt import printable
from .standing import Standing
from .tally import LEVELS

_MOST = 15  # rows of a table; the rest is summed up
_AGES = ((7, "up to a week"), (30, "up to a month"), (91, "up to 3 months"), (365, "up to a year"))
_OLDER = "over a year"
_AGE_ORDER = (*(name for _, name in _AGES), _OLDER)

Entry = dict[str, Any]


def escaped(text: str) -> str:
    """Text for an element or an attribute, in ASCII."""
    return html.escape(printable(text)).encode("ascii", "xmlcharrefreplace").decode("ascii")


def package(name: str) -> str:
    """The package of a file by its relative name: at most two folders, `src` left out; `.` for the top."""
    folders = name.replace("\\", "/").split("/")[:-1]
    if folders[:1] == ["src"]:
        folders = folders[1:]
    return ".".join(folders[:2]) or "."


def age_group(days: int) -> str:
    """A word for an age in days."""
    return next((name for most, name in _AGES if days <= most), _OLDER)


def tables(entries: Sequence[Entry], standing: Standing | None, aged: bool) -> str:
    """The tables of the overview."""
    parts = [] if standing is None else [_trend(standing)]
    parts.append(_table("By severity", "severity", entries, order=LEVELS))
    parts.append(_table("By rule", "rule", entries, label=lambda entry: f"{entry['rule']} {entry['name']}"))
    parts.append(_table("By package", "package", entries))
    if aged:
        parts.append(_table("By age", "agegroup", entries, order=_AGE_ORDER))
    return "\n".join(parts)


def _table(
    caption: str,
    key: str,
    entries: Sequence[Entry],
    order: Sequence[str] = (),
    label: Callable[[Entry], str] | None = None,
) -> str:
    groups: dict[str, Counter[str]] = {}
    labels: dict[str, str] = {}
    for entry in entries:
        value = entry[key]
        groups.setdefault(value, Counter())[entry["severity"]] += 1
        labels.setdefault(value, label(entry) if label else value)
    most = max((group.total() for group in groups.values()), default=1)
    values = _ordered(groups, order)
    is_plain = key == "severity"
    rows = [_row(_pick(key, value, labels[value]), groups[value], most, is_plain) for value in values[:_MOST]]
    if rest := values[_MOST:]:
        sums = sum((groups[value] for value in rest), Counter[str]())
        rows.append(_row(f"{len(rest):,} more", sums, max(most, sums.total()), is_plain))
    if not is_plain or len(values) != 1:
        total = Counter[str](entry["severity"] for entry in entries)
        rows.append(_row("all", total, 0, is_plain, "total"))
    return _framed(caption, caption[3:], ["total"] if is_plain else [*LEVELS, "total"], rows)


def _ordered(groups: dict[str, Counter[str]], order: Sequence[str]) -> list[str]:
    """In the given order, what is not named in it last; else those with most high ones first."""
    if order:
        return sorted(groups, key=lambda value: (order.index(value) if value in order else len(order), value))
    return sorted(groups, key=lambda value: (*(-groups[value][level] for level in LEVELS), value))


def _framed(caption: str, first: str, columns: Iterable[str], rows: Iterable[str], bar: bool = True) -> str:
    heads = "".join(f'<th scope="col" class="number">{column}</th>' for column in columns)
    empty = '<td class="bar"></td>' if bar else ""
    head = f'<thead><tr><th scope="col">{first}</th>{heads}{empty}</tr></thead>'
    return f'<div class="table"><table><caption>{caption}</caption>{head}<tbody>{"".join(rows)}</tbody></table></div>'


def _row(head: str, counts: Counter[str], most: int, is_plain: bool, kind: str = "") -> str:
    numbers = [counts.total()] if is_plain else [*(counts[level] for level in LEVELS), counts.total()]
    cells = "".join(
        f'<td class="number">{number:,}</td>' if number else '<td class="number">0</td>' for number in numbers
    )
    return f'<tr class="{kind}"><th scope="row">{head}</th>{cells}<td class="bar">{_bar(counts, most)}</td></tr>'


def _bar(counts: Counter[str], most: int) -> str:
    """A picture of counts that stand in the row as numbers already."""
    if not most:
        return ""
    at, parts = 0.0, []
    for level in LEVELS:
        if width := 100 * counts[level] / most:
            parts.append(f'<rect class="fill-{level}" x="{at:.2f}" y="0" width="{width:.2f}" height="10"/>')
            at += width
    return f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'


def _pick(key: str, value: str, label: str) -> str:
    return f'<button class="pick" type="button" data-filter="{key}" data-value="{escaped(value)}">{escaped(label)}</button>'


def _trend(standing: Standing) -> str:
    rows = []
    for level, *numbers in standing.rows:
        cells = "".join(f'<td class="number">{number:,}</td>' for number in numbers)
        rows.append(f'<tr class="{"total" if level == "all" else ""}"><th scope="row">{level}</th>{cells}</tr>')
    before, gone, known, new, now = standing.rows[-1][1:]
    table = _framed("Against the baseline", "severity", ("baseline", "gone", "known", "new", "now"), rows, bar=False)
    step = now - before
    words = "as many as" if not step else f"{abs(step):,} {'more' if step > 0 else 'fewer'} than"
    said = f"{now:,} now, {words} in the baseline: {gone:,} gone, {new:,} new."
    most = max(before, now, 1)
    bars = _trend_bar("baseline", [(before, "old")], most) + _trend_bar("now", [(known, "old"), (new, "new")], most)
    return table.replace("</table>", f'</table><p class="trend">{said}</p>{bars}', 1)


def _trend_bar(label: str, parts: Iterable[tuple[int, str]], most: int) -> str:
    """A bar of the picture whose numbers the table above it has."""
    at, rects = 0.0, []
    for count, kind in parts:
        rects.append(f'<rect class="fill-{kind}" x="{at:.2f}" y="0" width="{100 * count / most:.2f}" height="10"/>')
        at += 100 * count / most
    svg = f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none">{"".join(rects)}</svg>'
    return f'<div class="trend-row" aria-hidden="true"><span>{label}</span>{svg}</div>'


def selects(entries: Sequence[Entry], compared: bool, aged: bool) -> str:
    """The lists of the form, with the values that there are, and the order."""
    parts = [
        _select(
            "severity", "Severity", [(level, level) for level in LEVELS if any(e["severity"] == level for e in entries)]
        ),
        _select("rule", "Rule", sorted({(e["rule"], f"{e['rule']} {e['name']}") for e in entries})),
        _select("package", "Package", sorted({(e["package"], e["package"]) for e in entries})),
    ]
    if compared:
        parts.append(_select("state", "Baseline", [("new", "new"), ("known", "known")]))
    if aged:
        values = sorted(
            {e["agegroup"] for e in entries}, key=lambda v: (_AGE_ORDER.index(v) if v in _AGE_ORDER else 9, v)
        )
        parts.append(_select("agegroup", "Age", [(value, value) for value in values]))
    orders = [("worst", "worst first"), ("file", "by file")]
    orders += [("oldest", "oldest first"), ("newest", "newest first")] if aged else []
    options = "".join(_options(orders))
    return "\n".join([*parts, f'<p><label for="order">Order</label> <select id="order">{options}</select></p>'])


def _select(key: str, label: str, values: Sequence[tuple[str, str]]) -> str:
    options = "".join(_options([("", "all"), *values]))
    return f'<p><label for="by-{key}">{label}</label> <select id="by-{key}" data-filter="{key}">{options}</select></p>'


def _options(values: Iterable[tuple[str, str]]) -> Iterator[str]:
    for value, label in values:
        yield f'<option value="{escaped(value)}">{escaped(label)}</option>'

"""Which findings a baseline knows: the same content in the same place, or in the place that it was moved to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from .baseline import Baseline, Key
from .codemods.model import FileReport, Finding
from .codemods.settings import Settings


@dataclass(frozen=True)
class Found:
    """A finding with its key as of now. `shown` where it is severe enough, `changed` where its lines are new."""

    finding: Finding
    key: Key
    shown: bool
    changed: bool = False


@dataclass
class Reach:
    """What a run can tell of a baseline's entries: of which files it speaks, which are gone, which rules it asked."""

    speaks_of: Callable[[str], bool]
    is_gone: Callable[[str], bool]
    codes: frozenset[str]


@dataclass
class Matched:
    """`known` findings with the entry that each takes, `new` ones, and how often an entry is `stale` or `unseen`."""

    known: list[tuple[Key, Found]] = field(default_factory=list)
    new: list[Found] = field(default_factory=list)
    stale: Counter[Key] = field(default_factory=Counter)
    unseen: Counter[Key] = field(default_factory=Counter)


def found_in(
    reports: Iterable[FileReport],
    baseline: Baseline,
    settings: Settings,
    jobs: int | None = None,
    changed: Callable[[Finding], bool] = lambda finding: False,
) -> list[Found]:
    """The findings of some reports with their keys.

    Files of which nothing is shown and nothing known are left out.
    """
    from .codemods.engine import visible
    from .codemods.identity import Identity, identities_of
    from .codemods.pool import map_files

    known = {key.file for key in baseline.counts}
    by_file = {
        report.filename: report
        for report in reports
        if report.findings and (baseline.name_of(report.filename) in known or visible(report, settings))
    }
    findings = {name: report.findings for name, report in by_file.items()}
    asked = map_files(
        partial(identities_of, findings),
        by_file,
        jobs,
        lost=lambda name, reason: [Identity("", "")] * len(findings[name]),
    )
    result = []
    for name, identities in asked:
        shown = {id(finding) for finding in visible(by_file[name], settings)}
        place = baseline.name_of(name)
        for finding, identity in zip(findings[name], identities, strict=True):
            key = Key(place, finding.qualname, finding.code, *identity)
            result.append(Found(finding, key, id(finding) in shown, changed(finding)))
    return result


def match(baseline: Baseline, found: Sequence[Found], reach: Reach) -> Matched:
    """Gives each finding the entry that fits it best, as often as that was counted; what gets none is new.

    Findings in unchanged lines choose first, so that of equal ones it is the changed one that is new.
    """
    result = Matched()
    left = Counter(baseline.counts)
    speaks_of, is_gone = _remembered(baseline, reach.speaks_of), _remembered(baseline, reach.is_gone)
    left_over = sorted(found, key=lambda item: (item.changed, not item.shown))
    for key_of, may_take in _steps(speaks_of, is_gone):
        stock: dict[tuple[str, ...], list[Key]] = {}
        for key in sorted(left, reverse=True):
            if left[key] and may_take(key):
                stock.setdefault(key_of(key), []).append(key)
        waiting, left_over = left_over, []
        for item in waiting:
            taken = _take(stock.get(key_of(item.key), []), left)
            if taken is not None:
                result.known.append((taken, item))
            else:
                left_over.append(item)
    result.new = left_over
    for key, count in left.items():
        told = key.code in reach.codes and speaks_of(key.file)
        (result.stale if told else result.unseen)[key] += count
    return result


def _take(keys: list[Key], left: Counter[Key]) -> Key | None:
    """The next of some entries that is not used up, counted down."""
    while keys:
        if left[keys[-1]]:
            left[keys[-1]] -= 1
            return keys[-1]
        keys.pop()
    return None


_Step = tuple[Callable[[Key], tuple[str, ...]], Callable[[Key], bool]]


def _steps(speaks_of: Callable[[str], bool], is_gone: Callable[[str], bool]) -> list[_Step]:
    """What must agree, from the closest likeness to the loosest, and which entries may be taken for that.

    An entry is taken by another file's finding only where its own file is gone, or was looked at and holds it no more.
    A handler alone, such as `except Exception: pass`, is like many others: away from its function it is known by the
    `try` around it, and away from its file by its function only where that file is gone.
    """

    def free(key: Key) -> bool:
        return speaks_of(key.file) or is_gone(key.file)

    return [
        (lambda key: key, lambda key: True),
        (lambda key: (key.file, key.qualname, key.code, key.own), lambda key: True),
        (lambda key: (key.file, key.code, key.own, key.around), lambda key: True),
        (lambda key: (key.qualname, key.code, key.own, key.around), free),
        (lambda key: (key.qualname, key.code, key.own), lambda key: is_gone(key.file)),
        (lambda key: (key.code, key.own, key.around), free),
    ]


def _remembered(baseline: Baseline, asks: Callable[[str], bool]) -> Callable[[str], bool]:
    """A question about absolute file names, asked once for each of the baseline's."""
    names = {key.file for key in baseline.counts}
    answers = {name: asks(baseline.path_of(name)) for name in names}
    return answers.__getitem__

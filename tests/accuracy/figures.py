"""The figures: false alarms, recall, and how surely the clear cases come out on top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

from labelled import LABELS, Labelled
from tools import Reported


@dataclass(frozen=True, slots=True)
class Share:
    """`part` of `whole`."""

    part: int
    whole: int

    def __str__(self) -> str:
        """As percentage, with the counts."""
        return f"{self.part / self.whole:5.1%} ({self.part}/{self.whole})" if self.whole else "  -  (0/0)"

    def interval(self) -> tuple[float, float]:
        """Wilson's interval of 95% for the share, the handlers taken as drawn one by one."""
        if not self.whole:
            return 0.0, 1.0
        z, n, p = 1.96, self.whole, self.part / self.whole
        middle, spread = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, (middle - spread) / (1 + z * z / n)), (middle + spread) / (1 + z * z / n)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a tool's reports are worth on a set of labelled handlers.

    `false_alarms` are the reported ones that are no case for every reader, of all reported; `recall` is the reported
    ones that are clear for every reader, of all such. `rest` is every handler that is not clear for every reader.
    """

    false_alarms: Share
    recall: Share
    clear_high: Share
    rest_high: Share
    rest_reported_high: Share


def figures(handlers: Sequence[Labelled], reported: Reported) -> Figures:
    """The figures of one tool's reports on these handlers; reports at other places do not count."""
    shown = [handler for handler in handlers if handler.place in reported]
    high = {handler.place for handler in shown if reported[handler.place][1] == "high"}
    clear = [handler for handler in handlers if handler.label == "clear"]
    rest = [handler for handler in handlers if handler.label != "clear"]

    def share(among: Iterable[Labelled], holds: Callable[[Labelled], bool]) -> Share:
        found = [holds(handler) for handler in among]
        return Share(sum(found), len(found))

    return Figures(
        false_alarms=share(shown, lambda handler: handler.label == "none"),
        recall=share(clear, lambda handler: handler.place in reported),
        clear_high=share(clear, lambda handler: handler.place in high),
        rest_high=share(rest, lambda handler: handler.place in high),
        rest_reported_high=share([one for one in rest if one.place in reported], lambda handler: handler.place in high),
    )


def package_means(handlers: Sequence[Labelled], reported: Reported) -> tuple[float | None, float | None, int]:
    """False alarms and recall as means over packages (those that have any), and the number of packages."""
    packages: dict[str, list[Labelled]] = {}
    for handler in handlers:
        packages.setdefault(handler.folder, []).append(handler)
    all_figures = [figures(group, reported) for group in packages.values()]
    return _mean([one.false_alarms for one in all_figures]), _mean([one.recall for one in all_figures]), len(packages)


def _mean(shares: list[Share]) -> float | None:
    values = [share.part / share.whole for share in shares if share.whole]
    return sum(values) / len(values) if values else None


def agreement(handlers: Sequence[Labelled]) -> tuple[Share, float | None]:
    """How many handlers with two readers got the same label from both, and Cohen's kappa."""
    pairs = [(handler.label_a, handler.label_b) for handler in handlers if handler.label_b]
    same = Share(sum(a == b for a, b in pairs), len(pairs))
    if not pairs:
        return same, None
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(first[label] * second[label] for label in LABELS) / len(pairs) ** 2
    return same, (same.part / same.whole - chance) / (1 - chance) if chance < 1 else None


def counts(handlers: Sequence[Labelled], reported: Reported) -> Counter[tuple[str, str, str]]:
    """How many of the handlers were reported by each rule, at each severity, with each label."""
    return Counter((*reported[one.place], one.label) for one in handlers if one.place in reported)

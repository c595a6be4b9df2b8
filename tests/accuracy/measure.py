"""Reports how accurate unhush and its peers are on the labelled handlers.

python tests/accuracy/measure.py [CORPUS]

CORPUS holds the packages' Python files in folders `name-version`; without it they are downloaded by pip into a cache.
Peers are measured where they are installed: pip install ruff pylint bandit
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import tools
from corpus import cache_folder, fetch
from figures import agreement, counts, figures, package_means
from labelled import KINDS, LABELS, PARTS, TABLE, Labelled, blamed_in, read_table
from tools import Reported


def main(args: Sequence[str], table: Path = TABLE) -> None:
    """Prints every figure. Raises SystemExit with one line where something is missing."""
    if len(args) > 1 or (args and args[0].startswith("-")):
        raise SystemExit((__doc__ or "").strip())
    handlers = read_table(table)
    corpus = Path(args[0]) if args else fetch(handlers, cache_folder())
    peers = [peer for peer in tools.PEERS if tools.installed(peer)]
    for part in PARTS:
        group = [one for one in handlers if one.part == part]
        print("\n".join(describe(part, group, measured(corpus, group, peers))), end="\n\n", flush=True)
    if missing := [peer for peer in tools.PEERS if peer not in peers]:
        print(f"not installed, so not measured: {', '.join(missing)}", file=sys.stderr)


def measured(corpus: Path, handlers: Sequence[Labelled], peers: Sequence[str]) -> dict[str, Reported]:
    """What unhush and each row of the peers' rules report in the files of these handlers."""
    blamed = blamed_in(corpus, handlers)
    reports = {"unhush": tools.run_unhush(corpus, list(blamed))}
    found = {peer: tools.PEERS[peer](corpus, blamed) for peer in peers}
    for row, (peer, codes) in tools.ROWS.items():
        if peer in found:
            reports[row] = {place: seen for place, seen in found[peer].items() if codes & set(seen[0].split(","))}
    return reports


def describe(part: str, handlers: Sequence[Labelled], reports: dict[str, Reported]) -> Iterator[str]:
    """The lines on one part of the sample."""
    labels = ", ".join(f"{sum(one.label == label for one in handlers)} {label}" for label in (*LABELS, "split"))
    yield f"== {part}: {len(handlers)} handlers of {len({one.folder for one in handlers})} packages: {labels}"
    same, kappa = agreement(handlers)
    if kappa is not None:
        yield f"readers agree: {same}, kappa {kappa:.2f}"
    for kind in ("all", *KINDS):
        group = [one for one in handlers if kind in ("all", one.kind)]
        if not group or (kind != "all" and len(group) == len(handlers)):
            continue
        yield f"\n-- {kind}: {len(group)}"
        yield f"{'':20}{'false alarms':>18}{'95%':>10}{'recall':>18}{'95%':>10}{'mean by package (both)':>25}"
        for name, reported in reports.items():
            yield _row(name, group, reported)
    yield from _unhush(handlers, reports["unhush"])


def _row(name: str, handlers: Sequence[Labelled], reported: Reported) -> str:
    one = figures(handlers, reported)
    alarms, recall, _ = package_means(handlers, reported)
    cells = [f"{share!s:>18}{_range(share.interval()):>10}" for share in (one.false_alarms, one.recall)]
    return f"{name:20}{''.join(cells)}{_percent(alarms):>17}{_percent(recall):>8}"


def _unhush(handlers: Sequence[Labelled], reported: Reported) -> Iterator[str]:
    """Severity and rules, which only unhush has."""
    one = figures(handlers, reported)
    yield "\n-- unhush: severity and rules"
    yield f"high, of the clear:              {one.clear_high}"
    yield f"high, of all that is not clear:  {one.rest_high}"
    yield f"high, of what is shown unclear:  {one.rest_reported_high}"
    for (code, severity, label), count in sorted(counts(handlers, reported).items()):
        yield f"{code} {severity:8}{label:10}{count:5}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _range(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:.0%}-{bounds[1]:.0%}"


if __name__ == "__main__":
    main(sys.argv[1:])

"""A load test as a page: what became of the jobs, and a plot of the time that ours took of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, BELOW = 720, 320, 60, 40
_TICKS = (1, 10, 100, 1000, 10_000, 100_000)  # milliseconds
_STYLE = (
    "text{font:12px sans-serif;fill:#555}line{stroke:#ccc}.ok{fill:#2a6fb0;fill-opacity:.5}.failed{fill:#c0392b}"
    ".limit{stroke:#c0392b;stroke-dasharray:4 3}"
)


def plot(samples: Sequence[Sequence[float]], limit_ms: float) -> str:
    """An SVG with a dot for each sample: number, begin, duration and own work in seconds, and whether it failed.

    The height is logarithmic in milliseconds; the dashed line is the limit.
    """
    dots = [(one[1], max((one[2] - one[3]) * 1000, 1.0), bool(one[4])) for one in samples]
    longest = max((at for at, _, _ in dots), default=1.0) or 1.0
    highest = next((tick for tick in _TICKS if tick >= max([limit_ms, *(ms for _, ms, _ in dots)])), _TICKS[-1])
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-label="Milliseconds that ours took of each job, over the run">',
        f"<style>{_STYLE}</style>",
    ]
    for tick in (tick for tick in _TICKS if tick <= highest):
        y = _y(tick, highest)
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y}" y2="{y}"/><text x="8" y="{y + 4}">{tick} ms</text>')
    y = _y(min(limit_ms, highest), highest)
    lines.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - 10}" y1="{y}" y2="{y}"/>')
    for at, took, failed in dots:
        x = round(LEFT + (WIDTH - 10 - LEFT) * at / longest, 1)
        lines.append(f'<circle class="{"failed" if failed else "ok"}" cx="{x}" cy="{_y(took, highest)}" r="2"/>')
    lines.append(f'<text x="{LEFT}" y="{HEIGHT - 12}">0 s</text>')
    lines.append(f'<text x="{WIDTH - 60}" y="{HEIGHT - 12}">{longest:.1f} s</text></svg>')
    return "\n".join(lines) + "\n"


def page(
    verdict: str, counts: Mapping[str, int] | None, limit_ms: float, picture: str, templates: str | None = None
) -> str:
    """The page beside the plot `picture`, in Markdown; without counts it says that nothing was run."""
    from .templating import render

    return render(
        "load_report.md.j2", templates, verdict=verdict, counts=counts, limit=f"{limit_ms:g}", picture=picture, ms=_ms
    )


def _ms(microseconds: int) -> str:
    return f"{microseconds / 1000:.1f}"


def _y(ms: float, highest: float) -> float:
    from math import log10

    share = log10(max(ms, 1.0)) / (log10(highest) or 1.0)
    return round((HEIGHT - BELOW) - (HEIGHT - BELOW - 16) * min(share, 1.0), 1)

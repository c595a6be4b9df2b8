"""Tables: as wide as their text where a program may read them, cut to fit where a terminal shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .excerpt import shown, width

GAP = "  "
_LEAST = 7  # cells below which a column is not cut


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `cut` says that a narrow terminal may shorten it, `colors` how a cell's word is coloured there.

    A `spare` one is left out where a terminal is too narrow for all.
    """

    title: str
    right: bool = False
    cut: bool = False
    colors: dict[str, str] | None = None
    spare: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, and rows of as many texts."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a table is shown: `width` in cells, None for what is no terminal."""

    width: int | None = None
    color: bool = False


def render(table: Table, screen: Screen) -> Iterator[str]:
    """The table's chunks of text; nothing a cell holds is obeyed by a terminal."""
    rows = [[shown(cell) for cell in row] for row in table.rows]
    columns = table.columns
    widths = _widths(columns, rows)
    if screen.width is None:
        return (_line(columns, row, widths) for row in ([column.title for column in columns], *rows))
    kept = _kept(columns, widths, screen.width)
    columns, widths = [columns[at] for at in kept], [widths[at] for at in kept]
    rows = [[row[at] for at in kept] for row in rows]
    return iter([_on_terminal(columns, rows, _fitted(columns, widths, screen.width), screen)])


def _kept(columns: Sequence[Column], widths: Sequence[int], available: int) -> list[int]:
    """Which columns are shown: spare ones go, the last first, until the rest fits when it is cut."""
    kept = list(range(len(columns)))
    for at in reversed(range(len(columns))):
        least = [min(widths[each], _LEAST) if columns[each].cut else widths[each] for each in kept]
        if _whole(least) > available and columns[at].spare:
            kept.remove(at)
    return kept


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    turned: Sequence[Sequence[str]] = list(zip(*rows, strict=True)) or [()] * len(columns)
    return [max(width(text) for text in (column.title, *cells)) for column, cells in zip(columns, turned, strict=True)]


def _whole(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _line(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> str:
    cells = []
    for column, cell, wanted in zip(columns, row, widths, strict=True):
        space = " " * (wanted - width(cell))
        cells.append(space + cell if column.right else cell + space)
    return GAP.join(cells).rstrip() + "\n"


def _fitted(columns: Sequence[Column], widths: Sequence[int], available: int) -> list[int]:
    """The widths, those of the widest columns that may be cut made less until the table fits, or can't."""
    fitted = list(widths)
    while _whole(fitted) > available:
        widest = max(
            (at for at, column in enumerate(columns) if column.cut and fitted[at] > _LEAST),
            key=lambda at: fitted[at],
            default=None,
        )
        if widest is None:
            return fitted
        fitted[widest] -= 1
    return fitted


def _on_terminal(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int], screen: Screen
) -> str:
    from io import StringIO

    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0))
    for column, wanted in zip(columns, widths, strict=True):
        grid.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=wanted,
        )
    for row in rows:
        grid.add_row(
            *(Text(cell, style=(column.colors or {}).get(cell, "")) for column, cell in zip(columns, row, strict=True))
        )
    file = StringIO()
    console = Console(
        file=file,
        width=sum(widths) + len(GAP) * len(widths),
        force_terminal=screen.color,
        color_system="standard" if screen.color else None,
        highlight=False,
    )
    console.print(grid)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())

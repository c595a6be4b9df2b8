"""What `unhush prove` says: the files that are proved, every difference that is more than logging, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator

from ..codemods.prove import ProofReport
from .excerpt import WIDTH, shown


def render(report: ProofReport) -> Iterator[str]:
    """A line for each proved file with what was inserted below it, then one for each difference."""
    for file in report.files:
        yield f"{shown(file.filename)}: proved\n"
        for inserted in file.inserted:
            for row, text in enumerate(inserted.text.splitlines(), inserted.row):
                yield f"{row:>6} + {shown(text)[:WIDTH]}\n"
    for difference in report.differences:
        place = shown(difference.filename) + (f":{difference.row}" if difference.row else "")
        yield f"{place}: not logging: {shown(difference.what)}\n"


def summary(report: ProofReport) -> str:
    """The verdict in one line."""
    changed = {difference.filename for difference in report.differences}
    proved = f"{_files(len(report.files))} by inserted logging alone"
    if report.proved:
        return f"Proved: {proved}, nothing else differs." if report.files else "Proved: nothing differs."
    others = f"{_files(len(changed))} otherwise" if changed else f"{len(report.errors):,} could not be compared"
    return f"Not proved: {proved}, {others}."


def _files(count: int) -> str:
    return f"{count:,} file{' differs' if count == 1 else 's differ'}"

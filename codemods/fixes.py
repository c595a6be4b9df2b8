"""What `unhush fix` would write for each finding by itself, as replacements of text for other programs to apply."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass

from .backends import backend_problem
from .commenting import single_removals
from .edits import Edit, apply
from .hushes import is_about_comments
from .model import Finding
from .module import Module
from .parsing import ParseFailure
from .plan import plan
from .proof import Disproof, prove
from .ruffrange import formatted
from .settings import Settings
from .source import DecodeFailure


@dataclass(frozen=True, slots=True)
class Replacement:
    """`text` takes the place of what stands from one row and column to another.

    Rows and columns are 1-based and count code points, the end is exclusive; the text has the file's newlines.
    """

    row: int
    column: int
    end_row: int
    end_column: int
    text: str


def replacements(
    data: bytes, filename: str, settings: Settings, findings: Sequence[Finding]
) -> list[tuple[Replacement, ...]]:
    """For each finding of a file its safe fix, proved on its own; empty where there is none.

    Two of them may not be applied together where both bring the same import: `unhush fix` makes that one.
    """
    none: list[tuple[Replacement, ...]] = [()] * len(findings)
    if not any(finding.fix == "safe" for finding in findings) or backend_problem(settings, filename, data):
        return none
    collecting = gc.isenabled()
    gc.disable()  # as in the fixer: trees hold no cycles
    try:
        module = Module(data, filename, settings)
        comments = single_removals(module.source, settings) if any(map(is_about_comments, findings)) else {}
        return [_of(module, finding, comments) if finding.fix == "safe" else () for finding in findings]
    except (DecodeFailure, ParseFailure):  # a newer Python's syntax: nothing could be proved
        return none
    finally:
        if collecting:
            gc.enable()


def _of(module: Module, finding: Finding, comments: dict[tuple[int, int], Edit]) -> tuple[Replacement, ...]:
    if is_about_comments(finding):
        edit = comments.get((finding.row, finding.column))
        return (_replacement(module, edit),) if edit else ()
    made = plan(module, [finding])
    if not made.edits:
        return ()
    edits = formatted(module, made.edits)
    try:
        new, starts = apply(module.source.data, edits)
        prove(module, new, edits, starts)
    except (Disproof, ValueError):
        return ()  # `unhush fix` names the reason
    return tuple(_replacement(module, edit) for edit in edits)


def _replacement(module: Module, edit: Edit) -> Replacement:
    row, column = _place(module, edit.start)
    end_row, end_column = _place(module, edit.start + len(edit.old))
    return Replacement(row, column, end_row, end_column, edit.new.decode(module.source.encoding))


def _place(module: Module, offset: int) -> tuple[int, int]:
    row, column = module.places.place(offset)
    return row, module.source.column(row, column)

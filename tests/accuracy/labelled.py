"""The labelled handlers, and where they stand in the packages' files."""

from __future__ import annotations

import ast
import csv
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).parent / "handlers.tsv"
LABELS = ("clear", "arguable", "none")
KINDS = ("silent", "acts", "suppress")
PARTS = ("held-out", "fitted")


class Labelled(NamedTuple):
    """One handler: `line` (1-based) is that of its `except`, or of its `suppress(...)`; `path` is within the wheel.

    `kind` is how the sampling script saw it: silent by shape, a handler that acts without telling, or a suppress.
    `label_b` is empty where there was one reader.
    """

    package: str
    version: str
    path: str
    line: int
    kind: str
    label_a: str
    label_b: str
    part: str

    @property
    def folder(self) -> str:
        """The package's folder in the corpus."""
        return f"{self.package}-{self.version}"

    @property
    def place(self) -> tuple[str, int]:
        """The file below the corpus, and the line."""
        return f"{self.folder}/{self.path}", self.line

    @property
    def label(self) -> str:
        """What all its readers say, or `split`."""
        return self.label_a if self.label_b in ("", self.label_a) else "split"


def read_table(table: Path = TABLE) -> list[Labelled]:
    """The rows of a table, in its order."""
    with table.open(encoding="utf-8", newline="") as file:
        return [
            Labelled(**{**row, "line": int(row["line"])})
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        ]


def blamed(source: bytes) -> dict[int, int]:
    """From each line at which a tool may report a handler to the line of its `except`.

    These are the lines of the header, and the line of the `try` where that has but one handler.
    """
    with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
        tree = ast.parse(source)
    tries = [node for node in ast.walk(tree) if isinstance(node, (ast.Try, ast.TryStar)) and node.handlers]
    lines = {node.lineno: node.handlers[0].lineno for node in tries if len(node.handlers) == 1}
    for handler in (handler for node in tries for handler in node.handlers):
        lines.update(dict.fromkeys(range(handler.lineno, handler.body[0].lineno), handler.lineno))
        lines[handler.lineno] = handler.lineno
    return lines


def blamed_in(corpus: Path, handlers: Iterable[Labelled]) -> dict[str, dict[int, int]]:
    """`blamed` for every file that holds a labelled handler. Raises SystemExit where a line does not resolve."""
    found: dict[str, dict[int, int]] = {}
    for handler in handlers:
        file, line = handler.place
        try:
            source = (corpus / file).read_bytes()
        except OSError as error:
            reason = f"can't be read ({error.strerror}); run without CORPUS to download it"
            raise SystemExit(f"{corpus / file}: {reason}") from None
        if file not in found:
            found[file] = blamed(source)
        if handler.kind == "suppress":
            resolves = b"suppress(" in source.splitlines()[line - 1]
        else:
            resolves = found[file].get(line) == line
        if not resolves:
            raise SystemExit(f"{corpus / file}:{line}: no {handler.kind} handler stands there; is it another version?")
    return found

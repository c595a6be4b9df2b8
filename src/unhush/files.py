"""From paths on the command line to the files that are read, and the lines about those that can't be."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from .codemods.discover import Nearest, discover
from .codemods.model import FileError
from .codemods.settings import Settings
from .codemods.source import Source
from .output import Output
from .reports.paths import relative

STDIN = "-"


def find_files(
    paths: Iterable[str],
    settings: Settings,
    output: Output,
    errors: list[FileError],
    nearest: Nearest | None = None,
) -> Iterator[str]:
    """The files to read, absolute, each once, in order. What can't be found is reported and added to `errors`.

    `nearest` knows the files' own settings, which come along with their names.
    """
    for item in discover(list(paths), settings, nearest):
        if isinstance(item, FileError):
            complain(item, output)
            errors.append(item)
        else:
            yield item


def complain(error: FileError, output: Output) -> None:
    """Writes the line about a file that can't be read, decoded or parsed: name, row and column if known, reason."""
    place = "".join(f":{at}" for at in (error.row, error.column) if at is not None)
    output.error(f"{relative(error.filename, os.getcwd())}{place}: {error.reason}")


def read_source(filename: str) -> Source:
    """The source of a file. Raises OSError and DecodeFailure."""
    with open(filename, "rb") as stream:
        return Source(stream.read(), filename)

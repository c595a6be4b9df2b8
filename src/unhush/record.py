"""The JSON file that `unhush fix --report` leaves behind."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from .codemods.fixreport import FixReport, Unchanged, as_record
from .codemods.model import FileError
from .output import Failure
from .version import __version__


class RecordFile:
    """Takes the outcomes one by one; the file appears, whole, once `finish` was called.

    Its form: `{"version", "root", "files": [...], "errors": [{"filename", "row", "column", "reason"}]}`, where `files`
    has an entry for each file with findings or errors. Raises Failure where it can't be written, if possible before
    any file is rewritten.
    """

    def __init__(self, path: str, root: str) -> None:
        self._path = os.path.abspath(path)
        self._draft = f"{self._path}.{os.getpid()}.tmp"
        self._content: dict[str, Any] = {"version": __version__, "root": root, "files": []}
        self._write("x", "")

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if os.path.exists(self._draft):
            os.unlink(self._draft)

    def add(self, report: FixReport) -> None:
        """Records one file's outcome, unless there is nothing to say of it."""
        if not isinstance(report, Unchanged) or report.remaining:
            self._content["files"].append(as_record(report))

    def finish(self, errors: Iterable[FileError]) -> None:
        """Writes the file and puts it in its place."""
        keys = ("filename", "row", "column", "reason")
        self._content["errors"] = [{key: getattr(error, key) for key in keys} for error in errors]
        self._write("w", json.dumps(self._content, indent=2) + "\n", done=True)

    def _write(self, mode: str, text: str, done: bool = False) -> None:
        try:
            with open(self._draft, mode, encoding="utf-8") as file:
                file.write(text)
            if done:
                os.replace(self._draft, self._path)
        except OSError as error:
            raise Failure(f"{self._path}: the report can't be written: {error.strerror}") from error

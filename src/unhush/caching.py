"""Where the cache of a run lies, and how files are checked with it or without."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .codemods.model import FileReport
from .config import Nearest
from .output import Output

FOLDER = ".unhush_cache"
_FEW = 96  # files that are checked in less time than what is known of a whole project takes to load


class Checker:
    """Checks files for one run: with the cache, unless the command line says otherwise or files are to be written."""

    def __init__(self, paths: Sequence[str], nearest: Nearest, output: Output, given: dict[str, Any]) -> None:
        self._nearest, self._output, self._jobs = nearest, output, given["jobs"]
        is_small = 0 < len(paths) <= _FEW and not any(os.path.isdir(path) for path in paths)
        self._folder = (
            None
            if given["no_cache"] or given.get("add_ignores") or is_small
            else folder_for(nearest.root, given["cache_dir"])
        )

    def check(self, files: Iterable[str]) -> Iterator[FileReport]:
        """A report for each file, in their order."""
        settings, warn = self._nearest.base, self._output.error
        if self._folder is None:
            from .codemods.pool import check_paths

            return check_paths(files, settings, self._jobs, warn=warn)
        from .codemods.cache import Cache
        from .codemods.cached import check_through

        return check_through(Cache(self._folder), files, settings, self._jobs, warn, self._output.remark)


def folder_for(root: str, given: str | None) -> str:
    """The cache's folder: the one that is named, else one in the project's."""
    return os.path.abspath(given) if given else os.path.join(root, FOLDER)

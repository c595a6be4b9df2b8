"""Ignore files: which names below a folder a list of gitignore patterns leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .lazy import lazy_pattern

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_GLOB = lazy_pattern(r"[*?\[\\]")


class Ignore:
    """The patterns of one .gitignore file (or of a setting written like one), for names below `base`.

    pathspec decides. It is imported, and asked, only where the last component of some pattern fits the name: that
    is cheap to see, and nearly no name fits. Folders are asked about before what they hold, as git does it.
    """

    def __init__(self, base: str, lines: Sequence[str]) -> None:
        self._start = len(base.rstrip("/")) + 1
        self._lines = lines
        self._spec: GitIgnoreSpec | None = None
        self._names: set[str] = set()
        self._folder_names: set[str] = set()
        suffixes: set[str] = set()
        self._any = self._any_folder = False
        for line in lines:
            self._note_last(line, suffixes)
        self._suffixes = tuple(suffixes)

    def _note_last(self, line: str, suffixes: set[str]) -> None:
        """Keeps what the last component of a pattern asks of a name."""
        pattern = line.strip().removeprefix("!")
        if not pattern or line.startswith("#"):
            return
        folder_only = pattern.endswith("/")
        last = pattern.rstrip("/").rpartition("/")[2]
        if not _GLOB.search(last):
            (self._folder_names if folder_only else self._names).add(last)
        elif last.startswith("*") and not _GLOB.search(last[1:]) and not folder_only:
            suffixes.add(last[1:])
        elif folder_only:
            self._any_folder = True
        else:
            self._any = True

    def verdict(self, path: str, name: str, folder: bool) -> bool | None:
        """True where the patterns leave the path out, False where they take it back in, None where they are silent.

        `path` is absolute and lies below the base; `name` is its last component.
        """
        fits = self._any or name in self._names or name.endswith(self._suffixes)
        if not fits and not (folder and (self._any_folder or name in self._folder_names)):
            return None
        if self._spec is None:
            from pathspec import GitIgnoreSpec

            self._spec = GitIgnoreSpec.from_lines(self._lines)
        relative = path[self._start :].replace("\\", "/")
        return self._spec.check_file(relative + "/" if folder else relative).include

"""What holds for one file: the settings that it was found with, and the rules that its name leaves out."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from .settings import Settings

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


class Named(str):
    """The name of a file that the user gave: it is read whatever is excluded."""

    __slots__ = ()


class Placed(str):
    """The name of a file for which other settings hold than for the run: they travel with it, also between processes."""

    settings: Settings

    @classmethod
    def under(cls, path: str, settings: Settings) -> Placed:
        """The name with its settings; it stays `Named` where it was."""
        placed = (_NamedPlaced if isinstance(path, Named) else cls)(path)
        placed.settings = settings
        return placed


class _NamedPlaced(Placed, Named):
    """Both."""


def settings_for(path: str, settings: Settings) -> Settings:
    """The settings that hold for a file: those that came with its name, else the run's."""
    return path.settings if isinstance(path, Placed) else settings


def may_ignore(settings: Settings, codes: set[str]) -> bool:
    """Whether one of the rules is left out in some files."""
    return any(not codes.isdisjoint(ignored) for _, _, ignored in settings.per_file_ignores)


def without_ignored(path: str, settings: Settings) -> Settings:
    """The settings for a file, less the rules that `per_file_ignores` leaves out there."""
    out = [codes for base, pattern, codes in settings.per_file_ignores if _fits(path, base, pattern)]
    return replace(settings, select=settings.select.difference(*out), per_file_ignores=())


def _fits(path: str, base: str, pattern: str) -> bool:
    """Whether a pattern fits the name of a file as seen from a folder; `!` turns it round. Outside it says nothing."""
    folder = base.rstrip(os.sep) + os.sep
    if not path.startswith(folder):
        return False
    found = _spec(pattern.removeprefix("!")).match_file(path[len(folder) :].replace(os.sep, "/"))
    return found != pattern.startswith("!")


@lru_cache(maxsize=256)
def _spec(pattern: str) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines([pattern])

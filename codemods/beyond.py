"""Counts how often a check asked for more than its file's own bytes, so that such a result is not kept."""

from __future__ import annotations


class _Asked:
    times = 0


def note() -> None:
    """Says that other files, or another library, have a say in what is being worked out."""
    _Asked.times += 1


def times_asked() -> int:
    """How often that happened in this process."""
    return _Asked.times

"""Patterns that are compiled when they are first used: most files need few of them, and compiling takes time."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _Pattern:
    """Stands for a pattern, whose methods it has. The pattern is compiled once the first of them is asked for."""

    def __init__(self, pattern: str | bytes, flags: int) -> None:
        self.pattern, self._flags = pattern, flags

    def __getattr__(self, name: str) -> Any:
        method = getattr(re.compile(self.pattern, self._flags), name)
        setattr(self, name, method)
        return method


def lazy_pattern(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """What `re.compile` gives, but that a mistake in the pattern shows only when it is used."""
    return cast("re.Pattern[AnyStr]", _Pattern(pattern, flags))

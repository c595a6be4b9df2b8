"""Whether a file is a test or an example, by its place in the project."""

from __future__ import annotations

from .lazy import lazy_pattern
from .source import Source

_TESTS = lazy_pattern(
    r"(?:^|/)(?:tests?|testing|unit_?tests?|examples?|benchmarks?)(?:/|\.py$)|(?:^|/)(?:test_[^/]*|[^/]*_test|conftest)\.py$"
)


def is_test(source: Source) -> bool:
    """Whether a file is a test or an example: told by its place below the project's root."""
    return _TESTS.search(source.place) is not None

"""Fixtures of the fixer's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixcases import Case, case_names, everything, load_case

from unhush.codemods.fixer import fix_bytes
from unhush.codemods.fixreport import FixReport


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """The case that the test's parameter names."""
    return load_case(request.param)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `case` runs once for each of them."""
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", case_names(), indirect=True)


@pytest.fixture
def fix(tmp_path: Path) -> Callable[..., FixReport]:
    """Fixes a text as if it were a file of an otherwise empty folder, with every rule selected."""

    def run(text: str | bytes, filename: str = "store.py", **changes: Any) -> FixReport:
        data = text if isinstance(text, bytes) else text.encode()
        return fix_bytes(data, str(tmp_path / filename), everything(**changes))

    return run

"""How the rules' tests ask the engine."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from unhush.codemods.engine import check_bytes
from unhush.codemods.model import Finding
from unhush.codemods.rules import all_rules
from unhush.codemods.settings import Settings


@pytest.fixture
def findings() -> Callable[..., tuple[Finding, ...]]:
    """Checks a module's text with some rules (default: all) and returns the findings."""

    def check(text: str, *codes: str, filename: str = "/project/module.py") -> tuple[Finding, ...]:
        settings = Settings(select=frozenset(codes or all_rules()), min_severity="low", root="/project")
        report = check_bytes(dedent(text).encode(), filename, settings)
        assert not report.errors
        return report.findings

    return check


@pytest.fixture
def places(findings: Callable[..., tuple[Finding, ...]]) -> Callable[..., list[tuple[str, int]]]:
    """Checks a module's text and returns code and row of each finding."""

    def check(text: str, *codes: str, filename: str = "/project/module.py") -> list[tuple[str, int]]:
        return [(finding.code, finding.row) for finding in findings(text, *codes, filename=filename)]

    return check

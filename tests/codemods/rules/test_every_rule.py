"""What holds of each rule: its metadata, its documentation, its examples."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable

import pytest

from unhush.codemods.model import Finding
from unhush.codemods.rules import Rule, all_rules, default_codes

HEADINGS = (
    "What it does",
    "Why is this bad",
    "Example",
    "Use instead",
    "Fix safety",
    "Options",
    "References",
)
RULES = list(all_rules().values())
BY_CODE = pytest.mark.parametrize("rule", RULES, ids=[rule.code for rule in RULES])
BAD = [(rule, text) for rule in RULES for text in rule.bad]
GOOD = [(rule, text) for rule in RULES for text in rule.good]
DEFAULT = "UNH101 UNH102 UNH201 UNH203 UNH204 UNH301 UNH302 UNH303 UNH501 UNH902".split()


def sections(rule: Rule) -> dict[str, str]:
    """The sections of a rule's documentation by heading, in order."""
    parts = re.split(r"^## (.+)$", rule.doc, flags=re.M)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


def code_of(section: str) -> str:
    """The code block of a section."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)
    return block


@BY_CODE
def test_names_agree(rule: Rule) -> None:
    """A rule's code and name are those of its file, and its file's docstring begins with the code."""
    module = sys.modules[rule.match.__module__]
    assert module.__name__.rpartition(".")[2] == f"{rule.code.lower()}_{rule.name.replace('-', '_')}"
    assert re.fullmatch(r"UNH\d{3}", rule.code)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", rule.name)
    assert module.__doc__ is not None
    assert module.__doc__.startswith(f"{rule.code}: ")
    assert inspect.getdoc(rule.match)


def test_codes_and_names_are_unique() -> None:
    """No two rules share a code, a name or a summary."""
    for field in ("code", "name", "summary"):
        values = [getattr(rule, field) for rule in RULES]
        assert len(set(values)) == len(values) >= 15


def test_default_selection() -> None:
    """The rules that are on by default are those that are documented to be."""
    assert sorted(default_codes()) == DEFAULT


@BY_CODE
def test_documentation(rule: Rule) -> None:
    """A rule's documentation has the fixed headings in order, each with text, and no line is longer than 120."""
    assert tuple(sections(rule)) == HEADINGS
    assert all(sections(rule).values())
    assert max(map(len, rule.doc.splitlines())) <= 120
    assert "\n" not in rule.summary
    assert not rule.summary.endswith(".")


@BY_CODE
def test_documented_example_is_a_finding(rule: Rule, places: Callable[..., list[tuple[str, int]]]) -> None:
    """The documentation's example is reported, what to use instead is not, and both are Python."""
    example, instead = (code_of(sections(rule)[heading]) for heading in ("Example", "Use instead"))
    ast.parse(instead)
    assert [code for code, _ in places(example, rule.code)] == [rule.code]
    assert places(instead, rule.code) == []


@BY_CODE
def test_number_of_examples(rule: Rule) -> None:
    """A rule shows at least one bad and two good examples."""
    assert len(rule.bad) >= 1
    assert len(rule.good) >= 2


@pytest.mark.parametrize(("rule", "text"), BAD, ids=[f"{rule.code}-{at}" for at, (rule, _) in enumerate(BAD)])
def test_bad_example(rule: Rule, text: str, findings: Callable[..., tuple[Finding, ...]]) -> None:
    """Each bad example is one finding of exactly this rule, which says what is wrong and why it matters."""
    (finding,) = findings(text, rule.code)
    assert (finding.code, finding.name) == (rule.code, rule.name)
    assert finding.message
    assert not finding.message.endswith(".")
    assert finding.row >= 1
    assert (finding.end_row, finding.end_column) > (finding.row, finding.column)
    assert (finding.shape is not None) == rule.code.startswith("UNH1")
    assert finding.severity != "low", "an example is worth showing"


@pytest.mark.parametrize(("rule", "text"), GOOD, ids=[f"{rule.code}-{at}" for at, (rule, _) in enumerate(GOOD)])
def test_good_example(rule: Rule, text: str, places: Callable[..., list[tuple[str, int]]]) -> None:
    """Each good example is left alone by this rule."""
    ast.parse(text)
    assert places(text, rule.code) == []

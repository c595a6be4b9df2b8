"""The documented idioms: each row's example is left alone, and its look-alike is not."""

import pytest

from unhush.codemods import engine, idioms
from unhush.codemods.settings import Settings

ALL = Settings(select=frozenset({"UNH101", "UNH102", "UNH103"}), min_severity="low")


def codes(source):
    return [finding.code for finding in engine.check_bytes(source.encode(), "app.py", ALL).findings]


@pytest.mark.parametrize("idiom", idioms.IDIOMS, ids=lambda idiom: idiom.name)
def test_an_idiom_is_never_reported(idiom):
    """The example of an idiom yields no finding, at any severity."""
    assert codes(idiom.example) == []


@pytest.mark.parametrize("idiom", idioms.IDIOMS, ids=lambda idiom: idiom.name)
def test_what_only_looks_like_an_idiom_is_reported(idiom):
    """The positive control of an idiom yields a finding."""
    assert codes(idiom.control)


@pytest.mark.parametrize("idiom", [row for row in idioms.IDIOMS if not row.broad], ids=lambda idiom: idiom.name)
def test_an_idiom_of_named_types_does_not_excuse_a_broad_handler(idiom):
    """The same code under `except Exception` is a finding: only the named type makes it expected."""
    lines = [
        f"{line[: len(line) - len(line.lstrip())]}except Exception:" if line.lstrip().startswith("except") else line
        for line in idiom.example.split("\n")
    ]
    assert codes("\n".join(lines)) == ["UNH102"]


def test_names_of_idioms_are_unique():
    """An idiom is named once, so that docs can point to it."""
    names = [idiom.name for idiom in idioms.IDIOMS]
    assert names
    assert len(names) == len(set(names))

from __future__ import annotations

import json

import pytest

from unhush.reports.tally import Tally, statistics, statistics_json, summary


@pytest.fixture
def count(make_finding):
    """A tally over a clean file and one with findings of these severities; those of `hide` are not shown."""

    def tally_of(*severities, hide=(), **fields):
        findings = tuple(make_finding(severity=level, **fields) for level in severities)
        tally = Tally(files=2)
        tally.add(findings, [finding for finding in findings if finding.severity not in hide])
        return tally

    return tally_of


def test_summary_names_the_high_ones_first(count):
    """The summary counts findings by severity, the worst first."""
    text = summary(count("low", "medium", "high", "high"))
    assert text.splitlines()[0] == "4 swallowed exceptions in 1 of 2 files: 2 high, 1 medium and 1 low."


def test_summary_says_how_many_were_not_shown(count):
    """Findings below the least severity are counted in words, with the option that shows them."""
    lines = summary(count("high", "low", "low", hide=("low",))).splitlines()
    assert lines[0] == "1 swallowed exception in 1 of 2 files: 1 high."
    assert lines[1] == "2 low were not shown (--min-severity low shows them)."
    assert "not shown" not in summary(count("high"))


def test_summary_of_two_hidden_severities(count):
    """With --min-severity high both others are counted as not shown."""
    lines = summary(count("medium", "low", hide=("low", "medium"))).splitlines()
    assert lines == [
        "No swallowed exceptions in 2 files.",
        "1 medium and 1 low were not shown (--min-severity low shows them).",
    ]


@pytest.mark.parametrize(
    ("fix", "words"),
    [
        ("safe", "[*] 1 can be fixed by `unhush fix`."),
        ("unsafe", "1 can be fixed by `unhush fix --unsafe-fixes`."),
    ],
)
def test_summary_says_what_can_be_fixed(count, fix, words):
    """Safe fixes are offered; unsafe ones with the option they need."""
    assert summary(count("high", fix=fix)).splitlines()[-1] == words


def test_summary_offers_no_fix_where_there_is_none(count):
    """Findings that are only reported promise no fix."""
    assert "fix" not in summary(count("high", fix=None))


def test_counts_for_the_exit_code(count):
    """`at_least` counts a severity and the worse ones."""
    tally = count("high", "medium", "low", "low")
    assert [tally.at_least(level) for level in ("high", "medium", "low")] == [1, 2, 4]


def test_statistics_table(make_finding, snapshot):
    """Statistics are a table by rule and severity, the rules with most high ones first."""
    tally = Tally()
    findings = (
        make_finding(code="UNH101", name="silent-bare-except", severity="medium"),
        make_finding(severity="low"),
        make_finding(severity="high"),
        make_finding(code="UNH103", name="silent-narrow-except", severity="medium"),
        make_finding(code="UNH103", name="silent-narrow-except", severity="medium"),
    )
    tally.add(findings, findings)
    assert statistics(tally) == snapshot
    assert json.loads(statistics_json(tally)) == snapshot


def test_statistics_of_a_clean_run():
    """A clean run has a head and no rows, and an empty list."""
    assert statistics(Tally()) == "code  name  high  medium  low  total\n"
    assert json.loads(statistics_json(Tally())) == []

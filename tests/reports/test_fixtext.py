from __future__ import annotations

import pytest

from unhush.codemods.fixreport import Changed, Failed, Fixed, Unchanged
from unhush.codemods.model import FileError
from unhush.reports.fixtext import FixTally, render, summary


@pytest.fixture
def outcomes(make_finding):
    """One outcome of each kind, with findings fixed and findings that remain."""
    fixed = (
        Fixed(make_finding(in_loop=True), "Store.save.exception_ignored"),
        Fixed(make_finding(code="UNH401", name="logged-without-traceback", row=9), None),
    )
    left = make_finding(fix=None, fix_reason="numba compiles this function", severity="medium")
    return [
        Changed("/app/store.py", b"old", b"new", "0" * 64, "1" * 64, fixed, (left,), "proved"),
        Changed("/app/task.py", b"old", b"new", "0" * 64, "1" * 64, fixed[:1], (), "unsafe"),
        Unchanged("/app/b.py", (make_finding(fix="unsafe", fix_reason="it is a signal handler"),)),
        Unchanged("/app/clean.py", ()),
        Failed("/app/bad.py", (FileError("/app/bad.py", "invalid syntax", 3),)),
    ]


def test_outcomes_as_text(outcomes, snapshot):
    """Each fixed finding is a line with its event, each that stays is shown with the reason, clean files are silent."""
    assert "".join(render(outcomes, "/app")) == snapshot


def test_summary_of_a_mixed_run(outcomes, snapshot):
    """The summary tells proved from unsafe files, what remains by severity, and how many files failed."""
    tally = FixTally()
    for outcome in outcomes:
        tally.add(outcome)
    assert summary(tally, wrote=True) == snapshot
    assert [tally.at_least(level) for level in ("high", "medium", "low")] == [1, 2, 2]


def test_summary_of_a_diff_promises_nothing(outcomes):
    """Where nothing is written the summary says what would be done."""
    tally = FixTally()
    tally.add(outcomes[1])
    assert summary(tally, wrote=False).startswith("Would rewrite 1 finding in 1 of 1 file, ")
    assert summary(tally, wrote=True).startswith("Rewrote 1 finding in 1 of 1 file, ")


def test_summary_of_a_clean_run(outcomes):
    """A run with nothing to do claims no proof."""
    tally = FixTally()
    tally.add(outcomes[3])
    assert summary(tally, wrote=True) == "Rewrote 0 findings in 0 of 1 file."

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unhush.rollout import junit

CASES = {
    "passed": '<testcase classname="a" name="{n}"/>',
    "failed": '<testcase classname="a" name="{n}"><failure>no</failure></testcase>',
    "errors": '<testcase classname="a" name="{n}"><error>no</error></testcase>',
    "skipped": '<testcase classname="a" name="{n}"><skipped/></testcase>',
}


def report(kinds, **totals):
    """A report with a case of each of these kinds, and the totals that are stated."""
    cases = "".join(CASES[kind].format(n=number) for number, kind in enumerate(kinds))
    stated = "".join(f' {key}="{value}"' for key, value in totals.items())
    return f'<?xml version="1.0"?><testsuites><testsuite{stated}>{cases}</testsuite></testsuites>'.encode()


@given(st.lists(st.sampled_from(sorted(CASES)), max_size=20))
def test_counts_are_those_of_the_cases(kinds):
    """Whatever cases a report holds, each is counted once as what it is."""
    counts = junit.counted(report(kinds, tests=len(kinds), failures=kinds.count("failed")))
    assert counts.tests == len(kinds)
    assert counts.executed == len(kinds) - kinds.count("skipped")
    assert {name: getattr(counts, name) for name in CASES} == {name: kinds.count(name) for name in CASES}


@given(st.lists(st.sampled_from(sorted(CASES)), max_size=8), st.integers(0, 9))
def test_totals_that_are_not_those_of_the_cases_are_refused(kinds, stated):
    """A stated total is believed only where the cases say the same."""
    data = report(kinds, tests=stated)
    if stated == len(kinds):
        assert junit.counted(data).tests == stated
    else:
        with pytest.raises(junit.BadReport, match="but holds"):
            junit.counted(data)


def test_a_case_that_is_listed_often_ran_once():
    """Copies of one case do not help to reach a minimum."""
    once = '<testcase classname="a" name="x"/>'
    counts = junit.counted(f"<testsuite>{once * 50}</testsuite>".encode())
    assert (counts.tests, counts.executed) == (50, 1)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not valid XML"),
        (b"<testsuite>", "not valid XML"),
        (b"<html/>", "no JUnit report"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><testsuite/>', "document type"),
    ],
)
def test_what_is_no_report_is_named(data, why):
    """Anything but a report is refused in words."""
    with pytest.raises(junit.BadReport, match=why):
        junit.counted(data)


def test_secrets_are_masked_and_the_cases_stay():
    """What is kept of a report holds no secrets, and the same cases."""
    text = '<testsuite><testcase name="a"><failure message="password=hunter2">token: abcdefgh12345678</failure></testcase></testsuite>'
    clean = junit.without_secrets(text.encode())
    assert b"hunter2" not in clean
    assert b"hunter2" in text.encode()
    assert junit.counted(clean) == junit.counted(text.encode())


def test_reports_of_pytest_are_understood(tmp_path):
    """A report that pytest wrote is counted as pytest counts."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_a(): pass\n"
        "def test_b(): assert False\n"
        "@pytest.mark.skip\ndef test_c(): pass\n"
        "@pytest.fixture\ndef broken(): raise ValueError\n"
        "def test_d(broken): pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=r.xml"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    counts = junit.counted((tmp_path / "r.xml").read_bytes())
    assert (counts.tests, counts.passed, counts.failed, counts.errors, counts.skipped) == (4, 1, 1, 1, 1)

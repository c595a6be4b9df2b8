from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from unhush.codemods.model import FileError, FileReport
from unhush.reports import junit

junitparser = pytest.importorskip("junitparser")


def render(*findings, errors=()):
    text = "".join(junit.render([FileReport("/app/store.py", findings)], errors, "/app"))
    return text, junitparser.JUnitXml.fromstring(text.encode())


def test_a_reader_of_junit_finds_the_findings(make_finding):
    """junitparser reads a suite for the file, with a failed case for each finding and the numbers of both."""
    _, log = render(make_finding(), make_finding(qualname="Store.load", severity="low"))
    (suite,) = log
    assert (suite.name, suite.tests, suite.failures, suite.errors) == ("store.py", 2, 2, 0)
    cases = list(suite)
    assert [case.name for case in cases] == [
        "UNH102 silent-broad-except in Store.save",
        "UNH102 silent-broad-except in Store.load",
    ]
    (failure,) = cases[0].result
    assert (failure.type, failure.message) == ("high", "`except Exception` swallows the exception")
    assert failure.text == "store.py:4:5: high: the try commits"


def test_equal_cases_are_counted_and_hold_no_row(make_finding):
    """Two findings of a rule in one function have names of their own, which stay when lines above move."""
    _, log = render(make_finding(row=4), make_finding(row=90, end_row=91))
    names = [case.name for case in next(iter(log))]
    assert names == ["UNH102 silent-broad-except in Store.save", "UNH102 silent-broad-except in Store.save (2)"]


def test_file_errors_are_errors_of_the_run():
    """A file that can't be read is a case in error."""
    _, log = render(errors=[FileError("/app/bad.py", "invalid syntax", 3, 7)])
    (suite,) = log
    assert (suite.name, suite.tests, suite.errors) == ("bad.py", 1, 1)
    assert next(iter(suite)).result[0].text == "bad.py:3: invalid syntax"


def test_clean_run_is_a_case_that_passes():
    """Without findings there is one case that passes, since empty reports count as broken ones."""
    _, log = render()
    (suite,) = log
    assert (suite.tests, suite.failures, suite.errors) == (1, 0, 0)
    assert next(iter(suite)).is_passed


def test_any_text_becomes_valid_xml(make_finding):
    """Markup, control characters, lone surrogates and bytes that are no UTF-8 can't break the document."""
    odd = '<a>&\x00\x1b]]>\udcff\ufffe"'
    text, _ = render(make_finding(message=odd, qualname=odd), errors=[FileError(f"/app/{odd}.py", odd)])
    assert text.isascii()
    assert ET.fromstring(text).find(".//failure").get("message") == '<a>&??]]>\\xff?"'

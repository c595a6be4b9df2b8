"""Findings as JUnit XML: a suite for each file, a failed test case for each finding."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from ..codemods.model import FileError, FileReport, Finding
from .excerpt import printable
from .paths import relative

_TOOL = "unhush"


def render(reports: Iterable[FileReport], errors: Sequence[FileError], base: str) -> Iterator[str]:
    """The document, valid against the schema of Ant's task. A clean run is one test case that passes.

    `errors` is read once the reports have been gone through: each is a test case in error. Names are relative to `base`.
    """
    suites = []
    for report in reports:
        if report.findings:
            name = relative(report.filename, base)
            suites.append(_suite(name, list(_cases(report.findings, name))))
    suites += [_suite(relative(error.filename, base), [_broken(error, base)]) for error in errors]
    root = Element("testsuites")
    for number, suite in enumerate(suites or [_suite(_TOOL, [_named("no swallowed exceptions", _TOOL)])]):
        suite.set("id", str(number))
        root.append(suite)
    yield '<?xml version="1.0" encoding="utf-8"?>\n'
    yield tostring(root, encoding="us-ascii", xml_declaration=False).decode("ascii") + "\n"


def _suite(name: str, cases: list[Element]) -> Element:
    failures, errors = (sum(case.find(kind) is not None for case in cases) for kind in ("failure", "error"))
    counts = {"tests": len(cases), "failures": failures, "errors": errors}
    suite = Element("testsuite", name=_clean(name), package=_TOOL, hostname="localhost", time="0")
    suite.set("timestamp", time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()))
    for key, count in counts.items():
        suite.set(key, str(count))
    SubElement(suite, "properties")
    suite.extend(cases)
    SubElement(suite, "system-out")
    SubElement(suite, "system-err")
    return suite


def _named(name: str, classname: str) -> Element:
    return Element("testcase", name=_clean(name), classname=_clean(classname), time="0")


def _cases(findings: Iterable[Finding], name: str) -> Iterator[Element]:
    """The cases of one file. Their names hold no row, so that a history of runs knows them again."""
    seen = Counter[str]()
    for finding in findings:
        title = f"{finding.code} {finding.name} in {finding.qualname}"
        seen[title] += 1
        yield _case(finding, title if seen[title] == 1 else f"{title} ({seen[title]})", name)


def _case(finding: Finding, title: str, name: str) -> Element:
    case = _named(title, name)
    failure = SubElement(case, "failure", type=finding.severity, message=_clean(finding.message))
    why = f": {'; '.join(finding.severity_reasons)}" if finding.severity_reasons else ""
    failure.text = _clean(f"{name}:{finding.row}:{finding.column}: {finding.severity}{why}")
    return case


def _broken(error: FileError, base: str) -> Element:
    name = relative(error.filename, base)
    case = _named("can be checked", name)
    place = f"{name}:{error.row}" if error.row is not None else name
    SubElement(case, "error", type="error", message=_clean(error.reason)).text = _clean(f"{place}: {error.reason}")
    return case


def _clean(text: str) -> str:
    """Text that XML 1.0 can hold: no control characters, no lone surrogates, no non-characters."""
    return printable(text).replace("\ufffe", "?").replace("\uffff", "?")

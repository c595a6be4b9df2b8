"""JUnit reports: counted from their test cases, whatever their totals say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from ..runtime.redact import redact_text
from . import store
from .evidence import Evidence, Verdict
from .judges import not_ended

LARGEST = 64 * 2**20  # bytes of a report
_TOTALS = {"tests": "tests", "failures": "failed", "errors": "errors", "skipped": "skipped", "skips": "skipped"}


class BadReport(Exception):
    """A file that is no JUnit report, or contradicts itself; the text is one line."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many test cases a report holds; `executed` counts those of different names that were not skipped."""

    tests: int
    passed: int
    failed: int
    errors: int
    skipped: int
    executed: int

    def as_dict(self) -> dict[str, int]:
        """The counts by name, as evidence holds them."""
        return {name: getattr(self, name) for name in self.__slots__}


def counted(data: bytes) -> Counts:
    """Counts the cases of a report. Raises BadReport, also where a suite's totals are not those of its cases."""
    top = _parsed(data)
    for suite in [top, *top.iter("testsuite")]:
        _compare(suite)
    return _count(top)


def without_secrets(data: bytes) -> bytes:
    """The report with the secrets in its texts and attributes masked; the cases are the same. Raises BadReport."""
    top = _parsed(data)
    for element in top.iter():
        element.text = redact_text(element.text) if element.text else element.text
        element.tail = redact_text(element.tail) if element.tail else element.tail
        element.attrib.update({key: redact_text(value) for key, value in element.attrib.items()})
    text: bytes = ET.tostring(top, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def judge(evidence: Evidence, root: Path) -> Verdict:
    """Green where the run ended with 0 and its report holds enough cases that ran, none of which failed."""
    if evidence.exit_code is None:
        return not_ended(evidence) or Verdict("fail", "has no exit code")
    name = evidence.facts.get("report")
    if not isinstance(name, str) or name not in evidence.outputs:
        why = evidence.facts.get("report_problem", "it left no report")
        return not_ended(evidence) or Verdict("no evidence", f"no test report: {why}")
    try:
        counts = counted(store.within(root, name).read_bytes())
    except BadReport as error:
        return Verdict("fail", f"{name}: {error}")
    if any(evidence.counts.get(key) != value for key, value in counts.as_dict().items()):
        return Verdict("fail", f"{name}: the record's counts are not those of the report's test cases")
    if counts.failed or counts.errors:
        return Verdict("fail", f"{counts.failed} failed, {counts.errors} with errors, of {counts.tests} test cases")
    if not counts.executed:  # pytest says 5 where it found no test, and 0 where it skipped all: neither is evidence
        return Verdict("no evidence", f"no test case ran, {counts.skipped} were skipped")
    return not_ended(evidence) or _enough(counts, evidence)


def _enough(counts: Counts, evidence: Evidence) -> Verdict:
    least = evidence.facts.get("minimum", 1)
    least = max(1, least) if type(least) is int else 1
    skipped = f", {counts.skipped} skipped" if counts.skipped else ""
    if counts.executed < least:
        return Verdict("no evidence", f"{counts.executed} test cases ran, at least {least} are wanted{skipped}")
    return Verdict("pass", f"{counts.passed} test cases passed{skipped}")


def _parsed(data: bytes) -> ET.Element:
    if len(data) > LARGEST:
        raise BadReport(f"is larger than {LARGEST >> 20} MiB")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # no test runner writes one; entities can blow up or read files
        raise BadReport("declares a document type, which no JUnit report does")
    try:
        top = ET.fromstring(data)
    except (ET.ParseError, ValueError, LookupError) as error:
        raise BadReport(f"is not valid XML: {error}") from error
    if top.tag not in ("testsuites", "testsuite"):
        raise BadReport(f"is no JUnit report: it begins with <{top.tag}>")
    return top


def _count(suite: ET.Element) -> Counts:
    kinds: Counter[str] = Counter()
    names = set()
    for case in suite.iter("testcase"):
        kind = _kind(case)
        kinds[kind] += 1
        if kind != "skipped":
            names.add((case.get("file"), case.get("classname"), case.get("name")))
    return Counts(
        tests=kinds.total(),
        passed=kinds["passed"],
        failed=kinds["failed"],
        errors=kinds["errors"],
        skipped=kinds["skipped"],
        executed=len(names),
    )


def _kind(case: ET.Element) -> str:
    tags = {child.tag for child in case}
    if "failure" in tags:
        return "failed"
    if "error" in tags:
        return "errors"
    return "skipped" if "skipped" in tags or "disabled" in tags else "passed"


def _compare(suite: ET.Element) -> None:
    """Raises BadReport where a total that a suite states is not that of its cases."""
    counts = _count(suite).as_dict()
    for stated, name in _TOTALS.items():
        said = suite.get(stated)
        if said is not None and said != str(counts[name]):
            raise BadReport(f"says {stated}={said!r}, but holds {counts[name]}")

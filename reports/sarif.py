"""Findings as SARIF 2.1.0 (OASIS, Static Analysis Results Interchange Format)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..codemods.model import FileError, FileReport, Finding
from ..codemods.rules import Rule
from .markdown import rule_page
from .paths import file_uri, relative, uri

if TYPE_CHECKING:
    from ..codemods.fixes import Replacement

    Fixes = Sequence[tuple[Replacement, ...]]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {"high": "error", "medium": "warning", "low": "note"}


def render(
    found: Iterable[tuple[FileReport, Fixes]],
    errors: Sequence[FileError],
    rules: Sequence[Rule],
    root: str,
    version: str,
) -> Iterator[str]:
    """A SARIF log with one run, in pieces.

    With each report come the replacements of the fix of each of its findings, none where it has no safe one. `rules`
    are those that were asked. `errors` is read once the reports have been gone through: they may add to it. Names are
    relative to the absolute folder `root` where they lie in it.
    """
    index = {rule.code: at for at, rule in enumerate(rules)}
    driver = {"name": "unhush", "version": version, "semanticVersion": version, "rules": [_rule(r) for r in rules]}
    bases = {"ROOT": {"uri": f"{file_uri(root)}/"}}
    yield f'{{\n"$schema": {json.dumps(SCHEMA)},\n"version": "2.1.0",\n"runs": [{{\n'
    yield f'"tool": {json.dumps({"driver": driver})},\n"originalUriBaseIds": {json.dumps(bases)},\n'
    yield '"columnKind": "unicodeCodePoints",\n"results": ['
    before = "\n"
    for report, made in found:
        for finding, replacements in zip(report.findings, made, strict=True):
            at = index[finding.code]
            result = _result(finding, at, root)
            if replacements:
                result["fixes"] = [_fix(finding, rules[at], replacements, root)]
            yield before + json.dumps(result)
            before = ",\n"
    notifications = [_notification(error, root) for error in errors]
    invocation = {"executionSuccessful": not notifications, "toolExecutionNotifications": notifications}
    yield f'],\n"invocations": [{json.dumps(invocation)}]\n}}]\n}}\n'


def _rule(rule: Rule) -> dict[str, Any]:
    page = rule_page(rule)
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": _first_paragraph(rule.doc)},
        "help": {"text": page, "markdown": page},
        "defaultConfiguration": {"enabled": rule.default, "level": "warning"},
        "properties": {"tags": ["exception-handling", "reliability"]},
    }


def _first_paragraph(doc: str) -> str:
    return " ".join(doc.split("\n\n", 1)[0].split("\n")[1:])


def _result(finding: Finding, rule_index: int, root: str) -> dict[str, Any]:
    region = {
        "startLine": finding.row,
        "startColumn": finding.column,
        "endLine": finding.end_row,
        "endColumn": finding.end_column,  # SARIF's own end is exclusive too (3.30.8)
    }
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": _artifact(finding.filename, root), "region": region}
    }
    if finding.qualname != "<module>":
        location["logicalLocations"] = [{"fullyQualifiedName": finding.qualname}]
    return {
        "ruleId": finding.code,
        "ruleIndex": rule_index,
        "level": LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [location],
        "partialFingerprints": {"unhush/v1": finding.fingerprint},
        "properties": {
            "severity": finding.severity,
            "severityReasons": list(finding.severity_reasons),
            "shape": finding.shape,
            "caught": list(finding.caught),
            "inLoop": finding.in_loop,
            "fix": finding.fix,
            "fixReason": finding.fix_reason,
        },
    }


def _fix(finding: Finding, rule: Rule, replacements: Sequence[Replacement], root: str) -> dict[str, Any]:
    """A fix (3.55) of one file, with each replacement (3.57) as text."""
    changes = [
        {
            "deletedRegion": {
                "startLine": made.row,
                "startColumn": made.column,
                "endLine": made.end_row,
                "endColumn": made.end_column,
            },
            "insertedContent": {"text": made.text},
        }
        for made in replacements
    ]
    change = {"artifactLocation": _artifact(finding.filename, root), "replacements": changes}
    what = "Take out what suppresses nothing" if rule.fix == "comment" else "Log the exception"
    return {"description": {"text": f"{what}, as `unhush fix` does"}, "artifactChanges": [change]}


def _notification(error: FileError, root: str) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": _artifact(error.filename, root)}
    if error.row is not None:
        place["region"] = {"startLine": error.row}
        if error.column is not None:
            place["region"]["startColumn"] = error.column
    return {"level": "error", "message": {"text": error.reason}, "locations": [{"physicalLocation": place}]}


def _artifact(filename: str, root: str) -> dict[str, str]:
    inside = relative(filename, root)
    if inside == filename:
        return {"uri": file_uri(filename)}
    return {"uri": uri(inside), "uriBaseId": "ROOT"}

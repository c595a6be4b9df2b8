from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from unhush.codemods.fixes import Replacement
from unhush.codemods.model import FileError, FileReport
from unhush.codemods.rules import all_rules
from unhush.reports import sarif

SCHEMA = json.loads((Path(__file__).parent / "data" / "sarif-schema-2.1.0.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER)


def render(reports, errors=(), rules=None, root="/app"):
    rules = list(all_rules().values()) if rules is None else rules
    plain = ((report, [()] * len(report.findings)) for report in reports)
    log = json.loads("".join(sarif.render(plain, errors, rules, root, "1.2.3")))
    VALIDATOR.validate(log)
    return log


@pytest.fixture
def run(make_finding):
    """The run object of a log with two findings and two file errors."""
    findings = (make_finding(), make_finding(code="UNH101", caught=(), severity="low", fix=None, qualname="<module>"))
    errors = [FileError("/app/bad.py", "invalid syntax", 3, 7), FileError("/other/x y.py", "Permission denied")]
    return render([FileReport("/app/store.py", findings), FileReport("/app/bad.py")], errors)["runs"][0]


def test_log_is_valid_against_the_oasis_schema(run):
    """A log with findings and errors satisfies the schema of SARIF 2.1.0; a broken one does not."""
    assert len(run["results"]) == 2
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({"version": "2.1.0", "runs": [{"results": []}]})


def test_results_say_what_the_findings_say(run, snapshot):
    """Level, place, function, fingerprint and properties of a result come from the finding."""
    assert run["results"] == snapshot


def test_ends_are_exclusive_and_columns_count_code_points(run):
    """SARIF's regions end before endColumn, as findings do, and the log says how columns are counted."""
    region = run["results"][0]["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 4, "startColumn": 5, "endLine": 5, "endColumn": 13}
    assert run["columnKind"] == "unicodeCodePoints"


def test_rules_stand_at_their_index(run):
    """Each result's ruleIndex leads to the description of its rule."""
    rules = run["tool"]["driver"]["rules"]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == ["UNH102", "UNH101"]
    assert all(rule["shortDescription"]["text"] and rule["help"]["markdown"] for rule in rules)


def test_file_errors_become_notifications(run, snapshot):
    """A file that can't be read is a notification of an invocation that was not successful."""
    assert run["invocations"] == snapshot


def test_clean_run_is_successful():
    """Without findings and errors the results are empty and the invocation successful."""
    run = render([FileReport("/app/a.py")])["runs"][0]
    assert run["results"] == []
    assert run["invocations"][0]["executionSuccessful"] is True


def test_errors_that_come_up_while_rendering_are_included():
    """Errors that the reports bring with them stand in the log, though it streams."""
    errors = []

    def reports():
        errors.append(FileError("/app/late.py", "no such file"))
        yield FileReport("/app/late.py")

    notes = render(reports(), errors)["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert [note["message"]["text"] for note in notes] == ["no such file"]


def test_odd_names_become_valid_uris(make_finding):
    """Spaces, percent signs and bytes that are no UTF-8 are escaped."""
    name = b"/app/a b%\xff.py".decode("utf-8", "surrogateescape")
    run = render([FileReport(name, (make_finding(filename=name),))])["runs"][0]
    place = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place == {"uri": "a%20b%25%FF.py", "uriBaseId": "ROOT"}
    assert run["originalUriBaseIds"]["ROOT"]["uri"] == "file:///app/"


def test_fixes_are_valid_and_lead_to_their_file(make_finding):
    """A finding with replacements has one fix of its file, valid by the schema; one without has no such key."""
    made = (Replacement(2, 1, 2, 1, "import logging\n"), Replacement(5, 9, 5, 13, "log()"))
    report = FileReport("/app/store.py", (make_finding(), make_finding(fix=None)))
    rules = list(all_rules().values())
    log = json.loads("".join(sarif.render([(report, [made, ()])], [], rules, "/app", "1.2.3")))
    VALIDATOR.validate(log)
    fixed, plain = log["runs"][0]["results"]
    (change,) = fixed["fixes"][0]["artifactChanges"]
    assert change["artifactLocation"] == {"uri": "store.py", "uriBaseId": "ROOT"}
    assert change["replacements"][1] == {
        "deletedRegion": {"startLine": 5, "startColumn": 9, "endLine": 5, "endColumn": 13},
        "insertedContent": {"text": "log()"},
    }
    assert "fixes" not in plain

from __future__ import annotations

import json

from unhush.codemods.model import FileReport
from unhush.reports import gitlab

SEVERITIES = {"info", "minor", "major", "critical", "blocker"}


def render(*findings):
    return json.loads("".join(gitlab.render([FileReport("/app/store.py", findings)], "/app")))


def test_each_issue_has_the_keys_that_gitlab_reads(make_finding):
    """Description, rule, fingerprint, severity, and path and line below the checkout: what GitLab documents as needed."""
    (issue,) = render(make_finding())
    assert issue["description"].startswith("UNH102 silent-broad-except: `except Exception`")
    assert (issue["check_name"], issue["fingerprint"]) == ("UNH102", "0123456789abcdef")
    assert issue["location"] == {"path": "store.py", "lines": {"begin": 4, "end": 5}}


def test_severities_are_gitlabs(make_finding):
    """High is critical, medium major, low minor."""
    found = [
        issue["severity"] for issue in render(*(make_finding(severity=level) for level in ("high", "medium", "low")))
    ]
    assert found == ["critical", "major", "minor"]
    assert SEVERITIES.issuperset(found)


def test_no_findings_are_an_empty_list():
    """A clean run is a list, so that GitLab can tell it from a missing report."""
    assert render() == []


def test_names_that_are_no_utf8_are_plain_text(make_finding):
    """A name with other bytes is text that every reader of JSON takes."""
    (issue,) = render(make_finding(filename="/app/a\udcff.py"))
    assert issue["location"]["path"] == "a\\xff.py"

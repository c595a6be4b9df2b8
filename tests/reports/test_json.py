from __future__ import annotations

import json

from unhush.codemods.model import FileReport
from unhush.reports import jsonout

KEYS = [
    "code", "name", "message", "filename", "location", "end_location", "qualname", "shape", "caught", "severity",
    "severity_reasons", "fingerprint", "in_loop", "fix",
]  # fmt: skip


def test_findings_have_the_documented_keys(make_finding, snapshot):
    """The keys of a finding and their order are a promise to other programs."""
    result = json.loads("".join(jsonout.render([FileReport("/app/store.py", (make_finding(),))])))
    assert list(result[0]) == KEYS
    assert result == snapshot


def test_json_is_one_list_over_all_files(make_finding):
    """All files' findings stand in one list, in the order of the reports."""
    reports = [FileReport(name, (make_finding(filename=name),) * 2) for name in ("/a.py", "/b.py")]
    result = json.loads("".join(jsonout.render(reports)))
    assert [finding["filename"] for finding in result] == ["/a.py", "/a.py", "/b.py", "/b.py"]


def test_no_findings_are_an_empty_list():
    """A clean run prints an empty list, not nothing."""
    assert json.loads("".join(jsonout.render([FileReport("/a.py")]))) == []


def test_json_lines_hold_one_object_each(make_finding):
    """Each line of jsonl is a finding by itself; a clean run has no line."""
    reports = [FileReport("/a.py", (make_finding(), make_finding(caught=(), shape=None, fix=None)))]
    lines = "".join(jsonout.render_lines(reports)).splitlines()
    assert [json.loads(line)["caught"] for line in lines] == [["Exception"], []]
    assert "".join(jsonout.render_lines([FileReport("/a.py")])) == ""


def test_names_that_are_not_utf8_stay_valid_json(make_finding):
    """A file name of arbitrary bytes comes out as JSON that any parser reads."""
    name = b"/app/\xff.py".decode("utf-8", "surrogateescape")
    encoded = "".join(jsonout.render([FileReport(name, (make_finding(filename=name),))])).encode("utf-8")
    assert json.loads(encoded)[0]["filename"] == name

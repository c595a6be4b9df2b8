from __future__ import annotations

import json
from dataclasses import fields, replace

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unhush.rollout import checks, evidence, store
from unhush.rollout.errors import RolloutProblem
from unhush.rollout.evidence import Evidence

HASHES = {"type": "object", "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{64}$"}}
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$"}
LINE = {"type": "string", "minLength": 1}
LINE_OR_NULL = {"type": ["string", "null"]}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": [field.name for field in fields(Evidence)],
    "properties": {
        **dict.fromkeys(("name", "kind", "run_id", "tool_version"), LINE),
        **dict.fromkeys(("commit", "environment"), LINE_OR_NULL),
        **dict.fromkeys(("started_at", "ended_at"), TIME),
        **dict.fromkeys(("inputs", "outputs"), HASHES),
        "command": {"type": "array", "items": {"type": "string"}},
        "exit_code": {"type": ["integer", "null"]},
        "database": {"type": ["object", "null"]},
        "counts": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
        "facts": {"type": "object"},
    },
}


@pytest.fixture
def record():
    """A whole record of a check that passed."""
    return Evidence(
        name="build",
        kind="command",
        command=("make", "wheel"),
        exit_code=0,
        started_at="2026-01-02T03:04:05.678+00:00",
        ended_at="2026-01-02T03:04:06.000+00:00",
        run_id="one",
        tool_version="1.0",
    )


def test_a_record_is_read_as_it_was_written(record, tmp_path):
    """Write and read are each other's inverse, and the file is JSON of the documented form."""
    evidence.write(tmp_path, record)
    assert evidence.read(tmp_path, "build") == record
    assert evidence.read_all(tmp_path) == {"build": record}
    jsonschema.validate(json.loads((tmp_path / evidence.path_of("build")).read_text()), SCHEMA)


def test_every_record_of_a_run_has_the_documented_form(prepared):
    """Whatever gathered it, a record fits the JSON schema."""
    paths = [prepared.root / evidence.path_of(name) for name in evidence.read_all(prepared.root)]
    assert len(paths) >= 6
    for path in paths:
        jsonschema.validate(json.loads(path.read_text()), SCHEMA)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"outputs": {"a": "zz"}}, "outputs"),
        ({"counts": {"a": -1}}, "counts"),
        ({"exit_code": True}, "exit_code"),
        ({"exit_code": "0"}, "exit_code"),
        ({"started_at": "yesterday"}, "started_at"),
        ({"ended_at": "2026-01-02T03:04:06+00:00"}, "ended_at"),
        ({"kind": ""}, "kind"),
        ({"run_id": "one\ntwo"}, "run_id"),
    ],
)
def test_a_record_that_breaks_the_form_is_not_written(record, tmp_path, fields, why):
    """What could not be read again is refused, and no file is left."""
    with pytest.raises(RolloutProblem, match=f"build: {why}"):
        evidence.write(tmp_path, replace(record, **fields))
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("name", ["", "../x", "/x", "a/b/c", "A", "files/x", "a\n", ".x", "a b"])
def test_a_name_that_leads_elsewhere_is_refused(record, tmp_path, name):
    """Records lie in their folder, at most one folder deep."""
    with pytest.raises(RolloutProblem, match="is no name for evidence"):
        evidence.write(tmp_path, replace(record, name=name))
    assert evidence.read(tmp_path, name).kind == evidence.UNREADABLE
    assert evidence.path_of("staging/load") == "rollout/evidence/staging/load.json"


def test_a_record_that_is_not_there_is_no_evidence(tmp_path):
    """Missing is a kind of its own, and not green."""
    found = evidence.read(tmp_path, "build")
    assert found.kind == evidence.MISSING
    assert evidence.verdict(found, tmp_path).status == "no evidence"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "pass"),
        ({"exit_code": 1}, "fail"),
        ({"exit_code": -9}, "fail"),
        ({"exit_code": None, "facts": {"why": "no such file"}}, "no evidence"),
        ({"exit_code": None, "facts": {"timed_out_after": 3.0}}, "fail"),
        ({"exit_code": None}, "no evidence"),
    ],
)
def test_the_verdict_on_a_command(record, tmp_path, fields, status):
    """Zero is green, any other code red; what could not be run is neither."""
    assert evidence.verdict(replace(record, **fields), tmp_path).status == status


def test_files_are_hashed_anew_for_each_verdict(record, tmp_path):
    """An input or output that changed, or went, takes the green away; put back, it is green again."""
    (tmp_path / "a").write_text("1")
    for part in ("inputs", "outputs"):
        found = replace(record, **{part: store.hashes(tmp_path, ["a"])})
        assert evidence.verdict(found, tmp_path).passed
        (tmp_path / "a").write_text("2")
        assert evidence.verdict(found, tmp_path).status == "fail"
        (tmp_path / "a").unlink()
        assert evidence.verdict(found, tmp_path).status == "no evidence"
        (tmp_path / "a").write_text("1")
        assert evidence.verdict(found, tmp_path).passed


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(values)
def test_canonical_json_says_the_same_in_one_form(value):
    """What is hashed is the same however its keys were ordered, and reads back as the same value."""
    data = store.canonical(value)
    assert store.parse_json(data) == value
    assert store.canonical(store.parse_json(data)) == data
    assert data.count(b"\n") == 1
    assert store.canonical(json.loads(store.pretty(value))) == data


def test_canonical_json_has_no_nan():
    """What JSON can't say is refused."""
    with pytest.raises(ValueError, match="JSON compliant"):
        store.canonical({"x": float("nan")})


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """Where the last step fails the old file stays, and no draft is left."""
    path = tmp_path / "plan.json"
    store.write_text(path, "old")

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.os, "replace", full)
        with pytest.raises(RolloutProblem, match="No space left"):
            store.write_text(path, "new")
    assert [item.name for item in tmp_path.iterdir()] == ["plan.json"]
    assert path.read_text() == "old"
    store.write_text(path, "new")
    assert path.read_text() == "new"


def test_a_command_is_ended_with_what_it_started(tmp_path):
    """After the time limit, and after its own end, nothing that it started goes on writing."""
    script = "(while true; do echo x >> alive; sleep 0.01; done) & sleep 0.2"
    for limit in (0.1, 60):
        checks.execute(["sh", "-c", script], tmp_path, limit)
        size = (tmp_path / "alive").stat().st_size
        assert size > 0
        checks.execute(["sleep", "0.1"], tmp_path, 60)
        assert (tmp_path / "alive").stat().st_size == size


def test_the_end_of_a_long_output_is_kept(tmp_path, monkeypatch):
    """A command that prints without end fills no disk of ours; its last words count."""
    monkeypatch.setattr(checks, "KEPT", 100)
    ran = checks.execute(["sh", "-c", "seq 1000"], tmp_path, 60)
    assert ran.output.startswith(b"[the first ")
    assert ran.output.endswith(b"999\n1000\n")
    assert len(ran.output) < 200

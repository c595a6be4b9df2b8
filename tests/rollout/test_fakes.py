"""Attempts to fake a green report, each beside what is green without it.

Three kinds of forger: one edits files and knows no more; one ("consistent") also puts the new hashes into the plan and
writes that plan into the log, as anybody can who has unhush; one holds a key, and is the business of the approvals.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine

from unhush.rollout import approvals, audit, documents, evidence, judges, plan, settings, store
from unhush.rollout import verify as verifying
from unhush.runtime.flag_tables import rollout_events

FAILING = '<testsuite tests="2" failures="1"><testcase name="a"/><testcase name="b"><failure/></testcase></testsuite>'


@pytest.fixture(scope="module")
def untouched(prepared_once):
    """What holds before anybody touched the project: the positive control of each attempt."""
    found = settings.load(prepared_once.root)
    report = verifying.verify(prepared_once.root, found, "production")
    assert report.wrong == []
    return {line.partition(":")[0] for line in report.holds}


@pytest.fixture
def verify(prepared, untouched, monkeypatch):
    """Verifies the prepared project; scans are not done again but where a test says so."""
    assert untouched >= {"tests", "build", "handlers", "proof", "flags", "migrations", "rollout/audit.jsonl"}

    def run(again=False):
        with monkeypatch.context() as patch:
            if not again:
                patch.setattr(verifying, "AGAIN", {})
            return verifying.verify(prepared.root, settings.load(prepared.root), "production")

    return run


def record_path(project, name):
    return project.root / evidence.path_of(name)


def forge(project, name, consistent=True, **fields):
    """Edits a record; `consistent`: puts its hash into the plan, too."""
    path = record_path(project, name)
    data = {**json.loads(path.read_text()), **fields}
    store.write_json(path, data)
    if consistent:
        rebind(project)


def rebind(project, found=None):
    """Puts the hashes of what lies there into the plan, the plan into the log, and renders all documents anew."""
    root, path = project.root, project.root / plan.FILE
    found = found or json.loads(path.read_text())
    records, said = evidence.read_all(root), settings.load(root)
    found["evidence"] = plan.record_hashes(root, [name for name in found["evidence"] if name in records])
    found["documents"] = documents.write(root, documents.covered(found, records, said))
    store.write_json(path, found)
    audit.append(root, "prepared", "eve", plan_digest=plan.digest(found))
    documents.write(root, documents.status(found, records, said))


def forge_report(project, text, name="junit.xml", **fields):
    """Puts another file of the record "tests" in its place, consistently."""
    path = f"{evidence.files_of('tests')}/{name}"
    (project.root / path).write_text(text)
    data = json.loads(record_path(project, "tests").read_text())
    forge(project, "tests", outputs={**data["outputs"], path: store.sha256_file(project.root / path)}, **fields)


def about(report, word):
    return [line for line in report.wrong + report.missing if word in line]


def test_an_edited_record_is_not_the_one_of_the_plan(prepared, verify):
    """Any edit of a record, even one that changes no verdict, is seen."""
    forge(prepared, "build", consistent=False, run_id="another")
    report = verify()
    assert about(report, "build.json is not the one of the plan")
    assert report.exit_code == 1


def test_a_deleted_record_is_missing_evidence(prepared, verify):
    """A record that is gone is named as missing: exit code 3."""
    record_path(prepared, "tests").unlink()
    report = verify()
    assert report.wrong == []
    assert about(report, "tests: no evidence")
    assert report.exit_code == 3


def test_a_record_left_out_of_the_plan_is_missing_evidence(prepared, verify):
    """A plan that does not rest on a check that the settings want is not complete."""
    record_path(prepared, "tests").unlink()
    rebind(prepared)
    assert about(verify(), "tests: no evidence: the plan does not rest on it")


def test_a_check_left_out_of_the_settings_changes_the_commit(prepared, verify):
    """Without its checks the project is another commit than that of the plan."""
    text = (prepared.root / "pyproject.toml").read_text()
    prepared.write("pyproject.toml", text[: text.index("[tool.unhush.rollout.checks.tests]")])
    prepared.git("commit", "-qam", "Fewer checks")
    report = verify()
    assert about(report, "pyproject.toml changed after the plan's commit")
    assert about(report, "no check with format = 'junit'")


def test_evidence_of_another_commit_does_not_count(prepared, verify):
    """A record of the base says nothing of the change, even where the plan names it."""
    forge(prepared, "tests", commit=prepared.git("rev-parse", "base").strip())
    assert about(verify(), "tests: no evidence: it is of another commit")


def test_evidence_of_a_commit_that_nobody_knows_does_not_count(prepared, verify):
    """A commit that git does not have is no commit."""
    forge(prepared, "tests", commit="0" * 40)
    assert about(verify(), "tests: no evidence")


def test_evidence_of_another_version_does_not_count(prepared, verify):
    """Another version of unhush may have looked for other things."""
    forge(prepared, "flags", tool_version="0.0.1")
    assert about(verify(), "flags: no evidence: it was made by unhush 0.0.1")


def test_a_plan_of_another_version_does_not_stand(prepared, verify):
    """A plan belongs to the version that made it."""
    path = prepared.root / plan.FILE
    store.write_json(path, {**json.loads(path.read_text()), "tool_version": "0.0.1"})
    rebind(prepared)
    assert about(verify(), "the plan is of unhush 0.0.1")


def test_replayed_evidence_is_not_the_one_of_the_plan(prepared, verify):
    """The record of an earlier run, green and whole, can't take the place of a newer one."""
    old = record_path(prepared, "build").read_bytes()
    forge(prepared, "build", started_at="2026-01-01T00:00:00.000+00:00")  # stands for a later run
    assert verify().wrong == []
    record_path(prepared, "build").write_bytes(old)
    assert about(verify(), "build.json is not the one of the plan")


def test_forged_totals_of_a_test_report_are_seen(prepared, verify):
    """A summary that its cases contradict fails, whoever bound it into the plan."""
    forge_report(prepared, '<testsuite tests="500" failures="0"><testcase name="a"/></testsuite>')
    assert about(verify(), "tests: rollout/evidence/files/tests/junit.xml: says tests='500', but holds 1")


def test_counts_of_a_record_that_are_not_its_reports_are_seen(prepared, verify):
    """The record's own counts are compared with the cases, too."""
    data = json.loads(record_path(prepared, "tests").read_text())
    forge(prepared, "tests", counts={**data["counts"], "tests": 500, "passed": 500})
    assert about(verify(), "not those of the report's test cases")


def test_exit_code_zero_over_a_failing_report_fails(prepared, verify):
    """The cases win over the exit code."""
    counts = {"tests": 2, "passed": 1, "failed": 1, "errors": 0, "skipped": 0, "executed": 2}
    forge_report(prepared, FAILING, counts=counts, exit_code=0)
    assert about(verify(), "tests: 1 failed, 0 with errors, of 2 test cases")


def test_a_failing_exit_code_over_a_green_report_fails(prepared, verify):
    """And the exit code wins over green cases: a runner may fail for other reasons."""
    forge(prepared, "tests", exit_code=3)
    assert about(verify(), "tests: exit code 3")


@pytest.mark.parametrize(
    ("cases", "skipped"),
    [('<testcase name="a"><skipped/></testcase><testcase name="b"><skipped/></testcase>', 2), ("", 0)],
    ids=["all skipped", "none"],
)
def test_vacuous_tests_are_no_evidence(prepared, verify, cases, skipped):
    """All skipped and none at all are no pass, with exit code 0."""
    counts = {"tests": skipped, "passed": 0, "failed": 0, "errors": 0, "skipped": skipped, "executed": 0}
    forge_report(prepared, f"<testsuite>{cases}</testsuite>", counts=counts)
    assert about(verify(), f"tests: no evidence: no test case ran, {skipped} were skipped")


def test_copies_of_a_case_do_not_reach_the_minimum(prepared, verify):
    """Of two cases that are one, one ran; two are wanted."""
    counts = {"tests": 2, "passed": 2, "failed": 0, "errors": 0, "skipped": 0, "executed": 1}
    forge_report(prepared, '<testsuite><testcase name="a"/><testcase name="a"/></testsuite>', counts=counts)
    assert about(verify(), "tests: no evidence: 1 test cases ran, at least 2 are wanted")


def test_a_lowered_minimum_is_not_that_of_the_settings(prepared, verify):
    """The record can't say for itself how many cases are enough."""
    data = json.loads(record_path(prepared, "tests").read_text())
    forge(prepared, "tests", facts={**data["facts"], "minimum": 1})
    assert about(verify(), "tests: no evidence: it was made by other settings of the check")


def test_another_command_is_not_that_of_the_settings(prepared, verify):
    """`true` in the place of the build is no build."""
    forge(prepared, "build", command=["true"])
    assert about(verify(), "build: no evidence: it was made by other settings of the check")


def test_an_exchanged_output_is_seen(prepared, verify):
    """A file of a record that is not the one that was seen fails."""
    (prepared.root / evidence.files_of("build") / "output.txt").write_text("all good\n")
    assert about(verify(), "build: output rollout/evidence/files/build/output.txt is not the file that was seen")


def test_a_removed_output_is_missing_evidence(prepared, verify):
    """A record without its files proves nothing."""
    (prepared.root / evidence.files_of("tests") / "junit.xml").unlink()
    assert about(verify(), "tests: no evidence: output rollout/evidence/files/tests/junit.xml is not there")


def test_a_record_that_names_no_report_proves_nothing(prepared, verify):
    """A record of tests without its report is no pass, whatever its counts."""
    data = json.loads(record_path(prepared, "tests").read_text())
    del data["facts"]["report"]
    forge(prepared, "tests", facts=data["facts"])
    assert about(verify(), "tests: no evidence: no test report")


@pytest.mark.parametrize("digest", ["zz", "", "A" * 64, 0, None])
def test_what_is_no_hash_is_no_hash(prepared, verify, digest):
    """A hash that is none makes the record useless, and is not skipped."""
    forge(prepared, "build", outputs={"worker.py": digest})
    assert about(verify(), "build: no evidence: rollout/evidence/build.json: outputs is not what it should be")


def test_a_hash_that_is_none_in_the_plan_is_refused(prepared, verify):
    """The plan's hashes are looked at, too."""
    path = prepared.root / plan.FILE
    found = json.loads(path.read_text())
    found["evidence"]["build"] = "zz"
    store.write_json(path, found)
    assert about(verify(), "evidence holds what is no SHA-256")


def test_a_record_behind_a_symbolic_link_does_not_count(prepared, verify, tmp_path):
    """A record must lie in the project, where it is committed, and not elsewhere."""
    path = record_path(prepared, "build")
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert about(verify(), "symbolic link")


def test_a_folder_behind_a_symbolic_link_does_not_count(prepared, verify, tmp_path):
    """The same for a folder on the way."""
    folder = prepared.root / evidence.files_of("tests")
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert about(verify(), "tests: output rollout/evidence/files/tests/junit.xml can't be used")


def test_an_output_outside_of_the_project_does_not_count(prepared, verify):
    """A path that leads out of the project is refused."""
    (prepared.root.parent / "outside").write_text("x")
    forge(prepared, "build", outputs={"../outside": store.sha256_bytes(b"x")})
    assert about(verify(), "build: output ../outside can't be used")


def test_a_removed_line_of_the_log_is_seen(prepared, verify):
    """The chain of the log breaks where a line is taken out."""
    audit.append(prepared.root, "approve.refused", "eve")
    audit.append(prepared.root, "paused", "ann")
    assert verify().wrong == []
    path = prepared.root / audit.FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    assert about(verify(), "does not follow the line before")


def test_an_edited_line_of_the_log_is_seen(prepared, verify):
    """An edited entry has another hash."""
    path = prepared.root / audit.FILE
    path.write_bytes(path.read_bytes().replace(b"ann@", b"bob@"))
    assert about(verify(), "was edited after it was written")


def test_a_cut_log_lacks_the_plan(prepared, verify):
    """A log without the entry that made this plan does not belong to it."""
    (prepared.root / audit.FILE).unlink()
    assert about(verify(), "has no entry that this plan was made")


def test_a_log_cut_or_built_anew_lacks_a_signed_head(prepared, verify):
    """A chain that holds in itself is held against the heads that approvals signed."""
    audit.append(prepared.root, "approve.refused", "eve", why="wrote it")
    signed = audit.head(prepared.root)
    approval = prepared.root / "rollout/approvals/production/operator.json"
    approval.parent.mkdir(parents=True)
    approval.write_bytes(store.canonical({"audit_head": signed, "person": "ann@example.test"}))
    assert not about(verify(), "signed head")
    path = prepared.root / audit.FILE
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert about(verify(), f"the signed head {signed} is not in it")
    path.unlink()
    rebind(prepared)
    assert about(verify(), f"the signed head {signed} is not in it")


def test_a_cut_log_lacks_what_the_database_saw(prepared, tmp_path):
    """Each advance leaves the head of the log in the database, which a forger of files does not reach."""
    url, head = f"sqlite:///{tmp_path}/jobs.db", audit.append(prepared.root, "advance", "ann", stage=2)
    engine = create_engine(url)
    rollout_events.create(engine)
    event = {"at": datetime.now(UTC), "act": "advance", "actor": "ann", "plan_digest": "", "stage": 2, "fence": 1}
    with engine.begin() as connection:
        connection.execute(rollout_events.insert().values(**event, detail={"audit_head": head}))
    engine.dispose()
    found = settings.load(prepared.root)
    assert not about(verifying.verify(prepared.root, found, "production", url), "signed head")
    path = prepared.root / audit.FILE
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert about(verifying.verify(prepared.root, found, "production", url), f"the signed head {head} is not in it")
    assert not about(verifying.verify(prepared.root, found, "production"), "signed head")
    assert about(
        verifying.verify(prepared.root, found, "production", "sqlite:///nowhere.db"), "there is no SQLite file"
    )


def test_a_plan_edited_by_one_byte_is_refused(prepared, verify):
    """Even a space that no JSON reader sees."""
    path = prepared.root / plan.FILE
    path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema":  1'))
    report = verify()
    assert about(report, "rollout/plan.json: was edited")
    assert report.exit_code == 1


def test_a_plan_edited_in_its_form_is_not_in_the_log(prepared, verify):
    """A well-formed edit makes another digest, which no entry of the log and no approval names."""
    path = prepared.root / plan.FILE
    found = json.loads(path.read_text())
    found["stages"][0]["soak"] = 1
    store.write_json(path, found)
    assert about(verify(), "has no entry that this plan was made")


@pytest.mark.parametrize("way", ["edited", "new file", "told not to look", "committed"])
def test_a_working_tree_that_is_not_the_plans_is_seen(prepared, verify, way):
    """What is rolled out is what was checked: no edit, no new file, no hidden edit, no later commit."""
    name = "sneaky.py" if way == "new file" else "worker.py"
    if way == "told not to look":
        prepared.git("update-index", "--assume-unchanged", name)
    prepared.write(name, "print()\n")
    if way == "committed":
        prepared.git("commit", "-qam", "Sneak in")
    assert about(verify(), name)


def test_committing_what_the_roll_out_made_changes_nothing(prepared, verify):
    """The positive control: evidence and plan may be committed on top of the plan's commit."""
    prepared.commit("Add evidence")
    report = verify()
    assert report.wrong == []
    assert any(line.startswith("plan ") for line in report.holds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"name": NaN}',
        "[" * 100_000,
        "\xff",
    ],
    ids=["empty", "cut", "list", "null", "nan", "deep", "latin"],
)
def test_broken_json_is_no_evidence_and_no_crash(prepared, verify, text):
    """A record that can't be read is missing evidence."""
    record_path(prepared, "build").write_bytes(text.encode("latin-1"))
    rebind(prepared)
    assert about(verify(), "build: no evidence")


def test_a_key_said_twice_is_no_evidence(prepared, verify):
    """Two readers could believe two things of such a record."""
    path = record_path(prepared, "build")
    path.write_text(path.read_text().replace('"exit_code": 0', '"exit_code": 1,\n  "exit_code": 0'))
    rebind(prepared)
    assert about(verify(), "says a key twice")


def test_a_verdict_that_somebody_wrote_down_is_no_verdict(prepared, verify):
    """A record holds facts alone; one that brings its verdict is none."""
    forge(prepared, "build", verdict="pass")
    assert about(verify(), "build: no evidence: rollout/evidence/build.json: is not the record of a check")


def test_an_unknown_kind_is_no_evidence(prepared, verify):
    """A kind that nobody can judge is not green."""
    forge(prepared, "flags", kind="blessing")
    assert about(verify(), "flags: no evidence: unknown kind 'blessing'")


def test_a_milder_kind_is_not_that_of_the_check(prepared, verify):
    """A test run that is judged as a plain command is not what the settings ask for."""
    forge(prepared, "tests", kind="command")
    assert about(verify(), "tests: no evidence: it was made by other settings of the check")


@pytest.mark.parametrize("name", ["handlers", "proof", "flags", "migrations"])
def test_a_milder_kind_of_our_own_records_is_refused(prepared, verify, name):
    """So are records of unhush's own that want to be judged by the exit code alone."""
    forge(prepared, name, kind="command", exit_code=0)
    assert about(verify(), f"{name}: no evidence: it is of the kind 'command'")


def test_an_error_in_a_judge_is_red(prepared, verify, monkeypatch):
    """A verdict that can't be reached is a failure, and ends no report."""

    def broken(record, root):
        raise ZeroDivisionError("no judge today")

    monkeypatch.setattr(judges, "command", broken)
    report = verify()
    assert about(report, "build: could not be judged: ZeroDivisionError: no judge today")
    assert any(line.startswith("tests:") for line in report.holds)


def test_an_error_while_checking_is_red(prepared, verify, monkeypatch):
    """Whatever a part of the verification trips over is wrong, and the other parts are checked all the same."""

    def broken(root, found, environment):
        raise KeyError("person")

    monkeypatch.setattr(approvals, "standing", broken)
    report = verify()
    assert about(report, "an approval can't be checked: KeyError")
    assert any(line.startswith("tests:") for line in report.holds)
    assert report.exit_code == 1


def test_a_dry_run_on_another_kind_of_database_does_not_count(prepared, verify):
    """A plan for PostgreSQL does not rest on SQLite."""
    data = json.loads(record_path(prepared, "flags").read_text())
    record = {**data, "name": "dry_run", "kind": "dry_run", "database": {"dialect": "postgresql"}}
    store.write_json(record_path(prepared, "dry_run"), record)
    found = plan.read(prepared.root)
    rebind(prepared, {**found, "evidence": {**found["evidence"], "dry_run": ""}})
    assert about(verify(), "dry_run: no evidence: it was run on postgresql, the roll-out is for sqlite")


def test_times_that_can_not_be_are_no_evidence(prepared, verify):
    """A record from the future, or that ended before it began, is none."""
    late = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="milliseconds")
    forge(prepared, "build", ended_at=late)
    assert about(verify(), "build: no evidence: rollout/evidence/build.json: lies in the future")
    forge(prepared, "build", ended_at="2000-01-01T00:00:00.000+00:00")
    assert about(verify(), "ended before it started")


def test_forged_scans_are_seen_by_scanning_again(prepared, verify):
    """Facts that were edited with all that hangs on them hold in themselves; the same commits, scanned again, do not."""
    root, files = prepared.root, evidence.files_of("handlers")
    data = json.loads(record_path(prepared, "handlers").read_text())
    store.write_json(root / files / "before.json", [])
    outputs = {**data["outputs"], f"{files}/before.json": store.sha256_file(root / files / "before.json")}
    forge(prepared, "handlers", outputs=outputs, counts={**data["counts"], "before": 0, "fixed": 0})
    assert not about(verify(), "handlers: another")
    assert about(verify(again=True), "handlers: another scan of the same commits finds something else")


def test_a_forged_proof_is_seen_by_proving_again(prepared, verify):
    """The same for the proof."""
    path = f"{evidence.files_of('proof')}/output.txt"
    with (prepared.root / path).open("a") as file:
        file.write("Proved by an expert.\n")
    forge(prepared, "proof", outputs={path: store.sha256_file(prepared.root / path)})
    assert not about(verify(), "proof: another")
    assert about(verify(again=True), "proof: another proof of the same commits says something else")


@pytest.mark.parametrize("path", sorted(documents.STATUS))
def test_an_edited_document_is_not_what_the_evidence_gives(prepared, verify, path):
    """A ticked box that somebody typed is not in what is rendered anew; nor is a document that is gone."""
    assert not about(verify(), path)
    text = (prepared.root / path).read_text()
    prepared.write(path, text.replace("[ ]", "[x]") + " ")
    assert about(verify(), f"{path} is not what the evidence gives")
    (prepared.root / path).unlink()
    assert about(verify(), f"{path} is not there")


def test_an_edited_document_of_the_plan_is_seen(prepared, verify):
    """A document that approvals cover is held by its hash, and rendered anew as well."""
    path = prepared.root / "backout_command.txt"
    assert not about(verify(), path.name)
    path.write_text(path.read_text().replace("psql", "echo"))
    assert about(verify(), "backout_command.txt is not the one of the plan")
    assert about(verify(), "backout_command.txt is not what the evidence gives")


def test_another_kind_of_database_than_the_plans_is_told(prepared, verify, monkeypatch):
    """Where the environment names another kind of database, one line says what to set."""
    monkeypatch.setenv("UNHUSH_DATABASE_URL", "postgresql://app@db/jobs")
    assert about(verify(), "the plan is for sqlite, the settings now say postgresql: set `url`")


def test_another_list_of_signers_is_seen(prepared, verify):
    """The list of signers is pinned in the plan."""
    prepared.write("rollout/allowed_signers", 'eve@example.test namespaces="*" ssh-ed25519 AAAA\n')
    assert about(verify(), "rollout/allowed_signers is not the one of the plan")


def test_unsigned_is_said_first(prepared, verify):
    """A plan that needs no signatures says so in the first line of each report."""
    assert verify().unsigned
    done = prepared.unhush("rollout", "verify")
    assert done.stdout.startswith("unsigned:")
    assert done.returncode == 3


def test_this_python_runs_the_checks(prepared):
    """The fixture's checks are those that the settings name: nothing else is green here."""
    data = json.loads(record_path(prepared, "tests").read_text())
    assert data["command"] == [sys.executable, "suite.py"]


def test_the_list_of_attempts_names_tests_that_exist(root):
    """Each attempt that the documentation lists is caught by a test of that name."""
    page = (root / "docs" / "rollout.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| (`test_.*`) \|$", page, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row)}
    source = "".join(path.read_text(encoding="utf-8") for path in (root / "tests" / "rollout").glob("test_*.py"))
    assert len(rows) > 20
    assert {name for name in named if f"\ndef {name}(" not in source} == set()

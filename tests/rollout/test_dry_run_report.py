"""The report of a dry run, the command that writes it, and the evidence that it is."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dryrunworld import BOUND, SCHEMA, file, jobs, tried
from rollout.conftest import Project
from services import service
from sqlalchemy import make_url
from syrupy.assertion import SnapshotAssertion

from unhush.reports import dryrun as reports
from unhush.reports import dryrun_checks as checked
from unhush.rollout import evidence
from unhush.rollout.dryrun import lint
from unhush.rollout.dryrun.refusals import refused
from unhush.rollout.dryrun.steps import of_files
from unhush.rollout.store import pretty, read_json

Run = Callable[..., subprocess.CompletedProcess[bytes]]
STORED = Path(__file__).parent / "data" / "dry_run_facts.json"
_PLACE = shutil.which("squawk", path=str(Path(sys.executable).parent)) or shutil.which("squawk")
SQUAWK = pytest.mark.skipif(not _PLACE, reason="squawk is not installed (extra lint)")


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was seen when unhush's migrations were tried on an empty SQLite file."""
    place = tmp_path_factory.mktemp("facts") / "service.db"
    place.touch()
    return tried(f"sqlite:///{place}", mode="copy", contended=True)


def changed(facts: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    """The facts with another value in one place."""
    found = copy.deepcopy(facts)
    place: Any = found
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return found


def test_command(unhush: Run, tmp_path: Path) -> None:
    """The command writes both files, says the verdict, and Markdown is what the JSON gives, byte for byte."""
    (tmp_path / "unhush.db").touch()
    done = unhush("db", "dry-run")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("PASSED: ")
    assert lines[1].startswith("The database tried is EMPTY")
    facts = read_json(tmp_path / "migration" / "dry_run_report.json")
    SCHEMA.validate(facts)
    text = (tmp_path / "migration" / "dry_run_report.md").read_text()
    assert reports.report(facts) == text
    assert text.splitlines()[2].startswith("- **PASSED: ")
    assert not (tmp_path / "rollout").exists()  # nobody asked for evidence here
    unhush("db", "upgrade")
    again = unhush("db", "dry-run", "--json", "-o", "other")
    said = json.loads(again.stdout)
    assert (again.returncode, said["verdict"]) == (1, "incomplete")
    assert said["checks"] == [
        {"name": "something to try", "status": "no evidence", "why": "nothing is pending, so nothing was tried"}
    ]


def test_wrong_use(unhush: Run, tmp_path: Path) -> None:
    """No database, no file, a file that is no text and a backout on its own are one line and exit code 2."""
    (tmp_path / "unhush.db").touch()
    (tmp_path / "latin.sql").write_bytes(b"SELECT '\xe9';")
    (tmp_path / "a.backout.sql").write_text("SELECT 1;")
    for arguments, said in (
        (["--url", "sqlite:///nowhere.db"], "there is no SQLite file"),
        (["--sql", "nowhere.sql"], "nowhere.sql can't be read: No such file"),
        (["--sql", "latin.sql"], "latin.sql is not UTF-8 (byte 8)"),
        (["--sql", "a.backout.sql"], "name the file that it takes back"),
        (["--in-transaction"], "of a SQLite file a copy is made"),
    ):
        done = unhush("db", "dry-run", *arguments)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
        assert said in done.stderr.decode()
    assert not (tmp_path / "migration").exists()


def test_password_is_nowhere(unhush: Run, tmp_path: Path) -> None:
    """Neither the reports nor the lines of the command hold the password, nor secrets of the files."""
    service("postgresql")
    with jobs(tmp_path) as url:
        secret = make_url(url).set(password="hush-hush-1")
        path = file(tmp_path, f"{BOUND}SELECT 'password=hush-hush-2', 'sk_live_4eC39HqLyjWDarjtT1zdp7dc';\n")
        done = unhush("db", "dry-run", "--url", secret.render_as_string(hide_password=False), "--sql", path)
        written = b"".join(part.read_bytes() for part in (tmp_path / "migration").iterdir())
    assert b"public.jobs" in written
    for text in (done.stdout, done.stderr, written):
        assert b"hush-hush" not in text
        assert b"sk_live_4eC39" not in text


def test_report_can_not_be_made_to_say_more(facts: dict[str, Any]) -> None:
    """Names and messages from outside stay on their line and mean nothing as Markdown."""
    evil = "x | y\n# PASSED\n- **all held** `a` <b>"
    found = changed(facts, "database", "environment", to=evil)
    found["migrations"][0]["migration"] = evil
    for phase in found["phases"]:
        for step in phase["steps"]:
            step["migration"] = evil if step["migration"] == "001_create_job_dlq" else step["migration"]
    found["phases"][0]["steps"][0]["error"] = evil
    text = reports.report(found)
    assert "\n# PASSED" not in text
    assert "\n- **all held**" not in text
    assert text.splitlines()[2].startswith("- **FAILED: up")


def test_report_of_the_users_own(facts: dict[str, Any], tmp_path: Path) -> None:
    """A template of the same name in the user's folder wins."""
    (tmp_path / reports.TEMPLATE).write_text("{{ headlines[0] | line }}\n")
    assert reports.report(facts, str(tmp_path)).startswith("PASSED: ")


@pytest.mark.parametrize(
    ("path", "to", "check"),
    [
        (("phases", 0, "steps", 0, "error"), "it broke", "up"),
        (("phases", 0, "steps", 0, "statements"), [], "up"),
        (("phases", 1, "steps", 0, "fingerprint"), "0" * 64, "down"),
        (("phases", 2, "fingerprint"), "0" * 64, "up again"),
        (("phases", 3, "steps", 0, "changed"), True, "second up"),
        (("phases", 4, "fingerprint"), "0" * 64, "down again"),
        (("target", "fingerprint_after"), "0" * 64, "the database itself"),
        (("refused",), [{"file": "a.sql", "line": 1, "rule": "r", "message": "m"}], "nothing that must not run"),
    ],
)
def test_each_check_can_fail(facts: dict[str, Any], path: tuple[Any, ...], to: Any, check: str) -> None:
    """One thing that does not hold fails its check; unchanged, the same facts pass."""
    assert checked.verdict(facts) == checked.PASSED
    found = changed(facts, *path, to=to)
    assert checked.verdict(found) == checked.FAILED
    assert check in [one.name for one in checked.checks(found) if one.status == checked.FAIL]


def test_files_that_do_nothing_are_no_pass(facts: dict[str, Any], tmp_path: Path) -> None:
    """A file of comments alone, and one that changes nothing, prove nothing; one that does something does."""
    place = tmp_path / "some.db"
    place.touch()
    url = f"sqlite:///{place}"
    bare = tried(url, file(tmp_path, "-- nothing yet\n", "-- nothing yet\n"), mode="copy")
    assert (checked.verdict(bare), len(checked.checks(bare))) == (checked.INCOMPLETE, 1)
    assert "something done" in [one.name for one in checked.checks(facts) if one.status == checked.PASS]
    stored = json.loads(STORED.read_text())
    for step in stored["phases"][0]["steps"]:
        step["changed"] = False
        for statement in step["statements"]:
            statement["changed"] = statement["rewritten"] = []
    found = {one.name: one.status for one in checked.checks(stored)}
    assert found["something done"] == checked.NO_EVIDENCE


def test_phases_that_are_missing_are_no_pass(facts: dict[str, Any]) -> None:
    """A report whose phases stop early is incomplete, whatever else it says."""
    for count in range(1, 5):
        found = changed(facts, "phases", to=facts["phases"][:count])
        assert checked.verdict(found) == checked.INCOMPLETE


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("COMMIT;", "transaction-control"),
        ("-- why\n/* not /* yet */ */ commit work;", "transaction-control"),
        ("START TRANSACTION;", "transaction-control"),
        ("\\i other.sql", "psql-meta-command"),
        ("SELECT 1 \\gexec", "psql-meta-command"),
        ("CREATE DATABASE x;", "beyond-the-database"),
        ("ALTER SYSTEM SET work_mem = '1GB';", "beyond-the-database"),
        ("DROP ROLE x;", "beyond-the-database"),
        ("COPY jobs TO PROGRAM 'sh';", "beyond-the-database"),
        ("COPY jobs TO '/tmp/jobs';", "beyond-the-database"),
        ("COMMENT ON TABLE a IS 'COMMIT;';", None),
        ("SELECT '\\i x', $$COMMIT;$$;", None),
        ("CREATE SCHEMA x;", None),
        ("CREATE USER MAPPING FOR a SERVER b;", None),
        ("DO $$ BEGIN PERFORM 1; END $$;", None),
    ],
)
def test_what_must_not_run(statement: str, rule: str | None) -> None:
    """What ends a transaction, is the client's own or leaves the database is refused; what only looks so is not."""
    found = refused(statement, "postgresql")
    assert (found[0] if found else None) == rule


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("UPDATE a SET b = 1;", {"whole-table-change"}),
        ("DELETE FROM a;", {"whole-table-change"}),
        ("TRUNCATE a;", {"whole-table-change"}),
        ("WITH x AS (SELECT 1 WHERE true) UPDATE a SET b = 1;", {"whole-table-change"}),
        ("UPDATE a SET b = (SELECT 1 WHERE true);", {"whole-table-change"}),
        ("UPDATE a SET b = 1 WHERE c;", set()),
        ("INSERT INTO a VALUES (1) ON CONFLICT DO UPDATE SET b = 1;", set()),
        ("DO $x$ BEGIN ALTER TABLE a ADD b int; END $x$;", {"ddl-in-do-block"}),
        ("DO $x$ BEGIN EXECUTE what; END $x$;", {"execute-in-do-block"}),
        ("DO $x$ BEGIN PERFORM 1; END $x$;", set()),
        ("ALTER TABLE a ADD COLUMN IF NOT EXISTS b int;", {"column-if-not-exists"}),
        ("ALTER TABLE a ADD COLUMN b int;", set()),
        ("CREATE INDEX IF NOT EXISTS i ON a (b);", {"index-if-not-exists"}),
        ("CREATE TABLE a (b int); CREATE INDEX IF NOT EXISTS i ON a (b);", set()),
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (b);", {"index-if-not-exists"}),
        ("DROP INDEX CONCURRENTLY IF EXISTS i; CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (b);", set()),
        ("SET lock_timeout = '1s'; CREATE INDEX CONCURRENTLY i ON a (b);", {"concurrently-under-lock-timeout"}),
        ("SET lock_timeout = '1s'; SET lock_timeout = 0; CREATE INDEX CONCURRENTLY i ON a (b);", set()),
        ("SET lock_timeout TO '1s'; RESET lock_timeout; CREATE INDEX CONCURRENTLY i ON a (b);", set()),
        ("CREATE TABLE a (b int REFERENCES public.c (d));", {"foreign-key-locks-other-table"}),
        ("CREATE TABLE c (d int PRIMARY KEY); CREATE TABLE a (b int REFERENCES c (d), e int REFERENCES a);", set()),
    ],
)
def test_own_lint(tmp_path: Path, text: str, rules: set[str]) -> None:
    """Where squawk is silent ours speaks, and only there."""
    path = file(tmp_path, text)
    found = lint.findings(of_files([path]), "postgresql", 15)["findings"]
    assert {item["rule"] for item in found if item["tool"] == "unhush"} == rules


def test_index_that_is_dropped_first(tmp_path: Path) -> None:
    """CONCURRENTLY under a lock_timeout is an error, but a warning where the file first drops what an earlier run left."""
    build = "CREATE INDEX CONCURRENTLY i ON a (b);"
    for text, level in (("", "error"), ("DROP INDEX CONCURRENTLY IF EXISTS i;", "warning")):
        path = file(tmp_path, f"SET lock_timeout = '1s';{text}{build}")
        found = lint.findings(of_files([path]), "postgresql", 15)["findings"]
        assert [item["level"] for item in found if item["tool"] == "unhush"] == [level]


@SQUAWK
def test_ignore_comments_are_counted(tmp_path: Path) -> None:
    """An ignore comment is listed, with the findings that it hides; without it they are open."""
    text = "-- squawk-ignore-file\nALTER TABLE jobs ADD COLUMN more integer NOT NULL;\n"
    hidden = lint.findings(of_files([file(tmp_path, text)]), "postgresql", 15)
    assert [(item["line"], item["text"]) for item in hidden["ignores"]] == [(1, "squawk-ignore-file")]
    of_squawk = [item for item in hidden["findings"] if item["tool"] == "squawk"]
    assert of_squawk
    assert all(item["ignored"] for item in of_squawk)
    shown = lint.findings(of_files([file(tmp_path, text.partition("\n")[2])]), "postgresql", 15)
    assert shown["ignores"] == []
    assert "adding-required-field" in {item["rule"] for item in shown["findings"] if not item["ignored"]}


def test_without_squawk(facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where squawk is not installed the report says NOT RUN."""
    monkeypatch.setattr(lint.shutil, "which", lambda *_, **__: None)
    found = lint.findings(of_files([file(tmp_path, "SELECT 1;")]), "postgresql", 15)
    assert found["squawk"]["version"] is None
    text = reports.report(changed(facts, "lint", to=found))
    assert "squawk: NOT RUN, squawk is not installed" in text


def test_evidence(project: Project, unhush: Run) -> None:
    """In a project with a roll-out the run becomes evidence, which is judged anew: a changed byte or fact is red."""
    (project.root / "service.db").touch()
    done = unhush("db", "dry-run", "--url", "sqlite:///service.db", cwd=project.root)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b"recorded in rollout/evidence/dry_run.json\n"
    record = evidence.read(project.root, "dry_run")
    assert (record.kind, record.exit_code, record.counts["not_executed"]) == ("dry_run", 0, 0)
    assert evidence.verdict(record, project.root).status == "pass"

    place = project.root / "migration" / "dry_run_report.json"
    good = place.read_bytes()
    place.write_bytes(good.replace(b'"changed": true', b'"changed": false', 1))
    assert evidence.verdict(record, project.root).status == "fail"  # not the file that was seen
    place.write_bytes(good)

    def judged(facts: dict[str, Any], **others: Any) -> str:
        from unhush.rollout import store
        from unhush.rollout.dryrun.judge import JSON, MARKDOWN

        place.write_text(pretty(facts))
        (project.root / MARKDOWN).write_text(others.pop("text", None) or reports.report(facts))
        hashes = store.hashes(project.root, [JSON, MARKDOWN])
        return evidence.verdict(replace(record, outputs=hashes, **others), project.root).status

    facts = json.loads(good)
    assert judged(facts) == "pass"
    assert judged(facts, exit_code=1) == "fail"
    assert judged(facts, text="# Dry run\n\n- **PASSED**\n") == "fail"
    assert judged(changed(facts, "migrations", 0, "sha256", to="0" * 64)) == "fail"
    assert judged(changed(facts, "migrations", 0, "backout_sha256", to="0" * 64)) == "fail"
    assert judged(changed(facts, "database", "name", to="another")) == "fail"
    assert judged(changed(facts, "phases", 0, "steps", 0, "error", to="it broke")) == "fail"
    assert judged(changed(facts, "phases", to=facts["phases"][:1])) == "no evidence"
    assert judged({**facts, "migrations": [], "phases": []}) == "no evidence"
    assert judged({**facts, "schema": 2}) == "no evidence"


def test_own_files_are_no_evidence(project: Project, unhush: Run) -> None:
    """A dry run of the user's own file leaves the record of unhush's migrations alone."""
    (project.root / "service.db").touch()
    path = file(project.root, "CREATE TABLE IF NOT EXISTS more (id int);\n", "DROP TABLE IF EXISTS more;\n")
    done = unhush("db", "dry-run", "--url", "sqlite:///service.db", "--sql", path, cwd=project.root)
    assert done.returncode == 0, done.stdout
    assert not (project.root / "rollout" / "evidence").exists()


def test_report_as_it_reads(snapshot: SnapshotAssertion) -> None:
    """The report of a run on PostgreSQL with rewrites, locks, an empty table and an ignore comment, as stored."""
    facts = json.loads(STORED.read_text())
    SCHEMA.validate(facts)
    assert reports.report(facts) == snapshot
    assert reports.report(json.loads(pretty(facts))) == reports.report(facts)

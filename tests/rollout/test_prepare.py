from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner
from services import fresh_database

from unhush.commands.rollout.prepare import command
from unhush.rollout import audit, binding, checks, evidence, idempotence, junit, plan, proofs, scans, settings, verify
from unhush.rollout import prepare as module
from unhush.rollout.errors import Refused, RolloutProblem
from unhush.rollout.prepare import base_of, prepare
from unhush.sql.files import table_names

CHECK = """
[tool.unhush.rollout.checks.{name}]
command = {command}
"""


def add_check(project, name, *words, **more):
    """Adds a check to the settings and commits."""
    text = CHECK.format(name=name, command=json.dumps(list(words)))
    text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
    with (project.root / "pyproject.toml").open("a") as file:
        file.write(text)
    project.commit(f"Add the check {name}")


def run(project, **more):
    """Prepares in this process; by name, what each record says."""
    found = settings.load(project.root)
    done = prepare(project.root, found, base=base_of(project.root, found, None), **more)
    return done, {outcome.name: outcome for outcome in done.outcomes}


@pytest.fixture
def only_checks(monkeypatch):
    """Leaves what unhush gathers itself as it is: only the team's own checks are run."""
    every = module._gatherers

    def fewer(root, found, *rest):
        return [(name, gather) for name, gather in every(root, found, *rest) if name in found.checks]

    monkeypatch.setattr(module, "_gatherers", fewer)


def test_a_second_run_keeps_what_holds_and_writes_nothing_new(prepared):
    """What passed for this commit is not run again, and plan and log stay byte for byte."""
    before = {path: path.read_bytes() for path in (prepared.root / "rollout").rglob("*") if path.is_file()}
    done, outcomes = run(prepared)
    assert all(outcome.kept for outcome in outcomes.values())
    assert {path: path.read_bytes() for path in before} == before
    assert done.exit_code == 3  # for want of the dry run alone
    assert [name for name, outcome in outcomes.items() if not outcome.verdict.passed] == ["dry_run"]


def test_what_changed_is_gathered_again(prepared):
    """After another commit nothing is kept, and the plan is another one."""
    old = plan.read(prepared.root)
    prepared.write("worker.py", (prepared.root / "worker.py").read_text() + "\n")
    prepared.commit("Add a line")
    done, outcomes = run(prepared)
    assert not any(outcome.kept for outcome in outcomes.values() if outcome.name != "dry_run")
    assert plan.digest(done.plan) != plan.digest(old)
    assert done.plan["flags"] == old["flags"]  # other salts would give 5% other jobs
    assert [entry["act"] for entry in audit.entries(prepared.root)] == ["prepared", "prepared"]


def test_an_interrupted_run_goes_on_where_it_was(only_checks, prepared):
    """Records that were written stay; only what is missing is gathered."""
    (prepared.root / evidence.path_of("build")).unlink()
    (prepared.root / plan.FILE).unlink()
    told = []
    run(prepared, tell=told.append)
    assert told == ["build"]
    assert plan.read(prepared.root)["evidence"].keys() >= {"build", "tests"}


def test_old_evidence_is_gathered_again(only_checks, prepared, monkeypatch):
    """A record that is a day old is not kept."""
    monkeypatch.setattr(module, "KEPT_FOR", module.timedelta(0))
    told = []
    run(prepared, tell=told.append)
    assert "build" in told


def test_a_working_tree_that_is_not_committed_is_refused(prepared):
    """Evidence belongs to a commit: nothing is run where the tree is another one."""
    prepared.write("worker.py", "print()\n")
    done = prepared.unhush("rollout", "prepare")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "error: worker.py is not as committed: commit or ignore it first: evidence belongs to a commit\n"
    )


def test_a_check_that_changes_the_tree_is_refused(only_checks, prepared):
    """What a check leaves behind was not in the commit that it checked."""
    add_check(prepared, "sloppy", "touch", "left-behind.txt")
    with pytest.raises(RolloutProblem, match=r"left-behind\.txt is not as committed: a check changed it"):
        run(prepared)


def test_a_check_that_fails_is_red(only_checks, prepared, monkeypatch):
    """A failed check is told in one line, and the command exits with 1."""
    add_check(prepared, "lint", sys.executable, "-c", "import sys; print('bad style'); sys.exit(4)")
    monkeypatch.chdir(prepared.root)
    done = CliRunner().invoke(command, ["-q"])
    assert done.exit_code == 1
    assert "fail: lint: exit code 4\n" in done.stdout
    assert (prepared.root / evidence.files_of("lint") / "output.txt").read_text() == "bad style\n"


def test_a_check_that_can_not_be_run_is_no_evidence(only_checks, prepared):
    """A command that is not there is neither a pass nor a failure, and not green."""
    add_check(prepared, "contract", "no-such-command")
    done, outcomes = run(prepared)
    assert outcomes["contract"].verdict.status == "no evidence"
    assert outcomes["contract"].verdict.why == "could not be run: no-such-command: No such file or directory"
    assert outcomes["build"].verdict.passed
    assert done.exit_code == 3


def test_a_check_that_does_not_end_is_red(only_checks, prepared):
    """After its time limit a check is ended, with what it started."""
    add_check(prepared, "smoke", "sleep", "600", timeout=0.2)
    _, outcomes = run(prepared)
    assert outcomes["smoke"].verdict.status == "fail"
    assert outcomes["smoke"].verdict.why == "did not end within 0.2 s and was ended"


def test_a_report_of_an_earlier_run_is_not_taken(only_checks, prepared):
    """A check that writes no report can't pass on one that lay there."""
    (prepared.root / "report.xml").write_text('<testsuite><testcase name="a"/></testsuite>')
    add_check(prepared, "contract", "true", report="report.xml", format="junit")
    _, outcomes = run(prepared)
    assert outcomes["contract"].verdict.status == "no evidence"
    assert outcomes["contract"].verdict.why == "no test report: report.xml: No such file or directory"


def test_a_report_that_git_does_not_ignore_is_refused(only_checks, prepared):
    """It would make the tree another one than the commit."""
    add_check(prepared, "contract", "true", report="other.xml", format="junit")
    with pytest.raises(RolloutProblem, match=r"other\.xml, the report of contract, must be ignored by git"):
        run(prepared)


def test_evidence_that_git_ignores_is_told(only_checks, prepared):
    """A pattern that also meets files of the roll-out is named: a clone would lack them."""
    done, _ = run(prepared)
    assert done.lacking is None
    prepared.write(".gitignore", "*.xml\n__pycache__/\nservice.db\n")
    prepared.commit("Ignore more")
    done, _ = run(prepared)
    assert done.lacking.startswith("rollout/evidence/files/tests/junit.xml: git ignores it")
    assert done.exit_code == 3


def test_secrets_in_the_output_of_a_check_are_masked(only_checks, prepared):
    """What a check prints is kept without its secrets."""
    add_check(prepared, "chatty", sys.executable, "-c", "print('password=hunter2', 'done')")
    run(prepared)
    kept = (prepared.root / evidence.files_of("chatty") / "output.txt").read_text()
    assert "done" in kept
    assert "hunter2" not in kept


def test_handlers_that_changed_settings_hide_are_not_fixed(project):
    """An exclude that is new at HEAD sets handlers aside; that fixes nothing."""
    project.git("checkout", "--quiet", "base")
    text = (project.root / "pyproject.toml").read_text()
    project.write("pyproject.toml", "[tool.unhush]\nexclude = ['worker.py']\n" + text)
    project.write("other.py", "x = 1\n")
    project.commit("Look away")
    record = scans.gather(project.root, "base", checks.new_run())
    assert record.counts["set_aside"] == 1
    assert record.counts["fixed"] == 0
    verdict = evidence.verdict(record, project.root)
    assert (verdict.status, verdict.why) == ("fail", "1 handlers are not fixed, but set aside by changed settings")


def test_new_comments_that_suppress_are_told(project):
    """A handler that a comment silences is counted in the verdict's line."""
    project.git("checkout", "--quiet", "base")
    silenced = (project.root / "worker.py").read_text().replace("Exception:", "Exception:  # unhush: ignore")
    project.write("worker.py", silenced)
    project.commit("Look away")
    record = scans.gather(project.root, "base", checks.new_run())
    assert "1 more comments that suppress findings" in evidence.verdict(record, project.root).why


def test_an_empty_scan_is_no_evidence(project):
    """Where no file was scanned, no handler was found, and nothing is proved by that."""
    project.git("rm", "-q", "worker.py", "suite.py")
    project.commit("Remove all")
    record = scans.gather(project.root, "base", checks.new_run())
    assert record.counts["remaining"] == 0
    assert evidence.verdict(record, project.root).status == "no evidence"


def test_flags_that_are_on_are_red(prepared, monkeypatch):
    """A percentage in the environment is seen, for each job that it would turn on."""
    from unhush.rollout import flags_off

    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "5%")
    record = flags_off.gather(prepared.root, checks.new_run())
    assert record.counts["on_JOB_HEARTBEAT"] > 0
    assert record.counts["on_DLQ_ENABLED"] == 0
    verdict = evidence.verdict(record, prepared.root)
    assert (verdict.status, verdict.why) == ("fail", "JOB_HEARTBEAT is on for some jobs")


@pytest.mark.parametrize("dialect", ["postgresql", "mariadb"])
def test_migrations_are_tried_on_a_scratch_database(prepared, dialect, tmp_path):
    """Up, up again, down and up leave one catalogue on a real server, and nothing at the end."""
    with fresh_database(dialect, str(tmp_path)) as url:
        record = idempotence.gather(prepared.root, [dialect], url, checks.new_run())
        assert (
            evidence.verdict(record, prepared.root).why
            == f"up, up, down, up leave the same catalogue on {dialect}, sqlite"
        )
        assert evidence.verdict(record, prepared.root).passed
        from sqlalchemy import create_engine, inspect

        engine = create_engine(url)
        assert not table_names(dialect) & set(inspect(engine).get_table_names())
        engine.dispose()


def test_migrations_that_were_not_tried_on_the_wanted_database_are_no_evidence(prepared):
    """SQLite proves nothing for PostgreSQL."""
    record = idempotence.gather(prepared.root, ["postgresql"], None, checks.new_run())
    assert evidence.verdict(record, prepared.root).status == "no evidence"
    assert "not tried on postgresql" in evidence.verdict(record, prepared.root).why


def test_a_database_in_use_is_no_scratch_database(prepared, tmp_path):
    """Tables that are there already are never dropped for a trial."""
    url = f"sqlite:///{tmp_path}/used.db"
    assert prepared.unhush("db", "upgrade", "--url", url).returncode == 0
    with pytest.raises(Refused, match="holds tables of unhush"):
        idempotence.gather(prepared.root, ["sqlite"], url, checks.new_run())
    assert prepared.unhush("db", "status", "--url", url).returncode == 0


def test_the_change_must_start_somewhere(project):
    """Without a base the command says what to give, with exit code 2; so it does for a base that is HEAD."""
    text = (project.root / "pyproject.toml").read_text().replace('base = "base"\n', "")
    project.write("pyproject.toml", text)
    project.commit("No base")
    done = project.unhush("rollout", "prepare")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--base REF" in done.stderr
    done = project.unhush("rollout", "prepare", "--base", "HEAD")
    assert done.returncode == 2
    assert "that is what HEAD holds" in done.stderr


def test_a_base_beside_the_change_is_refused(project):
    """A commit that did not lead to HEAD would hide who wrote the change."""
    project.git("checkout", "--quiet", "-b", "side", "base")
    project.write("side.py", "x = 1\n")
    project.commit("Go aside")
    project.git("checkout", "--quiet", "main")
    with pytest.raises(RolloutProblem, match="is no ancestor of HEAD"):
        base_of(project.root, settings.load(project.root), "side")


def test_outside_of_a_repository_there_is_no_evidence(tmp_path, unhush):
    """Where git knows nothing, the commands say so in one line, and what to do; a repository without commits is told apart."""
    for words in (("rollout", "prepare", "--base", "HEAD"), ("harden",)):
        done = unhush(*words)
        assert done.returncode == 1
        assert re.fullmatch(
            rb"error: \S+ is in no git repository, and .*: run `git init` there, then commit\n", done.stderr
        )
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    done = unhush("harden")
    assert done.returncode == 1
    assert re.fullmatch(rb"error: git knows no commit 'HEAD' here, for the repository in \S+ has none.*\n", done.stderr)


def test_verify_without_a_plan_names_what_to_do(project):
    """Without a plan evidence is missing: exit code 3, and the command that makes one."""
    done = project.unhush("rollout", "verify")
    assert done.returncode == 3
    assert "missing: there is no rollout/plan.json: run `unhush rollout prepare`" in done.stdout


def test_both_commands_speak_json(prepared):
    """Programs get the same facts as JSON."""
    done = json.loads(prepared.unhush("rollout", "prepare", "--json", "-q").stdout)
    assert done["evidence"]["tests"] == {"status": "pass", "why": "2 test cases passed", "kept": True}
    assert done["exit_code"] == 3
    checked = json.loads(prepared.unhush("rollout", "verify", "--json").stdout)
    assert (checked["exit_code"], checked["wrong"]) == (3, [])
    assert "tests: 2 test cases passed" in checked["holds"]


def test_a_project_below_the_repositorys_root(project):
    """A project may be a folder of a larger repository; what lies beside it does not count."""
    inner = project.root / "services" / "worker"
    inner.mkdir(parents=True)
    for name in ("pyproject.toml", "suite.py", ".gitignore", "worker.py"):
        (project.root / name).rename(inner / name)
    base = project.commit("Move the service")
    (inner / "worker.py").write_text((inner / "worker.py").read_text() + "\n")
    project.write("beside.py", "try:\n    x()\nexcept Exception:\n    pass\n")
    project.commit("Change")
    project.write("uncommitted.py", "")
    found = settings.load(inner)
    assert found.root == inner
    done = prepare(inner, found, base=base_of(inner, found, base))
    outcomes = {outcome.name: outcome.verdict for outcome in done.outcomes}
    assert outcomes["handlers"].why == "0 before, 0 fixed, 0 remain, 0 new"
    assert "proof" not in outcomes  # nothing was fixed
    assert outcomes["tests"].passed
    assert verify.verify(inner, found, "production").wrong == []


def test_a_change_by_hand_in_a_rewritten_file_is_not_proved(project):
    """A file with fixed handlers must differ by logging alone; other files are named as not covered."""
    project.write("notes.py", "x = 1\n")
    project.commit("Add notes")
    assert proved(project).passed
    assert proved(project).why.endswith("1 other files were changed by hand and are not covered")
    text = (project.root / "worker.py").read_text()
    project.write("worker.py", text.replace("job.save()", "job.store()"))
    project.commit("Change a call")
    assert proved(project).status == "fail"
    assert proved(project).why.startswith("worker.py holds fixed handlers and differs by more than logging")


def proved(project):
    """The verdict on the proof of HEAD."""
    scans.gather(project.root, "base", checks.new_run())
    return evidence.verdict(proofs.gather(project.root, "base", checks.new_run()), project.root)


def test_every_record_that_is_wanted_has_a_judge():
    """The kinds of our own records are known; so are those of a team's checks."""
    kinds = {*binding.OWN, binding.TESTS, "command"} - {binding.DRY_RUN}
    assert all(callable(evidence.judge_of(kind)) for kind in kinds)
    assert evidence.judge_of("tests") is junit.judge

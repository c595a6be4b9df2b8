from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rollout.conftest import Project, make
from rollout.stageworld import FAILED, JOBS, Prometheus, case, jobs_ended, named, planned, prometheus, replan
from services import fresh_database
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import OperationalError

from unhush.config import ConfigError
from unhush.output import Failure
from unhush.rollout import audit, controller, environment, guarding, plan, settings, stand
from unhush.rollout.errors import Refused, RolloutProblem
from unhush.rollout.measures import health_of
from unhush.rollout.stand import Waiting
from unhush.runtime import flag_rows
from unhush.runtime.core import default_spool_folder
from unhush.runtime.engine import make_engine
from unhush.runtime.watchdog import Watchdog

DLQ, BEAT = "DLQ_ENABLED", "JOB_HEARTBEAT"
OFF = {DLQ: "off", BEAT: "off"}
BEATS = '[tool.unhush.rollout.gates.beats]\nmetric = "error_share"\nthreshold = 0.05\nstages = [4, 5]'


@pytest.fixture(autouse=True)
def _spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNHUSH_SPOOL", str(tmp_path / "spool"))


@pytest.fixture
def server() -> Iterator[Prometheus]:
    """A Prometheus that counts 10,000 jobs, of which none failed."""
    with prometheus() as found:
        found.numbers = {JOBS: 10_000, FAILED: 0}
        yield found


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in git."""
    return make(tmp_path_factory.mktemp("staged")).root


@pytest.fixture
def project(made: Path, tmp_path: Path, server: Prometheus) -> Project:
    """The project with a plan, whose stages need no time."""
    found = Project(Path(shutil.copytree(made, tmp_path / "service", symlinks=True)))
    planned(found, server.url, more=BEATS)
    return found


both = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database called staging, with all tables: SQLite, but where a test asks for both kinds."""
    with fresh_database(getattr(request, "param", "sqlite"), str(tmp_path)) as found:
        engine = create_engine(found)
        named(engine)
        engine.dispose()
        yield found


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """An engine for it."""
    engine = make_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def ann(engine: Engine, project: Project, monkeypatch: pytest.MonkeyPatch) -> controller.Case:
    """An operator whose project is as the plan has it: git, which takes long, is not asked."""
    monkeypatch.setattr(plan, "differences", lambda root, found: [])
    return case(engine, project.root)


def flags(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return {
            name: "off" if row.state == "off" else f"{row.percentage:g}%"
            for name, row in sorted(flag_rows.read(connection).items())
        }


def standing(engine: Engine) -> stand.Stand:
    with engine.connect() as connection:
        found = stand.read(connection)
    assert found
    return found


def acts(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [event.act for event in stand.events(connection)]


def reach(one: controller.Case, stage: int) -> None:
    """Advances up to a stage."""
    while True:
        outcome = controller.advance(one)
        assert outcome.status == "running", outcome
        if outcome.stage == stage:
            return
        if outcome.stage >= 4:
            jobs_ended(one.engine, 100)


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


def letter(engine: Engine, number: int) -> str:
    """A statement that makes dead letters, captured now."""
    now = "clock_timestamp()" if engine.dialect.name == "postgresql" else "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
    values = ", ".join(
        f"('0190aaaa-0000-7000-8000-{n:012}', 'q', 'j', 'dead', 1, 'f', 'E', {now}, {now}, {now}, {now}, false, 'h', 'p',"
        " '', '{}', '')"
        for n in range(number)
    )
    names = "id, queue, job_name, status, attempts, fingerprint, error_type, first_failed_at, failed_at, captured_at"
    return (
        f"INSERT INTO job_dlq ({names}, changed_at, redrivable, host, process, error_message, headers, traceback)"
        f" VALUES {values}"
    )


@pytest.mark.parametrize("url", ["sqlite", "postgresql", "mariadb"], indirect=True)
def test_from_first_to_last_stage(ann: controller.Case, server: Prometheus) -> None:
    """Stage by stage the flags are set as the plan has them, each with its event, gates and head of the log; then done."""
    seen = []
    for stage in range(6):
        assert controller.advance(ann).stage == stage
        seen.append(tuple(flags(ann.engine).values()))
        if stage >= 4:
            jobs_ended(ann.engine, 500)
    assert seen == [("off", "off"), ("off", "off"), ("5%", "off"), ("100%", "off"), ("100%", "5%"), ("100%", "100%")]
    assert controller.advance(ann).status == "done"
    with pytest.raises(Refused, match="this plan is rolled out; to begin anew, roll it back first"):
        controller.advance(ann)
    assert flags(ann.engine) == {DLQ: "100%", BEAT: "100%"}
    assert acts(ann.engine) == ["begin", *["advance"] * 5, "done"]
    with ann.engine.connect() as connection:
        last = stand.events(connection)[-1]
        salts = {name: row.salt for name, row in flag_rows.read(connection).items()}
    assert last.detail["audit_head"] in audit.heads(ann.root)
    assert {gate["verdict"] for gate in last.detail["gates"]} == {"pass"}
    assert audit.check(ann.root, [last.detail["audit_head"]]) == []
    assert [entry["act"] for entry in audit.entries(ann.root)] == [*acts(ann.engine), "advance.refused"]
    assert salts == {name: said["salt"] for name, said in plan.read(ann.root)["flags"].items()}


def test_stage_is_not_skipped(ann: controller.Case) -> None:
    """Another stage than the next is refused with one line, written down, and nothing changes; the next one is reached."""
    with pytest.raises(Refused, match="stage 2 can't be next: no stage is reached yet, so the next one is 0"):
        controller.advance(ann, 2)
    controller.advance(ann, 0)
    for wanted in (0, 2, 5):
        with pytest.raises(Refused, match=f"stage {wanted} can't be next: stage 0 is reached, so the next one is 1"):
            controller.advance(ann, wanted)
    assert standing(ann.engine).stage == 0
    assert [entry["act"] for entry in audit.entries(ann.root)].count("advance.refused") == 4
    assert controller.advance(ann, 1).stage == 1


@both
def test_soak_time(project: Project, engine: Engine, server: Prometheus) -> None:
    """A stage is not left before its soak time is over, by the database's clock."""
    planned(project, server.url, soak=3600)
    one = case(engine, project.root)
    controller.advance(one)
    with pytest.raises(Waiting, match=r"stage 0 has soaked \d s of 3600 s"):
        controller.advance(one)
    earlier = (
        "stage_since - interval '2 hours'" if engine.dialect.name == "postgresql" else "'2026-01-01 00:00:00.000000'"
    )
    run(engine, f"UPDATE unhush_rollout SET stage_since = {earlier}")
    assert controller.advance(one).stage == 1


@pytest.mark.parametrize(
    ("stage", "harm", "gate", "back"),
    [
        (0, lambda one: flag(one.engine, DLQ), "flags_on", True),
        (1, lambda one: run(one.engine, "ALTER TABLE job_dlq_token ADD COLUMN more integer"), "health", False),
        (2, lambda one: run(one.engine, letter(one.engine, 10)), "dlq_depth", True),
        (2, lambda one: _old_letter(one.engine), "oldest_age", False),
        (3, lambda one: _lost_record(one.engine), "lost_records", True),
        (4, lambda one: _stuck(one.engine), "stuck_jobs", True),
        (4, lambda one: jobs_ended(one.engine, 50, 60), "beats", True),
    ],
)
def test_planted_regressions(
    ann: controller.Case, stage: int, harm: Callable[[controller.Case], None], gate: str, back: bool
) -> None:
    """Each gate of our own, passed before, fails on a planted regression: the stage is rolled back, or not left."""
    reach(ann, stage)
    before = {one.gate.name: one.verdict for one in controller.see(ann).judged}
    assert before[gate] in ("pass", "too few")
    harm(ann)
    if back:
        outcome = controller.advance(ann)
        assert outcome.status == "rolled_back"
        assert {one.gate.name: one.verdict for one in outcome.judged}[gate] == "fail"
        assert flags(ann.engine) == OFF
        assert f"gate {gate} is breached" in (standing(ann.engine).note or "")
    else:
        with pytest.raises(Waiting, match=f"gate {gate}: fail"):
            controller.advance(ann)
        assert standing(ann.engine).stage == stage


def flag(engine: Engine, name: str) -> None:
    with engine.begin() as connection:
        flag_rows.write(connection, name, state="on", percentage=100, actor="somebody")


def _old_letter(engine: Engine) -> None:
    run(engine, letter(engine, 1))
    run(engine, "UPDATE job_dlq SET captured_at = '2026-01-01 00:00:00.000000'")


def _lost_record(engine: Engine) -> None:
    folder = default_spool_folder(engine)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "corrupt-letters-0.v1").write_text("half a rec\n")


def _stuck(engine: Engine) -> None:
    jobs_ended(engine, 1)
    run(engine, "UPDATE unhush_job SET status = 'running', beat_at = '2026-01-01 00:00:00.000000'")


@pytest.mark.parametrize(
    ("said", "verdict", "status"),
    [
        ({JOBS: 100, FAILED: 60}, "fail", "rolled_back"),
        ({JOBS: 3, FAILED: 0}, "too few", "running"),
        ({JOBS: "NaN", FAILED: 0}, "no data", "running"),
        ({}, "no data", "running"),
        ({JOBS: 100, FAILED: 0}, "pass", "advanced"),
    ],
)
def test_gate_on_prometheus(
    ann: controller.Case, server: Prometheus, said: dict[str, Any], verdict: str, status: str
) -> None:
    """Of what Prometheus says only a pass goes on; a breach rolls back, and too few jobs, NaN and no series hold."""
    reach(ann, 2)
    server.numbers = said
    assert {one.gate.name: one.verdict for one in controller.see(ann).judged}["error_share"] == verdict
    if status == "running":
        with pytest.raises(Waiting, match=f"gate error_share: {verdict}"):
            controller.advance(ann)
        assert flags(ann.engine)[DLQ] == "5%"
    else:
        outcome = controller.advance(ann)
        assert (outcome.status, outcome.stage) == (("rolled_back", 2) if verdict == "fail" else ("running", 3))


def test_prometheus_of_500_holds(ann: controller.Case, server: Prometheus) -> None:
    """A Prometheus that answers 500 promotes nothing; when it answers again the stage is left."""
    reach(ann, 2)
    server.status = 500
    with pytest.raises(Waiting, match="gate error_share: no data: Prometheus answers 500"):
        controller.advance(ann)
    server.status = 200
    assert controller.advance(ann).stage == 3


def test_nobody_counts_jobs(project: Project, engine: Engine) -> None:
    """A dead letter stage that nobody could ever leave, for want of a count of jobs, is not entered."""
    project.write("pyproject.toml", "[tool.unhush]\n[tool.unhush.rollout]\nsoak = 0\nunsigned = true\n")
    project.commit()
    replan(project.root)
    one = case(engine, project.root)
    reach(one, 1)
    with pytest.raises(
        Refused, match="stage 2 could never be left: nobody counts the jobs that ran: give gate error_sh"
    ):
        controller.advance(one)
    assert flags(engine) == OFF


@pytest.mark.parametrize(("failed", "stage"), [(0, 4), (400, 3)])
def test_share_of_all_jobs(ann: controller.Case, server: Prometheus, failed: int, stage: int) -> None:
    """With all jobs a share of 4% is a breach where 5% were allowed of a part of them; none failed is a pass."""
    reach(ann, 3)
    server.numbers = {JOBS: 10_000, FAILED: failed}
    outcome = controller.advance(ann)
    assert (outcome.stage, outcome.status) == (stage, "rolled_back" if failed else "running")


def test_jobs_that_no_rollback_reaches(ann: controller.Case, engine: Engine) -> None:
    """Jobs that beat by their process's own variable don't count for a stage: such a process would not obey an OFF."""
    reach(ann, 4)
    jobs_ended(engine, 100, variant=None)
    with pytest.raises(Waiting, match="gate beats: too few: 0 of 0 jobs failed"):
        controller.advance(ann)
    jobs_ended(engine, 100)
    assert controller.advance(ann).stage == 5


def test_looks_are_counted(ann: controller.Case, server: Prometheus) -> None:
    """A look is taken once, and kept: what Prometheus says between two fixed numbers of jobs changes no verdict."""
    reach(ann, 2)
    server.numbers = {JOBS: 90, FAILED: 3}  # shown neither way
    for _ in range(3):
        with pytest.raises(Waiting, match="gate error_share: too few"):
            controller.advance(ann)
    server.numbers = {JOBS: 159, FAILED: 100}
    with pytest.raises(Waiting, match="as at look 1, the next look is at 160 jobs"):
        controller.advance(ann)
    assert acts(ann.engine).count("look") == 1
    server.numbers = {JOBS: 320, FAILED: 3}
    controller.see(ann)  # a status takes no look
    assert controller.advance(ann).stage == 3


def test_plan_of_another_revision(engine: Engine, project: Project) -> None:
    """A roll-out goes on only under the plan that it began with, and no plan that its commit has left is followed."""
    ann = case(engine, project.root)
    reach(ann, 1)
    project.write("worker.py", "import logging\n")
    with pytest.raises(Refused, match=r"the plan does not hold any more: worker\.py is not as committed"):
        controller.advance(ann)
    project.commit()
    with pytest.raises(Refused, match=r"the plan does not hold any more: worker\.py changed after the plan's commit"):
        controller.advance(ann)
    replan(project.root)
    with pytest.raises(Refused, match="the roll-out that runs is of another plan"):
        controller.advance(ann)
    assert standing(ann.engine).stage == 1
    controller.rollback(ann, "a new plan")
    assert controller.advance(ann).stage == 0


@both
def test_clock_that_went_back(ann: controller.Case, engine: Engine) -> None:
    """Where the database's clock stands before the last act nothing goes on; the way back is open."""
    reach(ann, 2)
    run(engine, "UPDATE unhush_rollout SET changed_at = '2199-01-01 00:00:00.000000'")
    with pytest.raises(Refused, match="the database's clock went back"):
        controller.advance(ann)
    assert controller.rollback(ann, "clock").status == "rolled_back"
    assert flags(engine) == OFF


def test_clock_of_the_log(ann: controller.Case) -> None:
    """Where this machine's clock stands before the last entry of the log nothing goes on."""
    reach(ann, 0)
    path = ann.root / audit.FILE
    entry = json.loads(path.read_bytes().splitlines()[-1])
    entry["at"] = "2199-01-01T00:00:00.000000+00:00"
    entry["hash"] = audit.hash_of(entry)
    path.write_text(json.dumps(entry, sort_keys=True, separators=(",", ":")) + "\n")
    with pytest.raises(Refused, match="this machine's clock went back"):
        controller.advance(ann)


def test_evidence_that_failed(ann: controller.Case, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan whose evidence is red is not rolled out; nor one whose evidence was edited since."""
    monkeypatch.undo()
    path = project.root / "rollout/evidence/build.json"
    before = path.read_text()
    path.write_text(before.replace('"exit_code": 0', '"exit_code": 1'))
    with pytest.raises(Refused, match=r"build\.json is not the one of the plan: it changed"):
        controller.advance(ann)
    found = plan.draft(project.root, settings.load(project.root), base="base", records=["build"])
    plan.write(project.root, found)
    with pytest.raises(Waiting, match="evidence build says fail: exit code 1"):
        controller.advance(ann)
    path.write_text(re.sub(r'"commit": "\w+"', '"commit": "' + "0" * 40 + '"', before))
    plan.write(project.root, {**found, "evidence": plan.record_hashes(project.root, ["build"])})
    with pytest.raises(Waiting, match="evidence build says no evidence: git knows no commit"):
        controller.advance(ann)
    path.write_text(before)
    plan.write(project.root, {**found, "evidence": plan.record_hashes(project.root, ["build"])})
    assert controller.advance(ann).stage == 0


@both
def test_two_operators_at_once(project: Project, url: str, engine: Engine, server: Prometheus) -> None:
    """Of two who advance at once one wins, the other is refused with one line, and one stage is gone through, not two."""
    reach(case(engine, project.root), 2)
    server.hanging.clear()
    results: list[object] = []

    def advance(actor: str) -> None:
        mine = make_engine(url)
        try:
            results.append(controller.advance(case(mine, project.root, actor)).stage)
        except Refused as refusal:
            results.append(refusal.message)
            server.hanging.set()
        finally:
            mine.dispose()

    threads = [threading.Thread(target=advance, args=(actor,)) for actor in ("ann@x.org", "bob@x.org")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    refused = [result for result in results if isinstance(result, str)]
    assert len(refused) == 1
    assert re.fullmatch(
        r"(ann|bob)@x\.org acts on this roll-out now, until \d\d:\d\d:\d\d UTC at the latest", refused[0]
    )
    assert [result for result in results if not isinstance(result, str)] == [3]
    assert acts(engine) == ["begin", "advance", "advance", "advance"]


@both
def test_two_operators_begin_at_once(project: Project, url: str, engine: Engine) -> None:
    """A roll-out is begun once, however many begin it."""
    barrier = threading.Barrier(4)
    results: list[object] = []

    def begin(number: int) -> None:
        mine = make_engine(url)
        barrier.wait(60)
        try:
            results.append(controller.advance(case(mine, project.root, f"p{number}"), 0).stage)
        except Refused as refusal:
            results.append(refusal.message)
        finally:
            mine.dispose()

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [result for result in results if not isinstance(result, str)] == [0]
    assert acts(engine) == ["begin"]


@both
def test_rollback_beats_a_lease(ann: controller.Case, engine: Engine) -> None:
    """The way back waits for nobody: an act that was being judged meanwhile finds its lease gone and changes nothing."""
    reach(ann, 2)
    with engine.begin() as connection:
        before = stand.take(connection, "bob #1")
    assert before
    assert controller.rollback(ann, "now").status == "rolled_back"
    with pytest.raises(Waiting, match="changed by somebody else meanwhile"), engine.begin() as connection:
        stand.change(connection, before, {"stage": 3}, {"act": "advance", "actor": "bob", "detail": {}})
    assert (standing(engine).status, standing(engine).stage) == ("rolled_back", 2)


@both
def test_killed_half_way(project: Project, url: str, engine: Engine, server: Prometheus) -> None:
    """A controller that is killed while it judges changes nothing by half; after its lease the next one goes on."""
    one = case(engine, project.root)
    reach(one, 2)
    server.hanging.clear()
    asked = len(server.asked)
    command = [sys.executable, "-m", "unhush", "rollout", "advance", "--url", url]
    with subprocess.Popen(command, cwd=project.root, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while standing(engine).holder is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
        process.wait()
    assert process.returncode < 0
    server.hanging.set()
    assert len(server.asked) >= asked
    found = standing(engine)
    assert (found.stage, flags(engine)[DLQ]) == (2, "5%")
    with pytest.raises(Waiting, match="acts on this roll-out now"):
        controller.advance(one)
    run(engine, "UPDATE unhush_rollout SET lease_until = '2026-01-01 00:00:00.000000'")
    assert controller.advance(one).stage == 3


@both
def test_event_and_state_go_together(ann: controller.Case, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the event can't be written neither stage nor flags change."""
    reach(ann, 1)
    monkeypatch.setattr(stand, "_note", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        controller.advance(ann)
    assert (standing(engine).stage, flags(engine)) == (1, OFF)
    monkeypatch.undo()
    assert controller.advance(ann).stage == 2


def test_log_that_can_not_be_written(ann: controller.Case, engine: Engine) -> None:
    """Without its audit log nothing goes forward; the way back goes, and says so."""
    reach(ann, 2)
    (ann.root / audit.FILE).unlink()
    (ann.root / audit.FILE).mkdir()
    with pytest.raises(Failure, match=r"audit\.jsonl: can't be"):
        controller.advance(ann)
    assert standing(engine).stage == 2
    outcome = controller.rollback(ann, "log")
    assert flags(engine) == OFF
    assert any("audit.jsonl: can't be" in problem for problem in outcome.problems)


def test_log_that_was_cut(ann: controller.Case, engine: Engine) -> None:
    """Cut or built anew, the log lacks a hash that the database holds: nothing goes on until it is back, but the way back."""
    reach(ann, 2)
    path = ann.root / audit.FILE
    whole = path.read_bytes()
    for cut in (b"".join(whole.splitlines(keepends=True)[:-1]), b""):
        path.write_bytes(cut)
        with pytest.raises(
            Refused, match=r"audit\.jsonl lacks the entry of stage \d, [0-9a-f]{12}: it was cut or built"
        ):
            controller.advance(ann)
    path.write_bytes(whole)
    assert controller.advance(ann).stage == 3
    path.unlink()
    assert controller.rollback(ann, "now").status == "rolled_back"


@both
def test_rollback_twice(ann: controller.Case, engine: Engine) -> None:
    """A rollback sets the flags OFF explicitly, is followed by the health check, recorded, and may be done again."""
    reach(ann, 3)
    first, second = controller.rollback(ann, "worse"), controller.rollback(ann, "worse")
    assert (first.status, first.problems, second.status, second.problems) == ("rolled_back", [], "rolled_back", [])
    assert flags(engine) == OFF
    assert acts(engine)[-4:] == ["rollback", "health", "rollback", "health"]
    with engine.connect() as connection:
        changed = [event.detail["flags"] for event in stand.events(connection) if event.act == "rollback"]
    assert changed == [[DLQ], []]
    assert controller.advance(ann).stage == 0


def test_rollback_that_finds_trouble(ann: controller.Case, engine: Engine) -> None:
    """A rollback after which something is wrong says what, and the flags are OFF all the same."""
    reach(ann, 2)
    run(engine, "ALTER TABLE job_dlq_token ADD COLUMN more integer")
    outcome = controller.rollback(ann, "worse")
    assert any("more" in problem for problem in outcome.problems)
    assert flags(engine) == OFF


def test_rollback_before_anything(ann: controller.Case, engine: Engine) -> None:
    """Where no roll-out was begun, and a flag was turned on by hand, a rollback turns it off."""
    flag(engine, DLQ)
    assert controller.rollback(ann, "by hand").status == "rolled_back"
    assert flags(engine) == OFF


def test_pause(ann: controller.Case, engine: Engine) -> None:
    """A pause holds the stage and leaves the flags; its end lets it go on. Neither is there without a roll-out."""
    with pytest.raises(Refused, match="no roll-out runs"):
        controller.pause(ann, "lunch")
    reach(ann, 2)
    controller.pause(ann, "lunch")
    with pytest.raises(Waiting, match="the roll-out is paused: lunch"):
        controller.advance(ann)
    with pytest.raises(Refused, match="no roll-out runs"):
        controller.pause(ann, "lunch")
    assert flags(engine)[DLQ] == "5%"
    controller.resume(ann)
    with pytest.raises(Refused, match="no roll-out is paused"):
        controller.resume(ann)
    assert controller.advance(ann).stage == 3


def test_guard_rolls_back_by_itself(ann: controller.Case, engine: Engine) -> None:
    """The guard does nothing while all is well, and rolls back on a breach, also while the roll-out is paused."""
    assert guarding.guard(ann) is None
    reach(ann, 2)
    found = guarding.guard(ann)
    assert found
    assert found.status == "running"
    controller.pause(ann, "waiting for an approval")
    run(engine, letter(engine, 12))
    found = guarding.guard(ann)
    assert found
    assert found.status == "rolled_back"
    assert flags(engine) == OFF
    assert guarding.guard(ann) is None


@both
def test_guard_without_data(ann: controller.Case, engine: Engine, server: Prometheus) -> None:
    """Without data the guard pauses, goes on when there is some again, and rolls back at the deadline, not before."""
    reach(ann, 2)
    server.status = 500
    assert (guarding.guard(ann), standing(engine).status) != (None, "running")
    assert standing(engine).note == "a gate has no data: error_share: Prometheus answers 500"
    server.status = 200
    guarding.guard(ann)
    assert (standing(engine).status, standing(engine).silent_since) == ("running", None)
    server.status = 500
    guarding.guard(ann)
    found = guarding.guard(ann, deadline=600)
    assert found
    assert found.status == "paused"
    found = guarding.guard(ann, deadline=0)
    assert found
    assert found.status == "rolled_back"
    assert "has had no data for 0 s" in (standing(engine).note or "")


def test_guard_needs_no_plan(ann: controller.Case, engine: Engine) -> None:
    """The gates under which a stage was begun guard it, also where the plan's file is gone or edited."""
    reach(ann, 2)
    (ann.root / plan.FILE).unlink()
    run(engine, letter(engine, 12))
    found = guarding.guard(ann)
    assert found
    assert found.status == "rolled_back"


def test_turned_off_by_hand(ann: controller.Case, engine: Engine) -> None:
    """Where somebody set a flag OFF with SQL nobody sets it ON again: no step forward, and the guard ends the roll-out."""
    reach(ann, 3)
    run(engine, "UPDATE unhush_flag SET state = 'off', version = version + 1")
    with pytest.raises(Refused, match="flag DLQ_ENABLED was turned OFF in stage 3, by hand"):
        controller.advance(ann)
    found = guarding.guard(ann)
    assert found
    assert (found.status, flags(engine)) == ("rolled_back", OFF)


def test_until_a_stage(ann: controller.Case, engine: Engine, server: Prometheus) -> None:
    """It waits for what is missing, tells each thing once, goes on by itself, and stops where it was told to."""
    server.numbers = {JOBS: 3, FAILED: 0}
    told: list[str] = []
    waits = iter(range(100))

    def wait() -> None:
        if next(waits) == 8:
            server.numbers = {JOBS: 10_000, FAILED: 0}

    outcome = guarding.until_stage(ann, 3, deadline=600, wait=wait, tell=told.append)
    assert (outcome.stage, outcome.status) == (3, "running")
    assert [line for line in told if line.startswith("stage")] == [
        "stage 0, deploy with flags OFF, begins",
        "stage 1, migrations, begins",
        "stage 2, dead letter queue 5%, begins",
        "stage 3, dead letter queue 100%, begins",
    ]
    assert sum("too few" in line for line in told) == 1


def test_until_a_breach(ann: controller.Case, engine: Engine, server: Prometheus) -> None:
    """While it waits for more jobs a breach rolls back, within one round."""
    server.numbers = {JOBS: 3, FAILED: 0}
    waits = iter(range(100))

    def wait() -> None:
        if next(waits) == 6:
            run(engine, letter(engine, 20))

    outcome = guarding.until_stage(ann, 5, deadline=600, wait=wait, tell=lambda line: None)
    assert (outcome.status, outcome.stage) == ("rolled_back", 2)
    assert next(waits) == 7
    assert flags(engine) == OFF


def test_nothing_ends_the_guard(
    ann: controller.Case, engine: Engine, server: Prometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan that was voided, git that fails, settings being edited, a database that is away: told; a breach rolls back."""
    reach(ann, 2)
    away, told = OperationalError("SELECT 1", {}, Exception("the server is gone")), list[str]()
    real = stand.read
    reads = iter([away])

    def read(connection: Any) -> Any:
        if problem := next(reads, None):
            raise problem
        return real(connection)

    def differences(root: Path, found: Any) -> list[str]:
        if len(told) == 1:
            raise RolloutProblem("git: index.lock is there")
        if len(told) == 2:
            raise ConfigError("pyproject.toml: not valid TOML")
        if len(told) == 3:
            raise OSError(24, "Too many open files")
        return ["003_x is not that of the plan"]

    monkeypatch.setattr(stand, "read", read)
    monkeypatch.setattr(plan, "differences", differences)
    waits = iter(range(100))

    def wait() -> None:
        if next(waits) == 5:
            run(engine, letter(engine, 20))

    outcome = guarding.until_stage(ann, 5, deadline=600, wait=wait, tell=told.append)
    assert outcome.status == "rolled_back"
    assert told == [
        "the database does not answer: (builtins.Exception) the server is gone",
        "git: index.lock is there",
        "pyproject.toml: not valid TOML",
        "[Errno 24] Too many open files",
        "the plan does not hold any more: 003_x is not that of the plan",
    ]
    with pytest.raises(Refused, match="003_x"):  # nothing is under way any more
        guarding.until_stage(ann, 5, deadline=600, wait=wait, tell=told.append)


def test_name_of_a_database(project: Project, url: str, engine: Engine) -> None:
    """A name is given once; the same again is fine, another one is refused; without a name nothing is rolled out."""
    assert environment.name(engine, "staging", "ann") is False
    with pytest.raises(Refused, match="this database is 'staging' already, and can't become 'production'"):
        environment.name(engine, "production", "ann")
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM unhush_environment")
    for act in (controller.advance, controller.see, lambda one: controller.rollback(one, "x")):
        with pytest.raises(Refused, match="this database has no name: run `unhush rollout init --environment NAME`"):
            act(case(engine, project.root))
    environment.name(engine, "eu", "ann", ("production", "eu"))
    assert environment.of(engine) == environment.Environment("eu", True)


def test_commands(project: Project, url: str, engine: Engine) -> None:
    """The commands say stage, flags, gates and what is missing, in text and JSON, with the documented exit codes."""
    env = {"UNHUSH_DATABASE_URL": url}
    begun = project.unhush("rollout", "advance", **env)
    assert (begun.returncode, begun.stdout) == (0, "stage 0, deploy with flags OFF: running\n")
    skipped = project.unhush("rollout", "advance", "--to", "3", **env)
    assert skipped.returncode == 3
    assert skipped.stderr == "error: stage 3 can't be next: stage 0 is reached, so the next one is 1\n"
    shown = project.unhush("rollout", "status", **env).stdout
    assert "staging (needs no approvals): stage 0, deploy with flags OFF: running since" in shown
    assert "flag     DLQ_ENABLED: OFF (version 1)\n" in shown
    assert "gate     flags_on: pass: 0, must be == 0\n" in shown
    assert "nothing is missing" in shown
    data = json.loads(project.unhush("rollout", "status", "--json", **env).stdout)
    assert (data["stage"], data["status"], data["missing"]) == (0, "running", [])
    assert json.loads(project.unhush("rollout", "pause", "--json", **env).stdout)["status"] == "paused"
    assert "missing  the roll-out is paused" in project.unhush("rollout", "status", **env).stdout
    assert project.unhush("rollout", "pause", "--end", **env).returncode == 0
    done = project.unhush("rollout", "advance", "--until", "2", "--every", "0.1", "--json", **env)
    assert (done.returncode, json.loads(done.stdout)["stage"]) == (0, 2)
    back = project.unhush("rollout", "rollback", "--reason", "worse", **env)
    assert (back.returncode, back.stdout) == (0, "stage 2, dead letter queue 5%: rolled back\n")
    named = project.unhush("rollout", "init", "--environment", "production", **env)
    assert (named.returncode, named.stderr) == (
        3,
        "error: this database is 'staging' already, and can't become 'production'\n",
    )
    assert project.unhush("rollout", "init", **env).returncode == 2
    assert project.unhush("rollout", "init", "--environment", "A b", **env).returncode == 2
    assert project.unhush("rollout", "init", "--remove", **env).stdout == "dropped the tables of the roll-out\n"
    assert project.unhush("rollout", "rollback", **env).returncode == 3


def test_rollback_with_broken_settings(project: Project, url: str, engine: Engine) -> None:
    """The way back goes where the settings can't be read; the way forward does not."""
    flag(engine, DLQ)
    project.write("pyproject.toml", "[tool.unhush]\n[tool.unhush.rollout]\nsaok = 5\n")
    assert project.unhush("rollout", "advance", "--url", url).returncode == 2
    assert flags(engine) == {DLQ: "100%"}
    assert project.unhush("rollout", "rollback", "--url", url).returncode == 0
    assert flags(engine) == OFF


def test_rollback_without_git(project: Project, url: str, engine: Engine) -> None:
    """The way back goes where git is not installed, and says what it could not do; the way forward does not."""
    flag(engine, DLQ)
    none = {"PATH": str(project.root / "none")}
    assert project.unhush("rollout", "advance", "--url", url, **none).returncode == 2
    assert flags(engine) == {DLQ: "100%"}
    back = project.unhush("rollout", "rollback", "--url", url, **none)
    assert (back.returncode, back.stderr) == (0, "")
    assert flags(engine) == OFF


def test_url_of_the_settings(project: Project, url: str, engine: Engine) -> None:
    """Without --url and its variable the settings say which database is meant."""
    project.write("pyproject.toml", f'[tool.unhush]\n[tool.unhush.rollout]\nurl = "{url}"\n')
    flag(engine, DLQ)
    assert "flag     DLQ_ENABLED: 100%" in project.unhush("rollout", "status").stdout


def test_gated_database(project: Project, tmp_path: Path) -> None:
    """Production takes migrations and stages only with all approvals; a way back needs none, and is written down."""
    where = {"UNHUSH_DATABASE_URL": f"sqlite:///{tmp_path}/production.db"}
    assert project.unhush("rollout", "init", "--environment", "production", **where).returncode == 0
    refused = project.unhush("db", "upgrade", **where)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert re.fullmatch(
        r"error: production: operator has not approved the staging half \(and 3 more: `unhush rollout status`\)\n",
        refused.stderr,
    )
    assert "001_create_job_dlq" in project.unhush("db", "upgrade", "--dry-run", **where).stdout
    stage = project.unhush("rollout", "advance", **where)
    assert (stage.returncode, stage.stderr) == (3, "error: operator has not approved the staging half\n")
    assert "needs approvals" in project.unhush("rollout", "status", **where).stdout
    staging = {"UNHUSH_DATABASE_URL": f"sqlite:///{tmp_path}/plain.db"}
    assert project.unhush("db", "upgrade", **staging).returncode == 0
    engine = create_engine(where["UNHUSH_DATABASE_URL"])
    named_before = environment.of(engine)
    from unhush.sql.runner import upgrade

    upgrade(engine)
    engine.dispose()
    assert named_before == environment.Environment("production", True)
    assert project.unhush("db", "downgrade", "--to", "0", "--yes", **where).returncode == 0
    said = [entry["act"] for entry in audit.entries(project.root)]
    assert said == ["named", "db.upgrade.refused", "advance.refused", "db.downgrade"]


def test_an_environment_that_is_gated_later(project: Project, tmp_path: Path) -> None:
    """A name that the settings list as gated only after it was given needs approvals from then on."""
    where = {"UNHUSH_DATABASE_URL": f"sqlite:///{tmp_path}/eu.db"}
    assert project.unhush("rollout", "init", "--environment", "eu", **where).returncode == 0
    assert "needs no approvals" in project.unhush("rollout", "status", **where).stdout
    project.write("pyproject.toml", '[tool.unhush]\n[tool.unhush.rollout]\ngated = ["eu"]\n')
    assert "(needs approvals)" in project.unhush("rollout", "status", **where).stdout
    assert project.unhush("db", "upgrade", **where).returncode == 3
    project.write("pyproject.toml", "[tool.unhush]\n[tool.unhush.rollout]\n")
    assert project.unhush("db", "upgrade", **where).returncode == 0


def test_a_watchdog_that_is_off_holds_no_new_roll_out(
    ann: controller.Case, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a rollback the watchdog stands still, and is not missed; where jobs are to beat, or no flag says, it is."""
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "true")
    with Watchdog(engine) as watchdog:
        watchdog.run_once()
    run(engine, "UPDATE unhush_watchdog SET last_run_at = '2026-01-01 00:00:00.000000'")
    (late,) = health_of(engine).problems
    assert "has not run since 2026-01-01" in late
    flag(engine, BEAT)
    assert health_of(engine).problems == [late]
    assert controller.rollback(ann, "too slow").problems == []
    assert health_of(engine).problems == []

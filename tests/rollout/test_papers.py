"""The papers: rendered from plan and evidence alone, and scripts that do what they say, on services well and broken."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rollout.conftest import Project
from rollout.webservice import serving
from services import fresh_database
from sqlalchemy import create_engine, inspect, text

from unhush.rollout import documents, environment, evidence, papers, plan, settings, stages, store
from unhush.rollout.settings import RolloutSettings
from unhush.runtime import DeadLetterQueue, flag_rows
from unhush.sql.files import migrations
from unhush.sql.runner import upgrade

DIALECTS = ("mariadb", "postgresql", "sqlite")
HOSTILE = "Ann `touch /tmp/x` $(id) | <b>&\nrm -rf *"
SCRIPTS = ("verification/health_check_script.sh", "canary/ci/canary_rollout.sh")


def plan_of(dialects: tuple[str, ...] = DIALECTS, **changed: Any) -> dict[str, Any]:
    """A plan, as papers are given it, that is the same in each run."""
    flags = stages.flags({})
    for name in flags:
        flags[name]["salt"] = f"salt of {name}"
    return {
        "schema": 1,
        "plan_id": "6f0c0000-0000-4000-8000-000000000000",
        "created_at": "2026-11-01T10:00:00+00:00",
        "commit": "c" * 40,
        "base": "b" * 40,
        "tool_version": "1",
        "migrations": [
            {
                "label": step.label,
                "dialect": name,
                "sha256": "0" * 64,
                "backout_sha256": "1" * 64,
                "reversible": "with loss of the rows written since",
            }
            for name in dialects
            for step in migrations(name)
            if not step.apart
        ],
        "flags": flags,
        "stages": stages.planned(settings_of(Path())),
        "schedule": {"stage 2": "Tuesday, 10:00"},
        "documents": {},
        "allowed_signers": "absent",
        "evidence": {},
        "staging": {},
        "unsigned": False,
        **changed,
    }


def settings_of(root: Path, **more: Any) -> RolloutSettings:
    return RolloutSettings(root=root, **{"owner": "Team A", "escalation": "+1 555 0100", **more})


def covered(root: Path, found: dict[str, Any], **more: Any) -> dict[str, str]:
    """The texts of the papers that say what will be done."""
    known = settings_of(root, **more)
    mine = {path: place for path, place in documents.COVERED.items() if place.startswith("rollout.papers:")}
    return {path: getattr(papers, place.partition(":")[2])(found, {}, known) for path, place in mine.items()}


@pytest.fixture
def root(project: Project) -> Path:
    """The project's folder; its commits are not those of the plan, which no covered paper looks at."""
    return project.root


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_will_be_done(root: Path, dialect: str, snapshot: Any) -> None:
    """Instructions, schedule, way back and scripts name the database, its migrations, stages, and what to do if not so."""
    texts = covered(root, plan_of((dialect,)))
    if dialect != "postgresql":  # the SQL of the backouts is told once
        texts = {"backout_command.txt": re.sub(r"(?s)-- .*?\nSQL", "...\nSQL", texts["backout_command.txt"])}
    shown = {name: body.replace(f"unhush {papers.runbooks.__version__}", "unhush V") for name, body in texts.items()}
    assert {name: body.replace(f"=={papers.runbooks.__version__}", "==V") for name, body in shown.items()} == snapshot


def test_unsigned_stands_in_the_first_line(root: Path) -> None:
    """Where approvals need no signature, each report of it says so in its first line, and no other does."""
    for unsigned in (True, False):
        texts = covered(root, plan_of(unsigned=unsigned))
        texts = {name: body for name, body in texts.items() if name.endswith(".md")}
        assert len(texts) == 2
        assert {body.startswith("**UNSIGNED:**") for body in texts.values()} == {unsigned}
        assert all(body.strip() == body.rstrip("\n") for body in texts.values())


def test_values_stay_values(root: Path) -> None:
    """An owner with line breaks, markup and shell text in the name changes no structure, and is run by no shell."""
    tame = covered(root, plan_of())
    wild = covered(root, plan_of(), owner=HOSTILE, escalation=HOSTILE)
    for name, body in wild.items():
        assert body.count("\n") == tame[name].count("\n"), name
    for name in SCRIPTS:
        assert [line for line in wild[name].splitlines() if "touch" in line] == [
            line for line in wild[name].splitlines() if line.startswith("#") and "touch" in line
        ]


def test_scripts_pass_shellcheck(root: Path) -> None:
    """Both scripts and the way back are clean for shellcheck, and run under `set -euo pipefail`."""
    if not find_tool("shellcheck"):
        pytest.skip("shellcheck is not installed")
    texts = covered(root, plan_of())
    for name in (*SCRIPTS, "backout_command.txt"):
        shell = "" if name.endswith(".sh") else "#!/usr/bin/env bash\n"
        done = subprocess.run(
            [find_tool("shellcheck"), "-"], input=shell + texts[name], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
    assert all("set -euo pipefail" in texts[name] for name in SCRIPTS)


def find_tool(name: str) -> str:
    """A tool of this environment or of the machine; empty where there is none."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or ""


# -- how things stand -------------------------------------------------------------------------------------------------


def test_no_box_is_ticked_without_a_pass(prepared: Project) -> None:
    """What passed is ticked; what failed, was not run or is missing is not, and says why."""
    found, known = plan.read(prepared.root), settings.load(prepared.root)
    before = documents.status(found, evidence.read_all(prepared.root), known)
    assert "**NOT VERIFIED:**" in before["verification/final_verification.md"]
    for name in ("tests", "build"):
        assert f"- [x] {name}\n" in before["verification/rollout_checklist.md"]
    assert "- [ ] staging was not run" in before["verification/rollout_checklist.md"]
    records = evidence.read_all(prepared.root)
    records["tests"] = replace(records["tests"], exit_code=1)
    after = documents.status(found, records, known)
    assert "- [ ] tests (fail: " in after["verification/rollout_checklist.md"]
    assert "- [x] build\n" in after["verification/rollout_checklist.md"]
    assert "tests: fail: " in after["verification/final_verification.md"]
    del records["handlers"]
    evidence_file = prepared.root / evidence.path_of("handlers")
    evidence_file.unlink()
    gone = documents.status(found, records, known)
    assert "handlers: no evidence" in gone["verification/final_verification.md"]
    assert "not run" in gone["verification/final_verification.md"]


def test_papers_are_the_same_each_time(prepared: Project) -> None:
    """Rendered again from the same files each paper is the same, byte for byte, and one that was edited is found."""
    found, known = plan.read(prepared.root), settings.load(prepared.root)
    records = evidence.read_all(prepared.root)
    texts = documents.covered(found, records, known) | documents.status(found, records, known)
    assert documents.differences(prepared.root, texts) == []
    paper = prepared.root / "verification/rollout_checklist.md"
    paper.write_text(paper.read_text(encoding="utf-8").replace("[ ]", "[x]", 1), encoding="utf-8")
    assert len(documents.differences(prepared.root, texts)) == 1
    papers.refresh(prepared.root, known)
    assert documents.differences(prepared.root, texts) == []


def test_a_template_of_ones_own_wins(prepared: Project) -> None:
    """A file of the same name in the folder of the setting `templates` takes the place of ours; a broken one is named."""
    known = replace(settings.load(prepared.root), templates=str(prepared.root / "own"))
    prepared.write("own/rollout/schedule.md.j2", "# Ours: {{ commit }}\n")
    texts = documents.covered(plan.read(prepared.root), {}, known)
    assert texts["rollout/schedule.md"].startswith("# Ours: ")
    prepared.write("own/rollout/schedule.md.j2", "{% if %}")
    with pytest.raises(papers.runbooks.RolloutProblem, match=r"schedule\.md\.j2:1"):
        documents.covered(plan.read(prepared.root), {}, known)


# -- scripts that are run ---------------------------------------------------------------------------------------------


@pytest.fixture
def service() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    tools = {"postgresql": ("psql", "curl"), "sqlite": ("curl",)}[request.param]
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        pytest.skip(f"{missing[0]} is not installed")
    with fresh_database(request.param, str(tmp_path)) as url:
        yield url


def run(root: Path, script: str, *arguments: str, **env: str) -> tuple[int, list[str]]:
    """Runs a script of the project with this environment's tools first; its exit code and lines."""
    here = str(Path(sys.executable).parent)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("UNHUSH_", "FEATURE_FLAG_"))}
    done = subprocess.run(
        ["bash", script, *arguments],
        cwd=root,
        env={**clean, "PATH": f"{here}:{os.environ['PATH']}", "UNHUSH_SPOOL": str(root / "spool"), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_health_script_tells_well_from_broken(tmp_path: Path, root: Path, database: str, service: str) -> None:
    """It is well before and after the migrations where it should be, and each thing that is broken has its own line."""
    documents.write(root, covered(root, plan_of(("postgresql", "sqlite"))))
    script, here = SCRIPTS[0], {"UNHUSH_DATABASE_URL": database, "HEALTH_URL": f"{service}/"}
    engine = create_engine(database)
    if "sqlite" in database:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE theirs (id integer)"))
    assert run(root, script, "--before", **here) == (0, ["well: the database answers", "well: the service answers"])
    code, lines = run(root, script, **here)
    assert (code, lines[-1].startswith("not well: unhush health: ")) == (1, True)
    upgrade(engine)
    code, lines = run(root, script, **here)
    assert (code, lines[-1]) == (0, "well: unhush health")
    with DeadLetterQueue(engine) as dlq:
        for number in range(3):
            dlq.put(queue="q", job_name="j", job_id=str(number), payload=1, error=ValueError(), attempts=1)
    assert run(root, script, **here, MAX_DEAD="3")[0] == 0
    assert run(root, script, **here, MAX_DEAD="2")[0] == 1
    code, lines = run(root, script, **{**here, "HEALTH_URL": f"{service}/broken"})
    assert (code, "not well: the service answers: " in lines[1], "500" in lines[1]) == (1, True, True)
    engine.dispose()
    gone = re.sub(r"/\w+$", "/is_not_there", database) if "postgres" in database else f"sqlite:///{tmp_path}/none.db"
    code, lines = run(root, script, "--before", UNHUSH_DATABASE_URL=gone)
    assert (code, lines[0].startswith("not well: the database answers")) == (1, True)
    assert run(root, script, "--now", **here)[0] == 2
    assert run(root, script, UNHUSH_DATABASE_URL="oracle://x")[0] == 1
    assert run(root, script)[0] != 0


def blocks(root: Path, found: dict[str, Any]) -> list[str]:
    """The commands of the way back that need no unhush, in order: flags first, then the schema."""
    body = covered(root, found)["backout_command.txt"]
    return re.findall(r"^((?:psql|sqlite3|mariadb) .*?<<'SQL'\n.*?\nSQL\n)", body, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_way_back_works_with_psql_alone(root: Path, database: str) -> None:
    """Flags, then tables go by psql; letters that nobody dealt with hold the last step; each may be run twice."""
    engine = create_engine(database)
    upgrade(engine)
    environment.name(engine, "staging", "ann", ())
    with engine.begin() as connection:
        for flag in stages.FLAGS:
            flag_rows.write(connection, flag, state="on", percentage=100.0, salt="s", actor="ann")
    with DeadLetterQueue(engine) as dlq:
        letter = dlq.put(queue="q", job_name="j", job_id="1", payload=1, error=ValueError(), attempts=1)
    flags, heartbeat, letters = (store_script(root, block) for block in blocks(root, plan_of(("postgresql",))))
    for _ in range(2):
        code, lines = run(root, flags, UNHUSH_DATABASE_URL=database)
        assert (code, lines) == (0, ["UPDATE 2"])
    with engine.begin() as connection:
        assert {row.state for row in flag_rows.read(connection).values()} == {"off"}
    for _ in range(2):
        assert run(root, heartbeat, UNHUSH_DATABASE_URL=database)[0] == 0
    code, lines = run(root, letters, UNHUSH_DATABASE_URL=database)
    assert (code, any("neither redriven nor discarded" in line for line in lines)) == (3, True)
    assert "job_dlq" in inspect(engine).get_table_names()
    with DeadLetterQueue(engine) as dlq:
        dlq.discard([letter.id], actor="ann", reason="seen")
    for _ in range(2):
        code, lines = run(root, letters, UNHUSH_DATABASE_URL=database)
        assert code == 0, lines
    left = set(inspect(engine).get_table_names())
    assert not {"job_dlq", "unhush_job"} & left
    assert "unhush_flag" in left
    upgrade(engine)
    assert "job_dlq" in inspect(engine).get_table_names()
    engine.dispose()


def store_script(root: Path, block: str) -> str:
    """Puts a block of the way back into a script; its name."""
    name = f"way_back_{abs(hash(block))}.sh"
    store.write_text(root / name, block)
    return name


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_canary_script_refuses_without_a_plan(root: Path, database: str) -> None:
    """Where nothing was prepared it changes nothing, says that it is refused, and ends with that exit code."""
    documents.write(root, covered(root, plan_of(("postgresql",))))
    code, lines = run(root, SCRIPTS[1], UNHUSH_DATABASE_URL=database)
    assert (code, lines[-1]) == (3, "refused: the line above names what is missing; no stage was begun without it")

"""The staging half: what is run and recorded, what holds it, and verdicts that can't be talked into green."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rollout.conftest import Project
from services import fresh_database
from sqlalchemy import Engine, create_engine

from unhush.rollout import checks, environment, evidence, plan, rehearsal, settings, staging, store, verify
from unhush.rollout.errors import Refused
from unhush.rollout.evidence import Evidence, verdict
from unhush.runtime import DeadLetterQueue, flag_rows
from unhush.sql.runner import upgrade

SMALL = {"jobs": 20, "concurrency": 5, "fail": 0.2, "p95_ms": 120_000.0}


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "postgresql" and not shutil.which("psql"):
        pytest.skip("psql is not installed")
    monkeypatch.setenv("UNHUSH_SPOOL", str(tmp_path / "spool"))
    monkeypatch.delenv("UNHUSH_DATABASE_URL", raising=False)
    with fresh_database(request.param, str(tmp_path)) as made:
        yield made


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = create_engine(url)
    yield made
    made.dispose()


def run(project: Project, engine: Engine, url: str) -> dict[str, str]:
    """Runs the staging half; for each step its status, or what is wrong."""
    known = replace(settings.load(project.root), load=SMALL)
    done = staging.run(project.root, known, engine, url, watch_seconds=0.1)
    return {
        one.name.removeprefix("staging/"): one.verdict.status if one.verdict.passed else one.verdict.why for one in done
    }


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_all_of_it(prepared: Project, engine: Engine, url: str) -> None:
    """Each step is run, recorded and green, the records are the plan's, and the flags are OFF afterwards."""
    health = prepared.root / staging.HEALTH_SCRIPT  # this plan is for SQLite, and its script knows no other database
    health.write_text("#!/usr/bin/env bash\necho well\n", encoding="utf-8")
    found = plan.read(prepared.root)
    store.write_json(
        prepared.root / plan.FILE,
        {**found, "documents": {**found["documents"], staging.HEALTH_SCRIPT: store.sha256_file(health)}},
    )
    environment.name(engine, "staging", "ann", ())
    before = plan.digest(plan.read(prepared.root))
    steps = ["deploy", "upgrade", "schema", "flags_on", "smoke", "load", "watch", "rehearsal"]
    assert run(prepared, engine, url) == dict.fromkeys(steps, "pass")
    after = plan.read(prepared.root)
    assert sorted(after["staging"]) == sorted(f"staging/{name}" for name in steps)
    assert plan.digest(after) != before
    assert plan.file_differences(prepared.root, after) == []
    with engine.connect() as connection:
        assert {row.state for row in flag_rows.read(connection).values()} == {"off"}
    report = verify.verify(prepared.root, settings.load(prepared.root), "production")
    held = {line.partition(":")[0] for line in report.holds}
    assert {f"staging/{name}" for name in steps} <= held


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_letters_hold_the_rehearsal(prepared: Project, engine: Engine, url: str) -> None:
    """On SQLite it goes the same way, and a dead letter that nobody dealt with is not dropped: the rehearsal fails."""
    environment.name(engine, "staging", "ann", ())
    upgrade(engine)
    with DeadLetterQueue(engine) as dlq:
        letter = dlq.put(queue="q", job_name="j", job_id="1", payload=1, error=ValueError(), attempts=1)
    seen = run(prepared, engine, url)
    assert list(seen)[-2:] == ["watch", "rehearsal"]
    assert seen["rehearsal"].startswith("schema back: ")
    assert {status for name, status in seen.items() if name != "rehearsal"} == {"pass"}
    with DeadLetterQueue(engine) as dlq:
        assert dlq.get(letter.id).status == "dead"
    with engine.connect() as connection:
        assert {row.state for row in flag_rows.read(connection).values()} == {"off"}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_what_holds_it(prepared: Project, engine: Engine, url: str) -> None:
    """A database without a name, a gated one, and a plan that does not hold are refused in one line; nothing is recorded."""
    with pytest.raises(Refused, match="has no name"):
        run(prepared, engine, url)
    environment.name(engine, "production", "ann")
    with pytest.raises(Refused, match="is gated"):
        run(prepared, engine, url)
    prepared.write("worker.py", "# edited\n")
    with pytest.raises(Refused, match=r"does not hold any more: worker\.py"):
        run(prepared, engine, url)
    assert not (prepared.root / evidence.FOLDER / "staging").exists()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_it_stops_where_something_is_red(prepared: Project, engine: Engine, url: str) -> None:
    """A service that is not well before the change ends it at the first step, and the next run begins anew."""
    environment.name(engine, "staging", "ann", ())
    gone = url.replace("test.db", "none.db")
    assert list(run(prepared, engine, gone)) == ["deploy"]
    assert list(plan.read(prepared.root)["staging"]) == ["staging/deploy"]
    assert verdict(evidence.read(prepared.root, "staging/deploy"), prepared.root).status == "fail"


# -- verdicts ---------------------------------------------------------------------------------------------------------


def rehearsed(root: Path, **changed: Any) -> Evidence:
    """The record of a rehearsal that went well, with something changed."""
    steps = [{"step": name, "command": words, "exit_code": 0, "said": "ok"} for name, words in rehearsal.STEPS]
    on = dict.fromkeys(("DLQ_ENABLED", "JOB_HEARTBEAT"), 200)
    data = {"steps": steps, "on_before": on, "jobs": 200, "off_after": 1.5, **changed}
    return recorded(root, rehearsal.NAME, "rehearsal", "steps.json", data, rehearsal.counts_of)


def recorded(root: Path, name: str, kind: str, file: str, data: Any, counts_of: Any) -> Evidence:
    path = checks.keep(root, name, file, json.dumps(data).encode())
    record = checks.run(name, kind, ["true"], root, run_id="r")
    record = replace(record, outputs=store.hashes(root, [path]), counts=counts_of(data))
    evidence.write(root, record)
    return record


BROKEN = [{"step": "flags off", "command": "x", "exit_code": 1, "said": "no database"}]


@pytest.mark.parametrize(
    ("changed", "status", "why"),
    [
        ({}, "pass", "after 1.5 s"),
        ({"off_after": 5.1}, "fail", "seen after 5.1 s"),
        ({"off_after": None}, "fail", "not seen"),
        ({"on_before": {"DLQ_ENABLED": 200, "JOB_HEARTBEAT": 199}}, "no evidence", "were not on before"),
        ({"on_before": {}, "jobs": 0}, "no evidence", "were not on before"),
        ({"steps": BROKEN}, "fail", "flags off: no database"),
        ({"steps": []}, "no evidence", "not every step"),
    ],
)
def test_rehearsal_is_judged_by_what_was_seen(project: Project, changed: dict[str, Any], status: str, why: str) -> None:
    """Flags that were never on, an OFF that came late, and a step that failed or was left out are no rehearsal."""
    found = verdict(rehearsed(project.root, **changed), project.root)
    assert (found.status, why in found.why) == (status, True), found.why


@pytest.mark.parametrize(
    ("problems", "status"),
    [([[], []], "pass"), ([[]], "no evidence"), ([[], ["the spool is full"]], "fail"), ([], "no evidence")],
)
def test_watch_is_judged_by_its_looks(project: Project, problems: list[list[str]], status: str) -> None:
    """Two looks at least, and all well at each."""
    looks = [{"at": evidence.now(), "dead": 0, "problems": one} for one in problems]
    record = recorded(project.root, "staging/watch", "watch", "looks.json", looks, staging._look_counts)
    assert verdict(record, project.root).status == status

"""The whole roll-out once more on SQLite: a file for each database, a stand-in for Prometheus, nobody who signs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from rollout.courierworld import ROLES, Leg, Ran, World, dead, until, world

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The service on SQLite, fixed and committed."""
    changed = {
        "jobs = 300": "jobs = 60",
        "concurrency = 20": "concurrency = 4",
        'base = "v1"': 'base = "v1"\nunsigned = true',
    }
    with world(tmp_path_factory.mktemp("small"), "sqlite", real=False, changed=changed) as made:
        made.courier("counts")
        made.unhush("fix", ".")
        made.commit("Log what was swallowed")
        yield made


@pytest.fixture(scope="module")
def small_plan(small: World) -> Leg:
    """Tried, prepared, staged and approved."""
    said: dict[str, Any] = {"refused": small.unhush("db", "dry-run", "--in-transaction", code=2)}
    said["dry run"] = small.unhush("db", "dry-run")
    said["prepare"] = small.unhush("rollout", "prepare")
    small.commit("Prepare the roll-out")
    small.unhush("rollout", "init", "--environment", "staging", url=small.staging)
    said["staging"] = small.unhush("rollout", "staging", "--url", small.staging, "--watch", "1")
    said["init"] = small.unhush("rollout", "init", "--environment", "production")
    said["held"] = small.unhush("db", "upgrade", code=3)
    for role, person in ROLES.items():
        small.unhush("rollout", "approve", "--role", role, "--person", f"{person}@example.com")
    said["verify"] = small.unhush("rollout", "verify")
    return Leg(small, said)


def test_sqlite_is_prepared_and_says_that_nobody_signed(small_plan: Leg) -> None:
    """Dry run, evidence, staging and approvals as elsewhere; each report begins with UNSIGNED; no transaction to try in."""
    said = small_plan.said
    assert said["refused"].err.startswith("error: --in-transaction is for PostgreSQL")
    assert said["refused"].err.count("\n") == 1
    assert "PASSED" in said["dry run"].out
    assert "fail" not in said["prepare"].out
    assert len(re.findall(r"^pass: staging/", said["staging"].out, flags=re.M)) == 8
    assert "operator has not approved" in said["held"].err
    assert said["verify"].out.startswith("unsigned: ")
    for path in ("verification/final_verification.md", "migration/operator_instructions.md", "rollout/pull_request.md"):
        assert (small_plan.world.root / path).read_text().startswith("**UNSIGNED:**"), path


@pytest.fixture(scope="module")
def small_breach(small_plan: Leg) -> Leg:
    """Stages 0 to 2 with a worker, and parcels that fail."""
    small = small_plan.world
    said: dict[str, Any] = {number: small.follow(number) for number in (4, 6, 7, 8, 9)}
    small.deploy()
    guard = small.start("unhush", "rollout", "advance", "--until", "2", "--every", "0.3")
    until(lambda: small.json("rollout", "status")["stage"] == 2, "stage 2")
    small.courier("enqueue", "800", "--broken", "800")
    out, _ = guard.communicate(timeout=600)
    said["guard"] = Ran(guard.returncode, out.decode(), "")
    until(lambda: small.jobs() == 800, "all parcels are worked on")
    was = small.jobs(dlq="off")
    small.courier("enqueue", "50")
    until(lambda: small.jobs() == 850, "50 parcels more")
    said["off"] = (was, small.jobs(dlq="off"))
    return Leg(small, said)


def test_sqlite_rolls_back_by_itself_too(small_breach: Leg) -> None:
    """The stages steer a worker on SQLite as well: a breach in stage 2, OFF seen by it, letters kept."""
    small, said = small_breach.world, small_breach.said
    assert said["guard"].code == 1, said["guard"]
    assert "stage 2, dead letter queue 5%: rolled back" in said["guard"].out
    was, after = said["off"]
    assert after == was + 50
    assert dead(small) >= 10


def test_sqlite_goes_back_and_refuses_what_it_can_not_do(small_breach: Leg) -> None:
    """The schema goes back with the letters exported first; without that, and while letters are dead, it is refused."""
    small = small_breach.world
    assert small.worker is not None
    small.worker.terminate()
    small.worker.wait(30)
    held = small.unhush("db", "downgrade", "--to", "0", "--yes", code=1)
    assert held.err.count("\n") == 1
    small.unhush("db", "downgrade", "--to", "0", "--yes", "--export", "../letters.jsonl")
    assert (small.root.parent / "letters.jsonl").read_text().count("\n") >= 10
    assert len(small.json("db", "status", code=1)["pending"]) == 2

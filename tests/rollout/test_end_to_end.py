"""The whole roll-out of `examples/courier`, by the command line alone, with real processes.

Each fixture is a leg of the way and keeps what was said on it; the tests beside it say what that leg promises.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import click
import pytest
from rollout.courierworld import ROLES, SAMPLE, Leg, Ran, World, dead, until, world
from services import service

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def courier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The service as it is, on PostgreSQL, watched by a real Prometheus where there is one."""
    service("postgresql")
    with world(tmp_path_factory.mktemp("courier"), "postgresql", real=True) as made:
        made.courier("counts")  # its own table is there
        yield made


@pytest.fixture(scope="module")
def hardened(courier: World) -> Leg:
    """Scanned, fixed, proved and committed."""
    before = (courier.root / "courier/jobs.py").read_text()
    first, asked = courier.unhush("check", ".", code=1), courier.unhush("harden")
    said = {"check": first, "asked": asked, "unchanged": (courier.root / "courier/jobs.py").read_text() == before}
    said["fixed"] = courier.unhush("harden", "--yes")
    said["proved"] = courier.unhush("prove", "--against", "v1", "courier/jobs.py")
    courier.commit("Log what was swallowed")
    return Leg(courier, said)


def test_a_scan_leads_to_a_proved_fix(hardened: Leg) -> None:
    """Three silent handlers are found, nothing is rewritten unasked, and the fix is proved to insert logging alone."""
    said = hardened.said
    assert said["check"].out.count("UNH1") >= 3
    assert "next     fix: 3 handlers can be rewritten" in said["asked"].out
    assert said["unchanged"]
    assert "done     prove: 1 files differ by inserted logging alone" in said["fixed"].out
    assert "next     commit: courier/jobs.py" in said["fixed"].out
    assert hardened.world.unhush("check", ".").code == 0


@pytest.fixture(scope="module")
def prepared(hardened: Leg) -> Leg:
    """Tried on a copy of production, with evidence, plan and documents, all committed."""
    courier = hardened.world
    said: dict[str, Any] = {"harden": courier.unhush("harden", "--yes", "--scratch", courier.scratch)}
    said["verify"] = courier.unhush("rollout", "verify", code=3)
    courier.commit("Prepare the roll-out")
    return Leg(courier, said)


def test_evidence_and_plan_are_there_and_say_what_is_missing(prepared: Leg) -> None:
    """Dry run and checks are green; the verification names staging and the four approvals, and nothing else."""
    said = prepared.said
    assert "done     dry run" in said["harden"].out
    assert "done     prepare: 8 records" in said["harden"].out
    assert "run: unhush rollout staging --url URL" in said["harden"].out
    assert "wrong:" not in said["verify"].out
    assert [line.split()[2] for line in said["verify"].out.splitlines() if line.startswith("missing")] == list(ROLES)
    report = (prepared.world.root / "migration/dry_run_report.md").read_text()
    assert "**PASSED" in report
    assert "**The database tried is EMPTY" in report


@pytest.fixture(scope="module")
def staged(prepared: Leg) -> Leg:
    """The staging half is green, and committed."""
    courier = prepared.world
    said: dict[str, Any] = {"unnamed": courier.unhush("rollout", "staging", "--url", courier.staging, code=3)}
    courier.unhush("rollout", "init", "--environment", "staging", url=courier.staging)
    said["staging"] = courier.unhush("rollout", "staging", "--url", courier.staging, "--watch", "2")
    said["status"] = courier.unhush("db", "status", url=courier.staging)
    courier.commit("Add what staging showed")
    return Leg(courier, said)


def test_staging_is_green_and_leaves_the_flags_off(staged: Leg) -> None:
    """Each of eight steps passes, a database without a name is refused, and afterwards it is a staging that is OFF."""
    said = staged.said
    assert staged.said["unnamed"].err.count("\n") == 1
    assert len(re.findall(r"^pass: staging/", said["staging"].out, flags=re.M)) == 8
    assert "all 15 that failed are kept once" in said["staging"].out
    assert "`unhush rollout approve --role operator`" in said["staging"].out
    flags = staged.world.json("rollout", "status", url=staged.world.staging)["flags"]
    assert {flag["state"] for flag in flags.values()} == {"off"}


@pytest.fixture(scope="module")
def refused(staged: Leg) -> Leg:
    """Production has its name, and nobody has approved."""
    courier = staged.world
    said: dict[str, Any] = {
        "init": courier.unhush("rollout", "init", "--environment", "production"),
        "upgrade": courier.unhush("db", "upgrade", code=3),
        "advance": courier.unhush("rollout", "advance", "--to", "0", code=3),
        "author": courier.unhush("rollout", "approve", "--role", "dev-lead", "--key", str(courier.keys["dev"]), code=3),
        "borrowed": courier.unhush(
            "rollout", "approve", "--role", "product-owner", "--key", str(courier.keys["ann"]), code=3
        ),
        "pending": courier.json("db", "status", code=1),
    }
    return Leg(courier, said)


def test_production_refuses_before_the_approvals(refused: Leg) -> None:
    """Neither migrations nor stage 0, each with one line; the author and a key of another role can't approve."""
    said = refused.said
    assert said["init"].out == "this database is production\n"
    for name in ("upgrade", "advance", "author", "borrowed"):
        assert said[name].err.count("\n") == 1, said[name]
    assert "operator has not approved" in said["upgrade"].err
    assert "wrote commits of this plan" in said["author"].err
    assert len(said["pending"]["pending"]) == 2
    assert refused.world.entries("advance.refused")


@pytest.fixture(scope="module")
def approved(refused: Leg) -> Leg:
    """Four persons with four keys have approved."""
    courier = refused.world
    said: dict[str, Any] = {"verify": courier.unhush("rollout", "verify", code=3)}
    for role, person in ROLES.items():
        said[role] = courier.unhush("rollout", "approve", "--role", role, "--key", str(courier.keys[person]))
    said["verified"] = courier.unhush("rollout", "verify")
    courier.commit("Approve the roll-out")
    said["harden"] = courier.unhush("harden", "--scratch", courier.scratch)
    return Leg(courier, said)


def test_all_holds_once_four_have_approved(approved: Leg) -> None:
    """The approvals that were missing are all that was, and they are signed."""
    said = approved.said
    assert "not complete" in said["verify"].out
    assert "all holds" in said["verified"].out
    assert said["verified"].out.count(", signed") == 4
    assert "next     roll out: all stands" in said["harden"].out
    text = (approved.world.root / "verification/rollout_checklist.md").read_text()
    before_the_stages = text.partition("## Stages")[0]
    assert "[ ]" not in before_the_stages
    assert before_the_stages.count("[x]") == 8 + 8 + 4


@pytest.mark.parametrize(
    "path", ["migration/operator_instructions.md", "runbooks/roll_back.md", "migration/dry_run_report.json"]
)
def test_an_edited_artifact_voids_the_approvals(approved: Leg, path: str) -> None:
    """With one byte more nothing goes on and the file is named; with the byte gone all holds again."""
    courier = approved.world
    file = courier.root / path
    before = file.read_bytes()
    file.write_bytes(before + b"\n")
    try:
        verified = courier.unhush("rollout", "verify", code=1)
        advanced = courier.unhush("rollout", "advance", "--to", "0", code=3)
        upgraded = courier.unhush("db", "upgrade", code=3)
    finally:
        file.write_bytes(before)
    assert path in verified.out
    assert path in advanced.err + upgraded.err
    assert len(courier.json("db", "status", code=1)["pending"]) == 2
    assert "all holds" in courier.unhush("rollout", "verify").out


@pytest.fixture(scope="module")
def deployed(approved: Leg) -> Leg:
    """The operator has followed the page up to step 9: stage 0, the migrations, a service that works."""
    courier = approved.world
    said: dict[str, Any] = {number: courier.follow(number) for number in (1, 2, 3, 4)}
    courier.deploy()
    courier.courier("enqueue", "40")
    said |= {number: courier.follow(number) for number in (6, 7, 8, 9)}
    until(lambda: courier.jobs(dlq="off", heartbeat="off") == 40, "40 parcels with the flags OFF")
    said["again"] = courier.unhush("db", "upgrade")
    return Leg(courier, said)


def test_each_step_of_the_instructions_says_what_the_page_expects(deployed: Leg) -> None:
    """Steps 1 to 9 in order, each command as it is copied from the page; the service works meanwhile."""
    assert set(deployed.world.commands()) == {1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12}
    assert "nothing" in deployed.said["again"].said
    status = deployed.world.json("rollout", "status")
    assert (status["stage"], status["status"]) == (0, "running")
    assert deployed.world.jobs(dlq="on 5%") == 0


@pytest.fixture(scope="module")
def breached(deployed: Leg) -> Leg:
    """In stage 2 parcels begin to fail."""
    courier = deployed.world
    guard = courier.start("unhush", "rollout", "advance", "--until", "3", "--every", "0.3")
    until(lambda: courier.json("rollout", "status")["stage"] == 2, "stage 2")
    courier.courier("enqueue", "800", "--broken", "800")
    out, _ = guard.communicate(timeout=600)
    said: dict[str, Any] = {"guard": Ran(guard.returncode, out.decode(), "")}
    said["status"] = courier.json("rollout", "status")
    until(lambda: courier.jobs() == 840, "all parcels are worked on")
    was = courier.jobs(dlq="off")
    courier.courier("enqueue", "100")
    until(lambda: courier.jobs() == 940, "100 parcels more")
    said["off"] = (was, courier.jobs(dlq="off"))
    said["verify"] = courier.unhush("rollout", "verify")
    return Leg(courier, said)


def test_a_breach_rolls_back_by_itself(breached: Leg) -> None:
    """The guard ends with 1, the flags are OFF, the worker heeds that, the cause and the health check are in the log."""
    courier, said = breached.world, breached.said
    assert said["guard"].code == 1, said["guard"]
    assert "stage 2, dead letter queue 5%: rolled back" in said["guard"].out
    assert "gate     dlq_depth: fail: " in said["guard"].out
    assert said["status"]["status"] == "rolled_back"
    assert said["status"]["note"].startswith("gate dlq_depth is breached")
    assert {flag["state"] for flag in said["status"]["flags"].values()} == {"off"}
    was, after = said["off"]
    assert after == was + 100
    assert 10 <= dead(courier) < 800
    for act in ("rollback", "rollback.health"):  # those before are of the rehearsal
        assert courier.entries(act)[-1]["facts"]["stage"] == 2
    assert courier.entries("rollback.health")[-1]["facts"]["problems"] == []
    assert "rollback" in {event["act"] for event in said["status"]["events"]}
    assert "all holds" in said["verify"].out
    assert "**ROLLED BACK**" in (courier.root / "verification/rollout_checklist.md").read_text()


@pytest.fixture(scope="module")
def done(breached: Leg) -> Leg:
    """The letters are dealt with, and a second roll-out goes to its end while parcels keep coming."""
    courier = breached.world
    said: dict[str, Any] = {"held": courier.unhush("rollout", "advance", "--to", "1", code=3)}
    said["discard"] = courier.unhush("dlq", "discard", "--queue", "parcels", "--reason", "no address", "--yes")
    said[6] = courier.follow(6)
    courier.start("python", "-m", "courier.worker", "enqueue", "150", "--every", "0.4", out=subprocess.DEVNULL)
    said[10] = courier.follow(10)
    said["status"] = courier.json("rollout", "status")
    said["verify"] = courier.unhush("rollout", "verify")
    said["watch"] = courier.json("rollout", "watch", "--metrics", f"http://127.0.0.1:{courier.port}/metrics")
    return Leg(courier, said)


def test_a_second_roll_out_reaches_its_end(done: Leg) -> None:
    """A roll-out that was rolled back begins at stage 0, and each of six stages is left only with its gates passed."""
    said = done.said
    assert "stage 1 can't be next" in said["held"].err
    assert said["status"]["status"] == "done"
    assert {flag["percentage"] for flag in said["status"]["flags"].values()} == {100}
    acts = [entry for act in ("advance", "done") for entry in done.world.entries(act)]
    passed = [gate["verdict"] for entry in acts for gate in entry["facts"].get("gates", [])]
    assert set(passed) == {"pass"}
    assert done.world.entries("advance")[-1]["facts"]["stage"] == 5
    assert "all holds" in said["verify"].out
    assert "**DONE**" in (done.world.root / "verification/rollout_checklist.md").read_text()
    for setting in ({"dlq": "on 5%"}, {"heartbeat": "on 5%"}, {"heartbeat": "on 100%"}):
        assert done.world.jobs(**setting) > 0
    assert done.world.json("jobs", "list", "--ended")["jobs"]


def test_the_handler_that_fired_is_seen(done: Leg) -> None:
    """The printer that is off was swallowed in silence before; now it stands first on the watch list."""
    handlers = {one["event"]: one["count"] for one in done.said["watch"]["handlers"]}
    assert handlers["print_label.exception_ignored"] > 1000
    assert handlers["read_tariff.exception_ignored"] == 0
    assert done.said["watch"]["handlers"][0]["event"] == "print_label.exception_ignored"


def test_prometheus_saw_it_too(done: Leg) -> None:
    """Step 11 asks the Prometheus of the settings for it; a stand-in, which knows no such question, is no data."""
    if done.world.real:
        assert "print_label.exception_ignored" in done.world.follow(11).out
    else:
        assert "no data" in done.world.unhush("rollout", "watch", code=1).out


@pytest.fixture(scope="module")
def backed_out(done: Leg) -> Leg:
    """The way back after the end: flags, then the schema, each twice."""
    courier = done.world
    said: dict[str, Any] = {12: courier.follow(12), "again": courier.shell(courier.commands()[12].command)}
    until(lambda: courier.jobs(dlq="off", heartbeat="off") > 300, "the worker sees OFF")
    courier.worker.terminate()
    courier.worker.wait(30)
    said["down"] = courier.unhush("db", "downgrade", "--to", "0", "--yes", "--export", "../letters.jsonl")
    said["down again"] = courier.unhush("db", "downgrade", "--to", "0", "--yes", "--export", "../letters.jsonl")
    said["health"] = courier.shell("bash verification/health_check_script.sh --before")
    said["status"] = courier.json("db", "status", code=1)
    return Leg(courier, said)


def test_the_way_back_may_be_gone_twice(backed_out: Leg) -> None:
    """Flags and schema go back, a second time changes nothing, and the service's own table stays."""
    said = backed_out.said
    assert "rolled back" in said["again"].out
    assert len(said["status"]["pending"]) == 2
    assert "nothing" in said["down again"].said
    assert "well: the database answers" in said["health"].out
    assert "done" in backed_out.world.courier("counts").out
    assert "all holds" in backed_out.world.unhush("rollout", "verify").out


# -- the sample's page ----------------------------------------------------------------------------------------------------

PAGE = (SAMPLE / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.M | re.S)
LINES = sorted({line for block in BLOCKS for line in re.findall(r"^(?:until )?(unhush [^|&\n]*)", block, flags=re.M)})


@pytest.mark.parametrize("line", LINES)
def test_each_command_of_the_samples_page_is_one(line: str) -> None:
    """The command line understands each command of the page, with its options."""
    from unhush.cli import cli

    words = shlex.split(line.replace("$STAGING", "sqlite://"))[1:]
    context = cli.make_context("unhush", words)
    while isinstance(context.command, click.Group):
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        name, command, rest = context.command.resolve_command(context, rest)
        assert command
        context = command.make_context(name, rest, parent=context)


def test_the_samples_page_is_bash() -> None:
    """Each block of the page is whole, and between them they go the way of these tests."""
    for block in BLOCKS:
        subprocess.run(["bash", "-n", "-c", block], check=True)
    for word in (
        "harden",
        "staging",
        "approve",
        "advance",
        "canary_rollout",
        "watch",
        "discard",
        "downgrade",
        "verify",
    ):
        assert any(word in block for block in BLOCKS), word

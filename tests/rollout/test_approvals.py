"""Approvals: four people, four keys, one plan; and each way in which one of them does not count."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rollout.sshkeys import listed, make_key, public

from unhush.rollout import approvals, audit, evidence, git, plan, store
from unhush.rollout.approvals import approve, missing, standing
from unhush.rollout.errors import Refused
from unhush.sql.files import migrations
from unhush.version import __version__

pytestmark = pytest.mark.skipif(
    not (shutil.which("git") and shutil.which("ssh-keygen")), reason="git and ssh-keygen are not installed"
)

PEOPLE = {"operator": "ann@x.org", "dev-lead": "dan@x.org", "ops-oncall": "oli@x.org", "product-owner": "pam@x.org"}
DOCUMENTS = (
    "migration/operator_instructions.md",
    "verification/health_check_script.sh",
    "runbooks/dlq_growing.md",
    "backout_command.txt",
    "rollout/schedule.md",
)
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Project:
    """A small repository with a plan, and a key for each person."""

    def __init__(self, root: Path, keys: dict[str, Path]) -> None:
        self.root = root
        self.keys = keys
        self.commit("dev@x.org", "base", "app.py")
        self.base = git.head(root)
        self.commit("dev@x.org", "change\n\nCo-authored-by: Cal <Cal@x.org>", "app.py")
        self.write_signers("".join(listed(person, self.keys[person], role) for role, person in PEOPLE.items()))

    def git(self, *args: str) -> None:
        """Runs git."""
        subprocess.run(["git", *args], cwd=self.root, check=True, capture_output=True)

    def commit(self, author: str, message: str, name: str, *options: str) -> None:
        """One more line in a file, committed by an author."""
        with (self.root / name).open("a", encoding="utf-8") as file:
            file.write(f"# {message!r}\n")
        self.git("add", name)
        self.git(*("-c", f"user.email={author}", "-c", "user.name=Somebody"), *options, "commit", "-q", "-m", message)

    def write_signers(self, text: str) -> None:
        """The list of signers."""
        store.write_text(self.root / "rollout/allowed_signers", text)

    def record(self, name: str, kind: str = "command", exit_code: int = 0) -> None:
        """The record of a check."""
        at = evidence.now()
        evidence.write(
            self.root,
            evidence.Evidence(
                name=name,
                kind=kind,
                command=("true",),
                exit_code=exit_code,
                started_at=at,
                ended_at=at,
                run_id="r",
                tool_version=__version__,
                commit=git.head(self.root),
            ),
        )

    def record_all(self) -> None:
        """The records of all checks, for HEAD."""
        self.record("tests")
        self.record("staging/health")
        self.record("staging/rehearsal", "rehearsal")

    def plan(self, unsigned: bool = False, documents: tuple[str, ...] = DOCUMENTS, **changed: Any) -> dict[str, Any]:
        """A plan of what lies there now."""
        step = migrations("postgresql")[0]
        return plan.write(
            self.root,
            {
                "schema": 1,
                "plan_id": "p",
                "created_at": "2026-10-31T10:00:00+00:00",
                "commit": git.head(self.root),
                "base": self.base,
                "tool_version": __version__,
                "migrations": [
                    {
                        "label": step.label,
                        "dialect": "postgresql",
                        "sha256": step.checksum,
                        "backout_sha256": store.sha256_bytes(step.backout.data),
                        "reversible": "yes",
                    }
                ],
                "flags": {},
                "stages": [],
                "schedule": {},
                "documents": store.hashes(self.root, documents),
                "allowed_signers": plan.file_hash(self.root, plan.SIGNERS),
                "evidence": plan.record_hashes(self.root, ["tests"]),
                "staging": plan.record_hashes(self.root, ["staging/health", "staging/rehearsal"]),
                "unsigned": unsigned,
                **changed,
            },
        )

    def approve(self, role: str, person: str | None = None, now: datetime = NOW, **options: Any) -> None:
        """One person approves."""
        person = person or PEOPLE[role]
        approve(self.root, role, key=self.keys[person], now=now, **options)

    def approve_all(self) -> None:
        """Each role's person approves."""
        for role in PEOPLE:
            self.approve(role)

    def missing(self, now: datetime = NOW) -> list[str]:
        """What stands between the plan and production."""
        return missing(self.root, plan.read(self.root), "production", now)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return {person: make_key(folder, person) for person in (*PEOPLE.values(), "eve@x.org", "dev@x.org")}


@pytest.fixture
def project(tmp_path: Path, keys: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setitem(evidence.KINDS, "rehearsal", "judges:command")
    subprocess.run(["git", "init", "-q", str(tmp_path / "root")], check=True)
    made = Project(tmp_path / "root", keys)
    for name in DOCUMENTS:
        store.write_text(made.root / name, f"# {name}\n")
    made.record_all()
    made.plan()
    return made


def refused(act: Callable[[], None]) -> str:
    """The one line of a refusal."""
    with pytest.raises(Refused) as caught:
        act()
    assert "\n" not in caught.value.message
    return caught.value.message


def test_all_roles_approve(project: Project) -> None:
    """Nothing is approved at first, each role's approval takes its line away, and with all four nothing is missing."""
    for number, role in enumerate(PEOPLE):
        assert len(project.missing()) == 4 - number
        project.approve(role)
    assert project.missing() == []
    found = standing(project.root, plan.read(project.root), "production", NOW)
    assert [(one.role, one.person, one.signed) for one in found] == [(*both, True) for both in PEOPLE.items()]
    acts = [(entry["act"], entry["actor"]) for entry in audit.entries(project.root)]
    assert acts == [("approved", person) for person in PEOPLE.values()]
    assert audit.check(project.root, approvals.heads(project.root).values()) == []


def test_another_environment_is_not_approved(project: Project) -> None:
    """Approvals for production say nothing of another environment."""
    project.approve_all()
    assert len(missing(project.root, plan.read(project.root), "elsewhere", NOW)) == 4


def test_a_document_that_changes_voids_all(project: Project) -> None:
    """One byte in any document of the plan, and the plan does not hold; put back as it was, it does."""
    project.approve_all()
    for document in DOCUMENTS:
        path = project.root / document
        before = path.read_bytes()
        path.write_bytes(before + b" ")
        assert any(document in line for line in project.missing())
        assert document in refused(lambda: project.approve("operator"))
        path.write_bytes(before)
    assert project.missing() == []


def test_a_new_plan_voids_all(project: Project) -> None:
    """A plan that says something else needs new approvals by all, and tells so by role."""
    project.approve_all()
    project.plan(schedule={"stage 2": "Tuesday"})
    assert len(project.missing()) == 4
    assert all("another plan" in line for line in project.missing())
    project.approve_all()
    assert project.missing() == []


def test_a_later_commit_voids_all(project: Project) -> None:
    """A commit after the plan's means that what runs is not what was approved."""
    project.approve_all()
    project.commit("dev@x.org", "one more", "app.py")
    assert "app.py changed" in project.missing()[0]


def test_list_of_signers_is_part_of_the_plan(project: Project) -> None:
    """A signer put on the list afterwards voids the plan, whoever signs."""
    project.approve_all()
    signers = project.root / "rollout/allowed_signers"
    project.write_signers(signers.read_text(encoding="utf-8") + listed("eve@x.org", project.keys["eve@x.org"]))
    assert "allowed_signers" in project.missing()[0]


def test_edited_approvals_do_not_count(project: Project) -> None:
    """An approval whose file was edited, whose signature is gone or another's, or that moved to another role is red."""
    project.approve_all()
    folder = project.root / "rollout/approvals/production"
    file, signature = folder / "dev-lead.json", folder / "dev-lead.json.sig"
    good, good_signature = file.read_bytes(), signature.read_bytes()
    data = json.loads(good)
    edited = store.canonical({**data, "expires": "2030-01-01T00:00:00+00:00"})
    for written, signed in (
        (edited, good_signature),
        (good + b" ", good_signature),
        (b"{", good_signature),
        (b"[]", good_signature),
        (b"\xff", good_signature),
        (good, b""),
        (good, (folder / "operator.json.sig").read_bytes()),
        ((folder / "operator.json").read_bytes(), (folder / "operator.json.sig").read_bytes()),
    ):
        file.write_bytes(written)
        signature.write_bytes(signed)
        assert len(project.missing()) >= 1, written
    file.write_bytes(good)
    signature.write_bytes(good_signature)
    assert project.missing() == []
    signature.unlink()
    assert "no signature" in project.missing()[0]


def test_keys_that_do_not_count(project: Project) -> None:
    """A stranger's key, one listed for another role, an expired and a revoked one are refused, and so are their files."""
    assert "no name" in refused(lambda: project.approve("dev-lead", "eve@x.org"))
    assert "does not hold" in refused(lambda: project.approve("dev-lead", "oli@x.org"))
    project.approve_all()
    store.write_text(
        project.root / "rollout/revoked_keys", public(project.keys["dan@x.org"]).read_text(encoding="utf-8")
    )
    assert "revoked" in "".join(project.missing())
    assert "revoked" in refused(lambda: project.approve("dev-lead"))
    (project.root / "rollout/revoked_keys").unlink()
    assert project.missing() == []
    lines = [listed(person, project.keys[person], valid_before="20200101") for person in PEOPLE.values()]
    project.write_signers("".join(lines))
    project.plan()
    assert "expired" in refused(lambda: project.approve("dev-lead"))


def test_one_key_under_two_names(project: Project) -> None:
    """One key under two names signs for neither, and one person is in no two roles."""
    lines = [listed(person, project.keys["ann@x.org"]) for person in ("ann@x.org", "dan@x.org")]
    project.write_signers("".join(lines))
    project.plan()
    assert "2 names" in refused(lambda: project.approve("dev-lead", "ann@x.org"))
    both = lambda: approve(project.root, "dev-lead", person="dan@x.org", key=project.keys["ann@x.org"], now=NOW)  # noqa: E731
    assert "also under ann@x.org" in refused(both)
    project.write_signers(listed("ann@x.org", project.keys["ann@x.org"]))
    project.plan()
    project.approve("operator", "ann@x.org")
    assert "each role is another person" in refused(lambda: project.approve("dev-lead", "ann@x.org"))
    project.write_signers(lines[0] + listed("Ann <ANN@x.org>".split()[1], project.keys["eve@x.org"]))
    project.plan()
    project.approve("operator", "ann@x.org")
    assert "each role is another person" in refused(lambda: project.approve("dev-lead", "eve@x.org"))


@pytest.mark.parametrize("author", ["dev@x.org", "DEV@x.org", "cal@x.org"])
def test_authors_do_not_approve(project: Project, author: str) -> None:
    """An author and a co-author of the plan's commits can't approve it, however the address is written."""
    project.write_signers(listed(author, project.keys["dev@x.org"]))
    project.plan()
    assert "wrote commits" in refused(lambda: project.approve("dev-lead", "dev@x.org"))
    project.write_signers(listed("eve@x.org", project.keys["eve@x.org"]))
    project.plan()
    project.approve("dev-lead", "eve@x.org")


def test_key_that_signed_a_commit_does_not_approve(project: Project) -> None:
    """Whoever signed a commit of the plan by a key can't approve with that key under another name."""
    key = project.keys["eve@x.org"]
    project.write_signers(listed("eve@x.org", key))
    options = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}", "-c", "commit.gpgsign=true")
    project.commit("else@x.org", "signed", "app.py", *options)
    project.record_all()
    project.plan()
    assert "wrote commits" in refused(lambda: project.approve("dev-lead", "eve@x.org"))


def test_settings_name_who_may(project: Project) -> None:
    """Where the settings name the persons of a role, nobody else has it."""
    (project.root / "pyproject.toml").write_text(
        '[tool.unhush.rollout.roles]\ndev-lead = ["eve@x.org"]\n', encoding="utf-8"
    )
    project.commit("dev@x.org", "settings", "pyproject.toml")
    project.record_all()
    project.plan()
    assert "the settings name eve@x.org" in refused(lambda: project.approve("dev-lead"))
    project.approve("operator")


def test_approvals_expire(project: Project) -> None:
    """An approval counts until it expires, and none from the future does."""
    project.approve_all()
    assert project.missing(NOW + timedelta(days=13, hours=23)) == []
    assert all("expired" in line for line in project.missing(NOW + timedelta(days=14)))
    assert all("future" in line for line in project.missing(NOW - timedelta(hours=1)))


def test_evidence_comes_before_approval(project: Project) -> None:
    """Without staging the operator, without a rehearsal the on-call, and with a failed check nobody can approve."""
    project.plan(staging={})
    assert "run `unhush rollout staging`" in refused(lambda: project.approve("operator"))
    assert "no rehearsal that passed" in refused(lambda: project.approve("ops-oncall"))
    project.approve("product-owner")
    project.record("staging/rehearsal", "rehearsal", exit_code=1)
    project.plan()
    assert "no rehearsal that passed" in refused(lambda: project.approve("ops-oncall"))
    project.record("staging/rehearsal", "rehearsal")
    project.record("tests", exit_code=1)
    project.plan()
    assert "evidence tests says fail" in refused(lambda: project.approve("dev-lead"))


def test_documents_come_before_approval(project: Project) -> None:
    """A plan without runbooks can't be approved by the on-call, one without a schedule not by the product owner."""
    project.plan(documents=("migration/operator_instructions.md",))
    assert "runbooks/" in refused(lambda: project.approve("ops-oncall"))
    assert "schedule" in refused(lambda: project.approve("product-owner"))
    project.approve("operator")


def test_unsigned_says_so(project: Project) -> None:
    """A team that signs nothing approves by name, each approval says that it is unsigned, and people still differ."""
    project.plan(unsigned=True)
    for role, person in PEOPLE.items():
        assert not approve(project.root, role, person=person, now=NOW).signed
    assert project.missing() == []
    assert "say who approves" in refused(lambda: approve(project.root, "operator", now=NOW))
    assert "each role" in refused(lambda: approve(project.root, "operator", person="dan@x.org", now=NOW))
    assert "wrote commits" in refused(lambda: approve(project.root, "operator", person="dev@x.org", now=NOW))
    project.plan(unsigned=False)
    assert project.missing() != []


def test_refusals_are_recorded(project: Project) -> None:
    """Whoever was refused stands in the audit log with the reason."""
    why = refused(lambda: project.approve("dev-lead", "eve@x.org"))
    last = audit.entries(project.root)[-1]
    assert (last["act"], last["facts"]["role"], last["facts"]["why"]) == ("approve.refused", "dev-lead", why)


def test_command(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On the command line it says who approved, and exits with 3 and one line where it is refused."""
    import sys

    from unhush.__main__ import run

    monkeypatch.chdir(project.root)

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["unhush", "rollout", "approve", *args])
        try:
            code = run()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    key = str(project.keys["dan@x.org"])
    assert call("--role", "dev-lead", "--key", key) == (0, "dan@x.org approves as dev-lead for production\n", "")
    code, out, err = call("--role", "operator", "--key", key)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert "error:" in err.lower()
    code, out, _ = call("--role", "dev-lead", "--key", key, "--json")
    assert (code, json.loads(out)["signed"]) == (0, True)
    assert call("--role", "king")[0] == 2

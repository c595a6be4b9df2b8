"""Approvals: named people consent, each in a role, to one plan with these exact bytes.

An approval is a JSON file beside its SSH signature. It binds a person to the plan's digest, and so to each document of
the plan; those that the role answers for stand in it by name. Anything that changes in the plan voids it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from . import audit, binding, evidence, people, plan, settings, signing, store
from .errors import Refused, RolloutProblem

FOLDER = Path("rollout/approvals")
SIGNERS = Path("rollout/allowed_signers")
REVOKED = Path("rollout/revoked_keys")
GATED = "production"
Judge = Callable[[str], evidence.Verdict]
VALID = timedelta(days=14)  # how long an approval counts unless it says otherwise


@dataclass(frozen=True, slots=True)
class Role:
    """What a role answers for: documents of the plan by how their paths begin, and evidence of these kinds."""

    name: str
    answers_for: str
    documents: tuple[str, ...]
    kinds: tuple[str, ...] = ()


ROLES = {
    role.name: role
    for role in (
        Role("operator", "the staging half", ("migration/", "verification/health_check_script.sh")),
        Role("dev-lead", "code and migrations", ("migration/", "backout_command.txt")),
        Role("ops-oncall", "the runbooks and the way back", ("runbooks/", "backout_command.txt"), ("rehearsal",)),
        Role("product-owner", "the schedule", ("rollout/schedule.md",)),
    )
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How one role's approval stands; `why` says in one line what is wrong, and is empty where nothing is."""

    role: str
    person: str | None
    signed: bool
    why: str

    @property
    def ok(self) -> bool:
        """Whether it counts."""
        return not self.why


@dataclass(frozen=True, slots=True)
class _Given:
    """An approval as it lies in the folder."""

    data: Mapping[str, Any]
    written: bytes
    signature: str | None

    @property
    def person(self) -> str:
        return str(self.data.get("person"))

    @property
    def key(self) -> bytes | None:
        return signing.public_key(self.signature) if self.signature else None


def approve(
    root: Path,
    role: str,
    *,
    environment: str = GATED,
    person: str | None = None,
    key: Path | None = None,
    valid: timedelta = VALID,
    now: datetime | None = None,
) -> Standing:
    """Writes one role's approval of the plan as it lies in `root`. Raises Refused with what is missing or wrong.

    `person` is the address under which the key stands on the list of signers; without it the list is asked. Where the
    plan is unsigned no key is wanted, and `person` must be given. A refusal goes into the audit log too.
    """
    try:
        return _approve(root, ROLES[role], environment, person, key, valid, now or datetime.now(UTC))
    except Refused as refusal:
        audit.append(root, "approve.refused", person or "unknown", role=role, why=refusal.message)
        raise


def _approve(
    root: Path, role: Role, environment: str, person: str | None, key: Path | None, valid: timedelta, now: datetime
) -> Standing:
    if behind := audit.clock_behind(root):
        raise Refused(f"this machine's clock went back: it is {behind:.0f} s before the last entry of {audit.FILE}")
    found = plan.read(root)
    if differences := plan.differences(root, found):
        raise Refused(f"the plan does not hold any more: {differences[0]}")
    if lacking := next(_lacking(root, role, found, _judge(root, found)), None):
        raise Refused(lacking)
    head = audit.head(root)
    data = {
        "schema": 1,
        "role": role.name,
        "person": "",
        "decision": "approve",
        "plan_digest": plan.digest(found),
        "environment": environment,
        "documents": _documents(role, found),
        "at": now.isoformat(timespec="seconds"),
        "expires": (now + valid).isoformat(timespec="seconds"),
        "audit_head": head,
    }
    given = _unsigned(data, person) if found["unsigned"] else _signed(root, role, data, person, key)
    others = [(one, held) for one in ROLES if one != role.name and (held := _read(root, environment, one))]
    if wrong := _wrong(root, role, given, found, environment, others, now):
        raise Refused(wrong)
    file = _file(root, environment, role.name)
    # The signature first: an approval that was cut off has none that fits, and does not count.
    if given.signature:
        store.write_text(file.with_suffix(".json.sig"), given.signature)
    store.write_text(file, given.written.decode())
    audit.append(root, "approved", given.person, role=role.name, plan_digest=data["plan_digest"])
    return Standing(role.name, given.person, given.signature is not None, "")


def standing(root: Path, found: Mapping[str, Any], environment: str, now: datetime | None = None) -> list[Standing]:
    """How the approvals of a plan for an environment stand, one for each role. Raises nothing for broken files."""
    at = now or datetime.now(UTC)
    held = {role: _read(root, environment, role) for role in ROLES}
    judge = _judge(root, found)
    result = []
    for role in ROLES.values():
        given = held[role.name]
        if given is None:
            result.append(Standing(role.name, None, False, f"{role.name} has not approved {role.answers_for}"))
            continue
        others = [(name, other) for name, other in held.items() if name != role.name and other]
        why = next(_lacking(root, role, found, judge), "") or _wrong(root, role, given, found, environment, others, at)
        result.append(Standing(role.name, given.person, given.signature is not None, why))
    return result


def missing(root: Path, found: Mapping[str, Any], environment: str, now: datetime | None = None) -> list[str]:
    """What stands between a plan and an environment, a line each; none where all roles have approved."""
    return [
        *plan.differences(root, found),
        *(one.why for one in standing(root, found, environment, now) if not one.ok),
    ]


def heads(root: Path) -> dict[str, str]:
    """The heads of the audit log that approvals name, by the approval's path: each must be in the log."""
    result = {}
    for file in sorted((root / FOLDER).glob("*/*.json")):
        if given := _read(root, file.parent.name, file.stem):
            result[file.relative_to(root).as_posix()] = str(given.data.get("audit_head"))
    return result


def _signed(root: Path, role: Role, data: dict[str, Any], person: str | None, key: Path | None) -> _Given:
    if key is None:
        raise Refused(
            "--key: name your SSH key; a team that signs nothing says so by `unsigned = true` in its settings"
        )
    if person is None:
        probe = signing.sign(b"", key, role.name)
        person = _only_name(signing.persons(probe, root / SIGNERS), key)
    written = store.canonical({**data, "person": person})
    return _Given({**data, "person": person}, written, signing.sign(written, key, role.name))


def _only_name(names: list[str], key: Path) -> str:
    if len(names) != 1:
        under = f"under {len(names)} names: {', '.join(names)}" if names else "under no name"
        raise Refused(f"--key: {str(key)!r} stands {under} in {SIGNERS}")
    return names[0]


def _unsigned(data: dict[str, Any], person: str | None) -> _Given:
    if not person:
        raise Refused("--person: the plan is unsigned, so say who approves")
    data = {**data, "person": person}
    return _Given(data, store.canonical(data), None)


def _lacking(root: Path, role: Role, found: Mapping[str, Any], judge: Judge) -> Iterator[str]:
    """What must be there before a role can approve at all, a line each."""
    if not _documents(role, found):
        yield f"{role.name}: the plan holds no {' or '.join(role.documents)}: run `unhush rollout prepare`"
    records = {**found["evidence"], **found["staging"]}
    if role.name == "operator" and not found["staging"]:
        yield "operator: there is no evidence of staging: run `unhush rollout staging`"
    for kind in role.kinds:
        if not any(judge(name).passed and evidence.read(root, name).kind == kind for name in records):
            yield f"{role.name}: there is no {kind} that passed: run `unhush rollout staging`"
    for name in sorted(found["staging"] if role.name == "operator" else records):
        said = judge(name)
        if not said.passed:
            yield f"{role.name}: evidence {name} says {said.status}: {said.why}"


def _judge(root: Path, found: Mapping[str, Any]) -> Judge:
    """A function from a record's name to its verdict for this plan; each record is judged once, whoever asks."""
    known = cache(lambda: settings.load(root))
    return cache(lambda name: binding.judged(evidence.read(root, name), root, known(), found["base"], found["commit"]))


def _documents(role: Role, found: Mapping[str, Any]) -> dict[str, str]:
    """The documents of the plan that a role answers for, with their digests; dev-lead's are the migrations too."""
    chosen = {path: digest for path, digest in found["documents"].items() if path.startswith(role.documents)}
    if role.name == "dev-lead":
        for step in found["migrations"]:
            chosen[f"{step['dialect']}/{step['label']}.sql"] = step["sha256"]
            chosen[f"{step['dialect']}/{step['label']}.backout.sql"] = step["backout_sha256"]
    return dict(sorted(chosen.items()))


def _wrong(
    root: Path,
    role: Role,
    given: _Given,
    found: Mapping[str, Any],
    environment: str,
    others: Iterable[tuple[str, _Given]],
    now: datetime,
) -> str:
    """Why an approval does not count, in one line; empty where it does."""
    try:
        return (
            _unlike(role, given, found, environment, now)
            or _badly_signed(root, role, given, found)
            or _not_independent(root, role, given, found, others)
        )
    except (signing.BadSignature, RolloutProblem, ValueError, KeyError, TypeError) as error:
        return f"the approval of {role.name} can't be used: {error}"


def _unlike(role: Role, given: _Given, found: Mapping[str, Any], environment: str, now: datetime) -> str:
    data, who = given.data, f"the approval of {role.name} by {given.person}"
    if given.written != store.canonical(data):
        return f"{who} was edited"
    if data["plan_digest"] != plan.digest(found):
        return f"{who} is for another plan: approve this one"
    if (data["role"], data["environment"], data["decision"]) != (role.name, environment, "approve"):
        return f"{who} is for another role or environment"
    if data["documents"] != _documents(role, found):
        return f"{who} names other documents than the plan"
    if now >= datetime.fromisoformat(data["expires"]):
        return f"{who} expired at {data['expires']}"
    if datetime.fromisoformat(data["at"]) > now + timedelta(minutes=5):
        return f"{who} is from the future, {data['at']}: a clock is wrong"
    return ""


def _badly_signed(root: Path, role: Role, given: _Given, found: Mapping[str, Any]) -> str:
    if given.signature is None:
        return "" if found["unsigned"] else f"the approval of {role.name} by {given.person} has no signature"
    names = signing.persons(given.signature, root / SIGNERS)
    if names != [given.person]:
        under = f"also under {', '.join(name for name in names if name != given.person)}" if names else "under no name"
        return f"the key of {given.person} stands {under} in {SIGNERS}"
    signing.check(
        given.written,
        given.signature,
        person=given.person,
        role=role.name,
        signers=root / SIGNERS,
        revoked=root / REVOKED,
    )
    return ""


def _not_independent(
    root: Path, role: Role, given: _Given, found: Mapping[str, Any], others: Iterable[tuple[str, _Given]]
) -> str:
    may = settings.load(root).roles.get(role.name)
    if may is not None and people.address(given.person) not in map(people.address, may):
        return f"{given.person} may not approve as {role.name}: the settings name {', '.join(may)}"
    if people.wrote(root, found["base"], found["commit"], given.person, given.key):
        return f"{given.person} wrote commits of this plan, and can't approve it"
    for name, other in others:
        if people.address(other.person) == people.address(given.person):
            return f"{given.person} approved as {name} already: each role is another person"
        if given.key is not None and other.key == given.key:
            return f"{given.person} and {other.person} have one key: each role is another person"
    return ""


def _file(root: Path, environment: str, role: str) -> Path:
    return root / FOLDER / environment / f"{role}.json"


def _read(root: Path, environment: str, role: str) -> _Given | None:
    """An approval as it lies there; one whose JSON is broken has no data, and so counts as edited."""
    file = _file(root, environment, role)
    if not file.is_file():
        return None
    written = file.read_bytes()
    signature = file.with_suffix(".json.sig")
    try:
        data = json.loads(written)
    except ValueError:
        data = None
    text = signature.read_text(encoding="utf-8", errors="replace") if signature.is_file() else None
    return _Given(data if isinstance(data, dict) else {}, written, text)

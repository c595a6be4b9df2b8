"""Gathers the evidence, writes the plan and the documents; what holds already is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from ..output import Failure
from . import audit, binding, checks, documents, evidence, flags_off, git, idempotence, plan, proofs, scans
from .errors import Refused, RolloutProblem
from .evidence import Evidence, Verdict
from .settings import Check, RolloutSettings

KEPT_FOR = timedelta(hours=24)  # how old a record may be that is not gathered again


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record: its verdict, and whether it was kept from an earlier run."""

    name: str
    verdict: Verdict
    kept: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """The plan that was written, and what each record says."""

    plan: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    lacking: str | None

    @property
    def exit_code(self) -> int:
        """0 all is green, 1 a check failed, 3 evidence is missing."""
        statuses = {outcome.verdict.status for outcome in self.outcomes}
        if "fail" in statuses:
            return 1
        return 3 if self.lacking or "no evidence" in statuses else 0


def base_of(root: Path, settings: RolloutSettings, given: str | None) -> str:
    """The commit from which the change starts: as given, as set, or as in the last plan. Raises Failure, RolloutProblem."""
    ref = given or settings.base
    if ref is None:
        try:
            ref = str(plan.read(root)["base"])
        except Failure as error:
            raise Failure("say from which commit the change starts: --base REF, or `base` in the settings") from error
    base = git.resolve(root, ref)
    if not git.is_ancestor(root, base, "HEAD"):
        raise RolloutProblem(f"--base {ref}: is no ancestor of HEAD, so who wrote the change can't be told")
    if git.same_source(root, base, "HEAD"):
        raise Failure(f"--base {ref}: that is what HEAD holds; name the commit before the change")
    return base


def _silent(name: str) -> None:
    """Tells nobody."""


def prepare(
    root: Path,
    settings: RolloutSettings,
    *,
    base: str,
    scratch: str | None = None,
    fresh: bool = False,
    tell: Callable[[str], None] = _silent,
) -> Prepared:
    """Gathers what is not there yet, and writes plan, documents and an entry of the log.

    A record is kept where it passed, belongs to this commit, tool, base and settings, and is less than a day old;
    `fresh` gathers all. `tell` gets the name of each check before it runs. Raises RolloutProblem where the working tree
    is not as committed, before or after the checks, which goes into the log, too.
    """
    try:
        return _prepare(root, settings, base, scratch, fresh, tell)
    except (Refused, RolloutProblem) as problem:
        audit.append(root, "prepare.refused", git.mail(root), why=problem.message)
        raise


def _prepare(
    root: Path, settings: RolloutSettings, base: str, scratch: str | None, fresh: bool, tell: Callable[[str], None]
) -> Prepared:
    _demand_committed(root, "commit or ignore it first: evidence belongs to a commit")
    _demand_ignored_reports(root, settings)
    commit, run_id = git.head(root), checks.new_run()
    outcomes = []
    for name, gather in _gatherers(root, settings, base, scratch, run_id):
        kept = not fresh and _may_stay(root, settings, base, commit, name)
        if not kept and gather:
            tell(name)
            gather()
        record = evidence.read(root, name)
        outcomes.append(Outcome(name, binding.judged(record, root, settings, base, commit), kept or gather is None))
    _demand_committed(root, "a check changed it, so the evidence is not of this commit")
    if git.head(root) != commit:
        raise RolloutProblem("HEAD moved while the checks ran: run `unhush rollout prepare` again")
    found = _write(root, settings, base, outcomes)
    lost = binding.without_git(root, found["documents"], evidence.read_all(root))
    return Prepared(found, tuple(outcomes), binding.without_tests(settings) or lost)


def _gatherers(
    root: Path, settings: RolloutSettings, base: str, scratch: str | None, run_id: str
) -> Iterator[tuple[str, Callable[[], object] | None]]:
    """Each record by name, with what gathers it; None where another command does."""
    yield scans.NAME, lambda: scans.gather(root, base, run_id)
    if proofs.NAME in binding.required(settings, evidence.read_all(root)):
        yield proofs.NAME, lambda: proofs.gather(root, base, run_id)
    yield flags_off.NAME, lambda: flags_off.gather(root, run_id)
    yield idempotence.NAME, lambda: idempotence.gather(root, plan.dialects(settings), scratch, run_id)
    yield binding.DRY_RUN, None
    for check in settings.checks.values():
        yield check.name, partial(_run, root, check, run_id)


def _run(root: Path, check: Check, run_id: str) -> Evidence:
    return checks.run(
        check.name,
        binding.kind_of(check),
        check.command,
        root,
        run_id=run_id,
        timeout=check.timeout,
        report=check.report,
        minimum=check.minimum,
        inputs=[checks.PYPROJECT] if (root / checks.PYPROJECT).is_file() else [],
        facts=binding.facts_of(check),
    )


def _may_stay(root: Path, settings: RolloutSettings, base: str, commit: str, name: str) -> bool:
    """Whether a record that lies there is as good as a new one."""
    record = evidence.read(root, name)
    if not binding.judged(record, root, settings, base, commit).passed:
        return False
    age = datetime.now(UTC) - datetime.fromisoformat(record.ended_at)
    return age < KEPT_FOR


def _write(root: Path, settings: RolloutSettings, base: str, outcomes: Iterable[Outcome]) -> plan.Plan:
    """Writes the covered documents, then the plan that holds their hashes, then what is rendered from the plan."""
    records = evidence.read_all(root)
    staging = [name for name in records if name.startswith(binding.STAGING)]
    there = [outcome.name for outcome in outcomes if outcome.name in records]
    draft = plan.draft(root, settings, base=base, records=there, staging=staging)
    draft["documents"] = documents.write(root, documents.covered(draft, records, settings))
    before = plan.before(root)
    found = plan.write(root, draft)
    if found != before:
        said = {outcome.name: outcome.verdict.status for outcome in outcomes}
        facts = {"plan_digest": plan.digest(found), "commit": found["commit"], "evidence": said}
        audit.append(root, "prepared", git.mail(root), **facts)
    documents.write(root, documents.status(found, records, settings))
    return found


def _demand_committed(root: Path, why: str) -> None:
    names = git.dirty(root)
    if names:
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        raise RolloutProblem(f"{names[0]} is not as committed{more}: {why}")


def _demand_ignored_reports(root: Path, settings: RolloutSettings) -> None:
    for check in settings.checks.values():
        if check.report and not git.ignored(root, check.report):
            raise RolloutProblem(
                f"{check.report}, the report of {check.name}, must be ignored by git: add it to .gitignore"
            )

"""What a roll-out must rest on, and whether a record belongs to this commit and this version of the tool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..version import __version__
from . import audit, evidence, git, plan
from .errors import RolloutProblem
from .evidence import Evidence, Verdict
from .settings import Check, RolloutSettings

DRY_RUN = "dry_run"
OWN = ("handlers", "proof", "flags", "migrations", DRY_RUN)  # records whose kind is their name
TESTS = "tests"  # the kind of which a team must have a check
_ON_DATABASES = ("migrations", DRY_RUN)
STAGING = "staging/"  # how the names of staging's records begin


def judged(record: Evidence, root: Path, settings: RolloutSettings, base: str, commit: str) -> Verdict:
    """The verdict on a record, which must belong to the commit, the base, this tool and the settings of today.

    Both commits are given by their full ids.
    """
    first = evidence.verdict(record, root)
    if record.kind in (evidence.MISSING, evidence.UNREADABLE) or record.kind not in evidence.KINDS:
        return first
    try:
        foreign = _foreign(record, root, settings, base, commit)
    except RolloutProblem as error:
        foreign = error.message
    return Verdict("fail" if first.status == "fail" else "no evidence", foreign) if foreign else first


def _foreign(record: Evidence, root: Path, settings: RolloutSettings, base: str, commit: str) -> str | None:
    """Why a record says nothing of this commit; None where it does."""
    if record.tool_version != __version__:
        return f"it was made by unhush {record.tool_version}, this is {__version__}"
    if not git.same_source(root, record.commit, commit):
        return f"it is of another commit, {str(record.commit)[:12]}"
    if "base" in record.facts and record.facts["base"] != base:
        return "it compares with another base"
    if record.name in OWN and record.kind != record.name:
        return f"it is of the kind {record.kind!r}"
    if record.name in _ON_DATABASES and (elsewhere := _on_other_databases(record, settings)):
        return elsewhere
    check = settings.checks.get(record.name)
    if check and not _is_of(record, check):
        return "it was made by other settings of the check"
    return None


def _on_other_databases(record: Evidence, settings: RolloutSettings) -> str | None:
    """Why a trial of migrations says nothing of the databases of this roll-out; None where it does."""
    wanted = plan.dialects(settings)
    if record.name == DRY_RUN:
        tried = (record.database or {}).get("dialect")
        return None if tried in wanted else f"it was run on {tried}, the roll-out is for {', '.join(wanted)}"
    return None if record.facts.get("wanted") == sorted(wanted) else "it was made for other databases"


def facts_of(check: Check) -> dict[str, object]:
    """What a record of a team's check keeps of its settings."""
    return {"timeout": check.timeout, "minimum": check.minimum, "format": check.format}


def kind_of(check: Check) -> str:
    """The kind of a team's check."""
    return TESTS if check.format == "junit" else "command"


def _is_of(record: Evidence, check: Check) -> bool:
    from ..runtime.redact import redact_text

    kept = {key: record.facts.get(key) for key in facts_of(check)}
    return (
        record.kind == kind_of(check)
        and record.command == tuple(map(redact_text, check.command))
        and kept == facts_of(check)
    )


def required(settings: RolloutSettings, records: Mapping[str, Evidence]) -> tuple[str, ...]:
    """The names of the records without which a plan does not stand, in the order in which they are gathered."""
    handlers = records.get("handlers")
    nothing_fixed = handlers is not None and not handlers.counts.get("fixed")
    return (*(name for name in OWN if name != "proof" or not nothing_fixed), *settings.checks)


def without_tests(settings: RolloutSettings) -> str | None:
    """A line where a team has no check that counts test cases: a plan without any test run is no evidence."""
    if any(kind_of(check) == TESTS for check in settings.checks.values()):
        return None
    return "tests: no check with format = 'junit' is set up in [tool.unhush.rollout.checks]"


def without_git(root: Path, found: Mapping[str, object], records: Mapping[str, Evidence]) -> str | None:
    """A line where git ignores files of the roll-out: whoever clones the project would lack them."""
    names = [evidence.path_of(name) for name in records] + [path for one in records.values() for path in one.outputs]
    left_out = git.ignored(root, *names, *found, plan.FILE, audit.FILE)
    if not left_out:
        return None
    more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
    return f"{left_out[0]}{more}: git ignores it, so a clone lacks it; narrow the pattern, to /report.xml for instance"

"""The whole way of a hardening change, step by step: what is done already is seen, what can be done is done.

Nothing but the commit that it started from is remembered: each step is worked out from what lies there, so it can be cut
off and begun again at any time, and each step works alone too.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..runtime.redact import redact_text
from . import approvals, binding, checks, evidence, git, plan, store
from .settings import RolloutSettings

FILE = "rollout/harden.json"  # the commit that it started from
PATIENCE = 7200.0  # seconds for a step: a team's own tests are among them
State = Literal["done", "failed", "next"]
_UNHUSH = (sys.executable, "-m", "unhush")


@dataclass(frozen=True, slots=True)
class Step:
    """What became of a step: done, failed, or the next one, which is a person's; `command` is what to run then."""

    name: str
    state: State
    said: str
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A project on its way; `url` is the database that the migrations are tried for, `may` is asked before files change."""

    root: Path
    settings: RolloutSettings
    base: str
    url: str | None
    scratch: str | None
    may: Callable[[str], bool]


def base_of(root: Path, settings: RolloutSettings, given: str | None) -> str:
    """The commit that the change starts from: as given, as set, as remembered, else HEAD as it is now. Remembered."""
    path = store.within(root, FILE)
    known = store.read_json(path).get("base") if path.is_file() else None
    base = git.resolve(root, str(given or settings.base or known or "HEAD"))
    if base != known:
        store.write_json(path, {"base": base})
    return base


def steps(way: Way) -> Iterator[Step]:
    """Takes the steps in order; ends after the first that failed, and with the next one that is a person's."""
    for take in (_scan_and_fix, _prove, _commit, _dry_run, _prepare):
        for step in take(way):
            yield step
            if step.state != "done":
                return
    yield _next(way)


def _scan_and_fix(way: Way) -> Iterator[Step]:
    code, found, why = _json(way, "check --output-format json .")
    if code not in (0, 1) or not isinstance(found, list):
        yield Step("scan", "failed", why or "unhush check said nothing of use", "unhush check .")
        return
    by_severity = Counter(item["severity"] for item in found)
    numbers = ", ".join(f"{by_severity[word]} {word}" for word in ("high", "medium", "low") if by_severity[word])
    yield Step("scan", "done", f"{len(found)} swallowed exceptions{f': {numbers}' if numbers else ''}")
    fixable = sum(item["fix"] == "safe" for item in found)
    if not fixable:
        left = f"{len(found)} can't be fixed by themselves: `unhush check .` shows them" if found else "nothing to fix"
        yield Step("fix", "done", left)
        return
    if dirty := git.dirty(way.root):
        yield Step("fix", "failed", f"{dirty[0]} is not as committed: commit it first, so that the fix stands alone")
        return
    if not way.may(f"Rewrite {fixable} handlers to structured logging?"):
        yield Step("fix", "next", f"{fixable} handlers can be rewritten", "unhush fix .")
        return
    ran = _run(way, "fix .")
    if ran[0] not in (0, 1):
        yield Step("fix", "failed", ran[1], "unhush fix .")
        return
    yield Step("fix", "done", ran[1])


def _prove(way: Way) -> Iterator[Step]:
    """The proof of the Python files that differ from the base, whoever changed them; more may be meant to differ."""
    changed = sorted(
        name for name in {*git.changed(way.root, way.base, "HEAD"), *git.dirty(way.root)} if name[-3:] == ".py"
    )
    if not changed:
        yield Step("prove", "done", "no Python file was changed")
        return
    ran = checks.execute([*_UNHUSH, "prove", "--against", way.base, *changed], way.root, PATIENCE)
    said = _last_line(ran)
    if ran.exit_code == 0:
        yield Step("prove", "done", f"{len(changed)} files differ by inserted logging alone")
    elif ran.exit_code == 1:
        yield Step(
            "prove", "done", f"not proved, look at the rest yourself: {said}", f"unhush prove --against {way.base} ."
        )
    else:
        yield Step("prove", "failed", said, f"unhush prove --against {way.base} .")


def _commit(way: Way) -> Iterator[Step]:
    if dirty := git.dirty(way.root):
        more = f" and {len(dirty) - 1} more" if len(dirty) > 1 else ""
        yield Step("commit", "next", f"{dirty[0]}{more}: look at it", 'git commit -a -m "Log what was swallowed"')
    elif git.same_source(way.root, way.base, git.head(way.root)):
        yield Step("commit", "next", "there is no change to roll out: handlers are as at the base", "unhush check .")
    else:
        yield Step("commit", "done", f"HEAD is {git.head(way.root)[:12]}, after {way.base[:12]}")


def _dry_run(way: Way) -> Iterator[Step]:
    if way.url is None:
        yield Step("dry run", "next", "name the database that the migrations are for", "unhush harden --url URL")
        return
    seen = evidence.read(way.root, binding.DRY_RUN)
    kept = binding.judged(seen, way.root, way.settings, way.base, git.head(way.root))
    if kept.passed:  # another one would be other evidence, and void the approvals
        yield Step("dry run", "done", f"{kept.why} (kept)")
        return
    code, said = _run(way, "db dry-run", UNHUSH_DATABASE_URL=way.url)
    yield Step("dry run", "done" if code == 0 else "failed", said, "" if code == 0 else "unhush db dry-run")


def _prepare(way: Way) -> Iterator[Step]:
    words = f"rollout prepare --quiet --json --base {way.base}"
    more = {"UNHUSH_DATABASE_URL": way.url or "", **({"UNHUSH_SCRATCH_URL": way.scratch} if way.scratch else {})}
    _, found, why = _json(way, words, **more)
    if not isinstance(found, dict):
        yield Step("prepare", "failed", why, "unhush rollout prepare")
        return
    bad = [f"{name}: {one['why']}" for name, one in found["evidence"].items() if one["status"] != "pass"]
    bad += [found["lacking"]] if found["lacking"] else []
    if bad:
        hint = "unhush harden --scratch URL" if "--scratch" in bad[0] else "unhush rollout prepare"
        yield Step("prepare", "failed", bad[0], hint)
        return
    yield Step("prepare", "done", f"{len(found['evidence'])} records, plan {found['plan_digest'][:12]}")


def _next(way: Way) -> Step:
    """What a person does next: staging, approvals, or the stages."""
    found = plan.read(way.root)
    if not found["staging"] or any(not _passed(way, name) for name in found["staging"]):
        return Step("staging", "next", "the staging half is not green yet", "unhush rollout staging --url URL")
    for one in approvals.standing(way.root, found, approvals.GATED):
        if not one.ok:
            return Step("approve", "next", one.why, f"unhush rollout approve --role {one.role} --key KEY")
    return Step("roll out", "next", "all stands: follow migration/operator_instructions.md", "unhush rollout status")


def _passed(way: Way, name: str) -> bool:
    return evidence.verdict(evidence.read(way.root, name), way.root).passed


def _run(way: Way, words: str, **env: str) -> tuple[int | None, str]:
    """The exit code of a command of ours, and the last line that it said."""
    ran = checks.execute([*_UNHUSH, *words.split()], way.root, PATIENCE, env)
    return ran.exit_code, _last_line(ran)


def _json(way: Way, words: str, **env: str) -> tuple[int | None, Any, str]:
    """The exit code of a command of ours, the JSON that it printed among its remarks, and its last line."""
    ran = checks.execute([*_UNHUSH, *words.split()], way.root, PATIENCE, env)
    text = ran.output.decode("utf-8", "replace")
    for start in re.finditer(r"^[\[{]", text, re.MULTILINE):
        try:
            found, _ = json.JSONDecoder().raw_decode(text, start.start())
        except ValueError:  # a remark that begins so
            continue
        return ran.exit_code, found, _last_line(ran)
    return ran.exit_code, None, _last_line(ran)


def _last_line(ran: checks.Ran) -> str:
    lines = redact_text(ran.output.decode("utf-8", "replace")).strip().splitlines()
    return ran.why or (lines[-1] if lines else "")


def data_of(taken: list[Step]) -> list[Mapping[str, str]]:
    """The steps for programs."""
    return [{"step": one.name, "state": one.state, "said": one.said, "command": one.command} for one in taken]


def code_of(taken: list[Step]) -> int:
    """1 where a step failed, else 0: what is next is a person's."""
    return 1 if any(one.state == "failed" for one in taken) else 0

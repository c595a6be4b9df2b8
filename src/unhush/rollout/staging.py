"""The staging half: deploy check, migrations, flags on, smoke tests, load, watch, and the way back, rehearsed."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime import flag_rows
from ..version import __version__
from . import audit, binding, checks, environment, evidence, figures, git, http_load, load, papers, rehearsal, store
from . import plan as plans
from .errors import Refused, RolloutProblem
from .evidence import Evidence, Verdict
from .flag_probe import FLAGS
from .prepare import Outcome

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from .settings import RolloutSettings

HEALTH_SCRIPT = "verification/health_check_script.sh"
SMOKE = "smoke"  # the team's check that is run against staging too
WATCH_SECONDS, LOOK_SECONDS = 30.0, 2.0
LOOKS = 2  # at least
PATIENCE = 300.0  # seconds for a command
_LOOKS = "looks.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """A run of the staging half on a database that is not gated."""

    root: Path
    settings: RolloutSettings
    engine: Engine
    url: str
    environment: str
    plan: dict[str, Any]
    run_id: str
    watch_seconds: float


def run(
    root: Path,
    settings: RolloutSettings,
    engine: Engine,
    url: str,
    *,
    watch_seconds: float = WATCH_SECONDS,
    tell: Callable[[str], None] = lambda name: None,
) -> list[Outcome]:
    """Runs the staging half and binds its evidence into the plan; the flags are OFF afterwards.

    It stops at the first step that is not green. `tell` gets the name of each before it runs. Raises Refused where the
    plan does not hold, or the database has no name or is gated; RolloutProblem where something can't be written.
    """
    found = plans.read(root)
    old = {evidence.path_of(name) for name in found["staging"]}
    differences = [*plans.source_differences(root, found), *plans.file_differences(root, found, but=old)]
    if differences:
        raise Refused(f"the plan does not hold any more: {differences[0]}; run `unhush rollout prepare`")
    named = environment.demand(engine, settings.gated)
    if named.gated:
        raise Refused(f"this database is {named.name}, which is gated: the staging half runs on another one")
    shutil.rmtree(root / evidence.FOLDER / "staging", ignore_errors=True)
    shutil.rmtree(root / evidence.files_of("staging"), ignore_errors=True)
    case = Staging(
        root=root,
        settings=settings,
        engine=engine,
        url=url,
        environment=named.name,
        plan=found,
        run_id=checks.new_run(),
        watch_seconds=watch_seconds,
    )
    outcomes = []
    try:
        for name, gather in _steps(case):
            tell(name)
            verdict = _judged(case, gather())
            outcomes.append(Outcome(f"{binding.STAGING}{name}", verdict, False))
            if not verdict.passed:
                break
    finally:
        _turn_off(case)
        _bind(case)
    return outcomes


def _steps(case: Staging) -> Iterator[tuple[str, Callable[[], Evidence]]]:
    yield "deploy", partial(_command, case, "deploy", ["bash", HEALTH_SCRIPT, "--before"])
    yield "upgrade", partial(_unhush, case, "upgrade", "db upgrade")
    yield "schema", partial(_unhush, case, "schema", "db status")
    yield "flags_on", partial(_flags_on, case)
    yield "smoke", partial(_smoke, case)
    yield "load", partial(_load, case)
    if case.settings.load.get("host"):
        yield "load_http", partial(_load_http, case)
    yield "watch", partial(_watch, case)
    yield (
        "rehearsal",
        partial(rehearsal.gather, case.root, run_id=case.run_id, url=case.url, environment=case.environment),
    )


def _judged(case: Staging, record: Evidence) -> Verdict:
    return binding.judged(record, case.root, case.settings, case.plan["base"], case.plan["commit"])


def _command(case: Staging, name: str, command: list[str], shown: list[str] | None = None, **more: Any) -> Evidence:
    options = {"kind": "command", "timeout": PATIENCE, **more}
    return checks.run(
        f"{binding.STAGING}{name}",
        options.pop("kind"),
        command,
        case.root,
        run_id=case.run_id,
        shown=shown,
        environment=case.environment,
        env=_env(case),
        **options,
    )


def _env(case: Staging) -> dict[str, str]:
    """The environment of what is run: this database, and this interpreter's own tools first."""
    import os

    here = str(Path(sys.executable).parent)
    return {"UNHUSH_DATABASE_URL": case.url, "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}"}


def _unhush(case: Staging, name: str, words: str) -> Evidence:
    return _command(case, name, [sys.executable, "-m", "unhush", *words.split()], shown=["unhush", *words.split()])


def _flags_on(case: Staging) -> Evidence:
    """Turns the flags on for every job, as in the last stage, and has another process ask for them."""
    with case.engine.begin() as connection:
        for name, said in sorted(case.plan["flags"].items()):
            flag_rows.write(
                connection, name, state="on", percentage=100.0, salt=said["salt"], actor=git.mail(case.root)
            )
    command = ["-m", "unhush.rollout.flag_watch"]
    return _command(
        case,
        "flags_on",
        [sys.executable, *command],
        shown=["python", *command],
        kind="flags_on",
        counted=_flag_counts,
    )


def _flag_counts(output: bytes) -> dict[str, int]:
    """How many jobs were asked about, and for how many each flag was on; empty where nothing was said."""
    lines = output.splitlines()
    try:
        seen = json.loads(lines[-1]) if lines else {}
        return {"jobs": int(seen["jobs"]), **{f"on_{key}": int(seen["on"][key]) for key in FLAGS}}
    except (ValueError, KeyError, TypeError):  # what is printed then says nothing of the flags
        return {}


def judge_flags_on(record: Evidence, root: Path) -> Verdict:
    """Green where another process saw each flag on for every job."""
    from .judges import not_ended

    if red := not_ended(record):
        return red
    counts = _flag_counts(store.within(root, f"{evidence.files_of(record.name)}/output.txt").read_bytes())
    if not counts or counts != record.counts:
        return Verdict("no evidence", "the flags were not asked, or the counts are not those of the output")
    if off := [key for key in FLAGS if counts[f"on_{key}"] != counts["jobs"]]:
        return Verdict("fail", f"{', '.join(off)} is not on for every job")
    return Verdict("pass", f"{', '.join(FLAGS)} on for all {counts['jobs']} jobs asked about, in another process")


def _smoke(case: Staging) -> Evidence:
    """The team's check of that name against this database; without one, whether all is well."""
    check = case.settings.checks.get(SMOKE)
    if check is None:
        return _command(case, "smoke", ["bash", HEALTH_SCRIPT])
    more: dict[str, Any] = {
        "kind": binding.kind_of(check),
        "report": check.report,
        "minimum": check.minimum,
        "timeout": check.timeout,
    }
    return _command(case, "smoke", list(check.command), **more, facts=binding.facts_of(check))


def _load(case: Staging) -> Evidence:
    asked = case.settings.load
    wanted = {key: asked[key] for key in ("jobs", "concurrency", "fail", "p95_ms") if key in asked}
    return load.gather(
        case.root,
        f"{binding.STAGING}load",
        run_id=case.run_id,
        url=case.url,
        environment=case.environment,
        **wanted,
    )


def _load_http(case: Staging) -> Evidence:
    asked = case.settings.load
    wanted = {
        key: asked[key] for key in ("paths", "users", "seconds", "error_share", "minimum", "locustfile") if key in asked
    }
    if "http_p95_ms" in asked:
        wanted["p95_ms"] = asked["http_p95_ms"]
    return http_load.gather(
        case.root,
        f"{binding.STAGING}load_http",
        run_id=case.run_id,
        host=asked["host"],
        environment=case.environment,
        **wanted,
    )


def _watch(case: Staging) -> Evidence:
    """Looks at the database's health again and again, with the flags on."""
    from .measures import health_of

    name, started, looks = f"{binding.STAGING}watch", evidence.now(), []
    ends = time.monotonic() + case.watch_seconds
    while True:
        health = health_of(case.engine)
        looks.append({"at": evidence.now(), "dead": health.dead, "problems": list(health.problems)})
        if len(looks) >= LOOKS and time.monotonic() >= ends:
            break
        time.sleep(min(LOOK_SECONDS, max(0.1, ends - time.monotonic())))
    path = checks.keep(case.root, name, _LOOKS, store.pretty(looks).encode())
    record = Evidence(
        name=name,
        kind="watch",
        command=("unhush", "health"),
        exit_code=0,
        started_at=started,
        ended_at=evidence.now(),
        run_id=case.run_id,
        tool_version=__version__,
        commit=git.head(case.root),
        environment=case.environment,
        outputs=store.hashes(case.root, [path]),
        counts=_look_counts(looks),
    )
    evidence.write(case.root, record)
    return record


def _look_counts(looks: list[dict[str, Any]]) -> dict[str, int]:
    return {"looks": len(looks), "not_well": sum(bool(look["problems"]) for look in looks)}


def judge_watch(record: Evidence, root: Path) -> Verdict:
    """Green where it was looked at twice at least, and all was well each time."""
    path = f"{evidence.files_of(record.name)}/{_LOOKS}"
    if red := figures.wrong(root, record, path, _look_counts):
        return red
    looks = store.read_json(store.within(root, path))
    if len(looks) < LOOKS:
        return Verdict("no evidence", f"{len(looks)} looks, at least {LOOKS} are asked for")
    bad = next((look["problems"][0] for look in looks if look["problems"]), None)
    return Verdict("fail", bad) if bad else Verdict("pass", f"{len(looks)} looks, all was well each time")


def _turn_off(case: Staging) -> None:
    with case.engine.begin() as connection:
        flag_rows.turn_off(connection, FLAGS, git.mail(case.root))


def _bind(case: Staging) -> None:
    """Puts the records into the plan, which is another one from then on, and renders the papers anew."""
    names = [name for name in evidence.read_all(case.root) if name.startswith(binding.STAGING)]
    changed = {**case.plan, "staging": plans.record_hashes(case.root, names)}
    if changed["staging"] != case.plan["staging"]:
        store.write_json(store.within(case.root, plans.FILE), changed)
        actor = git.mail(case.root)
        audit.append(
            case.root, "prepared", actor, plan_digest=plans.digest(changed), commit=changed["commit"], staging=names
        )
    papers.refresh(case.root, case.settings)


def demand_url(settings: RolloutSettings, given: str | None) -> str:
    """The database of the staging half. Raises RolloutProblem where none is named."""
    url = given or settings.staging_url or settings.url
    if url is None:
        raise RolloutProblem("name the database of staging: --url, `staging-url` in the settings")
    return url

"""`unhush db dry-run`: the pending migrations, tried before anybody's data depends on them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..database import json_option, needs_runtime, url_option
from ..output import Failure, Output
from ..sql.errors import SchemaProblem

if TYPE_CHECKING:
    from ..rollout.dryrun.run import Wish
    from ..rollout.settings import RolloutSettings

HELD, FAILED = 0, 1
REPORT = "dry_run_report"
_GIB = 2**30


@click.command("dry-run")
@url_option
@json_option
@click.option("--copy", "mode", flag_value="copy", default=True, help="Try it on a copy, dropped at the end (default).")
@click.option("--in-transaction", "mode", flag_value="transaction", help="Try it on the database, and roll it back.")
@click.option(
    "--this-is-a-copy", "mode", flag_value="given copy", help="The URL is that of a copy: try it right there."
)
@click.option(
    "--sql",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Try a file of your own instead.",
)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Migrations of your own, by dialect.",
)
@click.option("--on-production", is_flag=True, help="Also where the database calls itself production.")
@click.option("--largest-copy", type=click.FloatRange(min=0), default=10, metavar="GIB", show_default=True)
@click.option(
    "-o", "--output", "target", default="migration", show_default=True, metavar="FOLDER", type=click.Path(path_type=Path),
    help="Where the reports go.",
)  # fmt: skip
@click.pass_context
def command(
    ctx: click.Context,
    /,
    url: str,
    as_json: bool,
    mode: str,
    files: tuple[Path, ...],
    folder: Path | None,
    on_production: bool,
    largest_copy: float,
    target: Path,
) -> None:
    """Tries the pending migrations: up, down, up and up once more, with locks, rewrites, scans and a held lock.

    Writes dry_run_report.md and dry_run_report.json. Exits with 0 when all held, 1 where a check failed or could not be
    made, 2 for wrong use and where there is no database.
    """
    with needs_runtime():
        from ..rollout.dryrun.run import Wish
        from ..sql.files import FOLDER
    wish = Wish(
        url=url,
        mode=mode,
        files=files,
        folder=folder or FOLDER,
        on_production=on_production,
        largest=int(largest_copy * _GIB),
    )
    _demand_jinja()
    ctx.exit(_run(wish, target, Output(), as_json))


def _demand_jinja() -> None:
    try:
        import jinja2  # noqa: F401 - missed before anything is tried, not after it
    except ModuleNotFoundError as error:
        raise Failure(f"{error.name} is not installed: pip install 'unhush[rollout]'") from error


def _run(wish: Wish, target: Path, output: Output, as_json: bool) -> int:
    from ..reports import dryrun as reports
    from ..rollout.dryrun.run import dry_run
    from ..rollout.store import write_json, write_text

    try:
        facts = dry_run(wish)
    except SchemaProblem as problem:
        output.error(str(problem))
        return FAILED
    project = _project(wish, target)
    templates = project.templates if project else None
    text = reports.report(facts, templates)
    write_json(target / f"{REPORT}.json", facts)
    write_text(target / f"{REPORT}.md", text)
    summary = reports.summary(facts)
    code = HELD if summary["verdict"] == "passed" else FAILED
    if project is not None:
        _record(project, facts, code, output)
    if as_json:
        output.write([json.dumps({**summary, "report": str(target / f"{REPORT}.json")}, indent=2) + "\n"])
    else:
        output.write(_told(facts, summary, target))
    return code


def _project(wish: Wish, target: Path) -> RolloutSettings | None:
    """The roll-out's settings, where this run is to be its evidence: unhush's own migrations, reported in the project."""
    from ..config import find_table
    from ..rollout import settings
    from ..rollout.dryrun.judge import JSON
    from ..sql.files import FOLDER

    if "rollout" not in find_table(os.getcwd())[1]:
        return None
    found = settings.load(Path.cwd())
    at_home = (target / f"{REPORT}.json").resolve() == (found.root / JSON).resolve()
    return found if at_home and not wish.files and wish.folder == FOLDER else None


def _record(project: RolloutSettings, facts: dict[str, Any], code: int, output: Output) -> None:
    from ..rollout.dryrun.judge import NAME, record
    from ..rollout.evidence import path_of

    how = {"copy": "--copy", "transaction": "--in-transaction", "given copy": "--this-is-a-copy"}[facts["mode"]]
    command = ("unhush", "db", "dry-run", "--url", facts["database"]["url"], how)
    record(project.root, command, code, facts, project.templates)
    output.remark(f"recorded in {path_of(NAME)}")


def _told(facts: dict[str, Any], summary: dict[str, Any], target: Path) -> list[str]:
    from ..reports.dryrun import headlines
    from ..reports.excerpt import shown

    lines = [f"{shown(text)}\n" for text in headlines(facts)]
    lines += [
        f"{check['status']}: {check['name']}: {shown(check['why'])}\n"
        for check in summary["checks"]
        if check["status"] not in ("pass", "nothing to check")
    ]
    return [*lines, f"{target / REPORT}.md\n"]

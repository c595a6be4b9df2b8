"""`unhush db`: where a database's schema stands, and what brings it forward and back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..database import database, database_url, json_option, url_option
from ..output import Failure, Output
from ..sql.errors import SchemaProblem
from ..sql.files import DIALECTS, Migration, migrations
from . import dry_run
from .letters_out import WayOut

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ..sql.jobs_table import Plan
    from ..sql.runner import Status

REFUSED = 1

table_option = click.option(
    "--jobs-table", "table", metavar="TABLE", help="A table of your own jobs, which is to show heartbeats too."
)
key_option = click.option(
    "--key-column", "key", metavar="COLUMN", default="id", show_default=True, help="The jobs' ids in that table."
)


@click.group("db")
def command() -> None:
    """Applies the migrations of the dead letter queue to a database, and takes them back."""


@command.command("status")
@url_option
@json_option
@click.pass_context
def show_status(ctx: click.Context, /, url: str, as_json: bool) -> None:
    """Shows which migrations a database has, which it lacks, and what is wrong.

    Exits with 0 where all is up to date, 1 where something is pending or wrong, 2 where there is no database.
    """
    from ..sql.runner import status

    output = Output()
    with database(url) as engine, _refusing(ctx, output):
        found = status(engine)
    output.write([_json(_status_data(found)) if as_json else _status_text(found)])
    ctx.exit(REFUSED if found.pending or found.problems else 0)


@command.command("upgrade")
@url_option
@json_option
@click.option("--to", type=click.IntRange(min=1), metavar="VERSION", help="The last migration to apply (default: all).")
@click.option("--dry-run", is_flag=True, help="Only say what would be applied.")
@click.option("--sql", "as_sql", is_flag=True, help="Only print what would be applied, the files byte by byte.")
@table_option
@key_option
@click.pass_context
def upgrade_database(
    ctx: click.Context,
    /,
    url: str,
    as_json: bool,
    to: int | None,
    dry_run: bool,
    as_sql: bool,
    table: str | None,
    key: str,
) -> None:
    """Applies the migrations that a database lacks; a SQLite file that is not there is made.

    Exits with 0 when it is done (and where nothing was to do), 1 where it is refused or fails, 2 where there is no
    database, 3 where the database is gated and its roll-out lacks an approval.
    """
    from ..sql.jobs_table import SCHEMA, plan, upgrade_table
    from ..sql.runner import upgrade

    output = Output()
    plan_only = dry_run or as_sql
    _demand_table(ctx, table)
    if table is not None and to is not None and to < SCHEMA:
        raise Failure(f"--jobs-table needs migration {SCHEMA}, so --to can't be less")
    with database(url, create=not plan_only and table is None) as engine, _refusing(ctx, output):
        own = None if table is None else plan(engine, table, key)  # refused before anything is changed
        if not plan_only and (_pending(engine, to) or (own and own.pending)):
            _demand_approvals(engine)
        steps = _pending(engine, to) if plan_only else upgrade(engine, to)
        if table is not None and not plan_only:
            own = upgrade_table(engine, table, key)
    if as_sql:
        texts = [step.script.data for step in steps] + ([own.script.data] if own and own.pending else [])
        output.write_bytes(b"".join(texts))
    else:
        _tell(output, "would apply" if dry_run else "applied", steps, as_json, own=own, show=dry_run)


command.add_command(dry_run.command)


@command.command("downgrade")
@url_option
@json_option
@click.option("--to", type=click.IntRange(min=0), metavar="VERSION", help="What to go back to; 0: all.")
@click.option("--jobs-table", "table", metavar="TABLE", help="Take only the heartbeats out of this table of your own.")
@click.option("--dry-run", is_flag=True, help="Only say what would be taken back, and what would be lost.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--export", "file", metavar="FILE", type=Path, help="First write all dead letters to a new file.")
@click.option("--lose-letters", is_flag=True, help="Drop letters that were neither redriven nor discarded.")
@click.pass_context
def downgrade_database(
    ctx: click.Context,
    /,
    url: str,
    as_json: bool,
    to: int | None,
    table: str | None,
    dry_run: bool,
    yes: bool,
    file: Path | None,
    lose_letters: bool,
) -> None:
    """Takes migrations back, newest first, with the rows of the tables that they made.

    With --jobs-table it takes heartbeats out of a table of your own, and nothing else. Letters that were neither
    redriven nor discarded are not dropped without --export or --lose-letters.

    Exits with 0 when it is done (and where nothing was to do), 1 where it is refused or fails, 2 where there is no
    database.
    """
    from ..sql.runner import backouts, downgrade, losses

    output = Output()
    if (to is None) == (table is None):
        raise Failure("say either --to VERSION or --jobs-table TABLE")
    if to is None:
        assert table is not None
        _take_back_table(ctx, output, url, table, as_json, dry_run, yes)
        return
    with database(url) as engine, _refusing(ctx, output):
        with engine.connect() as connection:
            steps, lost = backouts(connection, to), losses(connection, to)
        if steps and not dry_run:
            way_out = WayOut(file, lose_letters)
            way_out.check(engine, steps)
            if not yes:
                _confirm(f"take back {', '.join(step.label for step in steps)} and lose {_rows(lost)}")
            steps = downgrade(engine, to, letters=way_out.export(engine, steps, output))
            _note(engine, "db.downgrade", migrations=[step.label for step in steps])
    _tell(output, "would take back" if dry_run else "took back", steps, as_json, lost)


@command.command("sql")
@url_option
@click.option("--dialect", type=click.Choice(DIALECTS), help="The kind of database (default: that of the URL).")
@click.option("--backout", is_flag=True, help="Print what takes the migration back.")
@table_option
@key_option
@click.argument("version", required=False, type=click.IntRange(min=1))
@click.pass_context
def print_sql(
    ctx: click.Context,
    /,
    url: str,
    dialect: str | None,
    backout: bool,
    table: str | None,
    key: str,
    version: int | None,
) -> None:
    """Prints the file of migration VERSION (default: of all that upgrade applies) byte by byte. Needs no database.

    With --jobs-table it prints what adds heartbeats to that table instead.
    """
    output = Output()
    _demand_table(ctx, table)
    if table is not None:
        from ..sql.jobs_table import rendered

        if version is not None:
            raise Failure("say either VERSION or --jobs-table TABLE")
        with _refusing(ctx, output):
            text = rendered(dialect or database_url(url).get_backend_name(), table, key, backout)
        output.write_bytes(text)
        return
    with _refusing(ctx, output):
        steps = migrations(dialect or database_url(url).get_backend_name())
        if version and version not in {step.version for step in steps}:
            raise SchemaProblem(f"there is no migration {version}; the latest is {steps[-1].version}")
    chosen = [step for step in steps if step.version == version or (version is None and not step.apart)]
    scripts = [step.backout for step in reversed(chosen)] if backout else [step.script for step in chosen]
    output.write_bytes(b"".join(script.data for script in scripts))


def _demand_approvals(engine: Engine) -> None:
    """Raises Refused on a gated database until all approvals of the roll-out stand."""
    from ..rollout.environment import demand_approvals

    demand_approvals(engine, "db.upgrade")


def _note(engine: Engine, act: str, **facts: object) -> None:
    """Writes a way back on a gated database into the roll-out's log: it needs no approval, and is not unseen."""
    from ..rollout.environment import note

    note(engine, act, **facts)


@contextmanager
def _refusing(ctx: click.Context, output: Output) -> Iterator[None]:
    try:
        yield
    except SchemaProblem as problem:
        output.error(str(problem))
        ctx.exit(REFUSED)


def _pending(engine: Engine, to: int | None) -> Iterable[Migration]:
    """What an upgrade would apply. Raises SchemaProblem where it would be refused."""
    from ..sql.runner import status

    found = status(engine)
    if found.refusals:
        raise SchemaProblem(found.refusals[0])
    return [step for step in found.pending if to is None or step.version <= to]


def _demand_table(ctx: click.Context, table: str | None) -> None:
    """Raises Failure for a key of no table."""
    given = ctx.get_parameter_source("key") is not click.core.ParameterSource.DEFAULT
    if table is None and given:
        raise Failure("--key-column is that of a --jobs-table: name the table too")


def _take_back_table(
    ctx: click.Context, output: Output, url: str, table: str, as_json: bool, dry_run: bool, yes: bool
) -> None:
    from ..sql.jobs_table import downgrade_table, recorded

    with database(url) as engine, _refusing(ctx, output):
        with engine.connect() as connection:
            record = recorded(connection, table)
        if not dry_run:
            if not yes:
                _confirm(f"take heartbeats out of {record.name} and lose what they say of its jobs")
            record = downgrade_table(engine, table)
            _note(engine, "db.downgrade", table=record.name)
    act = "would take back" if dry_run else "took back"
    if as_json:
        output.write([_json({"act": act, "jobs_table": {"name": record.name, "key_column": record.key_column}})])
        return
    output.write([f"{act} heartbeats of {record.name}\n", *([record.backout] if dry_run else [])])


def _confirm(what: str) -> None:
    """Asks on a terminal. Raises SchemaProblem where nobody can be asked, or says no."""
    if not sys.stdin.isatty():
        raise SchemaProblem(f"this would {what}: say --yes")
    if not click.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        raise SchemaProblem("nothing was changed")


def _rows(lost: dict[str, int]) -> str:
    return (
        ", ".join(f"{count:,} {'row' if count == 1 else 'rows'} of {name}" for name, count in lost.items() if count)
        or "no rows"
    )


def _tell(
    output: Output,
    act: str,
    steps: Iterable[Migration],
    as_json: bool,
    lost: dict[str, int] | None = None,
    own: Plan | None = None,
    show: bool = False,
) -> None:
    """Says what was done; with `show`, the text for the user's own table too."""
    labels = [step.label for step in steps]
    if as_json:
        data: dict[str, Any] = {"act": act, "migrations": labels}
        if own is not None:
            data["jobs_table"] = {
                "name": own.name,
                "key_column": own.key_column,
                "checksum": own.checksum,
                "changed": own.pending,
                "sql": own.script.text,
            }
        output.write([_json(data if lost is None else {**data, "rows_lost": lost})])
        return
    if own is not None and own.pending:
        labels.append(f"heartbeats to {own.name}, key {own.key_column}")
    output.write(f"{act} {label}\n" for label in labels or ["nothing"])
    if own is not None and own.pending and show:
        output.write([own.script.text])
    if lost is not None and labels:
        output.write([f"rows lost: {_rows(lost)}\n"])


def _status_data(found: Status) -> dict[str, Any]:
    return {
        "dialect": found.dialect,
        "current": found.current,
        "latest": found.latest,
        "applied": [
            {
                "version": step.version,
                "name": step.name,
                "checksum": step.checksum,
                "applied_at": step.applied_at.isoformat(),
                "applied_by": step.applied_by,
                "duration": step.duration,
            }
            for step in found.applied
        ],
        "jobs_tables": [
            {
                "name": own.name,
                "key_column": own.key_column,
                "checksum": own.checksum,
                "applied_at": own.applied_at.isoformat(),
                "applied_by": own.applied_by,
                "duration": own.duration,
                "sql": own.script,
            }
            for own in found.jobs_tables
        ],
        "pending": [step.label for step in found.pending],
        "apart": [step.label for step in found.apart],
        "problems": list(found.problems),
    }


def _status_text(found: Status) -> str:
    state = "up to date" if not found.pending and not found.problems else "not up to date"
    lines = [f"{found.dialect}: migration {found.current} of {found.latest}, {state}"]
    lines += [
        f"applied  {step.label}, {step.applied_at:%Y-%m-%d %H:%M:%S} UTC by {step.applied_by} in {step.duration:.2f} s"
        for step in found.applied
        if step.duration is not None
    ]
    lines += [
        f"applied  heartbeats to {own.name}, key {own.key_column}, {own.applied_at:%Y-%m-%d %H:%M:%S} UTC by"
        f" {own.applied_by} in {own.duration:.2f} s"
        for own in found.jobs_tables
        if own.duration is not None
    ]
    lines += [f"pending  {step.label}" for step in found.pending]
    lines += [f"apart    {step.label}, not applied: `unhush rollout init` does that" for step in found.apart]
    lines += [f"problem  {problem}" for problem in found.problems]
    return "".join(f"{line}\n" for line in lines)


def _json(data: object) -> str:
    return json.dumps(data, indent=2) + "\n"

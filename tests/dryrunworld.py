"""A database with jobs in it, and files to try on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
from services import fresh_database
from sqlalchemy import create_engine, text

from unhush.reports import dryrun_checks as checked
from unhush.reports.templating import SHIPPED
from unhush.rollout.dryrun.run import GIVEN, Wish, dry_run

SCHEMA = jsonschema.Draft202012Validator(json.loads((SHIPPED / "dry_run.schema.json").read_text()))
BOUND = "SET LOCAL lock_timeout = '200ms';\nSET LOCAL statement_timeout = '60s';\n"
JOBS = """
CREATE TABLE jobs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer, note text);
INSERT INTO jobs (n, note) SELECT g, 'x' FROM generate_series(1, {rows}) g;
ANALYZE jobs;
"""


def execute(url: str, *statements: str) -> list[Any]:
    """Runs statements, each by itself; the rows of the last one."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    rows: list[Any] = []
    with engine.connect() as connection:
        for statement in statements:
            result = connection.execute(text(statement.replace(":", "\\:")))
            rows = list(result) if result.returns_rows else []
    engine.dispose()
    return rows


@contextmanager
def jobs(folder: Path, rows: int = 10) -> Iterator[str]:
    """The URL of a PostgreSQL database with a table of jobs."""
    with fresh_database("postgresql", str(folder)) as url:
        execute(url, *JOBS.format(rows=rows).strip().split("\n"))
        yield url


def file(folder: Path, up: str, down: str | None = None, *, name: str = "change") -> Path:
    """A file of a user's own, with its backout."""
    path = folder / f"{name}.sql"
    path.write_text(up, encoding="utf-8")
    if down is not None:
        path.with_suffix(".backout.sql").write_text(down, encoding="utf-8")
    return path


def tried(url: str, *files: Path, mode: str = GIVEN, contended: bool = False, **wish: Any) -> dict[str, Any]:
    """The facts of a dry run right on the database, which must fit their schema."""
    facts = dry_run(Wish(url=url, files=files, mode=mode, contended=contended, **wish))
    SCHEMA.validate(facts)
    return json.loads(json.dumps(facts))


def statuses(facts: dict[str, Any]) -> dict[str, str]:
    """Each check's status by name."""
    return {check.name: check.status for check in checked.checks(facts)}


def why(facts: dict[str, Any], name: str) -> str:
    """What a check says."""
    return next(check.why for check in checked.checks(facts) if check.name == name)


def failed(facts: dict[str, Any], *but: str) -> list[str]:
    """The checks that did not hold, without squawk's, which has its own tests."""
    return [name for name, status in statuses(facts).items() if status == checked.FAIL and name not in ("squawk", *but)]

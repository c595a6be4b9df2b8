"""Databases for the tests of migrations, and folders of migrations that a test may add to."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from services import fresh_database
from sqlalchemy import Engine, create_engine

from unhush.sql.files import DIALECTS, FOLDER


@pytest.fixture(params=DIALECTS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new, empty database of each kind."""
    with fresh_database(request.param, str(tmp_path)) as url:
        yield url


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """An engine for it."""
    engine = create_engine(database)
    yield engine
    engine.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations, but for the one that stands apart: a test's own take its number."""
    ignored = shutil.ignore_patterns("*.py", "__pycache__", "003_create_rollout*")
    return Path(shutil.copytree(FOLDER, tmp_path / "migrations", ignore=ignored))


@pytest.fixture
def add(folder: Path) -> Callable[..., Path]:
    """Adds a migration to the copy, for all kinds of database, and returns the folder."""

    def write(name: str, script: str, backout: str = "") -> Path:
        for dialect in DIALECTS:
            (folder / dialect / f"{name}.sql").write_text(script, encoding="utf-8")
            (folder / dialect / f"{name}.backout.sql").write_text(backout, encoding="utf-8")
        return folder

    return write

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unhush.sql.files import FOLDER
from unhush.sql.jobs_table import rendered

SQUAWK = shutil.which("squawk", path=str(Path(sys.executable).parent)) or shutil.which("squawk")
pytestmark = pytest.mark.skipif(not SQUAWK, reason="squawk is not installed (extra lint)")


def lint(*paths: Path, cwd: Path, whole: bool = True) -> subprocess.CompletedProcess[str]:
    command = [str(SQUAWK), *(["--assume-in-transaction"] if whole else []), *map(str, paths)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_files_for_postgresql_are_safe(tmp_path: Path) -> None:
    """squawk finds nothing in the files for PostgreSQL, and does find what is wrong in one that locks a table."""
    paths = sorted((FOLDER / "postgresql").glob("[0-9]*.sql"))
    assert len(paths) >= 2
    good = lint(*paths, cwd=tmp_path)
    assert (good.returncode, good.stderr) == (0, ""), good.stdout
    bad = tmp_path / "bad.sql"
    bad.write_text("ALTER TABLE job_dlq ADD COLUMN more integer NOT NULL;\n")
    found = lint(bad, cwd=tmp_path)
    assert found.returncode == 1
    assert "adding-required-field" in found.stdout


def test_text_for_a_users_table_is_safe(tmp_path: Path) -> None:
    """squawk finds nothing in what is run on a user's own table and takes it back, and does in one that locks writers."""
    for name in ("jobs", "app.Order Items"):
        paths = [tmp_path / "way.sql", tmp_path / "back.sql"]
        for path, backout in zip(paths, (False, True), strict=True):
            path.write_bytes(rendered("postgresql", name, "id", backout))
        good = lint(*paths, cwd=tmp_path, whole=False)
        assert (good.returncode, good.stderr) == (0, ""), good.stdout
        bad = tmp_path / "bad.sql"
        bad.write_text(paths[0].read_text().replace(" CONCURRENTLY", ""))
        assert "require-concurrent-index-creation" in lint(bad, cwd=tmp_path, whole=False).stdout

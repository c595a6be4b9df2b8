from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from services import fresh_database
from sqlalchemy import Engine, create_engine, inspect, make_url

from unhush.runtime import DeadLetterQueue
from unhush.sql import letters_kept
from unhush.sql.errors import SchemaProblem
from unhush.sql.files import FOLDER
from unhush.sql.runner import downgrade, upgrade
from unhush.sql.session import reading

Run = Callable[..., subprocess.CompletedProcess[bytes]]
BACKOUT = FOLDER / "postgresql" / "001_create_job_dlq.backout.sql"


def put(database: str, count: int = 1) -> list[str]:
    with DeadLetterQueue(database) as queue:
        for number in range(count):
            queue.put(
                queue="mail", job_name="send", job_id=f"job-{number}", payload={"to": number}, error=OSError("no")
            )
        return [letter.id for letter in queue.list().letters]


def there(database: str) -> bool:
    engine = create_engine(database)
    try:
        return inspect(engine).has_table("job_dlq")
    finally:
        engine.dispose()


def test_downgrade_keeps_letters(database: str, unhush: Run, tmp_path: Path) -> None:
    """On each database a backout is refused while a letter waits, exports all on demand, and they can be brought back."""
    env = {"UNHUSH_DATABASE_URL": database}
    unhush("db", "upgrade", env=env)
    kept = put(database, 2)
    refused = unhush("db", "downgrade", "--to", "0", "--yes", env=env)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert refused.stderr.decode() == (
        "error: the database holds 2 letters that were neither redriven nor discarded; nothing was changed: say"
        " --export FILE to keep them in a file, or --lose-letters\n"
    )
    assert there(database)
    done = unhush("db", "downgrade", "--to", "0", "--yes", "--export", "letters.jsonl", env=env)
    assert (done.returncode, done.stderr) == (0, b"exported 2 letters to letters.jsonl\n")
    assert not there(database)
    lines = (tmp_path / "letters.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["letter"]["id"] for line in lines) == sorted(kept)
    unhush("db", "upgrade", env=env)
    back = unhush("dlq", "import", "letters.jsonl", "--actor", "ann", env=env)
    assert back.stdout == b"stored 2 letters, 0 there already, 0 broken\n"
    lost = unhush("db", "downgrade", "--to", "0", "--yes", "--lose-letters", env=env)
    assert lost.returncode == 0
    assert not there(database)


def test_settled_letters_may_go(unhush: Run) -> None:
    """A letter that was discarded holds nothing back: the control for the refusals."""
    unhush("db", "upgrade")
    (letter,) = put(sqlite_url())
    assert unhush("db", "downgrade", "--to", "0", "--yes").returncode == 1
    assert unhush("dlq", "discard", letter, "--actor", "ann", "--reason", "old").returncode == 0
    assert unhush("db", "downgrade", "--to", "0", "--yes").returncode == 0


def sqlite_url() -> str:
    return f"sqlite:///{os.getcwd()}/unhush.db"


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_export_is_never_overwritten(unhush: Run, tmp_path: Path) -> None:
    """A file that is there stays, and so do the letters."""
    unhush("db", "upgrade")
    put(sqlite_url())
    (tmp_path / "letters.jsonl").write_text("older letters\n")
    refused = unhush("db", "downgrade", "--to", "0", "--yes", "--export", "letters.jsonl")
    assert (refused.returncode, refused.stderr.decode()) == (
        2,
        "error: --export: letters.jsonl is there already, and is not overwritten\n",
    )
    assert (tmp_path / "letters.jsonl").read_text() == "older letters\n"
    assert there(sqlite_url())


def test_export_that_can_not_be_written(unhush: Run, tmp_path: Path) -> None:
    """Without a place for the file nothing is dropped."""
    unhush("db", "upgrade")
    put(sqlite_url())
    refused = unhush("db", "downgrade", "--to", "0", "--yes", "--export", "no-folder/letters.jsonl")
    assert refused.returncode == 2
    assert b"can't be written" in refused.stderr
    assert there(sqlite_url())
    assert list(tmp_path.glob("**/*.tmp")) == []


def test_encrypted_originals_are_not_lost(unhush: Run, tmp_path: Path) -> None:
    """An export does not hold encrypted originals, so it does not do for them."""
    unhush("db", "upgrade")
    put(sqlite_url())
    connection = sqlite3.connect(tmp_path / "unhush.db")
    connection.execute("UPDATE job_dlq SET secret_payload = x'00'")
    connection.commit()
    connection.close()
    refused = unhush("db", "downgrade", "--to", "0", "--yes", "--export", "letters.jsonl")
    assert refused.returncode == 1
    assert b"1 of the letters have an encrypted original, which no export holds" in refused.stderr
    assert there(sqlite_url())
    both = unhush("db", "downgrade", "--to", "0", "--yes", "--export", "letters.jsonl", "--lose-letters")
    assert both.returncode == 0
    assert (tmp_path / "letters.jsonl").read_text().count("\n") == 1


def test_letter_that_comes_meanwhile(engine: Engine, database: str) -> None:
    """A letter that is captured after the export stops the backout; without one the same mark lets it through."""
    upgrade(engine)
    put(database)
    with engine.connect() as connection:
        mark = letters_kept.mark(reading(connection))
    with DeadLetterQueue(database) as queue:
        queue.put(queue="mail", job_name="send", job_id="late", payload={}, error=OSError("no"))
    with pytest.raises(SchemaProblem, match="letters came or changed while they were exported"):
        downgrade(engine, 0, letters=mark)
    assert inspect(engine).has_table("job_dlq")
    with engine.connect() as connection:
        mark = letters_kept.mark(reading(connection))
    downgrade(engine, 0, letters=mark)
    assert not inspect(engine).has_table("job_dlq")


@pytest.mark.skipif(not shutil.which("psql"), reason="psql is not installed")
def test_backout_by_psql_alone(tmp_path: Path) -> None:
    """psql with the backout's file alone is refused, too, until it says that letters may go."""
    with fresh_database("postgresql", str(tmp_path)) as database:
        engine = create_engine(database)
        upgrade(engine)
        engine.dispose()
        put(database)
        url = make_url(database)
        command = ["psql", "-X", "-h", str(url.host), "-p", str(url.port), "-U", str(url.username), "-1"]
        command += ["-v", "ON_ERROR_STOP=1", "-d", str(url.database), "-f", str(BACKOUT)]
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
        assert refused.returncode == 3
        assert "job_dlq holds letters that were neither redriven nor discarded" in refused.stderr
        assert there(database)
        env = {**os.environ, "PGOPTIONS": "-c unhush.lose_letters=yes"}
        assert subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0
        assert not there(database)

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from services import service
from sqlalchemy import make_url

from unhush.sql.files import DIALECTS, FOLDER

Run = Callable[..., subprocess.CompletedProcess[bytes]]
LABEL = "001_create_job_dlq"
LABELS = [LABEL, "002_add_heartbeat_column"]
BACK = ", ".join(LABELS[::-1])


def test_way_up_and_down(database: str, unhush: Run) -> None:
    """On each database: applied, up to date, taken back, and pending, by words and exit codes."""
    env = {"UNHUSH_DATABASE_URL": database}
    assert unhush("db", "upgrade", env=env).stdout.decode() == "".join(f"applied {label}\n" for label in LABELS)
    done = unhush("db", "status", env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "migration 2 of 2, up to date\n" in done.stdout.decode()
    back = unhush("db", "downgrade", "--to", "0", "--yes", env=env)
    assert (back.returncode, back.stdout.decode()) == (
        0,
        "".join(f"took back {label}\n" for label in LABELS[::-1]) + "rows lost: no rows\n",
    )
    after = unhush("db", "status", env=env)
    assert (after.returncode, after.stdout.decode().splitlines()[1:-1]) == (
        1,
        [f"pending  {label}" for label in LABELS],
    )
    assert after.stdout.decode().splitlines()[-1].startswith("apart    003_create_rollout, not applied")


def test_nobody_to_ask(unhush: Run) -> None:
    """Where there is no terminal a downgrade is refused, and says what it would do and how to allow it."""
    unhush("db", "upgrade")
    refused = unhush("db", "downgrade", "--to", "0")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert refused.stderr.decode() == f"error: this would take back {BACK} and lose no rows: say --yes\n"
    assert unhush("db", "status").returncode == 0


def test_json(unhush: Run) -> None:
    """Each command that reports has JSON with the same facts."""
    assert json.loads(unhush("db", "upgrade", "--json").stdout) == {"act": "applied", "migrations": LABELS}
    status = json.loads(unhush("db", "status", "--json").stdout)
    assert (status["dialect"], status["current"], status["latest"]) == ("sqlite", 2, 2)
    assert (status["pending"], status["problems"]) == ([], [])
    assert status["applied"][0]["checksum"]
    plan = json.loads(unhush("db", "downgrade", "--to", "0", "--dry-run", "--json").stdout)
    assert (plan["act"], plan["migrations"], plan["rows_lost"]["job_dlq"]) == ("would take back", LABELS[::-1], 0)
    assert unhush("db", "status").returncode == 0


def test_plan_changes_nothing(unhush: Run, tmp_path: Path) -> None:
    """A dry run and --sql say what would be applied and apply nothing; then the upgrade does."""
    (tmp_path / "unhush.db").touch()
    assert unhush("db", "upgrade", "--dry-run").stdout.decode() == "".join(f"would apply {label}\n" for label in LABELS)
    assert unhush("db", "upgrade", "--sql").stdout == b"".join(
        (FOLDER / "sqlite" / f"{label}.sql").read_bytes() for label in LABELS
    )
    assert unhush("db", "status").returncode == 1
    assert unhush("db", "upgrade").returncode == 0
    assert unhush("db", "upgrade", "--dry-run").stdout.decode() == "would apply nothing\n"
    assert unhush("db", "upgrade", "--sql").stdout == b""
    assert unhush("db", "upgrade").stdout.decode() == "applied nothing\n"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_sql_prints_bytes(unhush: Run, dialect: str) -> None:
    """`db sql` prints a migration's file and its backout byte by byte, without a database."""
    folder = FOLDER / dialect
    assert unhush("db", "sql", "1", "--dialect", dialect).stdout == (folder / f"{LABEL}.sql").read_bytes()
    both = b"".join((folder / f"{label}.sql").read_bytes() for label in LABELS)
    assert unhush("db", "sql", "--dialect", dialect).stdout == both
    backout = unhush("db", "sql", "1", "--dialect", dialect, "--backout")
    assert backout.stdout == (folder / f"{LABEL}.backout.sql").read_bytes()


def test_missing_file_is_not_made(unhush: Run, tmp_path: Path) -> None:
    """Commands that read do not make a SQLite file that is not there: exit 2 and one line; an upgrade makes it."""
    for arguments in (["status"], ["upgrade", "--dry-run"], ["upgrade", "--sql"], ["downgrade", "--to", "0", "--yes"]):
        result = unhush("db", *arguments)
        assert (result.returncode, result.stdout) == (2, b"")
        assert result.stderr.decode() == "error: there is no SQLite file 'unhush.db'; `unhush db upgrade` makes it\n"
        assert list(tmp_path.iterdir()) == []
    assert unhush("db", "upgrade").returncode == 0
    assert (tmp_path / "unhush.db").is_file()


def test_rows_that_would_go_are_counted(unhush: Run, tmp_path: Path) -> None:
    """A downgrade says how many rows of which table would be lost."""
    unhush("db", "upgrade")
    connection = sqlite3.connect(tmp_path / "unhush.db")
    connection.execute("INSERT INTO job_dlq_event (kind, at, actor) VALUES ('note', '2026-01-01 00:00:00', 'ann')")
    connection.commit()
    connection.close()
    assert b"and lose 1 row of job_dlq_event: say --yes" in unhush("db", "downgrade", "--to", "0").stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
def test_downgrade_asks(unhush: Run, tmp_path: Path) -> None:
    """On a terminal a downgrade asks: no changes nothing, yes takes it back."""
    import pty

    unhush("db", "upgrade")
    for answer, code, said in ((b"n\n", 1, b"error: nothing was changed\n"), (b"y\n", 0, b"?")):
        ours, theirs = pty.openpty()
        os.write(ours, answer)
        command = [sys.executable, "-m", "unhush", "db", "downgrade", "--to", "0"]
        result = subprocess.run(command, cwd=tmp_path, stdin=theirs, capture_output=True, check=False)
        os.close(ours)
        os.close(theirs)
        assert result.returncode == code
        assert said in result.stderr
        assert f"Take back {BACK} and lose no rows? [y/N]".encode() in result.stderr
        assert unhush("db", "status").returncode == 1 - code


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (
            ["status", "--url", "hush-1"],
            2,
            "--url: that is no database URL, such as postgresql://user@host/name or sqlite:///file",
        ),
        (
            ["status", "--url", "oracle://ann:hush-1@host/name"],
            2,
            "--url: no migrations for 'oracle', only for mariadb, postgresql, sqlite",
        ),
        (["status", "--url", "sqlite+none:///x.db"], 2, "--url: there is no driver 'sqlite+none'"),
        (["status", "--url", "mariadb://ann:hush-1@host/"], 2, "--url: that names a server, but no database on it"),
        (["sql", "9"], 1, "there is no migration 9; the latest is 3"),
        (["upgrade", "--to", "9"], 1, "there is no migration 9; the latest is 2"),
    ],
)
def test_wrong_use_is_one_line(unhush: Run, tmp_path: Path, arguments: list[str], code: int, line: str) -> None:
    """What is asked for wrongly is one line on stderr."""
    if "--url" in arguments and "x.db" in arguments[-1]:
        (tmp_path / "x.db").touch()
    result = unhush("db", *arguments)
    assert (result.returncode, result.stdout, result.stderr.decode()) == (code, b"", f"error: {line}\n")


def test_file_that_is_no_database(unhush: Run, tmp_path: Path) -> None:
    """A file of another kind is one line, and stays as it is."""
    (tmp_path / "unhush.db").write_text("a letter to ann, not a database\n" * 100)
    for command in ("status", "upgrade"):
        result = unhush("db", command)
        assert result.returncode in (1, 2)
        assert result.stderr.decode().count("\n") == 1
        assert "file is not a database" in result.stderr.decode()
    assert (tmp_path / "unhush.db").read_text().startswith("a letter to ann")


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_wrong_password_is_never_printed(unhush: Run, kind: str) -> None:
    """A server that turns us away, or is not there, is one line with the address and without the password."""
    there = make_url(service(kind)).set(database="mysql" if kind == "mariadb" else "postgres")
    stranger = there.set(username="unhush_nobody", password="hush-hush")
    nowhere = stranger.set(port=1).update_query_dict({"password": "hush-hush"} if kind == "postgresql" else {})
    for url in (stranger, nowhere):
        for command in ("status", "upgrade"):
            result = unhush("db", command, "--url", url.render_as_string(hide_password=False))
            said = result.stderr.decode()
            assert (result.returncode, result.stdout, said.count("\n")) == (2, b"", 1)
            assert "hush-hush" not in said
            assert "unhush_nobody:***@" in said


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_url_without_a_driver(unhush: Run, database: str) -> None:
    """A URL that names no driver takes the one that our extras install."""
    url = make_url(database)
    plain = url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False)
    assert unhush("db", "status", "--url", plain).stdout.startswith(f"{url.get_backend_name()}: migration 0".encode())

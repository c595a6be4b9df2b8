from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, inspect

from unhush.runtime.beat_tables import jobs
from unhush.runtime.columns import database_now
from unhush.sql.errors import SchemaProblem
from unhush.sql.files import FOLDER, migrations
from unhush.sql.history import TABLE
from unhush.sql.runner import (
    apply_apart,
    back_out_apart,
    downgrade,
    fingerprint,
    losses,
    rendered,
    require_schema,
    status,
    upgrade,
)
from unhush.sql.session import session

Add = Callable[..., Path]
NOTES = "CREATE TABLE IF NOT EXISTS notes (id integer, text varchar(200));\n"
UPGRADE = """
import sys
from pathlib import Path
from sqlalchemy import create_engine
from unhush.sql.runner import upgrade
engine = create_engine(sys.argv[1])
sys.stdin.read(1)  # all begin at once
print(*(step.label for step in upgrade(engine, folder=Path(sys.argv[2]))))
"""


def rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def mark(engine: Engine) -> str:
    with engine.connect() as connection:
        return fingerprint(connection)


OURS = ["001_create_job_dlq", "002_add_heartbeat_column"]


def labels(steps: object) -> list[str]:
    return [step.label for step in steps]  # type: ignore[attr-defined]


def test_up_and_down_and_up(engine: Engine, add: Add) -> None:
    """What an upgrade makes a downgrade takes away, step by step, and the next upgrade makes it the same again."""
    folder = add("003_notes", NOTES, "DROP TABLE IF EXISTS notes;\n")
    assert labels(status(engine, folder=folder).pending) == [*OURS, "003_notes"]
    assert labels(upgrade(engine, to=2, folder=folder)) == OURS
    assert labels(upgrade(engine, folder=folder)) == ["003_notes"]
    first = mark(engine)
    found = status(engine, folder=folder)
    assert (found.current, found.latest, found.pending, found.problems) == (3, 3, (), ())
    assert [(step.version, step.finished) for step in found.applied] == [(1, True), (2, True), (3, True)]
    assert labels(downgrade(engine, 2, folder=folder)) == ["003_notes"]
    assert not inspect(engine).has_table("notes")
    assert labels(downgrade(engine, 0, folder=folder)) == OURS[::-1]
    assert inspect(engine).get_table_names() == [TABLE]
    assert mark(engine) != first
    upgrade(engine, folder=folder)
    assert mark(engine) == first


def test_second_run_changes_nothing(engine: Engine) -> None:
    """Run again, also where the history was lost and the files meet their own tables, the catalogue is the same."""
    upgrade(engine)
    first = mark(engine)
    assert upgrade(engine) == ()
    assert mark(engine) == first
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM {TABLE}")
    assert labels(upgrade(engine)) == OURS
    assert mark(engine) == first


def test_changed_file_is_refused(engine: Engine, add: Add) -> None:
    """Where an applied file was changed nothing more is applied, until it is as it was."""
    folder = add("003_notes", NOTES)
    upgrade(engine, to=2, folder=folder)
    path = folder / status(engine).dialect / "001_create_job_dlq.sql"
    before = path.read_bytes()
    path.write_bytes(before + b"-- one more word\n")
    line = "001_create_job_dlq was changed after it was applied: put the file back as it was"
    assert status(engine, folder=folder).problems == (line,)
    for act in (lambda: upgrade(engine, folder=folder), lambda: downgrade(engine, 0, folder=folder)):
        with pytest.raises(SchemaProblem, match=line):
            act()
    assert inspect(engine).has_table("job_dlq")
    assert not inspect(engine).has_table("notes")
    path.write_bytes(before)
    assert labels(upgrade(engine, folder=folder)) == ["003_notes"]


def test_newer_database_is_refused(engine: Engine, add: Add) -> None:
    """A database with a migration that this code lacks is neither changed nor used by it."""
    folder = add("004_notes", NOTES)
    upgrade(engine, folder=folder)
    with pytest.raises(SchemaProblem, match="004_notes, which this unhush does not know"):
        upgrade(engine)
    with pytest.raises(SchemaProblem, match="004_notes"):
        downgrade(engine, 0)
    assert inspect(engine).has_table("job_dlq")
    assert status(engine).problems == status(engine).refusals
    assert "004_notes" in status(engine).problems[0]
    with engine.connect() as connection, pytest.raises(SchemaProblem, match="migration 4, newer than this unhush"):
        require_schema(connection)


def test_newer_database_that_works_with_this_code(engine: Engine, add: Add) -> None:
    """Code works on after a newer migration that says so, and not after one that doesn't; neither does it change it."""
    upgrade(engine)
    folder = add("004_notes", "-- unhush: works-with-code 1\n" + NOTES, "DROP TABLE IF EXISTS notes;\n")
    upgrade(engine, folder=folder)
    with engine.connect() as connection:
        require_schema(connection)
    with pytest.raises(SchemaProblem, match="004_notes, which this unhush does not know"):
        upgrade(engine)
    upgrade(engine, folder=add("005_more", "INSERT INTO notes VALUES (3, 'once');\n"))
    with engine.connect() as connection, pytest.raises(SchemaProblem, match="migration 5, newer than this unhush"):
        require_schema(connection)


def test_history_of_an_earlier_version(engine: Engine, add: Add) -> None:
    """A history without the column that says which code works on is read, gets it by the next upgrade, and is refused
    where it names a migration that this code lacks."""
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {TABLE} DROP COLUMN works_with")
    assert status(engine).problems == ()
    assert upgrade(engine) == ()
    assert "works_with" in [column["name"] for column in inspect(engine).get_columns(TABLE)]
    upgrade(engine, folder=add("004_notes", "-- unhush: works-with-code 1\n" + NOTES))
    with engine.begin() as connection:
        require_schema(connection)
        connection.exec_driver_sql(f"ALTER TABLE {TABLE} DROP COLUMN works_with")
    with engine.connect() as connection, pytest.raises(SchemaProblem, match="migration 4, newer than this unhush"):
        require_schema(connection)


def test_deployers_take_turns(database: str, engine: Engine, add: Add) -> None:
    """Two processes at once apply each migration once, one that builds an index concurrently among them."""
    add("003_notes", NOTES + "INSERT INTO notes VALUES (2, 'once');\n")
    folder = add("004_more", "INSERT INTO notes VALUES (3, 'once');\n")
    if engine.dialect.name == "postgresql":
        concurrently = "-- unhush: no-transaction\nCREATE INDEX CONCURRENTLY notes_id ON notes (id);\n"
        (folder / "postgresql" / "004_more.sql").write_text(concurrently + "INSERT INTO notes VALUES (3, 'once');\n")
    command = [sys.executable, "-c", UPGRADE, database, str(folder)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder) for _ in "ab"
    ]
    for process in started:
        assert process.stdin
        process.stdin.write("x")
        process.stdin.flush()
    said = [process.communicate()[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert sorted(label for labels in said for label in labels) == [*OURS, "003_notes", "004_more"]
    assert sorted(rows(engine, "SELECT id, text FROM notes")) == [(2, "once"), (3, "once")]


def test_statements_run_verbatim(engine: Engine, add: Add) -> None:
    """Colons, per cent signs and question marks reach the database as the file has them."""
    text = "at 12:30 :x :y %s %(z)s 100% ? $1 {v} ; -- /* #"
    upgrade(engine, folder=add("003_notes", f"{NOTES}INSERT INTO notes VALUES (1, '{text}');\n"))
    assert rows(engine, "SELECT text FROM notes") == [(text,)]


OUTSIDE = {"postgresql": "CREATE INDEX CONCURRENTLY IF NOT EXISTS notes_id ON notes (id);\n", "sqlite": "VACUUM;\n"}


@pytest.mark.parametrize("database", OUTSIDE, indirect=True)
def test_no_transaction(engine: Engine, add: Add) -> None:
    """What can't run in a transaction fails in one and leaves nothing, and runs in a file that says no-transaction."""
    script = NOTES + OUTSIDE[engine.dialect.name]
    with pytest.raises(SchemaProblem, match=r"003_notes\.sql, statement 2 of 2: .*; nothing was changed"):
        upgrade(engine, folder=add("003_notes", script))
    assert not inspect(engine).has_table("notes")
    folder = add("003_notes", f"-- unhush: no-transaction\n{script}")
    assert labels(upgrade(engine, folder=folder)) == ["003_notes"]
    assert status(engine, folder=folder).problems == ()


def test_failed_migration(engine: Engine, add: Add) -> None:
    """A migration that fails leaves nothing, or on MariaDB says what stands; put right, it goes on."""
    folder = add("003_notes", NOTES + "INSERT INTO nowhere VALUES (1);\nINSERT INTO notes VALUES (1, 'x');\n")
    with pytest.raises(SchemaProblem, match=r"003_notes\.sql, statement 2 of 3: .*nowhere.*; ") as caught:
        upgrade(engine, folder=folder)
    in_parts = engine.dialect.name == "mariadb"
    assert "\n" not in str(caught.value)
    assert ("statement 1 before it stands" in str(caught.value)) == in_parts
    assert ("nothing was changed" in str(caught.value)) != in_parts
    assert inspect(engine).has_table("notes") == in_parts
    found = status(engine, folder=folder)
    assert (found.current, labels(found.pending)) == (2, ["003_notes"])
    assert list(found.problems) == (["003_notes was cut off: run the upgrade again"] if in_parts else [])
    add("003_notes", NOTES + "INSERT INTO notes VALUES (1, 'x');\n")
    assert labels(upgrade(engine, folder=folder)) == ["003_notes"]
    assert rows(engine, "SELECT text FROM notes") == [("x",)]
    assert status(engine, folder=folder).problems == ()


SLOW = {
    "postgresql": "SELECT pg_sleep(1);\n",
    "mariadb": "SELECT sleep(1);\n",
    "sqlite": "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT max(i) FROM n;\n",
}


def test_killed_deployer(database: str, engine: Engine, add: Add) -> None:
    """A deployer that is killed within a migration is followed by one that brings it to its end, once."""
    dialect = status(engine).dialect
    clean = "DELETE FROM notes;\n" if dialect == "mariadb" else ""  # what stood in part there is made anew
    note = "INSERT INTO notes VALUES ({}, 'x');\n"
    folder = add("003_notes", NOTES + clean + note.format(1) + SLOW[dialect] + note.format(2))
    command = [sys.executable, "-c", UPGRADE, database, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdin
        process.stdin.write("x")
        process.stdin.flush()
        while status(engine, folder=folder).current < 2:
            pass
        process.kill()
        assert process.communicate()[0] == ""
    assert labels(status(engine, folder=folder).pending) == ["003_notes"]
    assert labels(upgrade(engine, folder=folder)) == ["003_notes"]
    assert rows(engine, "SELECT id FROM notes ORDER BY id") == [(1,), (2,)]
    assert status(engine, folder=folder).problems == ()


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_cut_off_migration_is_taken_back(engine: Engine, add: Add) -> None:
    """What MariaDB left of a migration that failed goes with a downgrade."""
    folder = add("003_notes", NOTES + "INSERT INTO nowhere VALUES (1);\n", "DROP TABLE IF EXISTS notes;\n")
    with pytest.raises(SchemaProblem, match="statement 1 before it stands"):
        upgrade(engine, folder=folder)
    assert inspect(engine).has_table("notes")
    assert labels(downgrade(engine, 2, folder=folder)) == ["003_notes"]
    assert not inspect(engine).has_table("notes")
    assert status(engine, folder=folder).problems == ()


CUT = {"postgresql": "SELECT pg_terminate_backend(pg_backend_pid());\n", "mariadb": "KILL CONNECTION_ID();\n"}


@pytest.mark.parametrize("database", CUT, indirect=True)
def test_lost_connection(engine: Engine, add: Add) -> None:
    """A connection that breaks in the middle is one clear line, and the next run goes on."""
    folder = add("003_notes", NOTES + CUT[engine.dialect.name])
    with pytest.raises(SchemaProblem, match=r"003_notes\.sql, statement 2 of 2"):
        upgrade(engine, folder=folder)
    add("003_notes", NOTES)
    assert labels(upgrade(engine, folder=folder)) == ["003_notes"]


def test_waits_only_so_long(engine: Engine, database: str) -> None:
    """A deployer gives up while another holds the database, changes nothing, and gets its turn afterwards."""
    holder = create_engine(database)
    take = {
        "postgresql": "SELECT pg_advisory_lock(129117059380072)",
        "mariadb": "SELECT GET_LOCK(CONCAT('unhush.', MD5(IFNULL(DATABASE(), ''))), 0)",
        "sqlite": "BEGIN IMMEDIATE",
    }
    with session(holder) as other:
        other.run(take[status(engine).dialect])
        impatient = create_engine(database, connect_args={"timeout": 0} if "sqlite" in database else {})
        with pytest.raises(SchemaProblem, match=r"another process has kept the database for 0\.2 s"):
            upgrade(impatient, patience=0.2)
        impatient.dispose()
        if engine.dialect.name == "sqlite":
            other.run("ROLLBACK")
    holder.dispose()
    assert not inspect(engine).has_table("job_dlq")
    assert labels(upgrade(engine)) == OURS


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_engine_that_begins_by_itself(engine: Engine) -> None:
    """An engine whose events say BEGIN, as SQLAlchemy's own recipe has it, is migrated, and is afterwards as it was."""

    @event.listens_for(engine, "connect")
    def connect(connection: object, record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def begin(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]

    assert labels(upgrade(engine)) == OURS
    assert status(engine).problems == ()
    with engine.connect() as connection:
        assert connection.connection.isolation_level is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_database_in_memory(database: str) -> None:
    """A database in memory is migrated in the one connection that there is of it."""
    engine = create_engine("sqlite://")
    upgrade(engine)
    with engine.connect() as connection:
        require_schema(connection)


def test_require_schema(engine: Engine) -> None:
    """Without the migration it says what to run, without a password, and the transaction goes on; with it, nothing."""
    url = engine.url.set(query={"password": "hush-1"}) if engine.dialect.name == "sqlite" else engine.url
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE mine (id integer)")
        connection.engine.url = url.set(password="hush-2") if url.username else url
        with pytest.raises(
            SchemaProblem, match=r"lacks migration 1: run `unhush db upgrade --url .*\*\*\*.*`"
        ) as caught:
            require_schema(connection)
        assert "hush" not in str(caught.value).replace("unhush", "")
        connection.exec_driver_sql("INSERT INTO mine VALUES (1)")
        connection.commit()
    assert rows(engine, "SELECT id FROM mine") == [(1,)]
    upgrade(engine)
    with engine.connect() as connection:
        require_schema(connection)
        with pytest.raises(SchemaProblem, match="lacks migration 3"):
            require_schema(connection, version=3)


def test_change_behind_the_back_is_shown(engine: Engine) -> None:
    """A column that somebody added by hand is named by the status; the migrations go on."""
    upgrade(engine)
    assert status(engine).problems == ()
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE job_dlq_token ADD COLUMN colour varchar(20)")
    problems = status(engine).problems
    assert problems
    assert all(problem.startswith(f"changed since {OURS[-1]}: ") for problem in problems)
    assert any("colour" in problem for problem in problems)
    assert upgrade(engine) == ()


def test_losses_are_counted(engine: Engine) -> None:
    """Before a downgrade the rows of each table that would go are known."""
    upgrade(engine)
    with engine.begin() as connection:
        values = "'01900000-0000-7000-8000-000000000000', 'ann', 'viewer', 'x', '2026-01-01 00:00:00'"
        connection.exec_driver_sql(
            f"INSERT INTO job_dlq_token (id, name, role, token_hash, created_at) VALUES ({values})"
        )
    with engine.connect() as connection:
        lost = losses(connection, 0)
        assert losses(connection, 2) == {}
    assert {name: count for name, count in lost.items() if count} == {"job_dlq_token": 1}
    assert {"job_dlq", "job_dlq_event", "job_dlq_operation", "unhush_job", "unhush_process"} <= set(lost)


def test_unknown_words_are_refused(engine: Engine) -> None:
    """A version that is not there and a database that we have no migrations for are one clear line."""
    for act in (lambda: upgrade(engine, to=9), lambda: downgrade(engine, 9), lambda: rendered("sqlite", 9)):
        with pytest.raises(SchemaProblem, match="there is no migration 9"):
            act()
    with pytest.raises(SchemaProblem, match="no migrations for 'oracle', only for mariadb, postgresql, sqlite"):
        migrations("oracle")


def test_files_are_rendered_as_they_are() -> None:
    """A rendered migration is the bytes of its file."""
    for dialect in ("mariadb", "postgresql", "sqlite"):
        assert rendered(dialect, 1) == (FOLDER / dialect / "001_create_job_dlq.sql").read_bytes()
        assert rendered(dialect, 1, backout=True) == (FOLDER / dialect / "001_create_job_dlq.backout.sql").read_bytes()


def test_import_is_cheap() -> None:
    """The room, its runner and its errors are imported without SQLAlchemy; one who uses them has it."""
    script = "import sys, unhush.sql.runner; print('sqlalchemy' in sys.modules); unhush.sql.upgrade, unhush.sql.status"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_migration_without_backout_is_refused(add: Add) -> None:
    """Each migration must come with what takes it back."""
    folder = add("003_notes", NOTES)
    assert len(migrations("sqlite", folder)) == 3
    (folder / "sqlite" / "003_notes.backout.sql").unlink()
    with pytest.raises(SchemaProblem, match=r"003_notes\.sql has no 003_notes\.backout\.sql beside it"):
        migrations("sqlite", folder)


def test_backout_while_jobs_beat_is_refused(engine: Engine) -> None:
    """Heartbeats are not taken back while a job beats: one clear line, and nothing changes; a dead job holds none up."""
    upgrade(engine)
    beat = "UPDATE unhush_job SET beat_at = '2026-01-01 00:00:00'"
    with engine.begin() as connection:
        connection.execute(
            jobs.insert().values(
                {
                    **dict.fromkeys(("id", "process_id"), "0190aaaa-0000-7000-8000-000000000001"),
                    **dict.fromkeys(("started_at", "beat_at", "progress_at"), database_now()),
                    **dict.fromkeys(("fence", "every"), 15),
                    "rescues": 0,
                    "kind": "mail",
                    "job_id": "42",
                    "status": "running",
                }
            )
        )
    with pytest.raises(SchemaProblem, match="002_add_heartbeat_column can't be taken back while jobs beat; nothing"):
        downgrade(engine, 0)
    assert status(engine).problems == ()
    with engine.begin() as connection:
        connection.exec_driver_sql(beat)
    assert labels(downgrade(engine, 1)) == ["002_add_heartbeat_column"]


APART = "003_create_rollout"


def test_migration_that_stands_apart(engine: Engine) -> None:
    """It is not pending, no upgrade or downgrade touches it and no version counts it; named, it comes and goes."""
    assert labels(upgrade(engine)) == OURS
    found = status(engine)
    assert (found.current, found.latest, found.pending, labels(found.apart)) == (2, 2, (), [APART])
    assert not inspect(engine).has_table("unhush_flag")
    assert (apply_apart(engine, 3), apply_apart(engine, 3)) == (True, False)
    found = status(engine)
    assert (found.current, found.latest, found.pending, found.apart) == (2, 2, (), ())
    assert [step.label for step in found.applied] == [*OURS, APART]
    assert found.problems == ()
    with engine.connect() as connection:
        require_schema(connection, 2)
        with pytest.raises(SchemaProblem, match="lacks migration 3"):
            require_schema(connection, 3)
    for act in (lambda: upgrade(engine, to=3), lambda: downgrade(engine, 3)):
        with pytest.raises(SchemaProblem, match="003_create_rollout stands apart: only its own command"):
            act()
    assert labels(downgrade(engine, 0)) == OURS[::-1]
    assert inspect(engine).has_table("unhush_flag")
    assert labels(upgrade(engine)) == OURS
    assert status(engine).problems == ()
    assert (back_out_apart(engine, 3), back_out_apart(engine, 3)) == (True, False)
    assert not inspect(engine).has_table("unhush_flag")
    with pytest.raises(SchemaProblem, match="no migration 2 that stands apart"):
        apply_apart(engine, 2)


def test_migration_apart_is_checked_like_the_others(engine: Engine, tmp_path: Path) -> None:
    """Applied before the others or after, a changed table or file of it is told, and one of the others as well."""
    apply_apart(engine, 3)
    upgrade(engine)
    assert status(engine).problems == ()
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE unhush_flag ADD COLUMN colour varchar(20)")
    assert all(line.startswith(f"changed since {APART}: ") for line in status(engine).problems)
    assert any("colour" in line for line in status(engine).problems)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE job_dlq_token ADD COLUMN shade varchar(20)")
    assert any("shade" in line and line.startswith(f"changed since {OURS[-1]}") for line in status(engine).problems)
    changed = Path(shutil.copytree(FOLDER, tmp_path / "changed"))
    path = changed / status(engine).dialect / f"{APART}.sql"
    path.write_bytes(path.read_bytes() + b"-- more\n")
    assert (
        f"{APART} was changed after it was applied: put the file back as it was"
        in status(engine, folder=changed).problems
    )


@pytest.mark.parametrize(
    "row",
    [
        "INSERT INTO unhush_flag VALUES ('DLQ_ENABLED', 'on', 5, 's', 1, 'ann', '2026-01-01 00:00:00')",
        "INSERT INTO unhush_rollout VALUES (1, 'p', 'd', 2, 'paused', '2026-01-01 00:00:00', '2026-01-01 00:00:00', 0,"
        " null, null, 1, null, null, null)",
    ],
)
def test_rollout_under_way_is_not_backed_out(engine: Engine, row: str) -> None:
    """The tables of a roll-out stay while it runs or a flag is on: one clear line; afterwards they go."""
    apply_apart(engine, 3)
    with engine.begin() as connection:
        connection.exec_driver_sql(row)
    with pytest.raises(SchemaProblem, match="taken back while a roll-out runs or one of its flags is on; nothing was"):
        back_out_apart(engine, 3)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE unhush_flag SET state = 'off'")
        connection.exec_driver_sql("UPDATE unhush_rollout SET status = 'rolled_back'")
    assert back_out_apart(engine, 3)

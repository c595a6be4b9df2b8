from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from uuid import UUID

import pytest
import structlog
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from unhush.runtime import Heartbeats
from unhush.runtime.beat_tables import jobs as job_rows
from unhush.runtime.beats import Claim, Process, Terms, beat_process, claim
from unhush.runtime.engine import READING, make_engine
from unhush.runtime.own_rows import OwnRows, _looked, _Rows
from unhush.runtime.standin import _Stand
from unhush.sql.jobs_table import upgrade_table
from unhush.sql.runner import upgrade

EVERY = 0.1  # seconds
SERVERS = ["postgresql", "mariadb"]
Row = Callable[..., Any]
Wait = Callable[..., Any]


@pytest.fixture
def engine(empty_database: str) -> Iterator[Engine]:
    """A database with the tables of heartbeats, and a user's own `jobs` with rows 41 to 43, not upgraded yet."""
    engine = make_engine(empty_database)
    upgrade(engine, to=2)
    make(engine, "jobs", "bigint", 41, 42, 43)
    yield engine
    engine.dispose()


@pytest.fixture
def jobs(engine: Engine) -> Engine:
    """The same with heartbeats in `jobs`."""
    upgrade_table(engine, "jobs")
    return engine


def make(engine: Engine, name: str, key: str, *ids: object) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE {name} (id {key} NOT NULL PRIMARY KEY, kind varchar(50))"))
        for id_ in ids:
            connection.execute(text(f"INSERT INTO {name} (id) VALUES (:id)"), {"id": id_})


def shown(engine: Engine, id_: object = 42, table: str = "jobs") -> Any:
    """What a user's row says: when, and under which fence."""
    with engine.connect().execution_options(**{READING: True}) as connection:
        query = text(f"SELECT heartbeat_at, heartbeat_fence FROM {table} WHERE id = :id")
        return connection.execute(query, {"id": id_}).one()


def beats_of(engine: Engine, job_id: str = "42") -> Any:
    with engine.connect().execution_options(**{READING: True}) as connection:
        return connection.execute(job_rows.select().where(job_rows.c.job_id == job_id)).one()


def beating(engine: Engine, **options: Any) -> Heartbeats:
    return Heartbeats(engine, **{"every": EVERY, "jobs_table": "jobs", **options})


@contextmanager
def held(engine: Engine, statement: str) -> Iterator[None]:
    """Another connection's transaction, open with what the statement holds."""
    with engine.connect() as connection:
        connection.execute(text(statement))
        yield
        connection.rollback()


def begun(engine: Engine, *job_ids: object, kind: str = "mail") -> list[Claim]:
    """Claims jobs as a beater does."""
    process = Process(id=str(UUID(int=7)), name=None, host="host", pid=7, every=15)
    with engine.begin() as connection:
        beat_process(connection, process)
        return [claim(connection, Terms(kind=kind, job_id=str(job_id)), process) for job_id in job_ids]


def test_row_shows_the_beats(jobs: Engine, wait: Wait) -> None:
    """While a job runs its own row has the time of its beats and its fence; afterwards the last time and no fence.
    Other rows, and jobs without a row, are as they were."""
    with beating(jobs) as heartbeats:
        with (
            heartbeats.job(42, kind="mail"),
            heartbeats.job("nowhere", kind="mail"),
            heartbeats.job("042", kind="mail"),
        ):
            first = wait(lambda: shown(jobs), lambda row: row.heartbeat_fence == 1)
            wait(lambda: shown(jobs), lambda row: row.heartbeat_at > first.heartbeat_at)
        last = wait(lambda: shown(jobs), lambda row: row.heartbeat_fence is None)
        assert last.heartbeat_at >= first.heartbeat_at
        assert [tuple(shown(jobs, id_)) for id_ in (41, 43)] == [(None, None)] * 2
        with heartbeats.job(42, kind="mail"):
            wait(lambda: shown(jobs), lambda row: row.heartbeat_fence == 2)


KEYS = {
    "postgresql": [
        ("smallint", 42), ("integer", 42), ("bigint", 2**62), ("uuid", UUID(int=42)), ("varchar(50)", "A:b%c"),
        ("text", "größe"), ("char(40)", "short"),
    ],
    "mariadb": [
        ("tinyint", 42), ("int unsigned", 42), ("bigint", 2**62), ("uuid", str(UUID(int=42))), ("char(40)", "short"),
        ("varchar(50) CHARACTER SET latin1", "größe"), ("varchar(50) COLLATE utf8mb4_general_ci", "A:b%c"),
    ],
    "sqlite": [("integer", 42), ("varchar(50)", "042"), ("char(36)", str(UUID(int=42)))],
}  # fmt: skip
OTHERS = ["x", "99999999999999999999", "-", "00000000-0000-0000-0000-00000000002b", "a:b%c", "0x2a", "4.2e1", " 42"]


def test_keys_of_all_kinds(engine: Engine, dialect: str) -> None:
    """A job finds its row by integers, texts and UUIDs, through the key's index, and ids of other kinds find nothing."""
    for number, (kind, value) in enumerate(KEYS[dialect]):
        table = f"jobs_{number}"
        make(engine, table, kind, value)
        upgrade_table(engine, table)
        with structlog.testing.capture_logs() as logs:
            own = OwnRows(engine, table, "id")
            own.show(begun(engine, *OTHERS, kind=table), beaten=True)
            assert tuple(shown(engine, value, table)) == (None, None), kind
            own.show(begun(engine, value, kind=table), beaten=True)
        assert shown(engine, value, table).heartbeat_fence == 1, kind
        assert logs == []


USED: dict[str, Callable[[str, str], bool]] = {
    "postgresql": lambda line, table: f"Index Scan using {table}_pkey on {table}" in line,
    "mariadb": lambda line, table: table in line and ("'eq_ref'" in line or "'const'" in line),
    "sqlite": lambda line, table: f"SEARCH {table} USING" in line and "=?" in line,
}


def test_key_finds_rows_by_its_index(engine: Engine, dialect: str) -> None:
    """The user's table is read through its key's index, however large it is."""
    for number, (kind, value) in enumerate(KEYS[dialect]):
        table = f"own_{number}"
        make(engine, table, kind, value)
        upgrade_table(engine, table)
        claims = begun(engine, value, kind=table)
        with engine.connect() as connection:
            update = _Rows(_looked(connection, table, "id"))._update([one.id for one in claims])
            words = str(update.compile(engine, compile_kwargs={"literal_binds": True}))
            if dialect == "postgresql":  # which reads a small table whole
                other = {"uuid": "md5(n::text)::uuid"}.get(kind, "n" if isinstance(value, int) else "md5(n::text)")
                fill = f"INSERT INTO {table} (id) SELECT {other} FROM generate_series(1000, 6000) AS n"
                connection.exec_driver_sql(fill)
                connection.exec_driver_sql(f"ANALYZE {table}")
            explain = "EXPLAIN QUERY PLAN" if dialect == "sqlite" else "EXPLAIN"
            plan = list(connection.execute(text(f"{explain} {words}".replace(":", r"\:"))))
        lines = [str(line) for line in plan]
        found = [number for number, line in enumerate(lines) if USED[dialect](line, table)]
        assert len(found) == 1, (kind, plan)
        if dialect == "postgresql":
            assert "Index Cond: (" in lines[found[0] + 1], (kind, plan)


@pytest.mark.parametrize("dialect", SERVERS)
def test_locked_row_stops_no_beat(jobs: Engine, wait: Wait) -> None:
    """A row that the user's own transaction holds is left out, and the beats of all go on; freed, it is written."""
    with (
        structlog.testing.capture_logs() as logs,
        beating(jobs) as heartbeats,
        heartbeats.job(42, kind="mail"),
        heartbeats.job(43, kind="mail"),
    ):
        wait(lambda: shown(jobs), lambda row: row.heartbeat_fence == 1)
        with held(jobs, "SELECT id FROM jobs WHERE id = 42 FOR UPDATE"):
            before, then = shown(jobs), beats_of(jobs)
            wait(lambda: beats_of(jobs), lambda row: (row.beat_at - then.beat_at).total_seconds() > 3 * EVERY)
            wait(lambda: shown(jobs, 43), lambda row: row.heartbeat_at > before.heartbeat_at)
            held_row = shown(jobs)
            wait(lambda: shown(jobs, 43), lambda row: row.heartbeat_at > held_row.heartbeat_at)
            assert shown(jobs) == held_row
        wait(lambda: shown(jobs), lambda row: row.heartbeat_at > held_row.heartbeat_at)
    assert [entry for entry in logs if entry["event"].startswith("heartbeat.jobs_table")] == []


WHOLE = {"postgresql": "LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE", "mariadb": "LOCK TABLES jobs WRITE"}


@pytest.mark.parametrize("dialect", SERVERS)
def test_locked_table_stops_no_beat(jobs: Engine, wait: Wait, dialect: str) -> None:
    """While somebody has locked the whole table beats go on; the log says so once, and once when it is over."""
    with (
        structlog.testing.capture_logs() as logs,
        beating(jobs) as heartbeats,
        heartbeats.job(42, kind="mail"),
    ):
        wait(lambda: shown(jobs), lambda row: row.heartbeat_fence == 1)
        with jobs.connect() as other:
            other.exec_driver_sql(WHOLE[dialect])
            wait(lambda: logs, lambda found: any(entry["event"] == "heartbeat.jobs_table_failed" for entry in found))
            then = beats_of(jobs)
            for _ in range(2):
                then = wait(lambda: beats_of(jobs), lambda row, then=then: row.beat_at > then.beat_at)
            other.exec_driver_sql("ROLLBACK" if dialect == "postgresql" else "UNLOCK TABLES")
            now = beats_of(jobs)
        wait(lambda: shown(jobs), lambda row: row.heartbeat_at > now.beat_at.replace(tzinfo=row.heartbeat_at.tzinfo))
        wait(lambda: logs, lambda found: any(entry["event"] == "heartbeat.jobs_table_back" for entry in found))
    events = [entry["event"] for entry in logs]
    assert events.count("heartbeat.jobs_table_failed") == events.count("heartbeat.jobs_table_back") == 1
    assert "heartbeat.database_lost" not in events


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_locked_sqlite_is_not_waited_for(jobs: Engine) -> None:
    """On SQLite another writer is not waited for; the log says so once, the next beat writes, and the connection's own
    patience is afterwards what it was."""
    own = OwnRows(jobs, "jobs", "id")
    claims = begun(jobs, 42)
    with structlog.testing.capture_logs() as logs:
        with held(jobs, "UPDATE jobs SET kind = 'x' WHERE id = 41"):
            own.show(claims, beaten=True)
            own.show(claims, beaten=True)
            assert shown(jobs).heartbeat_fence is None
        own.show(claims, beaten=True)
    assert [entry["event"] for entry in logs] == ["heartbeat.jobs_table_failed", "heartbeat.jobs_table_back"]
    assert shown(jobs).heartbeat_fence == 1
    with jobs.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 5000


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("jobs", "jobs has no columns for heartbeats: run `unhush db upgrade --jobs-table '"),
        ("nope", "there is no table nope"),
        ('jo"bs', "holds a quote"),
    ],
)
def test_table_that_can_not_show(engine: Engine, wait: Wait, table: str, line: str) -> None:
    """A table that isn't there, or has no columns yet, is told once, and beats go on; upgraded, it shows them."""
    with (
        structlog.testing.capture_logs() as logs,
        beating(engine, jobs_table=table) as heartbeats,
        heartbeats.job(42, kind="mail") as beat,
    ):
        then = wait(lambda: beats_of(engine), lambda row: row.beat_at > row.started_at)
        wait(lambda: beats_of(engine), lambda row: row.beat_at > then.beat_at)
        told = [entry["error"] for entry in logs if entry["event"] == "heartbeat.jobs_table_failed"]
        assert [line in error for error in told] == [True]
        assert not beat.lost
        if table == "jobs":
            upgrade_table(engine, "jobs")
            wait(lambda: shown(engine), lambda row: row.heartbeat_fence == 1)


def test_newer_run_is_not_overwritten(jobs: Engine) -> None:
    """A row that a newer run has marked stays that run's; one with an older mark is taken over."""
    (mine,) = begun(jobs, 42)
    for fence, after in ((7, 7), (0, 1)):
        with jobs.begin() as connection:
            connection.execute(text("UPDATE jobs SET heartbeat_fence = :fence WHERE id = 42"), {"fence": fence})
        OwnRows(jobs, "jobs", "id").show([mine], beaten=True)
        assert shown(jobs).heartbeat_fence == after


def test_end_in_the_jobs_own_transaction(jobs: Engine, wait: Wait) -> None:
    """The mark of a job that finishes in its own transaction goes when that is committed, and stays while it is open."""
    with beating(jobs) as heartbeats, heartbeats.job(41, kind="mail"), Session(jobs) as session:
        with heartbeats.job(42, kind="mail") as beat:
            wait(lambda: shown(jobs), lambda row: row.heartbeat_fence == 1)
            beat.finish(session)
        if jobs.dialect.name != "sqlite":  # where nobody else may write meanwhile
            then = shown(jobs, 41)
            wait(lambda: shown(jobs, 41), lambda row: row.heartbeat_at > then.heartbeat_at)
        assert shown(jobs).heartbeat_fence == 1
        session.commit()
        wait(lambda: shown(jobs), lambda row: row.heartbeat_fence is None)


def test_two_kinds_with_one_id(jobs: Engine, wait: Wait) -> None:
    """Jobs of the same id that beat by other Heartbeats, without a table or with another, don't touch the row."""
    make(jobs, "reports", "bigint", 42)
    upgrade_table(jobs, "reports")
    with (
        beating(jobs, jobs_table="reports") as reports,
        beating(jobs, jobs_table=None) as plain,
        plain.job(42, kind="mail"),
        reports.job(42, kind="report"),
    ):
        wait(lambda: shown(jobs, table="reports"), lambda row: row.heartbeat_fence == 1)
        then = shown(jobs, table="reports")
        wait(lambda: shown(jobs, table="reports"), lambda row: row.heartbeat_at > then.heartbeat_at)
        assert tuple(shown(jobs)) == (None, None)


def test_code_that_knows_no_columns(jobs: Engine, wait: Wait) -> None:
    """Code from before goes on with the new columns there: the user's own statements, and heartbeats without a table."""
    with beating(jobs, jobs_table=None) as heartbeats, heartbeats.job(42, kind="mail"), jobs.begin() as connection:
        connection.execute(text("INSERT INTO jobs (id, kind) VALUES (44, 'mail')"))
        connection.execute(text("UPDATE jobs SET kind = 'mail' WHERE id = 42"))
    assert tuple(shown(jobs)) == (None, None)
    assert beats_of(jobs).status == "finished"


def test_stand_in_shows_too(jobs: Engine) -> None:
    """The process that stands in for one whose thread gets no turn shows the beats as that does."""
    (mine,) = begun(jobs, 42)
    process = Process(id=str(UUID(int=7)), name=None, host="host", pid=7, every=15)
    stand = _Stand(jobs, asdict(process), ["jobs", "id"], 1)
    stand._claims = [mine]
    stand._beat()
    assert shown(jobs).heartbeat_fence == 1
    assert shown(jobs).heartbeat_at is not None


@pytest.mark.parametrize("dialect", ["postgresql"])
def test_beats_are_heap_only_updates(jobs: Engine) -> None:
    """All beats of a running job stay beside its row and touch no index, as they don't where `heartbeat_at` is indexed."""

    def share() -> float:
        rows = _Rows(_looked(connection, "jobs", "id"))
        rows.write(connection, ids, ())  # the first sets the fence, which an index is for
        before = counts()
        for _ in range(5):
            connection.exec_driver_sql("UPDATE unhush_job SET beat_at = clock_timestamp()")
            rows.write(connection, ids, ())
        updated, hot = (now - then for now, then in zip(counts(), before, strict=True))
        assert updated == 5 * len(ids)
        return hot / updated

    def counts() -> list[int]:
        kinds = ("updated", "hot_updated")
        return [
            connection.exec_driver_sql(f"SELECT pg_stat_get_xact_tuples_{kind}('jobs'::regclass)").scalar_one()
            for kind in kinds
        ]

    ids = [one.id for one in begun(jobs, 41, 42, 43)]
    with jobs.begin() as connection:
        assert share() == 1.0
    with jobs.begin() as connection:
        connection.exec_driver_sql("CREATE INDEX beaten ON jobs (heartbeat_at)")
        assert share() == 0.0

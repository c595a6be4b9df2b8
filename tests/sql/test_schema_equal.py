from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, inspect

from unhush.runtime import flag_tables
from unhush.runtime.beat_tables import jobs
from unhush.runtime.flag_tables import MIGRATION, environments
from unhush.runtime.tables import metadata
from unhush.sql import catalogue
from unhush.sql.runner import apply_apart, upgrade
from unhush.sql.session import reading

TABLES = [*metadata.tables, *flag_tables.metadata.tables]
CHANGES = {
    "postgresql": (
        "ALTER TABLE job_dlq_token ADD COLUMN more integer",
        "ALTER TABLE job_dlq ALTER COLUMN fence DROP DEFAULT",
        "ALTER TABLE job_dlq DROP CONSTRAINT ck_job_dlq_status",
        "DROP INDEX ix_job_dlq_lease_until; CREATE INDEX ix_job_dlq_lease_until ON job_dlq (lease_until)",
        "COMMENT ON COLUMN job_dlq.fence IS 'shrinks'",
        "ALTER TABLE unhush_flag DROP CONSTRAINT ck_unhush_flag_percentage",
    ),
    "sqlite": (
        "ALTER TABLE job_dlq_token ADD COLUMN more integer",
        "DROP INDEX ix_job_dlq_status_id",
        "DROP INDEX ix_job_dlq_lease_until; CREATE INDEX ix_job_dlq_lease_until ON job_dlq (lease_until)",
    ),
    "mariadb": (
        "ALTER TABLE job_dlq_token ADD COLUMN more integer",
        "ALTER TABLE job_dlq MODIFY queue varchar(255) COLLATE utf8mb4_general_ci NOT NULL",
        "ALTER TABLE job_dlq DROP CONSTRAINT ck_job_dlq_status",
        "DROP INDEX ix_job_dlq_status_id ON job_dlq",
    ),
}
# SQLAlchemy 2.0 has no word for a table's storage options.
VACUUM = "autovacuum_vacuum_scale_factor=0.02,autovacuum_analyze_scale_factor=0.02"
BEATS = "fillfactor=45,autovacuum_vacuum_scale_factor=0.02,autovacuum_analyze_scale_factor=0.05"


def described(engine: Engine) -> dict[str, Any]:
    """All that SQLAlchemy can tell about our tables, and all that the catalogue can where its text is the database's."""
    looked = inspect(engine)
    tables: dict[str, Any] = {
        name: {
            "columns": [
                {**column, "type": column["type"].compile(engine.dialect), "comment": column.get("comment")}
                for column in looked.get_columns(name)
            ],
            "primary key": looked.get_pk_constraint(name),
            "uniques": by_name(looked.get_unique_constraints(name)),
            "checks": {
                check["name"]: " ".join(check["sqltext"].split()) for check in looked.get_check_constraints(name)
            },
            "indexes": by_name(looked.get_indexes(name)),
        }
        for name in TABLES
    }
    if engine.dialect.name != "sqlite":  # SQLite keeps our own text, with its comments
        with engine.connect() as connection:
            found = catalogue.lines(engine.dialect.name, reading(connection), TABLES)
            tables["catalogue"] = [line.replace(f" {VACUUM}", "").replace(f" {BEATS}", "") for line in found]
    return tables


def by_name(found: list[Any]) -> dict[str, Any]:
    return {one["name"]: {**one, "dialect_options": options(one)} for one in found}


def options(one: Any) -> dict[str, str]:
    """The options of an index as texts, which can be compared."""
    return {name: str(value) for name, value in one.get("dialect_options", {}).items()}


def run(engine: Engine, script: str) -> None:
    with engine.begin() as connection:
        for statement in script.split(";"):
            connection.exec_driver_sql(statement)


def test_migrated_schema_equals_the_tables(engine: Engine) -> None:
    """The migrations make what SQLAlchemy's tables say: columns, types, defaults, keys, checks, indexes, comments."""
    for part in (metadata, flag_tables.metadata):
        part.create_all(engine)
    wanted = described(engine)
    for part in (metadata, flag_tables.metadata):
        part.drop_all(engine)
    upgrade(engine)
    apply_apart(engine, MIGRATION)
    assert described(engine) == wanted
    assert wanted[environments.name]["checks"]
    assert len(wanted["job_dlq"]["columns"]) > 25
    assert wanted["job_dlq"]["checks"]
    assert wanted[jobs.name]["checks"]
    assert wanted["job_dlq"]["indexes"]


def test_comparison_sees_each_kind_of_difference(engine: Engine) -> None:
    """A column, default, check, predicate, collation or comment that differs makes the schemas unequal."""
    upgrade(engine)
    apply_apart(engine, MIGRATION)
    before = described(engine)
    assert described(engine) == before
    for change in CHANGES[engine.dialect.name]:
        run(engine, change)
        after = described(engine)
        assert after != before, change
        before = after


@pytest.mark.parametrize("database", ["postgresql", "sqlite"], indirect=True)
def test_partial_indexes_hold_only_some_rows(engine: Engine) -> None:
    """Letters that no bulk act and no redrive holds are not in the indexes of those."""
    upgrade(engine)
    indexes = {index["name"]: options(index) for index in inspect(engine).get_indexes("job_dlq")}
    where = {name: str(found) for name, found in indexes.items() if f"{engine.dialect.name}_where" in found}
    assert set(where) == {"ix_job_dlq_lease_until", "ix_job_dlq_operation_id_status_id"}
    assert "redriving" in where["ix_job_dlq_lease_until"]
    assert "IS NOT NULL" in where["ix_job_dlq_operation_id_status_id"]


def test_no_index_holds_a_beat(engine: Engine) -> None:
    """No index names what a beat writes: on PostgreSQL each would cost heap-only updates."""
    upgrade(engine)
    written = {"beat_at", "progress", "progress_at", "note", "suspected_at", "suspected_state"}
    indexed = {column for index in inspect(engine).get_indexes("unhush_job") for column in index["column_names"]}
    assert not indexed & written
    assert {"status", "id"} <= indexed


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_postgresql_vacuums_letters_early(engine: Engine) -> None:
    """Of the tables those that grow or change fast are vacuumed before a fifth of their rows is dead."""
    upgrade(engine)
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT relname, reloptions FROM pg_class WHERE reloptions IS NOT NULL")
        options = {name: ",".join(settings) for name, settings in found if name in metadata.tables}
    early = {"job_dlq": VACUUM, "unhush_job_letter": VACUUM}
    assert options == early | {"unhush_job": BEATS, "unhush_process": BEATS}


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_mariadb_takes_no_broken_json(engine: Engine) -> None:
    """MariaDB's json is text, and a check keeps what is no JSON out of it."""
    upgrade(engine)
    with engine.connect() as connection:
        table = connection.exec_driver_sql("SHOW CREATE TABLE job_dlq").one()[1]
    assert "CHECK (json_valid(`headers`))" in table
    assert "ENGINE=InnoDB" in table

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table

from unhush.runtime import beat_tables
from unhush.runtime.flag_tables import MIGRATION
from unhush.runtime.flag_tables import metadata as flag_metadata
from unhush.runtime.tables import metadata as ours
from unhush.sql import include_object, upgrade_table
from unhush.sql.runner import apply_apart, upgrade

pytest.importorskip("alembic", reason="alembic is not installed")
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext


def changes(engine: Engine, metadata: MetaData | list[MetaData], **options: Any) -> list[str]:
    """What `alembic revision --autogenerate` would write, as words."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, **options})
        found = compare_metadata(context, metadata)
    flat = [one for group in found for one in (group if isinstance(group, list) else [group])]
    return sorted(f"{act} {getattr(rest[0], 'name', rest)}" for act, *rest in flat)


def test_autogenerate_leaves_our_tables(engine: Engine) -> None:
    """With the helper a user's autogenerate touches only the user's tables; without it, it would drop ours."""
    upgrade(engine)
    mine = MetaData()
    Table("mine", mine, Column("id", Integer, primary_key=True))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE theirs (id integer PRIMARY KEY)")
    without = changes(engine, mine)
    assert {"remove_table job_dlq", "remove_table unhush_version", "remove_table theirs"} <= set(without)
    assert changes(engine, mine, include_object=include_object) == ["add_table mine", "remove_table theirs"]


def test_autogenerate_leaves_heartbeats_in_a_users_table(engine: Engine) -> None:
    """What an upgrade has added to a user's own table stays too, though the model does not know it; the rest goes."""
    mine = MetaData()
    Table("jobs", mine, Column("id", Integer, primary_key=True))
    mine.create_all(engine)
    upgrade(engine)
    upgrade_table(engine, "jobs")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs ADD COLUMN colour integer")
    assert any("heartbeat_fence" in change for change in changes(engine, mine))
    (change,) = changes(engine, mine, include_object=include_object)
    assert "colour" in change


def test_autogenerate_makes_none_of_our_tables(engine: Engine) -> None:
    """Where a user's env.py hands over our tables too, they are still made by our migrations alone."""
    assert {"add_table job_dlq", f"add_table {beat_tables.jobs.name}"} <= set(changes(engine, ours))
    assert changes(engine, ours, include_object=include_object) == []


def test_alembic_finds_no_difference_either(engine: Engine) -> None:
    """Alembic, which compares in its own way, finds our tables equal to the migrated ones."""
    upgrade(engine)
    apply_apart(engine, MIGRATION)
    mine_too = lambda obj, name, *rest: name != "unhush_version"  # noqa: E731
    assert changes(engine, [ours, flag_metadata], include_object=mine_too) == []
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE job_dlq ADD COLUMN more integer")
    assert changes(engine, [ours, flag_metadata], include_object=mine_too) != []

"""Each way in which a dry run could lie, with the case beside it in which it must not cry wolf."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dryrunworld import BOUND, execute, failed, file, jobs, statuses, tried, why

from unhush.output import Failure
from unhush.reports import dryrun as reports
from unhush.reports import dryrun_checks as checked
from unhush.rollout.dryrun import run as running
from unhush.rollout.dryrun import sampling
from unhush.rollout.dryrun.run import Wish, dry_run
from unhush.sql.runner import apply_apart

MANY = 20_000
ADD = f"{BOUND}ALTER TABLE jobs ADD COLUMN IF NOT EXISTS more bigint;\n"
DROP = f"{BOUND}ALTER TABLE jobs DROP COLUMN IF EXISTS more;\n"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database that no test here changes, with as many jobs as take a while to read."""
    with jobs(tmp_path_factory.mktemp("many"), MANY) as url:
        yield url


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A database with ten jobs."""
    with jobs(tmp_path) as url:
        yield url


def columns(url: str) -> list[str]:
    return [
        name
        for (name,) in execute(url, "SELECT attname FROM pg_attribute WHERE attrelid = 'jobs'::regclass AND attnum > 0")
    ]


def test_good_change_holds(many: str, tmp_path: Path) -> None:
    """A column added under a lock_timeout holds in all phases, and nobody waits longer than that."""
    facts = tried(many, file(tmp_path, ADD, DROP), mode="copy", contended=True)
    assert failed(facts) == []
    assert [phase["phase"] for phase in facts["phases"]] == ["up", "down", "up again", "second up", "down again"]
    assert (facts["mode"], facts["how"]) == ("copy", "CREATE DATABASE ... TEMPLATE")
    (lock,) = [lock for _, one in checked.statements(facts, "up") for lock in one["locks"] if lock["blocks"]]
    assert (lock["relation"], lock["mode"], lock["blocks"]) == (
        "public.jobs",
        "AccessExclusiveLock",
        "reads and writes",
    )
    assert [found["direction"] for found in facts["contention"]] == ["up", "down"]
    assert all(found["blocked"] and found["gave_up"] for found in facts["contention"])
    assert all(found["reader_seconds"] is not None for found in facts["contention"])
    assert checked.reversibility(facts, "change") == (
        "reversible with data loss",
        ["down drops or changes column public.jobs.more"],
    )
    assert "+public.jobs: column more bigint" in facts["schema_diff"]
    assert columns(many) == ["id", "n", "note"]


def test_commit_in_a_file_is_refused(url: str, tmp_path: Path) -> None:
    """A COMMIT is refused by file and line before anything runs, in a backout and in other words too."""
    for text in ("COMMIT;", "/* a */ end;", "ROLLBACK", "begin;", "SAVEPOINT a;", "PREPARE TRANSACTION 'a';", "ABORT;"):
        facts = tried(url, file(tmp_path, ADD, f"{DROP}\n-- now\n{text}\n"))
        assert failed(facts) == ["nothing that must not run"]
        assert "change.backout.sql:6: " in why(facts, "nothing that must not run")
        assert facts["phases"] == []


def test_commit_that_gets_by_is_caught(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no parser stops a COMMIT, the transaction's id and the fingerprint of the database show it."""
    monkeypatch.setattr(running, "refusals", lambda *_: [])
    facts = tried(url, file(tmp_path, f"{ADD}COMMIT;\n", DROP), mode="transaction")
    assert {"transaction", "the database itself"} <= set(failed(facts))
    assert "ended the transaction" in why(facts, "transaction")
    assert facts["target"]["xid_status"] == "committed"
    assert "CHANGED: +public.jobs: column more bigint" in why(facts, "the database itself")
    assert "more" in columns(url)  # so it was no false alarm


def test_commit_in_what_looks_like_a_text(url: str, tmp_path: Path) -> None:
    """Where a setting makes a COMMIT of what the splitter takes for a text, the run fails by what happened."""
    hidden = "SET LOCAL standard_conforming_strings = off;\nSELECT 'x\\''; COMMIT; SELECT '';\n"
    facts = tried(url, file(tmp_path, f"{ADD}{hidden}", DROP), mode="copy")
    assert facts["refused"] == []
    assert "statement 5 ended the transaction" in why(facts, "transaction")
    assert statuses(facts)["the database itself"] == checked.PASS
    harmless = hidden.replace("COMMIT", "SELECT 1")
    assert failed(tried(url, file(tmp_path, f"{ADD}{harmless}", DROP), mode="copy")) == []


def test_rollback_leaves_nothing(url: str, tmp_path: Path) -> None:
    """The same file without the COMMIT is rolled back, as the server and the catalogue say."""
    quiet = "-- squawk-ignore-file\n"
    facts = tried(url, file(tmp_path, quiet + ADD, quiet + DROP), mode="transaction")
    assert failed(facts) == []
    assert facts["target"]["xid_status"] == "aborted"
    assert columns(url) == ["id", "n", "note"]
    assert statuses(facts)["contention"] == checked.NOT_EXECUTED
    assert checked.verdict(facts) == checked.INCOMPLETE
    assert "held on the database itself" in " ".join(reports.headlines(facts))


BUILD = """-- unhush: no-transaction
SET lock_timeout = 0;
SET statement_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS jobs_n;
CREATE INDEX CONCURRENTLY jobs_n ON jobs (n);
RESET statement_timeout;
RESET lock_timeout;
"""
UNBUILD = "-- unhush: no-transaction\nSET lock_timeout = '1s';\nDROP INDEX CONCURRENTLY IF EXISTS jobs_n;\nRESET lock_timeout;\n"


def test_what_can_not_be_rolled_back_is_not_called_fine(url: str, tmp_path: Path) -> None:
    """CONCURRENTLY is NOT EXECUTED in a transaction, which is no pass; on a copy it runs, and is watched."""
    path = file(tmp_path, BUILD, UNBUILD)
    facts = tried(url, path, mode="transaction")
    assert checked.not_executed(facts) == 6
    assert checked.verdict(facts) != checked.PASSED
    assert "NOT EXECUTED: 6 statements" in " ".join(reports.headlines(facts))
    copied = tried(url, path, contended=True)
    assert checked.not_executed(copied) == 0
    assert failed(copied) == []
    taken = {(lock["relation"], lock["mode"]) for _, one in checked.statements(copied, "up") for lock in one["locks"]}
    assert ("public.jobs", "ShareUpdateExclusiveLock") in taken
    assert checked.disk(copied)["new_on_existing"] > 0


@pytest.mark.parametrize("every", [0.001, 0.5])
def test_locks_outside_a_transaction_are_never_missed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: float
) -> None:
    """On ten rows a statement is over at once; its lock is seen all the same, however seldom one looks."""
    monkeypatch.setattr(sampling, "EVERY", every)
    build = 'CREATE INDEX CONCURRENTLY jobs_n ON "jobs" (n);\nVACUUM public.jobs;\nREINDEX INDEX CONCURRENTLY jobs_n;\n'
    up = f"-- unhush: no-transaction\nSET lock_timeout = '200ms';\n{build}RESET lock_timeout;\n"
    facts = tried(url, file(tmp_path, up, UNBUILD))
    assert "up" not in failed(facts)
    acts = [one for _, one in checked.statements(facts) if "SET" not in one["text"]]
    locks = [{(lock["relation"], lock["mode"]) for lock in one["locks"]} for one in acts]
    assert {one["text"].split()[0] for one in acts} == {"CREATE", "VACUUM", "REINDEX", "DROP"}
    assert all(("public.jobs", "ShareUpdateExclusiveLock") in taken for taken in locks)
    assert {one["lock_timeout_ms"] for one in acts if not one["error"]} == {200, 1000}


def test_empty_table_is_no_result(url: str, tmp_path: Path) -> None:
    """On a table without rows the first lines say that the times say nothing; with rows they do not."""
    path = file(tmp_path, f"-- squawk-ignore-file\n{BOUND}ALTER TABLE jobs ALTER COLUMN note SET NOT NULL;\n")
    full = tried(url, path)
    assert not any("EMPTY" in text for text in reports.headlines(full))
    assert statuses(full)["rows there"] == checked.PASS
    execute(url, "TRUNCATE jobs")
    facts = tried(url, path)
    assert any(text.startswith("The database tried is EMPTY") for text in reports.headlines(facts)[:3])
    assert (failed(facts), checked.verdict(facts)) == ([], checked.INCOMPLETE)
    assert statuses(facts)["rows there"] == checked.NO_EVIDENCE
    execute(url, "CREATE TABLE other AS SELECT 1 AS id")
    assert any(text.startswith("EMPTY here: public.jobs") for text in reports.headlines(tried(url, path))[:3])


def test_missing_statistics_are_told(url: str, tmp_path: Path) -> None:
    """A touched table that nobody analyzed is named; after ANALYZE it is not."""
    execute(url, "CREATE TABLE raw AS SELECT generate_series(1, 5) AS n")
    path = file(tmp_path, f"{BOUND}ALTER TABLE raw ADD COLUMN IF NOT EXISTS more bigint;\n")
    assert any("Without statistics here: public.raw" in text for text in reports.headlines(tried(url, path)))
    execute(url, "ANALYZE raw")
    assert not any("Without statistics" in text for text in reports.headlines(tried(url, path)))


def test_scan_under_a_lock_without_a_rewrite(many: str, url: str, tmp_path: Path) -> None:
    """SET NOT NULL on many rows rewrites nothing, and is still seen to read all under its lock; on ten rows it may."""
    path = file(
        tmp_path,
        f"{BOUND}ALTER TABLE jobs ALTER COLUMN n SET NOT NULL;\n",
        f"{BOUND}ALTER TABLE jobs ALTER COLUMN n DROP NOT NULL;\n",
    )
    facts = tried(many, path)
    assert failed(facts) == ["locks"]
    assert "reads 20,000 rows of public.jobs under AccessExclusiveLock" in why(facts, "locks")
    assert not any(one["rewritten"] for _, one in checked.statements(facts))
    few = tried(url, path)
    assert failed(few) == []
    assert checked.reversibility(few, "change") == ("reversible", [])


def test_rows_decide(url: str, tmp_path: Path) -> None:
    """SET NOT NULL over a NULL fails on a copy with its rows, as it will in the end."""
    execute(url, "INSERT INTO jobs (n) VALUES (NULL)")
    facts = tried(url, file(tmp_path, f"{BOUND}ALTER TABLE jobs ALTER COLUMN n SET NOT NULL;\n"))
    assert "up" in failed(facts)
    assert "contains null values" in why(facts, "up")


def test_what_only_a_commit_checks(url: str, tmp_path: Path) -> None:
    """A deferred constraint that does not hold fails on a copy, where COMMIT checks it, and in a transaction too."""
    execute(url, "CREATE TABLE parts (job bigint REFERENCES jobs DEFERRABLE INITIALLY DEFERRED)")
    bad = file(tmp_path, f"{BOUND}INSERT INTO parts VALUES (99);\n", f"{BOUND}DELETE FROM parts;\n", name="bad")
    good = file(tmp_path, f"{BOUND}INSERT INTO parts VALUES (9);\n", f"{BOUND}DELETE FROM parts;\n", name="good")
    for mode in ("copy", "transaction"):
        assert "violates foreign key constraint" in why(tried(url, bad, mode=mode), "up")
        assert "up" not in failed(tried(url, good, mode=mode))


def test_rewrite_is_seen(many: str, url: str, tmp_path: Path) -> None:
    """A type that needs other bytes rewrites table and index; one that does not, does not."""
    facts = tried(many, file(tmp_path, f"{BOUND}ALTER TABLE jobs ALTER COLUMN n TYPE bigint;\n"), mode="copy")
    assert "rewrites public.jobs under AccessExclusiveLock" in why(facts, "locks")
    assert checked.disk(facts)["rewritten"] > 0
    same = tried(url, file(tmp_path, f"{BOUND}ALTER TABLE jobs ALTER COLUMN note TYPE varchar;\n"))
    assert not any(one["rewritten"] for _, one in checked.statements(same))


def test_without_a_lock_timeout(url: str, tmp_path: Path) -> None:
    """A file that would wait for ever is found out, both by what was in force and by trying it."""
    facts = tried(url, file(tmp_path, "ALTER TABLE jobs ADD COLUMN IF NOT EXISTS more bigint;\n"), contended=True)
    assert failed(facts) == ["lock timeout", "contention"]
    (found,) = facts["contention"]
    assert (found["blocked"], found["gave_up"], found["held"]) == (True, False, "ACCESS SHARE")
    assert "was still waiting for public.jobs" in why(facts, "contention")


def test_if_not_exists_over_another_type(url: str, tmp_path: Path) -> None:
    """IF NOT EXISTS over a text column of that name fails; the good case is the first test here."""
    execute(url, "ALTER TABLE jobs ADD COLUMN more text")
    facts = tried(url, file(tmp_path, ADD))
    assert failed(facts) == ["IF NOT EXISTS"]
    assert 'column "more" of relation "jobs" already exists, skipping' in why(facts, "IF NOT EXISTS")
    both = tried(url, file(tmp_path, ADD, DROP))
    assert {"IF NOT EXISTS", "down", "up again"} <= set(failed(both))
    assert checked.reversibility(both, "change")[0] == "not reversible"


def test_index_that_stays_invalid(url: str, tmp_path: Path) -> None:
    """lock_timeout on CONCURRENTLY leaves an INVALID index, which IF NOT EXISTS then takes for done."""
    build = "SET lock_timeout = '200ms';\nCREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_n ON jobs (n);\n"
    up = f"-- unhush: no-transaction\n{build}RESET lock_timeout;\n"
    facts = tried(url, file(tmp_path, up, UNBUILD), contended=True)
    assert {"indexes and constraints", "up again", "own lint"} <= set(failed(facts))
    assert facts["invalid_indexes"] == ["public.jobs_n"]
    assert any("(INVALID)" in line for line in facts["contention"][0]["left"])


def test_constraint_that_is_not_validated(url: str, tmp_path: Path) -> None:
    """A constraint left NOT VALID is named; once validated it is not."""
    add = f"{BOUND}ALTER TABLE jobs ADD CONSTRAINT positive CHECK (n > 0) NOT VALID;\n"
    back = f"{BOUND}ALTER TABLE jobs DROP CONSTRAINT positive;\n"
    facts = tried(url, file(tmp_path, add, back))
    assert "constraint public.jobs positive is not validated" in why(facts, "indexes and constraints")
    good = tried(url, file(tmp_path, f"{add}ALTER TABLE jobs VALIDATE CONSTRAINT positive;\n", back))
    assert statuses(good)["indexes and constraints"] == checked.PASS


def test_second_up_must_change_nothing(url: str, tmp_path: Path) -> None:
    """A file that adds something each time fails the second up, and so does one that can't run twice."""
    again = f"{BOUND}CREATE INDEX ON jobs (n);\n"
    facts = tried(url, file(tmp_path, again, f"{BOUND}DROP INDEX jobs_n_idx;\n"))
    assert "changed the schema again" in why(facts, "second up") or "not what the first way up made" in why(
        facts, "second up"
    )
    once = tried(url, file(tmp_path, ADD.replace("IF NOT EXISTS ", ""), DROP))
    assert failed(once) == ["second up"]
    assert "already exists; nothing was changed" in why(once, "second up")


def test_many_rows_changed(many: str, url: str, tmp_path: Path) -> None:
    """An UPDATE of all rows fails by its text and by its rows; one with a WHERE of a few does not."""
    facts = tried(many, file(tmp_path, f"{BOUND}UPDATE jobs SET note = 'y' WHERE n > 0;\n"), mode="copy")
    assert failed(facts) == ["rows changed"]
    assert "changes 20,000 rows of public.jobs" in why(facts, "rows changed")
    assert failed(tried(url, file(tmp_path, f"{BOUND}UPDATE jobs SET note = 'y';\n"))) == ["own lint"]
    few = tried(url, file(tmp_path, f"{BOUND}UPDATE jobs SET note = 'y' WHERE n < 3;\n", f"{BOUND}SELECT 1;\n"))
    assert failed(few) == []
    word, reasons = checked.reversibility(few, "change")
    assert (word, reasons) == ("reversible with data loss", ["up changes or deletes 2 rows of public.jobs"])


def test_hidden_ddl_is_watched(url: str, tmp_path: Path) -> None:
    """DDL in a DO block, even by EXECUTE, is pointed out and its lock is seen; squawk finds nothing in it."""
    up = f"{BOUND}DO $$ BEGIN EXECUTE 'alter table jobs add column if not exists more bigint'; END $$;\n"
    facts = tried(url, file(tmp_path, up, DROP))
    assert [(item["rule"], item["level"]) for item in facts["lint"]["findings"] if item["file"] == "change.sql"] == [
        ("ddl-in-do-block", "warning")
    ]
    assert any(
        lock["mode"] == "AccessExclusiveLock" for _, one in checked.statements(facts, "up") for lock in one["locks"]
    )


def test_foreign_key_locks_the_other_table(url: str, tmp_path: Path) -> None:
    """A new table with a foreign key to one that is there stops writes to that one, as the lock shows."""
    up = f"{BOUND}CREATE TABLE IF NOT EXISTS part (id bigint PRIMARY KEY, job bigint REFERENCES jobs (id));\n"
    facts = tried(url, file(tmp_path, up, f"{BOUND}DROP TABLE part;\n"))
    found = {(lock["relation"], lock["blocks"]) for _, one in checked.statements(facts, "up") for lock in one["locks"]}
    assert ("public.jobs", "writes") in found
    assert "foreign-key-locks-other-table" in {item["rule"] for item in facts["lint"]["findings"]}
    alone = tried(url, file(tmp_path, up.replace(" REFERENCES jobs (id)", ""), f"{BOUND}DROP TABLE part;\n"))
    assert not any(lock["blocks"] for _, one in checked.statements(alone, "up") for lock in one["locks"])


def test_sequences_that_moved_are_told(url: str, tmp_path: Path) -> None:
    """What no rollback takes back, a sequence that moved on, is in the first lines."""
    path = file(tmp_path, f"{BOUND}INSERT INTO jobs (n) VALUES (11);\n", f"{BOUND}DELETE FROM jobs WHERE n = 11;\n")
    facts = tried(url, path, mode="transaction")
    assert facts["target"]["sequences_moved"]["public.jobs_id_seq"][0] == 10
    assert any("public.jobs_id_seq" in text for text in reports.headlines(facts))
    assert execute(url, "SELECT count(*) FROM jobs")[0][0] == 10


def test_backouts_that_do_not_lead_back(url: str, tmp_path: Path) -> None:
    """No backout, one that fails and one that forgets something are three ways of `not reversible`."""
    none = tried(url, file(tmp_path, ADD, name="none"))
    assert checked.reversibility(none, "none") == ("not reversible", ["it has no backout"])
    assert "NOT REVERSIBLE: none." in reports.headlines(none)
    execute(url, "ALTER TABLE jobs DROP COLUMN more")
    broken = tried(url, file(tmp_path, ADD, f"{BOUND}DROP TABLE nowhere;\n", name="broken"))
    assert "does not exist" in checked.reversibility(broken, "broken")[1][0]
    assert "down" in failed(broken)
    execute(url, "ALTER TABLE jobs DROP COLUMN more")
    lazy = tried(url, file(tmp_path, ADD, f"{BOUND}SELECT 1;\n", name="lazy"))
    assert checked.reversibility(lazy, "lazy")[1] == ["after its backout the schema is not what it was"]
    assert "down" in failed(lazy)


def test_emptied_table_is_a_loss(url: str, tmp_path: Path) -> None:
    """TRUNCATE, also where a DO block hides it, counts no deleted row, and is still told as data that is lost."""
    back = f"{BOUND}SELECT 1;\n"
    facts = tried(url, file(tmp_path, f"{BOUND}DO $$ BEGIN TRUNCATE jobs; END $$;\n", back), mode="copy")
    assert checked.reversibility(facts, "change") == ("reversible with data loss", ["up empties public.jobs"])
    kept = tried(url, file(tmp_path, f"{BOUND}CLUSTER jobs USING jobs_pkey;\n", back), mode="copy")
    assert any(
        item["relation"] == "public.jobs" for _, one in checked.statements(kept, "up") for item in one["rewritten"]
    )
    assert not any("empties" in reason for reason in checked.reversibility(kept, "change")[1])


def test_locks_on_what_is_no_table(url: str, tmp_path: Path) -> None:
    """A file that locks a sequence or a materialized view alone is seen, and nobody tries to hold those."""
    execute(url, "CREATE MATERIALIZED VIEW seen AS SELECT * FROM jobs")
    up = f"{BOUND}ALTER SEQUENCE jobs_id_seq CACHE 5;\nREFRESH MATERIALIZED VIEW seen;\n"
    facts = tried(url, file(tmp_path, up, f"{BOUND}ALTER SEQUENCE jobs_id_seq CACHE 1;\n"), mode="copy", contended=True)
    kinds = {
        lock["kind"]
        for _, one in checked.statements(facts, "up")
        for lock in one["locks"]
        if lock["mode"] != "AccessShareLock"
    }
    assert {"sequence", "materialized view"} <= kinds
    assert facts["contention"] == []
    assert statuses(facts)["contention"] == checked.NOTHING


def test_what_the_whole_server_shares(url: str, tmp_path: Path) -> None:
    """A role, which no copy contains, is refused by its words, and stopped where a DO block hides them."""
    refused = tried(url, file(tmp_path, "CREATE ROLE unhush_dry_run_role;\n"))
    assert "reaches beyond this database" in why(refused, "nothing that must not run")
    hidden = tried(url, file(tmp_path, f"{BOUND}DO $$ BEGIN CREATE ROLE unhush_dry_run_role; END $$;\n"))
    assert "wrote to what the whole server shares" in why(hidden, "transaction")
    assert execute(url, "SELECT count(*) FROM pg_roles WHERE rolname = 'unhush_dry_run_role'")[0][0] == 0


def test_production_must_be_meant(url: str, tmp_path: Path) -> None:
    """A database that calls itself production is not tried unless that is said; staging is."""
    from sqlalchemy import create_engine

    engine = create_engine(url)
    apply_apart(engine, 3)
    engine.dispose()
    insert = (
        "INSERT INTO unhush_environment (id, name, gated, set_by, set_at) VALUES (1, 'production', true, 'ann', now())"
    )
    execute(url, insert)
    path = file(tmp_path, ADD, DROP)
    for mode in ("copy", "transaction", "given copy"):
        with pytest.raises(Failure, match="calls itself production"):
            dry_run(Wish(url=url, files=(path,), mode=mode))
    facts = tried(url, path, on_production=True, mode="transaction")
    assert facts["database"]["environment"] == "production"
    execute(url, "UPDATE unhush_environment SET name = 'staging'")
    assert tried(url, path, mode="transaction")["database"]["environment"] == "staging"


def test_on_a_copy_of_the_users_own(url: str, tmp_path: Path) -> None:
    """Where the user says that it is a copy it is tried there, and taken back at the end."""
    facts = tried(url, file(tmp_path, ADD, DROP), mode="given copy")
    assert failed(facts) == []
    assert (facts["mode"], facts["how"]) == ("given copy", None)
    assert statuses(facts)["the database itself"] == checked.PASS
    left = tried(url, file(tmp_path, ADD, name="no_way_back"), mode="given copy")
    assert "has the migrations now" in why(left, "the database itself")
    assert "more" in columns(url)


def test_our_own_migrations(url: str) -> None:
    """What unhush ships holds, touches no table of the user's, and is reversible with the letters' loss."""
    facts = tried(url)
    assert failed(facts) == []
    assert statuses(facts)["squawk"] == checked.PASS
    assert checked.touched(facts) == []
    assert [item["migration"] for item in facts["migrations"]] == ["001_create_job_dlq", "002_add_heartbeat_column"]
    assert checked.reversibility(facts, "001_create_job_dlq")[0] == "reversible with data loss"
    assert facts["lint"]["ignores"]
    assert any(item["ignored"] for item in facts["lint"]["findings"])

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unhush.sql.files import DIALECTS, migrations
from unhush.sql.statements import split

# What holds a semicolon that ends nothing, by kind of database.
HIDING = {
    "postgresql": (
        "';'", "'a'';b'", "E'\\';'", "e';'", '";"', '"a"";b"', "-- ;\n", "/* ; */", "/* /* ; */ ; */",
        "$$;$$", "$f$ ; $g$ ; $f$", "$f$ ' ; $f$", "a$f$b", "'\\'",
    ),
    "mariadb": ("';'", "'a'';b'", "'\\';'", '";"', '"\\";"', "`;`", "-- ;\n", "# ;\n", "/* ; */", "1--1", "'/*'"),
    "sqlite": ("';'", "'a'';b'", '";"', "`;`", "[;]", "-- ;\n", "/* ; */", "'\\'"),
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
def test_semicolons_that_end_nothing(dialect: str) -> None:
    """A semicolon in quotes, comments and dollar quotes ends no statement, one after them does."""
    for piece in HIDING[dialect]:
        one, two = f"SELECT {piece} x;", f"SELECT {piece} y;"
        assert split(f"{one}\n{two}\n", dialect) == [one, two]


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_statements_are_found_again(dialect: str, data: st.DataObject) -> None:
    """Whatever statements a file is put together from, splitting gives them back byte for byte."""
    piece = st.sampled_from((*HIDING[dialect], "a", ",", "(", "12", "é"))
    statements = data.draw(st.lists(st.lists(piece, max_size=5).map(lambda parts: f"SELECT {' '.join(parts)} z;")))
    assert split(" \n".join(statements), dialect) == statements


@pytest.mark.parametrize("dialect", DIALECTS)
def test_comments_are_no_statements(dialect: str) -> None:
    """Comments stand with the statement that they precede, and alone they are none; the last semicolon may lack."""
    text = "-- first;\nSELECT 1;\n;\n/* second; */ SELECT 2;\n-- end;\n"
    assert split(text, dialect) == ["-- first;\nSELECT 1;", "/* second; */ SELECT 2;"]
    assert split("SELECT 1; SELECT 2", dialect) == ["SELECT 1;", "SELECT 2"]
    assert split("-- nothing\n", dialect) == []


def test_triggers_of_sqlite_stay_whole() -> None:
    """A trigger's BEGIN ... END with its statements is one statement, which SQLite takes."""
    table = "CREATE TABLE a (x integer);"
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET x = CASE WHEN 1 THEN 2 END; DELETE FROM a; END;"
    found = split(f"{table}\n{trigger}\nSELECT 1;", "sqlite")
    assert found == [table, trigger, "SELECT 1;"]
    connection = sqlite3.connect(":memory:")
    for statement in found:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_our_files_split_into_what_they_say(dialect: str) -> None:
    """Each statement of our own files begins, after its comments, with a word that changes or sets something."""
    for migration in migrations(dialect):
        for script in (migration.script, migration.backout):
            statements = split(script.text, dialect)
            assert len(statements) >= 3
            for statement in statements:
                lines = [line for line in statement.splitlines() if line and not line.startswith("--")]
                assert lines[0].split()[0] in ("CREATE", "COMMENT", "SET", "DO", "DROP")

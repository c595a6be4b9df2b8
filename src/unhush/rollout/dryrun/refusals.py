"""What is never run in a dry run: what ends its transaction, or reaches beyond the database that it is tried on."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from ...sql.files import Script
from ...sql.statements import Token, split, tokens
from .steps import Step

_CONTROL = {"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "XA"}
_SHARED = {"ROLE", "USER", "GROUP", "DATABASE", "SCHEMA", "TABLESPACE", "SYSTEM", "SERVER"}
_HERE_ON_POSTGRESQL = {"SCHEMA", "SERVER"}  # there both live in one database
_BEYOND = {
    "postgresql": {("REASSIGN", "OWNED"), ("DROP", "OWNED"), ("COMMENT", "ON", "DATABASE"), ("COMMENT", "ON", "ROLE")}
    | {(verb, "SUBSCRIPTION") for verb in ("CREATE", "ALTER", "DROP")},
    "mariadb": {("USE",), ("GRANT",), ("REVOKE",), ("LOCK", "TABLES"), ("UNLOCK", "TABLES"), ("SET", "GLOBAL")},
    "sqlite": {("ATTACH",), ("DETACH",), ("VACUUM", "INTO")},
}


def refusals(steps: Iterable[Step], dialect: str, database: str | None) -> list[dict[str, object]]:
    """What stands in these files and their backouts that must not run, each with file, line, rule and a message."""
    found = []
    for step in steps:
        for name, script in ((step.file, step.up), (f"{step.label}.backout.sql", step.down)):
            if script is not None:
                found += _of_script(name, script, dialect, database)
    return found


def _of_script(name: str, script: Script, dialect: str, database: str | None) -> list[dict[str, object]]:
    found = []
    for line, statement in placed(script.text, dialect):
        if verdict := refused(statement, dialect, database):
            rule, message = verdict
            found.append({"file": name, "line": line, "rule": rule, "message": message})
    return found


def placed(text: str, dialect: str) -> list[tuple[int, str]]:
    """The statements of a file, each with the line on which its first word stands."""
    found, place = [], 0
    for statement in split(text, dialect):
        place = text.index(statement, place)
        first = next(tokens(statement, dialect), Token("", 0))
        found.append((text.count("\n", 0, place + first.start) + 1, statement))
        place += len(statement)
    return found


def refused(statement: str, dialect: str, database: str | None = None) -> tuple[str, str] | None:
    """The rule and the reason why a statement must not run; None where it may."""
    found = [token.text for token in tokens(statement, dialect)]
    words = [text.upper() for text in found]
    if not words:
        return None
    if "\\" in words:
        return "psql-meta-command", "a backslash command is the client's, no SQL: only psql runs it"
    if words[0] in _CONTROL or words[:2] in (["PREPARE", "TRANSACTION"], ["SET", "AUTOCOMMIT"]):
        return "transaction-control", f"{words[0]} ends or divides the transaction that the runner opens: take it out"
    if _reaches_beyond(words, dialect):
        return "beyond-the-database", f"{' '.join(words[:3])} reaches beyond this database, so no copy can contain it"
    if dialect == "mariadb" and database and _names(found, database):
        return "beyond-the-database", f"it names the database {database} itself, so it would not run on the copy"
    return None


def _reaches_beyond(words: list[str], dialect: str) -> bool:
    if any(tuple(words[: len(start)]) == start for start in _BEYOND[dialect]):
        return True
    if dialect == "postgresql" and words[0] == "COPY" and ("PROGRAM" in words or _to_a_file(words)):
        return True
    if dialect == "sqlite" or words[0] not in ("CREATE", "ALTER", "DROP"):
        return False
    shared = _SHARED - _HERE_ON_POSTGRESQL if dialect == "postgresql" else _SHARED
    kind = words[3] if words[1:3] == ["OR", "REPLACE"] and len(words) > 3 else words[1] if len(words) > 1 else ""
    if kind == "USER" and words[2:3] == ["MAPPING"]:
        return False
    return kind in shared


def _to_a_file(words: list[str]) -> bool:
    return any(word == "TO" and after.startswith("'") for word, after in pairwise(words))


def _names(found: list[str], database: str) -> bool:
    """Whether `database.` stands in it."""
    plain = [text.strip("`") for text in found]
    return any(text == database and after == "." for text, after in pairwise(plain))

"""Dead letters that nobody has dealt with are not dropped by mistake."""

from __future__ import annotations

from . import catalogue
from .errors import SchemaProblem
from .files import Migration
from .history import Query
from .session import Session

TABLE = "job_dlq"
LOSE = "lose"  # in place of a mark: they may go
_UNSETTLED = f"SELECT count(*) FROM {TABLE} WHERE status NOT IN ('redriven', 'discarded')"
# Another capture, redrive or edit shows in one of these.
_MARK = f"SELECT count(*), max(captured_at), max(changed_at), sum(fence), sum(attempts) FROM {TABLE}"


def is_there(dialect: str, query: Query) -> bool:
    """Whether the database has the letters' table."""
    return bool(catalogue.lines(dialect, query, [TABLE]))


def unsettled(dialect: str, query: Query) -> int:
    """How many letters were neither redriven nor discarded."""
    return int(query(_UNSETTLED)[0][0]) if is_there(dialect, query) else 0


def sealed(dialect: str, query: Query) -> int:
    """How many of them have an encrypted original, which no export holds."""
    found = query(f"{_UNSETTLED} AND secret_payload IS NOT NULL") if is_there(dialect, query) else [[0]]
    return int(found[0][0])


def mark(query: Query) -> str:
    """A text that is another one when a letter comes, goes or changes."""
    return repr([str(value) for value in query(_MARK)[0]])


def refuse(work: Session, migration: Migration, letters: str | None) -> None:
    """Raises SchemaProblem where a backout would drop letters that nobody has dealt with, or seen to a file.

    `letters` is None, LOSE, or the mark of the letters that were exported. On PostgreSQL and SQLite none can come
    between this look and the drop; on MariaDB, which commits each statement, one can.
    """
    if TABLE not in migration.backout.dropped or not is_there(work.dialect, work.query):
        return
    if work.dialect == "postgresql":
        work.execute("SET LOCAL lock_timeout = '5s'", ())
        work.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE", ())
    if letters is None and (count := unsettled(work.dialect, work.query)):
        raise SchemaProblem(
            f"{migration.label} holds {told(count)}; nothing was changed: say --export FILE to keep them in a file, or"
            " --lose-letters"
        )
    if letters not in (None, LOSE) and mark(work.query) != letters:
        raise SchemaProblem(
            f"letters came or changed while they were exported, so {migration.label} was not taken back: run this again"
        )
    if work.dialect == "postgresql":
        work.execute("SET LOCAL unhush.lose_letters = 'yes'", ())


def told(count: int) -> str:
    """The number of unsettled letters in words."""
    what = "letter that was" if count == 1 else "letters that were"
    return f"{count:,} {what} neither redriven nor discarded"

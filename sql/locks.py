"""Deployers take turns: one migrates, the others ask again and again, so that none waits inside a statement.

A statement that waits for a lock holds a snapshot, and CREATE INDEX CONCURRENTLY waits for every snapshot: two
deployers, one in the blocking pg_advisory_lock, would end in a deadlock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .session import Session, wait_for

# The key is "unhush" in ASCII. The lock belongs to one database on PostgreSQL; on MariaDB it would to the server.
_TAKE = {
    "postgresql": "SELECT pg_try_advisory_lock(129117059380072)",
    "mariadb": "SELECT GET_LOCK(CONCAT('unhush.', MD5(IFNULL(DATABASE(), ''))), 0)",
}
_LEAVE = {
    "postgresql": "SELECT pg_advisory_unlock(129117059380072)",
    "mariadb": "SELECT RELEASE_LOCK(CONCAT('unhush.', MD5(IFNULL(DATABASE(), ''))))",
}


@contextmanager
def turn(work: Session, patience: float) -> Iterator[None]:
    """Holds the deployers' lock, which ends with the connection at the latest. Raises SchemaProblem after `patience` s.

    SQLite has no such lock: there each migration is a transaction that begins by taking the write lock.
    """
    if work.dialect == "sqlite":
        yield
        return
    wait_for(lambda: bool(work.query(_TAKE[work.dialect])[0][0]), patience)
    try:
        yield
    finally:
        if not work.lost:
            work.query(_LEAVE[work.dialect])

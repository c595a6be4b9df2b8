"""A session whose statements are watched: how long each takes, and whether it is still in its transaction after it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from ...runtime.redact import redact_text
from ...sql.errors import SchemaProblem
from ...sql.session import Session, one_line
from ...sql.statements import tokens

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.pool import PoolProxiedConnection

_RUNNERS_OWN = {"BEGIN", "COMMIT", "BEGIN IMMEDIATE"}
_SAVEPOINT = "unhush_dry_run"
_SHOWN = 400  # characters of a statement in the report

Facts = dict[str, Any]


class Look(Protocol):
    """What is seen of one statement on one kind of database."""

    def step(self, whole: bool) -> None:
        """A file begins; `whole` says that it is one transaction."""

    def before(self, statement: str) -> None:
        """A statement is about to run."""

    def after(self, failed: bool) -> Facts:
        """It ran: what it did. After a failure only a second connection can still look."""

    def abandon(self) -> None:
        """It was interrupted: nothing is looked at any more."""

    def called_now(self, name: str) -> str:
        """What the table is called now that the facts call so."""

    def kept(self) -> bool:
        """Whether the transaction that the file began in is still the one that it is in."""


class Watched(Session):
    """Runs files as the runner's session does and keeps what is seen of each statement in `statements`.

    With `rolled_back` everything is part of one transaction of the caller's, and what the runner takes for
    transactions are savepoints in it.
    """

    look: Look
    rolled_back = False
    ended = False
    """Whether a statement ended the transaction: then nothing can be rolled back any more."""

    def __init__(self, engine: Engine, raw: PoolProxiedConnection) -> None:
        super().__init__(engine, raw)
        self.statements: list[Facts] = []
        self.connection: Any = raw.dbapi_connection
        self._watching = False
        self._whole = False

    @contextmanager
    def watching(self, whole: bool) -> Iterator[list[Facts]]:
        """Watches the statements of one file; the list grows as they run."""
        self.statements, self._watching, self._whole = [], True, whole
        self.look.step(whole)
        try:
            yield self.statements
        finally:
            self._watching = False

    def run(self, statement: str) -> None:
        """Runs a statement verbatim, and keeps what it did. Raises SchemaProblem where it ended the transaction."""
        if not self._watching or statement in _RUNNERS_OWN:
            super().run(statement)
            return
        facts = _facts_of(len(self.statements) + 1, statement)
        self.statements.append(facts)
        self.look.before(statement)
        started = time.perf_counter()
        try:
            super().run(statement)
        except self.error as error:
            facts["seconds"] = round(time.perf_counter() - started, 6)
            facts["error"] = {"message": redact_text(one_line(error)), "sqlstate": getattr(error, "sqlstate", None)}
            facts.update(self.look.after(failed=True))
            raise
        except BaseException:
            self.look.abandon()
            raise
        facts["seconds"] = round(time.perf_counter() - started, 6)
        if self._whole and not self.look.kept():
            facts["ended_transaction"] = self.ended = True
            raise SchemaProblem(f"statement {facts['number']} ended the transaction that it ran in")
        facts.update(self.look.after(failed=False))
        if facts.get("shared"):
            raise SchemaProblem(
                f"statement {facts['number']} wrote to {', '.join(facts['shared'])}, which all databases of the server"
                " share"
            )

    @contextmanager
    def transaction(self, patience: float) -> Iterator[None]:
        """All or nothing; a savepoint where the whole dry run is one transaction."""
        if not self.rolled_back:
            with super().transaction(patience):
                yield
            return
        super().run(f"SAVEPOINT {_SAVEPOINT}")
        try:
            yield
            super().run("SET CONSTRAINTS ALL IMMEDIATE")  # what a COMMIT would check
        except BaseException:
            if not self.lost and not self.ended:
                super().run(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            raise
        super().run(f"RELEASE SAVEPOINT {_SAVEPOINT}")

    def plain(self, statement: str) -> None:
        """Runs a statement of the dry run's own, unseen."""
        super().run(statement)


def _facts_of(number: int, statement: str) -> Facts:
    shown = " ".join(redact_text(_bare(statement)).split())
    return {
        "number": number,
        "text": shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}...",
        "sha256": sha256(statement.encode()).hexdigest(),
        "seconds": None,
        "error": None,
        "ended_transaction": False,
        "locks": [],
        "rewritten": [],
        "scanned": [],
        "changed": [],
        "made": [],
        "dropped": [],
        "shared": [],
        "notices": [],
        "lock_timeout_ms": None,
    }


def _bare(statement: str) -> str:
    """The statement from its first word on, without the comments before it."""
    first = next(tokens(statement, "postgresql"), None)
    return statement[first.start :] if first else statement


class PlainLook:
    """SQLite and MariaDB: what the database warns of, and on SQLite whether the transaction goes on."""

    def __init__(self, work: Watched) -> None:
        self._work = work

    def step(self, whole: bool) -> None:
        """Nothing is looked at beforehand."""

    def before(self, statement: str) -> None:
        """Nothing is looked at beforehand."""

    def after(self, failed: bool) -> Facts:
        """The warnings of MariaDB."""
        if self._work.dialect != "mariadb" or failed:
            return {}
        rows = self._work.query("SHOW WARNINGS")
        return {
            "notices": [
                {"severity": level, "code": str(code), "message": redact_text(text)} for level, code, text in rows
            ]
        }

    def abandon(self) -> None:
        """Nothing is under way."""

    def called_now(self, name: str) -> str:
        """No table is seen here."""
        return name

    def kept(self) -> bool:
        """SQLite says itself whether it is in a transaction."""
        return self._work.dialect != "sqlite" or bool(self._work.connection.in_transaction)

"""Sees the locks of a statement that runs outside a transaction, and so keeps none of them for us to find after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ...sql.statements import tokens
from .connecting import second_connection

if TYPE_CHECKING:
    from sqlalchemy import URL

EVERY = 0.005  # seconds between two looks

Locks = set[tuple[int, str]]


def named(statement: str, relations: Iterable[tuple[str, str]]) -> list[str]:
    """The tables, each quoted with its schema, that a statement names, itself or by one of their indexes.

    `relations` are pairs of the bare name of a table or index, and the table.
    """
    words = {
        token.text[1:-1].replace('""', '"') if token.text.startswith('"') else token.text.lower()
        for token in tokens(statement, "postgresql")
    }
    return sorted({table for name, table in relations if name in words})


class Gate:
    """A lock on the tables that a statement names, so that it has to wait until its locks were looked at.

    SHARE UPDATE EXCLUSIVE stops what changes a schema, builds an index or vacuums; it lets rows be read and written.
    """

    def __init__(self, url: URL, tables: list[str]) -> None:
        self.open = False
        with ExitStack() as stack:
            connection: Any = stack.enter_context(second_connection(url))
            self._pid = connection.info.backend_pid
            connection.execute("BEGIN")
            connection.execute(f"LOCK TABLE {', '.join(tables)} IN SHARE UPDATE EXCLUSIVE MODE")
            self._stack = stack.pop_all()

    def stops(self, observer: Any, pid: int) -> bool:
        """Whether somebody waits for it now."""
        query = "SELECT %s = ANY (pg_blocking_pids(%s))"
        return bool(observer.execute(query, (self._pid, pid)).fetchone()[0])

    def let_through(self) -> None:
        """Lets go of the tables; more than once does no harm."""
        if not self.open:
            self.open = True
            self._stack.close()


class Sampler:
    """Looks at the locks of `pid` again and again, and once for certain while the gate keeps it waiting."""

    def __init__(self, observer: Any, pid: int, look: Callable[[], Locks], gate: Gate | None) -> None:
        self.gated = gate is not None
        self._observer, self._pid, self._look, self._gate = observer, pid, look, gate
        self._end = threading.Event()
        self._pool = ThreadPoolExecutor(1, "unhush-dry-run-locks")
        self._seen = self._pool.submit(self._sample)

    def _sample(self) -> Locks:
        seen: Locks = set()
        try:
            while not self._end.wait(EVERY):
                seen |= self._look()
                if self._gate and not self._gate.open and self._gate.stops(self._observer, self._pid):
                    seen |= self._look()
                    self._gate.let_through()
        finally:
            if self._gate:
                self._gate.let_through()
        return seen

    def stop(self) -> Locks:
        """All that was seen. Raises what went wrong while looking."""
        self._end.set()
        self._pool.shutdown()
        return self._seen.result()

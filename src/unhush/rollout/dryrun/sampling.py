"""Sees the locks of a statement that runs outside a transaction, and so keeps none of them for us to find after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ...sql.statements import tokens
from .connecting import second_connection

if TYPE_CHECKING:
    from sqlalchemy import URL

EVERY = 0.005  # seconds between two looks
LOOKING_MS = 29_999  # what our look may add to a statement's lock_timeout; told from others' by its odd number
_PATIENCE_MS = 2000
_WAITS_NOT = {"skip_locked", "nowait"}

Locks = set[tuple[int, str]]


def named(statement: str, relations: Iterable[tuple[str, str]]) -> list[str]:
    """The tables, each quoted with its schema, that a statement names, itself or by one of their indexes.

    `relations` are pairs of the bare name of a table or index, and the table. None of a statement that does something
    else where it would have to wait.
    """
    words = {
        token.text[1:-1].replace('""', '"') if token.text.startswith('"') else token.text.lower()
        for token in tokens(statement, "postgresql")
    }
    if words & _WAITS_NOT:
        return []
    return sorted({table for name, table in relations if name in words})


class Gate:
    """Locks on the tables that a statement names, so that it has to wait for each until its locks were looked at.

    SHARE UPDATE EXCLUSIVE stops what changes a schema, builds an index or vacuums; it lets rows be read and written.
    `groups` are tables, each with its partitions; one that we may not lock, or that somebody else keeps locked, is not
    held.
    """

    def __init__(self, url: URL, groups: Iterable[Sequence[str]]) -> None:
        self._held: dict[int, ExitStack] = {}  # by the process of the connection, one for each group
        with ExitStack() as stack:
            stack.callback(self.let_through)
            for group in groups:
                self._hold(url, group)
            stack.pop_all()

    def _hold(self, url: URL, group: Sequence[str]) -> None:
        from psycopg.errors import InsufficientPrivilege, LockNotAvailable

        with ExitStack() as stack:
            connection: Any = stack.enter_context(second_connection(url))
            connection.execute(f"SET lock_timeout = {_PATIENCE_MS}")
            connection.execute("BEGIN")
            try:
                only = ", ".join(f"ONLY {table}" for table in group)
                connection.execute(f"LOCK TABLE {only} IN SHARE UPDATE EXCLUSIVE MODE")
            except (InsufficientPrivilege, LockNotAvailable):
                return
            self._held[connection.info.backend_pid] = stack.pop_all()

    @property
    def holds(self) -> bool:
        """Whether it still holds a table."""
        return bool(self._held)

    def stopping(self, observer: Any, pid: int) -> list[int]:
        """Those of its connections that somebody waits for now."""
        found = observer.execute("SELECT pg_blocking_pids(%s)", (pid,)).fetchone()[0]
        return [holder for holder in found if holder in self._held]

    def let_through(self, holders: Iterable[int] | None = None) -> None:
        """Lets go of what these connections hold; without them of everything. More than once does no harm."""
        for holder in list(self._held) if holders is None else holders:
            self._held.pop(holder).close()


class Sampler:
    """Looks at the locks of `pid` again and again, and once for certain while the gate keeps it waiting."""

    def __init__(self, observer: Any, pid: int, look: Callable[[], Locks], gate: Gate | None) -> None:
        self._observer, self._pid, self._look, self._gate = observer, pid, look, gate
        self._end = threading.Event()
        self._pool = ThreadPoolExecutor(1, "unhush-dry-run-locks")
        self._seen = self._pool.submit(self._sample)

    def _sample(self) -> Locks:
        seen: Locks = set()
        try:
            while not self._end.wait(EVERY):
                seen |= self._look()
                if self._gate and self._gate.holds and (stopping := self._gate.stopping(self._observer, self._pid)):
                    seen |= self._look()
                    self._gate.let_through(stopping)
        finally:
            if self._gate:
                self._gate.let_through()
        return seen

    def stop(self) -> Locks:
        """All that was seen. Raises what went wrong while looking."""
        self._end.set()
        self._pool.shutdown()
        return self._seen.result()

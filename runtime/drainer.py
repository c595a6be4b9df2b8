"""Puts what waits in the spool into the database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from .engine import is_refused
from .letters import SchemaProblem
from .record import Record
from .spool import Drained, StoreDown, StoreRefused
from .telling import first_line

if TYPE_CHECKING:
    from .core import Core


def drain(core: Core, store: Callable[[Record], object], answers: Callable[[], object]) -> Drained:
    """Stores each record that waits. `store` puts one into the database, `answers` raises where that is down.

    Ends where the database is down; sets aside what it will never take.
    """

    def put(record: Record) -> None:
        try:
            store(record)
        except SchemaProblem as error:
            raise StoreDown(str(error)) from error
        except SQLAlchemyError as error:
            if is_refused(error):
                raise StoreRefused(first_line(error)) from error
            _check_answers(answers)
            raise

    drained = core.spool.drain(put)
    if drained.stored or drained.refused or drained.corrupt:
        core.log.info(
            "dead_letter.drained", stored=drained.stored, refused=drained.refused, corrupt=drained.corrupt,
            kept=drained.kept,
        )  # fmt: skip
    return drained


def _check_answers(answers: Callable[[], object]) -> None:
    """Raises StoreDown where the database is down: else the trouble is with one record, and the next may do."""
    try:
        answers()
    except (DBAPIError, PoolTimeout) as error:
        raise StoreDown(first_line(error)) from error


class Drainer:
    """A thread that drains every so often until it is stopped."""

    def __init__(self, core: Core, drain: Callable[[], object], every: float) -> None:
        self._core = core
        self._drain = drain
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="unhush-drainer", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it runs; never in a forked child."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                self._drain()
            except Exception as error:  # noqa: BLE001 - logged; the next round may do better
                self._core.log.warning("dead_letter.drain_failed", trouble=first_line(error))
            if self._stop.wait(self._every):
                return

    def stop(self, timeout: float = 10.0) -> None:
        """Ends it after the record that it is storing; waits at most `timeout` seconds."""
        self._stop.set()
        self._thread.join(timeout)

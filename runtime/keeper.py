"""How the blocking queue keeps records: within a deadline, though the database's server may hang."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine

from . import acts, drainer, keeping
from .capture import CHUNK, TAKE_WRITE_LOCK, Captured, capture, capture_many
from .engine import thread_bound
from .keeping import Unreachable
from .letters import LetterSummary
from .record import Record, summary
from .spool import Drained
from .workers import Workers

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from .core import Core


class Keeper:
    """Keeps records for one queue; may be used by many threads."""

    def __init__(self, core: Core, engine: Callable[[], Engine]) -> None:
        self._core = core
        self._engine = engine
        self._workers = Workers()

    def put(
        self, failure: Mapping[str, Any], *, session: Session | Connection | None = None, spool_first: bool = False
    ) -> LetterSummary:
        """Keeps one failure, given by the arguments of the queue's `put`. `spool_first` leaves the database alone."""
        taken = keeping.taken_by_redrive(failure)
        if taken is not None:
            return taken
        record = keeping.record_of(self._core, failure)
        if session is not None:
            return self.put_record(record, session)
        if spool_first and keeping.append(self._core, record, Unreachable("the flag's source is gone")) is None:
            keeping.tell(self._core, [summary(record)])
            return summary(record)
        return self._keep([record])[0]

    def put_record(self, record: Record, session: Session | Connection) -> LetterSummary:
        """Keeps a record that is there already, in the caller's transaction."""
        return keeping.kept(self._core, [self._keep_inside(record, session)])[0]

    def put_many(self, failures: Iterable[Mapping[str, Any]]) -> list[LetterSummary]:
        """Keeps many failures in as few statements as can be."""
        records = [keeping.record_of(self._core, failure) for failure in failures]
        return [
            letter for start in range(0, len(records), CHUNK) for letter in self._keep(records[start : start + CHUNK])
        ]

    def _keep(self, records: Sequence[Record]) -> list[LetterSummary]:
        try:
            captured = self._store_in_time(records)
        except Exception as trouble:  # noqa: BLE001 - logged, with the record's way to the spool
            spooled = keeping.to_spool(self._core, records, trouble)
            keeping.tell(self._core, spooled)
            return spooled
        letters = keeping.kept(self._core, captured)
        new = [done.letter for done in captured if done.new]
        for queue in {letter.queue for letter in new if self._core.upkeep.due(letter.queue)}:
            self._later(partial(self._look_after, queue))
        keeping.tell(self._core, new)
        return letters

    def _store_in_time(self, records: Sequence[Record]) -> list[Captured]:
        """Raises Unreachable where the database does not answer within the deadline, or did not a moment ago."""
        core = self._core
        core.reachability.check()
        if thread_bound(self._engine()):
            captured = self._store(records)
        else:
            future = self._workers.submit(lambda: self._store(records))
            try:
                captured = future.result(core.deadline)
            except TimeoutError as error:
                if future.done():
                    raise
                future.cancel()
                core.reachability.missed()
                raise Unreachable(f"the database did not answer within {core.deadline:g} s") from error
        core.reachability.met()
        return captured

    def _store(self, records: Sequence[Record]) -> list[Captured]:
        core, engine = self._core, self._engine()
        at_once = len(records) <= CHUNK and not any(record["redrive"] for record in records)
        write = acts.write_at_once if at_once else acts.write
        return acts.retried(lambda: write(engine, capture_many, records, max_redrives=core.max_redrives), core.deadline)

    def _keep_inside(self, record: Record, session: Session | Connection) -> Captured:
        connection = session if isinstance(session, Connection) else session.connection()
        if connection.dialect.name == "sqlite":
            connection.execute(TAKE_WRITE_LOCK)  # else Python's driver begins nothing, and the savepoint commits itself
        with session.begin_nested():
            return capture(connection, record, max_redrives=self._core.max_redrives)

    def _later(self, call: Callable[[], None]) -> None:
        if thread_bound(self._engine()):
            call()
        else:
            self._workers.submit(call)

    def _look_after(self, queue: str) -> None:
        """Drains the spool, and warns where too much is dead."""
        core = self._core
        if not core.upkeep.begin():
            return
        try:
            if core.spool.size().records:
                self.drain()
            dead = acts.read(self._engine(), keeping.count_dead, queue, core.alert_threshold)
            keeping.alert(core, queue, dead)
        except Exception as error:  # noqa: BLE001 - logged; it is tried again at a later success
            core.log.warning("dead_letter.upkeep_failed", **keeping.why(error))
        finally:
            core.upkeep.end()

    def drain(self) -> Drained:
        """Puts what waits in the spool into the database."""
        return drainer.drain(
            self._core,
            store=lambda record: self._store([record]),
            answers=lambda: acts.read(self._engine(), acts.answers),
        )

    def close(self) -> None:
        """Ends the threads, without waiting for what they are doing."""
        self._workers.close()

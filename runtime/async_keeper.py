"""How the asyncio queue keeps records: within a deadline, whatever is cancelled, and without blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from . import acts, drainer, keeping
from .capture import CHUNK, TAKE_WRITE_LOCK, Captured, capture, capture_many
from .keeping import Unreachable
from .letters import LetterSummary
from .record import Record, summary
from .spool import Drained

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from .core import Core

T = TypeVar("T")


class AsyncKeeper:
    """Keeps records for one queue; may be used by many tasks of one event loop."""

    def __init__(self, core: Core, engine: Callable[[], AsyncEngine]) -> None:
        self._core = core
        self._engine = engine
        self._tasks: set[asyncio.Task[Any]] = set()

    async def put(
        self,
        failure: Mapping[str, Any],
        *,
        session: AsyncSession | AsyncConnection | None = None,
        spool_first: bool = False,
    ) -> LetterSummary:
        """Keeps one failure, given by the arguments of the queue's `put`. `spool_first` leaves the database alone."""
        taken = keeping.taken_by_redrive(failure)
        if taken is not None:
            return taken
        record = keeping.record_of(self._core, failure)
        if session is not None:
            return keeping.kept(self._core, [await self._keep_inside(record, session)])[0]
        # In a task of its own: one that is cancelled while it waits has its failure kept all the same.
        return (await asyncio.shield(self._task(self._keep([record], spool_first))))[0]

    async def put_many(self, failures: Iterable[Mapping[str, Any]]) -> list[LetterSummary]:
        """Keeps many failures in as few statements as can be."""
        records = [keeping.record_of(self._core, failure) for failure in failures]
        letters: list[LetterSummary] = []
        for start in range(0, len(records), CHUNK):
            letters += await asyncio.shield(self._task(self._keep(records[start : start + CHUNK], False)))
        return letters

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _keep(self, records: Sequence[Record], spool_first: bool) -> list[LetterSummary]:
        try:
            return await self._keep_or_spool(records, spool_first)
        except asyncio.CancelledError as end:
            # The event loop is ending. On disk twice is no harm: a record is stored once.
            keeping.to_spool(self._core, records, end)
            raise

    async def _keep_or_spool(self, records: Sequence[Record], spool_first: bool) -> list[LetterSummary]:
        core = self._core
        if spool_first and await asyncio.to_thread(_on_disk, core, records):
            letters = [summary(record) for record in records]
            keeping.tell(core, letters)
            return letters
        try:
            captured = await self._store_in_time(records)
        except Exception as trouble:  # noqa: BLE001 - logged, with the record's way to the spool
            letters = await asyncio.to_thread(keeping.to_spool, core, records, trouble)
            keeping.tell(core, letters)
            return letters
        letters = keeping.kept(core, captured)
        new = [done.letter for done in captured if done.new]
        for queue in {letter.queue for letter in new if core.upkeep.due(letter.queue)}:
            self._task(self._look_after(queue))
        keeping.tell(core, new)
        return letters

    async def _store_in_time(self, records: Sequence[Record]) -> list[Captured]:
        """Raises Unreachable where the database does not answer within the deadline, or did not a moment ago."""
        core = self._core
        core.reachability.check()
        store = self._task(self._store(records))
        # Not wait_for: that waits for the cancelled work to end, which a hung server can put off.
        done, _ = await asyncio.wait({store}, timeout=core.deadline)
        if not done:
            store.cancel()
            core.reachability.missed()
            raise Unreachable(f"the database did not answer within {core.deadline:g} s")
        captured = store.result()
        core.reachability.met()
        return captured

    async def _store(self, records: Sequence[Record]) -> list[Captured]:
        core, engine = self._core, self._engine()
        at_once = len(records) <= CHUNK and not any(record["redrive"] for record in records)
        write = acts.async_write_at_once if at_once else acts.async_write
        return await acts.async_retried(
            lambda: write(engine, capture_many, records, max_redrives=core.max_redrives), core.deadline
        )

    async def _keep_inside(self, record: Record, session: AsyncSession | AsyncConnection) -> Captured:
        connection = session if isinstance(session, AsyncConnection) else await session.connection()
        if connection.dialect.name == "sqlite":
            await connection.execute(TAKE_WRITE_LOCK)
        async with session.begin_nested():
            return await connection.run_sync(capture, record, max_redrives=self._core.max_redrives)

    async def _look_after(self, queue: str) -> None:
        """Drains the spool, and warns where too much is dead."""
        core = self._core
        if not core.upkeep.begin():
            return
        try:
            if (await asyncio.to_thread(core.spool.size)).records:
                await self.drain()
            dead = await acts.async_read(self._engine(), keeping.count_dead, queue, core.alert_threshold)
            keeping.alert(core, queue, dead)
        except Exception as error:  # noqa: BLE001 - logged; it is tried again at a later success
            core.log.warning("dead_letter.upkeep_failed", **keeping.why(error))
        finally:
            core.upkeep.end()

    async def drain(self) -> Drained:
        """Puts what waits in the spool into the database; the files are read in a thread."""
        loop = asyncio.get_running_loop()

        def here(work: Coroutine[Any, Any, object]) -> object:
            return asyncio.run_coroutine_threadsafe(work, loop).result()

        return await asyncio.to_thread(
            drainer.drain,
            self._core,
            store=lambda record: here(self._store([record])),
            answers=lambda: here(acts.async_read(self._engine(), acts.answers)),
        )

    async def close(self) -> None:
        """Waits for what is being kept."""
        while self._tasks:
            await asyncio.wait(self._tasks, timeout=self._core.deadline)
            for task in self._tasks:
                task.cancel()


def _on_disk(core: Core, records: Sequence[Record]) -> bool:
    trouble = Unreachable("the flag's source is gone")
    return all(keeping.append(core, record, trouble) is None for record in records)

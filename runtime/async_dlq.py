"""The dead letter queue for asyncio: the same acts as the blocking one, driven without blocking the event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from .core import Core, Options, check_scheme
from .decorator import AsyncDeadLetters
from .letters import Act, EventFilter, Filter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import URL, Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

    from .async_keeper import AsyncKeeper
    from .bulk import BulkOptions
    from .failure import Failure
    from .letters import (
        Event,
        EventPage,
        Given,
        Group,
        Letter,
        LetterSummary,
        Operation,
        OperationPage,
        Outcome,
        Page,
        Preview,
        Stats,
    )
    from .metrics import Metrics
    from .spool import Drained
    from .transfer import Imported

P = ParamSpec("P")
T = TypeVar("T")


class AsyncDeadLetterQueue:
    """Jobs that failed for good: kept, seen and put back to work, for asyncio.

    `database` is a SQLAlchemy URL or AsyncEngine; default `$UNHUSH_DATABASE_URL`, else `sqlite:///unhush.db`. A URL that
    names no driver, or a blocking one, gets one for asyncio. On an AsyncEngine of the caller's nothing is changed, and
    close() leaves it open. See `Options` for the rest.
    """

    def __init__(self, database: str | URL | AsyncEngine | None = None, **options: Unpack[Options]) -> None:
        if isinstance(database, str):
            check_scheme(database)
        self._core = Core(database, options)

    @cached_property
    def engine(self) -> AsyncEngine:
        """The engine in use; made at the first call that needs the database."""
        from .engine import make_async_engine, survive_fork

        survive_fork(self)
        if hasattr(self._core.database, "connect"):
            return self._core.database
        return make_async_engine(self._core.database)

    @property
    def metrics(self) -> Metrics:
        """What this process counts, and where gauges can be switched on."""
        return self._core.metrics

    def register(
        self, queue: str, handler: Callable[..., Any], *, job_name: str | None = None, transactional: bool = False
    ) -> None:
        """Has `await handler(letter)` put letters of the queue back to work; `job_name` narrows it to one kind of job.

        With `transactional` it is called as `handler(letter, session)` and what it writes through the AsyncSession is
        committed together with the letter's new status.
        """
        self._core.register(queue, handler, job_name=job_name, transactional=transactional)

    async def get(self, letter_id: str) -> Letter:
        """The letter whole, its payload as it may be shown; notes that it was seen. Raises NoSuchLetter."""
        from . import acts, keeping, lookup

        letter = await self._read(lookup.get, letter_id)
        if letter.seen_at is None:
            with keeping.seen_or_logged(self._core.log, letter.id):
                await acts.async_write(self.engine, lookup.mark_seen, letter.id)
        return letter

    async def list(
        self,
        filter: Filter | None = None,
        *,
        queue: str | None = None,
        status: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Letters that match, newest first, without payloads. Raises BadCursor for a cursor of another list."""
        from . import lookup

        asked = (filter or Filter()).narrowed(queue=queue, status=status)
        return await self._read(lookup.list_letters, asked, limit=limit, cursor=cursor)

    async def groups(self, *, status: str = "dead", limit: int = 50) -> Sequence[Group]:
        """The bugs with the most letters of that status, biggest first."""
        from . import lookup

        return await self._read(lookup.groups, status=status, limit=limit)

    async def stats(self) -> Stats:
        """How many letters each queue has in each status, since when the oldest waits, and what the spool holds."""
        from . import lookup

        return await self._read(lookup.stats, spool=self._core.spool.size())

    async def history(self, letter_id: str) -> Sequence[Event]:
        """All that happened to a letter, oldest first; also to one that is purged."""
        from . import history, lookup

        return await self._read(history.history, lookup.as_id(letter_id))

    async def audit(
        self, filter: EventFilter | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> EventPage:
        """Who did what, when and why, newest first. Raises BadCursor for a cursor of another list."""
        from . import history

        return await self._read(history.audit, filter or EventFilter(), limit=limit, cursor=cursor)

    async def redrive(
        self,
        letter_ids: Sequence[str],
        *,
        actor: str,
        reason: str | None = None,
        if_match: int | None = None,
        given: Given | None = None,
        dry_run: bool = False,
    ) -> Sequence[Outcome]:
        """Puts these letters back to work by their registered handlers; what became of each.

        With one letter go `if_match`, the fence that the caller saw, and `given`, a payload for this run alone that
        is never stored. A dry run says what would be done. A handler's error is an outcome, not raised.
        """
        from . import redrive, steps

        act, terms = Act(actor=actor, reason=reason), redrive.terms_of(self._core)
        acts = redrive.redrive(letter_ids, act, terms, if_match=if_match, given=given, dry_run=dry_run)
        return await steps.async_drive(acts, self)

    async def edit(
        self, letter_id: str, payload: Any, *, actor: str, reason: str | None = None, if_match: int | None = None
    ) -> Letter:
        """Gives a dead or parked letter another payload, and says whether it can be redriven with it.

        Raises NoSuchLetter, WrongState, and LeaseLost where the letter's fence is not `if_match` any more.
        """
        from . import edits

        act, vault, limit = Act(actor=actor, reason=reason), self._core.vault, self._core.payload_limit
        return await self._write(edits.edit, letter_id, payload, act, vault=vault, limit_bytes=limit, if_match=if_match)

    async def discard(
        self, letter_ids: Sequence[str], *, actor: str, reason: str, if_match: int | None = None
    ) -> Sequence[Outcome]:
        """Drops dead, parked and doubtful letters: kept, but not redriven. Raises DeadLetterError without a reason."""
        from . import edits

        return await self._write(edits.discard, letter_ids, Act(actor=actor, reason=reason), if_match=if_match)

    async def restore(
        self, letter_ids: Sequence[str], *, actor: str, reason: str | None = None, if_match: int | None = None
    ) -> Sequence[Outcome]:
        """Makes parked, discarded and doubtful letters dead again, so that they can be redriven."""
        from . import edits

        return await self._write(edits.restore, letter_ids, Act(actor=actor, reason=reason), if_match=if_match)

    async def reap(self) -> Sequence[Outcome]:
        """Ends redrives whose process died: transactional ones did not happen, any others are in doubt."""
        from . import redrive, steps

        return await steps.async_drive(redrive.reap(self._core.max_redrives), self)

    async def preview(
        self, kind: str, filter: Filter, *, everything: bool = False, options: BulkOptions | None = None
    ) -> Preview:
        """How many letters `bulk` would take, and how many of those it would surely refuse. Changes nothing."""
        from . import bulk

        return await self._read(bulk.preview, kind, filter, everything=everything, options=options)

    async def start(
        self,
        kind: str,
        filter: Filter,
        *,
        actor: str,
        reason: str | None = None,
        everything: bool = False,
        options: BulkOptions | None = None,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Begins a bulk act (`redrive`, `discard`, `restore`, `purge`): freezes the letters that match now.

        `work` does it. Raises EmptyFilter for a filter that means every letter, unless `everything` is said.
        """
        from . import bulk

        act = Act(actor=actor, reason=reason)
        return await self._write(
            bulk.start, kind, filter, act, everything=everything, options=options, idempotency_key=idempotency_key
        )

    async def work(self, operation_id: str, *, told: Callable[[Outcome], object] | None = None) -> Operation:
        """Works on a bulk act, also one that another process left behind, until it is done, paused or stopped.

        `told` is called with the outcome of each redriven letter. Raises WrongState where it can't be worked on.
        """
        from . import redrive, steps, working

        return await steps.async_drive(working.work(operation_id, redrive.terms_of(self._core), told=told), self)

    async def bulk(
        self,
        kind: str,
        filter: Filter,
        *,
        actor: str,
        reason: str | None = None,
        everything: bool = False,
        options: BulkOptions | None = None,
    ) -> Operation:
        """`start` and `work` in one."""
        begun = await self.start(kind, filter, actor=actor, reason=reason, everything=everything, options=options)
        return await self.work(begun.id)

    async def purge(
        self,
        filter: Filter,
        *,
        actor: str,
        reason: str | None = None,
        everything: bool = False,
        unseen: bool = False,
    ) -> Operation:
        """Deletes redriven and discarded letters that match, or those of the status that the filter names.

        Letters that nobody looked at stay, unless `unseen` is said. The history stays in any case.
        """
        from .bulk import PURGE, BulkOptions

        options = BulkOptions(unseen=unseen)
        return await self.bulk(PURGE, filter, actor=actor, reason=reason, everything=everything, options=options)

    async def operations(
        self, *, status: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> OperationPage:
        """Bulk acts, newest first. Raises BadCursor."""
        from . import bulk

        return await self._read(bulk.list_operations, status=status, limit=limit, cursor=cursor)

    async def operation(self, operation_id: str) -> Operation:
        """One bulk act and how far it is. Raises NoSuchLetter."""
        from . import bulk

        return await self._read(bulk.operation, operation_id)

    async def pause(self, operation_id: str, *, actor: str, reason: str | None = None) -> Operation:
        """Stops a bulk act before its next letter, to be resumed. Raises WrongState."""
        from . import bulk

        return await self._write(bulk.steer, operation_id, "pause", Act(actor=actor, reason=reason))

    async def resume(self, operation_id: str, *, actor: str, reason: str | None = None) -> Operation:
        """Lets a paused or stopped bulk act run again: `work` does it. Raises WrongState."""
        from . import bulk

        return await self._write(bulk.steer, operation_id, "resume", Act(actor=actor, reason=reason))

    async def cancel(self, operation_id: str, *, actor: str, reason: str | None = None) -> Operation:
        """Ends a bulk act before its next letter, for good. Raises WrongState."""
        from . import bulk

        return await self._write(bulk.steer, operation_id, "cancel", Act(actor=actor, reason=reason))

    async def export(self, file: IO[str], filter: Filter | None = None, *, history: bool = True) -> int:
        """Writes letters that match to a text file, one JSON object a line, oldest first; how many.

        Payloads as they may be shown: encrypted originals stay where they are.
        """
        from . import steps, transfer

        return await steps.async_drive(transfer.export(file, filter or Filter(), history=history), self)

    async def import_(self, lines: Iterable[str], *, actor: str, reason: str | None = None) -> Imported:
        """Stores exported letters that are not there yet. Each line stands for itself: broken ones are told."""
        from . import steps, transfer

        return await steps.async_drive(transfer.import_(lines, Act(actor=actor, reason=reason)), self)

    async def put(
        self,
        *,
        queue: str,
        job_name: str,
        error: BaseException | Failure,
        payload: Any = None,
        job_id: object = None,
        attempts: int = 1,
        headers: Mapping[str, Any] | None = None,
        trace_id: str | None = None,
        first_failed_at: datetime | None = None,
        failed_at: datetime | None = None,
        session: AsyncSession | AsyncConnection | None = None,
    ) -> LetterSummary:
        """Keeps a failed job, and returns its letter; the one that is there for a failure that was captured before.

        Stands alone: in the database within the deadline, else in the spool; the letter is then made when that is
        drained. Raises DeadLetterError where neither took it; it is in the log then. A call that is cancelled goes on by
        itself. With `session` it is part of the
        caller's transaction instead, in a savepoint: a rollback takes the letter too, and errors are the caller's.
        Without a job id each call is a new failure; `attempts` counts the failed tries of this run of the job.
        """
        failure = {
            "queue": queue,
            "job_name": job_name,
            "error": error,
            "payload": payload,
            "job_id": job_id,
            "attempts": attempts,
            "headers": headers,
            "trace_id": trace_id,
            "first_failed_at": first_failed_at,
            "failed_at": failed_at,
        }
        return await self._keeper.put(failure, session=session)

    async def put_many(self, failures: Iterable[Mapping[str, Any]]) -> Sequence[LetterSummary]:
        """Keeps many failed jobs at once, each given by the arguments of `put`; returns their letters in that order."""
        return await self._keeper.put_many(failures)

    def dead_letter(
        self,
        *,
        queue: str,
        job_name: str | None = None,
        job_id: Any = None,
        attempts: Any = 1,
        payload: Any = None,
        headers: Any = None,
    ) -> AsyncDeadLetters:
        """Captures the failures of a coroutine function that it decorates, or of the block of an `async with`.

        Asks the flag at each failure. The job's name is by default the function's, its payload the arguments of the
        call, with which a redrive calls it again. `job_id`, `attempts`, `payload` and `headers` may be functions: they
        are called with those arguments. A block needs a `job_name`.
        """
        return AsyncDeadLetters(
            self._core,
            self._keep_failure,
            queue=queue,
            job_name=job_name,
            job_id=job_id,
            attempts=attempts,
            payload=payload,
            headers=headers,
        )

    async def _keep_failure(self, *, spool_first: bool, **failure: Any) -> LetterSummary:
        return await self._keeper.put(failure, spool_first=spool_first)

    async def drain(self) -> Drained:
        """Puts what waits in this host's spool into the database, and says how much."""
        return await self._keeper.drain()

    @cached_property
    def _keeper(self) -> AsyncKeeper:
        from .async_keeper import AsyncKeeper

        return AsyncKeeper(self._core, lambda: self.engine)

    async def close(self) -> None:
        """Waits for what is being captured and ends, where it made the engine itself, its connections."""
        if "_keeper" in self.__dict__:
            await self._keeper.close()
        if "engine" in self.__dict__ and self.engine is not self._core.database:
            await self.engine.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def after_fork(self) -> None:
        """In a forked child: leaves what belongs to the parent alone."""
        from .engine import abandon_connections

        self._core.forget_threads()
        if "engine" in self.__dict__:
            abandon_connections(self.engine.sync_engine)

    async def _write(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Does the act in one transaction, again where it lost against another one."""
        from . import acts

        return await acts.async_retried(lambda: acts.async_write(self.engine, act, *args, **kwargs))

    async def _read(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Does the act in one transaction that changes nothing."""
        from . import acts

        return await acts.async_retried(lambda: acts.async_read(self.engine, act, *args, **kwargs))

"""The dead letter queue as a blocking service uses it.

Modules that need SQLAlchemy are imported where they are used: a service whose flag is off never loads them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from .core import Core, Options, check_scheme
from .decorator import DeadLetters
from .letters import Act, EventFilter, Filter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.orm import Session

    from .bulk import BulkOptions
    from .drainer import Drainer
    from .failure import Failure
    from .keeper import Keeper
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


class DeadLetterQueue:
    """Jobs that failed for good: kept, seen and put back to work.

    `database` is a SQLAlchemy URL or Engine; default `$UNHUSH_DATABASE_URL`, else `sqlite:///unhush.db`. On an Engine of
    the caller's nothing is changed, and close() leaves it open. See `Options` for the rest.
    """

    def __init__(self, database: str | URL | Engine | None = None, **options: Unpack[Options]) -> None:
        if isinstance(database, str):
            check_scheme(database)
        self._core = Core(database, options)
        self._drainer: Drainer | None = None

    @cached_property
    def engine(self) -> Engine:
        """The engine in use; made at the first call that needs the database."""
        from .engine import make_engine, survive_fork

        survive_fork(self)
        if hasattr(self._core.database, "connect"):
            return self._core.database
        return make_engine(self._core.database)

    @property
    def metrics(self) -> Metrics:
        """What this process counts, and where gauges can be switched on."""
        return self._core.metrics

    def export_gauges(self, *queues: str) -> None:
        """Shows depth, age and spool size in Prometheus and OpenTelemetry, and these queues' counters from 0.

        Queues with a registered handler are shown in any case. One process of a service is enough to read the database;
        the spool is each host's own. Raises ValueError where the registry has such gauges already.
        """
        self.metrics.watch(self.stats, self._core.spool.size)
        for queue in sorted({*queues, *self._core.queues}):
            self.metrics.declare(queue)

    def register(
        self, queue: str, handler: Callable[..., Any], *, job_name: str | None = None, transactional: bool = False
    ) -> None:
        """Has `handler(letter)` put letters of the queue back to work; `job_name` narrows it to one kind of job.

        With `transactional` it is called as `handler(letter, session)` and what it writes through the session is
        committed together with the letter's new status. Raises TypeError for a coroutine function.
        """
        if inspect.iscoroutinefunction(handler):
            raise TypeError("the handler is asynchronous: register it with an AsyncDeadLetterQueue")
        self._core.register(queue, handler, job_name=job_name, transactional=transactional)

    def put(
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
        session: Session | Connection | None = None,
    ) -> LetterSummary:
        """Keeps a failed job, and returns its letter; the one that is there for a failure that was captured before.

        Stands alone: in the database within the deadline, else in the spool; the letter is then made when that is
        drained. Raises DeadLetterError where neither took it; it is in the log then. With `session` it is part of the
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
        return self._keeper.put(failure, session=session)

    def put_many(self, failures: Iterable[Mapping[str, Any]]) -> Sequence[LetterSummary]:
        """Keeps many failed jobs at once, each given by the arguments of `put`; returns their letters in that order."""
        return self._keeper.put_many(failures)

    def dead_letter(
        self,
        *,
        queue: str,
        job_name: str | None = None,
        job_id: Any = None,
        attempts: Any = 1,
        payload: Any = None,
        headers: Any = None,
    ) -> DeadLetters:
        """Captures the failures of a function that it decorates, sync or async, or of the block of a `with`.

        Asks the flag at each failure. The job's name is by default the function's, its payload the arguments of the
        call, with which a redrive calls it again. `job_id`, `attempts`, `payload` and `headers` may be functions: they
        are called with those arguments. A block needs a `job_name`.
        """
        return DeadLetters(
            self._core,
            self._keep_failure,
            queue=queue,
            job_name=job_name,
            job_id=job_id,
            attempts=attempts,
            payload=payload,
            headers=headers,
        )

    def _keep_failure(self, *, spool_first: bool, **failure: Any) -> LetterSummary:
        return self._keeper.put(failure, spool_first=spool_first)

    def drain(self) -> Drained:
        """Puts what waits in this host's spool into the database, and says how much."""
        return self._keeper.drain()

    def start_drainer(self, every: float = 30.0) -> None:
        """Drains every so many seconds, in a thread, until close()."""
        from .drainer import Drainer

        if self._drainer is None or not self._drainer.alive:
            self._drainer = Drainer(self._core, self.drain, every)

    @cached_property
    def _keeper(self) -> Keeper:
        from .keeper import Keeper

        return Keeper(self._core, lambda: self.engine)

    def get(self, letter_id: str) -> Letter:
        """The letter whole, its payload as it may be shown; notes that it was seen. Raises NoSuchLetter."""
        from . import acts, keeping, lookup

        letter = self._read(lookup.get, letter_id)
        if letter.seen_at is None:
            with keeping.seen_or_logged(self._core.log, letter.id):
                acts.write(self.engine, lookup.mark_seen, letter.id)
        return letter

    def list(
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
        return self._read(lookup.list_letters, asked, limit=limit, cursor=cursor)

    def groups(self, *, status: str = "dead", limit: int = 50) -> Sequence[Group]:
        """The bugs with the most letters of that status, biggest first."""
        from . import lookup

        return self._read(lookup.groups, status=status, limit=limit)

    def stats(self) -> Stats:
        """How many letters each queue has in each status, since when the oldest waits, and what the spool holds."""
        from . import lookup

        return self._read(lookup.stats, spool=self._core.spool.size())

    def history(self, letter_id: str) -> Sequence[Event]:
        """All that happened to a letter, oldest first; also to one that is purged."""
        from . import history, lookup

        return self._read(history.history, lookup.as_id(letter_id))

    def audit(self, filter: EventFilter | None = None, *, limit: int = 50, cursor: str | None = None) -> EventPage:
        """Who did what, when and why, newest first. Raises BadCursor for a cursor of another list."""
        from . import history

        return self._read(history.audit, filter or EventFilter(), limit=limit, cursor=cursor)

    def redrive(
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
        return steps.drive(acts, self)

    def edit(
        self, letter_id: str, payload: Any, *, actor: str, reason: str | None = None, if_match: int | None = None
    ) -> Letter:
        """Gives a dead or parked letter another payload, and says whether it can be redriven with it.

        Raises NoSuchLetter, WrongState, and LeaseLost where the letter's fence is not `if_match` any more.
        """
        from . import edits

        act, vault, limit = Act(actor=actor, reason=reason), self._core.vault, self._core.payload_limit
        return self._write(edits.edit, letter_id, payload, act, vault=vault, limit_bytes=limit, if_match=if_match)

    def discard(
        self, letter_ids: Sequence[str], *, actor: str, reason: str, if_match: int | None = None
    ) -> Sequence[Outcome]:
        """Drops dead, parked and doubtful letters: kept, but not redriven. Raises DeadLetterError without a reason."""
        from . import edits

        return self._write(edits.discard, letter_ids, Act(actor=actor, reason=reason), if_match=if_match)

    def restore(
        self, letter_ids: Sequence[str], *, actor: str, reason: str | None = None, if_match: int | None = None
    ) -> Sequence[Outcome]:
        """Makes parked, discarded and doubtful letters dead again, so that they can be redriven."""
        from . import edits

        return self._write(edits.restore, letter_ids, Act(actor=actor, reason=reason), if_match=if_match)

    def reap(self) -> Sequence[Outcome]:
        """Ends redrives whose process died: transactional ones did not happen, any others are in doubt."""
        from . import redrive, steps

        return steps.drive(redrive.reap(self._core.max_redrives), self)

    def preview(
        self, kind: str, filter: Filter, *, everything: bool = False, options: BulkOptions | None = None
    ) -> Preview:
        """How many letters `bulk` would take, and how many of those it would surely refuse. Changes nothing."""
        from . import bulk

        return self._read(bulk.preview, kind, filter, everything=everything, options=options)

    def start(
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
        return self._write(
            bulk.start, kind, filter, act, everything=everything, options=options, idempotency_key=idempotency_key
        )

    def work(self, operation_id: str, *, told: Callable[[Outcome], object] | None = None) -> Operation:
        """Works on a bulk act, also one that another process left behind, until it is done, paused or stopped.

        `told` is called with the outcome of each redriven letter. Raises WrongState where it can't be worked on.
        """
        from . import redrive, steps, working

        return steps.drive(working.work(operation_id, redrive.terms_of(self._core), told=told), self)

    def bulk(
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
        begun = self.start(kind, filter, actor=actor, reason=reason, everything=everything, options=options)
        return self.work(begun.id)

    def purge(
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
        return self.bulk(PURGE, filter, actor=actor, reason=reason, everything=everything, options=options)

    def operations(self, *, status: str | None = None, limit: int = 50, cursor: str | None = None) -> OperationPage:
        """Bulk acts, newest first. Raises BadCursor."""
        from . import bulk

        return self._read(bulk.list_operations, status=status, limit=limit, cursor=cursor)

    def operation(self, operation_id: str) -> Operation:
        """One bulk act and how far it is. Raises NoSuchLetter."""
        from . import bulk

        return self._read(bulk.operation, operation_id)

    def pause(self, operation_id: str, *, actor: str, reason: str | None = None) -> Operation:
        """Stops a bulk act before its next letter, to be resumed. Raises WrongState."""
        from . import bulk

        return self._write(bulk.steer, operation_id, "pause", Act(actor=actor, reason=reason))

    def resume(self, operation_id: str, *, actor: str, reason: str | None = None) -> Operation:
        """Lets a paused or stopped bulk act run again: `work` does it. Raises WrongState."""
        from . import bulk

        return self._write(bulk.steer, operation_id, "resume", Act(actor=actor, reason=reason))

    def cancel(self, operation_id: str, *, actor: str, reason: str | None = None) -> Operation:
        """Ends a bulk act before its next letter, for good. Raises WrongState."""
        from . import bulk

        return self._write(bulk.steer, operation_id, "cancel", Act(actor=actor, reason=reason))

    def export(self, file: IO[str], filter: Filter | None = None, *, history: bool = True) -> int:
        """Writes letters that match to a text file, one JSON object a line, oldest first; how many.

        Payloads as they may be shown: encrypted originals stay where they are.
        """
        from . import steps, transfer

        return steps.drive(transfer.export(file, filter or Filter(), history=history), self)

    def import_(self, lines: Iterable[str], *, actor: str, reason: str | None = None) -> Imported:
        """Stores exported letters that are not there yet. Each line stands for itself: broken ones are told."""
        from . import steps, transfer

        return steps.drive(transfer.import_(lines, Act(actor=actor, reason=reason)), self)

    def close(self) -> None:
        """Ends the queue's threads and, where it made the engine itself, its connections."""
        if self._drainer is not None:
            self._drainer.stop()
        if "_keeper" in self.__dict__:
            self._keeper.close()
        if "engine" in self.__dict__ and self.engine is not self._core.database:
            self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def after_fork(self) -> None:
        """In a forked child: leaves what belongs to the parent alone."""
        from .engine import abandon_connections

        self._core.forget_threads()
        if "engine" in self.__dict__:
            abandon_connections(self.engine)

    def _write(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Does the act in one transaction, again where it lost against another one."""
        from . import acts

        return acts.retried(lambda: acts.write(self.engine, act, *args, **kwargs))

    def _read(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Does the act in one transaction that changes nothing."""
        from . import acts

        return acts.retried(lambda: acts.read(self.engine, act, *args, **kwargs))

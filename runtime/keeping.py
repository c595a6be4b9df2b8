"""Keeping a record for good: in the database within the deadline, else in the spool, else in the log.

What the blocking and the asyncio queue share of it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from . import context
from .capture import Captured
from .failure import Failure, describe
from .letters import DeadLetterError, LetterSummary
from .record import Record, build, summary
from .tables import DEAD, letters
from .telling import first_line

if TYPE_CHECKING:
    from .core import Core

BACKOFF_SECONDS = 5.0
UPKEEP_SECONDS = 30.0
QUIET_SECONDS = 60.0


class Unreachable(DeadLetterError):
    """The database did not answer in time, now or a moment ago."""


class Lost(DeadLetterError):
    """Neither the database nor the spool took the record; it is in the log."""


class Reachability:
    """Whether it is worth asking the database: not for a while after it missed a deadline."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: float | None = None

    def check(self) -> None:
        """Raises Unreachable while the database is left alone; afterwards lets one through to try it again."""
        if self._until is None:
            return
        now = self._clock()
        if now < self._until:
            raise Unreachable("the database missed its deadline a moment ago")
        self._until = now + BACKOFF_SECONDS

    def missed(self) -> None:
        """The deadline passed."""
        self._until = self._clock() + BACKOFF_SECONDS

    def met(self) -> None:
        """The database answered."""
        self._until = None


class Upkeep:
    """Says when a success is the moment to drain the spool, or to count what is dead: cheap to ask each time."""

    def __init__(self, alert_threshold: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._threshold = alert_threshold
        self._clock = clock
        self._running = threading.Lock()
        self._look_at = 0.0
        self._dead: dict[str, int] = {}
        self._quiet_until: dict[str, float] = {}
        self.spooled = False

    def due(self, queue: str) -> bool:
        """Counts a new letter of the queue, and says whether it is time."""
        now = self._clock()
        known = self._dead.get(queue)
        if known is not None:
            self._dead[queue] = known + 1
        alarm = known is None or (known + 1 >= self._threshold and now >= self._quiet_until[queue])
        return alarm or self.spooled or now >= self._look_at

    def begin(self) -> bool:
        """Takes the turn, if nobody has it; whoever took it calls end()."""
        if not self._running.acquire(blocking=False):
            return False
        self.spooled = False
        self._look_at = self._clock() + UPKEEP_SECONDS
        return True

    def end(self) -> None:
        """Gives the turn back."""
        self._running.release()

    def counted(self, queue: str, dead: int) -> bool:
        """Takes note of how many letters of the queue are dead, and says whether to warn: not again for a while."""
        self._dead[queue] = dead
        warn = dead >= self._threshold
        self._quiet_until[queue] = self._clock() + QUIET_SECONDS if warn else 0.0
        return warn


def record_of(core: Core, failure: Mapping[str, Any]) -> Record:
    """The record of a failure, given by the arguments of `put`."""
    return build(**failure, code_version=core.code_version, vault=core.vault, payload_limit=core.payload_limit)


def taken_by_redrive(failure: Mapping[str, Any]) -> LetterSummary | None:
    """The letter, where the failed job is the one that a redrive runs right here: that writes how it ends."""
    redrive = context.current()
    if redrive is None:
        return None
    job_id = failure.get("job_id")
    error = failure["error"]
    described = error if isinstance(error, Failure) else describe(error)
    taken = redrive.take(failure["queue"], failure["job_name"], None if job_id is None else str(job_id), described)
    return redrive.letter if taken else None


def to_spool(core: Core, records: Sequence[Record], trouble: BaseException) -> list[LetterSummary]:
    """Puts the records on disk, since the database can't take them. Raises Lost where the disk can't either."""
    lost = []
    for record in records:
        error = append(core, record, trouble)
        if error is not None:
            _lose(core, record, trouble, error)
            lost.append(error)
    if lost:
        raise Lost(f"{len(lost)} dead letters are in no database and no spool, but in the log: {lost[0]}") from lost[0]
    return [summary(record) for record in records]


def append(core: Core, record: Record, trouble: BaseException) -> Exception | None:
    """Puts a record on disk and says why in the log, or gives the error that prevents it."""
    try:
        core.spool.append(record)
    except Exception as error:  # noqa: BLE001 - the caller reports it
        _count(core, "spool_rejected", record["queue"])
        return error
    core.upkeep.spooled = True
    _count(core, "spooled", record["queue"])
    core.log.warning("dead_letter.spooled", **_facts(record), **why(trouble))
    return None


def _lose(core: Core, record: Record, trouble: BaseException, spool_error: Exception) -> None:
    """The last resort: the whole record, redacted, in the log."""
    _count(core, "lost", record["queue"])
    shown = {name: value for name, value in record.items() if name != "secret_payload"}
    core.log.critical(
        "dead_letter.capture_failed", record=json.dumps(shown), spool_error=first_line(spool_error), **why(trouble)
    )


def kept(core: Core, captured: Sequence[Captured]) -> list[LetterSummary]:
    """Counts and tells what the database took."""
    for done in captured:
        _count(core, "captured" if done.new else "duplicate", done.letter.queue)
        if done.new:
            core.log.info("dead_letter.captured", **_letter_facts(done.letter))
    return [done.letter for done in captured]


def _count(core: Core, what: str, queue: str) -> None:
    """Counts in the metrics; their trouble must not become the capture's."""
    try:
        getattr(core.metrics, what)(queue)
    except Exception as error:  # noqa: BLE001 - logged; a wrong number is no reason to lose a letter
        core.log.warning("dead_letter.metrics_failed", **why(error))


def tell(core: Core, told: Sequence[LetterSummary]) -> None:
    """Calls the hooks with new letters; what they raise is logged."""
    for letter in told:
        for hook in core.hooks:
            try:
                hook(letter)
            except Exception:  # the letter is safe, and the others have their turn
                core.log.exception("dead_letter.hook_failed", letter_id=letter.id, hook=repr(hook))


def count_dead(connection: Connection, queue: str, most: int) -> int:
    """How many dead letters the queue has, counted up to a limit."""
    some = select(letters.c.id).where(letters.c.queue == queue, letters.c.status == DEAD).limit(most).subquery()
    return connection.scalars(select(func.count()).select_from(some)).one()


def alert(core: Core, queue: str, dead: int) -> None:
    """Logs that the queue has as many dead letters as were to be told of."""
    if core.upkeep.counted(queue, dead):
        core.log.warning("dead_letter.threshold_exceeded", queue=queue, count=dead, threshold=core.alert_threshold)


def _facts(record: Record) -> dict[str, Any]:
    return {name: record[name] for name in ("queue", "job_name", "job_id", "error_type", "fingerprint")} | {
        "letter_id": record["id"]
    }


def _letter_facts(letter: LetterSummary) -> dict[str, Any]:
    names = ("queue", "job_name", "job_id", "error_type", "fingerprint", "status")
    return {name: getattr(letter, name) for name in names} | {"letter_id": letter.id}


def why(trouble: BaseException) -> dict[str, str]:
    """For the log: the trouble in one line, without the values that a driver's message may hold after it."""
    told = trouble.orig if isinstance(trouble, DBAPIError) and trouble.orig is not None else trouble
    return {"trouble": type(told).__qualname__, "trouble_told": first_line(told)}


@contextmanager
def seen_or_logged(log: Any, letter_id: str) -> Iterator[None]:
    """Logs why it could not be noted that a letter was seen: on a replica or a locked file it is to be seen all the same."""
    try:
        yield
    except DBAPIError as error:
        log.warning("dead_letter.seen_not_noted", letter_id=letter_id, **why(error))

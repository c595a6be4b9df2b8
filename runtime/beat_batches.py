"""Many jobs written together, and one that the database refuses found among them."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, StatementError

from . import acts
from .beat_claims import Outcomes, claim_all, claim_new, claim_rest, new_alone
from .beat_ends import Ends, end_all
from .beat_terms import Claim, Clock, Process, Terms
from .engine import is_duplicate, is_refused

P = ParamSpec("P")
T = TypeVar("T")

BATCH = 500  # jobs that are written together
RETRY_SECONDS = 5.0  # for which an act that lost against another transaction is tried again at once


class Writer:
    """Writes beginnings and ends of a process's jobs. `known` are the claims that it knows itself to hold."""

    def __init__(self, engine: Engine, process: Process, known: Container[Claim], clock: Clock) -> None:
        self._engine = engine
        self._process = process
        self._known = known
        self._clock = clock

    def write(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Does the act in one transaction, again while it loses against another one."""
        return acts.retried(lambda: acts.write(self._engine, act, *args, **kwargs), seconds=RETRY_SECONDS)

    def end_and_claim(self, ends: Sequence[tuple[Claim, str]], terms: Sequence[Terms]) -> tuple[Ends, Outcomes]:
        """First the ends, then the beginnings: a job may be among both."""

        def both(connection: Connection) -> tuple[Ends, Outcomes]:
            ended = end_all(connection, ends, self._clock)
            return ended, claim_all(connection, terms, self._process, self._known, self._clock)

        return self.write(both)

    def claim(self, terms: Sequence[Terms]) -> Outcomes:
        """As `claim_all`."""
        made: Outcomes = {}
        if new_alone(self._engine.dialect.name, terms):
            made = self._write_at_once(claim_new, terms, self._process, self._clock)
        if rest := [one for one in terms if one.job not in made]:
            made |= self.write(claim_rest, rest, self._process, self._known, self._clock)
        return made

    def end(self, ends: Sequence[tuple[Claim, str]]) -> Ends:
        """As `end_all`."""
        write = self.write if any(claim.has_letter for claim, _ in ends) else self._write_at_once
        return write(end_all, ends, self._clock)

    def _write_at_once(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return acts.retried(lambda: acts.write_at_once(self._engine, act, *args, **kwargs), seconds=RETRY_SECONDS)


def in_parts(
    write: Callable[[Sequence[T]], None],
    batch: Sequence[T],
    refused: Callable[[T, Exception], None] | None = None,
) -> None:
    """Writes the batch; where the database refuses it, ever smaller parts of it, so that one harms no other.

    `refused` is told of each that is refused alone; without it that is raised, as is whatever else the database says.
    """
    if not batch:
        return
    try:
        _twice(write, batch)
    except Exception as error:
        if len(batch) > 1 and may_be_one(error):
            half = len(batch) // 2
            in_parts(write, batch[:half], refused)
            in_parts(write, batch[half:], refused)
        elif refused is not None and _will_never_be(error):
            refused(batch[0], error)
        else:
            raise


def _twice(write: Callable[[Sequence[T]], None], batch: Sequence[T]) -> None:
    try:
        write(batch)
    except DBAPIError as error:
        if not is_duplicate(error):
            raise
        write(batch)  # another process made a row meanwhile, which is seen now


def may_be_one(error: Exception) -> bool:
    """Whether it may be one row that has the whole batch fail."""
    return _will_never_be(error) or (isinstance(error, DBAPIError) and is_duplicate(error))


def _will_never_be(error: Exception) -> bool:
    """Whether the row will never be taken: by the database, or already by what makes it ready for that."""
    if isinstance(error, DBAPIError):
        return is_refused(error)
    return isinstance(error, StatementError | TypeError | ValueError | RecursionError)

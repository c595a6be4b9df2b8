"""An OpenFeature provider whose flags are rows of the database, seen by every process within seconds.

One thread of each process reads the few rows each second; a job's question costs no query. While the database can't be
reached nobody knows whether a flag was turned off meanwhile: what was on is then UNREACHABLE_WAS_ON at once, and what
was off stays off.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import (
    FlagNotFoundError,
    ProviderNotReadyError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import AbstractProvider, Metadata
from sqlalchemy.exc import SQLAlchemyError

from . import flag_rows
from .engine import READING, abandon_connections, is_missing_schema, make_engine, survive_fork, thread_bound
from .flag_rows import FlagRow
from .flags import STATE, State
from .telling import first_line, log

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 4.0  # with a poll before it, less than the 5 s within which an OFF must be obeyed


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the last read that answered found, and when it was begun: rows may have changed since then."""

    at: float
    rows: Mapping[str, FlagRow] = field(default_factory=dict)


class DatabaseFlags(AbstractProvider):
    """OpenFeature's flags from the table `unhush_flag`, which `unhush rollout init` makes.

    `database` is a SQLAlchemy URL or Engine; default `$UNHUSH_DATABASE_URL`, else `sqlite:///unhush.db`. `poll` is the
    seconds between two reads, `patience` those without an answer after which the database counts as lost. A flag without
    a row, and a database without the table, is FLAG_NOT_FOUND: then the environment variable decides. May be shared by
    threads, and by processes that fork.
    """

    def __init__(
        self,
        database: str | URL | Engine | None = None,
        *,
        poll: float = POLL_SECONDS,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        if not 0 < poll < patience:
            raise ValueError("poll must be above 0 and below patience, both in seconds")
        self._given = database
        self._engine: Engine = database if hasattr(database, "connect") else make_engine(database)  # type: ignore[assignment]
        if thread_bound(self._engine):
            raise ValueError("in-memory SQLite can't hold flags: the thread that reads them has a database of its own")
        self._poll, self._patience, self._clock = poll, patience, clock
        self._seen: _Seen | None = None
        self._trouble = "it was not read yet"
        self._reset()
        survive_fork(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._tried = threading.Event()

    def get_metadata(self) -> Metadata:
        """The provider's name."""
        return Metadata(name="unhush-database-flags")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Begins to read, and waits for the first answer. A database that gives none is no error: the service must start."""
        self._begin(self._patience)

    def shutdown(self) -> None:
        """Ends the thread that reads."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
        if thread is not None:
            thread.join(self._poll)
        if self._engine is not self._given:
            self._engine.dispose()

    def after_fork(self) -> None:
        """In a forked child: its own connection and, when it first asks, its own thread."""
        self._reset()
        abandon_connections(self._engine)

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """What the row says of the targeting key. Raises OpenFeature's errors where it says nothing."""
        row, fresh = self._row(flag_key)
        job_id = evaluation_context.targeting_key if evaluation_context else None
        if fresh and row.needs_key and job_id is None:
            raise TargetingKeyMissingError(f"{flag_key} is on for a part of all jobs: which one is asked about?")
        on = row.holds(job_id)
        state = State.OFF if not on else State.ON if fresh else State.UNREACHABLE_WAS_ON
        reason = Reason.DISABLED if row.state == "off" else Reason.SPLIT if row.needs_key else Reason.STATIC
        return FlagResolutionDetails(
            value=on,
            reason=reason if fresh else Reason.STALE,
            variant=row.variant(on),
            flag_metadata={STATE: state.value, "version": row.version},
        )

    def _row(self, key: str) -> tuple[FlagRow, bool]:
        """The flag's row, and whether it was read of late."""
        self._begin(self._poll)
        seen = self._seen
        if seen is None:
            raise ProviderNotReadyError(f"the database of the flags: {self._trouble}")
        if key not in seen.rows:
            raise FlagNotFoundError(f"the database has no flag {key!r}")
        return seen.rows[key], self._clock() - seen.at <= self._patience

    def _begin(self, seconds: float) -> None:
        """Has a thread read, and waits so long for its first answer, where none does so yet in this process."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._stop = threading.Event()
            self._tried = threading.Event()
            work = (self._stop, self._tried)
            self._thread = threading.Thread(target=self._read_on, args=work, name="unhush-flags", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter is going down
                self._trouble = str(error)
                return
        self._tried.wait(seconds)

    def _read_on(self, stop: threading.Event, tried: threading.Event) -> None:
        while not stop.is_set():
            self._read()
            tried.set()
            stop.wait(self._poll)

    def _read(self) -> None:
        begun = self._clock()
        try:
            rows = self._rows()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next read may succeed; told while it lasts
            trouble = type(error).__name__
            if trouble != self._trouble:
                log("warning", "flag.database_lost", error_type=trouble, error=first_line(error))
            self._trouble = trouble
        else:
            self._seen, self._trouble = _Seen(begun, rows), ""

    def _rows(self) -> dict[str, FlagRow]:
        try:
            with self._engine.connect() as connection:
                return flag_rows.read(connection.execution_options(**{READING: True}))
        except SQLAlchemyError as error:
            if is_missing_schema(error):  # no roll-out here
                return {}
            raise

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Raises TypeMismatchError: these flags are booleans."""
        raise self._mismatch(flag_key)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Raises TypeMismatchError: these flags are booleans."""
        raise self._mismatch(flag_key)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Raises TypeMismatchError: these flags are booleans."""
        raise self._mismatch(flag_key)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[Any] | Mapping[str, Any],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[Any] | Mapping[str, Any]]:
        """Raises TypeMismatchError: these flags are booleans."""
        raise self._mismatch(flag_key)

    def _mismatch(self, key: str) -> Exception:
        try:
            self._row(key)
        except (FlagNotFoundError, ProviderNotReadyError) as error:
            return error
        return TypeMismatchError(f"{key} is a boolean flag")

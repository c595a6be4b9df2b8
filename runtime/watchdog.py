"""The watchdog: finds running jobs that are dead or stuck, and acts on each once.

Modules that need SQLAlchemy are imported where they are used: a service whose flag is off never loads them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .beat_errors import HeartbeatError
from .core import check_scheme
from .flags import PROBE, Flag, State
from .heartbeat import FLAG, seconds
from .telling import log

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

    from .beat_metrics import Count, Snapshot
    from .dlq import DeadLetterQueue

Action = str | Callable[["Verdict"], object]

REPORT, REQUEUE, DEAD_LETTER = "report", "requeue", "dead_letter"
GIVEN = ("requeued", "dead_lettered", "parked", "handed_over", "hook_failed")
DAY = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the watchdog saw of a job and did: `done` is one constant word, `detail` one line for a person.

    `done` is one of:

    - suspected: it was seen so for the first time, and is looked at again
    - reported: its kind's action is to report
    - unknown_kind: this watchdog has no action for its kind, so it was left alone
    - held: it may be an outage that just ended
    - braked: too many are in a bad state at once
    - refused: `stuck_after` is too short for it
    - locked: it ended or was claimed meanwhile, or a transaction holds its row, so nothing can be noted or done
    - recovered: the last look, just before acting, saw it well
    - failed: acting failed, as the detail says; it is tried again
    - requeued, dead_lettered, parked (it was rescued too often), handed_over (to the hook), hook_failed
    """

    kind: str
    job_id: str
    state: str
    done: str
    fence: int
    rescues: int
    host: str | None
    pid: int | None
    started_at: datetime
    beat_at: datetime
    progress_at: datetime
    detail: str = ""


class Watchdog:
    """Looks for jobs in a bad state: stalled, stuck or lost.

    database: a SQLAlchemy URL or Engine; default `$UNHUSH_DATABASE_URL`, else `sqlite:///unhush.db`.
    stuck_after: seconds without a beat of a job and of its process after which it is lost; two intervals or more.
    actions: what to do with each kind of job: `report`, `requeue` (give it away), `dead_letter`, or a hook that is called
        with the verdict once the job was given away, again until it returns. Other kinds are left alone, and reported.
    every: seconds between two runs of `run()`; by default a quarter of `stuck_after`.
    max_rescues: how often in a row a job is given away before it is parked in the dead letter queue.
    brake_share, brake_least: if more than this share of all running jobs, and at least so many, are in a bad state at
        once, the fault is elsewhere: an alarm, and nothing is touched.
    dlq: the queue for `dead_letter`, on the same database; by default one is made.
    keep: seconds for which ended runs are kept.
    name: which watchdogs take turns: those of one name on one database.
    clock: gives the time in place of the database, for simulations.
    """

    def __init__(
        self,
        database: str | URL | Engine | None = None,
        *,
        stuck_after: float = 60.0,
        actions: Mapping[str, Action] | None = None,
        every: float | None = None,
        max_rescues: int = 3,
        brake_share: float = 0.25,
        brake_least: int = 5,
        dlq: DeadLetterQueue | None = None,
        keep: float = 7 * DAY,
        name: str = "default",
        flag: Flag | None = None,
        clock: Callable[[], Any] | None = None,
    ) -> None:
        if isinstance(database, str):
            check_scheme(database)
        self.stuck_after = seconds("stuck_after", stuck_after)
        self.actions = dict(actions or {})
        for kind, action in self.actions.items():
            if not callable(action) and action not in (REPORT, REQUEUE, DEAD_LETTER):
                raise ValueError(f"the action for {kind!r} must be report, requeue, dead_letter or a function")
        self.every = seconds("every", stuck_after / 4 if every is None else every)
        self.max_rescues = max_rescues
        self.brake_share = brake_share
        self.brake_least = brake_least
        self.keep = keep
        self.name = name
        self._database = database
        self._dlq = dlq
        self._flag = flag or Flag(FLAG)
        self.clock = clock
        self.pause = self.every
        """Seconds until the next run is due: sooner where another watchdog's lead may end before."""
        self._holder = (0, "")
        self._unsteady = False
        self._first = True
        self.told_locked: set[str] = set()
        """The rows that were locked in the last run, which the log has been told."""
        self._snapshot: Snapshot | None = None
        self._last_run = 0.0
        self._count: Count | None = None
        self._stop = threading.Event()

    def run_once(self, *, brake: bool = True) -> list[Verdict]:
        """Looks at all running jobs once, and gives a verdict on each that is in a bad state.

        Nothing is done, and the list is empty, where the flag is off or can't be asked, or another watchdog leads.
        Without `brake` it acts however many jobs are in a bad state: for a person who knows that they are dead.
        Raises ThresholdTooShort from the first run, and the database's errors.
        """
        self._snapshot = None
        if self.off:
            if self._flag.wholly_off():
                self._last_run = time.time()
            return []
        from .rounds import Round

        try:
            work = Round(self)
            verdicts = work.verdicts(unsteady=self._unsteady, first=self._first, brake=brake)
            self.pause = work.pause
        except HeartbeatError:
            raise
        except Exception:
            self._unsteady = True  # the database may have been away: nobody could beat meanwhile
            raise
        self._unsteady = self._first = False
        self._snapshot = work.snapshot
        self._last_run = time.time()
        return verdicts

    @property
    def off(self) -> bool:
        """Whether the flag is off for every job, or can't be asked any more."""
        return self._flag.wholly_off() or self._flag.state(PROBE) is State.UNREACHABLE_WAS_ON

    def run(self) -> None:
        """Runs every so many seconds until `stop()`. Trouble with the database is logged once, and its end.

        Raises ThresholdTooShort from the first run.
        """
        failures = 0
        while not self._stop.is_set():
            try:
                self.run_once()
            except HeartbeatError:
                raise
            except Exception as error:  # noqa: BLE001 - what watches must outlive whatever the database does
                if not failures:
                    log("warning", "watchdog.database_lost", error_type=type(error).__qualname__)
                failures += 1
            else:
                if failures:
                    failures = 0
                    log("info", "watchdog.database_back")
            self._stop.wait(self.pause)
        if not failures and not self._first:
            self._leave()

    def _leave(self) -> None:
        """Lets another watchdog lead at once: a restart of the service holds nothing up."""
        from .rounds import Round

        try:
            Round(self).leave()
        except Exception as error:  # noqa: BLE001 - it ends anyway, and the others wait for a little
            log("info", "watchdog.lead_kept", error_type=type(error).__qualname__)

    def export_metrics(self, **where: Any) -> None:
        """Shows how jobs stand, as of the last run that this watchdog led, and counts what it does with them.

        `registry`, `meter_provider` and `exporters` are as for the dead letter queue's `Metrics`. Raises ValueError where
        the Prometheus registry has these metrics already.
        """
        from .beat_metrics import Sight, export

        self._last_run = self._last_run or time.time()  # silence counts from here, also where no run ever succeeds
        self._count = export(lambda: Sight(self._snapshot, self._last_run), **where)

    @property
    def exporting(self) -> bool:
        """Whether metrics are shown."""
        return self._count is not None

    def count(self, verdict: Verdict) -> None:
        """Counts a job that was given away; trouble with a library's metrics stops no act."""
        if self._count is None or verdict.done not in GIVEN:
            return
        try:
            self._count(verdict.kind, verdict.done)
        except Exception as error:  # noqa: BLE001 - the next job is worth more than this one's being counted
            log("error", "watchdog.metrics_failed", error_type=type(error).__qualname__)

    def stop(self) -> None:
        """Ends `run()` after the run that it is in."""
        self._stop.set()

    def close(self) -> None:
        """Ends `run()`, and the connections of an engine that the watchdog made itself."""
        self.stop()
        if "engine" in self.__dict__ and self.engine is not self._database:
            self.engine.dispose()
            del self.engine

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @cached_property
    def engine(self) -> Engine:
        """The engine in use; made at the first run."""
        from .engine import make_engine

        if hasattr(self._database, "connect"):
            return self._database  # type: ignore[return-value]
        return make_engine(self._database, idle_seconds=self.every)  # another one's turn comes then

    @cached_property
    def dlq(self) -> DeadLetterQueue:
        """Where jobs go that are dead-lettered or parked."""
        from .dlq import DeadLetterQueue

        return self._dlq or DeadLetterQueue(self.engine)

    @property
    def holder(self) -> str:
        """This watchdog's own id, another one in a forked child."""
        if self._holder[0] != os.getpid():
            from uuid_utils import uuid7

            self._holder = (os.getpid(), str(uuid7()))
        return self._holder[1]

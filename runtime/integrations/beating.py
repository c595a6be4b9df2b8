"""What the integrations share of heartbeats: each run of a framework's job beats, and is kept with its payload meanwhile.

A job's kind is its name, its id the framework's. Nothing here asks for tables, nor loads SQLAlchemy, while the flag
`JOB_HEARTBEAT` is off.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ..beat import CURRENT
from ..heartbeat import Heartbeats, Job, Limits, checked
from ..letters import DeadLetterError, check_text
from ..telling import first_line, log
from . import carrying

if TYPE_CHECKING:
    from ..dlq import DeadLetterQueue
    from ..record import Record

ANY = "*"  # in limits: all jobs that have none of their own
FINISHED, PARKED = "finished", "parked"  # the words of beat_tables.py, which needs SQLAlchemy


class Beating:
    """How the jobs of one framework beat: `limits` are those of each job name, under `*` those of all others."""

    def __init__(self, heartbeats: Heartbeats, dlq: DeadLetterQueue, limits: Mapping[str, Limits] | None) -> None:
        self.heartbeats = heartbeats
        self._dlq = dlq
        self._limits = {name: checked(limit) for name, limit in (limits or {}).items()}

    def job(self, name: str, job_id: str, described: Callable[[], dict[str, Any]], ended: Collection[str] = ()) -> Job:
        """The block in which a run of the job beats.

        `described` gives what a letter would say of it, but for the error. The beginning raises AlreadyRunning, and
        AlreadyEnded where the job has one of the statuses `ended`.
        """
        name, job_id = _fitting(name), _fitting(job_id)
        limits = self._limits.get(name) or self._limits.get(ANY) or {}
        letter = partial(self._letter, described)
        return self.heartbeats.framework_job(job_id, kind=name, limits=limits, letter=letter, ended=ended)

    def _letter(self, described: Callable[[], dict[str, Any]]) -> Record | None:
        from .. import beat_letters

        try:
            failure = carrying.failure_of(**described())
        except Exception as trouble:  # noqa: BLE001 - the job runs, whatever its message looks like
            log("error", "heartbeat.letter_failed", error_type=type(trouble).__qualname__, error=first_line(trouble))
            return None
        return beat_letters.build(self._dlq._core, failure)

    @property
    def delay(self) -> float:
        """Seconds after which a delivery is tried again whose job still runs elsewhere."""
        return max(1.0, self.heartbeats.every)

    def lives(self, name: str, job_id: str) -> bool:
        """Whether a run of the job was heard of not long ago; False where the flag is off for it."""
        from ..flags import State

        if self.heartbeats._flag.state(job_id) is not State.ON:
            return False
        from .. import acts, beats

        return acts.read(self.heartbeats.engine, beats.lives, _fitting(name), _fitting(job_id))

    def preload(self) -> None:
        """Loads what beating needs, in a process that forks another one for each job; nothing while the flag is off."""
        if not self.heartbeats._flag.wholly_off():
            from .. import beat_letters, beater  # noqa: F401 - for the children

            self.heartbeats.engine  # noqa: B018 - loads the driver; connects to nothing


def _fitting(text: str) -> str:
    """The name or id as the table holds it: a framework takes longer ones, and stranger ones."""
    try:
        check_text("a name", text)
    except DeadLetterError:
        from ..record import as_name

        return as_name(text)
    return text


def runs_here(name: str, job_id: str) -> bool:
    """Whether this is called from within that job's own run."""
    beat = CURRENT.get()
    return beat is not None and (beat.kind, beat.job_id) == (_fitting(name), _fitting(job_id))


def put_back(name: str, job_id: str, why: BaseException) -> None:
    """Tells of a delivery that waits for another run of its job."""
    log("info", "heartbeat.put_back", kind=name, job_id=job_id, why=str(why))


def dropped(name: str, job_id: str, why: BaseException) -> None:
    """Tells of a delivery whose job has ended."""
    log("warning", "heartbeat.dropped", kind=name, job_id=job_id, why=str(why))

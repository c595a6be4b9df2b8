"""The words of heartbeats: a process, what a job promises, the run that holds it, and one beat."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .record import Record

# `database_now`, or what gives a datetime instead: a simulation's clock.
Clock = Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that runs jobs. `id` is a fresh one at each start: host and pid come again."""

    id: str
    name: str | None
    host: str
    pid: int
    every: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a job promises when it begins: seconds, None for no limit."""

    kind: str
    job_id: str
    deadline: float | None = None
    stalled_after: float | None = None
    letter: Record | None = None
    """The dead letter that it would be."""
    ended: Collection[str] = ()
    """The statuses of the job in which this is another delivery of it, and must not run."""
    variant: str | None = None
    """Which setting of the flag let it beat."""

    @property
    def job(self) -> tuple[str, str]:
        """What makes it the same job as another one."""
        return self.kind, self.job_id


@dataclass(frozen=True, slots=True)
class Claim:
    """A run of a job: the row that stands for the job, and the number that this run alone may write under."""

    id: str
    fence: int
    has_letter: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """One job's beat. `moved` says that its progress changed."""

    claim: Claim
    progress: float | None = None
    note: str | None = None
    moved: bool = False
    guarded: bool = False
    """Whether the job may hold its row locked in a transaction of its own."""
    left: float | None = None
    """Seconds until its deadline by its process's own clock: the database's may have jumped."""

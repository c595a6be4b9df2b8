"""What heartbeats and the watchdog refuse, each with one line that says why."""

from __future__ import annotations


class HeartbeatError(Exception):
    """Something that heartbeats or the watchdog can't do; the text is one line that says what to do."""


class AlreadyRunning(HeartbeatError):
    """Another run of the same job is alive."""


class AlreadyEnded(HeartbeatError):
    """The job has finished, or is in the dead letter queue: what came again is another delivery of it."""

    def __init__(self, text: str, status: str) -> None:
        super().__init__(text)
        self.status = status


class LeaseLost(HeartbeatError):
    """The job was given away: what this run writes must not stand."""


class ThresholdTooShort(HeartbeatError):
    """A watchdog's `stuck_after` is shorter than two intervals between the beats of a job."""

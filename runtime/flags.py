"""Feature flags by OpenFeature and by environment variable: default OFF, sticky percentages, no stale answer for ever.

OpenFeature is never imported from here: while the process has not done so, it can't have set a provider, and the
environment decides alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from enum import Enum
from fractions import Fraction
from functools import lru_cache, partial
from typing import NamedTuple

from .telling import log

STALE_SECONDS = 300.0  # default of UNHUSH_FLAG_STALE
DEADLINE_SECONDS = 2.0  # how long a provider may take to answer
DOMAIN = "unhush"  # a provider can be set for these flags alone
STATE = "unhush.state"  # the flag metadata in which a provider that knows all states itself says which it is
PROBE = "unhush-probe"  # the targeting key with which a provider is asked whether a flag is on at all

_PERCENTAGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)\s*%", re.ASCII)


class State(Enum):
    """What a flag says of a job. UNREACHABLE_WAS_ON: the source is gone, and what was on must not be lost meanwhile."""

    ON = "on"
    OFF = "off"
    UNREACHABLE_WAS_ON = "unreachable_was_on"


class Word(NamedTuple):
    """What a flag says of a job. The variant tells which setting of the flag said so; None where the provider has none."""

    state: State
    variant: str | None = None


class Flag:
    """A flag such as DLQ_ENABLED, asked at the moment it matters; may be shared by threads.

    The environment variable `FEATURE_FLAG_<key>` says `true`, `false` or a percentage such as `2.5%`. `false` is OFF
    whatever a provider says; otherwise the provider that is set in OpenFeature decides, and where there is none, or it
    doesn't know the flag, the variable. Any other value is logged once and counts as `false`.
    """

    def __init__(self, key: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.key = key
        self.variable = f"FEATURE_FLAG_{key}"
        self._source = _Source(key, clock)
        self._complained_of: str | None = None

    def on(self, job_id: str | None = None) -> bool:
        """Whether the flag is, or was, on for this job: anything but OFF."""
        return self.state(job_id) is not State.OFF

    def state(self, job_id: str | None = None) -> State:
        """What the flag says of this job. Without a job id, a percentage below 100 is OFF: chance would not be sticky."""
        return self.word(job_id).state

    def word(self, job_id: str | None = None) -> Word:
        """As `state`, with the variant, which is kept with the job."""
        share = self._share()
        if share is None:
            return Word(State.OFF)
        default = share == 1 or (job_id is not None and bucket(self.key, job_id) < share)
        return self._source.word(job_id, default)

    def wholly_off(self) -> bool:
        """Whether the flag is on for no job, as far as can be known.

        That is, no percentage above 0, no ON from the provider in recent time, and none for the targeting key
        `unhush-probe`.
        """
        share = self._share()
        if share is None:
            return True
        return self._source.word(PROBE, share > 0).state is State.OFF and not self._source.said_on()

    def _share(self) -> Fraction | None:
        """The part of all jobs that the environment turns on; None where it turns off whatever a provider says."""
        value = os.environ.get(self.variable, "")
        try:
            return parse(value)
        except ValueError as error:
            if value != self._complained_of:
                self._complained_of = value
                log("error", "flag.value_unknown", flag=self.key, variable=self.variable, error=str(error))
            return None


class _Source:
    """The provider that is set in OpenFeature, and what it said last, for the time in which it can't be reached."""

    def __init__(self, key: str, clock: Callable[[], float]) -> None:
        self.key = key
        self.clock = clock
        self.standing = "reached"
        self.reached_at: float | None = None
        self.said_at: dict[bool, float] = {}  # when it last said ON and OFF of a job
        self.hanging: list[threading.Thread] = []

    def word(self, job_id: str | None, default: bool) -> Word:
        """The provider's word; the default where there is no provider, or it doesn't know the flag."""
        if "openfeature.api" not in sys.modules:
            return Word(_state(default))
        answer = self.ask(job_id, default)
        if answer.state is not None:
            return self.told(answer)
        return Word(self.state(job_id, default, answer), answer.variant)

    def told(self, answer: _Answer) -> Word:
        """The word of a provider that knows all states itself: nothing need be remembered for it."""
        assert answer.state is not None
        self.reached_at = None
        self.said_at.clear()
        self.stand("lost" if answer.trouble else "reached", answer.trouble)
        return Word(answer.state, answer.variant)

    def state(self, job_id: str | None, default: bool, answer: _Answer) -> State:
        """What the answer comes to, with what was said before where the provider is lost."""
        now = self.clock()
        if answer.trouble and (answer.value is None or self.too_old(now)):
            return self.remembered(now, default, answer.trouble)
        if answer.value is None:
            self.stand("reached", "")
            self.reached_at = None
            self.said_at.clear()
            return _state(default)
        if not answer.trouble or self.reached_at is None:
            self.reached_at = now
        if job_id != PROBE:
            self.said_at[answer.value] = now
        self.stand("lost" if answer.trouble else "reached", answer.trouble)
        return _state(answer.value)

    def ask(self, job_id: str | None, default: bool) -> _Answer:
        """Asks in a thread, since a provider that hangs must not hold the job; one that hangs is not asked again."""
        self.hanging = [thread for thread in self.hanging if thread.is_alive()]
        if self.hanging:
            return _Answer(None, "it still hangs")
        answers: list[_Answer] = []
        work = partial(copy_context().run, lambda: answers.append(_evaluate(self.key, job_id, default)))
        thread = threading.Thread(target=work, name=f"unhush-flag-{self.key}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is going down
            return _Answer(None, str(error))
        thread.join(DEADLINE_SECONDS)
        if answers:
            return answers[0]
        self.hanging.append(thread)
        return _Answer(None, f"no answer within {DEADLINE_SECONDS} s")

    def remembered(self, now: float, default: bool, trouble: str) -> State:
        """What was said before the provider was lost.

        ON stays ON for a while, if that was all it said; then, and where it said OFF of other jobs, nobody knows any more
        of which job it would say what: that is UNREACHABLE_WAS_ON.
        """
        too_old = self.too_old(now)
        self.stand("stale" if too_old else "lost", trouble)
        if self.reached_at is None:
            return _state(default)
        if not self.said_on():
            return State.OFF
        return State.UNREACHABLE_WAS_ON if too_old or self.said_lately(False) else State.ON

    def said_on(self) -> bool:
        """Whether it said ON of a job not long before it was last reached."""
        return self.said_lately(True)

    def said_lately(self, value: bool) -> bool:
        return (
            value in self.said_at
            and self.reached_at is not None
            and self.said_at[value] >= self.reached_at - stale_seconds()
        )

    def too_old(self, now: float) -> bool:
        return self.reached_at is not None and now - self.reached_at > stale_seconds()

    def stand(self, standing: str, trouble: str) -> None:
        """Logs when the provider is lost, when what it said is too old to go by, and when it is back."""
        if standing != self.standing:
            self.standing = standing
            if standing == "reached":
                log("info", "flag.source_back", flag=self.key)
            else:
                log("warning" if standing == "lost" else "error", f"flag.source_{standing}", flag=self.key, why=trouble)


class _Answer(NamedTuple):
    """A provider's word; None where it gave none. `trouble` says why the word is missing, or may be out of date.

    `state` is there where the provider says by itself what it comes to.
    """

    value: bool | None
    trouble: str
    variant: str | None = None
    state: State | None = None


def provider_is_set() -> bool:
    """Whether OpenFeature has a provider for these flags, which may take its time to answer."""
    if "openfeature.api" not in sys.modules:
        return False
    from openfeature import api
    from openfeature.provider.no_op_provider import NoOpProvider

    return not isinstance(api.get_client(DOMAIN).provider, NoOpProvider)


def _evaluate(key: str, job_id: str | None, default: bool) -> _Answer:
    from openfeature import api
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.exception import ErrorCode
    from openfeature.provider import ProviderStatus
    from openfeature.provider.no_op_provider import NoOpProvider

    client = api.get_client(DOMAIN)
    if isinstance(client.provider, NoOpProvider):
        return _Answer(None, "")
    try:
        found = client.get_boolean_details(key, default, EvaluationContext(targeting_key=job_id))
    except Exception as error:  # noqa: BLE001 - the SDK lets through what a user's hooks raise
        return _Answer(None, f"{type(error).__qualname__}: {error}")
    if found.error_code == ErrorCode.FLAG_NOT_FOUND:
        return _Answer(None, "")
    if found.error_code == ErrorCode.TARGETING_KEY_MISSING:
        return _Answer(False, "")  # on for some jobs, and this one can't be told apart
    if found.error_code:
        return _Answer(None, f"{found.error_code}: {found.error_message}")
    lost = found.reason == "STALE" or client.get_provider_status() != ProviderStatus.READY
    state = found.flag_metadata.get(STATE)
    return _Answer(
        found.value,
        "it can't reach its own source" if lost else "",
        found.variant,
        State(state) if state is not None else None,
    )


@lru_cache
def parse(value: str) -> Fraction | None:
    """The part of all jobs that a variable's value turns on; None for `false`. Raises ValueError with one line."""
    word = value.strip().lower()
    if word in ("", "true", "false"):
        return {"": Fraction(0), "true": Fraction(1), "false": None}[word]
    match = _PERCENTAGE.fullmatch(word)
    share = Fraction(match[1]) / 100 if match else Fraction(-1)
    if not 0 <= share <= 1:
        raise ValueError(f"{value[:50]!r} is not true, false or a percentage such as 2.5%: the flag counts as false")
    return share


def bucket(key: str, job_id: str) -> Fraction:
    """Where a job stands between 0 and 1: always at the same place, so that a wider percentage only adds jobs."""
    digest = hashlib.sha256(f"{key}\0{job_id}".encode("utf-8", "surrogatepass")).digest()
    return Fraction(int.from_bytes(digest[:8], "big"), 2**64)


def stale_seconds() -> float:
    """How long the last word of a lost provider counts: UNHUSH_FLAG_STALE, or 300 where that is no number."""
    return _seconds(os.environ.get("UNHUSH_FLAG_STALE") or str(STALE_SECONDS))


@lru_cache
def _seconds(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError as error:
        log("error", "flag.stale_seconds_unknown", variable="UNHUSH_FLAG_STALE", error=str(error))
        return STALE_SECONDS


def _state(value: bool) -> State:
    return State.ON if value else State.OFF

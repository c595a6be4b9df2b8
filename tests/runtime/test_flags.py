from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openfeature import api
from openfeature.event import ProviderEventDetails
from openfeature.exception import ErrorCode, GeneralError, TargetingKeyMissingError
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
from structlog.testing import capture_logs

from unhush.runtime import flags
from unhush.runtime.flags import Flag, State, bucket, parse

# Before 0.10 the SDK always waited.
set_provider = getattr(api, "set_provider_and_wait", api.set_provider)
VARIABLE = "FEATURE_FLAG_DLQ_ENABLED"


class Clock:
    """A clock that a test turns."""

    now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


class Provider(InMemoryProvider):
    """OpenFeature's own provider in memory, with a source that a test can break."""

    def __init__(self, value: bool | Callable[[str | None], bool] | None) -> None:
        super().__init__({})
        self.broken: Callable[[], None] | None = None
        self.say(value)

    def say(self, value: bool | Callable[[str | None], bool] | None) -> None:
        """Sets what DLQ_ENABLED is: one value, one by targeting key, or None for a flag that is not known."""
        self._flags = {}
        if callable(value):
            split = value

            def evaluate(_: Any, context: Any) -> FlagResolutionDetails[bool]:
                return FlagResolutionDetails(split(context.targeting_key), reason=Reason.SPLIT)

            self._flags["DLQ_ENABLED"] = InMemoryFlag("on", {"on": True, "off": False}, context_evaluator=evaluate)
        elif value is not None:
            self._flags["DLQ_ENABLED"] = InMemoryFlag("on" if value else "off", {"on": True, "off": False})

    def resolve_boolean_details(self, *args: Any, **kwargs: Any) -> FlagResolutionDetails[bool]:
        """What the flag is, if the source is whole."""
        if self.broken:
            self.broken()
        return super().resolve_boolean_details(*args, **kwargs)


def unplugged() -> None:
    """What a provider does whose server is gone."""
    raise GeneralError("connection refused")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("UNHUSH_FLAG_STALE", raising=False)
    yield
    api.shutdown()


def provide(value: bool | Callable[[str | None], bool] | None) -> Provider:
    provider = Provider(value)
    set_provider(provider)
    return provider


def test_default_is_off() -> None:
    """A flag that nobody set is off for every job, and wholly."""
    flag = Flag("DLQ_ENABLED")
    assert (flag.state("1"), flag.on("1"), flag.wholly_off()) == (State.OFF, False, True)


@pytest.mark.parametrize(
    ("value", "on", "wholly_off"),
    [
        ("true", True, False),
        (" TRUE ", True, False),
        ("100%", True, False),
        ("false", False, True),
        ("", False, True),
        ("0%", False, True),
        ("0.000000001%", False, False),
    ],
)
def test_variable(monkeypatch: pytest.MonkeyPatch, value: str, on: bool, wholly_off: bool) -> None:
    """The variable alone turns the flag on and off, in any case of letters; a tiny percentage is not wholly off."""
    monkeypatch.setenv(VARIABLE, value)
    flag = Flag("DLQ_ENABLED")
    assert (flag.on("job-1"), flag.wholly_off()) == (on, wholly_off)


@pytest.mark.parametrize("value", ["yes", "1", "5", "101%", "-1%", "5%%", "flase", "\u0665%", "nan%"])
def test_unknown_value_is_off_and_logged_once(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A value that means nothing counts as false, whatever a provider says, and is logged once in one line."""
    provide(True)
    flag = Flag("DLQ_ENABLED")
    assert flag.on("1")  # the provider's word, without the variable
    monkeypatch.setenv(VARIABLE, value)
    with capture_logs() as logs:
        assert [flag.state("1"), flag.state("2")] == [State.OFF, State.OFF]
        assert flag.wholly_off()
    (line,) = logs
    assert (line["event"], line["log_level"], line["variable"]) == ("flag.value_unknown", "error", VARIABLE)
    assert "\n" not in line["error"]


def test_false_beats_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """`false` is off even where the provider says on; without it the provider's word is taken."""
    provide(True)
    assert Flag("DLQ_ENABLED").on("1")
    monkeypatch.setenv(VARIABLE, "false")
    assert not Flag("DLQ_ENABLED").on("1")
    assert Flag("DLQ_ENABLED").wholly_off()


@pytest.mark.parametrize("value", ["true", "5%"])
def test_provider_beats_the_rest(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A provider that knows the flag decides against `true` and against a percentage."""
    monkeypatch.setenv(VARIABLE, value)
    provider = provide(False)
    flag = Flag("DLQ_ENABLED")
    assert not any(flag.on(str(number)) for number in range(100))
    provider.say(True)
    assert all(flag.on(str(number)) for number in range(100))


def test_unknown_to_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the provider has no such flag, the variable decides."""
    provide(None)
    flag = Flag("DLQ_ENABLED")
    assert not flag.on("1")
    monkeypatch.setenv(VARIABLE, "true")
    assert flag.on("1")


def test_job_id_is_the_targeting_key() -> None:
    """A provider sees the job's id as the targeting key, and none for a job without an id."""
    seen: list[str | None] = []

    def split(job_id: str | None) -> bool:
        seen.append(job_id)
        return job_id == "42"

    provide(split)
    flag = Flag("DLQ_ENABLED")
    assert [flag.on("41"), flag.on("42"), flag.on()] == [False, True, False]
    assert seen == ["41", "42", None]


def test_targeting_key_missing() -> None:
    """A provider that can't decide without a job id means OFF for such a job, and is not taken for lost."""

    def split(job_id: str | None) -> bool:
        if job_id is None:
            raise TargetingKeyMissingError("which job?")
        return True

    provide(split)
    flag = Flag("DLQ_ENABLED")
    with capture_logs() as logs:
        assert [flag.state("1"), flag.state()] == [State.ON, State.OFF]
    assert logs == []


percentages = st.decimals(0, 100, places=3).map(lambda number: f"{number}%")


@given(job_id=st.text(), low=percentages, high=percentages)
def test_widening_only_adds(job_id: str, low: str, high: str) -> None:
    """A job that is in at some percentage is in at every larger one, and each time it is asked."""
    narrow, wide = sorted(share for share in (parse(low), parse(high)) if share is not None)
    place = bucket("DLQ_ENABLED", job_id)
    assert 0 <= place < 1
    assert place == bucket("DLQ_ENABLED", job_id)
    assert not (place < narrow) or place < wide


@given(job_id=st.text(st.characters(), max_size=8))
def test_any_job_id_has_a_place(job_id: str) -> None:
    """Lone surrogates and NULs in a job id are no trouble."""
    assert 0 <= bucket("DLQ_ENABLED", job_id + "\ud800\0") < 1


def test_buckets_are_even() -> None:
    """Of many jobs, about the percentage is on, by fractions too; and flags differ in which."""
    jobs = [f"job-{number}" for number in range(20_000)]
    for percent in ("0.5%", "5%", "33.3%"):
        share = parse(percent)
        assert share is not None
        got = sum(bucket("DLQ_ENABLED", job) < share for job in jobs) / len(jobs)
        assert abs(got - share) < 0.01
    first = {job for job in jobs if bucket("DLQ_ENABLED", job) * 20 < 1}
    second = {job for job in jobs if bucket("HEARTBEAT_ENABLED", job) * 20 < 1}
    assert len(first & second) < len(first) / 2


def test_places_never_move() -> None:
    """The place of a job is part of the contract: a release that moves it would shuffle everybody's roll-out."""
    assert int(bucket("DLQ_ENABLED", "42") * 10**6) == 717_763


def test_no_job_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a job id a percentage is never a matter of chance: it is off below 100, on at 100."""
    flag = Flag("DLQ_ENABLED")
    monkeypatch.setenv(VARIABLE, "99.9%")
    assert {flag.state() for _ in range(200)} == {State.OFF}
    monkeypatch.setenv(VARIABLE, "100%")
    assert flag.state() is State.ON


def test_percentage_is_sticky(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 50% some jobs are on and some are off, and each always the same, in every process."""
    monkeypatch.setenv(VARIABLE, "50%")
    jobs = [str(number) for number in range(64)]
    here = [Flag("DLQ_ENABLED").on(job) for job in jobs]
    assert {*here} == {True, False}
    code = "from unhush.runtime.flags import Flag; print([Flag('DLQ_ENABLED').on(str(n)) for n in range(64)])"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert there.strip() == str(here)


def test_lost_provider_keeps_its_word_for_a_while() -> None:
    """What was ON stays ON for the stale time, then is UNREACHABLE_WAS_ON without end; the log says so once each."""
    provider, clock = provide(True), Clock()
    flag = Flag("DLQ_ENABLED", clock=clock)
    assert flag.state("1") is State.ON
    provider.broken = unplugged
    with capture_logs() as logs:
        clock.now += 299
        assert [flag.state("1"), flag.state("2")] == [State.ON, State.ON]
        clock.now += 2
        assert [flag.state("1"), flag.state()] == [State.UNREACHABLE_WAS_ON, State.UNREACHABLE_WAS_ON]
        clock.now += 1e9
        assert flag.on("3")
        assert not flag.wholly_off()
        provider.broken = None
        assert flag.state("1") is State.ON
    assert [line["event"] for line in logs] == ["flag.source_lost", "flag.source_stale", "flag.source_back"]
    assert "connection refused" in logs[0]["why"]


def test_lost_provider_that_said_off() -> None:
    """What was OFF stays OFF when the provider is lost, before and after the stale time."""
    provider, clock = provide(False), Clock()
    flag = Flag("DLQ_ENABLED", clock=clock)
    assert flag.state("1") is State.OFF
    provider.broken = unplugged
    assert flag.state("1") is State.OFF
    clock.now += 1000
    assert flag.state("1") is State.OFF
    provider.broken = None
    provider.say(True)
    assert flag.state("1") is State.ON


def test_lost_provider_of_a_split_flag() -> None:
    """Where only some jobs were on, none is lost while nobody can tell which: each is UNREACHABLE_WAS_ON at once."""
    provider = provide(lambda job_id: job_id == "42")
    flag = Flag("DLQ_ENABLED", clock=Clock())
    assert [flag.state("42"), flag.state("1")] == [State.ON, State.OFF]
    provider.broken = unplugged
    assert [flag.state("42"), flag.state("1")] == [State.UNREACHABLE_WAS_ON, State.UNREACHABLE_WAS_ON]


def test_old_word_is_forgotten() -> None:
    """An ON that was followed by OFF for longer than the stale time does not come back when the provider is lost."""
    provider, clock = provide(True), Clock()
    flag = Flag("DLQ_ENABLED", clock=clock)
    assert flag.on("1")
    provider.say(False)
    clock.now += 301
    assert not flag.on("1")
    provider.broken = unplugged
    assert flag.state("1") is State.OFF


def test_flag_taken_out_of_the_provider() -> None:
    """A provider that answers that it has no such flag is reached, and what it said of the flag before is forgotten."""
    provider = provide(True)
    flag = Flag("DLQ_ENABLED", clock=Clock())
    assert flag.on("1")
    provider.broken = unplugged
    assert flag.on("1")
    provider.broken = None
    provider.say(None)
    with capture_logs() as logs:
        assert not flag.on("1")
    assert [line["event"] for line in logs] == ["flag.source_back"]
    provider.say(False)
    assert not flag.on("1")
    provider.broken = unplugged
    assert flag.state("1") is State.OFF


def test_lost_before_its_first_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that never answered leaves the decision to the variable."""
    provide(True).broken = unplugged
    flag = Flag("DLQ_ENABLED")
    assert flag.state("1") is State.OFF
    monkeypatch.setenv(VARIABLE, "true")
    assert flag.state("1") is State.ON


def test_stale_time_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """UNHUSH_FLAG_STALE is the stale time in seconds; a value that is no number is logged, and 300 is meant."""
    provider, clock = provide(True), Clock()
    flag = Flag("DLQ_ENABLED", clock=clock)
    assert flag.on("1")
    provider.broken = unplugged
    clock.now += 20
    monkeypatch.setenv("UNHUSH_FLAG_STALE", "10")
    assert flag.state("1") is State.UNREACHABLE_WAS_ON
    with capture_logs() as logs:
        monkeypatch.setenv("UNHUSH_FLAG_STALE", "ten")
        assert flag.state("1") is State.ON
        assert flag.state("1") is State.ON
    assert [line["event"] for line in logs].count("flag.stale_seconds_unknown") == 1


@pytest.mark.parametrize("how", ["status", "reason"])
def test_provider_that_lost_its_own_source(how: str) -> None:
    """A provider that answers from an old cache is believed for the stale time, not for ever."""
    provider, clock = provide(True), Clock()
    flag = Flag("DLQ_ENABLED", clock=clock)
    assert flag.state("1") is State.ON
    if how == "status":
        provider.emit_provider_stale(ProviderEventDetails())
    else:
        stale = lambda *_: FlagResolutionDetails(True, reason="STALE")  # noqa: E731
        provider._flags["DLQ_ENABLED"] = InMemoryFlag("on", {"on": True}, context_evaluator=stale)
    clock.now += 200
    assert flag.state("1") is State.ON
    clock.now += 200
    assert flag.state("1") is State.UNREACHABLE_WAS_ON


def test_wrong_type_is_no_answer() -> None:
    """A flag that is a string in the provider is as good as a lost source: logged, and not taken for on."""
    provider = provide(True)
    provider._flags["DLQ_ENABLED"] = InMemoryFlag("on", {"on": "yes"})
    flag = Flag("DLQ_ENABLED")
    with capture_logs() as logs:
        assert flag.state("1") is State.OFF
    assert [line["event"] for line in logs] == ["flag.source_lost"]
    assert str(ErrorCode.TYPE_MISMATCH) in logs[0]["why"]


def test_hanging_provider_holds_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that hangs is given up at the deadline, not asked again while it hangs, and asked when it is done."""
    provider = provide(True)
    flag = Flag("DLQ_ENABLED")
    assert flag.state("1") is State.ON
    monkeypatch.setattr(flags, "DEADLINE_SECONDS", 0.05)
    asked, release = [], threading.Event()

    def hang() -> None:
        asked.append(1)
        release.wait(60)

    provider.broken = hang
    assert [flag.state("1"), flag.state("2"), flag.state("3")] == [State.ON] * 3  # as remembered
    assert len(asked) == 1
    (thread,) = flag._source.hanging
    release.set()
    thread.join(60)
    provider.broken = None
    provider.say(False)
    monkeypatch.setattr(flags, "DEADLINE_SECONDS", 60)
    assert flag.state("1") is State.OFF


def test_wholly_off_by_provider() -> None:
    """A provider's ON for the probe, or lately for any job, means that the flag is not wholly off."""
    provider = provide(False)
    flag = Flag("DLQ_ENABLED", clock=Clock())
    assert flag.wholly_off()
    provider.say(lambda job_id: job_id == "unhush-probe")
    assert not flag.wholly_off()
    provider.say(lambda job_id: job_id == "42")
    assert flag.wholly_off()
    assert flag.on("42")
    assert not flag.wholly_off()


def test_domain_of_its_own() -> None:
    """A provider can be set for unhush alone, beside the application's default one."""
    provide(False)
    set_provider(Provider(True), "unhush")
    assert Flag("DLQ_ENABLED").on("1")


@pytest.mark.parametrize("value", ["", "false", "true", "5%"])
def test_never_imports_openfeature(value: str) -> None:
    """A process that did not import OpenFeature pays for neither it nor structlog, whatever the variable says."""
    code = f"""
import os, sys
os.environ["{VARIABLE}"] = "{value}"
from unhush.runtime.flags import Flag
flag = Flag("DLQ_ENABLED")
flag.on("1"), flag.wholly_off()
print([name for name in ("openfeature", "structlog", "sqlalchemy") if name in sys.modules])
import openfeature.api
print("openfeature" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True"]


def test_other_flags_have_their_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key has its own variable; one does not turn on another."""
    monkeypatch.setenv("FEATURE_FLAG_HEARTBEAT_ENABLED", "true")
    assert Flag("HEARTBEAT_ENABLED").on("1")
    assert not Flag("DLQ_ENABLED").on("1")

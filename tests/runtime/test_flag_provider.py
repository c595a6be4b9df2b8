from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import (
    FlagNotFoundError,
    ProviderNotReadyError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from proxy import proxy_before
from services import fresh_database
from sqlalchemy import Engine, make_url, select

from unhush.runtime import DatabaseFlags, DeadLetterQueue, Heartbeats, flag_rows
from unhush.runtime.beat_tables import jobs
from unhush.runtime.engine import make_engine
from unhush.runtime.flag_rows import FlagRow
from unhush.runtime.flag_tables import MIGRATION, OFF, ON
from unhush.runtime.flags import PROBE, Flag, State, bucket
from unhush.runtime.tables import letters
from unhush.sql.runner import apply_apart, upgrade

KEY = "DLQ_ENABLED"
# Before 0.10 the SDK always waited.
set_provider = getattr(api, "set_provider_and_wait", api.set_provider)
TEN = [f"job-{number}" for number in range(10)]


class Clock:
    """A clock that a test turns; it goes on by itself too."""

    ahead = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return time.monotonic() + self.ahead


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(f"FEATURE_FLAG_{KEY}", raising=False)
    yield
    api.shutdown()


@pytest.fixture
def url(dialect: str, empty_database: str) -> str:
    """A database of each kind that has the flags' table, and nothing else of ours."""
    engine = make_engine(empty_database)
    apply_apart(engine, MIGRATION)
    engine.dispose()
    return empty_database


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """An engine for it."""
    engine = make_engine(url)
    yield engine
    engine.dispose()


def say(engine: Engine, state: str, percentage: float = 100, *, salt: str | None = None, name: str = KEY) -> FlagRow:
    with engine.begin() as connection:
        return flag_rows.write(connection, name, state=state, percentage=percentage, actor="ann", salt=salt)


def soon(truth: Callable[[], bool]) -> bool:
    """Whether it comes true; how long that takes is not what is tested."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if truth():
            return True
        time.sleep(0.02)
    return False


def test_on_and_off_are_followed(engine: Engine) -> None:
    """Without a row the variable decides; a row that comes, changes and says OFF is followed without a new start."""
    set_provider(DatabaseFlags(engine, poll=0.05))
    flag = Flag(KEY)
    assert flag.word("1") == (State.OFF, None)
    say(engine, ON, 100)
    assert soon(lambda: flag.state("1") is State.ON)
    assert flag.word("1").variant == "on 100% v1"
    assert not flag.wholly_off()
    say(engine, OFF)
    assert soon(lambda: flag.state("1") is State.OFF)
    assert flag.word("1").variant == "off v2"
    assert flag.wholly_off()


def test_variable_false_beats_the_row(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """FEATURE_FLAG_...=false is OFF whatever the row says: a way out that needs no database."""
    say(engine, ON, 100)
    set_provider(DatabaseFlags(engine, poll=0.05))
    assert Flag(KEY).state("1") is State.ON
    monkeypatch.setenv(f"FEATURE_FLAG_{KEY}", "false")
    assert Flag(KEY).state("1") is State.OFF


def test_percentage_in_the_row(engine: Engine) -> None:
    """A part of all jobs is in, each with its variant; the probe finds the flag open, and no id is OFF below 100%."""
    row = say(engine, ON, 50, salt="spring")
    set_provider(DatabaseFlags(engine, poll=0.05))
    flag = Flag(KEY)
    found = {job: flag.word(job) for job in TEN}
    assert {job for job in TEN if found[job].state is State.ON} == {job for job in TEN if row.holds(job)}
    assert {word.variant for word in found.values()} == {"on 50% v1", "out 50% v1"}
    assert flag.state(PROBE) is State.ON
    assert flag.state(None) is State.OFF
    say(engine, ON, 100)
    assert soon(lambda: flag.state(None) is State.ON)


@settings(deadline=None)
@given(job=st.text(min_size=1), small=st.floats(0, 100), large=st.floats(0, 100), salt=st.text())
def test_percentages_are_sticky_and_monotone(job: str, small: float, large: float, salt: str) -> None:
    """A job that is in at one percentage is in at each wider one, whatever the salt; 0 and 100% need no draw."""
    small, large = sorted((small, large))
    narrow, wide = FlagRow(KEY, ON, small, salt, 1), FlagRow(KEY, ON, large, salt, 2)
    assert wide.holds(job) or not narrow.holds(job)
    assert narrow.holds(job) == FlagRow(KEY, ON, small, salt, 9).holds(job)
    assert (FlagRow(KEY, ON, 0, salt, 1).holds(job), FlagRow(KEY, ON, 100, salt, 1).holds(job)) == (False, True)
    assert not FlagRow(KEY, OFF, 100, salt, 1).holds(job)


def test_salt_chooses_the_jobs() -> None:
    """Two salts choose different jobs, the same salt the same ones; the part that is in is the part asked for."""
    jobs = [str(number) for number in range(4000)]
    one, other = ({job for job in jobs if FlagRow(KEY, ON, 5, salt, 1).holds(job)} for salt in ("a", "b"))
    assert one == {job for job in jobs if bucket("a", job) < Fraction(5, 100)}
    assert len(one & other) < len(one) / 2
    assert 120 < len(one) < 280


def test_explicit_off_is_told_from_zero(engine: Engine) -> None:
    """0% and OFF hold no job; only OFF is DISABLED to OpenFeature, and stays OFF when its percentage is raised."""
    provider = DatabaseFlags(engine, poll=0.05)
    provider.initialize(EvaluationContext())
    try:
        for state, percentage, reason in ((ON, 0, "STATIC"), (OFF, 0, "DISABLED"), (OFF, 100, "DISABLED")):
            row = say(engine, state, percentage)
            assert soon(lambda: _version(provider) == row.version)  # noqa: B023 - called at once
            found = provider.resolve_boolean_details(KEY, True, EvaluationContext("1"))
            assert (found.value, found.reason) == (False, reason)
    finally:
        provider.shutdown()


def _version(provider: DatabaseFlags) -> int:
    try:
        return int(provider.resolve_boolean_details(KEY, False, EvaluationContext("1")).flag_metadata["version"])
    except FlagNotFoundError:
        return 0


def test_errors_of_openfeature(engine: Engine) -> None:
    """An unknown flag, a missing key and a wrong type are OpenFeature's errors; the row itself is a positive control."""
    say(engine, ON, 5)
    provider = DatabaseFlags(engine, poll=0.05)
    provider.initialize(EvaluationContext())
    try:
        with pytest.raises(FlagNotFoundError, match="no flag 'OTHER'"):
            provider.resolve_boolean_details("OTHER", False)
        with pytest.raises(TargetingKeyMissingError):
            provider.resolve_boolean_details(KEY, False)
        for ask in (provider.resolve_string_details, provider.resolve_object_details):
            with pytest.raises(TypeMismatchError):
                ask(KEY, "")  # type: ignore[operator]
            with pytest.raises(FlagNotFoundError):
                ask("OTHER", "")  # type: ignore[operator]
        assert provider.resolve_boolean_details(KEY, False, EvaluationContext(PROBE)).value
    finally:
        provider.shutdown()


def test_database_without_the_table(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no roll-out was begun the variable decides, and the table is seen when it comes."""
    engine = make_engine(empty_database)
    set_provider(DatabaseFlags(engine, poll=0.05))
    flag = Flag(KEY)
    monkeypatch.setenv(f"FEATURE_FLAG_{KEY}", "true")
    assert flag.state("1") is State.ON
    apply_apart(engine, MIGRATION)
    say(engine, OFF)
    assert soon(lambda: flag.state("1") is State.OFF)
    engine.dispose()


def test_bad_words_are_refused() -> None:
    """A database in memory, whose threads see different ones, and a poll as long as the patience are refused at once."""
    with pytest.raises(ValueError, match="in-memory SQLite can't hold flags"):
        DatabaseFlags("sqlite://")
    with pytest.raises(ValueError, match="poll must be above 0 and below patience"):
        DatabaseFlags("sqlite:///x.db", poll=5, patience=5)


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[str]:
    """A database on PostgreSQL that has the flags' table."""
    with fresh_database("postgresql", str(tmp_path)) as url:
        engine = make_engine(url)
        apply_apart(engine, MIGRATION)
        engine.dispose()
        yield url


@pytest.mark.parametrize("how", ["refuse", "hang"])
def test_unreachable_is_not_off(postgresql: str, how: str) -> None:
    """With the database gone or silent, what was on is UNREACHABLE_WAS_ON, what was off stays OFF; back, all is as it is."""
    direct, clock = make_engine(postgresql), Clock()
    row = say(direct, ON, 50)
    say(direct, OFF, name="JOB_HEARTBEAT")
    where = make_url(postgresql)
    one, other = next(job for job in TEN if row.holds(job)), next(job for job in TEN if not row.holds(job))
    with proxy_before(where.host or "", where.port or 5432) as proxy:
        provider = DatabaseFlags(where.set(host="127.0.0.1", port=proxy.port), poll=0.05, clock=clock)
        set_provider(provider)
        flag, off = Flag(KEY), Flag("JOB_HEARTBEAT")
        assert [flag.state(one), flag.state(other), off.state(one)] == [State.ON, State.OFF, State.OFF]
        getattr(proxy, how)()
        say(direct, OFF)  # nobody here can know
        time.sleep(0.2)  # a read that was under way ends
        clock.ahead += 5
        assert flag.word(one) == (State.UNREACHABLE_WAS_ON, "on 50% v1")
        assert [flag.state(other), off.state(one)] == [State.OFF, State.OFF]
        assert not flag.wholly_off()
        assert flag.state(PROBE) is State.UNREACHABLE_WAS_ON  # redrive and watchdog ask so
        proxy.open()
        assert soon(lambda: flag.state(one) is State.OFF)
    direct.dispose()


def test_off_stays_off_when_unreachable(postgresql: str) -> None:
    """An explicit OFF that was read is OFF for ever, however long the database is gone and whatever was on before."""
    direct, clock = make_engine(postgresql), Clock()
    say(direct, ON, 100)
    where = make_url(postgresql)
    with proxy_before(where.host or "", where.port or 5432) as proxy:
        set_provider(DatabaseFlags(where.set(host="127.0.0.1", port=proxy.port), poll=0.05, clock=clock))
        flag = Flag(KEY, clock=clock)
        assert flag.state("1") is State.ON
        say(direct, OFF)
        assert soon(lambda: flag.state("1") is State.OFF)
        proxy.refuse()
        clock.ahead += 1000
        assert flag.state("1") is State.OFF
    direct.dispose()


def test_database_that_never_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that starts without its database goes by the variable, and the provider says that it is not ready."""
    provider = DatabaseFlags("postgresql://postgres@127.0.0.1:1/none", poll=0.05)
    set_provider(provider)
    with pytest.raises(ProviderNotReadyError, match="OperationalError"):
        provider.resolve_boolean_details(KEY, False, EvaluationContext("1"))
    flag = Flag(KEY)
    assert flag.state("1") is State.OFF
    monkeypatch.setenv(f"FEATURE_FLAG_{KEY}", "true")
    assert flag.state("1") is State.ON


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_reads_by_itself(engine: Engine) -> None:
    """A child that was forked follows the flag with a thread and a connection of its own; so does its parent."""
    say(engine, ON, 100)
    set_provider(DatabaseFlags(engine, poll=0.05))
    flag = Flag(KEY)
    assert flag.state("1") is State.ON
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(tell, b"+" if flag.state("1") is State.ON else b"-")
            code = 0 if soon(lambda: flag.state("1") is State.OFF) else 1
        finally:
            os._exit(code)
    assert os.read(told, 1) == b"+"
    say(engine, OFF)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert soon(lambda: flag.state("1") is State.OFF)


def test_jobs_cost_no_query(engine: Engine) -> None:
    """A thousand questions are answered from what one thread reads, also when threads ask at once."""
    say(engine, ON, 100)
    provider = DatabaseFlags(engine, poll=3600, patience=7200)
    provider.initialize(EvaluationContext())
    reads = []
    real = provider._rows
    provider._rows = lambda: (reads.append(1), real())[1]  # type: ignore[method-assign]

    def ask() -> None:
        for number in range(250):
            assert provider.resolve_boolean_details(KEY, False, EvaluationContext(str(number))).value

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reads == []
    assert [thread.name for thread in threading.enumerate()].count("unhush-flags") == 1
    provider.shutdown()


def test_variant_is_kept_with_the_job(engine: Engine, tmp_path: Path) -> None:
    """A dead letter and a job that beats say which setting of their flag they came by; without a provider neither does."""
    upgrade(engine)
    with DeadLetterQueue(engine, spool=tmp_path / "spool", deadline=20) as dlq, Heartbeats(engine) as beats:

        @dlq.dead_letter(queue="mail", job_id=lambda job: job, headers=lambda job: {"from": "ann"})
        def fail(job: str) -> None:
            raise ValueError(job)

        def run(job: str) -> None:
            with pytest.raises(ValueError, match=job):
                fail(job)
            with beats.job(job, kind="mail"):
                pass

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(f"FEATURE_FLAG_{KEY}", "true")
            patch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "true")
            run("plain")
        say(engine, ON, 100)
        say(engine, ON, 100, name="JOB_HEARTBEAT")
        say(engine, ON, 100, name="JOB_HEARTBEAT")
        set_provider(DatabaseFlags(engine, poll=0.05))
        run("told")
    with engine.connect() as connection:
        headers = dict(connection.execute(select(letters.c.job_id, letters.c.headers)).all())  # type: ignore[arg-type]
        variants = dict(connection.execute(select(jobs.c.job_id, jobs.c.variant)).all())  # type: ignore[arg-type]
    assert headers == {"plain": {"from": "ann"}, "told": {"from": "ann", "unhush-variant": "on 100% v1"}}
    assert variants == {"plain": None, "told": "on 100% v2"}


def test_import_is_lazy() -> None:
    """Neither the package nor the flags import SQLAlchemy or OpenFeature; asking for the provider does."""
    script = (
        "import sys, unhush.runtime, unhush.runtime.flags; print('sqlalchemy' in sys.modules, 'openfeature' in"
        " sys.modules); unhush.runtime.DatabaseFlags; print('openfeature' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out == "False False\nTrue\n"

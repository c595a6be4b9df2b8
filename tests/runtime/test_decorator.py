"""Tests for guarding functions and blocks: their failures are kept, and go on as if nobody had looked."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.flags import State, Word

Failed = Callable[..., BaseException]


class Said:
    """A flag that says what a test wants."""

    def __init__(self, state: State) -> None:
        self.said = state
        self.asked: list[str | None] = []

    def state(self, job_id: str | None = None) -> State:
        """What was wanted."""
        self.asked.append(job_id)
        return self.said

    def word(self, job_id: str | None = None) -> Word:
        """The same, without a variant."""
        return Word(self.state(job_id))


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag is on."""
    monkeypatch.setenv("FEATURE_FLAG_DLQ_ENABLED", "true")


def only(dlq: DeadLetterQueue) -> Any:
    """The one letter that there is, whole."""
    [letter] = dlq.list(queue="mail").letters
    return dlq.get(letter.id)


@pytest.mark.usefixtures("on")
def test_a_guarded_function_is_itself_until_it_fails(dlq: DeadLetterQueue) -> None:
    """It returns what it returns; its failure becomes a letter with the arguments, and is raised unchanged."""

    @dlq.dead_letter(queue="mail", job_id=lambda to, times: f"{to}-{times}", attempts=3)
    def send(to: str, times: int = 1) -> str:
        """Sends."""
        if times > 1:
            raise error
        return to

    error = ValueError("too often")
    assert (send("ann"), send.__doc__, send.__name__) == ("ann", "Sends.", "send")
    assert dlq.list(queue="mail").letters == []
    with pytest.raises(ValueError, match="too often") as caught:
        send("ann", times=2)
    assert caught.value is error
    assert (error.__context__, error.__cause__) == (None, None)
    assert traceback.extract_tb(error.__traceback__)[-1].name == "send"
    letter = only(dlq)
    assert letter.job_name.endswith("send")
    assert (letter.job_id, letter.attempts) == ("ann-2", 3)
    assert letter.payload == {"args": ["ann"], "kwargs": {"times": 2}}


@pytest.mark.usefixtures("on")
def test_a_guarded_function_is_put_back_to_work(dlq: DeadLetterQueue) -> None:
    """The function is the handler of its letters: a redrive calls it with the same arguments."""
    calls: list[str] = []

    @dlq.dead_letter(queue="mail", job_name="send")
    def send(to: str) -> None:
        calls.append(to)
        if len(calls) < 3:
            raise ValueError(to)

    with pytest.raises(ValueError, match="ann"):
        send("ann")
    letter = only(dlq)
    assert [outcome.result for outcome in dlq.redrive([letter.id], actor="ann")] == ["failed"]
    assert [outcome.result for outcome in dlq.redrive([letter.id], actor="ann")] == ["redriven"]
    assert calls == ["ann"] * 3
    assert only(dlq).status == "redriven"


@pytest.mark.usefixtures("on")
def test_guarded_coroutines_and_generators_are_put_back_to_work(dlq: DeadLetterQueue) -> None:
    """A redrive runs a coroutine function, and a generator function, to its end."""
    ran: list[str] = []

    @dlq.dead_letter(queue="mail", job_name="coroutine")
    async def coroutine(to: str) -> None:
        await asyncio.sleep(0)
        ran.append(to)
        if len(ran) < 3:
            raise ValueError(to)

    @dlq.dead_letter(queue="mail", job_name="generator")
    def generator(to: str) -> Iterator[str]:
        yield to
        ran.append(to)
        if len(ran) < 3:
            raise ValueError(to)

    with pytest.raises(ValueError, match="ann"):
        asyncio.run(coroutine("ann"))
    with pytest.raises(ValueError, match="bob"):
        list(generator("bob"))
    ids = [letter.id for letter in dlq.list(queue="mail").letters]
    assert [outcome.result for outcome in dlq.redrive(ids, actor="ann")] == ["redriven", "redriven"]
    assert sorted(ran) == ["ann", "ann", "bob", "bob"]


def test_two_jobs_can_not_share_a_name(dlq: DeadLetterQueue) -> None:
    """A second function of the same job name is refused: its letters would run the first."""

    def first() -> None: ...

    def second() -> None: ...

    guard = dlq.dead_letter(queue="mail", job_name="send")
    guard(first)
    guard(first)
    with pytest.raises(ValueError, match="give job_name"):
        guard(second)


@pytest.mark.usefixtures("on")
def test_coroutines_and_generators_are_guarded_as_they_run(dlq: DeadLetterQueue) -> None:
    """A failure inside an awaited coroutine or an iterated generator is captured, and only then."""

    @dlq.dead_letter(queue="mail", job_name="coroutine")
    async def coroutine(to: str) -> str:
        await asyncio.sleep(0)
        if not to:
            raise ValueError("nobody")
        return to

    @dlq.dead_letter(queue="mail", job_name="generator")
    def generator(to: str) -> Iterator[str]:
        yield to
        raise ValueError("after the first")

    assert asyncio.run(coroutine("ann")) == "ann"
    values = generator("ann")
    assert next(values) == "ann"
    assert dlq.list(queue="mail").letters == []
    with pytest.raises(ValueError, match="nobody"):
        asyncio.run(coroutine(""))
    with pytest.raises(ValueError, match="after the first"):
        next(values)
    assert [letter.job_name for letter in dlq.list(queue="mail").letters] == ["generator", "coroutine"]


def test_an_async_generator_is_refused(dlq: DeadLetterQueue) -> None:
    """What can't be guarded says so when it is decorated."""

    async def generator() -> Any:
        yield 1

    with pytest.raises(TypeError, match="can't be guarded"):
        dlq.dead_letter(queue="mail")(generator)


@pytest.mark.usefixtures("on")
def test_a_block_is_guarded(dlq: DeadLetterQueue) -> None:
    """A failing block has its letter, with the payload given; one that ends well has none."""
    with dlq.dead_letter(queue="mail", job_name="send", payload={"to": "ann"}):
        pass
    assert dlq.list(queue="mail").letters == []
    with pytest.raises(ValueError, match="x"), dlq.dead_letter(queue="mail", job_name="send", payload={"to": "ann"}):
        raise ValueError("x")
    assert only(dlq).payload == {"to": "ann"}
    with pytest.raises(TypeError, match="job_name"), dlq.dead_letter(queue="mail"):
        pass


@pytest.mark.usefixtures("on")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_what_ends_a_process_or_a_task_is_no_failure(dlq: DeadLetterQueue, error: type[BaseException]) -> None:
    """Shutdown and cancellation go through uncaptured; an Exception beside them is captured."""
    for raised, letters in ((error, 0), (ValueError, 1)):
        with pytest.raises(raised), dlq.dead_letter(queue="mail", job_name="send"):
            raise raised
        assert len(dlq.list(queue="mail").letters) == letters


@pytest.mark.usefixtures("on")
def test_trouble_with_the_capture_never_masks_the_job(tmp_path: Path) -> None:
    """With no database, no spool, and job ids that can't be computed, the job's own exception comes out."""
    (tmp_path / "file").write_text("in the way")
    dlq = DeadLetterQueue(f"sqlite:///{tmp_path}/no/folder.db", spool=tmp_path / "file" / "spool")

    @dlq.dead_letter(queue="mail", job_id=lambda: 1 / 0)
    def send() -> None:
        raise KeyError("the job's own")

    with capture_logs() as logs, pytest.raises(KeyError, match="the job's own") as caught:
        send()
    assert caught.value.__context__ is None
    assert {"dead_letter.capture_failed", "dead_letter.decorator_failed"} <= {log["event"] for log in logs}


def test_the_flag_is_asked_at_each_failure(database: str, tmp_path: Path) -> None:
    """Off captures nothing, on captures, and a source that is gone sends what was on to the spool."""
    flag = Said(State.OFF)
    with DeadLetterQueue(database, spool=tmp_path / "spool", flag=flag, deadline=20) as dlq:  # type: ignore[arg-type]

        @dlq.dead_letter(queue="mail", job_id=lambda number: number)
        def send(number: int) -> None:
            raise ValueError(number)

        seen = []
        for state in (State.OFF, State.UNREACHABLE_WAS_ON, State.ON):
            flag.said = state
            with pytest.raises(ValueError, match="7"):
                send(7)
            seen.append((len(dlq.list(queue="mail").letters), dlq._core.spool.size().records))
            dlq.drain()
    assert seen[:2] == [(0, 0), (0, 1)]
    assert seen[2][0] == 1  # the same failure once more: it was drained already
    assert flag.asked == ["7"] * 3


OFF = """
import sys
from unhush.runtime import AsyncDeadLetterQueue, DeadLetterQueue
dlq = DeadLetterQueue("sqlite:///" + sys.argv[1] + "/none.db")
AsyncDeadLetterQueue("sqlite:///" + sys.argv[1] + "/none.db")

@dlq.dead_letter(queue="mail")
def send(to):
    raise ValueError(to)

try:
    send("ann")
except ValueError:
    print(*sorted({"sqlalchemy", "structlog", "openfeature", "stamina", "prometheus_client", "opentelemetry"} & set(sys.modules)))
"""


@pytest.mark.parametrize(("flag", "loaded"), [("", False), ("false", False), ("true", True)])
def test_off_loads_nothing_and_needs_no_table(tmp_path: Path, flag: str, loaded: bool) -> None:
    """With the flag off a failing job loads no library and leaves no file behind; with it on the libraries are there."""
    ran = subprocess.run(
        [sys.executable, "-c", OFF, str(tmp_path)],
        env={"FEATURE_FLAG_DLQ_ENABLED": flag, "UNHUSH_SPOOL": str(tmp_path / "spool"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("sqlalchemy" in ran.stdout) is loaded
    assert ran.stdout == "\n" or loaded
    assert bool(list(tmp_path.iterdir())) is loaded

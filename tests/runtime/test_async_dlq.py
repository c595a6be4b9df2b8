"""Tests for the queue on asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from proxy import proxy_before
from sqlalchemy import func, make_url, select
from sqlalchemy.ext.asyncio import AsyncSession

from unhush.runtime.async_dlq import AsyncDeadLetterQueue
from unhush.runtime.tables import events, letters

Failed = Callable[..., BaseException]


def count(connection: Any) -> tuple[int, int]:
    """How many letters and events there are."""
    return tuple(connection.scalar(select(func.count()).select_from(table)) for table in (letters, events))


@pytest.fixture
def run(database: str, tmp_path: Path) -> Callable[..., Any]:
    """Runs a coroutine function with a queue on each of the three databases."""

    def running(main: Callable[[AsyncDeadLetterQueue], Awaitable[Any]], **options: Any) -> Any:
        async def whole() -> Any:
            async with AsyncDeadLetterQueue(
                database, **{"spool": tmp_path / "spool", "deadline": 20, **options}
            ) as dlq:
                return await main(dlq)

        return asyncio.run(whole())

    return running


def test_a_failure_becomes_a_letter_once(run: Callable[..., Any], failed: Failed) -> None:
    """Captures of the same failure by many tasks at once give the same letter."""

    async def main(dlq: AsyncDeadLetterQueue) -> Any:
        put = await asyncio.gather(
            *(dlq.put(queue="mail", job_name="send", job_id="42", payload={"n": 1}, error=failed()) for _ in range(8))
        )
        many = await dlq.put_many({"queue": "mail", "job_name": "send", "error": failed()} for _ in range(5))
        letter = await dlq.get(put[0].id)
        return {letter.id for letter in put}, {letter.id for letter in many}, letter.payload, await dlq._read(count)

    same, many, payload, counted = run(main)
    assert (len(same), len(many), payload, counted) == (1, 5, {"n": 1}, (6, 6))


def test_a_callers_rollback_takes_the_letter(run: Callable[..., Any], failed: Failed) -> None:
    """`session=` makes the letter part of the caller's transaction."""

    async def main(dlq: AsyncDeadLetterQueue) -> Any:
        seen = []
        for commit in (False, True):
            async with AsyncSession(dlq.engine) as session:
                await dlq.put(queue="mail", job_name="send", error=failed(), session=session)
                await (session.commit if commit else session.rollback)()
            seen.append(await dlq._read(count))
        async with dlq.engine.connect() as connection:
            await dlq.put(queue="mail", job_name="send", error=failed(), session=connection)
            await connection.rollback()
        return [*seen, await dlq._read(count)]

    assert run(main) == [(0, 0), (1, 1), (1, 1)]


def test_a_cancelled_put_is_kept(run: Callable[..., Any], failed: Failed) -> None:
    """A task that is cancelled while it captures ends at once; its failure is kept all the same."""

    async def main(dlq: AsyncDeadLetterQueue) -> Any:
        task = asyncio.create_task(dlq.put(queue="mail", job_name="send", error=failed()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await dlq.close()
        stored, _ = await dlq._read(count)
        return stored + dlq._core.spool.size().records

    assert run(main) == 1


def test_a_put_that_the_end_of_the_loop_cancels_is_kept(database: str, tmp_path: Path, failed: Failed) -> None:
    """When the event loop ends in the middle of a capture the record is on disk."""

    async def main() -> None:
        dlq = AsyncDeadLetterQueue(database, spool=tmp_path / "spool", deadline=20)
        task = asyncio.create_task(dlq.put(queue="mail", job_name="send", error=failed()))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not task.done()

    asyncio.run(main())

    async def after() -> Any:
        async with AsyncDeadLetterQueue(database, spool=tmp_path / "spool", deadline=20) as dlq:
            await dlq.drain()
            return await dlq._read(count)

    assert asyncio.run(after()) == (1, 1)


def test_a_hung_server_blocks_neither_job_nor_loop(
    tmp_path: Path, migrated: Callable[[str], str], failed: Failed
) -> None:
    """While the server hangs the loop goes on, the failure goes to disk, and is drained once the server is back."""
    url = make_url(migrated("postgresql"))

    async def main(port: int, hang: Callable[[], None], back: Callable[[], None]) -> Any:
        async with AsyncDeadLetterQueue(
            url.set(host="127.0.0.1", port=port), spool=tmp_path / "spool", deadline=0.4
        ) as dlq:
            await dlq._read(count)
            job = f"job {time.time_ns()}"
            hang()
            ticks = 0
            task = asyncio.create_task(dlq.put(queue="hung", job_name=job, error=failed()))
            while not task.done():
                await asyncio.sleep(0.01)
                ticks += 1
            spooled = dlq._core.spool.size().records
            back()
            drained = await dlq.drain()
            return ticks > 5, spooled, drained.stored, (await dlq.list(queue="hung")).letters[0].job_name == job

    with proxy_before(url.host or "127.0.0.1", url.port or 5432) as proxy:
        assert asyncio.run(main(proxy.port, proxy.hang, proxy.open)) == (True, 1, 1, True)


def test_coroutines_and_blocks_are_guarded(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The decorator and `async with` capture what fails and raise it unchanged; sync functions are refused."""
    monkeypatch.setenv("FEATURE_FLAG_DLQ_ENABLED", "true")

    async def main(dlq: AsyncDeadLetterQueue) -> Any:
        @dlq.dead_letter(queue="mail", job_name="send")
        async def send(to: str) -> str:
            if not to:
                raise ValueError("nobody")
            return to

        assert await send("ann") == "ann"
        with pytest.raises(ValueError, match="nobody"):
            await send("")
        with pytest.raises(KeyError):
            async with dlq.dead_letter(queue="mail", job_name="block"):
                raise KeyError
        with pytest.raises(TypeError, match="no coroutine function"):
            dlq.dead_letter(queue="mail")(str.upper)
        with pytest.raises(TypeError, match="async with"), dlq.dead_letter(queue="mail", job_name="block"):
            pass
        return [letter.job_name for letter in (await dlq.list(queue="mail")).letters]

    assert run(main) == ["block", "send"]


def test_a_job_cancelled_while_its_failure_is_captured_raises_its_own_error(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job's own exception comes out, the task is cancelled at its next await, and the letter is there."""
    monkeypatch.setenv("FEATURE_FLAG_DLQ_ENABLED", "true")

    async def main(dlq: AsyncDeadLetterQueue) -> Any:
        failing = asyncio.Event()
        seen: list[str] = []

        @dlq.dead_letter(queue="mail", job_name="send")
        async def send() -> None:
            failing.set()
            raise ValueError("the job's own")

        async def job() -> None:
            try:
                await send()
            except ValueError as error:
                seen.append(str(error))
            await asyncio.sleep(30)

        task = asyncio.create_task(job())
        await failing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await dlq.close()
        stored, _ = await dlq._read(count)
        return seen, stored + dlq._core.spool.size().records

    assert run(main) == (["the job's own"], 1)

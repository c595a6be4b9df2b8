"""UNH301: cancellations that a coroutine swallows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Places = Callable[..., list[tuple[str, int]]]

HEAD = "import asyncio, concurrent.futures, contextlib, trio, anyio\nfrom contextlib import suppress\n\n\n"
WAITS = "async def f(self, task, tasks, queue, log):\n    try:\n        await queue.get()\n    except {}:\n        {}\n"

CAUGHT = [
    "asyncio.CancelledError",
    "asyncio.exceptions.CancelledError",
    "concurrent.futures.CancelledError",
    "trio.Cancelled",
    "anyio.get_cancelled_exc_class()",
    "(ValueError, asyncio.CancelledError)",
    "BaseException",
    "(Exception, BaseException)",
]

NOT_CAUGHT = ["Exception", "ValueError", "(OSError, ValueError)", "twisted.internet.defer.CancelledError"]


@pytest.mark.parametrize("caught", CAUGHT)
def test_types_that_take_a_cancellation(caught: str, places: Places) -> None:
    """A cancellation is taken by each of its names, alone or in a tuple, and by BaseException."""
    assert places(HEAD + WAITS.format(caught, "pass"), "UNH301") == [("UNH301", 8)]


@pytest.mark.parametrize("caught", NOT_CAUGHT)
def test_types_that_do_not(caught: str, places: Places) -> None:
    """What is no BaseException of asyncio, trio or anyio does not take a cancellation."""
    assert places(HEAD + WAITS.format(caught, "pass"), "UNH301") == []


def test_bare_handler_and_imported_names(places: Places) -> None:
    """A bare handler around an await takes it, and so does a name that an import gives another spelling."""
    bare = HEAD + WAITS.format("", "pass").replace("except :", "except:")
    assert places(bare, "UNH301") == [("UNH301", 8)]
    named = "from asyncio import CancelledError\n\n\n" + WAITS.format("CancelledError", "pass")
    assert places(named, "UNH301") == [("UNH301", 7)]
    foreign = named.replace("asyncio", "twisted.internet.defer")
    assert places(foreign, "UNH301") == []


def test_a_class_of_the_same_name_is_no_cancellation(places: Places) -> None:
    """A CancelledError that the file makes itself is an exception like any other; one from nowhere is taken for real."""
    text = WAITS.format("CancelledError", "pass")
    assert places(text, "UNH301") == [("UNH301", 4)]
    assert places("class CancelledError(Exception):\n    pass\n\n\n" + text, "UNH301") == []
    assert places("from kafka.errors import CancelledError\n\n\n" + text, "UNH301") == []


@pytest.mark.parametrize(
    ("compat", "rows"),
    [
        ("from asyncio import CancelledError\n", [4]),
        ("import asyncio\n\nCancelledError = asyncio.CancelledError\n", [4]),
        ("class CancelledError(Exception):\n    pass\n", []),
        ("from kafka.errors import CancelledError\n", []),
    ],
)
def test_a_name_is_followed_through_the_project(compat: str, rows: list[int], places: Places, tmp_path: Path) -> None:
    """A name imported from another file of the project is what that file binds it to."""
    (tmp_path / "__init__.py").touch()
    (tmp_path / "compat.py").write_text(compat)
    text = "from .compat import CancelledError\n" + WAITS.format("CancelledError", "pass")
    assert places(text, "UNH301", filename=str(tmp_path / "a.py")) == [("UNH301", row + 1) for row in rows]


@pytest.mark.parametrize("caught", ["", "BaseException"])
def test_coroutines_of_twisted_are_cancelled_by_an_ordinary_exception(caught: str, places: Places) -> None:
    """A bare handler of a file that has Twisted's coroutines alone swallows no cancellation; asyncio's it does."""
    text = WAITS.format(caught, "pass").replace("except :", "except:")
    assert places("from twisted.internet import defer\n" + text, "UNH301") == []
    assert places("from twisted.internet import defer\nimport asyncio\n" + text, "UNH301") == [("UNH301", 6)]
    assert places(text, "UNH301") == [("UNH301", 4)]


HANDLED = {
    "raised again": "raise",
    "raised under a condition": "if asyncio.current_task().cancelling():\n            raise",
    "asked whose it is": "if not task.cancelled():\n            log.info('x')",
    "taken back": "asyncio.current_task().uncancel()",
    "cancels itself": "asyncio.current_task().cancel()",
    "ends the program": "raise SystemExit(1)",
    "raised as something else": "raise TimeoutError from None",
}

SWALLOWED = {
    "pass": "pass",
    "return": "return",
    "a value": "return None",
    "log": "log.info('cancelled')",
    "log with traceback": "log.exception('cancelled')",
    "clean-up": "await queue.close()",
    "cancels its children": "task.cancel()",
    "raise in an inner function": "def later():\n            raise\n        log.info(later)",
}


@pytest.mark.parametrize("body", HANDLED.values(), ids=HANDLED.keys())
def test_handlers_that_pass_it_on(body: str, places: Places) -> None:
    """A handler that raises again, under a condition too, or deals with whose cancellation it is, is left alone."""
    assert places(HEAD + WAITS.format("asyncio.CancelledError", body), "UNH301") == []


@pytest.mark.parametrize("body", SWALLOWED.values(), ids=SWALLOWED.keys())
def test_handlers_that_swallow_it(body: str, places: Places) -> None:
    """Whatever else a handler does, without a raise the cancellation ends in it."""
    assert places(HEAD + WAITS.format("asyncio.CancelledError", body), "UNH301") == [("UNH301", 8)]


@pytest.mark.parametrize(
    ("body", "reported"),
    [
        ("queue.future.set_exception(error)", False),
        ("self.error = error", False),
        ("return error", False),
        ("self.failed(error)", False),
        ("log.info('cancelled: %s', error)", True),
        ("print(f'cancelled: {error}')", True),
        ("pass", True),
    ],
)
def test_where_the_exception_goes(body: str, reported: bool, places: Places) -> None:
    """An exception that is kept or passed on is not swallowed; one that is only logged is."""
    text = HEAD + WAITS.format("BaseException as error", body)
    assert places(text, "UNH301") == ([("UNH301", 8)] if reported else [])


AROUND = {
    "sync function": (
        "def f(task):\n    try:\n        task.result()\n    except asyncio.CancelledError:\n        pass\n",
        [],
    ),
    "nothing awaited": (
        "async def f(task):\n    try:\n        return task.result()\n"
        "    except asyncio.CancelledError:\n        pass\n",
        [],
    ),
    "await in an inner function": (
        "async def f(task):\n    try:\n        async def g():\n            await task\n        g()\n"
        "    except asyncio.CancelledError:\n        pass\n",
        [],
    ),
    "async for": (
        "async def f(rows):\n    try:\n        async for row in rows:\n            print(row)\n"
        "    except asyncio.CancelledError:\n        pass\n",
        [9],
    ),
    "async with": (
        "async def f(lock):\n    try:\n        async with lock:\n            print(lock)\n"
        "    except asyncio.CancelledError:\n        pass\n",
        [9],
    ),
    "async comprehension": (
        "async def f(rows):\n    try:\n        return [row async for row in rows]\n"
        "    except asyncio.CancelledError:\n        return []\n",
        [8],
    ),
    "yield in an async generator": (
        "async def f(row):\n    try:\n        yield row\n    except asyncio.CancelledError:\n        pass\n",
        [8],
    ),
    "an earlier handler takes it": (
        "async def f(task):\n    try:\n        await task\n    except asyncio.CancelledError:\n        raise\n"
        "    except BaseException:\n        pass\n",
        [],
    ),
    "an earlier handler takes something else": (
        "async def f(task):\n    try:\n        await task\n    except ValueError:\n        raise\n"
        "    except BaseException:\n        pass\n",
        [10],
    ),
    "raised at the end of an outer handler": (
        "async def f(ws):\n    try:\n        await ws.open()\n    except BaseException:\n        try:\n"
        "            await ws.close()\n        except BaseException:\n            pass\n        raise\n",
        [],
    ),
    "raised right after": (
        "async def f(task):\n    try:\n        await task\n    except asyncio.CancelledError:\n        pass\n"
        "    raise RuntimeError('never ends')\n",
        [],
    ),
    "flag raised later": (
        "async def f(task):\n    stop = False\n    try:\n        await task\n    except asyncio.CancelledError:\n"
        "        stop = True\n    if stop:\n        raise asyncio.CancelledError\n",
        [],
    ),
    "shielded": (
        "async def f(task):\n    with anyio.CancelScope(shield=True):\n        try:\n            await task\n"
        "        except BaseException:\n            pass\n",
        [],
    ),
    "scope without shield": (
        "async def f(task):\n    with anyio.CancelScope():\n        try:\n            await task\n"
        "        except BaseException:\n            pass\n",
        [9],
    ),
    "a wait that may not be cancelled": (
        "async def f(task):\n    while not task.done():\n        try:\n            await asyncio.shield(task)\n"
        "        except asyncio.CancelledError:\n            pass\n",
        [],
    ),
    "except group": (
        "async def f(task):\n    try:\n        await task\n    except* asyncio.CancelledError:\n        pass\n",
        [8],
    ),
}


@pytest.mark.parametrize(("text", "rows"), AROUND.values(), ids=AROUND.keys())
def test_what_stands_around(text: str, rows: list[int], places: Places) -> None:
    """A cancellation arrives at an await of the same coroutine only, and may be raised again outside the handler."""
    assert places(HEAD + text, "UNH301") == [("UNH301", row) for row in rows]


CANCELLED = {
    "task": "task.cancel()\n    try:\n        await task",
    "attribute": "self.task.cancel()\n    try:\n        await self.task",
    "within the try": "try:\n        task.cancel()\n        await task",
    "taken from a container": "task = self.tasks.pop(1)\n    task.cancel()\n    try:\n        await task",
    "kept under another name": "task, self.task = self.task, None\n    task.cancel()\n    try:\n        await task",
    "in a condition": "if (task := self.task):\n        task.cancel()\n    try:\n        await task",
    "all of a list": "for task in tasks:\n        task.cancel()\n    try:\n        await asyncio.gather(*tasks)",
    "comprehension": "[task.cancel() for task in tasks]\n    try:\n        await asyncio.wait(tasks)",
    "items": (
        "for _, task in self.tasks.items():\n        task.cancel()\n    try:\n"
        "        await asyncio.gather(*self.tasks.values())"
    ),
    "filled before": "tasks.append(task)\n    task.cancel()\n    try:\n        await asyncio.gather(*tasks)",
    "wait_for": "task.cancel()\n    try:\n        await asyncio.wait_for(task, 1)",
    "shield": "task.cancel()\n    try:\n        await asyncio.shield(task)",
    "by a timer": "self.loop.call_later(1, task.cancel)\n    try:\n        await task",
    "helper with the task": "cancel_and_wait(task)\n    try:\n        await task",
    "helper that hides it": "self._cancel_tasks()\n    try:\n        await self.task",
    "awaited helper": "try:\n        await self.cancel_all(tasks)",
}


@pytest.mark.parametrize("body", CANCELLED.values(), ids=CANCELLED.keys())
def test_cancelled_in_the_same_function(body: str, places: Places) -> None:
    """Waiting for the end of what the function itself cancelled is no case, by try as by suppress."""
    text = f"{HEAD}async def f(self, task, tasks):\n    {body}\n    except asyncio.CancelledError:\n        pass\n"
    assert places(text, "UNH301") == []
    suppressed = f"{HEAD}async def f(self, task, tasks):\n    {body}\n".replace(
        "try:", "with suppress(asyncio.CancelledError):"
    )
    assert places(suppressed, "UNH301") == []


NOT_CANCELLED = {
    "another task": "self.other.cancel()\n    try:\n        await task",
    "only asked": "task.cancelled()\n    try:\n        await task",
    "nothing": "try:\n        await task",
}


@pytest.mark.parametrize("body", NOT_CANCELLED.values(), ids=NOT_CANCELLED.keys())
def test_cancelled_elsewhere(body: str, places: Places) -> None:
    """A cancel of something else does not excuse, nor one that comes after the wait, in the handler itself."""
    text = f"{HEAD}async def f(self, task):\n    {body}\n    except asyncio.CancelledError:\n        {{}}\n"
    assert [code for code, _ in places(text.format("pass"), "UNH301")] == ["UNH301"]
    assert [code for code, _ in places(text.format("task.cancel()"), "UNH301")] == ["UNH301"]


def test_suppress(places: Places) -> None:
    """A suppress of a cancellation around an await is reported at its call, around other code it is not."""
    text = """\
    import asyncio
    from contextlib import suppress


    async def f(task, event):
        with suppress(asyncio.CancelledError, ValueError):
            await event.wait()
        with suppress(asyncio.CancelledError):
            event.set()


    def g(task):
        with suppress(asyncio.CancelledError):
            task.result()
    """
    assert places(text, "UNH301") == [("UNH301", 6)]


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("import asyncio", "asyncio.CancelledError"),
        ("import trio as t", "t.Cancelled"),
        ("from asyncio import CancelledError as Stopped", "Stopped"),
        ("from asyncio import (\n    CancelledError  # (by another name)\n    as Stopped,\n)", "OSError, Stopped"),
        ("from asyncio import CancelledError \\\n    as Stopped", "Stopped"),
        ("import builtins", "builtins.BaseException"),
    ],
)
def test_suppress_by_other_names(line: str, given: str, places: Places) -> None:
    """A cancellation is seen in a suppress by whatever name it was imported; another class there is not one."""
    head, body = f"from contextlib import suppress\n{line}\nasync def f(event):\n", "        await event.wait()\n"
    assert len(places(f"{head}    with suppress({given}):\n{body}", "UNH301")) == 1
    assert places(f"{head}    with suppress(TimeoutError):\n{body}", "UNH301") == []


SEVERITIES = {
    "loop goes on": (
        "while True:\n        try:\n            await queue.get()\n"
        "        except asyncio.CancelledError:\n            {}",
        "high",
    ),
    "works on": (
        "try:\n        await queue.get()\n    except asyncio.CancelledError:\n        {}\n    await task",
        "high",
    ),
    "cleans up after": (
        "try:\n        await queue.get()\n    except asyncio.CancelledError:\n        {}\n    await task.close()",
        "medium",
    ),
    "ends": ("try:\n        await queue.get()\n    except asyncio.CancelledError:\n        {}", "medium"),
    "own loop ends": (
        "try:\n        while True:\n            await queue.get()\n    except asyncio.CancelledError:\n        {}",
        "low",
    ),
    "in a finally": (
        "try:\n        work()\n    finally:\n        try:\n            await queue.close()\n"
        "        except asyncio.CancelledError:\n            {}",
        "low",
    ),
}


@pytest.mark.parametrize(("body", "severity"), SEVERITIES.values(), ids=SEVERITIES.keys())
def test_severity(body: str, severity: str, findings: Callable[..., tuple]) -> None:
    """A coroutine that works on is the worst, one whose own loop ends with its cancellation the least."""
    (finding,) = findings(f"{HEAD}async def f(task, queue):\n    {body.format('pass')}\n", "UNH301")
    assert finding.severity == severity
    (said,) = findings(f"{HEAD}async def f(task, queue):\n    {body.format('pass  # the caller knows')}\n", "UNH301")
    assert said.severity == {"high": "medium"}.get(severity, "low")


def test_a_mark_is_no_reason(findings: Callable[..., tuple]) -> None:
    """A comment of less than three words says nothing about why."""
    text = HEAD + WAITS.format("asyncio.CancelledError", "pass  # {}")
    for comment, severity in (("UNH301", "medium"), ("type: ignore", "medium"), ("the caller knows", "low")):
        (finding,) = findings(text.format(comment), "UNH301")
        assert finding.severity == severity


def test_waiting_for_what_the_file_cancels_elsewhere(findings: Callable[..., tuple]) -> None:
    """A wait for a stored task that another method cancels is shown on request only."""
    text = """\
    import asyncio


    class Service:
        async def start(self):
            self.task = asyncio.create_task(self.run())
            try:
                await self.task
            except asyncio.CancelledError:
                pass

        async def stop(self):
            self.{}.cancel()
    """
    (low,) = findings(text.format("task"), "UNH301")
    (medium,) = findings(text.format("other"), "UNH301")
    assert (low.severity, medium.severity) == ("low", "medium")

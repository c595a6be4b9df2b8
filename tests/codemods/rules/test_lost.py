"""UNH302 and UNH303: results of gathers, tasks and jobs that nobody looks at."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Places = Callable[..., list[tuple[str, int]]]

HEAD = "import asyncio\nimport concurrent.futures\n\n\n"
GATHER = "asyncio.gather(*tasks, return_exceptions=True)"
TASK = "asyncio.create_task(job())"


def module(body: str, head: str = "async def f(self, tasks, job, limit):") -> str:
    """A function whose body begins on the sixth row."""
    return f"{HEAD}{head}\n" + "\n".join("    " + line for line in body.splitlines()) + "\n"


GATHER_LOST = {
    "awaited": f"await {GATHER}",
    "not awaited": GATHER,
    "in wait_for": f"await asyncio.wait_for({GATHER}, limit)",
    "in shield": f"await asyncio.shield({GATHER})",
    "run by a loop": f"self.loop.run_until_complete({GATHER})",
    "under a condition": f"await {GATHER} if tasks else None",
    "after and": f"limit and asyncio.run({GATHER})",
    "bound": f"results = await {GATHER}",
    "bound to underscore": f"_ = await {GATHER}",
    "bound with a type": f"results: list = await {GATHER}",
    "bound to two names": f"first, second = await {GATHER}",
}

GATHER_KEPT = {
    "raises the first": "await asyncio.gather(*tasks)",
    "says false": "await asyncio.gather(*tasks, return_exceptions=False)",
    "says by a variable": "await asyncio.gather(*tasks, return_exceptions=limit)",
    "returned": f"return await {GATHER}",
    "passed on": f"check(await {GATHER})",
    "looked through": f"for result in await {GATHER}:\n    check(result)",
    "read later": f"results = await {GATHER}\ncheck(results)",
    "one of two read": f"first, second = await {GATHER}\ncheck(first)",
    "kept in an attribute": f"self.results = await {GATHER}",
    "read in an inner function": f"results = await {GATHER}\nreturn lambda: results",
    "cancelled before": f"for task in tasks:\n    task.cancel()\nawait {GATHER}",
    "cancelled by a helper": f"self._cancel_all()\nawait {GATHER}",
    "gathers cancels": "await asyncio.gather(*(cancel_task(t) for t in tasks), return_exceptions=True)",
    "tasks asked afterwards": f"await {GATHER}\nreturn [task.result() for task in tasks if not task.exception()]",
    "tasks with callbacks": f"for task in tasks:\n    task.add_done_callback(self.done)\nawait {GATHER}",
    "another gather": "await self.gather(*tasks, return_exceptions=True)",
}


@pytest.mark.parametrize("body", GATHER_LOST.values(), ids=GATHER_LOST.keys())
def test_lost_gather(body: str, places: Places) -> None:
    """The result of a gather that returns exceptions is lost when it is thrown away or never read."""
    assert places(module(body), "UNH302") == [("UNH302", 6)]


@pytest.mark.parametrize("body", GATHER_KEPT.values(), ids=GATHER_KEPT.keys())
def test_kept_gather(body: str, places: Places) -> None:
    """A gather that raises, one that is looked at, and the wait for what was cancelled are left alone."""
    assert places(module(body), "UNH302") == []


@pytest.mark.parametrize(
    ("body", "severity"),
    [
        ("await asyncio.gather(*(sink.send(1) for sink in tasks), return_exceptions=True)", "high"),
        ("jobs = [save(t) for t in tasks]\nawait asyncio.gather(*jobs, return_exceptions=True)", "high"),
        ("await asyncio.gather(*(fetch(t) for t in tasks), return_exceptions=True)", "medium"),
        ("await asyncio.gather(*(t.close() for t in tasks), return_exceptions=True)", "low"),
        ("await asyncio.gather(*asyncio.all_tasks(), return_exceptions=True)", "low"),
        ("await self.stop()\nawait asyncio.gather(*self.tasks, return_exceptions=True)", "low"),
        ("# failures are logged by the jobs\nawait asyncio.gather(*tasks, return_exceptions=True)", "low"),
        ("try:\n    work()\nfinally:\n    await asyncio.gather(*tasks, return_exceptions=True)", "low"),
    ],
)
def test_severity_of_a_gather(body: str, severity: str, findings: Callable[..., tuple]) -> None:
    """A lost write is the worst; clean-up, and the wait for what was told to stop, matters least."""
    (finding,) = findings(module(body), "UNH302")
    assert finding.severity == severity


TASK_LOST = {
    "statement": TASK,
    "ensure_future": "asyncio.ensure_future(job())",
    "loop by name": "self.loop.create_task(job())",
    "running loop": "asyncio.get_running_loop().create_task(job())",
    "loop by assignment": "ev = asyncio.new_event_loop()\nev.create_task(job())",
    "bound": f"task = {TASK}",
    "bound to underscore": f"_ = {TASK}",
    "under a condition": f"{TASK} if limit else None",
    "after or": f"limit or {TASK}",
    "list of tasks": "[asyncio.create_task(t) for t in tasks]",
    "bound list": "running = [asyncio.create_task(t) for t in tasks]",
    "bound dict": "running = {t: asyncio.create_task(t) for t in tasks}",
    "appended": f"running = []\nfor _ in tasks:\n    running.append({TASK})",
    "added by name": f"running = set()\ntask = {TASK}\nrunning.add(task)",
    "made list": f"running = list()\nrunning.append({TASK})",
}

TASK_KEPT = {
    "awaited": f"await {TASK}",
    "returned": f"return {TASK}",
    "kept in an attribute": f"self.task = {TASK}",
    "kept in an item": f"tasks[1] = {TASK}",
    "read later": f"task = {TASK}\nawait task",
    "with a callback": f"{TASK}.add_done_callback(self.done)",
    "callback by name": f"task = {TASK}\ntask.add_done_callback(self.done)",
    "passed on": f"self.watch({TASK})",
    "appended to what is awaited": f"running = []\nrunning.append({TASK})\nawait asyncio.wait(running)",
    "appended to a parameter": f"tasks.append({TASK})",
    "appended to an attribute": f"self.running.append({TASK})",
    "read in an inner function": f"task = {TASK}\nreturn lambda: task.cancel()",
    "global": f"global task\ntask = {TASK}",
    "task group": "async with asyncio.TaskGroup() as group:\n    group.create_task(job())",
    "nursery": "nursery.create_task(job())",
    "unknown receiver": "self.create_task(job())",
    "executor of another kind": "self.client.submit(job)",
}


@pytest.mark.parametrize("body", TASK_LOST.values(), ids=TASK_LOST.keys())
def test_lost_task(body: str, places: Places) -> None:
    """A task is lost as a statement, under a name that is never read, in a container that is dropped."""
    assert [code for code, _ in places(module(body), "UNH303")] == ["UNH303"]


@pytest.mark.parametrize("body", TASK_KEPT.values(), ids=TASK_KEPT.keys())
def test_kept_task(body: str, places: Places) -> None:
    """A task that somebody waits for, keeps or looks after is left alone."""
    assert places(module(body), "UNH303") == []


def test_task_at_module_level(places: Places) -> None:
    """A module's name may be read from elsewhere; a bare statement is lost there too."""
    assert places(f"import asyncio\n\ntask = {TASK}\n", "UNH303") == []
    assert places(f"import asyncio\n\n{TASK}\n", "UNH303") == [("UNH303", 3)]


@pytest.mark.parametrize(
    "text",
    [
        "from asyncio import create_task\n\n\ndef f(job):\n    create_task(job())\n",
        "from asyncio import create_task as spawn\n\n\ndef f(job):\n    spawn(job())\n",
        "import asyncio as aio\n\n\ndef f(job):\n    aio.ensure_future(job())\n",
    ],
)
def test_imported_names(text: str, places: Places) -> None:
    """A task is recognised by every import of what starts it."""
    assert places(text, "UNH303") == [("UNH303", 5)]


JOBS = {
    "with": ("with concurrent.futures.ThreadPoolExecutor() as pool:\n    pool.submit(job)", True),
    "assigned": ("pool = concurrent.futures.ProcessPoolExecutor(2)\npool.submit(job)", True),
    "made on the spot": ("concurrent.futures.ThreadPoolExecutor().submit(job)", True),
    "or a given one": ("pool = limit or concurrent.futures.ThreadPoolExecutor()\npool.submit(job)", True),
    "read later": ("pool = concurrent.futures.ThreadPoolExecutor()\nfuture = pool.submit(job)\nfuture.result()", False),
    "another's pool": ("pool = distributed.ThreadPoolExecutor()\npool.submit(job)", False),
    "a parameter": ("tasks.submit(job)", False),
}


@pytest.mark.parametrize(("body", "lost"), JOBS.values(), ids=JOBS.keys())
def test_jobs_of_an_executor(body: str, lost: bool, places: Places) -> None:
    """A job is lost where its receiver is known to be an executor of concurrent.futures."""
    assert [code for code, _ in places(module(body), "UNH303")] == ["UNH303"] * lost


def test_an_executor_of_the_class(places: Places) -> None:
    """An executor is known by the attribute that the class keeps it in, and by a parameter's annotation."""
    text = """\
    from concurrent.futures import Executor, ThreadPoolExecutor


    class Store:
        def __init__(self):
            self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(max_workers=2)

        def save(self, row):
            self._pool.submit(self.write, row)

        def send(self, row, pool: Executor):
            pool.submit(self.write, row)

        def other(self, row, pool):
            pool.submit(self.write, row)
    """
    assert places(text, "UNH303") == [("UNH303", 9), ("UNH303", 12)]


@pytest.mark.parametrize(
    ("body", "severity"),
    [
        ("try:\n        work()\n    except Exception:\n        log()", "low"),
        ("while True:\n        try:\n            work()\n        except Exception:\n            log()", "low"),
        ("try:\n        work()\n    except OSError:\n        log()", "medium"),
        ("try:\n        work()\n    except Exception:\n        raise", "medium"),
        ("work()", "medium"),
    ],
)
def test_a_coroutine_that_minds_its_failures(body: str, severity: str, findings: Callable[..., tuple]) -> None:
    """A task whose coroutine, found in the same file, catches what goes wrong in it is shown on request only."""
    text = f"import asyncio\n\n\nasync def job():\n    {body}\n\n\ndef start():\n    asyncio.create_task(job())\n"
    (finding,) = findings(text, "UNH303")
    assert finding.severity == severity


def test_severity_of_jobs(findings: Callable[..., tuple]) -> None:
    """A job whose function is known not to mind its failures is worse than one that may, clean-up matters least."""
    text = """\
    from concurrent.futures import ThreadPoolExecutor


    def write(row):
        store(row)


    def save(rows, elsewhere):
        with ThreadPoolExecutor() as pool:
            pool.submit(write, rows)
            pool.submit(elsewhere, rows)
            pool.submit(rows.close)
    """
    assert [finding.severity for finding in findings(text, "UNH303")] == ["high", "medium", "low"]


def test_fire_and_forget(findings: Callable[..., tuple]) -> None:
    """A comment that says that a task may fail unseen lowers the severity, one that says something else does not."""
    text = "import asyncio\n\n\ndef f(job):\n    # {}\n    asyncio.create_task(job())\n"
    (low,) = findings(text.format("fire and forget"), "UNH303")
    (medium,) = findings(text.format("start the job"), "UNH303")
    assert (low.severity, medium.severity) == ("low", "medium")

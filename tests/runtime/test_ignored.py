from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger as loguru_logger
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from unhush.runtime import IgnoredExceptions
from unhush.runtime.ignored import ENDING, HELD_BACK, OTHER

EVENT = "save.exception_ignored"


class World:
    """A clock, timers that a test lets go off, and one object under test."""

    def __init__(self, **options: Any) -> None:
        self.time = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.registry = CollectorRegistry()
        self.ignored = IgnoredExceptions(
            registry=self.registry,
            exporters=["prometheus"],
            clock=lambda: self.time,
            now=lambda: 1000.0 + self.time,
            later=lambda seconds, act: self.timers.append((self.time + seconds, act)),
            **options,
        )

    def pass_time(self, seconds: float) -> None:
        """Lets time go by, and the timers go off that are due."""
        self.time += seconds
        due = [entry for entry in self.timers if entry[0] <= self.time]
        self.timers = [entry for entry in self.timers if entry not in due]
        for _, act in due:
            act()

    def shown(self) -> dict[str, float]:
        """What a scrape shows, by its line."""
        lines = generate_latest(self.registry).decode().splitlines()
        values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}
        return {name: value for name, value in values.items() if "_created" not in name}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def log(world: World) -> Iterator[tuple[logging.Logger, list[logging.LogRecord]]]:
    """A logger whose one handler is filtered, and what comes through."""
    came: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            came.append(record)

    logger, handler = logging.getLogger("app.store"), Handler()
    handler.addFilter(world.ignored)
    logger.addHandler(handler)
    yield logger, came
    logger.removeHandler(handler)


def raised(log: Callable[..., object]) -> None:
    """Logs inside a handler, as rewritten code does."""
    try:
        raise ValueError("bad row")
    except ValueError:
        log(EVENT, exc_info=True)


def test_a_flood_is_held_back_and_told(world, log):
    """Ten of a minute come through with their tracebacks, the rest becomes one line with the number when it is over."""
    logger, came = log
    for _ in range(250):
        raised(logger.warning)
    assert [record.getMessage() for record in came] == [EVENT] * 10
    assert all(record.exc_info for record in came)
    world.pass_time(59)
    assert len(came) == 10
    world.pass_time(1)
    assert came[10].getMessage() == (
        f"{HELD_BACK} ignored_event={EVENT} ignored_logger=app.store held_back=240 seconds=60.0"
    )
    assert (came[10].name, came[10].levelno, len(came)) == ("app.store", logging.WARNING, 11)
    assert world.timers == []
    raised(logger.warning)  # a new minute
    assert came[11].getMessage() == EVENT


def test_the_next_event_tells_where_no_timer_did(world, log):
    """An event after the minute tells what the minute before held back, once, also where the timer is late."""
    logger, came = log
    for _ in range(12):
        logger.warning(EVENT)
    timer = world.timers.pop()[1]
    world.pass_time(61)
    logger.warning(EVENT)
    timer()
    told = [record.getMessage() for record in came if record.getMessage().startswith(HELD_BACK)]
    assert len(told) == 1
    assert "held_back=2 " in told[0]


def test_each_event_of_each_logger_has_its_own_ten(world, log):
    """A flood of one hides no other, and other messages are never counted or held back."""
    logger, came = log
    other = logging.getLogger("app.store.inner")
    for _ in range(20):
        logger.warning(EVENT)
        logger.warning("load.exception_ignored")
        other.warning(EVENT)
        logger.warning("saved")
        logger.warning("%s.exception_ignored happened", "x")
    assert sum(record.getMessage() == "saved" for record in came) == 20
    assert sum(record.getMessage() == EVENT for record in came) == 20
    assert {(one.logger, one.event, one.count, one.held_back) for one in world.ignored.counts()} == {
        ("app.store", EVENT, 20, 10),
        ("app.store", "load.exception_ignored", 20, 10),
        ("app.store.inner", EVENT, 20, 10),
    }
    world.pass_time(60)
    assert sum(HELD_BACK in record.getMessage() for record in came) == 3


def test_structlog_processor_counts_and_drops(world):
    """structlog's events are counted by the module that logs, or the name its processors know, and dropped past ten."""
    came: list[Any] = []

    def last(logger: Any, method: str, event_dict: Any) -> Any:
        came.append(dict(event_dict))
        raise structlog.DropEvent

    logger = structlog.wrap_logger(None, processors=[world.ignored, structlog.processors.format_exc_info, last])
    for _ in range(25):
        raised(logger.warning)
    named = structlog.wrap_logger(logging.getLogger("app.named"), processors=[world.ignored, last])
    named.warning(EVENT)
    logger.info("saved")
    assert [event["event"] for event in came] == [EVENT] * 11 + ["saved"]
    assert "ValueError: bad row" in came[0]["exception"]
    counts = [(one.logger, one.count, one.held_back, one.last) for one in world.ignored.counts()]
    assert counts == [(__name__, 25, 15, 1000.0), ("app.named", 1, 0, 1000.0)]
    with capture_logs() as told:
        world.pass_time(60)
    assert [(one["event"], one["ignored_event"], one["held_back"]) for one in told] == [(HELD_BACK, EVENT, 15)]


def test_structlog_over_logging_counts_once(world, log):
    """Where structlog writes to logging and both are watched, an event counts once; logging's own still count."""
    logger, came = log
    through = structlog.wrap_logger(
        logger,
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[world.ignored, structlog.stdlib.render_to_log_kwargs],
    )
    for _ in range(3):
        through.warning(EVENT, exc_info=True)
    assert [(one.logger, one.count) for one in world.ignored.counts()] == [("app.store", 3)]
    own = f"save{ENDING}"
    logger.warning(own)
    assert [(one.logger, one.count) for one in world.ignored.counts()] == [("app.store", 4)]
    assert len(came) == 4


def test_in_a_pre_chain_of_logging_it_lets_all_pass(world, log):
    """A processor that was put where an event can't be dropped any more neither counts nor raises."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.KeyValueRenderer(), foreign_pre_chain=[world.ignored]
        )
    )
    logger = log[0]
    logger.addHandler(handler)
    own = f"other{ENDING}"
    for _ in range(12):
        logger.warning(own)
    logger.removeHandler(handler)
    assert stream.getvalue().count("other") == 12
    assert [one.count for one in world.ignored.counts()] == [12]  # by the filter of the other handler


def test_loguru_counts_once_for_all_sinks(world):
    """A message that goes to two filtered sinks counts once, and past ten reaches neither."""
    sinks: list[list[str]] = [[], []]
    ids = [
        loguru_logger.add(
            lambda text, sink=sink: sink.append(str(text)), filter=world.ignored.loguru, format="{message}"
        )
        for sink in sinks
    ]
    try:
        for _ in range(15):
            raised(lambda event, exc_info: loguru_logger.opt(exception=exc_info).warning(event))
        world.pass_time(60)
    finally:
        for one in ids:
            loguru_logger.remove(one)
    assert [(one.logger, one.event, one.count) for one in world.ignored.counts()] == [(__name__, EVENT, 15)]
    assert [len(sink) for sink in sinks] == [11, 11]
    assert "ValueError: bad row" in sinks[0][0]
    assert (
        sinks[0][10].strip() == f"{HELD_BACK} ignored_event={EVENT} ignored_logger={__name__} held_back=5 seconds=60.0"
    )


def test_two_filtered_handlers_count_once(world, log):
    """A record that two handlers ask about counts once, and both get the same answer."""
    logger, came = log
    stream = io.StringIO()
    second = logging.StreamHandler(stream)
    second.addFilter(world.ignored)
    logger.addHandler(second)
    for _ in range(12):
        logger.warning(EVENT)
    logger.removeHandler(second)
    assert [one.count for one in world.ignored.counts()] == [12]
    assert (len(came), stream.getvalue().count(EVENT)) == (10, 10)


@pytest.mark.parametrize("backend", ["stdlib", "structlog", "loguru"])
def test_what_fix_inserts_is_counted(backend, tmp_path, unhush):
    """Code that `unhush fix` rewrote for each library is counted by its module and the event that the fix reports."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shop"\ndependencies = ["structlog", "loguru"]\n')
    code = "import os\n\n\ndef save():\n    try:\n        os.remove('')\n    except Exception:\n        pass\n"
    (tmp_path / "store.py").write_text(code)
    assert unhush("fix", "store.py", "--backend", backend, "--report", "fix.json").returncode == 0
    event = json.loads((tmp_path / "fix.json").read_text())["files"][0]["fixed"][0]["event"]
    program = """
        import json, logging, sys, structlog
        from loguru import logger
        from unhush.runtime import IgnoredExceptions
        ignored = IgnoredExceptions()
        logging.basicConfig(stream=sys.stderr)
        logging.getLogger().handlers[0].addFilter(ignored)
        structlog.configure(processors=[ignored, structlog.processors.JSONRenderer()])
        logger.remove(); logger.add(sys.stderr, filter=ignored.loguru)
        import store
        for _ in range(13):
            store.save()
        print(json.dumps([[one.logger, one.event, one.count, one.held_back] for one in ignored.counts()]), file=sys.stderr)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("[[")]
    assert json.loads(said[0]) == [["store", event, 13, 3]]
    assert HELD_BACK in done.stdout + done.stderr  # told when the process ended
    assert (done.stdout + done.stderr).count(f"{event}") == 12  # ten, the line on those held back, and counts()


def test_metrics_are_there_from_zero(world, log):
    """Known handlers and the number held back are shown as 0 before anything fires, and count from there."""
    known = World(known=[("app.store", EVENT)])
    assert known.shown() == {
        'unhush_ignored_exceptions_total{event="save.exception_ignored",logger="app.store"}': 0,
        "unhush_ignored_exceptions_held_back_total": 0,
    }
    for _ in range(12):
        log[0].warning(EVENT)
    assert world.shown() == {
        'unhush_ignored_exceptions_total{event="save.exception_ignored",logger="app.store"}': 12,
        "unhush_ignored_exceptions_held_back_total": 2,
    }
    assert known.ignored.counts() == []


def test_opentelemetry_counts_too():
    """OpenTelemetry has the same counters under its own names."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    ignored = IgnoredExceptions(meter_provider=provider, exporters=["opentelemetry"], later=lambda *_: None, keep=1)
    for _ in range(3):
        ignored.filter(logging.makeLogRecord({"name": "a", "msg": EVENT, "levelno": 30}))
    found = {
        (metric.name, *sorted(point.attributes.items())): point.value
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }
    assert found == {
        ("unhush.ignored_exceptions", ("event", EVENT), ("logger", "a")): 3,
        ("unhush.ignored_exceptions_held_back",): 2,
    }
    provider.shutdown()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0, 1, 20, 59, 60, 61, 200])), max_size=80))
def test_nothing_is_lost_and_no_minute_is_flooded(steps):
    """Whatever comes when: what came through and what was told add up to the count, and a minute has three at most."""
    world = World(keep=3)
    told: list[dict[str, Any]] = []
    through: dict[str, list[float]] = {"a": [], "b": []}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unhush.runtime.ignored._tell_structlog", told.append)
        for name, pause in steps:
            try:
                world.ignored(None, "warning", {"event": f"{name}{ENDING}", "logger": "app"})
            except structlog.DropEvent:
                pass
            else:
                through[name].append(world.time)
            world.pass_time(pause)
        world.ignored.flush()
    for one in world.ignored.counts():
        name = one.event[0]
        held = sum(facts["held_back"] for facts in told if facts["ignored_event"] == one.event)
        assert len(through[name]) + held == one.count == sum(step == name for step, _ in steps)
        assert held == one.held_back
        for first, fourth in zip(through[name], through[name][6:], strict=False):
            assert fourth - first >= 60  # six may come in 60 seconds, where one minute ends and the next begins
    assert all(facts["held_back"] > 0 for facts in told)


def test_labels_are_bounded():
    """Beyond so many pairs, and for names of absurd length, events count as others, and none is lost."""
    world = World(most=3)
    for number in range(10):
        world.ignored.filter(logging.makeLogRecord({"name": "app", "msg": f"f{number}.exception_ignored"}))
    world.ignored.filter(logging.makeLogRecord({"name": "app", "msg": "x" * 500 + ENDING}))
    counts = {one.event: one.count for one in world.ignored.counts()}
    assert counts.pop(OTHER + ENDING) == 8
    assert len(counts) == 3
    assert len([line for line in world.shown() if "{" in line]) == 4


def test_threads_lose_no_count(world):
    """Events from many threads at once are all counted, and exactly ten come through."""
    kept: list[bool] = []

    def work() -> None:
        for _ in range(500):
            record = logging.makeLogRecord({"name": "app", "msg": EVENT, "levelno": 30})
            kept.append(world.ignored.filter(record))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(one.count, one.held_back) for one in world.ignored.counts()] == [(4000, 3990)]
    assert (len(kept), sum(kept)) == (4000, 10)


def test_tasks_are_counted(world, log):
    """Events from tasks of an event loop are counted as any others."""

    async def work() -> None:
        await asyncio.sleep(0)
        log[0].warning(EVENT)

    async def all_of_them() -> None:
        await asyncio.gather(*(work() for _ in range(20)))

    asyncio.run(all_of_them())
    assert [one.count for one in world.ignored.counts()] == [20]


def test_a_finalizer_that_logs_does_not_hang(world):
    """An event that comes while its own thread counts another, as from a finalizer, is counted, not waited for."""
    again = logging.makeLogRecord({"name": "app", "msg": "inner.exception_ignored", "levelno": 30})
    plain = world.ignored._now

    def during() -> float:
        world.ignored._now = plain
        world.ignored.filter(again)
        return plain()

    world.ignored._now = during
    done = threading.Thread(
        target=world.ignored.filter, args=(logging.makeLogRecord({"name": "app", "msg": EVENT}),), daemon=True
    )
    done.start()
    done.join(30)
    assert not done.is_alive()
    assert {one.event: one.count for one in world.ignored.counts()} == {EVENT: 1, "inner.exception_ignored": 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_counts_its_own(world):
    """A child begins at 0 and is not stopped by a lock that a thread of its parent held."""
    record = {"name": "app", "msg": EVENT, "levelno": 30}
    for _ in range(15):
        world.ignored.filter(logging.makeLogRecord(record))
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with world.ignored._lock:
            held.set()
            let_go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        world.ignored.filter(logging.makeLogRecord(record))
        os.write(write, json.dumps([[one.count, one.held_back] for one in world.ignored.counts()]).encode())
        os._exit(0)
    os.close(write)
    said = os.read(read, 1000)
    os.waitpid(child, 0)
    os.close(read)
    let_go.set()
    thread.join()
    assert json.loads(said) == [[1, 0]]
    assert [(one.count, one.held_back) for one in world.ignored.counts()] == [(15, 5)]


def test_trouble_is_told_once_and_stops_no_event(world, log):
    """Where counting fails the event is logged all the same, and the trouble is told once."""
    logger, came = log

    def broken() -> float:
        raise OSError("the clock has stopped")

    world.ignored._clock = broken
    with capture_logs() as told:
        for _ in range(15):
            logger.warning(EVENT)
    assert len(came) == 15
    assert [(one["event"], one["error_type"], one["error"]) for one in told] == [
        ("ignored_exceptions.failed", "OSError", "the clock has stopped")
    ]


def test_trouble_with_metrics_leaves_the_rest():
    """A registry that has other metrics of that name costs the metrics, not the count."""
    from prometheus_client import Counter

    registry = CollectorRegistry()
    Counter("unhush_ignored_exceptions", "another's", registry=registry)
    with capture_logs() as told:
        ignored = IgnoredExceptions(registry=registry, exporters=["prometheus"], later=lambda *_: None)
    assert [one["event"] for one in told] == ["ignored_exceptions.failed"]
    assert ignored.filter(logging.makeLogRecord({"name": "app", "msg": EVENT})) is True
    assert [one.count for one in ignored.counts()] == [1]


def test_flush_tells_what_waits(world, log):
    """What is held back when the process ends is told then, and not again."""
    logger, came = log
    for _ in range(13):
        logger.warning(EVENT)
    world.ignored.flush()
    world.ignored.flush()
    assert [record.getMessage().partition(" ")[0] for record in came[10:]] == [HELD_BACK]


def test_only_what_is_used_is_imported():
    """A service that logs by the standard library loads neither SQLAlchemy, structlog, loguru nor LibCST for it."""
    code = (
        "import sys; from unhush.runtime import IgnoredExceptions; import logging\n"
        "IgnoredExceptions(exporters=[]).filter(logging.makeLogRecord({'name': 'a', 'msg': 'a.exception_ignored'}))\n"
        "print([name for name in ('sqlalchemy', 'structlog', 'loguru', 'libcst') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

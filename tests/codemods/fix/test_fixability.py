"""Whether a finding can be fixed, told from its scope alone, and never at odds with what the fixer then does."""

from __future__ import annotations

import pytest
from fixcases import everything

from unhush.codemods import engine
from unhush.codemods.fixer import fix_bytes
from unhush.codemods.fixreport import Changed
from unhush.codemods.model import Finding

TRY = "    try:\n        db.write(row)\n        db.commit()\n    except Exception:\n        row = None\n"
DEEP = "    def {}:\n" + TRY.replace("    ", "        ", 1).replace("\n    ", "\n        ")


def only(text: str, filename: str = "/nowhere/store.py") -> Finding:
    """The one finding of a text."""
    report = engine.check_bytes(text.encode(), filename, everything())
    assert len(report.findings) == 1, report
    return report.findings[0]


def test_a_plain_handler_is_safe():
    """The positive control: nothing stands against fixing a plain handler."""
    finding = only("def save(db, row):\n" + TRY)
    assert (finding.fix, finding.fix_reason) == ("safe", None)


@pytest.mark.parametrize(
    ("head", "word"),
    [
        ("import numba\n\n\n@numba.njit\n", "compiles"),
        ("from numba import jit\n\n\n@jit(nopython=True)\n", "compiles"),
        ("import torch\n\n\n@torch.jit.script\n", "compiles"),
        ("import triton\n\n\n@triton.jit\n", "compiles"),
        ("import ray\n\n\n@ray.remote\n", "compiles"),
        ("import tensorflow as tf\n\n\n@tf.function\n", "compiles"),
        ("from airflow.decorators import task\n\n\n@task.virtualenv(requirements=[])\n", "compiles"),
        ("from numba.extending import overload\n\n\n@overload(len)\n", "compiles"),
    ],
)
def test_compiled_functions_are_only_reported(head, word):
    """Functions that are compiled, or whose source is shipped, are never fixed."""
    finding = only(head + "def save(db, row):\n" + TRY)
    assert finding.fix is None
    assert word in (finding.fix_reason or "")


@pytest.mark.parametrize(
    "tail",
    [
        "\n\nimport numba\n\nfast = numba.njit(save)\n",
        "\n\nimport numba\n\nfast = numba.jit(nopython=True)(save)\n",
        "\n\nimport inspect\n\nship(inspect.getsource(save))\n",
    ],
)
def test_functions_compiled_by_a_call_are_only_reported(tail):
    """So are functions that are given to a compiler, or to getsource, by name."""
    assert only("def save(db, row):\n" + TRY + tail).fix is None
    assert only("def other(db, row):\n" + TRY + tail).fix == "safe"


COMPILED = [
    "from numba.experimental import jitclass\n\n\n@jitclass([\n    ('x', int),\n])\nclass A:\n",
    "import ray\n\n\n@ray.remote\n@wrapped\nclass A(Base):\n",
    "import ray\n\n\n@ray.remote\nclass Outer:\n    class A:\n",
]


@pytest.mark.parametrize("head", COMPILED)
def test_methods_of_compiled_classes_are_only_reported(head):
    """`check` and `fix` agree that methods of a class that is compiled or shipped stay; others of the file are fixed."""
    deep = DEEP if "Outer" not in head else DEEP.replace("    ", "        ")
    text = head + deep.format("save(self, db, row)")
    finding = only(text)
    assert finding.fix is None
    assert "compiles" in (finding.fix_reason or "")
    assert not isinstance(fix_bytes(text.encode(), "/nowhere/store.py", everything()), Changed)
    other = head + "    x = 1\n\n\nclass B:\n" + DEEP.format("save(self, db, row)")
    assert only(other.replace("    class A:\n    x", "    class A:\n        x")).fix == "safe"


@pytest.mark.parametrize(
    "text",
    [
        "import logging\n\n\nclass A(logging.Handler):\n" + DEEP.format("send(self, db, row)"),
        "from logging import Filter\n\n\nclass A(Filter):\n" + DEEP.format("drop(self, db, row)"),
        "class A(B):\n" + DEEP.format("emit(self, db, row, record)"),
        "def add(db, row, event_dict):\n" + TRY,
    ],
)
def test_logging_code_is_only_reported(text):
    """Logging handlers, filters, formatters and processors are never fixed: they would log from within logging."""
    finding = only(text)
    assert finding.fix is None
    assert "logging" in (finding.fix_reason or "")


@pytest.mark.parametrize("kind", ["RecursionError", "MemoryError", "(MemoryError, Exception)"])
def test_exhaustion_is_only_reported(kind):
    """Handlers of RecursionError and MemoryError are never fixed: a log call needs stack and memory too."""
    assert only("def save(db, row):\n" + TRY.replace("Exception", kind)).fix is None


@pytest.mark.parametrize("name", ["__del__", "__getattr__", "__repr__", "__str__", "__format__"])
def test_delicate_methods_are_unsafe(name):
    """Methods that run at any time, or within logging, are fixed only where that is asked for."""
    text = "class A:\n" + DEEP.format(f"{name}(self, db=1, row=2)").replace(
        "db.commit()", "db.commit(2)\n            db.send(self)"
    )
    findings = engine.check_bytes(text.encode(), "/nowhere/a.py", everything()).findings
    assert all(finding.fix == "unsafe" for finding in findings)
    assert findings or name in ("__repr__", "__str__", "__format__")


@pytest.mark.parametrize(
    "text",
    [
        "import signal\n\n\ndef save(db, row):\n" + TRY + "\n\nsignal.signal(signal.SIGINT, save)\n",
        "import signal\n\n\ndef save(signum, frame):\n" + TRY.replace("row", "frame").replace("db", "signum"),
        "import atexit\n\n\n@atexit.register\ndef save(db=1, row=2):\n" + TRY,
        "import atexit\n\n\ndef save(db, row):\n" + TRY + "\n\natexit.register(save, 1, 2)\n",
        "import weakref\n\n\ndef save(db, row):\n" + TRY + "\n\nweakref.finalize(save, save, 1)\n",
    ],
)
def test_callbacks_at_delicate_times_are_unsafe(text):
    """Signal handlers, exit handlers and weakref callbacks are fixed only where that is asked for."""
    finding = only(text)
    assert finding.fix == "unsafe"
    assert finding.fix_reason


def test_cancellation_is_raised_again_and_unsafe():
    """CancelledError and GeneratorExit are raised again, not logged, and only where that is asked for."""
    finding = only(
        "import asyncio\n\n\nasync def f(db):\n    try:\n        await db.x()\n"
        "    except asyncio.CancelledError:\n        pass\n"
    )
    assert finding.fix == "unsafe"
    assert "raising again" in (finding.fix_reason or "")


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("from asyncio import CancelledError", "unsafe"),
        ("from asyncio import CancelledError as Error", "unsafe"),
        ("from twisted.internet.defer import CancelledError", "safe"),
        ("class CancelledError(Exception):\n    pass", "safe"),
    ],
)
def test_only_a_cancellation_is_raised_again(line, fix):
    """A class that merely shares the name is logged like any other."""
    name = "Error" if line.endswith("Error as Error") else "CancelledError"
    text = (
        f"{line}\n\n\ndef f(db):\n    try:\n        db.save()\n        db.commit()\n    except {name}:\n        pass\n"
    )
    assert only(text).fix == fix


def test_stubs_are_only_reported():
    """A stub's handlers are never fixed."""
    assert only("def save(db, row):\n" + TRY, "/nowhere/store.pyi").fix is None


def test_what_is_called_safe_is_fixed(case, tmp_path):
    """Of every case, what `check` calls safe is fixed, or the fixer says why it could not be."""
    report = case.run(tmp_path)
    if isinstance(report, Changed):
        assert all(finding.fix_reason for finding in report.remaining)


TRACED = (
    "import logging\n\nlog = logging.getLogger(__name__)\n\n\ndef save(db, row):\n    try:\n        db.write(row)\n"
    "        db.commit()\n    except Exception as error:\n        {}\n"
)


@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("log.error('failed')", "log.error('failed', exc_info=True)"),
        ("log.error('failed', error,)", "log.error('failed', error, exc_info=True,)"),
        ("log.warning('%s', (error))", "log.warning('%s', (error), exc_info=True)"),
        ("logging.error('failed')", "logging.error('failed', exc_info=True)"),
        (
            "log.error(\n            'failed',\n            error,\n        )",
            "log.error(\n            'failed',\n            error,\n            exc_info=True,\n        )",
        ),
        (
            "log.error(\n            'failed',  # why\n            error\n        )",
            "log.error(\n            'failed',  # why\n            error,\n            exc_info=True\n        )",
        ),
        ("log.error('failed', extra={'a': 1})", "log.error('failed', extra={'a': 1}, exc_info=True)"),
        ("x = db.math.log(2); log.error('failed')", "x = db.math.log(2); log.error('failed', exc_info=True)"),
    ],
)
def test_a_traceback_is_added_to_the_call(fix, call, after):
    """UNH401 adds `exc_info=True` as the last argument of the log call, in the call's own layout."""
    report = fix(TRACED.format(call))
    assert isinstance(report, Changed)
    assert report.new.decode() == TRACED.format(after)
    assert report.verdict == "proved"


@pytest.mark.parametrize(
    "call",
    [
        "log.error('failed', exc_info=False)",
        "log.error('failed', **{'extra': None})",
        "db.log.error('failed')",
        "(log := db.logger).error('failed')",
    ],
)
def test_a_traceback_is_not_added_where_it_may_do_harm(fix, call):
    """A call that decides on its traceback, or whose logger is unknown, is left with the reason."""
    report = fix(TRACED.format(call))
    assert not isinstance(report, Changed)
    assert all(finding.fix is None and finding.fix_reason for finding in report.remaining)


def test_a_change_of_level_is_unsafe(fix):
    """UNH403 gets another level only where unsafe fixes are asked for, and then the verdict says so."""
    text = TRACED.format("log.debug('failed', exc_info=True)")
    assert not isinstance(fix(text), Changed)
    report = fix(text, unsafe_fixes=True)
    assert isinstance(report, Changed)
    assert report.new.decode() == text.replace("log.debug", "log.warning")
    assert report.verdict == "unsafe"

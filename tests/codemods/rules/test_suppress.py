"""UNH201 and UNH202: `contextlib.suppress` by every name, in every place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Places = Callable[..., list[tuple[str, int]]]

GUARDED = """\
        database.insert(order)
        database.commit()
"""

REPORTED = {
    "plain": ("from contextlib import suppress", "with suppress(Exception):"),
    "module": ("import contextlib", "with contextlib.suppress(Exception):"),
    "module under another name": ("import contextlib as c", "with c.suppress(Exception):"),
    "function under another name": ("from contextlib import suppress as hush", "with hush(Exception):"),
    "in a long import": (
        "from contextlib import (\n    closing,  # (used)\n    suppress as s,\n)",
        "with s(Exception):",
    ),
    "star import": ("from contextlib import *", "with suppress(Exception):"),
    "assigned to another name": ("import contextlib\n\nquiet = contextlib.suppress", "with quiet(Exception):"),
    "backport": ("from contextlib2 import suppress", "with suppress(Exception):"),
    "base exception": ("from contextlib import suppress", "with suppress(BaseException):"),
    "builtins": ("import builtins\nfrom contextlib import suppress", "with suppress(builtins.Exception):"),
    "among others": ("from contextlib import suppress", "with suppress(OSError, Exception):"),
    "in a tuple": ("from contextlib import suppress", "with suppress((OSError, Exception)):"),
    "beside unknown ones": ("from contextlib import suppress", "with suppress(Exception, *kinds):"),
    "second item": ("from contextlib import suppress", "with lock, suppress(Exception):"),
    "under a condition": ("from contextlib import suppress", "with suppress(Exception) if quiet else lock:"),
    "over two lines": ("from contextlib import suppress", "with suppress(\n        Exception,\n    ):"),
    "with a comment": ("from contextlib import suppress", "with suppress(\n        Exception,  # (all)\n    ):"),
    "class under another name": ("from contextlib import suppress\n\nAny = Exception", "with suppress(Any):"),
    "in a named tuple": ("from contextlib import suppress\n\nALL = (OSError, Exception)", "with suppress(ALL):"),
    "with brackets": ("from contextlib import suppress", "with (suppress(Exception), lock):"),
    "import in the function": ("", "from contextlib import suppress as s\n    with s(Exception):"),
}

NOT_REPORTED = {
    "unknown types": ("from contextlib import suppress", "with suppress(*kinds):"),
    "nothing": ("from contextlib import suppress", "with suppress():"),
    "another module's": ("from quiet import suppress", "with suppress(Exception):"),
    "the project's": ("from .quiet import suppress", "with suppress(Exception):"),
    "a method": ("from contextlib import suppress", "with order.suppress(Exception):"),
    "another function": ("from contextlib import suppress", "with lock(Exception):"),
    "not called": ("from contextlib import suppress", "with suppress:"),
}


def module(head: str, with_: str) -> str:
    return f"{head}\n\n\ndef save(order, database, lock, quiet, *kinds):\n    {with_}\n{GUARDED}"


@pytest.mark.parametrize(("head", "with_"), REPORTED.values(), ids=REPORTED.keys())
def test_broad_suppress(head: str, with_: str, findings: Callable[..., tuple]) -> None:
    """A broad suppress is reported at its call, by whatever name and in whatever company it stands."""
    text = module(head, with_)
    (finding,) = findings(text, "UNH201", "UNH202")
    assert findings(text, "UNH201") == (finding,)
    lines = text.splitlines()
    assert finding.code == "UNH201"
    assert lines[finding.row - 1][finding.column - 1 :].startswith(
        ("suppress(", "contextlib.", "c.", "hush(", "s(", "quiet(")
    )
    assert lines[finding.end_row - 1][finding.end_column - 2] == ")"
    assert finding.qualname == "save"


@pytest.mark.parametrize(("head", "with_"), NOT_REPORTED.values(), ids=NOT_REPORTED.keys())
def test_what_is_no_known_suppress(head: str, with_: str, places: Places) -> None:
    """What is not known to be a suppress of something is left alone, and the same text with a known one is not."""
    assert places(module(head, with_), "UNH201", "UNH202") == []
    assert places(module("from contextlib import suppress", "with suppress(Exception):"), "UNH201")


def test_narrow_suppress_is_opt_in(places: Places) -> None:
    """A suppress of named types is UNH202's alone."""
    text = module("from contextlib import suppress", "with suppress(ConnectionError, OrderError):")
    assert places(text, "UNH201") == []
    assert places(text, "UNH201", "UNH202") == [("UNH202", 5)]


def test_each_call_counts(places: Places) -> None:
    """Several suppress calls in one `with`, and nested ones, are findings of their own."""
    text = """\
    from contextlib import suppress


    def save(order, database):
        with suppress(Exception), database.lock, suppress(BaseException):
            with suppress(Exception):
                database.insert(order)
                database.commit()
    """
    assert places(text, "UNH201") == [("UNH201", 5), ("UNH201", 5), ("UNH201", 6)]


def test_exit_stack(places: Places) -> None:
    """A suppress that is entered on a stack guards what follows, and is reported."""
    text = """\
    from contextlib import ExitStack, suppress


    def save(order, database):
        with ExitStack() as stack:
            stack.enter_context(suppress(Exception))
            database.insert(order)
            database.commit()
    """
    assert places(text, "UNH201") == [("UNH201", 6)]


def test_a_suppress_made_for_use_elsewhere(findings: Callable[..., tuple]) -> None:
    """Where nobody can tell what a suppress guards it is reported with medium severity and that reason."""
    text = """\
    import contextlib


    def guard(quiet):
        return contextlib.suppress(Exception) if quiet else contextlib.nullcontext()
    """
    (finding,) = findings(text, "UNH201")
    assert (finding.severity, finding.severity_reasons) == ("medium", ("what it guards is decided elsewhere",))


def test_idioms_hold_for_suppress_too(places: Places) -> None:
    """An optional import under a suppress is left alone, real work under the same suppress is not."""
    head = "from contextlib import suppress\n\nwith suppress(Exception):\n    "
    assert places(head + "import ujson\n", "UNH201") == []
    assert places(head + "database.commit()\n    database.close()\n", "UNH201") == [("UNH201", 3)]


def test_best_effort_clean_up(findings: Callable[..., tuple]) -> None:
    """A suppress around clean-up alone is shown on request only, one around more than that is not so."""
    text = """\
    from contextlib import suppress


    async def stop(self, database, order):
        with suppress(Exception):
            await self.client.close()
        with suppress(Exception):
            database.insert(order)
            database.commit()
            await self.client.close()
    """
    low, other = findings(text, "UNH201")
    assert (low.severity, low.severity_reasons) == ("low", ("best-effort clean-up",))
    assert other.severity != "low"


@pytest.mark.parametrize(
    ("caught", "severity"),
    [("Exception", "high"), ("ConnectionError", "medium"), ("KeyError, OrderNotFound", "low"), ("OrderExists", "low")],
)
def test_severity_of_named_types(caught: str, severity: str, findings: Callable[..., tuple]) -> None:
    """Named types are a step less severe than everything, and those that name an answer are shown on request only."""
    text = module("from contextlib import suppress", f"with suppress({caught}):")
    (finding,) = findings(text, "UNH201", "UNH202")
    assert finding.severity == severity

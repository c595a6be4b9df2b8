"""UNH501: signals to end a program or a generator that are swallowed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Places = Callable[..., list[tuple[str, int]]]


def lines(*text: str) -> str:
    return "\n".join(text) + "\n"


REPORTED = {
    "flag of a loop that is none of the program": (
        lines(
            "def fetch(q):",
            " go = True",
            " while go:",
            "  try:",
            "   q.start()",
            "   go = False",
            "  except KeyboardInterrupt: pass",
        ),
        [7],
    ),
    "loop goes on": (
        lines("def f(jobs):", " for job in jobs:", "  try: job()", "  except KeyboardInterrupt: pass"),
        [4],
    ),
    "loop goes on after a default": (
        lines("def f(jobs):", " for job in jobs:", "  try: job()", "  except KeyboardInterrupt: done = 0"),
        [4],
    ),
    "in a tuple": (
        lines("def f(jobs):", " for job in jobs:", "  try: job()", "  except (OSError, KeyboardInterrupt): continue"),
        [4],
    ),
    "with everything": (
        lines("def f(jobs):", " for job in jobs:", "  try: job()", "  except (Exception, KeyboardInterrupt): continue"),
        [4],
    ),
    "only clean-up": (
        lines("def f(jobs):", " for job in jobs:", "  try: job()", "  except KeyboardInterrupt: job.close()"),
        [4],
    ),
    "the caller gets a default": (
        lines("def fetch(page):", " try: return page.get()", " except KeyboardInterrupt: return None"),
        [3],
    ),
    "exit code is lost": (lines("def build(p):", " try: p.setup()", " except SystemExit: pass", " p.publish()"), [3]),
    "main swallows an exit": (lines("def main():", " try: work()", " except SystemExit: pass"), [3]),
    "generator yields again": (
        lines("def f(rows):", " try: yield rows", " except GeneratorExit: pass", " yield 1"),
        [3],
    ),
    "generator in a loop": (
        lines("def f(rows):", " while True:", "  try: yield rows", "  except GeneratorExit: continue"),
        [4],
    ),
    "yield in the handler": (lines("def f(rows):", " try: yield rows", " except GeneratorExit: yield 1"), [3]),
    "base exception in a generator": (
        lines("def f(rows):", " while True:", "  try: yield rows", "  except BaseException: pass"),
        [4],
    ),
}

LEFT_ALONE = {
    "main": lines("def main():", " try: work()", " except KeyboardInterrupt: pass"),
    "main loop": lines("def f(server):", " try: server.serve_forever()", " except KeyboardInterrupt: pass"),
    "endless loop": lines("def f(q):", " try:", "  while True: q.get()", " except KeyboardInterrupt: return"),
    "module": lines("try: work()", "except KeyboardInterrupt: pass"),
    "waits for a child": lines(
        "def f(p):", " while True:", "  try: return p.wait()", "  except KeyboardInterrupt: pass"
    ),
    "asks the user": lines("def f():", " while True:", "  try: x = input()", "  except KeyboardInterrupt: continue"),
    "loop is left": lines("def run(q):", " while True:", "  try: q.get()", "  except KeyboardInterrupt: break"),
    "flag of the loop": lines(
        "def f(q):", " go = True", " while go:", "  try: q.get()", "  except KeyboardInterrupt: go = False"
    ),
    "flag of the main loop": lines(
        "def main():",
        " go = True",
        " while go:",
        "  try:",
        "   start()",
        "   go = False",
        "  except KeyboardInterrupt: pass",
    ),
    "flag asked later": lines(
        "def f(q):", " try: q.get()", " except KeyboardInterrupt: stop = 1", " if stop: q.clear()"
    ),
    "exit code": lines("def f(p):", " try: return p.get()", " except KeyboardInterrupt: return 130"),
    "raised later": lines("def f(q):", " try: q.get()", " except KeyboardInterrupt: pass", " raise OSError"),
    "raised again": lines("def f(q):", " try: q.get()", " except KeyboardInterrupt: raise"),
    "logged": lines("def f(q, log):", " for x in q:", "  try: x()", "  except KeyboardInterrupt: log.info('stop')"),
    "on purpose": lines("def ignore_interrupts(f):", " try: f()", " except KeyboardInterrupt: pass"),
    "code is kept": lines("def f(p):", " try: p.setup()", " except SystemExit as e: p.code = e.code"),
    "parser told the user": lines("def f(p):", " try: return p.parse_args()", " except SystemExit: return None"),
    "shell": lines("def f(console):", " try: console.interact()", " except SystemExit: pass"),
    "generator returns": lines("def f(rows):", " try: yield rows", " except GeneratorExit: return"),
    "generator ends": lines("def f(rows):", " try: yield rows", " except GeneratorExit: pass"),
    "generator cleans up": lines("def f(rows):", " try: yield rows", " except GeneratorExit: rows.close()"),
    "no generator": lines("def f(gen):", " try: next(gen)", " except (StopIteration, GeneratorExit): pass"),
    "earlier handler raises": lines(
        "def f(rows):",
        " while True:",
        "  try: yield rows",
        "  except GeneratorExit: raise",
        "  except BaseException: pass",
    ),
    "another exception": lines("def f(jobs):", " for job in jobs:", "  try: job()", "  except OSError: pass"),
}


@pytest.mark.parametrize(("text", "rows"), REPORTED.values(), ids=REPORTED.keys())
def test_swallowed(text: str, rows: list[int], places: Places) -> None:
    """A signal is swallowed where the program, or the generator, goes on."""
    assert places(text, "UNH501") == [("UNH501", row) for row in rows]


@pytest.mark.parametrize("text", LEFT_ALONE.values(), ids=LEFT_ALONE.keys())
def test_not_swallowed(text: str, places: Places) -> None:
    """A quiet end, a dialogue, a flag, an exit code and a closed generator are no case."""
    assert places(text, "UNH501") == []


def test_suppress(places: Places) -> None:
    """A suppress swallows a signal as a handler does, and is reported at its call."""
    head = "from contextlib import suppress\n\n\n"
    loop = (
        head
        + "def f(jobs):\n    for job in jobs:\n        with suppress(KeyboardInterrupt, OSError):\n            job()\n"
    )
    assert places(loop, "UNH202", "UNH501") == [("UNH501", 6)]
    main = head + "def main(server):\n    with suppress(KeyboardInterrupt):\n        server.run()\n"
    assert places(main, "UNH501") == []


def test_severity(findings: Callable[..., tuple]) -> None:
    """A loop that can't be stopped is worst; a comment that says why, and a test, matter least."""
    text = "def f(jobs):\n    for job in jobs:\n        try:\n            job()\n"
    text += "        except KeyboardInterrupt:{}\n            pass\n"
    (high,) = findings(text.format(""), "UNH501")
    (said,) = findings(text.format("  # the parent stops us"), "UNH501")
    (test,) = findings(text.format(""), "UNH501", filename="/project/tests/test_jobs.py")
    assert (high.severity, said.severity, test.severity) == ("high", "low", "low")

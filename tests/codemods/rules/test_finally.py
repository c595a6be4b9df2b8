"""UNH203: jumps that leave a `finally`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Places = Callable[..., list[tuple[str, int]]]

CASES = {
    "return": ("    return result", [6]),
    "in an if": ("    if done:\n        return", [7]),
    "in a with": ("    with lock:\n        return", [7]),
    "in a match": (
        "    match done:\n        case 1:\n            return\n        case _:\n            return",
        [8, 10],
    ),
    "within a loop": ("    for row in rows:\n        return row", [7]),
    "in a try of its own": (
        "    try:\n        close()\n    except OSError:\n        return\n    else:\n        return",
        [9, 11],
    ),
    "in a finally of its own": ("    try:\n        close()\n    finally:\n        return", [9]),
    "two jumps": ("    if done:\n        return 1\n    return 2", [7, 8]),
    "break of an inner loop": ("    for row in rows:\n        break", []),
    "continue of an inner while": ("    while rows:\n        continue", []),
    "break behind an inner loop": ("    while rows:\n        pass\n    else:\n        break", [9]),
    "inner function": ("    def note():\n        return done\n    close(note)", []),
    "inner lambda": ("    close(lambda: done)", []),
    "inner class": ("    class Note:\n        def text(self):\n            return done\n    close(Note)", []),
    "break": ("    break", [6]),
    "continue": ("    if done:\n        continue", [7]),
    "one line": (" return", [5]),
    "no jump": ("    close()", []),
    "raise": ("    raise OSError", []),
}


def module(body: str, handlers: str = "") -> str:
    """A function with the body in a finally, whose row is the fifth where there are no handlers."""
    block = "\n" + "\n".join("        " + line for line in body.splitlines()) if body.startswith("    ") else body
    head = "def f(rows, done, result):\n    for item in rows:\n        try:\n            work(item)\n"
    return f"{head}{handlers}        finally:{block}\n"


@pytest.mark.parametrize(("body", "rows"), CASES.values(), ids=CASES.keys())
def test_jumps(body: str, rows: list[int], places: Places) -> None:
    """Each jump that leaves the finally is one finding, at the jump; those that stay inside are none."""
    assert places(module(body), "UNH203") == [("UNH203", row) for row in rows]


@pytest.mark.parametrize(
    ("handlers", "severity"),
    [
        ("", "high"),
        ("        except OSError:\n            log(item)\n", "high"),
        ("        except Exception:\n            log(item)\n", "medium"),
        ("        except:\n            log(item)\n", "medium"),
        ("        except Exception:\n            raise\n", "high"),
    ],
)
def test_handlers_do_not_excuse(handlers: str, severity: str, findings: Callable[..., tuple]) -> None:
    """A jump is reported also where handlers take the common case, and less of a matter there."""
    (finding,) = findings(module("    return result", handlers), "UNH203")
    assert finding.severity == severity


def test_except_group_and_module_level(places: Places) -> None:
    """`except*` and code outside functions are looked at too."""
    text = """\
    while True:
        try:
            work()
        except* OSError:
            pass
        finally:
            break
    """
    assert places(text, "UNH203") == [("UNH203", 7)]


@pytest.mark.parametrize(
    "body",
    [
        '        text = """\nunindented\n"""\n        return text\n',
        "        work(\n    1,\n        )\n        return 1\n",
        "        work(1, \\\n    2)\n        return 1\n",
        "        # a comment\n    # at the left\n\n        return 1\n",
    ],
    ids=["string", "brackets", "backslash", "comments"],
)
def test_a_block_that_its_indentation_does_not_tell(body: str, places: Places) -> None:
    """A jump is found behind strings, brackets and joined lines that reach to the left of the finally."""
    text = f"def f():\n    try:\n        work()\n    finally:\n{body}"
    assert [code for code, _ in places(text, "UNH203")] == ["UNH203"]

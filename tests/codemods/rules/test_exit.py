"""UNH204: exits that always return a true value."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Places = Callable[..., list[tuple[str, int]]]

REPORTED = {
    "true": ("self, t, v, tb", "return True", 3),
    "one": ("self, *args", "return 1", 3),
    "text": ("self, *args", "return 'done'", 3),
    "not false": ("self, *args", "return not False", 3),
    "after clean-up": ("self, *args", "self.close()\nreturn True", 4),
    "both ways": ("self, *args", "if self.open:\n    return True\nelse:\n    return 1", 6),
    "in a with": ("self, *args", "with self.lock:\n    return True", 4),
    "in a try": ("self, *args", "try:\n    self.close()\nfinally:\n    self.done = 1\nreturn True", 7),
    "handed to another's exit": ("self, t, v, tb", "self.inner.__exit__(t, v, tb)\nreturn True", 4),
    "handed to super": ("self, *args", "super().__exit__(*args)\nreturn True", 4),
    "inner function returns nothing": ("self, *args", "def note():\n    return None\nself.note = note\nreturn True", 6),
}

NOT_REPORTED = {
    "nothing": ("self, *args", "self.close()"),
    "false": ("self, *args", "return False"),
    "none": ("self, *args", "return None"),
    "zero": ("self, *args", "return 0"),
    "a variable": ("self, *args", "return self.quiet"),
    "a call": ("self, *args", "return self.inner.__exit__(*args)"),
    "one way falls off": ("self, *args", "if self.quiet:\n    return True"),
    "one way says false": ("self, *args", "if self.quiet:\n    return True\nreturn False"),
    "raises": ("self, *args", "if self.failed:\n    raise OSError\nreturn True"),
    "type is looked at": ("self, t, v, tb", "if t is KeyError:\n    self.n += 1\nreturn True"),
    "exception is kept": ("self, t, v, tb", "self.error = v\nreturn True"),
    "exception is logged": ("self, t, v, tb", "log.error('x', exc_info=(t, v, tb))\nreturn True"),
    "current exception is logged": ("self, *args", "log.exception('x')\nreturn True"),
    "arguments are looked at": ("self, *args", "self.check(args)\nreturn True"),
}


def module(arguments: str, body: str, head: str = "def __exit__") -> str:
    block = "\n".join("        " + line for line in body.splitlines())
    return f"class Session:\n    {head}({arguments}):\n{block}\n"


@pytest.mark.parametrize(("arguments", "body", "row"), REPORTED.values(), ids=REPORTED.keys())
@pytest.mark.parametrize("head", ["def __exit__", "async def __aexit__"])
def test_always_true(head: str, arguments: str, body: str, row: int, places: Places) -> None:
    """An exit whose every way out returns a true constant is one finding, at its last return."""
    assert places(module(arguments, body, head), "UNH204") == [("UNH204", row)]


@pytest.mark.parametrize(("arguments", "body"), NOT_REPORTED.values(), ids=NOT_REPORTED.keys())
def test_not_always_true(arguments: str, body: str, places: Places) -> None:
    """An exit that lets something through, or looks at the exception, is left alone."""
    assert places(module(arguments, body), "UNH204") == []


def test_only_exits(places: Places) -> None:
    """Another method that returns true is no finding, a class within a function is looked at."""
    assert places(module("self", "return True", "def close"), "UNH204") == []
    text = """\
    def make():
        class Session:
            def __exit__(self, *args):
                return True
        return Session
    """
    assert places(text, "UNH204") == [("UNH204", 4)]

"""An exception as data: what is kept of it, and when two failures count as the same bug."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unhush.runtime.failure import MESSAGE_LIMIT, TRACEBACK_LIMIT, TYPE_LIMIT, describe


def raised(function: Callable[..., Any], *args: Any) -> BaseException:
    """The exception that the call ends with."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever it is, it is what the test looks at
        function(*args)
    # Without this frame and that of pytest, as a worker would see it.
    return caught.value.with_traceback(caught.value.__traceback__ and caught.value.__traceback__.tb_next)


def module_at(folder: Path, source: str, name: str = "shop_orders") -> ModuleType:
    """A module whose file lies in that folder, as another install of it would."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(source)
    module = ModuleType(name)
    module.__file__ = str(path)
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


SOURCE = """
class Order:
    def price(self, value):
        return self.look_up(value)

    def look_up(self, value):
        raise LookupError(f"no price for {value} in {self!r}")

def job(value):
    return Order().price(value)

def other_job(value):
    raise LookupError(f"no price for {value}")

def wrapped(value):
    try:
        job(value)
    except LookupError as error:
        raise RuntimeError(f"order {value}") from error
"""


def test_type_and_message_are_the_exceptions_own() -> None:
    """The type is qualified by its module, a builtin one is bare, and the message is what str() gives."""
    assert describe(ValueError("no")).type == "ValueError"
    assert describe(ValueError("no")).message == "no"
    assert describe(asyncio.QueueFull()).type == "asyncio.queues.QueueFull"
    assert describe(raised(lambda: {}["k"])).message == "'k'"


def test_traceback_holds_causes_contexts_groups_and_notes() -> None:
    """Everything that Python would print of the failure is in the text."""

    def fail() -> None:
        try:
            try:
                raise KeyError("innermost")
            except KeyError:
                raise TypeError("in between")  # noqa: B904 - the context is what the test is about
        except TypeError as error:
            group = ExceptionGroup("several", [ValueError("first"), OSError("second")])
            group.add_note("a note")
            raise group from error

    text = describe(raised(fail)).traceback
    for part in ("KeyError: 'innermost'", "During handling of", "TypeError: in between", "direct cause"):
        assert part in text
    for part in ("ExceptionGroup: several", "ValueError: first", "OSError: second", "a note", "in fail"):
        assert part in text


def test_traceback_is_that_of_the_traceback_module_each_time() -> None:
    """Frames that were shown before look as at the first time, in causes, contexts and members of groups too."""

    def fail(number: int) -> None:
        try:
            ({}["a"] + 1) if number else (1 + {}["b"])
        except KeyError as error:
            members = [ValueError("one"), ExceptionGroup("inner", [error])]
            raise ExceptionGroup("outer", members) from error

    for number in (0, 1, 0, 1):
        with pytest.raises(ExceptionGroup) as caught:
            fail(number)
        assert describe(caught.value).traceback == "".join(traceback.format_exception(caught.value))
    assert "^" in describe(caught.value).traceback


def test_traceback_holds_no_local_variables() -> None:
    """What a variable holds is not in the text, while the line that used it is."""

    def fail() -> None:
        private = str(9**9)
        raise ValueError(len(private))

    text = describe(raised(fail)).traceback
    assert str(9**9) not in text
    assert "raise ValueError(len(private))" in text


class Hostile(Exception):
    """Raises from whatever can be asked of it."""

    def __str__(self) -> str:
        raise SystemExit("from __str__")

    __repr__ = __str__


class Falsy(Exception):
    """Counts as nothing."""

    def __len__(self) -> int:
        return 0


class HostileChain(Exception):
    """Can't be asked what it came from."""

    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        raise ValueError("from __cause__")


class HostileMeta(type):
    """Answers no question about its classes."""

    def __getattribute__(cls, name: str) -> Any:
        raise ValueError(name)


def test_an_exception_whose_own_methods_raise_is_described() -> None:
    """Hostile __str__, __cause__ and metaclass leave a failure with its type, a text that says so and a fingerprint."""
    hostile = describe(raised(lambda: (_ for _ in ()).throw(Hostile())))
    assert hostile.type.endswith(".Hostile")
    assert hostile.message == "<its __str__ raised SystemExit>"
    assert "Hostile" in hostile.traceback
    chain = describe(HostileChain("x"))
    assert (chain.message, len(chain.fingerprint)) == ("x", 32)
    assert "HostileChain: x" in chain.traceback
    odd = HostileMeta("Odd", (Exception,), {})
    assert describe(odd("y")).type.endswith("Odd")


def test_an_exception_that_counts_as_nothing_is_still_a_cause() -> None:
    """A falsy exception is followed in the chain as any other."""
    outer, plain = ValueError(), ValueError()
    outer.__cause__ = Falsy()
    assert describe(outer).fingerprint != describe(plain).fingerprint


def test_ctrl_c_is_not_swallowed() -> None:
    """A KeyboardInterrupt that arrives while the message is made goes on its way."""

    class Interrupted(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        describe(Interrupted())


@given(st.text(st.characters()) | st.sampled_from(["\0", "a\udc80b", "\ud800\0"]))
def test_texts_are_such_as_every_database_takes(text: str) -> None:
    """No text holds NUL or a lone surrogate; both are written out instead."""
    failure = describe(ValueError(text))
    for kept in (failure.type, failure.message, failure.traceback):
        assert "\0" not in kept
        assert kept.encode().decode() == kept
    if "\0" in text:
        assert "\\x00" in failure.message


def test_huge_texts_lose_their_middle_and_say_so() -> None:
    """A huge message leaves both its ends, the frames stay, and each text keeps its limit."""
    failure = describe(raised(lambda: exec("raise ValueError('<' + 'x' * 5_000_000 + '>')")))
    assert failure.message.startswith("<x")
    assert failure.message.endswith("x>")
    assert f"{5_000_002 - MESSAGE_LIMIT} characters cut" in failure.message
    assert len(failure.message) <= MESSAGE_LIMIT
    assert 'File "<string>", line 1' in failure.traceback
    long = type("L" * 1000, (Exception,), {})
    assert len(describe(long()).type) <= TYPE_LIMIT
    chain = ValueError("last")
    for _ in range(200):
        following = ValueError("y" * MESSAGE_LIMIT)
        following.__cause__ = chain
        chain = following
    assert len(describe(chain).traceback) <= TRACEBACK_LIMIT
    assert "characters cut" in describe(chain).traceback


def test_long_cyclic_and_nested_chains_are_described() -> None:
    """A cause that leads back to itself, 10,000 causes and 3,000 groups in groups end like any other."""
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert len(describe(first).fingerprint) == 32
    chain: Exception = ValueError("root")
    for _ in range(10_000):
        following = ValueError("next")
        following.__cause__ = chain
        chain = following
    assert "ValueError" in describe(chain).traceback
    nested: Exception = ValueError("leaf")
    for _ in range(3_000):
        nested = ExceptionGroup("g", [nested])
    assert describe(nested).type == "ExceptionGroup"


def test_same_bug_has_the_same_fingerprint_wherever_it_lies(tmp_path: Path) -> None:
    """Values, addresses, line numbers and the folder of the install do not count."""
    here, there = module_at(tmp_path / "a", SOURCE), module_at(tmp_path / "b/site-packages", "\n" * 7 + SOURCE)
    for name in ("job", "wrapped"):
        failures = [describe(raised(getattr(module, name), value)) for module in (here, there) for value in (1, "x")]
        assert len({failure.fingerprint for failure in failures}) == 1
        assert len({failure.traceback for failure in failures}) == 4


def test_another_bug_has_another_fingerprint(tmp_path: Path) -> None:
    """Another function, another type, another cause and no traceback each make another bug."""
    module = module_at(tmp_path, SOURCE)
    errors = [raised(module.job, 1), raised(module.other_job, 1), raised(module.wrapped, 1), LookupError(), KeyError()]
    assert len({describe(error).fingerprint for error in errors}) == 5


def test_library_frames_do_not_count_beside_own_ones(tmp_path: Path) -> None:
    """The same own function is the same bug, also where it runs in a pool or fails deeper in a library."""
    source = "import json\ndef job(text, **how):\n    return json.loads(text, **how)\n"
    module = module_at(tmp_path, source)
    direct = describe(raised(module.job, "{"))
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(module.job, "[1,")
        error = future.exception()
    assert error is not None
    assert describe(error).fingerprint == direct.fingerprint
    assert direct.traceback.count('File "') > 2


def test_recursion_is_one_bug_however_deep(tmp_path: Path) -> None:
    """How deep it went does not count, neither for a plain error nor for the RecursionError itself."""
    source = (
        "def walk(n):\n    if n == 0:\n        raise ValueError\n    step(n)\n"
        "def step(n):\n    walk(n - 1)\n"
        "def endless():\n    helper()\n    endless_too()\n"
        "def endless_too():\n    endless()\n"
        "def helper():\n    str(1)\n"
    )
    module = module_at(tmp_path, source)
    assert describe(raised(module.walk, 3)).fingerprint == describe(raised(module.walk, 30)).fingerprint
    assert describe(raised(module.walk, 0)).fingerprint != describe(raised(module.walk, 3)).fingerprint
    limit = sys.getrecursionlimit()
    prints = set()
    try:
        for extra in range(3):
            sys.setrecursionlimit(limit + extra)
            prints.add(describe(raised(module.endless)).fingerprint)
    finally:
        sys.setrecursionlimit(limit)
    assert len(prints) == 1


def test_order_of_a_groups_members_and_number_of_retries_do_not_count() -> None:
    """Tasks fail in any order, and a retry that failed twice or five times is the same bug."""
    members = [ValueError(1), KeyError(2), ExceptionGroup("inner", [OSError()])]
    group, turned = ExceptionGroup("g", members), ExceptionGroup("h", members[::-1])
    assert describe(group).fingerprint == describe(turned).fingerprint
    assert describe(group).fingerprint != describe(ExceptionGroup("g", members[:1])).fingerprint

    def retry(times: int) -> None:
        try:
            raise ConnectionError(times)
        except ConnectionError:
            if times:
                retry(times - 1)
            raise

    assert describe(raised(retry, 2)).fingerprint == describe(raised(retry, 5)).fingerprint


def test_no_own_method_of_the_value_is_needed_for_a_fingerprint() -> None:
    """The fingerprint is 32 hex digits, and equal for two exceptions without traceback of one type."""
    first, second = describe(ValueError("a")).fingerprint, describe(ValueError("b")).fingerprint
    assert first == second
    assert len(bytes.fromhex(first)) == 16

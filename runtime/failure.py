"""An exception as data: its type, message and whole traceback, and a fingerprint that is the same for the same bug.

Nothing here is redacted; whoever stores the texts does that once, at the end.
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from types import TracebackType
from typing import Any

TYPE_LIMIT = 255  # characters, as the column has them
MESSAGE_LIMIT = 32_768  # characters of a message, also where it stands in the traceback
TRACEBACK_LIMIT = 262_144  # characters of the whole traceback
_CHAIN_LIMIT = 100  # exceptions of one chain, and members of one group, that a fingerprint looks at
_TEXTS_LIMIT = 2_000  # frames whose texts are remembered
_TEXT_LIMIT = 2_000  # characters of a text that is remembered
_DEPTH_LIMIT = 10  # groups within groups, as the traceback module shows them

OWN, LIBRARY, STANDARD = "own", "library", "standard"  # whose code a frame runs


@dataclass(frozen=True, slots=True)
class Failure:
    """What is kept of an exception: texts that every database takes, and 32 hex digits that group the same bug."""

    type: str
    message: str
    traceback: str
    fingerprint: str


def describe(error: BaseException) -> Failure:
    """The exception as data. Never raises, whatever the exception's own methods do.

    The traceback holds causes, contexts, groups and notes, but no local variables. Texts over their limit lose their
    middle and say so.
    """
    name = _type_name(type(error))
    message = _visible(_clip(_message(error), MESSAGE_LIMIT))
    return Failure(
        type=_visible(_clip(name, TYPE_LIMIT)),
        message=message,
        traceback=_traceback(error, name, message),
        fingerprint=_fingerprint(error, name),
    )


def _message(error: BaseException) -> str:
    try:
        return str.__str__(str(error))
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # noqa: BLE001 - the text says so, and the failure itself must not be lost
        return f"<its __str__ raised {_type_name(type(problem))}>"


def _traceback(error: BaseException, name: str, message: str) -> str:
    try:
        shown = traceback.TracebackException.from_exception(error, compact=True)
        _remember_frames(shown)
        text = "".join(_visible(_clip(line, MESSAGE_LIMIT)) for line in shown.format())
    except Exception as problem:  # noqa: BLE001 - the text says so, and the failure itself must not be lost
        text = f"{name}: {message}\n<its traceback can't be shown: {_type_name(type(problem))}>\n"
    return _clip(text, TRACEBACK_LIMIT)


class _Frames(traceback.StackSummary):
    """Frames whose texts are remembered: finding the carets takes longer than all the rest, and bugs come back."""

    def format_frame_summary(self, frame_summary: traceback.FrameSummary, **options: Any) -> str:
        """The frame's lines, as the traceback module has them."""
        frame = frame_summary
        where = (frame.filename, frame.lineno, frame.end_lineno, frame.colno, frame.end_colno)
        key = (*where, frame.name, frame.line, *options.values())
        text = _texts.get(key)
        if text is None:
            text = super().format_frame_summary(frame, **options)
            if len(_texts) >= _TEXTS_LIMIT:
                _texts.clear()
            if len(text) <= _TEXT_LIMIT:
                _texts[key] = text
        return text


_texts: dict[tuple[Any, ...], str] = {}


def _remember_frames(shown: traceback.TracebackException) -> None:
    waiting = [shown]
    while waiting:
        one = waiting.pop()
        one.stack = _Frames(one.stack)
        linked = (one.__cause__, one.__context__, *(one.exceptions or ()))
        waiting += [other for other in linked if other is not None]


def _fingerprint(error: BaseException, name: str) -> str:
    try:
        facts = _facts(error, depth=0)
    except Exception as problem:  # noqa: BLE001 - goes into the fingerprint, and the failure must not be lost
        facts = f"{name} {_type_name(type(problem))}"
    return sha256(facts.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _type_name(kind: type) -> str:
    # Asked of `type` itself, since a metaclass may answer anything.
    name = type.__dict__["__qualname__"].__get__(kind)
    module = type.__dict__["__module__"].__get__(kind)
    return f"{module}.{name}" if isinstance(module, str) and module != "builtins" else str(name)


def _visible(text: str) -> str:
    """The text with NUL and lone surrogates written out: columns of text refuse them."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _clip(text: str, limit: int) -> str:
    """The text, or its two ends and how much was cut out between them, in `limit` characters."""
    if len(text) <= limit:
        return text
    note = f"... {len(text) - limit} characters cut ..."
    kept = limit - len(note)
    return text[: (kept + 1) // 2] + note + text[len(text) - kept // 2 :]


def _facts(error: BaseException, depth: int) -> str:
    """What makes the bug this bug: types and functions of the whole chain. A retry's repetitions count once."""
    facts = dict.fromkeys(_fact(link, depth) for link in islice(_chain(error), _CHAIN_LIMIT))
    return "\n".join(facts)


def _fact(error: BaseException, depth: int) -> str:
    frames = _frames(error)
    if isinstance(error, RecursionError):
        counts = Counter(frames)
        frames = [frame for frame in frames if counts[frame] > 1] or frames  # where exactly it struck is chance
    fact = " ".join([_type_name(type(error)), *dict.fromkeys(frames)])
    if not isinstance(error, BaseExceptionGroup) or depth >= _DEPTH_LIMIT:
        return fact
    # In which order the members failed is chance.
    members = sorted({_facts(member, depth + 1) for member in error.exceptions[:_CHAIN_LIMIT]})
    return "\n".join([fact, "(", *members, ")"])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, then what it came from, as a traceback would show it."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        following = link.__cause__
        if following is None and not link.__suppress_context__:
            following = link.__context__
        link = following


def _frames(error: BaseException) -> list[str]:
    """Module and function of each own frame, and of the library's frame where it struck; never the standard library's.

    Where no own frame is there, those of the libraries serve, and else all.
    """
    walked = list(_walk(error.__traceback__))
    installed = [frame for frame, origin in walked if origin != STANDARD]
    own = [frame for frame, origin in walked if origin == OWN]
    if own:
        return own if own[-1] == installed[-1] else [*own, installed[-1]]
    return installed or [frame for frame, _ in walked]


def _walk(tb: TracebackType | None) -> Iterator[tuple[str, str]]:
    while tb is not None:
        code = tb.tb_frame.f_code
        module = _module(tb.tb_frame.f_globals)
        yield f"{module}:{code.co_qualname}", _origin(code.co_filename, module)
        tb = tb.tb_next


def _module(names: dict[str, object]) -> str:
    """The module's import name, also where it was started by `python -m`."""
    name = getattr(names.get("__spec__"), "name", None) or names.get("__name__")
    return name.removesuffix(".__main__") if isinstance(name, str) else "?"


@lru_cache(maxsize=4096)
def _origin(filename: str, module: str) -> str:
    top = module.partition(".")[0]
    if top == "unhush" or top in sys.stdlib_module_names:
        return STANDARD  # unhush's own frames say as little about a bug
    return LIBRARY if "site-packages" in filename or "dist-packages" in filename else OWN

"""The app's own queue: imported by name, its coroutines waited for where it is one for asyncio."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
from typing import TYPE_CHECKING, Any, cast

from ...config import find_table
from ...output import Failure

if TYPE_CHECKING:
    from ...runtime.dlq import DeadLetterQueue


def app_of_settings() -> str | None:
    """What `app` in `[tool.unhush]` names, for the working directory. Raises ConfigError."""
    _, table = find_table(os.getcwd())
    return table.get("app")


def imported(name: str) -> DeadLetterQueue:
    """The queue that `module:attribute` names, the working directory being on `sys.path`.

    One for asyncio is given in a form that waits for each call. Raises Failure, in one line.
    """
    return _as_queue(attribute(name, "queue"), name)


def attribute(name: str, what: str) -> Any:
    """What `module:attribute` names, the working directory being on `sys.path`. Raises Failure, in one line."""
    module_name, colon, path = name.partition(":")
    if not (colon and module_name and path):
        raise Failure(f"--app: {name!r} names no {what}: say module:attribute")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    found: Any = _module(module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            raise Failure(f"--app: module {module_name!r} has no {path!r}")
        found = getattr(found, part)
    return found


def _module(name: str) -> Any:
    from ...runtime.redact import redact_text

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise Failure(f"--app: there is no module {name!r} in the working directory or installed") from error
        raise Failure(f"--app: {name!r} needs the module {error.name!r}, which is not installed") from error
    except (Exception, SystemExit) as error:
        said = redact_text(str(error)).partition("\n")[0]
        raise Failure(f"--app: {name!r} can't be imported: {type(error).__name__}: {said}") from error


def _as_queue(found: Any, name: str) -> DeadLetterQueue:
    from ...runtime import AsyncDeadLetterQueue, DeadLetterQueue

    if isinstance(found, DeadLetterQueue):
        return found
    if isinstance(found, AsyncDeadLetterQueue):
        return cast(DeadLetterQueue, _Waiting(found))
    raise Failure(f"--app: {name!r} is of type {type(found).__name__}, not a DeadLetterQueue")


class _Waiting:
    """A queue for asyncio, each of whose calls is waited for, all in one event loop."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._queue, name)
        if not inspect.iscoroutinefunction(member):
            return member

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._runner.run(member(*args, **kwargs))

        return call

    def close(self) -> None:
        self._runner.run(self._queue.close())
        self._runner.close()

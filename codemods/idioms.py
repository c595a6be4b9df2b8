"""The documented idioms: handlers that are silent by shape, and whose exception is heard in another way or expected.

Each row has its reason, a module that shows it, and one that looks alike and is no such idiom.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass

from . import context
from .lazy import lazy_pattern
from .links import keys, links_of
from .names import last_name, own_nodes
from .scope import HandlerSite


@dataclass(frozen=True, slots=True)
class Idiom:
    """One row: its name, why it is not reported, the test of a handler, an example, and its positive control.

    `broad` says whether the idiom may excuse a bare or broad handler; the others excuse named types alone.
    """

    name: str
    reason: str
    broad: bool
    holds: Callable[[HandlerSite], bool]
    example: str
    control: str


_ERROR_TEXT = lazy_pattern(
    r"(?:^|[^a-z])(?:error|fail|invalid|unknown|unavailable|could not|cannot|unable|exception)", re.I
)
_ERROR_KEY = lazy_pattern(r"^(?:error|errors|err|failed|failure|exception|error_message|errmsg)$", re.I)
_SUCCESS = frozenset("success ok succeeded passed valid is_valid".split())
_FAILED = frozenset("error errors errored fail failed failure failures invalid broken corrupt corrupted".split())
_NOT_FAILED = frozenset("no not non without ignore ignored skip skipped suppress allow on fast retry".split())
_STATUS = frozenset(("status", "code"))
_REPORT_FUNCTION = lazy_pattern(
    r"^__(?:repr|str|format)__$|^_*(?:format|print|log|report)_(?:exception|exc|error|traceback)"
)
_PREDICATE = lazy_pattern(r"^_*(?:is|has|can|supports?|valid)(?:_|[a-z]*$)|_exists$|_available$")


def _types(site: HandlerSite) -> set[str]:
    return {name.rpartition(".")[2] for name in site.caught}


def _only(*names: str) -> Callable[[HandlerSite], bool]:
    wanted = frozenset(names)
    return lambda site: bool(site.caught) and _types(site) <= wanted


def _says_error(site: HandlerSite) -> bool:
    value, names, returned = context.outcome(site)
    if any(_ERROR_KEY.match(name) for name in names) and context.value_kind(value) not in ("none", "false", "empty"):
        return True
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return _ERROR_TEXT.search(value.value) is not None and bool(names or returned)
    if (names or returned) and _is_error_value(value):
        return True
    return any(
        _keeps_error(target, node.value)
        for node in site.handler.body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    )


def _keeps_error(target: ast.expr, value: ast.expr) -> bool:
    """`ok = False`, `self.load_failed = True`, `status = 500`, `errors["base"] = ...`, `result["error"] = ...`."""
    name = last_name(target)
    if isinstance(target, ast.Subscript):
        name = str(target.slice.value) if isinstance(target.slice, ast.Constant) else ""
        if _ERROR_KEY.match(last_name(target.value)) or _ERROR_KEY.match(name):
            return True
    if isinstance(value, ast.Constant) and value.value is True:
        return _names_failure(name)
    return _denies(name, value) or (_is_error_status(value) and bool(_STATUS & set(context.words(name))))


def _names_failure(name: str) -> bool:
    """Whether a name says that something failed: `load_failed`, but not `ignore_errors`."""
    words = set(context.words(name))
    return bool(words & _FAILED) and not words & _NOT_FAILED


def _denies(name: str, value: ast.expr) -> bool:
    return name in _SUCCESS and isinstance(value, ast.Constant) and value.value is False


def _is_error_status(value: ast.expr) -> bool:
    """A status of HTTP that tells of an error."""
    return isinstance(value, ast.Constant) and isinstance(value.value, int) and 400 <= value.value < 600


def _is_error_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str) and bool(_ERROR_TEXT.search(value.value))


def _is_error_value(value: ast.expr | None) -> bool:
    """`FAILURE`, `Status.ERROR`, `{"error": ...}`, `{"ok": False}`, `(None, "could not save")`, `("", 500)`."""
    if isinstance(value, (ast.Name, ast.Attribute)):
        return last_name(value).isupper() and _names_failure(last_name(value))
    if isinstance(value, ast.Tuple):
        numbers = [part for part in value.elts if context.value_kind(part) in ("number", "zero")]
        return any(map(_is_error_text, value.elts)) or (
            len(numbers) == 1 and value.elts[-1] is numbers[0] and _is_error_status(numbers[0])
        )
    return isinstance(value, ast.Dict) and any(
        isinstance(key, ast.Constant)
        and (_ERROR_KEY.match(str(key.value)) or _is_error_text(part) or _denies(str(key.value), part))
        for key, part in zip(value.keys, value.values, strict=True)
    )


def _exit_code(site: HandlerSite) -> bool:
    value, _, returned = context.outcome(site)
    return (
        returned
        and context.function_name(site).strip("_") in ("main", "run", "cli")
        and isinstance(value, ast.Constant)
        and isinstance(value.value, int)
        and value.value not in (0, False, True)
    )


def _predicate(site: HandlerSite) -> bool:
    value, _, _ = context.outcome(site)
    function = site.function
    if function is None or context.value_kind(value) not in ("false", "true", "none"):
        return False
    asks = _PREDICATE.search(function.name) is not None or (
        function.returns and ast.unparse(function.returns) == "bool"
    )
    return bool(asks) and context.body_of(site).statements <= 3 and context.returns_only_bools(site)


def _reporting(site: HandlerSite) -> bool:
    return _REPORT_FUNCTION.search(context.function_name(site)) is not None


def _raised_next(site: HandlerSite) -> bool:
    """A flag or marker that the next statement turns into an exception."""
    _, names, returned = context.outcome(site)
    after = site.following[:1]
    if returned or not names or not after or not isinstance(after[0], ast.If):
        return False
    read = {last_name(node) for node in ast.walk(after[0].test) if isinstance(node, (ast.Name, ast.Attribute))}
    return bool(read & set(names)) and any(isinstance(node, ast.Raise) for node in own_nodes(after[0].body))


def _optional_import(site: HandlerSite) -> bool:
    body = site.try_.body
    return isinstance(body[0], (ast.Import, ast.ImportFrom)) and all(
        isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign, ast.Pass))
        and not any(isinstance(part, ast.Call) for part in ast.walk(node))
        for node in body
    )


def _waits_for_cancelled(site: HandlerSite) -> bool:
    """`task.cancel()` before, and nothing but waiting for it within."""
    body, function = site.try_.body, site.function
    if function is None or len(body) != 1 or not isinstance(body[0], ast.Expr):
        return False
    waits = body[0].value
    if not isinstance(waits, ast.Await):
        return False
    end = (waits.end_lineno or waits.lineno, waits.end_col_offset or waits.col_offset)
    return links_of(site.scope, function).is_cancelled(keys(waits), end)


def _lookup(site: HandlerSite) -> bool:
    """EAFP: a lookup or a conversion of a few plain calls, whose failure is an answer."""
    return _only(
        "KeyError", "IndexError", "LookupError", "AttributeError", "ValueError", "TypeError", "NameError",
        "UnicodeDecodeError", "UnicodeEncodeError", "UnicodeError", "OverflowError", "ZeroDivisionError",
        "JSONDecodeError", "InvalidOperation", "StopIteration", "StopAsyncIteration", "DoesNotExist", "ObjectDoesNotExist",
        "UnboundLocalError", "NotImplementedError", "UnsupportedOperation", "RuntimeError",
    )(site) and len(context.body_of(site).calls) <= 3  # fmt: skip


def _absent(site: HandlerSite) -> bool:
    return _only("FileNotFoundError", "ProcessLookupError", "FileExistsError", "NotADirectoryError")(site)


def _peer_gone(site: HandlerSite) -> bool:
    if not _only("BrokenPipeError", "ConnectionResetError", "ConnectionAbortedError", "ConnectionError", "OSError")(
        site
    ):
        return False
    closing = {"close", "shutdown", "aclose", "wait_closed", "flush", "unlink", "remove", "rmdir", "kill", "terminate"}
    return set(context.body_of(site).calls) <= closing | {"drain", "write_eof", "fileno"}


def _try(body: str, caught: str, handler: str, after: str = "", head: str = "def f(x):") -> str:
    """A function that holds one try."""
    lines = [
        head,
        "    try:",
        f"        {body}",
        f"    except{caught}:",
        *(f"        {line}" for line in handler.split("\n")),
    ]
    return "\n".join([*lines, *(f"    {line}" for line in after.split("\n") if line)]) + "\n"


_LOSES = "x.insert(parse(x.read()))\n        x.commit()\n        publish(x)"

IDIOMS: tuple[Idiom, ...] = (
    Idiom(
        "error-made-visible",
        "the value that is returned, stored or assigned says that it failed",
        True,
        _says_error,
        _try(_LOSES, " Exception", 'return {"error": "not saved"}'),
        _try(_LOSES, " Exception", "return {}"),
    ),
    Idiom(
        "exit-code",
        "a non-zero exit code of main tells the caller",
        True,
        _exit_code,
        _try(_LOSES, " Exception", "return 2", head="def main(x):"),
        _try(_LOSES, " Exception", "return 0", head="def main(x):"),
    ),
    Idiom(
        "predicate",
        "the function exists to ask whether this fails",
        True,
        _predicate,
        _try("x.connect()", " Exception", "return False", "return True", "def is_reachable(x):"),
        _try(_LOSES, " Exception", "return None", "return x", "def store(x):"),
    ),
    Idiom(
        "within-a-report",
        "fallback text while an object or an error is being described",
        True,
        _reporting,
        _try("return repr(x.fetch())", " Exception", "return '?'", head="def __repr__(x):"),
        _try(_LOSES, " Exception", "return None", head="def describe_all(x):"),
    ),
    Idiom(
        "raised-next",
        "the next statement turns the value into an exception",
        True,
        _raised_next,
        _try("n = x.fetch().commit()", " Exception", "n = -1", "if n < 0:\n        raise OSError(x)\nreturn n"),
        _try("n = x.fetch().commit()", " Exception", "n = None", "return x.send(n)"),
    ),
    Idiom(
        "optional-import",
        "a module that may be missing",
        True,
        _optional_import,
        "try:\n    import yaml\nexcept Exception:\n    yaml = None\n",
        _try(_LOSES, " Exception", "x = None"),
    ),
    Idiom(
        "end-of-a-cancelled-task",
        "the task was cancelled here, and only its end is waited for",
        True,
        _waits_for_cancelled,
        "async def stop(task):\n    task.cancel()\n    try:\n        await task\n    except (ValueError, Exception):\n"
        "        pass\n",
        "async def stop(client, order):\n    try:\n        await client.commit(order)\n    except Exception:\n        pass\n",
    ),
    Idiom(
        "eafp",
        "a lookup, a conversion or the end of an iterator whose failure is an answer",
        False,
        _lookup,
        _try("return int(x)", " ValueError", "return None"),
        _try(_LOSES, " ValueError", "return None"),
    ),
    Idiom(
        "already-gone",
        "what should be removed or read is not there",
        False,
        _absent,
        _try("x.unlink()", " FileNotFoundError", "pass"),
        _try(_LOSES, " PermissionError", "pass"),
    ),
    Idiom(
        "queue-state",
        "an empty or full queue is an answer",
        False,
        _only("Empty", "Full", "QueueEmpty", "QueueFull"),
        _try("return x.get_nowait()", " queue.Empty", "return None"),
        _try(_LOSES, " queue.Broken", "return None"),
    ),
    Idiom(
        "poll-timed-out",
        "a poll that times out is asked again",
        False,
        _only("TimeoutError", "Timeout", "timeout", "TimeoutExpired"),
        _try("x.wait(1)", " TimeoutError", "pass"),
        _try(_LOSES, " OSError", "pass"),
    ),
    Idiom(
        "optional-module",
        "a module or a feature that may be missing",
        False,
        _only("ImportError", "ModuleNotFoundError"),
        _try("import yaml\n        yaml.safe_load(x)", " ImportError", "pass"),
        _try(_LOSES, " OSError", "pass"),
    ),
    Idiom(
        "peer-gone",
        "the other side went away while closing",
        False,
        _peer_gone,
        _try("x.close()", " BrokenPipeError", "pass"),
        _try(_LOSES, " BrokenPipeError", "pass"),
    ),
)


def excuse(site: HandlerSite) -> Idiom | None:
    """The first idiom that a silent handler follows, or None."""
    wide = site.breadth in ("bare", "broad")
    return next((idiom for idiom in IDIOMS if (idiom.broad or not wide) and idiom.holds(site)), None)

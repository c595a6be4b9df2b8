"""The keys of the settings, declared once: from here come their checks, their schema and their documentation."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

SEVERITIES = ("low", "medium", "high")
BACKENDS = ("auto", "structlog", "stdlib", "loguru")
LEVELS = ("debug", "info", "warning", "error", "critical")
PRESETS = ("default", "strict")
VERSIONS = tuple(f"py3{minor}" for minor in range(7, 16))

STRINGS = ("rules", "patterns", "names")  # the kinds whose values are lists of strings
_WORDS = {
    "rules": "list of rules",
    "patterns": "list of patterns",
    "names": "list of dotted names",
    "ignores": "table: pattern to list of rules",
    "boolean": "`true`, `false`",
    "path": "path",
    "reference": "`module:attribute`",
    "table": "table",
}


class Key(NamedTuple):
    """One key: its name, the kind of its value, the default (None: none), its meaning in Markdown, and valid words.

    Kinds: rules, patterns, names (lists of strings), ignores (a table of lists), choice, boolean, path, reference,
    table. `field` is the field of the engine's settings that it fills, where it is copied there as it is.
    """

    name: str
    kind: str
    default: Any
    doc: str
    choices: tuple[str, ...] = ()
    field: str | None = None

    @property
    def type(self) -> str:
        """The type in words, as Markdown."""
        if self.kind == "choice":
            return "a level" if self.choices == LEVELS else ", ".join(f"`{word}`" for word in self.choices)
        return _WORDS[self.kind]


DECLARED = (
    Key(
        "extend",
        "path",
        None,
        "another settings file, relative to this one, whose values hold where this file is silent; see "
        "[below](#files-that-build-on-others)",
    ),
    Key("preset", "choice", "default", "the rules that `select` stands for where it is not given", PRESETS),
    Key("select", "rules", ("default",), "the rules that are used; the default is what `preset` says"),
    Key("extend-select", "rules", (), "rules that are used beside those of `select`"),
    Key("ignore", "rules", (), "rules that are left out; beats the two above"),
    Key(
        "per-file-ignores",
        "ignores",
        {},
        "rules that are left out in some files: patterns in the syntax of `.gitignore`, relative to the file's folder; one "
        "that begins with `!` stands for all files that do not match",
    ),
    Key(
        "exclude",
        "patterns",
        (),
        "files and folders that are skipped, in the syntax of `.gitignore`, relative to the file's folder, beside those "
        "that are always skipped; see [files](files.md)",
    ),
    Key("extend-exclude", "patterns", (), "the same, beside the `exclude` of a file that is extended"),
    Key(
        "logger-names",
        "names",
        (),
        "the project's own loggers, beside those that are known: a handler that calls their methods is not silent",
        field="logger_names",
    ),
    Key(
        "logger-calls",
        "names",
        (),
        "the project's own functions that write a log record (`app.log.warning`), as the code names them. Their last "
        "name tells the level, `exc_info=True` that they keep the traceback",
        field="logger_calls",
    ),
    Key(
        "reporting-calls",
        "names",
        (),
        "the project's own functions that report an exception",
        field="reporting_calls",
    ),
    Key(
        "foreign-suppressions",
        "boolean",
        True,
        "whether other tools' [comments](suppressions.md#other-tools-comments) are heeded (`noqa: S110` ...)",
        field="foreign_suppressions",
    ),
    Key(
        "min-severity",
        "choice",
        "medium",
        "the least severity that is shown, fixed and counted",
        SEVERITIES,
        "min_severity",
    ),
    Key(
        "fail-on",
        "choice",
        None,
        "the least severity that makes the exit code 1 (default: as `min-severity`); findings below it are shown, but do "
        "not fail the run. Findings that are not shown never do",
        SEVERITIES,
        "fail_on",
    ),
    Key(
        "baseline",
        "path",
        None,
        "the file of known findings, relative to the settings file; where that names none, it is what the next one upward "
        "in the repository names",
    ),
    Key(
        "target-version",
        "choice",
        None,
        "the oldest Python that runs the code. Where this Python does not parse a file and only a newer one than the "
        "target would, the file is an error; without the key it is checked",
        VERSIONS,
    ),
    Key(
        "backend",
        "choice",
        "auto",
        "what inserted log calls use; `auto` takes the module's own logger, else what the project mostly uses, else "
        "structlog if the project declares it, else the standard library's `logging`",
        BACKENDS,
        "backend",
    ),
    Key(
        "level-broad",
        "choice",
        "warning",
        "the level of log calls inserted into bare and broad handlers",
        LEVELS,
        "level_broad",
    ),
    Key("level-narrow", "choice", "debug", "the same for handlers of named types", LEVELS, "level_narrow"),
    Key("app", "reference", None, "the service's own dead letter queue, for `unhush dlq`; see [dead letters](dlq.md)"),
    Key("rollout", "table", None, "settings of the [roll-out](rollout.md), which has its own keys"),
)
BY_NAME = {key.name: key for key in DECLARED}
KEYS = tuple(BY_NAME)


def wanted(key: Key, value: Any) -> str | None:
    """What the value of a key should be, in words, where it is not that."""
    kind = key.kind
    if kind == "names":
        return None if _is_strings(value) and all(map(_is_name, value)) else "a list of dotted names"
    if kind in STRINGS:
        return None if _is_strings(value) else "a list of strings"
    if kind == "choice":
        return None if value in key.choices else f"one of {', '.join(key.choices)}"
    if kind == "ignores":
        good = isinstance(value, dict) and all(map(_is_strings, value.values()))
        return None if good else "a table of lists of strings"
    if kind == "boolean":
        return None if isinstance(value, bool) else "true or false"
    if kind == "path":
        return None if isinstance(value, str) and value and "\0" not in value else "a path"
    if kind == "reference":
        good = isinstance(value, str) and re.search(".:.", value) is not None
        return None if good else "a string such as 'module:attribute'"
    return None if isinstance(value, dict) else "a table"


def said(value: Any) -> str:
    """A wrong value in words: strings as they are, a list or table by its first wrong item, else the kind."""
    if isinstance(value, list):
        wrong = next((kind_of(item) for item in value if not isinstance(item, str)), None)
        if wrong is None:  # the only list that asks more of strings is one of names
            wrong = next((said(item) for item in value if not _is_name(item)), None)
        return "a list" if wrong is None else f"a list that holds {wrong}"
    if isinstance(value, dict):
        named = next(((name, item) for name, item in value.items() if not _is_strings(item)), None)
        return "a table" if named is None else f"a table with {named[0]!r} = {said(named[1])}"
    return repr(value) if isinstance(value, str) else kind_of(value)


def kind_of(value: Any) -> str:
    """The kind of a TOML value, in words."""
    names = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")


def keys_table() -> str:
    """The keys as a Markdown table, as the page on configuration has it."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    rows += [f"| `{key.name}` | {key.type} | {_shown(key)} | {key.doc} |" for key in DECLARED]
    return "\n".join(rows) + "\n"


def _shown(key: Key) -> str:
    if key.default is None:
        return ""
    if isinstance(key.default, bool):
        return f"`{str(key.default).lower()}`"
    if isinstance(key.default, tuple):
        return "`[" + ", ".join(f'"{word}"' for word in key.default) + "]`"
    return f"`{key.default}`"


def _is_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)

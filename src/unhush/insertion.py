"""Lines put into settings files that people wrote, every other byte as it was; or a refusal, where that can't be proved."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Document = dict[str, Any]

_TABLE = re.compile(r"^[ \t]*\[[ \t]*tool[ \t]*\.[ \t]*unhush[ \t]*\][ \t]*(#.*)?$", re.M)
_COMMENTS = re.compile(r"(?:[ \t]*(?:#.*)?\n)*")


class Refusal(Exception):
    """A file that is left alone; the text says what it is, or what to do by hand."""


def with_setting(text: str, key: str, value: str, own: bool) -> str:
    """TOML with one more setting: of `[tool.unhush]`, or (`own`) of a file that is nothing but settings.

    Raises Refusal where the text is no TOML, or the setting can't be added as a line.
    """
    before = _toml(text)
    line = f'{key} = "{value}"\n'
    path = () if own else ("tool", "unhush")
    after = _guarded(text, _own_line if own else _table_line, line)
    expected = _copied(before, path)
    if expected is None or _parsed(after, _toml) != _with(expected, (*path, key), value):
        where = "at the top of the file" if own else "to the settings of unhush"
        raise Refusal(f"can't be added to safely: write {line.strip()} {where} by hand")
    return after


def with_hook(text: str, entry: str, hook: Document) -> str:
    """The YAML of pre-commit with one more repository, as the last; `entry` is its text and `hook` what that means.

    Raises Refusal where the text is no YAML of that kind, or the hook can't be added as lines.
    """
    before = hooks_of(text)
    after = _guarded(text, _last_item, entry)
    if _parsed(after, hooks_of) != {**before, "repos": [*before["repos"], hook]}:
        raise Refusal("can't be added to safely: add the hook by hand, as docs/integrations.md shows it")
    return after


def hooks_of(text: str) -> Document:
    """What a configuration of pre-commit says. Raises Refusal where it is none."""
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise Refusal(f"is not valid YAML{f', see line {mark.line + 1}' if mark else ''}: mend it first") from error
    repos = document.get("repos") if isinstance(document, dict) else None
    if not isinstance(repos, list) or not all(isinstance(repo, dict) for repo in repos):
        raise Refusal("is no configuration of pre-commit: it has no list of repos")
    for number, repo in enumerate(repos, 1):
        if not isinstance(repo.get("hooks") or [], list):
            raise Refusal(f"is no configuration of pre-commit: repo {number} has no list of hooks")
    return dict(document)


def has_hook(document: Document, name: str) -> bool:
    """Whether a configuration of pre-commit has a hook of that id."""
    hooks = [hook for repo in document["repos"] for hook in repo.get("hooks") or ()]
    return any(isinstance(hook, dict) and hook.get("id") == name for hook in hooks)


def _toml(text: str) -> Document:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refusal(f"is not valid TOML: {error}: mend it first") from error


def _parsed(text: str, parse: Callable[[str], Document]) -> Document | None:
    try:
        return parse(text)
    except Refusal:
        return None


def _copied(document: Document, path: tuple[str, ...]) -> Document | None:
    """The document with the tables on a path copied, made where they are missing; None where no table is."""
    copy = dict(document)
    if not path:
        return copy
    inner = copy.get(path[0], {})
    made = _copied(inner, path[1:]) if isinstance(inner, dict) else None
    return None if made is None else {**copy, path[0]: made}


def _with(document: Document, path: tuple[str, ...], value: str) -> Document:
    at = document
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return document


def _guarded(text: str, insert: Callable[[str, str], str], line: str) -> str:
    """The text with something inserted in its own kind of line ends, the last line ended."""
    newline = "\r\n" if "\r\n" in text else "\n"
    plain = text.replace("\r\n", "\n")
    if "\r" in plain or (newline == "\r\n" and plain.count("\n") != text.count("\r\n")):
        raise Refusal("mixes different line ends: settle on one kind first")
    if plain and not plain.endswith("\n"):
        plain += "\n"
    return insert(plain, line).replace("\n", newline)


def _own_line(text: str, line: str) -> str:
    """Behind the comments at the file's top, for further down a table may have begun."""
    head = _COMMENTS.match(text)
    end = head.end() if head else 0
    return text[:end] + line + text[end:]


def _table_line(text: str, line: str) -> str:
    """Behind the head of the table, or with a head of its own at the end of the file."""
    if head := _TABLE.search(text):
        return text[: head.end() + 1] + line + text[head.end() + 1 :]
    return f"{text}{chr(10) if text.strip() else ''}[tool.unhush]\n{line}"


def _last_item(text: str, entry: str) -> str:
    """Behind the last line of the list `repos`, as deep as its other items."""
    import yaml

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    repos = next(value for key, value in root.value if key.value == "repos")
    if not repos.value:
        raise Refusal("holds an empty list of repos: take the line out, or add the hook by hand")
    lines = text.splitlines(keepends=True)
    first = lines[repos.value[0].start_mark.line]
    depth = len(first) - len(first.lstrip(" "))
    end = _last_row(text, repos) + 1
    added = "".join(f"{' ' * depth}{line}" for line in entry.splitlines(keepends=True))
    return "".join([*lines[:end], added, *lines[end:]])


def _last_row(text: str, node: Any) -> int:
    """The row of a node's last word; its own end lies behind the blanks and comments that follow it.

    Asked of the events, for in the tree an alias stands where its anchor does.
    """
    import yaml

    row = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        start, end = event.start_mark, event.end_mark
        if start.index < end.index and node.start_mark.index <= start.index < node.end_mark.index:
            row = max(row, end.line - (end.column == 0 and end.line > start.line))
    return row

"""`unhush prove`: whether two trees of files differ by inserted logging alone, whoever inserted it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from .backends import MANY, is_used
from .compare import Mismatch, Text, mismatches
from .layout import layout_mismatches, spans_text
from .model import FileError
from .module import Module
from .parsing import ParseFailure
from .project import imported_backends
from .recognise import Recognised
from .settings import Settings
from .source import DecodeFailure
from .trees import Entry, Tree, TreeFailure

_SHEBANG = re.compile(rb"#!.*\bpython[\d.]*\b")


@dataclass(frozen=True, slots=True)
class Inserted:
    """A place of the new text (1-based row) at which logging was inserted, and its text."""

    row: int
    text: str


@dataclass(frozen=True, slots=True)
class ProvedFile:
    """A file that differs by inserted logging alone. `filename` is relative to the trees' roots, with `/`."""

    filename: str
    inserted: tuple[Inserted, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Anything else that differs; `row` is 1-based in the new text where there is a place."""

    filename: str
    row: int | None
    what: str


@dataclass(frozen=True, slots=True)
class ProofReport:
    """What a comparison of two trees found, each part in order of names. `errors` are files that can't be read."""

    files: tuple[ProvedFile, ...]
    differences: tuple[Difference, ...]
    errors: tuple[FileError, ...] = ()

    @property
    def proved(self) -> bool:
        """Whether nothing but inserted logging differs, and everything could be read."""
        return not self.differences and not self.errors


def prove_trees(old: Tree, new: Tree, settings: Settings) -> ProofReport:
    """Compares two trees of files. Raises TreeFailure where a tree can't be listed at all."""
    before, after = old.entries(), new.entries()
    proved: list[ProvedFile] = []
    differences: list[Difference] = list(_moved(old, new, before, after))
    errors: list[FileError] = []
    used = partial(_is_used, old, new, before, after, {})
    for name in sorted(before.keys() & after.keys()):
        one, two = before[name], after[name]
        if problem := _kind_problem(one, two):
            differences.append(Difference(name, None, problem))
        if one.kind != two.kind or one.kind not in ("file", "link"):
            continue
        try:
            outcome = _prove_entry(old, new, name, one, two, settings, used)
        except (TreeFailure, OSError) as error:
            errors.append(FileError(name, f"can't be compared: {getattr(error, 'strerror', None) or error}"))
            continue
        if isinstance(outcome, ProvedFile):
            proved.append(outcome)
        else:
            differences.extend(outcome)
    ordered = sorted(differences, key=lambda difference: (difference.filename, difference.row or 0))
    return ProofReport(tuple(proved), tuple(ordered), tuple(errors))


def _kind_problem(one: Entry, two: Entry) -> str | None:
    if one.kind != two.kind:
        return f"was a {one.kind}, is a {two.kind}"
    if one.kind == "submodule" and one.identity != two.identity:
        return "the submodule stands at another commit, or holds changes"
    if one.mode != two.mode:
        return f"the mode changed from {one.mode:o} to {two.mode:o}"
    return None


def _moved(old: Tree, new: Tree, before: dict[str, Entry], after: dict[str, Entry]) -> Iterator[Difference]:
    """The files that only one tree has; one that went away and came back under another name is renamed."""
    gone, come = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    texts = {old.read(name): name for name in gone if before[name].kind == "file"} if come else {}
    for name in come:
        source = texts.get(new.read(name)) if texts and after[name].kind == "file" else None
        yield Difference(name, None, f"was renamed from {source}" if source else "was added")
    for name in gone:
        yield Difference(name, None, "was removed")


def _prove_entry(
    old: Tree, new: Tree, name: str, one: Entry, two: Entry, settings: Settings, used: Callable[[str], bool]
) -> ProvedFile | list[Difference]:
    """What two versions of one file differ by; an empty list where they are the same."""
    if one.identity is not None and one.identity == two.identity:
        return []
    left, right = old.read(name), new.read(name)
    if left == right:
        return []
    if one.kind == "link":
        return [Difference(name, None, "the link points elsewhere")]
    if not (name.endswith((".py", ".pyi", ".pyw")) or (_SHEBANG.match(left) and _SHEBANG.match(right))):
        return [Difference(name, None, "was changed, and is no Python file")]
    return prove_bytes(left, right, os.path.join(new.root, name), settings, name, used)


def prove_bytes(
    old_data: bytes,
    new_data: bytes,
    filename: str,
    settings: Settings,
    name: str | None = None,
    used: Callable[[str], bool] | None = None,
) -> ProvedFile | list[Difference]:
    """Whether a file's new bytes are the old ones with logging inserted; else every other difference.

    `filename` tells which project the file belongs to, `name` what to call it in the outcome, `used` whether enough old
    files import a backend for it to be there (asked of the project as it is now where that is not given).
    """
    name = name or filename
    try:
        old = Module(old_data, filename, settings)
        _ = old.tables
    except (DecodeFailure, ParseFailure) as failure:
        return [Difference(name, failure.row, f"the old text can't be parsed, so nothing is proved: {failure.reason}")]
    try:
        new = Module(new_data, filename, settings)
        _ = new.tables
    except (DecodeFailure, ParseFailure) as failure:
        return [Difference(name, failure.row, f"the new text can't be parsed: {failure.reason}")]
    found = Recognised(old, new, used or (lambda backend: is_used(backend, new.home)))
    wrong = list(mismatches(Text(old.tree, old.source), Text(new.tree, new.source), found))
    wrong += found.problems()
    if not wrong:
        wrong += layout_mismatches(old.source, new.source, found)
    if wrong:
        return _differences(name, wrong)
    texts = spans_text(new.source, (*found.calls, *found.setups, *found.traced))
    return ProvedFile(name, tuple(Inserted(row, text) for row, text in texts))


def _is_used(
    old: Tree, new: Tree, before: dict[str, Entry], after: dict[str, Entry], counted: dict[str, int], backend: str
) -> bool:
    """Whether enough files of the old tree import a backend; `counted` keeps the counts once they were made."""
    if not counted:
        counted["stdlib"] = 0
        for name, entry in before.items():
            if entry.kind == "file" and name.endswith(".py"):
                other = after.get(name)
                same = other is not None and entry.identity is not None and entry.identity == other.identity
                for found in imported_backends(new.read(name) if same else old.read(name)):
                    counted[found] = counted.get(found, 0) + 1
    return counted.get(backend, 0) >= MANY


def _differences(name: str, wrong: list[Mismatch]) -> list[Difference]:
    unique = dict.fromkeys((mismatch.row, mismatch.what) for mismatch in wrong)
    return [Difference(name, row, what) for row, what in sorted(unique)]

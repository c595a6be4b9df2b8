"""The file of known findings: what a line means, reading it strictly, and writing it whole or not at all."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from .codemods.model import SEVERITY_RANK
from .git import GitFailure, Repository, real
from .output import Failure

DEFAULT = "unhush-baseline.txt"
FORMAT = 1
_HEAD = re.compile(r"# unhush baseline, format (\d+)\Z")
_OWNER = re.compile(r"# repository: ([0-9a-f]{40}|[0-9a-f]{64}|unknown)\Z")
_UNKNOWN = "unknown"
_CONFLICT = re.compile(r"<{7}( |\Z)|>{7}( |\Z)|\|{7}( |\Z)|={7}\Z")
_CODE, _HASHES = re.compile(r"[A-Z]{3}[0-9]{3}\Z"), re.compile(r"([0-9a-f]{10})-([0-9a-f]{10})\Z")
_COUNT = re.compile(r"[1-9][0-9]{0,8}\Z")
_FIELDS = "code, severity, file, function, fingerprint and count"
_EXPLAINED = (
    "# Known findings: code, severity, file, function, fingerprint, count. Shrink it with `unhush baseline update`."
)


class BaselineError(Failure):
    """A baseline that can't be used; the text is one line that names the file and what to do."""


class Key(NamedTuple):
    """What makes a known finding. `file` is relative to the baseline's folder, with slashes; `own` and `around` are its
    content's hashes, see `codemods.identity`."""

    file: str
    qualname: str
    code: str
    own: str
    around: str


class Baseline:
    """Known findings: how often each is there, and the worst severity of its like.

    `owner` is the first commit of the repository that it was written for, None where there was none.
    """

    def __init__(self, path: str, owner: str | None) -> None:
        self.path, self.owner = path, owner
        self.folder = os.path.realpath(os.path.dirname(os.path.abspath(path)))  # names of files are relative to it
        self.counts: Counter[Key] = Counter()
        self.severities: dict[Key, str] = {}

    def add(self, key: Key, severity: str, count: int = 1) -> None:
        """Adds findings of one kind. Raises BaselineError where their content could not be read."""
        if not key.own:
            raise BaselineError(
                f"{self.path_of(key.file)}: changed while it was read, nothing was written: run it again"
            )
        self.counts[key] += count
        worst = max(severity, self.severities.get(key, severity), key=SEVERITY_RANK.__getitem__)
        self.severities[key] = worst

    def name_of(self, filename: str) -> str:
        """An absolute file name as the baseline has it; links of its folder do not count."""
        return os.path.relpath(real(filename), self.folder).replace(os.sep, "/")

    def path_of(self, name: str) -> str:
        """The absolute name of a file of the baseline."""
        return os.path.normpath(os.path.join(self.folder, name))

    def text(self) -> str:
        """The file's text: sorted, a line for each kind of finding."""
        head = [f"# unhush baseline, format {FORMAT}", f"# repository: {self.owner or _UNKNOWN}", _EXPLAINED]
        lines = [
            f"{key.code} {self.severities[key]} {_quoted(key.file)} {_quoted(key.qualname)} {key.own}-{key.around} {count}"
            for key, count in sorted(self.counts.items())
            if count
        ]
        return "\n".join([*head, *lines, ""])


def load(path: str) -> Baseline:
    """Reads a baseline, and makes sure that it is this repository's. Raises BaselineError."""
    baseline = _parse(path, _read(path))
    if baseline.owner and _is_foreign(baseline):
        raise BaselineError(
            f"{path}: was written for another repository (its first commit is {baseline.owner[:12]}): "
            "name this one's, or write it anew with `unhush baseline write --force`"
        )
    return baseline


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8")
    except FileNotFoundError as error:
        raise BaselineError(f"{path}: does not exist: make it with `unhush baseline write`") from error
    except OSError as error:
        raise BaselineError(f"{path}: can't be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise BaselineError(f"{path}: is no baseline: it is not valid UTF-8") from error


def _parse(path: str, text: str) -> Baseline:
    lines = [line.rstrip("\r") for line in text.removeprefix("\ufeff").split("\n")]
    for row, line in enumerate(lines, 1):
        if _CONFLICT.match(line):
            raise BaselineError(f"{path}:{row}: holds a merge conflict: settle it, then run `unhush baseline update`")
    head = _HEAD.match(lines[0])
    if not head:
        raise BaselineError(f"{path}:1: is no baseline: it should begin with '# unhush baseline, format {FORMAT}'")
    if int(head[1]) > FORMAT:
        raise BaselineError(
            f"{path}:1: is of format {head[1]}, made by a newer unhush; this one reads {FORMAT}: update unhush"
        )
    owner = _OWNER.match(lines[1]) if len(lines) > 1 else None
    if not owner or int(head[1]) < 1:
        raise BaselineError(f"{path}:2: should name the repository as '# repository: ID': write the baseline anew")
    baseline = Baseline(path, None if owner[1] == _UNKNOWN else owner[1])
    seen: dict[Key, int] = {}
    for row, line in enumerate(lines[2:], 3):
        if line and not line.startswith("#"):
            key, severity, count = _entry(path, row, line)
            if key in seen:
                raise BaselineError(f"{path}:{row}: repeats line {seen[key]}: keep one of the two")
            seen[key] = row
            baseline.add(key, severity, count)
    return baseline


def _entry(path: str, row: int, line: str) -> tuple[Key, str, int]:
    parts = line.split(" ")
    if len(parts) != 6:
        raise BaselineError(f"{path}:{row}: should hold {_FIELDS}, with one space between: take the line out")
    code, severity, file, qualname, hashes, count = parts
    found = _HASHES.match(hashes)
    for name, said, is_right in (
        ("code", code, _CODE.match(code)),
        ("severity", severity, severity in SEVERITY_RANK),
        ("file", file, file),
        ("function", qualname, qualname),
        ("fingerprint", hashes, found),
        ("count", count, _COUNT.match(count)),
    ):
        if not is_right:
            raise BaselineError(f"{path}:{row}: {said!r} is no {name}: take the line out, or write the baseline anew")
    assert found is not None
    return Key(_unquoted(file), _unquoted(qualname), code, found[1], found[2]), severity, int(count)


def _is_foreign(baseline: Baseline) -> bool:
    """Whether the first commit that the baseline names is none of the repository around it.

    Where there is no repository, or one whose history is cut off, that can't be told: then it is not.
    """
    try:
        repository = Repository(baseline.folder)
    except GitFailure:
        return False
    return not repository.is_shallow and repository.commit(str(baseline.owner)) is None


def owner_of(folder: str) -> str | None:
    """The first commit of the repository around a folder; None where there is none, or it can't be told."""
    try:
        return Repository(folder).first_commit()
    except GitFailure:
        return None


def save(baseline: Baseline) -> bool:
    """Writes the file, whole or not at all; returns whether that changed it. Raises BaselineError."""
    from .codemods.atomic import WriteFailure, write_atomic, write_new

    data = baseline.text().encode()
    try:
        if not os.path.lexists(baseline.path):
            write_new(baseline.path, data)
            return True
        with open(baseline.path, "rb") as file:
            before = file.read()
        if before != data:
            write_atomic(baseline.path, data, before)
        return before != data
    except WriteFailure as error:
        raise BaselineError(f"{baseline.path}: {error}") from error
    except OSError as error:
        raise BaselineError(f"{baseline.path}: can't be written: {(error.strerror or str(error)).lower()}") from error


def _quoted(name: str) -> str:
    """A name without blanks and bytes that don't show, written as in URLs."""
    return "".join(_shown(name))


def _shown(name: str) -> Iterator[str]:
    for char in name:
        if char.isprintable() and char not in " %":
            yield char
        else:
            yield "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))


def _unquoted(name: str) -> str:
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(name).decode("utf-8", "surrogateescape")

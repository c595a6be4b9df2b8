"""Which lines changed since a revision, or are staged, as git says it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .codemods.model import Finding
from .git import Repository, real
from .output import Failure

# Spelt out, so that no setting of the user or of the repository has a say. `--text`: what attributes call binary must
# not slip through. A line that differs by its line ending alone has not changed.
_DIFF = (
    "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--text", "-M", "--ignore-submodules=dirty",
    "--submodule=short", "--src-prefix=a/", "--dst-prefix=b/", "--indent-heuristic", "--diff-algorithm=histogram", "--ignore-cr-at-eol",
)  # fmt: skip
_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_FILE_MODES = ("100644", "100755", "100664")
_SUBMODULE = "160000"


class Hunk(NamedTuple):
    """Rows `first` to `last` are new (none where last < first); rows were taken out before them.

    `indent` is that of the first row taken out that is not blank, -1 where there was none.
    """

    first: int
    last: int
    indent: int

    def touches(self, finding: Finding) -> bool:
        """Whether a finding has one of the new rows, or lost one: from its middle, or from its body's end."""
        if self.first <= finding.end_row and self.last >= finding.row:
            return True
        before = self.first - 1
        if self.indent < 0 or not finding.row <= before <= finding.end_row:
            return False
        return before < finding.end_row or self.indent >= finding.column


@dataclass
class Change:
    """One changed file: its hunks (None: all of it is new)."""

    hunks: list[Hunk] | None = field(default_factory=list)

    def touches(self, finding: Finding) -> bool:
        """Whether a finding stands in changed lines."""
        return self.hunks is None or any(hunk.touches(finding) for hunk in self.hunks)


@dataclass
class Changes:
    """The changed files by their absolute names, links resolved, and the names of those that are there no more.

    `half_staged` are those of them that the working tree has otherwise than the index.
    """

    files: dict[str, Change]
    gone: frozenset[str]
    submodules: int
    half_staged: frozenset[str] = frozenset()

    def of(self, filename: str) -> Change | None:
        """What changed in a file; None where nothing did."""
        return self.files.get(real(filename))


def changes_since(repository: Repository, ref: str) -> Changes:
    """What the working tree has changed since the merge base of HEAD and a revision; untracked files are new.

    Raises Failure where there is no such revision or no merge base.
    """
    base = _merge_base(repository, ref)
    changes = _changes(repository, base)
    untracked = repository.ask("ls-files", "-z", "--others", "--exclude-standard")
    for name in filter(None, untracked.split(b"\0")):
        changes.files[os.path.join(repository.top, os.fsdecode(name))] = Change(None)
    return changes


def staged_changes(repository: Repository) -> Changes:
    """What the index has changed since the last commit. Raises Failure."""
    _demand_commits(repository)
    changes = _changes(repository, "--cached")
    further = repository.ask(*_DIFF, "--name-only", "-z").split(b"\0")
    names = {os.path.join(repository.top, os.fsdecode(name)) for name in further if name}
    changes.half_staged = frozenset(names & changes.files.keys())
    return changes


def _demand_commits(repository: Repository) -> str:
    head = repository.commit("HEAD")
    if head is None:
        raise Failure(
            f"{repository.top}: the repository has no commits yet, so there is nothing to compare with: check all of it"
        )
    return head


def _merge_base(repository: Repository, ref: str) -> str:
    head = _demand_commits(repository)
    commit = repository.commit(ref)
    if commit is None:
        hint = " (the clone is shallow)" if repository.is_shallow else ""
        raise Failure(f"{ref!r} is no revision that git knows here{hint}: check the spelling, or fetch it first")
    found = repository.ask("merge-base", commit, head, fine=(0, 1)).decode().strip()
    if found:
        return found
    if repository.is_shallow:
        raise Failure(
            f"the clone is shallow, and its history ends before HEAD and {ref!r} meet: fetch more of it, "
            "with `git fetch --unshallow`, or with `fetch-depth: 0` where a pipeline checks out"
        )
    raise Failure(f"HEAD and {ref!r} have no commit in common: name a revision of this history")


def _changes(repository: Repository, against: str) -> Changes:
    if unmerged := repository.ask("ls-files", "-z", "--unmerged"):
        name = os.fsdecode(unmerged.split(b"\0")[0].split(b"\t")[1])
        raise Failure(f"{os.path.join(repository.top, name)}: a merge is not settled: resolve its conflicts and add it")
    files, gone, submodules = {}, set(), 0
    raw = repository.ask(*_DIFF, "--raw", "--no-abbrev", "-z", against).split(b"\0")
    fields = iter(raw[:-1])
    for head in fields:
        _, mode, _, _, status = head.decode().split()
        old = os.path.join(repository.top, os.fsdecode(next(fields)))
        new = os.path.join(repository.top, os.fsdecode(next(fields))) if status[0] in "RC" else old
        if status[0] in "RD":
            gone.add(old)
        submodules += mode == _SUBMODULE
        if mode in _FILE_MODES:
            files[new] = Change()
    for name, hunks in _hunks(repository.ask(*_DIFF, "-U0", "--inter-hunk-context=0", against)):
        if change := files.get(os.path.join(repository.top, name)):
            change.hunks = hunks
    return Changes(files, frozenset(gone - files.keys()), submodules)


def _hunks(patch: bytes) -> Iterator[tuple[str, list[Hunk]]]:
    """The files of a patch without context that are still there, each with its hunks."""
    lines = patch.split(b"\n")
    hunks: list[Hunk] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith(b"+++ ") and (name := _name(line[4:])) is not None:
            hunks = []
            yield name, hunks
        elif match := _HUNK.match(line):
            removed, first, added = (int(found) if found else 1 for found in match.groups())
            end = at
            for _ in range(removed + added):
                end += 1 + lines[end].startswith(b"\\")  # "\ No newline at end of file" is no line of either side
            first += not added  # git names the row before the gap then
            hunks.append(Hunk(first, first + added - 1, _indent(lines[at:end])))
            at = end


def _indent(lines: list[bytes]) -> int:
    """The indentation of the first removed row that is not blank; -1 where there is none."""
    for line in lines:
        if line.startswith(b"-") and (text := line[1:].strip()):
            return line[1:].index(text[:1])
    return -1


def _name(quoted: bytes) -> str | None:
    """A name as a patch has it, relative to the repository's root; None for a file that is there no more."""
    if quoted.startswith(b'"'):
        import ast

        quoted = ast.literal_eval("b" + quoted.decode("ascii"))
    else:
        quoted = quoted.removesuffix(b"\t")
    return os.fsdecode(quoted[2:]) if quoted.startswith(b"b/") else None

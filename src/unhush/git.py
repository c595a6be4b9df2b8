"""What the front door asks git, of the repository that a folder lies in, whatever a hook or a setting would change."""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache

from .output import Failure

# A hook or another git command may have set these: they would lead to another repository, or to another diff.
_MISLEADING = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_DIFF_OPTS",
    "GIT_EXTERNAL_DIFF", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
)  # fmt: skip
_PLAIN = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.quotePath=true")


class GitFailure(Failure):
    """Git is not there, or refuses; the text is one line with git's own word."""


class Repository:
    """The repository of a folder: `top` is its working tree's root, links resolved. Raises GitFailure."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._environment = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
        self._environment.update(LC_ALL="C", GIT_NO_LAZY_FETCH="1", GIT_TERMINAL_PROMPT="0")
        said = os.fsdecode(self.ask("rev-parse", "--show-toplevel", "--absolute-git-dir", "--is-shallow-repository"))
        top, self.git_folder, shallow = said.rstrip("\n").rsplit("\n", 2)
        self._folder = self.top = os.path.realpath(top)
        self.is_shallow = shallow == "true"
        if index := self._hooks_index():
            self._environment["GIT_INDEX_FILE"] = index

    def _hooks_index(self) -> str | None:
        """The index that a hook of this repository is to look at: `git commit FILE` makes one of its own."""
        index, folder = os.environ.get("GIT_INDEX_FILE"), os.environ.get("GIT_DIR")
        if not index:
            return None
        here = os.path.realpath(os.getcwd())
        same = os.path.realpath(folder) == os.path.realpath(self.git_folder) if folder else _is_below(here, self.top)
        return os.path.join(self.top, index) if same else None

    def refuse_others(self, path: str) -> None:
        """Raises GitFailure for a path (its links resolved) of another repository, as that of a submodule."""
        folder = path
        while folder != self.top:
            above = os.path.dirname(folder)
            if above == folder or os.path.exists(os.path.join(folder, ".git")):
                raise GitFailure(f"{path}: lies outside of the repository {self.top}: check it in a run of its own")
            folder = above

    def ask(self, *args: str, data: bytes = b"", fine: tuple[int, ...] = (0,)) -> bytes:
        """What a git command prints. Raises GitFailure with the first line of its complaint; `fine` exit codes do not."""
        try:
            done = subprocess.run(
                ["git", "-C", self._folder, *_PLAIN, *args],
                env=self._environment,
                input=data,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise GitFailure("git is not installed") from error
        if done.returncode not in fine:
            first, *further = done.stderr.decode("utf-8", "replace").strip().split("\n")
            reason = first.removeprefix("fatal: ") or f"git {args[0]} ended with exit code {done.returncode}"
            advice = next((f": run `{line.strip()}`" for line in further if line.startswith("\tgit ")), "")
            raise GitFailure(f"{self._folder}: {reason}{advice}")
        return done.stdout

    def commit(self, name: str) -> str | None:
        """The full id of the commit that a revision names; None where git knows none here."""
        try:
            return (
                self.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").decode().strip()
            )
        except GitFailure:
            return None

    def first_commit(self) -> str | None:
        """The id of the oldest commit that has no parent; None without commits, or where the history is cut off."""
        if self.is_shallow or self.commit("HEAD") is None:
            return None
        return self.ask("rev-list", "--max-parents=0", "HEAD").decode().split()[-1]


def real(filename: str) -> str:
    """A file's name with the links of its folder resolved, as git has it."""
    folder, name = os.path.split(filename)
    return os.path.join(_real_folder(folder), name)


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _is_below(folder: str, top: str) -> bool:
    return folder == top or folder.startswith(top.rstrip(os.sep) + os.sep)

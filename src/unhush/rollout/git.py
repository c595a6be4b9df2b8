"""What git says about the project: commits, who wrote them, and whether the working tree is as committed."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from ..output import Failure
from .errors import RolloutProblem

# Files that the roll-out makes itself: they come after the commit that they speak of, and each is checked by its hash
# or made anew from what is. Code is not among them, whatever folder it lies in.
GENERATED = (
    "rollout/evidence/**",
    "rollout/approvals/**",
    "rollout/*.json",
    "rollout/*.jsonl",
    "rollout/*.md",
    "rollout/allowed_signers",
    "rollout/revoked_keys",
    "migration/*.md",
    "migration/*.json",
    "verification/*.md",
    "verification/load_latency.svg",
    "verification/health_check_script.sh",
    "canary/ci/canary_rollout.sh",
    "backout_command.txt",
    "runbooks/*.md",
    "runbooks/unhush.rules.yml",
)
_OTHERS = ("--", ".", *(f":(exclude,glob){pattern}" for pattern in GENERATED))
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")
_CO_AUTHOR = re.compile(r"^co-authored-by:\s*(.*)$", re.IGNORECASE | re.MULTILINE)
# What a setting of the repository could hide: a watcher of files, a change that keeps a file's size and time.
_SEEING = [
    word
    for setting in (
        "core.fsmonitor=false",
        "core.trustctime=true",
        "core.checkStat=default",
        "core.ignoreStat=false",
        "core.fileMode=true",
        "log.showSignature=false",
    )
    for word in ("-c", setting)
]


def git(root: Path, *args: str, check: bool = True, index: Path | None = None, stdin: bytes = b"") -> bytes:
    """The output of one git command; `index` stands in for the repository's.

    Raises RolloutProblem with git's own first line, Failure where git is not there.
    """
    # A hook or another git command may have set these: they would lead to another repository.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    own = {"GIT_INDEX_FILE": str(index)} if index else {}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *_SEEING, *args],
            cwd=root,
            env={**clean, **own, "LC_ALL": "C", "GIT_NO_REPLACE_OBJECTS": "1"},
            capture_output=True,
            input=stdin,
            check=False,
        )
    except FileNotFoundError as error:
        raise Failure("git is not installed: the roll-out binds its evidence to commits") from error
    if check and done.returncode:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise RolloutProblem(f"git {args[0]}: {said.removeprefix('fatal: ') or f'exit code {done.returncode}'}")
    return done.stdout


def run(root: Path, *args: str) -> str:
    """The output of one git command as text, names of files as the system has them. Raises as `git`."""
    return os.fsdecode(git(root, *args))


def head(root: Path) -> str:
    """The commit of HEAD. Raises RolloutProblem outside of a repository and before its first commit."""
    return resolve(root, "HEAD")


def resolve(root: Path, ref: str) -> str:
    """The full id of the commit that a revision names. Raises RolloutProblem."""
    if ref.startswith("-"):
        raise RolloutProblem(f"{ref!r} is no revision")
    try:
        found = git(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").decode().strip()
    except RolloutProblem:
        found = ""
    if not _COMMIT.match(found):
        raise RolloutProblem(_unknown(root, ref))
    return found


def _unknown(root: Path, ref: str) -> str:
    """Why git has no commit of that name, and what to do."""
    try:
        git(root, "rev-parse", "--git-dir")
    except RolloutProblem as problem:
        if "not a git repository" not in problem.message:  # such as one of another owner
            return problem.message
        return f"{root} is in no git repository, and evidence belongs to a commit: run `git init` there, then commit"
    if not git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False):
        return f"git knows no commit {ref!r} here, for the repository in {root} has none yet: commit first"
    return f"git knows no commit {ref!r} here: `git log` shows those that it has, `git fetch --tags` brings others"


def dirty(root: Path) -> list[str]:
    """The files below the root that are not as HEAD has them, without those that the roll-out makes. Sorted."""
    said = git(root, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", *_OTHERS)
    prefix = os.fsdecode(git(root, "rev-parse", "--show-prefix").removesuffix(b"\n"))  # status names from the top
    found = {os.fsdecode(entry[3:]).removeprefix(prefix) for entry in said.split(b"\0") if entry}
    return sorted(found | hidden(root))


def hidden(root: Path) -> set[str]:
    """Files that git was told not to look at (`assume-unchanged`, `skip-worktree`): a change of theirs is not seen."""
    said = git(root, "ls-files", "-v", "-z", *_OTHERS).split(b"\0")
    return {os.fsdecode(entry[2:]) for entry in said if entry[:1].islower() or entry[:1] == b"S"}


def changed(root: Path, before: str, after: str) -> list[str]:
    """The files below the root that differ between two commits, without those that the roll-out makes. Sorted."""
    said = git(
        root, "diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--relative", before, after, *_OTHERS
    )
    return sorted(os.fsdecode(name) for name in said.split(b"\0") if name)


def same_source(root: Path, one: str | None, other: str) -> bool:
    """Whether two commits hold the same project, but for files that the roll-out makes. Raises RolloutProblem."""
    return one == other or (one is not None and not changed(root, resolve(root, one), resolve(root, other)))


def people(root: Path, base: str, commit: str) -> frozenset[str]:
    """Who wrote the commits after `base` up to `commit`: authors, committers and co-authors.

    Each as mail address and as name, in lower case, as written and as `.mailmap` has it. Raises RolloutProblem.
    """
    form = "%an%x1f%ae%x1f%aN%x1f%aE%x1f%cn%x1f%ce%x1f%cN%x1f%cE%x1f%B%x1e"
    said = git(root, "log", f"--format={form}", f"{resolve(root, base)}..{resolve(root, commit)}")
    found: set[str] = set()
    for record in said.decode("utf-8", "replace").split("\x1e"):
        *named, body = record.strip("\n").split("\x1f")
        for line in _CO_AUTHOR.findall(body):
            name, _, address = line.partition("<")
            named += [name, address.partition(">")[0], line]
        found.update(part.strip().lower() for part in named)
    return frozenset(found - {""})


def files(root: Path, *patterns: str) -> list[str]:
    """The tracked files below the root that match, relative to it. Sorted. Raises RolloutProblem."""
    said = git(root, "ls-files", "-z", "--", *(f":(glob){pattern}" for pattern in patterns))
    return sorted(os.fsdecode(name) for name in said.split(b"\0") if name)


def is_ancestor(root: Path, one: str, other: str) -> bool:
    """Whether a commit is among those that led to another. Raises RolloutProblem where git does not know one."""
    old, new = resolve(root, one), resolve(root, other)
    return old in (new, git(root, "merge-base", old, new, check=False).decode().strip())


def ignored(root: Path, *names: str) -> list[str]:
    """Which of these files below the root git ignores, there or not. What it tracks, it does not ignore."""
    asked = b"\0".join(map(os.fsencode, names))
    said = git(
        root, "check-ignore", "-z", "--stdin", check=False, stdin=asked
    )  # its exit code is 1 where there is none
    return [os.fsdecode(name) for name in said.split(b"\0") if name]


def export(root: Path, ref: str, folder: Path) -> None:
    """Writes the project as a revision holds it into a folder, without what the roll-out makes. Raises RolloutProblem.

    Not by `git archive`, from which `.gitattributes` could keep files away.
    """
    top = Path(os.fsdecode(git(root, "rev-parse", "--show-toplevel").removesuffix(b"\n")))
    prefix = run(root, "rev-parse", "--show-prefix").removesuffix("\n")
    with tempfile.TemporaryDirectory(prefix="unhush-index-") as place:
        index = Path(place, "index")
        git(top, "read-tree", f"{resolve(root, ref)}:{prefix}", index=index)
        patterns = [f":(top,glob){pattern}" for pattern in GENERATED]
        git(top, "rm", "-r", "--cached", "--force", "--quiet", "--ignore-unmatch", "--", *patterns, index=index)
        git(top, "checkout-index", "--all", "--force", f"--prefix={folder}{os.sep}", index=index)


def mail(root: Path) -> str:
    """Who works here, as git's settings say (`user.email`); else the name of the system's user, also without git."""
    try:
        said = git(root, "config", "user.email", check=False).decode("utf-8", "replace").strip()
    except Failure:  # a way back must not wait for git to be installed
        said = ""
    return said or os.environ.get("USER") or f"uid {os.getuid()}"


def root_of(folder: Path) -> Path:
    """The project's root for a working directory: the nearest folder upward with a pyproject.toml or a `.git`."""
    from ..config import project_root

    return Path(project_root(str(folder.resolve())))

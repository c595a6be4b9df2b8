"""`unhush init`: baseline, settings and hook, written into a repository that has none of them."""

from __future__ import annotations

import json
import os
import re
from typing import NamedTuple

import click

from ..baseline import DEFAULT, load
from ..config import Nearest
from ..configfile import NAMES, PYPROJECT, upward
from ..git import GitFailure, Repository
from ..insertion import Refusal, has_hook, hooks_of, with_hook, with_setting
from ..options import jobs_option, quiet_option, version_option
from ..output import Failure, Output
from ..version import __version__
from .baseline import fresh, known

HOOKS, OWN = ".pre-commit-config.yaml", "unhush.toml"
_PLAIN = re.compile(r"[\w./:@+~-]*[\w/]\Z", re.A)


class Step(NamedTuple):
    """What becomes of one file: its text before (None: it is not there) and after (None: as it is), and that in words."""

    path: str
    before: bytes | None
    after: bytes | None
    words: str


@click.command("init")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--hook-repo", metavar="URL", help="The git repository of unhush for pre-commit (default: it installs the package)."
)
@jobs_option
@quiet_option
@version_option
def command(dry_run: bool, hook_repo: str | None, jobs: int | None, quiet: bool) -> None:
    """Sets unhush up in the repository around the working directory: baseline, settings, pre-commit hook.

    What is there already is left as it is, so that a second run changes nothing. Exits with 2, and writes nothing, where
    a file is broken or can't be added to safely.
    """
    output = Output(quiet)
    if hook_repo and _has_password(hook_repo):
        raise click.UsageError("--hook-repo holds a password, which would be committed: leave it out")
    top = _top()
    folder = top or os.getcwd()
    nearest = Nearest((folder,))
    baseline = nearest.base.baseline or os.path.join(folder, DEFAULT)
    settings, hook = _settings(folder, nearest), _hook(folder, hook_repo, top is not None)  # may refuse, at no cost
    steps = [_baseline(baseline, folder, nearest, jobs, output), settings, hook]
    for step in steps:
        _refuse_unwritable(step)
    for step in steps:
        if step.after is not None and not dry_run:
            _write(step)
        would = "would be " if dry_run and step.after is not None else ""
        output.write([f"{os.path.relpath(step.path)}: {would}{step.words}\n"])
    output.remark(_next(steps, dry_run, top is not None))


def _has_password(url: str) -> bool:
    from urllib.parse import urlsplit

    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return "@" in url  # no URL that can be told: on the safe side


def _top() -> str | None:
    """The root of the git repository around the working directory, None where there is none.

    Raises GitFailure where there is one that git refuses, as that of another user.
    """
    try:
        return Repository(os.getcwd()).top
    except GitFailure as error:
        is_there = any(os.path.lexists(os.path.join(folder, ".git")) for folder in upward(os.getcwd()))
        if is_there and "not a git repository" not in str(error):
            raise
        return None


def _baseline(path: str, folder: str, nearest: Nearest, jobs: int | None, output: Output) -> Step:
    if os.path.lexists(path):
        return Step(path, None, None, f"left as it is, with {known(load(path))}")
    made = fresh(path, (folder,), nearest, jobs, output)
    return Step(path, None, made.text().encode(), f"written, with {known(made)}")


def _settings(folder: str, nearest: Nearest) -> Step:
    """The settings that name the baseline: of the file that holds already, else of a pyproject.toml, else a new one."""
    file = nearest.layers[0].file if nearest.layers else None
    if file and os.path.dirname(file) != folder:
        raise Failure(
            f"{file}: its settings hold here too: make a settings file in {folder} that extends it, then try again"
        )
    if file and nearest.base.baseline:
        return Step(file, None, None, "left as it is, for it names the baseline")
    file = file or os.path.join(folder, PYPROJECT)
    own = os.path.basename(file) in NAMES[:2]
    text = _read(file)
    if text is None:
        line = with_setting("", "baseline", DEFAULT, own=True)
        return Step(os.path.join(folder, OWN), None, line.encode(), "written, with the baseline's name")
    try:
        after = with_setting(text, "baseline", DEFAULT, own)
    except Refusal as error:
        raise Failure(f"{file}: {error}") from error
    return Step(file, text.encode(), after.encode(), "added to: the baseline's name")


def _hook(folder: str, url: str | None, in_git: bool) -> Step:
    file = os.path.join(folder, HOOKS)
    if not in_git:
        return Step(file, None, None, "left out, for this is no git repository")
    entry, meaning = _entry(url)
    text = _read(file)
    if text is None:
        lines = "".join(f"  {line}" for line in entry.splitlines(keepends=True))
        return Step(file, None, f"repos:\n{lines}".encode(), "written, with the hook unhush")
    try:
        if has_hook(hooks_of(text), "unhush"):
            return Step(file, None, None, "left as it is, for it has the hook unhush")
        after = with_hook(text, entry, meaning)
    except Refusal as error:
        raise Failure(f"{file}: {error}") from error
    return Step(file, text.encode(), after.encode(), "added to: the hook unhush")


def _entry(url: str | None) -> tuple[str, dict[str, object]]:
    """The item of pre-commit's list of repositories, as text and as what that means."""
    if url:
        named = url if _PLAIN.match(url) else json.dumps(url, ensure_ascii=False)
        text = f"- repo: {named}\n  rev: v{__version__}\n  hooks:\n    - id: unhush\n"
        return text, {"repo": url, "rev": f"v{__version__}", "hooks": [{"id": "unhush"}]}
    hook: dict[str, object] = {
        "id": "unhush",
        "name": "unhush check",
        "entry": "unhush check --force-exclude --jobs 1",
        "language": "python",
        "additional_dependencies": [f"unhush=={__version__}"],
        "types_or": ["python", "pyi"],
        "require_serial": True,
    }
    lines = [f"{key}: {_yaml(value)}\n" for key, value in hook.items()]
    return "- repo: local\n  hooks:\n    - " + "      ".join(lines), {"repo": "local", "hooks": [hook]}


def _yaml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return "true" if value is True else str(value)


def _read(file: str) -> str | None:
    """The text of a file, None where there is none. Raises Failure."""
    if not os.path.lexists(file):
        return None
    try:
        with open(file, "rb") as stream:
            return stream.read().decode("utf-8")
    except OSError as error:
        raise Failure(f"{file}: can't be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise Failure(f"{file}: is not valid UTF-8: mend it first") from error


def _refuse_unwritable(step: Step) -> None:
    """Raises Failure where a step could not be taken, before any is."""
    place = os.path.dirname(step.path) if step.before is None else os.path.realpath(step.path)
    if step.after is not None and not os.access(place, os.W_OK):
        raise Failure(f"{step.path}: can't be written: make {place} writable first")


def _write(step: Step) -> None:
    from ..codemods.atomic import WriteFailure, write_atomic, write_new

    assert step.after is not None
    try:
        if step.before is None:
            write_new(step.path, step.after)
        else:
            write_atomic(step.path, step.after, step.before)
    except WriteFailure as error:
        raise Failure(f"{step.path}: {error}") from error


def _next(steps: list[Step], dry_run: bool, in_git: bool) -> str:
    if all(step.after is None for step in steps):
        return "Nothing to do."
    if dry_run:
        return "Nothing is written, for this was a dry run."
    install = "run `pre-commit install`, " if in_git else ""
    return f"Next: {install}commit these files; `unhush check` now tells of new findings alone."

"""`unhush baseline`: known findings, tolerated by the gate, whose number only goes down."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import click

from ..baseline import DEFAULT, Baseline, BaselineError, load, owner_of, save
from ..baseline_match import Found, found_in
from ..codemods.model import FileError, FileReport
from ..codemods.perfile import settings_for
from ..codemods.pool import check_paths
from ..config import Nearest
from ..files import complain, find_files
from ..gate import Asked, Gate
from ..options import paths_argument, quiet_option, settings_from, shared_options, version_option
from ..output import Failure, Output
from ..reports import baseline as words

_file_option = click.option(
    "--baseline", "file", metavar="FILE", help=f"The baseline (default: that of the settings, else {DEFAULT})."
)


@click.group("baseline")
def command() -> None:
    """Keeps the findings that are already there, so that `unhush check --baseline` fails for new ones alone."""


@command.command()
@paths_argument
@_file_option
@click.option("--force", is_flag=True, help="Write over a baseline that is there, whatever it holds.")
@shared_options
def write(paths: tuple[str, ...], file: str | None, force: bool, **shared: Any) -> None:
    """Writes the findings of files and folders (default: the working directory) into a new baseline.

    Exits with 2, and writes nothing, where a file can't be checked or the baseline is there already.
    """
    output, nearest = Output(shared["quiet"]), settings_from(paths, shared)
    path = _path(file, nearest)
    if os.path.lexists(path) and not force:
        raise BaselineError(f"{path}: is there already: shrink it with `unhush baseline update`, or give --force")
    baseline = fresh(path, paths, nearest, shared["jobs"], output, is_named=bool(file))
    save(baseline)
    output.remark(f"{os.path.relpath(path)}: {known(baseline)} written.{_hint(nearest, path)}")


@command.command()
@paths_argument
@_file_option
@click.option("--allow-growth", is_flag=True, help="Add new findings too.")
@shared_options
def update(paths: tuple[str, ...], file: str | None, allow_growth: bool, **shared: Any) -> None:
    """Takes what is gone out of the baseline, and notes where the rest has moved to; new findings stay new.

    With PATHS only what lies there is looked at, and the rest of the baseline is kept. Exits with 2, and writes
    nothing, where a file can't be checked or the baseline can't be used.
    """
    output, nearest = Output(shared["quiet"]), settings_from(paths, shared)
    path = _path(file, nearest)
    gate = Gate(Asked(path), paths, nearest)
    reports = _checked(paths, nearest, shared["jobs"], output, path, is_named=bool(file))
    for _ in gate.judged(reports, shared["jobs"]):
        pass
    [(before, matched)] = gate.compared
    after = Baseline(path, before.owner or owner_of(before.folder))
    for key, count in matched.unseen.items():
        if count:
            after.add(key, before.severities[key], count)
    new = [item for item in matched.new if item.shown]
    for item in [found for _, found in matched.known] + (new if allow_growth else []):
        after.add(item.key, item.finding.severity)
    is_written = save(after)
    output.remark(_updated(after, before, new, allow_growth, is_written))


@command.command()
@_file_option
@click.option("--json", "as_json", is_flag=True, help="As JSON, with every file.")
@quiet_option
@version_option
def show(file: str | None, as_json: bool, quiet: bool) -> None:
    """Shows how many findings the baseline holds, by rule and by file, the worst first."""
    baseline = load(_path(file, Nearest(())))
    if as_json:
        text = words.show_json(baseline.counts, baseline.severities)
    else:
        text = words.show(os.path.relpath(baseline.path), baseline.counts, baseline.severities)
    Output(quiet).write([text])


def fresh(
    path: str, paths: tuple[str, ...], nearest: Nearest, jobs: int | None, output: Output, is_named: bool = False
) -> Baseline:
    """A baseline, not yet written, of what is found now. Raises Failure where some file can't be checked.

    Without files that go by another one, unless it is named for all.
    """
    baseline = Baseline(path, owner_of(os.path.dirname(path)))
    reports = _checked(paths, nearest, jobs, output, path, is_named)
    for item in found_in(reports, baseline, nearest.base, jobs):
        if item.shown:
            baseline.add(item.key, item.finding.severity)
    return baseline


def known(baseline: Baseline) -> str:
    """How many findings a baseline knows, in words."""
    total = baseline.counts.total()
    return f"{total:,} known finding{'s' * (total != 1)}"


def _path(file: str | None, nearest: Nearest) -> str:
    """The baseline's absolute name: that given, that of the settings, or the default one in the project's root."""
    if file:
        return os.path.abspath(file)
    return nearest.base.baseline or os.path.join(os.path.abspath(nearest.base.root), DEFAULT)


def _checked(
    paths: tuple[str, ...], nearest: Nearest, jobs: int | None, output: Output, path: str, is_named: bool
) -> list[FileReport]:
    """The reports of the files that go by a baseline. Raises Failure, after a line for each, where some can't be checked."""
    errors: list[FileError] = []
    files: Iterable[str] = find_files(paths, nearest.base, output, errors, nearest)
    if not is_named:
        files = (file for file in files if settings_for(file, nearest.base).baseline in (None, path))
    reports = list(output.progress(check_paths(files, nearest.base, jobs, warn=output.error), "checked"))
    for error in (error for report in reports for error in report.errors):
        complain(error, output)
        errors.append(error)
    if errors:
        raise Failure(f"{path}: left as it is, for what is named above can't be checked: mend it or exclude it")
    return reports


def _hint(nearest: Nearest, path: str) -> str:
    if nearest.base.baseline == path:
        return ""
    return f' Put baseline = "{os.path.basename(path)}" into the settings, or name it to `unhush check --baseline`.'


def _updated(after: Baseline, before: Baseline, new: list[Found], grown: bool, is_written: bool) -> str:
    text = f"{os.path.relpath(after.path)}: {known(after)}, {before.counts.total():,} before"
    if new:
        text += f"; {len(new):,} new {'added' if grown else 'not added (--allow-growth adds them)'}"
    return f"{text}{'' if is_written else '; nothing to write'}."

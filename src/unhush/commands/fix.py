"""`unhush fix`: rewrites swallowed exceptions to structured logging."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import click

from ..codemods.fixer import fix_file
from ..codemods.fixreport import Changed, Failed, FixReport
from ..codemods.model import SEVERITY_RANK, FileError
from ..codemods.perfile import settings_for
from ..codemods.pool import map_files
from ..codemods.settings import Settings
from ..files import STDIN, complain, find_files
from ..keys import BACKENDS, LEVELS
from ..options import paths_argument, settings_from, shared_options
from ..output import Output
from ..record import RecordFile
from ..reports import fixtext
from ..reports.diff import unified
from ..reports.paths import relative


@click.command("fix")
@paths_argument
@shared_options
@click.option("--diff", "as_diff", is_flag=True, help="Print what would change as a unified diff, and write nothing.")
@click.option("--unsafe-fixes", is_flag=True, help="Also make changes that could do more than emit a log line.")
@click.option("--backend", type=click.Choice(BACKENDS), help="What inserted log calls use (default: auto).")
@click.option("--level-broad", type=click.Choice(LEVELS), help="The level in bare and broad handlers (warning).")
@click.option("--level-narrow", type=click.Choice(LEVELS), help="The level in handlers of named types (debug).")
@click.option("--report", "report_file", type=click.Path(dir_okay=False), metavar="FILE", help="Write a JSON report.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    as_diff: bool,
    report_file: str | None,
    **options: Any,
) -> None:
    """Rewrites swallowed exceptions in files and folders (default: the working directory) to log calls.

    A file is written only once it is proved that nothing but logging was inserted. Exits with 0 where nothing is left
    to report, 1 where findings remain (with --diff also where something would change), 2 where a file can't be read,
    proved or written, or the command line is wrong.
    """
    if STDIN in paths:
        raise click.UsageError("fix rewrites files; '-' (stdin) has none")
    output = Output(options["quiet"])
    names = ("backend", "level_broad", "level_narrow")
    nearest = settings_from(
        paths, options, **{name: options[name] for name in names}, unsafe_fixes=options["unsafe_fixes"] or None
    )
    settings, errors = nearest.base, list[FileError]()
    tally = fixtext.FixTally()
    with ExitStack() as stack:
        record = stack.enter_context(RecordFile(report_file, settings.root)) if report_file else None
        files = find_files(paths, settings, output, errors, nearest)
        fix = partial(fix_file, settings=settings, write=not as_diff)
        failing = Failing(settings)
        done = map_files(fix, files, options["jobs"], lost=_lost, warn=output.error)
        outcomes = output.progress((outcome for _, outcome in done), "went through")
        reports = _watch(failing.watch(outcomes), output, errors, tally, record)
        if as_diff:
            _print_diffs(reports, output)
        else:
            output.write(fixtext.render(reports, os.getcwd()))
        if record:
            record.finish(errors)
    output.remark(fixtext.summary(tally, wrote=not as_diff))
    ctx.exit(2 if errors else 1 if failing.count or (as_diff and tally.changed) else 0)


class Failing:
    """Counts the findings left that make the exit code 1, each by its own file's settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self.count = settings, 0

    def watch(self, reports: Iterable[FixReport]) -> Iterator[FixReport]:
        """Passes the outcomes on."""
        for report in reports:
            least = SEVERITY_RANK[settings_for(report.filename, self._settings).fails_from]
            self.count += sum(SEVERITY_RANK[finding.severity] >= least for finding in report.remaining)
            yield report


def _watch(
    reports: Iterable[FixReport],
    output: Output,
    errors: list[FileError],
    tally: fixtext.FixTally,
    record: RecordFile | None,
) -> Iterator[FixReport]:
    """Passes the outcomes on; counts them, records them, and reports what failed."""
    for report in reports:
        tally.add(report)
        if record:
            record.add(report)
        if isinstance(report, Failed):
            for error in report.errors:
                complain(error, output)
                errors.append(error)
        yield report


def _lost(filename: str, reason: str) -> FixReport:
    return Failed(filename, (FileError(filename, reason),))


def _print_diffs(reports: Iterable[FixReport], output: Output) -> None:
    base = os.getcwd()
    for report in reports:
        if isinstance(report, Changed):
            output.write_bytes(unified(report.old, report.new, relative(report.filename, base)))

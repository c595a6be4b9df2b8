"""`unhush check`: shows swallowed exceptions."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from ..codemods.model import SEVERITY_RANK, FileError, FileReport
from ..codemods.perfile import Placed
from ..codemods.source import Source
from ..config import Nearest
from ..files import STDIN, complain, find_files, read_source
from ..options import cache_dir_option, paths_argument, settings_from, shared_options
from ..output import Output
from ..reports import tally as tallies
from .findings_out import FORMATS, LINKED, SORTED_BY_NAME, render

if TYPE_CHECKING:
    from ..gate import Gate


class Run:
    """One call of the command: what it goes by, and what it has seen so far."""

    def __init__(self, nearest: Nearest, output: Output, jobs: int | None) -> None:
        self.nearest, self.settings, self.output, self.jobs = nearest, nearest.base, output, jobs
        self.failing = 0  # findings that make the exit code 1
        self.read: Callable[[str], Source] = read_source
        self.gate: Gate | None = None
        self.tally = tallies.Tally()
        self.errors: list[FileError] = []

    def watch(self, reports: Iterable[FileReport]) -> Iterator[FileReport]:
        """Passes on what is to be shown, counts all, and reports file errors."""
        from ..codemods.engine import visible
        from ..codemods.perfile import settings_for

        for report in reports:
            self.tally.files += 1
            for error in report.errors:
                complain(error, self.output)
                self.errors.append(error)
            if report.findings:
                shown = visible(report, self.settings)
                self.tally.add(report.findings, shown)
                least = SEVERITY_RANK[settings_for(report.filename, self.settings).fails_from]
                self.failing += sum(SEVERITY_RANK[finding.severity] >= least for finding in shown)
                yield FileReport(report.filename, shown)

    def exit_code(self) -> int:
        """0 clean, 1 findings that fail the run, 2 errors."""
        if self.errors:
            return 2
        return 1 if self.failing or (self.gate and self.gate.fails) else 0


@click.command("check")
@paths_argument
@shared_options
@click.option("--output-format", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--link-base", metavar="URL", help="The URL that file names are added to in links (markdown, html).")
@click.option("--age", is_flag=True, help="Ask git how old each finding is (html); this takes time.")
@click.option("--statistics", is_flag=True, help="Show counts by rule and severity instead of findings (text, json).")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 where there are findings; errors still exit with 2.")
@click.option("--stdin-filename", metavar="FILE", help="The name of what is read from stdin (path `-`).")
@click.option("--baseline", metavar="FILE", help="Tolerate the findings that this baseline knows.")
@click.option("--no-baseline", is_flag=True, help="Heed no baseline, though the settings name one.")
@click.option("--strict-baseline", is_flag=True, help="Fail too where the baseline holds findings that are gone.")
@click.option("--diff-from", metavar="REF", help="Only findings in lines changed since the merge base with REF.")
@click.option("--staged", is_flag=True, help="Only findings in lines that are staged.")
@click.option("--add-ignores", is_flag=True, help="Write a suppression for each finding instead of showing it.")
@click.option("--reason", metavar="TEXT", help="What these suppressions give as the reason (with --add-ignores).")
@click.option("--no-cache", is_flag=True, help="Neither use nor write the cache.")
@cache_dir_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    output_format: str,
    link_base: str | None,
    age: bool,
    statistics: bool,
    exit_zero: bool,
    stdin_filename: str | None,
    **shared: Any,
) -> None:
    """Shows the swallowed exceptions in files and folders (default: the working directory).

    PATHS may be `-` for source on stdin. Exits with 0 where nothing is found, 1 where something is, 2 where a file
    can't be read or the command line is wrong.
    """
    if statistics and output_format not in ("text", "json"):
        raise click.UsageError(f"--statistics has no {output_format} format, only text and json")
    if link_base is not None and output_format not in LINKED:
        raise click.UsageError(f"--link-base goes with --output-format {' and '.join(LINKED)}, not {output_format}")
    if age and output_format != "html":
        raise click.UsageError(f"--age goes with --output-format html, not {output_format}")
    if STDIN in paths and len(paths) > 1:
        raise click.UsageError("'-' (stdin) can't be combined with other paths")
    if stdin_filename and STDIN not in paths:
        raise click.UsageError("--stdin-filename needs the path '-'")
    _refuse_mix(paths, shared)
    if shared["add_ignores"] or shared["reason"] is not None:
        from . import ignoring

        ignoring.refuse(paths, shared, statistics)
    output = Output(shared["quiet"])
    if STDIN in paths:
        name = os.path.abspath(stdin_filename or "<stdin>")
        run = Run(settings_from([name], shared), output, shared["jobs"])
        reports = _stdin_reports(run, name)
    else:
        run = Run(settings_from(paths, shared), output, shared["jobs"])
        run.gate = _gate(run, paths, shared)
        reports = _file_reports(run, paths, shared, output_format)
    if shared["add_ignores"]:
        ctx.exit(ignoring.write(run, run.watch(reports), shared["reason"]))
    if statistics:
        for _ in run.watch(reports):
            pass
        output.write([_statistics(run.tally, output_format)])
    else:
        output.write(render(run, run.watch(reports), output_format, link_base, age))
    output.remark(tallies.summary(run.tally, "new" if run.gate and run.gate.compared else ""))
    if run.gate:
        run.gate.tell(output)
    code = run.exit_code()
    ctx.exit(0 if exit_zero and code == 1 else code)


def _file_reports(run: Run, paths: tuple[str, ...], shared: dict[str, Any], output_format: str) -> Iterable[FileReport]:
    from ..caching import Checker

    checker = Checker(paths, run.nearest, run.output, shared)
    files: Iterable[str] = find_files(paths, run.settings, run.output, run.errors, run.nearest)
    if output_format in SORTED_BY_NAME:
        files = sorted(files)
        if not run.gate and any(map(partial(_names_baseline, shared), files)):
            run.gate = _gate_by_settings(run, paths)
    if not run.gate:
        return _gated_on_the_way(run, run.output.progress(checker.check(files), "checked"), paths, shared)
    reports = run.gate.check(files, checker)
    return run.gate.judged(run.output.progress(reports, "checked"), run.jobs)


def _gated_on_the_way(
    run: Run, reports: Iterable[FileReport], paths: tuple[str, ...], given: dict[str, Any]
) -> Iterator[FileReport]:
    """The reports; a gate judges from the first file on whose own settings name a baseline."""
    rest = iter(reports)
    for report in rest:
        if _names_baseline(given, report.filename):
            run.gate = _gate_by_settings(run, paths)
            yield from run.gate.judged(chain([report], rest), run.jobs)
            return
        yield report


def _names_baseline(given: dict[str, Any], file: str) -> bool:
    """Whether a file's own settings name a baseline that counts."""
    return isinstance(file, Placed) and file.settings.baseline is not None and not given["no_baseline"]


def _gate_by_settings(run: Run, paths: tuple[str, ...]) -> Gate:
    from ..gate import Asked, Gate

    return Gate(Asked(by_settings=True), paths, run.nearest)


def _refuse_mix(paths: tuple[str, ...], given: dict[str, Any]) -> None:
    """Raises UsageError for options of the gate that do not go together."""
    names = [name for name in ("baseline", "diff_from") if given[name] is not None]
    names += [name for name in ("strict_baseline", "staged") if given[name]]
    if STDIN in paths and names:
        raise click.UsageError(f"--{names[0].replace('_', '-')} can't be combined with '-' (stdin)")
    if given["staged"] and given["diff_from"] is not None:
        raise click.UsageError("--staged can't be combined with --diff-from: name one of them")
    if given["no_baseline"] and {"baseline", "strict_baseline"} & set(names):
        raise click.UsageError("--no-baseline can't be combined with other options for a baseline")


def _gate(run: Run, paths: tuple[str, ...], given: dict[str, Any]) -> Gate | None:
    """What narrows the findings that count, imported only where that is asked for."""
    named = os.path.abspath(given["baseline"]) if given["baseline"] is not None else None
    baseline = None if given["no_baseline"] else named or run.settings.baseline
    if given["strict_baseline"] and baseline is None:
        raise click.UsageError("--strict-baseline needs a baseline: give --baseline, or name it in the settings")
    if baseline is None and given["diff_from"] is None and not given["staged"]:
        return None
    from ..gate import Asked, Gate

    asked = Asked(named, not given["no_baseline"], given["strict_baseline"], given["diff_from"], given["staged"])
    return Gate(asked, paths, run.nearest)


def _stdin_reports(run: Run, name: str) -> Iterable[FileReport]:
    from ..codemods.engine import check_bytes

    data = sys.stdin.buffer.read()
    run.read = lambda filename: Source(data, filename)
    return [check_bytes(data, name, run.settings)]


def _statistics(tally: tallies.Tally, output_format: str) -> str:
    return tallies.statistics_json(tally) if output_format == "json" else tallies.statistics(tally)

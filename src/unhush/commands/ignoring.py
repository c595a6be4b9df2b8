"""What `unhush check --add-ignores` does: suppressions are written for the findings that would be shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from ..codemods.commenting import add_ignores
from ..codemods.hushes import is_about_comments
from ..codemods.model import FileReport
from ..codemods.perfile import settings_for
from ..files import STDIN, complain
from ..reports.paths import relative
from ..reports.text import headline

if TYPE_CHECKING:
    from .check import Run

_NO_REASON = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|(?:^|\s)#(?!\d)")


def refuse(paths: Iterable[str], given: Mapping[str, Any], statistics: bool) -> None:
    """Raises UsageError for options that do not go together, and for a reason that no comment can hold."""
    reason = given["reason"]
    if reason is not None and not given["add_ignores"]:
        raise click.UsageError("--reason needs --add-ignores")
    if not given["add_ignores"]:
        return
    if STDIN in paths:
        raise click.UsageError("--add-ignores rewrites files; '-' (stdin) has none")
    if given["staged"] or statistics:
        raise click.UsageError(
            f"--add-ignores can't be combined with {'--staged' if given['staged'] else '--statistics'}"
        )
    if reason is not None and (not reason.strip() or _NO_REASON.search(reason)):
        raise click.UsageError("--reason must be a text of one line without '#', which begins another comment")


def write(run: Run, reports: Iterable[FileReport], reason: str | None) -> int:
    """Writes the suppressions, tells what was written and what could not be, and returns the exit code.

    That is 0 where all is suppressed, 1 where findings about comments themselves stay, 2 where a file was left.
    """
    written = left = files = 0
    for report in reports:
        wanted = [finding for finding in report.findings if not is_about_comments(finding)]
        settings = settings_for(report.filename, run.settings)
        problem = add_ignores(report.filename, settings, wanted, (reason or "").strip()) if wanted else None
        name = relative(report.filename, os.getcwd())
        if problem:
            complain(problem, run.output)
            run.errors.append(problem)
        else:
            run.output.write([f"{name}: {len(wanted)} suppressed\n"] if wanted else [])
            written, files = written + len(wanted), files + bool(wanted)
        stay = report.findings if problem else [one for one in report.findings if is_about_comments(one)]
        run.output.write([headline(finding, name) for finding in stay])
        left += len(stay)
    run.output.remark(f"Suppressed {written:,} finding{'s' * (written != 1)} in {files:,} file{'s' * (files != 1)}.")
    return 2 if run.errors else 1 if left else 0

"""The formats that `unhush check` shows findings in. Each is imported only where it is wanted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..codemods.source import DecodeFailure
from ..output import Failure

if TYPE_CHECKING:
    from ..codemods.fixes import Replacement
    from ..codemods.model import FileReport, Finding
    from ..codemods.settings import Settings
    from ..codemods.source import Source
    from ..reports.ci import Links
    from ..reports.standing import Standing
    from .check import Run

FORMATS = ("text", "concise", "json", "jsonl", "github", "gitlab", "junit", "markdown", "sarif", "html")
# Programs want plain order of names; for people files are shown in the order of a walk, which can begin at once.
SORTED_BY_NAME = ("json", "jsonl", "gitlab", "junit", "markdown", "sarif", "html")
LINKED = ("markdown", "html")
_FILES = 4  # whose fixes a process is asked for at a time


def render(
    run: Run, reports: Iterable[FileReport], output_format: str, link_base: str | None = None, age: bool = False
) -> Iterator[str]:
    """The chunks of the wanted format; `link_base` is the URL that names of files are added to, `age` asks git."""
    base = os.getcwd()
    if output_format == "text":
        from ..reports import text

        return text.render(reports, base, run.read, run.output.color)
    if output_format == "concise":
        from ..reports import concise

        return concise.render(reports, base)
    if output_format in ("json", "jsonl"):
        from ..reports import jsonout

        return jsonout.render(reports) if output_format == "json" else jsonout.render_lines(reports)
    if output_format == "sarif":
        return _sarif(run, reports)
    if output_format == "html":
        return _html(run, reports, base, link_base, age)
    return _for_pipelines(run, reports, base, output_format, link_base)


def _for_pipelines(
    run: Run, reports: Iterable[FileReport], base: str, output_format: str, link_base: str | None
) -> Iterator[str]:
    if output_format == "github":
        from ..reports import github

        return github.render(reports, base)
    if output_format == "gitlab":
        from ..reports import gitlab

        return gitlab.render(reports, base)
    if output_format == "junit":
        from ..reports import junit

        return junit.render(reports, run.errors, base)
    from ..reports import pullrequest

    return pullrequest.render(reports, run.errors, base, _links(base, link_base), lambda: _standing(run))


def _sarif(run: Run, reports: Iterable[FileReport]) -> Iterator[str]:
    from ..codemods.pool import map_files
    from ..codemods.rules import all_rules
    from ..reports import sarif
    from ..version import __version__

    rules = [rule for code, rule in all_rules().items() if code in run.nearest.codes]
    # Fixes cost many times what findings do: once all are found, the processes divide them anew.
    fixes = partial(_fixes, run.read, run.settings)
    found = map_files(fixes, list(reports), run.jobs, lost=_no_fixes, warn=run.output.error, chunk=_FILES)
    return sarif.render(found, run.errors, rules, run.settings.root, __version__)


def _no_fixes(report: FileReport, reason: str) -> list[tuple[Replacement, ...]]:
    return [()] * len(report.findings)


def _fixes(read: Callable[[str], Source], settings: Settings, report: FileReport) -> Sequence[tuple[Replacement, ...]]:
    """The replacements of a report's findings. LibCST is imported with the first file that has any."""
    from ..codemods.perfile import settings_for

    none: list[tuple[Replacement, ...]] = [()] * len(report.findings)
    if not any(finding.fix == "safe" for finding in report.findings):
        return none
    from ..codemods.fixes import replacements

    try:
        data = read(report.filename).data
    except (OSError, DecodeFailure):  # it has changed since it was checked
        return none
    return replacements(data, report.filename, settings_for(report.filename, settings), report.findings)


def _html(run: Run, reports: Iterable[FileReport], base: str, link_base: str | None, age: bool) -> Iterator[str]:
    from ..reports import html
    from ..version import __version__

    findings = [finding for report in reports for finding in report.findings]
    known = _known(run)
    ages = None
    if age:
        from ..ages import ages_of

        ages = ages_of([*findings, *known], run.output)
    page = html.Page(base, __version__, _links(base, link_base), run.read, _standing(run), ages)
    return html.render(findings, known, run.errors, page)


def _links(base: str, link_base: str | None) -> Links:
    from ..reports.ci import Links, checkout
    from ..reports.ci import link_base as told

    if link_base is not None and not link_base.startswith(("http://", "https://")):
        raise Failure(f"--link-base {link_base!r} is no URL: it should begin with https:// or http://")
    return Links(link_base or told(os.environ), checkout(base))


def _known(run: Run) -> list[Finding]:
    """The findings that the baseline tolerates."""
    compared = run.gate.compared if run.gate else ()
    return [item.finding for _, matched in compared for _, item in matched.known if item.shown]


def _standing(run: Run) -> Standing | None:
    """How the findings stand against the baseline, once all are seen; None without one.

    Of the baseline only that counts which the run speaks of: files that it looked at, severities that it shows.
    """
    if run.gate is None or not run.gate.compared:
        return None
    from ..codemods.model import SEVERITY_RANK
    from ..reports.standing import Standing

    least = SEVERITY_RANK[run.settings.min_severity]
    gone, before, new = Counter[str](), Counter[str](), Counter[str]()
    for baseline, matched in run.gate.compared:
        for key, count in matched.stale.items():
            if SEVERITY_RANK[baseline.severities[key]] >= least:
                gone[baseline.severities[key]] += count
        before.update(baseline.severities[key] for key, item in matched.known if item.shown)
        new.update(item.finding.severity for item in matched.new if item.shown)
    known = Counter[str](finding.severity for finding in _known(run))
    return Standing(before + gone, known, gone, new)

"""The fix as a LibCST codemod.

`python -m libcst.tool codemod -x unhush.codemods.insert_logging.InsertLogging PATHS` runs it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import libcst as cst
from libcst.codemod import CodemodCommand, CodemodContext, SkipFile

from .fixer import fix_bytes
from .fixreport import Changed, Failed
from .rules import all_rules, default_codes
from .settings import Settings


class InsertLogging(CodemodCommand):
    """Rewrites what unhush finds in a module, as `unhush fix` does: findings, plan and proof are the same.

    The result differs from that of `unhush fix` only where LibCST does not give a file back as it was (form feeds, a
    space before a colon). A file whose proof fails raises RuntimeError; one without findings is skipped.
    """

    DESCRIPTION = "Inserts a log call into handlers that swallow exceptions, and proves that nothing else changes."

    def __init__(
        self,
        context: CodemodContext,
        select: str = "",
        min_severity: str = "medium",
        backend: str = "auto",
        level_broad: str = "warning",
        level_narrow: str = "debug",
        unsafe_fixes: bool = False,
    ) -> None:
        super().__init__(context)
        codes = frozenset(select.upper().split(",")) if select else default_codes()
        if unknown := codes - all_rules().keys():
            raise ValueError(f"no rule has the code {min(unknown)!r}")
        self.settings = replace(
            Settings(select=codes, backend=backend, level_broad=level_broad, level_narrow=level_narrow),
            min_severity=min_severity,  # type: ignore[arg-type]
            unsafe_fixes=unsafe_fixes,
        )

    @staticmethod
    def add_args(parser: argparse.ArgumentParser) -> None:
        """Adds the command's options, which mean what they mean for `unhush fix`."""
        parser.add_argument("--select", default="", help="rule codes, parted by commas (default: the default rules)")
        parser.add_argument("--min-severity", default="medium", choices=["low", "medium", "high"])
        parser.add_argument("--backend", default="auto", choices=["auto", "structlog", "stdlib", "loguru"])
        parser.add_argument("--level-broad", default="warning")
        parser.add_argument("--level-narrow", default="debug")
        parser.add_argument("--unsafe-fixes", action="store_true")

    def transform_module_impl(self, tree: cst.Module) -> cst.Module:
        """The module with the fixes that are proved for it."""
        report = fix_bytes(tree.bytes, self.context.filename or "<module>.py", self.settings)
        if isinstance(report, Failed):
            raise RuntimeError("; ".join(error.reason for error in report.errors))
        if not isinstance(report, Changed):
            raise SkipFile("nothing to fix")
        return cst.parse_module(report.new)

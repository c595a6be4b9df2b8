"""What `unhush fix` is measured against: a LibCST codemod that parses whole modules and logs in silent handlers.

python whole_module.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import libcst as cst

_LOG = cst.parse_statement('logger.warning("exception_ignored", exc_info=True)')
_HEAD = [cst.parse_statement("import logging"), cst.parse_statement("logger = logging.getLogger(__name__)")]


class LogSilent(cst.CSTTransformer):
    """Puts a log call into every bare or broad handler that holds nothing but plain small statements."""

    changed = False

    def leave_ExceptHandler(
        self, original_node: cst.ExceptHandler, updated_node: cst.ExceptHandler
    ) -> cst.ExceptHandler:
        """Adds the call at the head of a silent handler's block."""
        kind, body = updated_node.type, updated_node.body
        if not isinstance(body, cst.IndentedBlock) or not (kind is None or getattr(kind, "value", "") == "Exception"):
            return updated_node
        if not all(isinstance(line, cst.SimpleStatementLine) and all(map(_is_plain, line.body)) for line in body.body):
            return updated_node
        self.changed = True
        return updated_node.with_changes(body=body.with_changes(body=[_LOG, *body.body]))


def _is_plain(node: cst.BaseSmallStatement) -> bool:
    if isinstance(node, (cst.Assign, cst.Return)):
        return isinstance(node.value, (cst.Name, cst.SimpleString, cst.Integer, type(None)))
    return isinstance(node, (cst.Pass, cst.Continue, cst.Break))


def main(folder: str) -> None:
    """Rewrites the files of a folder in place."""
    for path in sorted(Path(folder).rglob("*.py")):
        transformer = LogSilent()
        module = cst.parse_module(path.read_bytes()).visit(transformer)
        if transformer.changed:
            path.write_bytes(module.with_changes(body=[*_HEAD, *module.body]).bytes)


if __name__ == "__main__":
    main(sys.argv[1])

"""Where a module's new import and logger lines go, and with which blank lines around them."""

from __future__ import annotations

import ast
import re

from .backends import NewLogger
from .edits import Edit, Kind
from .module import Module
from .names import last_name
from .scope import Try

_REST = re.compile(rb"[ \t\f]*;?[ \t\f]*(?:#.*)?$")
_HEAD = re.compile(rb"^(?:#!|[ \t\f]*#.*?coding[:=])")
_DEFINES = (b"def ", b"class ", b"async ", b"@")


def setup_edits(module: Module, new: NewLogger, limit: int) -> list[Edit] | None:
    """The edits that add a new logger's lines above the top-level statement `limit`; None where there is no place.

    The import goes after the last import of the module's head (docstring, `__future__` and imports come first), the
    logger after the imports that stand in `if` and `try` there too.
    """
    body = module.tree.body
    head = _head(body, limit)
    plain = [at for at in head if not _only_imports(body[at])]
    first = _row_after(module, plain[-1] if plain else _leading(body, limit) - 1, limit)
    last = _row_after(module, head[-1], limit) if head else first
    if first is None or last is None:
        return None
    adjoining = bool(plain) and not _is_future(body[plain[-1]])
    edits: list[Edit] = []
    if new.import_line and new.logger_line and first == last:
        return _at(module, first, [new.import_line, new.logger_line], adjoining=adjoining)
    if new.import_line:
        edits += _at(module, first, [new.import_line], adjoining=adjoining)
    if new.logger_line:
        edits += _at(module, last, [new.logger_line], adjoining=False)
    return edits


def _leading(body: list[ast.stmt], limit: int) -> int:
    """How many statements must stay first: the docstring and the `__future__` imports."""
    count = 0
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        count = 1 if isinstance(body[0].value.value, str) else 0
    while count < len(body) and _is_future(body[count]):
        count += 1
    return min(count, limit)


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.level == 0


def _head(body: list[ast.stmt], limit: int) -> list[int]:
    """The indices of the imports, plain or within `if` and `try`, above the first definition and above `limit`."""
    found = []
    for at, node in enumerate(body[:limit]):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            break
        if isinstance(node, (ast.Import, ast.ImportFrom)) or _only_imports(node) or _is_monkey_patch(node):
            found.append(at)
    return found


def _is_monkey_patch(node: ast.stmt) -> bool:
    """Whether a statement is gevent's or eventlet's patch of the standard library, which logging is not to precede."""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and last_name(call.func) in ("patch_all", "patch_thread", "monkey_patch")


def _only_imports(node: ast.stmt) -> bool:
    """Whether a statement is an `if` or `try` whose business is imports."""
    if not isinstance(node, (ast.If, *Try)):
        return False
    return any(isinstance(part, (ast.Import, ast.ImportFrom)) for part in node.body)


def _row_after(module: Module, index: int, limit: int) -> int | None:
    """The row before which new lines go so that they follow the top-level statement `index` (-1: the file's head)."""
    body = module.tree.body
    if index < 0:
        return _row_of_head(module)
    while index < limit:
        node = body[index]
        row, column = node.end_lineno or 0, node.end_col_offset or 0
        if _REST.match(module.source.line(row)[column:]):
            return row + 1
        index += 1
    return None


def _row_of_head(module: Module) -> int:
    """The row before which new lines go in a module without docstring and imports: after its comment block.

    A comment that touches the first statement belongs to it, but for a shebang or coding line.
    """
    first = module.tree.body[0]
    row = min((node.lineno for node in getattr(first, "decorator_list", [])), default=first.lineno)
    row = min(row, first.lineno)
    line = module.source.line
    top = 1
    while top < row and line(top).lstrip().startswith(b"#"):
        top += 1
    if top < row and not line(top).strip():
        return top
    after = 1
    for at in (1, 2):
        if at < row and _HEAD.match(line(at)):
            after = at + 1
    return after


def _at(module: Module, row: int, lines: list[str], *, adjoining: bool) -> list[Edit]:
    """Edits that put lines before a row: a blank line between them, and to what stands above and below.

    `adjoining`: the first of the lines follows the line above without a blank one.
    """
    places, source = module.places, module.source
    rows = len(source.line_starts)
    newline = places.newline(row - 1 if row > 1 else 1).decode()
    at_end = row > rows
    start = len(source.data) if at_end else places.starts[row - 1]
    above = source.line(row - 1).strip() if row > 1 else b""
    below = b"" if at_end else source.line(row).strip()
    next_row = row
    while below.startswith(b"#") and source.line(next_row).startswith(b"#"):
        next_row += 1
    defines = source.line(next_row).startswith(_DEFINES)
    edits = []
    for nth, line in enumerate(lines):
        before = newline if at_end and nth == 0 else ""
        if nth or (above and not adjoining):
            before += newline
        after = newline if not at_end or nth < len(lines) - 1 else ""
        if nth == len(lines) - 1 and below and not at_end:
            after += newline * (2 if defines else 1)
        kind: Kind = "import" if line.startswith(("import ", "from ")) else "logger"
        edits.append(Edit(start, b"", places.encode(before + line + after), kind, line))
    return edits

"""The proof that a rewritten file is the old one but for the edits, made before anything is written.

Undoing the edits gives the old bytes; the new text parses, and holds exactly what each edit says at its place; its
tree without these equals the old one's; and every name that an inserted call uses is the module's global in that
scope, bound before the call can run. docs/proof.md says what this does not cover.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from symtable import SymbolTable

from .backends import TWISTED_LEVELS
from .binding import bound_here, is_module_global
from .compare import Pair, Text, mismatches
from .edits import PROVABLE, Edit, undo
from .locate import paths_to
from .module import Module
from .parsing import ParseFailure
from .scope import Function
from .source import DecodeFailure
from .splice import is_empty

_CALLS = frozenset({"call", "pass", "except"})


class Disproof(Exception):
    """What the proof stumbled on, in one line."""


def prove(old: Module, new_data: bytes, edits: list[Edit], starts: list[int]) -> Module:
    """The new text's module, where the new bytes are proved to be the old ones with the edits; else raises Disproof.

    `starts` are the offsets of the edits' new spans in the new bytes.
    """
    try:
        if undo(new_data, edits, starts) != old.source.data:
            raise Disproof("undoing the edits does not give the old bytes")
        new = Module(new_data, old.source.filename, old.settings)
        tables = new.tables
    except (DecodeFailure, ParseFailure) as failure:
        raise Disproof(f"the new text can't be parsed: {failure.reason}") from None
    except ValueError as error:
        raise Disproof(str(error)) from None
    expected = Expected(new, edits, starts)
    for mismatch in mismatches(Text(old.tree, old.source), Text(new.tree, new.source), expected):
        raise Disproof(f"line {mismatch.row}: {mismatch.what}")
    if expected.open:
        kind = next(iter(expected.open.values())).kind
        raise Disproof(f"an edit of kind {kind} is not found where it should be")
    rows = sorted({row for row, _ in expected.calls})
    unseen = dict(expected.calls)
    for path in paths_to(new.tree, rows):
        if (statement := unseen.pop(_place(path[-1]), None)) is not None:
            for name in _names(statement):
                check_name(new, tables.of(path), path, name)
    if unseen:
        raise Disproof("an inserted call is not found among the statements")
    for edit in edits:
        if edit.kind in ("import", "logger"):
            check_new_names(old, new, ast.parse(edit.statement).body[0], old.is_taken)
    return new


def is_provable(edits: list[Edit]) -> bool:
    """Whether every edit is of a kind that the proof covers."""
    return all(edit.kind in PROVABLE for edit in edits)


def check_new_names(old: Module, new: Module, statement: ast.stmt, taken: Callable[[str], bool]) -> None:
    """Raises Disproof unless an inserted import or logger line binds names that are new, from names bound above it.

    `taken` says of a name whether the old module has a use for it. An import may be there twice.
    """
    names = [alias.asname or alias.name for alias in getattr(statement, "names", ())] or list(bound_here(statement))
    for name in names:
        origin = old.loggers.module_origin(name)
        if taken(name) and (origin is None or origin != new.loggers.module_origin(name)):
            raise Disproof(f"the new global `{name}` is not free")
        if name.startswith("__"):
            raise Disproof(f"the new global `{name}` has a name that Python keeps for itself")
    bound = new.names.only(names[0])
    if bound is None:
        if new.loggers.module_origin(names[0]):
            return
        raise Disproof(f"the new global `{names[0]}` is bound in another place too")
    for name in _names(statement):
        above = [found for found in new.names.names.get(name, ()) if found.direct and found.index < bound.index]
        if name not in (*names, "__name__") and not (above and new.loggers.module_origin(name)):
            raise Disproof(f"`{name}` may not be bound above the new logger")


class Expected:
    """The policy of a comparison: exactly what the edits say, at the places where they say it, each once.

    `open` holds the edits not yet met, by the place of the node that they put there; `calls` the statements in which
    inserted calls stand, by place.
    """

    def __init__(self, new: Module, edits: list[Edit], starts: list[int]) -> None:
        self.open: dict[tuple[int, int], Edit] = {}
        self.calls: dict[tuple[int, int], ast.stmt] = {}
        self._clauses: dict[tuple[int, int], Edit] = {}
        for edit, start in zip(edits, starts, strict=True):
            lead = b"exc_info" if edit.kind == "exc_info" else edit.new.strip(b"\r\n\t\f ;,")[:1]
            at = new.places.place(start + max(edit.new.find(lead), 0))
            (self._clauses if edit.kind == "except" else self.open)[at] = edit

    def inserted(self, node: ast.stmt, pending: ast.stmt | None) -> bool:
        """Whether an edit put this statement there, and it is what the edit says."""
        return self._meets(node, ("call", "import", "logger", "raise"))

    def replaced(self, old: ast.stmt, block: list[ast.stmt], at: int) -> list[Pair] | None:
        """Of a `pass` that a call replaced nothing is left to compare, of a suppressed block its body."""
        new = block[at]
        edit = self.open.get(_place(new))
        if edit is None:
            return None
        if edit.kind == "pass" or (edit.kind == "raise" and is_empty(old)):
            return [] if is_empty(old) and self._meets(new, (edit.kind,)) else None
        if edit.kind == "suppress" and isinstance(old, ast.With) and isinstance(new, ast.Try):
            return self._suppressed(old, new)
        return None

    def argument(self, old: ast.Call, new: ast.Call) -> bool:
        """Whether an edit added the last keyword of a call."""
        edit = self.open.get(_place(new.keywords[-1]))
        if edit is None or edit.kind != "exc_info" or ast.unparse(new.keywords[-1]) != edit.statement:
            return False
        del self.open[_place(new.keywords[-1])]
        return True

    def attribute(self, old: ast.Attribute, new: ast.Attribute) -> bool:
        """Whether an edit named another level."""
        place = (new.end_lineno or 0, (new.end_col_offset or 0) - len(new.attr.encode()))
        edit = self.open.get(place)
        if edit is None or edit.kind != "level" or edit.new.decode() != new.attr:
            return False
        del self.open[place]
        return True

    def _meets(self, node: ast.stmt, kinds: tuple[str, ...]) -> bool:
        edit = self.open.get(_place(node))
        if edit is None or edit.kind not in kinds or not _same(node, edit.statement):
            return False
        del self.open[_place(node)]
        if edit.kind in _CALLS:
            self.calls[_place(node)] = node
        return True

    def _suppressed(self, old: ast.With, new: ast.Try) -> list[Pair] | None:
        """The bodies of a `with suppress(...)` and of the `try` that took its place, if the rest is as it should be."""
        call = old.items[0].context_expr
        if (
            len(old.items) != 1
            or len(new.handlers) != 1
            or new.orelse
            or new.finalbody
            or not isinstance(call, ast.Call)
        ):
            return None
        handler = new.handlers[0]
        edit = self._clauses.pop(_place(handler), None)
        types = call.args[0] if len(call.args) == 1 else ast.Tuple(call.args, ast.Load())
        if edit is None or handler.type is None or ast.dump(handler.type) != ast.dump(types):
            return None
        if len(handler.body) != 1 or not _same(new, f"try:\n    pass\n{edit.statement}", handlers_only=True):
            return None
        del self.open[_place(new)]
        self.calls[_place(handler.body[0])] = handler.body[0]
        return [(ast.Module(old.body, []), ast.Module(new.body, []))]


def _same(node: ast.stmt, statement: str, *, handlers_only: bool = False) -> bool:
    """Whether a statement (or the handlers of a try) is what a text says."""
    expected = ast.parse(statement).body[0]
    if handlers_only:
        left, right = node.handlers, expected.handlers  # type: ignore[attr-defined]
        return [ast.dump(part) for part in left] == [ast.dump(part) for part in right]
    return ast.dump(node) == ast.dump(expected)


def _place(node: ast.AST) -> tuple[int, int]:
    return node.lineno, node.col_offset  # type: ignore[attr-defined]


def _names(statement: ast.stmt) -> Iterator[str]:
    return (node.id for node in ast.walk(statement) if isinstance(node, ast.Name))


def check_name(module: Module, table: SymbolTable, path: tuple[ast.AST, ...], name: str) -> None:
    """Raises Disproof unless a name is the module's global in the code at a path, and bound before it can run."""
    row = path[-1].lineno  # type: ignore[attr-defined]
    if not is_module_global(table, name):
        raise Disproof(f"line {row}: `{name}` is not the module's global there")
    binding = module.names.only(name)
    if binding is None:
        raise Disproof(f"line {row}: `{name}` is not bound once and for all in the module")
    if not module.loggers.backend_of(name) and module.loggers.module_origin(name) not in TWISTED_LEVELS:
        raise Disproof(f"line {row}: `{name}` is not known to be a logger")
    in_function = any(isinstance(node, Function) for node in path)
    index = module.index_of(path)
    if not module.names.bound_before(binding, index, in_function=in_function, quiet=module.loggers.makes_logger):
        raise Disproof(f"line {row}: `{name}` may not be bound yet when this runs")

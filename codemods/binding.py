"""What a module's global names are bound to, and whether a name is bound for sure before some code can run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from symtable import Symbol, SymbolTable

from .places import is_on, occurrences
from .scope import Function, blocks
from .source import Source

_KNOWN_PACKAGES = frozenset({"structlog", "loguru", "twisted", "absl"})


@dataclass(frozen=True, slots=True)
class Binding:
    """One place where a module binds a global name.

    `index` counts the module's top-level statements; `direct` says that `node` is that very statement, so that it
    runs whenever the module is executed. `alias` is the part of an import that binds the name.
    """

    index: int
    direct: bool
    node: ast.stmt | ast.ExceptHandler | ast.match_case
    alias: ast.alias | None = None


class Globals:
    """The global names of one module.

    `names` holds the bindings by name in order of place, `stars` the indices of statements with a star import;
    `loose` are names that are bound or deleted in some other way too (`global`, `del`, `:=`): never to be trusted.
    """

    def __init__(self, tree: ast.Module, source: Source) -> None:
        self.tree, self.utf8 = tree, source.utf8
        self.names: dict[str, list[Binding]] = {}
        self.stars: list[int] = []
        self.loose: set[str] = set()
        self._quiet: dict[int, int] = {}
        for index, node in enumerate(tree.body):
            self._collect(node, index, direct=True)
        self._collect_loose(source)

    def only(self, name: str) -> Binding | None:
        """The one binding of a name that is bound just once, whatever happens; None for all others."""
        found = self.names.get(name, [])
        if len(found) != 1 or not found[0].direct or name in self.loose:
            return None
        return None if self.may_be_starred(name, found[0].index) else found[0]

    def may_be_starred(self, name: str, index: int) -> bool:
        """Whether a star import may bind a name at or after a top-level statement; it takes no `_name` by itself."""
        return not name.startswith("_") and any(star >= index for star in self.stars)

    def bound_before(self, binding: Binding, index: int, *, in_function: bool, quiet: Quiet) -> bool:
        """Whether a binding has happened whenever code of the top-level statement `index` can run.

        What stands below the binding runs after it. A function above it may be called by any statement in between,
        unless these are `quiet`: definitions, constants and imports from elsewhere.
        """
        if index > binding.index:
            return True
        if index == binding.index or not in_function:
            return False
        return index >= self._quiet_from(binding.index, quiet)

    def _quiet_from(self, index: int, quiet: Quiet) -> int:
        """The first of the statements down to `index` from which on all are quiet."""
        if index not in self._quiet:
            first = index + 1
            while first and is_quiet(self.tree.body[first - 1], quiet):
                first -= 1
            self._quiet[index] = first
        return self._quiet[index]

    def _bind(self, name: str, binding: Binding) -> None:
        self.names.setdefault(name, []).append(binding)

    def _collect(self, node: ast.AST, index: int, *, direct: bool) -> None:
        """Notes what a statement (or handler, or match case) binds in the module's own scope."""
        binding = Binding(index, direct, node)  # type: ignore[arg-type]
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            self._collect_import(node, index, direct)
            return
        if isinstance(node, (*Function, ast.ClassDef)):
            self._bind(node.name, binding)
            return
        if isinstance(node, (ast.AugAssign, ast.Delete)):
            targets = node.targets if isinstance(node, ast.Delete) else [node.target]
            self.loose.update(name for target in targets for name in stored(target))
        for name in bound_here(node):
            self._bind(name, binding)
        for below in blocks(node):
            self._collect(below, index, direct=False)

    def _collect_import(self, node: ast.Import | ast.ImportFrom, index: int, direct: bool) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.stars.append(index)
            else:
                name = alias.asname or (alias.name.partition(".")[0] if isinstance(node, ast.Import) else alias.name)
                self._bind(name, Binding(index, direct, node, alias))

    def _collect_loose(self, source: Source) -> None:
        """Notes the names of `global` statements and of `:=`, wherever they stand."""
        places = (at for word in (b"global", b":=") for at in occurrences(source.utf8, word))
        for node in _nodes_on(self.tree, sorted(set(map(source.row_of, places)))):
            if isinstance(node, ast.Global):
                self.loose.update(node.names)
            elif isinstance(node, ast.NamedExpr):
                self.loose.add(node.target.id)


def _nodes_on(tree: ast.AST, rows: list[int]) -> Iterator[ast.AST]:
    """The nodes of a tree that hold one of some rows, which are in order, and some that have no place of their own."""
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        for value in vars(node).values():
            parts = value if type(value) is list else (value,)
            stack += [part for part in parts if isinstance(part, ast.AST) and _holds(part, rows)]


def _holds(node: ast.AST, rows: list[int]) -> bool:
    last = getattr(node, "end_lineno", None)
    if last is None:
        return True
    decorators = getattr(node, "decorator_list", None)
    first = decorators[0].lineno if decorators else node.lineno  # type: ignore[attr-defined]
    return is_on(rows, first, last)


Quiet = Callable[[ast.Call], bool]


def bound_here(node: ast.AST) -> Iterator[str]:
    """The names that a statement's own head binds: targets, `as` names and match captures."""
    if isinstance(node, ast.Assign):
        yield from (name for target in node.targets for name in stored(target))
    elif isinstance(node, ast.AnnAssign):
        yield from stored(node.target) if node.value is not None else ()
    elif isinstance(node, (ast.For, ast.AsyncFor, ast.AugAssign)):
        yield from stored(node.target)
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        yield from (name for item in node.items if item.optional_vars for name in stored(item.optional_vars))
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name
    elif isinstance(node, ast.match_case):
        yield from _captured(node.pattern)
    elif node.__class__.__name__ == "TypeAlias":
        yield node.name.id  # type: ignore[attr-defined]


def stored(target: ast.AST) -> Iterator[str]:
    """The names that an assignment target binds (or deletes): not those within attributes and subscripts."""
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from stored(element)
    elif isinstance(target, ast.Starred):
        yield from stored(target.value)


def _captured(pattern: ast.pattern) -> Iterator[str]:
    for node in ast.walk(pattern):
        if isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest


def is_quiet(node: ast.stmt, quiet: Quiet) -> bool:
    """Whether executing a top-level statement runs no function of the module: see `bound_before`.

    `quiet` says of a call whether it is known to run none (that of a logger factory).
    """
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        homes = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        tops = {home.partition(".")[0] for home in homes}
        outside = tops <= sys.stdlib_module_names | _KNOWN_PACKAGES
        return outside and not (isinstance(node, ast.ImportFrom) and (node.level or node.names[0].name == "*"))
    if isinstance(node, Function):
        arguments = node.args
        notes = [arg.annotation for arg in ast.walk(arguments) if isinstance(arg, ast.arg)]
        return not node.decorator_list and _plain(
            (*arguments.defaults, *arguments.kw_defaults, *notes, node.returns), quiet
        )
    if isinstance(node, ast.ClassDef):
        return not (node.decorator_list or node.bases or node.keywords) and all(
            is_quiet(part, quiet) for part in node.body
        )
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        notes = [node.annotation] if isinstance(node, ast.AnnAssign) else []
        return all(isinstance(target, ast.Name) for target in targets) and _plain([node.value, *notes], quiet)
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Pass)


def _plain(values: Iterable[ast.expr | None], quiet: Quiet) -> bool:
    """Whether evaluating expressions calls nothing: constants, names, attributes and literals of them."""
    for value in values:
        if value is None or isinstance(value, (ast.Constant, ast.Name, ast.Lambda)):
            continue
        if isinstance(value, ast.Attribute):
            good = _plain([value.value], quiet)
        elif isinstance(value, (ast.Tuple, ast.List, ast.Set)):
            good = _plain(value.elts, quiet)
        elif isinstance(value, ast.Dict):
            good = _plain((*value.keys, *value.values), quiet)
        elif isinstance(value, ast.Subscript):
            good = _plain([value.value, value.slice], quiet)
        else:
            good = isinstance(value, ast.Call) and quiet(value)
        if not good:
            return False
    return True


class Tables:
    """The symbol tables of a module's functions and classes, found by the node of their definition."""

    def __init__(self, top: SymbolTable) -> None:
        self.all = [top]
        self._by_definition: dict[tuple[str, str, int], SymbolTable] = {}
        for table in self.all:
            self.all.extend(table.get_children())
            kind = str(getattr(table.get_type(), "value", table.get_type()))
            self._by_definition[kind, table.get_name(), table.get_lineno()] = table

    def of(self, path: tuple[ast.AST, ...]) -> SymbolTable:
        """The table of the innermost function or class of a path that starts at the top level, or the module's."""
        node = next((node for node in reversed(path) if isinstance(node, (*Function, ast.ClassDef))), None)
        if node is None:
            return self.all[0]
        kind = "class" if isinstance(node, ast.ClassDef) else "function"
        return self._by_definition[kind, node.name, node.lineno]


_COMP_ITER = 2 << 8  # CPython's flag of a comprehension's own variable, which from 3.14 on has a method


def is_comprehensions(symbol: Symbol) -> bool:
    """Whether a symbol of a scope is but the variable of a comprehension, which is none of the scope's own names.

    From Python 3.12 on (PEP 709) the table of the scope around a comprehension lists those too.
    """
    told = getattr(symbol, "is_comp_iter", None)
    return told() if told else bool(symbol._Symbol__flags & _COMP_ITER)


def is_module_global(table: SymbolTable, name: str) -> bool:
    """Whether a name used in a scope's code is the module's global: no parameter, local, free or mangled name."""
    try:
        symbol = table.lookup(name)
    except KeyError:
        return False
    if table.get_type() == "module":
        return symbol.is_global()
    return symbol.is_global() and not symbol.is_declared_global()


def would_be_global(tables: Tables, path: tuple[ast.AST, ...], name: str) -> bool:
    """Whether a name, if it were used in the code at a path, would be the module's global there.

    Not where a function around binds it, where the class whose body this is does, where it would be mangled
    (PEP 8: `__name` in a class), or where a `global` statement for it may follow.
    """
    if name.startswith("__") and any(isinstance(node, ast.ClassDef) for node in path):
        return False
    scopes = [at for at, node in enumerate(path) if isinstance(node, (*Function, ast.ClassDef))]
    for nth, at in enumerate(reversed(scopes)):
        if any(parameter.name == name for parameter in getattr(path[at], "type_params", ())):
            return False
        table = tables.of(path[: at + 1])
        if isinstance(path[at], ast.ClassDef) and nth:
            continue
        if name in table.get_identifiers():
            symbol = table.lookup(name)
            if (not symbol.is_global() or symbol.is_declared_global()) and not is_comprehensions(symbol):
                return False
    return True

"""Which loggers a module has: global names whose origin is traced to a logging library, through the project's files."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from .backends import DERIVING, FACTORIES, LOGGERS, MODULES, TWISTED_LEVELS
from .binding import Binding, Globals
from .names import dotted
from .parsing import ParseFailure, parse
from .project import Home
from .source import DecodeFailure, Source
from .wrappers import Local, returned_backend

# How many files an imported logger is followed through.
_DEPTH = 5
_LARGEST = 2_000_000
_USUAL_NAMES = ("logger", "log", "LOGGER", "LOG", "_logger", "_log", "_LOGGER", "_LOG")
_USE = re.compile(
    rb"\.[ \t]*(?:debug|info|warn|warning|error|exception|critical|fatal|log|opt|bind|new|"
    rb"failure|trace|getChild)\b"
)
_LAST_WORD = re.compile(rb"(\w+)[ \t]*$")
_LONGEST = 100  # bytes that a name and the blanks behind it hardly exceed


@dataclass(frozen=True, slots=True)
class Logger:
    """A global name that is a logger of a known library, and where it is bound."""

    name: str
    backend: str
    binding: Binding


def _users(utf8: bytes) -> Iterator[str]:
    """The names, and the last parts of dotted ones, that something like a log method is called on."""
    end = 0
    for use in _USE.finditer(utf8):
        word = _LAST_WORD.search(utf8, max(end, use.start() - _LONGEST), use.start())
        if word:
            yield word[1].decode()
            end = use.end()


class Loggers:
    """The names of one module, and where they come from. `home` tells which modules the project itself has."""

    def __init__(self, names: Globals, home: Home, depth: int = _DEPTH) -> None:
        self.names, self.home, self._depth = names, home, depth
        # Imported names are followed into other files only where this one uses them as loggers.
        self._logging = Counter(_users(names.utf8))
        self._known: dict[str, str | None] = {}
        self._open: set[str] = set()  # functions that are being followed

    @cached_property
    def all(self) -> list[Logger]:
        """Every trusted logger of the module: those made with `__name__` first, then those used most, then usual names."""
        found = []
        for name in self.names.names:
            backend = self.backend_of(name)
            binding = self.names.only(name)
            if backend and binding and name not in self.home.submodules:
                found.append(Logger(name, backend, binding))
        return sorted(found, key=self._rank)

    def _rank(self, logger: Logger) -> tuple[bool, int, int, int]:
        value = getattr(logger.binding.node, "value", None)
        arguments = value.args if isinstance(value, ast.Call) else ()
        own = any(isinstance(argument, ast.Name) and argument.id == "__name__" for argument in arguments)
        usual = _USUAL_NAMES.index(logger.name) if logger.name in _USUAL_NAMES else len(_USUAL_NAMES)
        return not own, -self._logging[logger.name], usual, logger.binding.index

    @cached_property
    def origins(self) -> frozenset[str]:
        """The dotted origins that the module's imports bind for sure."""
        return frozenset(origin for name in self.names.names if (origin := self.module_origin(name)))

    def backend_of(self, name: str) -> str | None:
        """The backend of a global name that is bound once, to a logger; None where that is not sure."""
        if name not in self._known:
            self._known[name] = self._find_backend(name)
        return self._known[name]

    def _find_backend(self, name: str) -> str | None:
        binding = self.names.only(name)
        if binding is None:
            return None
        if binding.alias is not None:
            return self._imported(binding)
        node = binding.node
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            return self.backend_of_value(node.value, binding.index)
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            return self.backend_of_value(node.value, binding.index)
        return None

    def backend_of_value(self, value: ast.expr, below: int | None = None, local: Local | None = None) -> str | None:
        """The backend of the logger that an expression makes, or names by the dotted name of one.

        Names of other loggers count where they are bound above the top-level statement `below`. In a function `local`
        tells of its own names.
        """
        local = local or {}
        if isinstance(value, ast.Name) and value.id in local:
            return local[value.id]
        known = (dotted(value.func if isinstance(value, ast.Call) else value) or "").partition(".")[0] not in local
        if isinstance(value, ast.Call):
            if known and (found := FACTORIES.get(self.origin(value.func) or "")):
                return found
            if isinstance(value.func, ast.Attribute):
                made = self.backend_of_value(value.func.value, below, local)
                if made:
                    return made if value.func.attr in DERIVING.get(made, ()) else None
            return self._followed(value, below, local) if known else None
        if not known:
            return None
        if found := LOGGERS.get(self.origin(value) or ""):
            return found
        other = self.names.only(value.id) if isinstance(value, ast.Name) else None
        return self.backend_of(value.id) if other and (below is None or other.index < below) else None  # type: ignore[attr-defined]

    def makes_logger(self, call: ast.Call) -> bool:
        """Whether a call makes a logger by a library's own function alone, so that it runs no code of the project."""
        if self.origin(call.func) in FACTORIES:
            return True
        made = call.func.value if isinstance(call.func, ast.Attribute) else None
        if made is None or (isinstance(made, ast.Call) and not self.makes_logger(made)):
            return False
        return self.backend_of_value(call) is not None

    def _followed(self, call: ast.Call, below: int | None, local: Local) -> str | None:
        """The backend of what a call of one of the project's own functions returns."""
        if not self._depth or any(isinstance(argument, ast.Starred) for argument in call.args):
            return None
        arguments = [self.backend_of_value(argument, below, local) for argument in call.args]
        found = self._function(call.func)
        return found[0].returned(found[1], arguments) if found else None

    def _function(self, node: ast.expr) -> tuple[Loggers, str] | None:
        """The file of the project, and the name in it, of a function that is called by its name or its module's."""
        if isinstance(node, ast.Name):
            binding = self.names.only(node.id)
            if binding and isinstance(binding.node, ast.FunctionDef):
                return self, node.id
            return self._elsewhere(binding) if binding else None
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            return None
        binding = self.names.only(node.value.id)
        if binding is None or binding.alias is None:
            return None
        if isinstance(binding.node, ast.ImportFrom):
            path = self.home.find(binding.node.level, ".".join(filter(None, (binding.node.module, binding.alias.name))))
        else:
            plain = binding.alias.asname or "." not in binding.alias.name
            path = self.home.find(0, binding.alias.name) if plain else None
        module = _module(path, self._depth - 1) if path and path != self.home.filename else None
        return (module, node.attr) if module else None

    def _elsewhere(self, binding: Binding) -> tuple[Loggers, str] | None:
        """The file of the project that a name is imported from, and the name there."""
        node = binding.node
        if not isinstance(node, ast.ImportFrom) or binding.alias is None or not self._depth:
            return None
        path = self.home.find(node.level, node.module)
        module = _module(path, self._depth - 1) if path and path != self.home.filename else None
        return (module, binding.alias.name) if module else None

    def returned(self, name: str, arguments: list[str | None]) -> str | None:
        """The backend of the loggers that a function of the module returns for arguments of these backends."""
        binding = self.names.only(name)
        if binding is None or self._depth <= 0:
            return None
        if not isinstance(binding.node, ast.FunctionDef):
            found = self._elsewhere(binding)
            return found[0].returned(found[1], arguments) if found else None
        if name in self._open:
            return None
        self._open.add(name)
        backend = returned_backend(
            binding.node, arguments, lambda value, local: self.backend_of_value(value, local=local)
        )
        self._open.discard(name)
        return backend

    def origin(self, node: ast.expr) -> str | None:
        """The dotted origin of a name or a chain of attributes that starts from an import; None where it is unsure."""
        name = dotted(node)
        if name is None:
            return None
        head, dot, rest = name.partition(".")
        home = self.module_origin(head)
        return home + dot + rest if home else None

    def module_origin(self, name: str) -> str | None:
        """The dotted origin of a global name that only imports from outside the project bind, all to the same thing."""
        bindings = self.names.names.get(name, [])
        if not bindings or name in self.names.loose or name in self.home.submodules:
            return None
        if self.names.may_be_starred(name, bindings[0].index):
            return None
        origins = {_origin_of(binding) for binding in bindings}
        found = origins.pop() if len(origins) == 1 else None
        top = found.partition(".")[0] if found else ""
        own = self.home.parts[:1] == (top,)
        return found if found and (own or not self.home.shadows(top)) else None

    def log_levels(self) -> list[Logger]:
        """The global names that are Twisted's LogLevel."""
        names = (name for name in self.names.names if self.module_origin(name) in TWISTED_LEVELS)
        return [Logger(name, "twisted", binding) for name in names if (binding := self.names.only(name))]

    def reaches(self, backend: str) -> list[Logger]:
        """The global names by which the backend's own module is reached, bound for sure at their place."""
        found = []
        for name, bindings in self.names.names.items():
            if self.module_origin(name) == MODULES[backend]:
                found += [Logger(name, backend, binding) for binding in bindings if binding.direct][:1]
        return found

    def exc_info_reason(self, call: ast.Call) -> str | None:
        """Why a log call may not take `exc_info`; None where its logger is known to be one that does."""
        value = call.func.value if isinstance(call.func, ast.Attribute) else call.func
        backend = self.backend_of_value(value)
        if backend is None and self.origin(value) == "logging":
            backend = "stdlib"
        if backend in ("stdlib", "structlog", "absl"):
            return None
        if backend:
            return f"{backend} takes no `exc_info`: use its own call for exceptions"
        return "where the logger comes from can't be told, nor whether it takes `exc_info`"

    def _imported(self, binding: Binding) -> str | None:
        """The backend of an imported name: a library's own logger, or one that a file of the project makes."""
        if found := LOGGERS.get(self.module_origin(_bound(binding)) or ""):
            return found
        if _bound(binding) not in self._logging and self._depth == _DEPTH:
            return None
        found_in = self._elsewhere(binding)
        return found_in[0].backend_of(found_in[1]) if found_in else None


def _bound(binding: Binding) -> str:
    alias = binding.alias
    return (alias.asname or alias.name.partition(".")[0]) if alias else ""


def _origin_of(binding: Binding) -> str | None:
    """The dotted origin that an import binds a name to; None for relative imports and other bindings."""
    node, alias = binding.node, binding.alias
    if alias is None:
        return None
    if isinstance(node, ast.Import):
        return alias.name if alias.asname else alias.name.partition(".")[0]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return f"{node.module}.{alias.name}"
    return None


@lru_cache(maxsize=256)
def _data(path: str) -> bytes:
    """The bytes of another file of the project; nothing where it is too large to be read for this."""
    with open(path, "rb") as file:
        data = file.read(_LARGEST + 1)
    return data if len(data) <= _LARGEST else b""


@lru_cache(maxsize=256)
def _module(path: str, depth: int) -> Loggers | None:
    """The loggers of another file of the project; None where it can't be read."""
    try:
        source = Source(_data(path), path)
        return Loggers(Globals(parse(source), source), Home.of(path), depth)
    except (DecodeFailure, ParseFailure):
        return None


def module_loggers(source: Source) -> Loggers:
    """The loggers of a file, kept with its source. Raises ParseFailure."""
    if "loggers" not in source.__dict__:
        source.__dict__["loggers"] = Loggers(Globals(parse(source), source), Home.of(source.filename))
    return source.__dict__["loggers"]

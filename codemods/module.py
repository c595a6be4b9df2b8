"""One file under the fixer's hands: its bytes, its tree, and which names may be bound or used in it."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from functools import cached_property
from symtable import SymbolTable

from . import backends
from .binding import Globals, Tables, is_comprehensions, would_be_global
from .circles import imports_file
from .edits import Places
from .loggers import Logger, Loggers
from .names import dotted
from .parsing import parse, symbols
from .project import Home
from .scope import Function
from .settings import Settings
from .source import Source

# Modules that `import logging` needs first in some version of Python, or that write the traceback: they can't log
# without turning in a circle.
BENEATH_LOGGING = frozenset(
    "_collections_abc _colorize _opcode_metadata _pyio _sitebuiltins _strptime _weakrefset abc annotationlib ast "
    "atexit codecs codeop collections contextlib copy copyreg dataclasses dis encodings enum functools genericpath "
    "importlib inspect io keyword linecache locale logging nt ntpath opcode operator os posixpath queue re reprlib "
    "selectors site sitecustomize sre_compile sre_constants sre_parse stat string struct sys textwrap threading time "
    "token tokenize traceback types typing usercustomize warnings weakref zipimport".split()
)
_BACKEND_CODE = (
    "logging",
    "structlog",
    "loguru",
    "twisted.logger",
    "twisted.python.log",
    "twisted.python.failure",
    "absl.logging",
)
# What a new import of a backend imports in truth, where that is no whole package.
_IMPORTED = {"twisted": "twisted.logger", "absl": "absl.logging"}
_LISTS_NAMES = re.compile(rb"\b(?:globals|vars|dir|locals)[ \t]*\([ \t]*\)")


def _is_builtin_exception(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def _is_global_in(table: SymbolTable, name: str) -> bool:
    if name not in table.get_identifiers():
        return False
    symbol = table.lookup(name)
    return symbol.is_global() and not is_comprehensions(symbol)


class Module:
    """A file with everything that planning and proving its rewrite asks for. Raises DecodeFailure and ParseFailure."""

    def __init__(self, data: bytes, filename: str, settings: Settings) -> None:
        self.source = Source(data, filename)
        self.settings = settings
        self.tree: ast.Module = parse(self.source)
        self.places = Places(self.source)
        self.home = Home.of(filename, self.source.utf8)
        self.names = Globals(self.tree, self.source)
        self.loggers = Loggers(self.names, self.home)
        self.source.__dict__["loggers"] = self.loggers

    @cached_property
    def tables(self) -> Tables:
        """The symbol tables; raises ParseFailure where the compiler refuses the file."""
        return Tables(symbols(self.source))

    @cached_property
    def _indices(self) -> dict[int, int]:
        return {id(node): index for index, node in enumerate(self.tree.body)}

    def index_of(self, path: tuple[ast.AST, ...]) -> int:
        """Which of the module's statements a path starts from."""
        return self._indices[id(path[0])]

    def is_taken(self, name: str) -> bool:
        """Whether a new global of that name could be seen by, or hidden from, any code of the project."""
        if name in self.home.submodules or hasattr(builtins, name):
            return True
        if not re.search(rb"(?<![\w.])%s\b" % re.escape(name.encode()), self.source.utf8):
            return False
        return self._is_quoted(name) or any(name in table.get_identifiers() for table in self.tables.all)

    def uses_global(self, name: str) -> bool:
        """Whether any code of the module uses or binds a global of that name, or may name it by a string."""
        if name in self.home.submodules or hasattr(builtins, name):
            return True
        if name.encode() not in self.source.utf8:
            return False
        return self._is_quoted(name) or any(_is_global_in(table, name) for table in self.tables.all)

    def _is_quoted(self, name: str) -> bool:
        """Whether a string could name a global, as in `globals()["name"]` or `__all__`."""
        return re.search(rb"[\"']%s[\"']" % re.escape(name.encode()), self.source.utf8) is not None

    @cached_property
    def is_private(self) -> bool:
        """Whether new globals begin with an underscore, as other code takes, lists or forwards the module's names."""
        has_all = "__all__" in self.names.names
        listed = _LISTS_NAMES.search(self.source.utf8) is not None or "__getattr__" in self.names.names
        return bool(self.names.stars) or listed or (not has_all and self.home.is_starred)

    def free(self, name: str) -> str:
        """A name near to the one asked for that a new global of the module may have."""
        name = name.lstrip("_")
        tries = [f"_{name}", f"_unhush_{name}"] if self.is_private else [name, f"_{name}", f"_unhush_{name}"]
        numbered = (f"_unhush_{name}{count}" for count in range(2, 1000))
        return next(found for found in (*tries, *numbered) if not self.is_taken(found))

    def sees_global(self, path: tuple[ast.AST, ...], name: str) -> bool:
        """Whether the code at a path would get the module's global by that name."""
        if name.encode() not in self.source.utf8:
            return True
        return would_be_global(self.tables, path, name)

    def is_bound_before(self, logger: Logger, path: tuple[ast.AST, ...]) -> bool:
        """Whether a logger is bound whenever the code at a path can run. The path starts at the top level."""
        if b"globals" in self.source.utf8 and self._is_quoted(logger.name):
            return False
        in_function = any(isinstance(node, Function) for node in path)
        index = self.index_of(path)
        quiet = self.loggers.makes_logger
        return self.names.bound_before(logger.binding, index, in_function=in_function, quiet=quiet)

    def types_problem(self, path: tuple[ast.AST, ...], types: list[ast.expr]) -> str | None:
        """Why exception classes in the code at a path may not be Python's own: see `shapes.types_reason`."""
        for node in types:
            name = dotted(node) or ""
            head = name.partition(".")[0]
            if not self.sees_global(path, head):
                return f"`{head}` is no global name here"
            if head in self.names.names:
                origin = self.loggers.module_origin(head) or ""
                if origin.partition(".")[0] not in sys.stdlib_module_names:
                    return f"where `{head}` comes from can't be told"
            elif not _is_builtin_exception(name) or head in self.names.loose or self.names.stars:
                return f"`{name}` is no builtin exception here"
        return None

    @cached_property
    def circle(self) -> str | None:
        """Why no code of this file can log: logging would turn in a circle."""
        parts = self.home.parts
        dotted = ".".join(parts)
        for backend in _BACKEND_CODE:
            if dotted == backend or dotted.startswith(f"{backend}."):
                return f"the file is part of {backend} itself"
        if parts and parts[0] in BENEATH_LOGGING:
            return f"logging itself needs the module {parts[0]}"
        return None

    @cached_property
    def new_backend(self) -> str:
        """The backend of a new logger: that of the settings, of the module's other loggers, or of the project."""
        if self.settings.backend != "auto":
            return self.settings.backend
        own = [logger.backend for logger in self.loggers.all]
        if "twisted.python.log" in self.loggers.origins:
            own.append("twisted")
        usable = (backend for backend in own if not self.import_problem(backends.MODULES[backend]))
        return next(usable, None) or backends.auto_backend(self.home, self.source, self.import_problem)

    def import_problem(self, backend_module: str) -> str | None:
        """Why a new import of a backend's module may find something else, or end in a circle."""
        if self.home.parts[:1] == (backend_module,):
            if imports_file(_IMPORTED.get(backend_module, backend_module), self.home):
                return f"{backend_module}'s logging imports this file itself"
        elif self.home.shadows(backend_module):
            return f"the project has a module {backend_module} of its own, which an import may find instead"
        runs = b"__main__" in self.source.utf8 or self.source.utf8.startswith(b"#!")
        if runs and self.home.shadows_as_script(backend_module):
            return f"run as a script, the file would import the {backend_module} beside it"
        return None

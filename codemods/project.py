"""Where a file stands in its project: module names, what else is importable there, and what the project uses."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

from . import beyond
from .lazy import lazy_pattern

_MARKERS = ("pyproject.toml", "setup.py", "setup.cfg", ".git", ".hg")
_SKIPPED = frozenset(
    {".git", ".hg", ".venv", "venv", ".tox", ".nox", "build", "dist", "node_modules", "site-packages", "__pycache__"}
)
_USES = lazy_pattern(
    rb"^(?:import|from)[ \t]+(structlog|loguru|logging|twisted\.logger|twisted\.python[ \t]+import[ \t]+(?:\w+,[ \t]*)*log\b"
    rb"|absl[ \t]+import[ \t]+logging)\b",
    re.M,
)
_STAR = lazy_pattern(rb"from[ \t]+([.\w]+)[ \t]+import[ \t]*\*")


class Project:
    """The files that belong together: those below the folder of a project file, a package, or one folder of scripts."""

    def __init__(self, root: str, *, whole: bool) -> None:
        self.root, self._whole = root, whole

    @cached_property
    def declared(self) -> frozenset[str]:
        """Normalised names of the packages that the project needs at run time."""
        from .declared import declared

        return declared(self.root)

    @cached_property
    def usage(self) -> Counter[str]:
        """How many imports at the left margin of the project's files name each logging backend."""
        return self._scan[0]

    @cached_property
    def starred(self) -> frozenset[str]:
        """The last parts of the names of modules that some file of the project imports `*` from."""
        return self._scan[1]

    @cached_property
    def _scan(self) -> tuple[Counter[str], frozenset[str]]:
        usage: Counter[str] = Counter()
        starred: set[str] = set()
        for path in self.files():
            if not os.access(path, os.R_OK) or not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                data = file.read()
            if b"import" not in data:
                continue
            usage.update(imported_backends(data))
            if b"*" in data:
                starred.update(_starred(path, match[1].decode()) for match in _STAR.finditer(data))
        return usage, frozenset(starred)

    def files(self) -> Iterator[str]:
        """The project's Python files, in the order of the file system."""
        for folder, names, files in os.walk(self.root):
            names[:] = [name for name in names if name not in _SKIPPED] if self._whole else []
            yield from (os.path.join(folder, name) for name in files if name.endswith(".py"))


def imported_backends(data: bytes) -> Iterator[str]:
    """The logging backends that a file's imports at the left margin name, one for each import."""
    return (_backend(match[1]) for match in _USES.finditer(data))


def _backend(text: bytes) -> str:
    word = text.split(b".")[0].split()[0].decode()
    return "stdlib" if word == "logging" else word


def _starred(path: str, module: str) -> str:
    """The last part of the name of the module that a star import in a file names."""
    if last := module.rpartition(".")[2]:
        return last
    folder = os.path.dirname(path)
    for _ in range(len(module) - 1):
        folder = os.path.dirname(folder)
    return os.path.basename(folder)


@cache
def _project(root: str, whole: bool) -> Project:
    return Project(root, whole=whole)


@cache
def _is_package(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "__init__.py"))


@cache
def _marked(folder: str) -> str | None:
    """The nearest folder, from here upwards, that holds a project file."""
    while True:
        if any(os.path.exists(os.path.join(folder, name)) for name in _MARKERS):
            return folder
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


@cache
def _entries(folder: str) -> frozenset[str]:
    """The names under which a folder's files and subfolders may be imported."""
    if not os.access(folder, os.R_OK):
        return frozenset()
    return frozenset(name.partition(".")[0] for name in os.listdir(folder) if not name.startswith("."))


@cache
def _importable(folder: str, name: str) -> bool:
    """Whether an absolute import of `name` finds a module or package in a folder, were that on the path."""
    path = os.path.join(folder, name)
    return name in _entries(folder) and (
        _is_package(path) or any(os.path.isfile(path + end) for end in (".py", ".so", ".pyd", ".pyc"))
    )


@cache
def _is_standard_library(folder: str) -> bool:
    """Whether a folder is (a copy of) Python's own library, whose modules shadow nothing."""
    return all(os.path.isfile(os.path.join(folder, name)) for name in ("os.py", "abc.py", "threading.py", "site.py"))


def _imports(text: bytes, name: str) -> bool:
    """Whether a text has an absolute import of a top-level name."""
    word = name.encode()
    if not name.isidentifier() or word not in text:
        return False
    return re.search(rb"^[ \t]*(?:from|import)[ \t]+%s[ \t.]" % word, text, re.M) is not None


@dataclass(slots=True)
class Home:
    """A file's place. `parts` is its module's dotted name in parts, `top` the folder that its first part stands in."""

    filename: str
    parts: tuple[str, ...]
    top: str
    is_init: bool
    project: Project

    @classmethod
    def of(cls, filename: str, text: bytes = b"") -> Home:
        """The home of a file given by any path; the file itself need not exist.

        A folder without `__init__` that the file's text imports by its name is a namespace package (PEP 420).
        """
        beyond.note()
        filename = os.path.abspath(filename)
        folder, base = os.path.split(filename)
        stem = base.partition(".")[0]
        parts = [] if stem == "__init__" else [stem]
        top = folder
        while (_is_package(top) or _imports(text, os.path.basename(top))) and os.path.dirname(top) != top:
            top, last = os.path.split(top)
            parts.insert(0, last)
        root = _marked(folder)
        if root is None and top != folder:
            root = os.path.join(top, parts[0])
        project = _project(root or folder, root is not None)
        return cls(filename, tuple(parts), top, stem == "__init__", project)

    @property
    def package(self) -> tuple[str, ...]:
        """The parts of the package that relative imports start from; empty for a module outside packages."""
        return self.parts if self.is_init else self.parts[:-1]

    @property
    def submodules(self) -> frozenset[str]:
        """Names that importing a submodule binds in this module: empty unless the file is a package's `__init__`."""
        return _entries(os.path.dirname(self.filename)) - {"__init__"} if self.is_init else frozenset()

    @property
    def is_starred(self) -> bool:
        """Whether some file of the project imports `*` from a module of this one's name."""
        return bool(self.parts) and self.parts[-1] in self.project.starred

    def roots(self) -> list[str]:
        """The folders that absolute imports may start from, as far as the file's place tells."""
        roots = (self.top, self.project.root, os.path.join(self.project.root, "src"))
        return [root for root in dict.fromkeys(roots) if not _is_package(root)]

    def shadows(self, name: str) -> bool:
        """Whether an absolute import of a top-level module may find a file of the project under that name.

        Within a package the file's own folder is on the path only where the file is run as a script.
        """
        return any(_importable(root, name) and not _is_standard_library(root) for root in self.roots())

    def shadows_as_script(self, name: str) -> bool:
        """Whether the import would find a neighbour in the file's own folder if the file were run as a script."""
        folder = os.path.dirname(self.filename)
        return _importable(folder, name) and not _is_standard_library(folder)

    def find(self, level: int, module: str | None) -> str | None:
        """The file of the module that an import names, where it is one of the project's."""
        parts = module.split(".") if module else []
        if level:
            folder = os.path.dirname(self.filename)
            for _ in range(level - 1):
                folder = os.path.dirname(folder)
            return _module_file(folder, parts)
        return next((path for root in self.roots() if (path := _module_file(root, parts))), None)


def _module_file(folder: str, parts: list[str]) -> str | None:
    path = os.path.join(folder, *parts)
    if parts and os.path.isfile(path + ".py"):
        return path + ".py"
    init = os.path.join(path, "__init__.py")
    return init if os.path.isfile(init) else None

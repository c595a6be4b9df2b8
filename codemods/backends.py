"""What a log call, and the lines that make a logger, look like for each logging library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .declared import declared_in_script
from .project import Home
from .settings import Settings
from .source import Source

# The package to declare and the module to import; the standard library needs no declaring.
PACKAGES = {"stdlib": "", "structlog": "structlog", "loguru": "loguru", "twisted": "twisted", "absl": "absl-py"}
MODULES = {"stdlib": "logging", "structlog": "structlog", "loguru": "loguru", "twisted": "twisted", "absl": "absl"}

# Calls that make a logger, and names that are one, by dotted origin.
FACTORIES = {
    "logging.getLogger": "stdlib",
    "logging.LoggerAdapter": "stdlib",
    "structlog.get_logger": "structlog",
    "structlog.getLogger": "structlog",
    "structlog.stdlib.get_logger": "structlog",
    "structlog.stdlib.getLogger": "structlog",
    "structlog.wrap_logger": "structlog",
    "kombu.log.get_logger": "stdlib",
    "celery.utils.log.get_logger": "stdlib",
    "celery.utils.log.get_task_logger": "stdlib",
    "twisted.logger.Logger": "twisted",
    "twisted.logger._logger.Logger": "twisted",
}
LOGGERS = {"logging.root": "stdlib", "loguru.logger": "loguru", "absl.logging": "absl"}
# Methods that make a logger out of a logger.
DERIVING = {"stdlib": {"getChild"}, "structlog": {"bind", "new"}, "loguru": {"bind", "opt", "patch"}}
TWISTED_LEVELS = ("twisted.logger.LogLevel", "twisted.logger._levels.LogLevel")
_TWISTED = {"warning": "warn"}
# The field of a Twisted event that holds what was caught, and shows as type, message and places of the traceback.
FAILURE = "{log_failure}"
# The levels that Twisted's `failure` has by itself.
UNLEVELLED = ("critical", "fatal")
# Files whose imports show that a library is there although no project file declares it.
MANY = 3
# absl has no `critical`, and its `fatal` ends the program.
_ABSL = {"critical": "error", "fatal": "error"}


@dataclass(frozen=True, slots=True)
class NewLogger:
    """A logger to add to a module: the lines, the statement `import_line` first, and the names that they bind.

    `level_name` is the name of Twisted's LogLevel. A line that is not needed is empty.
    """

    backend: str
    name: str
    import_line: str
    logger_line: str = ""
    level_name: str = ""


def log_call(backend: str, logger: str, level: str, event: str, level_name: str = "") -> str:
    """The log call with a constant event and the traceback of the exception at hand.

    Twisted counts every failure as an error, so below that level the call says that it is none; as observers of the
    old API (`twisted.python.log`) write the traceback of errors alone, the text then asks for it.
    """
    quoted = f'"{event}"'
    if backend == "loguru":
        return f"{logger}.opt(exception=True).{level}({quoted})"
    if backend == "twisted":
        if level in UNLEVELLED:
            return f"{logger}.failure({quoted})"
        if level == "error":
            return f"{logger}.failure({quoted}, level={level_name}.error)"
        return f'{logger}.failure("{event} {FAILURE}", level={level_name}.{_TWISTED.get(level, level)}, isError=0)'
    if backend == "absl":
        level = _ABSL.get(level, level)
    return f"{logger}.{level}({quoted}, exc_info=True)"


def new_logger(
    backend: str, free: Callable[[str], str], module: str | None, log_level: str | None, *, again: bool = False
) -> NewLogger:
    """The lines that make a new logger.

    `free` gives a name that may be bound in the module, near to the one asked for. `module` is the name by which the
    module reaches the backend's own module (stdlib, structlog) already, `log_level` that of Twisted's LogLevel.
    `again` says that the backend's module may be imported once more under its own name.
    """
    if backend == "loguru":
        name = free("logger")
        return NewLogger(backend, name, f"from loguru import {_as('logger', name)}")
    if backend == "absl":
        name = free("logging")
        return NewLogger(backend, name, f"from absl import {_as('logging', name)}")
    if backend == "twisted":
        name, factory, level = free("logger"), free("Logger"), log_level or free("LogLevel")
        parts = [_as("Logger", factory)] + ([] if log_level else [_as("LogLevel", level)])
        return NewLogger(
            backend, name, f"from twisted.logger import {', '.join(parts)}", f"{name} = {factory}()", level
        )
    wanted = MODULES[backend]
    bound = module or (wanted if again else free(wanted))
    name = free("logger")
    make = f"{bound}.getLogger(__name__)" if backend == "stdlib" else f"{bound}.get_logger()"
    return NewLogger(backend, name, "" if module else f"import {_as(wanted, bound)}", f"{name} = {make}")


def _as(name: str, bound: str) -> str:
    return name if name == bound else f"{name} as {bound}"


def is_available(backend: str, home: Home, source: Source) -> bool:
    """Whether an import of a backend can be relied on: it is Python's own, declared, or in a script's own metadata."""
    package = PACKAGES[backend]
    return not package or package in home.project.declared or package in declared_in_script(source.data)


def is_used(backend: str, home: Home) -> bool:
    """Whether so many files of the project import a backend that it is there, declared or not."""
    return home.project.usage[backend] >= MANY


def auto_backend(home: Home, source: Source, problem: Callable[[str], str | None]) -> str:
    """The backend for a module without a logger: what the project mostly uses, else structlog if declared, else stdlib.

    `problem` tells why a backend's module can't be imported in the file, as in one that the backend itself imports.
    """
    for backend, _count in home.project.usage.most_common():
        if backend == "stdlib":
            return backend
        if (is_available(backend, home, source) or is_used(backend, home)) and not problem(MODULES[backend]):
            return backend
    if is_available("structlog", home, source) and not problem(MODULES["structlog"]):
        return "structlog"
    return "stdlib"


def backend_problem(settings: Settings, filename: str, data: bytes = b"") -> str | None:
    """Why a backend that was asked for can't be used for a file, in one line with what to add; None where it can."""
    if settings.backend in ("auto", "stdlib"):
        return None
    home = Home.of(filename)
    if is_available(settings.backend, home, Source(data, filename)):
        return None
    package = PACKAGES[settings.backend]
    return (
        f"backend {settings.backend!r} is not declared by the project in {home.project.root}: add {package!r} to its "
        "dependencies (pyproject.toml, setup.cfg, setup.py or requirements.txt), or use --backend auto"
    )

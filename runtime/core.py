"""What the blocking and the asyncio queue share: options, handlers, and how to reach spool, vault, flag and metrics.

Nothing here imports SQLAlchemy, structlog or OpenFeature before it is needed: a service whose flag is off pays for none.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from .letters import DeadLetterError, LetterSummary, NoHandler

if TYPE_CHECKING:
    import structlog

    from .flags import Flag
    from .keeping import Reachability, Upkeep
    from .metrics import Metrics
    from .secrecy import Vault
    from .spool import Spool

Hook = Callable[[LetterSummary], object]

MEBIBYTE = 1024 * 1024


class Options(TypedDict, total=False):
    """What a queue can be told; each has a default.

    spool: folder of the local spool; default `$UNHUSH_SPOOL`, else the user's state folder, in both a folder for each
        database.
    spool_limit: bytes that the spool may hold; default 256 MiB. A full spool is a loud error.
    deadline: seconds that a capture may wait for the database before it goes to the spool; default 2.
    max_redrives: how often a letter is put back to work before it is parked; default 3.
    lease: seconds that a redrive holds a letter before others may take it for dead; default 300.
    alert_threshold: dead letters of one queue from which a warning is logged; default 10.
    encryption_keys: Fernet keys, the newest first; with them payloads are kept whole, encrypted.
    payload_limit: bytes of a payload beyond which it is truncated; default 64 MiB.
    code_version: what the letters say was running; default `$UNHUSH_CODE_VERSION`.
    flag: decides at each failure whether decorators and integrations capture it; default `DLQ_ENABLED`.
    metrics: where this queue counts; default the libraries' own registries.
    on_dead_letter: called with each new letter; their errors are logged.
    """

    spool: str | os.PathLike[str] | None
    spool_limit: int
    deadline: float
    max_redrives: int
    lease: float
    alert_threshold: int
    encryption_keys: Sequence[str | bytes]
    payload_limit: int
    code_version: str | None
    flag: Flag | None
    metrics: Metrics | None
    on_dead_letter: Hook | Sequence[Hook]


@dataclass(frozen=True, slots=True)
class Handler:
    """What puts a queue's letters back to work: `call(letter)`, or `call(letter, session)` where transactional."""

    call: Callable[..., Any]
    transactional: bool


class Core:
    """The options of one queue, with their defaults, and the parts that are made when they are first needed."""

    def __init__(self, database: Any, options: Options) -> None:
        unknown = set(options) - set(Options.__annotations__)
        if unknown:
            raise TypeError(f"unknown option: {', '.join(sorted(unknown))}")
        self.database = database
        self.deadline = options.get("deadline", 2.0)
        self.max_redrives = options.get("max_redrives", 3)
        self.lease = options.get("lease", 300.0)
        self.alert_threshold = options.get("alert_threshold", 10)
        self.payload_limit = options.get("payload_limit", 64 * MEBIBYTE)
        self.code_version = options.get("code_version") or os.environ.get("UNHUSH_CODE_VERSION") or None
        hooks = options.get("on_dead_letter", ())
        self.hooks: tuple[Hook, ...] = (hooks,) if callable(hooks) else tuple(hooks)
        self._handlers: dict[tuple[str, str | None], Handler] = {}
        self._jobs: dict[tuple[str, str], str] = {}
        self._spool_folder = options.get("spool")
        self._spool_limit = options.get("spool_limit", 256 * MEBIBYTE)
        self._keys = tuple(options.get("encryption_keys", ()))
        self._flag = options.get("flag")
        self._metrics = options.get("metrics")
        self.vault  # noqa: B018 - a bad key is told when the queue is made, not at the first failure

    @cached_property
    def vault(self) -> Vault | None:
        """What encrypts payloads, or None without keys."""
        if not self._keys:
            return None
        from .secrecy import Vault

        return Vault(self._keys)

    @cached_property
    def spool(self) -> Spool:
        """This host's spool for this database."""
        from .spool import Spool

        return Spool(Path(self._spool_folder or default_spool_folder(self.database)), self._spool_limit)

    @cached_property
    def flag(self) -> Flag:
        """What decides at a failure whether it is captured."""
        if self._flag is not None:
            return self._flag
        from .flags import Flag

        return Flag("DLQ_ENABLED")

    @cached_property
    def metrics(self) -> Metrics:
        """Counters of what this process did."""
        if self._metrics is not None:
            return self._metrics
        from .metrics import Metrics

        return Metrics()

    @cached_property
    def reachability(self) -> Reachability:
        """Whether the database answered of late."""
        from .keeping import Reachability

        return Reachability()

    @cached_property
    def upkeep(self) -> Upkeep:
        """When to drain the spool and to look how much is dead."""
        from .keeping import Upkeep

        return Upkeep(self.alert_threshold)

    def forget_threads(self) -> None:
        """In a forked child: lets go of what a thread of the parent may have held at that moment."""
        self.__dict__.pop("upkeep", None)

    @cached_property
    def log(self) -> structlog.stdlib.BoundLogger:
        """The queue's logger. It is never given a payload."""
        import structlog

        return structlog.get_logger("unhush.runtime")

    def register(
        self, queue: str, handler: Callable[..., Any], *, job_name: str | None = None, transactional: bool = False
    ) -> None:
        """Has `handler` put letters of the queue back to work; `job_name` narrows it to one kind of job."""
        self._handlers[queue, job_name] = Handler(handler, transactional)

    def register_job(self, queue: str, job_name: str, function: Callable[..., Any]) -> None:
        """Makes a guarded function the handler of its own letters, unless somebody registered another one.

        Raises ValueError where two functions have the same job name: one's letters would run the other.
        """
        home = f"{getattr(function, '__module__', None)}.{getattr(function, '__qualname__', function)}"
        if self._jobs.setdefault((queue, job_name), home) != home:
            raise ValueError(
                f"queue {queue!r} has a job named {job_name!r} already, {self._jobs[queue, job_name]}: give job_name"
            )
        self._handlers.setdefault((queue, job_name), Handler(_calling(function), transactional=False))

    @property
    def queues(self) -> frozenset[str]:
        """The queues that have a handler."""
        return frozenset(queue for queue, _ in self._handlers)

    def handler(self, queue: str, job_name: str) -> Handler:
        """The handler of a letter: the one of its job's name before the one of its queue. Raises NoHandler."""
        found = self._handlers.get((queue, job_name)) or self._handlers.get((queue, None))
        if found is None:
            raise NoHandler(f"no handler is registered for queue {queue!r}: call register({queue!r}, handler)")
        return found

    def handles(self, queue: str | None) -> bool:
        """Whether there is a handler for that queue, or some of its jobs; without a queue, whether there is any."""
        return any(queue in (None, name) for name, _ in self._handlers)


def _calling(function: Callable[..., Any]) -> Callable[[Any], Any]:
    """A handler that calls the function with the arguments that its letter holds."""

    def run(letter: Any) -> Any:
        result = function(*letter.payload["args"], **letter.payload["kwargs"])
        if isinstance(result, Generator):
            deque(result, maxlen=0)  # its work is done as its values are taken
            return None
        return result

    return run


def check_scheme(url: str) -> None:
    """Raises DeadLetterError for a URL of a database that the queue can't use; the rest shows when it is used."""
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme not in ("sqlite", "postgresql", "mariadb", "mysql"):
        raise DeadLetterError("the database URL must begin with sqlite:, postgresql: or mariadb:")


def default_spool_folder(database: Any) -> Path:
    """Where records wait for this database: each has a folder of its own, so that none is drained into another."""
    base = os.environ.get("UNHUSH_SPOOL")
    return (Path(base) if base else _state_folder() / "unhush" / "spool") / _database_name(database)


def _state_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


def _database_name(database: Any) -> str:
    """A name for the database itself, whatever the driver, user and password to reach it."""
    from sqlalchemy import make_url

    from .engine import default_url

    url = make_url(getattr(database, "url", database) or default_url())
    kind = "mariadb" if url.get_backend_name() == "mysql" else url.get_backend_name()
    name = os.path.abspath(url.database or "") if kind == "sqlite" else url.database
    digest = hashlib.sha256(repr((kind, url.host, url.port, name)).encode()).hexdigest()
    return f"{kind}-{digest[:16]}"

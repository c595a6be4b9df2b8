"""The migration files: which there are, their bytes, and what they say about themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from .errors import SchemaProblem

FOLDER = Path(__file__).parent
DIALECTS = ("mariadb", "postgresql", "sqlite")
_NAME = re.compile(r"(\d{3})_(\w+)\.sql")
_CREATED = re.compile(rb"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)
_DROPPED = re.compile(rb"^DROP TABLE (?:IF EXISTS )?(\w+)", re.MULTILINE)
_WORKS_WITH = re.compile(rb"^-- unhush: works-with-code (\d+)[ \t]*\r?$", re.MULTILINE)
_REFUSED_WHILE = re.compile(rb"^-- unhush: refused-while ([^:\n]+): ([^\r\n]+)", re.MULTILINE)
_NO_TRANSACTION = re.compile(rb"^-- unhush: no-transaction[ \t]*\r?$", re.MULTILINE)
_APART = re.compile(rb"^-- unhush: apart[ \t]*\r?$", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    """One `.sql` file, applied or backed out as it stands."""

    data: bytes

    @property
    def text(self) -> str:
        """What the file says; files are UTF-8."""
        return self.data.decode()

    @property
    def created(self) -> frozenset[str]:
        """The tables that it makes."""
        return _names(_CREATED, self.data)

    @property
    def dropped(self) -> frozenset[str]:
        """The tables that it drops."""
        return _names(_DROPPED, self.data)

    @property
    def works_with(self) -> int | None:
        """The oldest code, by the newest migration that it knows, that goes on working after this one.

        None where the file has no line `-- unhush: works-with-code N`: then only code that knows it does.
        """
        match = _WORKS_WITH.search(self.data)
        return int(match[1]) if match else None

    @property
    def refused_while(self) -> tuple[str, str] | None:
        """When it must not run, in words, and the query that has a row then: `-- unhush: refused-while WORDS: QUERY`."""
        match = _REFUSED_WHILE.search(self.data)
        return (match[1].decode(), match[2].decode()) if match else None

    @property
    def in_transaction(self) -> bool:
        """Whether it may run in a transaction: always, but where the file has the line `-- unhush: no-transaction`."""
        return not _NO_TRANSACTION.search(self.data)

    @property
    def apart(self) -> bool:
        """Whether it is applied only when it is named, and counts for nothing else: the line `-- unhush: apart`."""
        return bool(_APART.search(self.data))


@dataclass(frozen=True)
class Migration:
    """A step of the schema: `NNN_name.sql` and what takes it back, `NNN_name.backout.sql`."""

    version: int
    name: str
    script: Script
    backout: Script

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's bytes, as hex."""
        return sha256(self.script.data).hexdigest()

    @property
    def label(self) -> str:
        """The migration as files and people name it, `001_create_job_dlq`."""
        return f"{self.version:03}_{self.name}"

    @property
    def apart(self) -> bool:
        """Whether only its own command applies it; it is never pending, and no version of the schema."""
        return self.script.apart


def dialect_named(name: str) -> str:
    """The folder of a SQLAlchemy dialect. Raises SchemaProblem where there are no migrations for it."""
    dialect = "mariadb" if name == "mysql" else name
    if dialect not in DIALECTS:
        raise SchemaProblem(f"no migrations for {name!r}, only for {', '.join(DIALECTS)}")
    return dialect


def migrations(dialect: str, folder: Path = FOLDER) -> tuple[Migration, ...]:
    """All migrations for a database, in order. Raises SchemaProblem for an unknown dialect or one without its backout."""
    found = []
    for path in sorted((folder / dialect_named(dialect)).iterdir()):
        if match := _NAME.fullmatch(path.name):
            backout = path.with_suffix(".backout.sql")
            if not backout.is_file():
                raise SchemaProblem(f"{path.name} has no {backout.name} beside it")
            scripts = Script(path.read_bytes()), Script(backout.read_bytes())
            found.append(Migration(int(match[1]), match[2], *scripts))
    return tuple(found)


def rendered(dialect: str, version: int, backout: bool = False, folder: Path = FOLDER) -> bytes:
    """The bytes of one migration's file, or of its backout. Raises SchemaProblem where there is none."""
    for migration in migrations(dialect, folder):
        if migration.version == version:
            return (migration.backout if backout else migration.script).data
    raise SchemaProblem(f"there is no migration {version}")


def table_names(dialect: str, folder: Path = FOLDER) -> frozenset[str]:
    """The tables that the migrations make; the runner's own is not among them."""
    return frozenset().union(*(step.script.created for step in migrations(dialect, folder)))


def _names(pattern: re.Pattern[bytes], data: bytes) -> frozenset[str]:
    return frozenset(name.decode() for name in pattern.findall(data))

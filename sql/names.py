"""Names of a user's own tables and columns: checked, quoted, and as values in a query."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from .errors import SchemaProblem

_QUOTES = frozenset("\"'`")
_QUOTE = {"postgresql": '"', "sqlite": '"', "mariadb": "`"}
# PostgreSQL counts bytes, and cuts off what is longer without a word; SQLite knows no limit, our own tables do.
_LONGEST = {"postgresql": 63, "mariadb": 64, "sqlite": 255}
_TEXT = {
    "postgresql": "convert_from('\\x{hex}'::bytea, 'UTF8')",
    "mariadb": "CONVERT(X'{hex}' USING utf8mb4)",
    "sqlite": "CAST(X'{hex}' AS TEXT)",
}


@dataclass(frozen=True)
class TableName:
    """A table, with the schema that it is in (on MariaDB: the database), or None for the one in use."""

    schema: str | None
    table: str

    def __str__(self) -> str:
        return ".".join(part for part in (self.schema, self.table) if part is not None)

    def quoted(self, dialect: str) -> str:
        """As it stands in a statement."""
        return self.beside(self.table, dialect)

    def beside(self, name: str, dialect: str) -> str:
        """Something else in the same schema, as it stands in a statement."""
        return ".".join(quoted(part, dialect) for part in (self.schema, name) if part is not None)


def table_name(text: str, dialect: str) -> TableName:
    """`table` or `schema.table`, each as the database stores it, without quotes. Raises SchemaProblem."""
    schema, dot, table = text.rpartition(".")
    if "." in schema:
        raise SchemaProblem(f"{_shown(text)} is no table's name: write it as table or schema.table")
    parts = [checked(part, "table", dialect) for part in ((schema, table) if dot else (table,))]
    return TableName(parts[0] if dot else None, parts[-1])


def checked(name: str, what: str, dialect: str) -> str:
    """The name, where it can be one of a `what` in that kind of database. Raises SchemaProblem."""
    if not name:
        raise SchemaProblem(f"the name of a {what} is empty")
    if _QUOTES & set(name):
        raise SchemaProblem(f"{_shown(name)} holds a quote: write the {what}'s name as it is stored, without quotes")
    if not name.isprintable():
        raise SchemaProblem(f"{_shown(name)} is no {what}'s name: it holds a character that can't be seen")
    longest = _LONGEST[dialect]
    if (len(name.encode()) if dialect == "postgresql" else len(name)) > longest:
        unit = "bytes" if dialect == "postgresql" else "characters"
        raise SchemaProblem(f"{_shown(name)} is no {what}'s name: {dialect} has names of {longest} {unit} at most")
    return name


def quoted(name: str, dialect: str) -> str:
    """A checked name as it stands in a statement."""
    quote = _QUOTE[dialect]
    return f"{quote}{name}{quote}"


def literal(text: str, dialect: str) -> str:
    """A text as a value in a query: in hex, since quotes and backslashes mean other things to each database."""
    return _TEXT[dialect].format(hex=text.encode().hex())


def index_name(table: str) -> str:
    """What the index of a table's running rows is called: 63 bytes at most, and no two tables' alike."""
    name = f"ix_{table}_running"
    if len(name.encode()) <= _LONGEST["postgresql"]:
        return name
    mark = f"_{sha256(table.encode()).hexdigest()[:8]}_running"
    return "ix_" + table.encode()[: _LONGEST["postgresql"] - 3 - len(mark)].decode(errors="ignore") + mark


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:80]}...")

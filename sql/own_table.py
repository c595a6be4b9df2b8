"""A look at a user's own jobs table: that it is there, what its key is, and what it has of heartbeats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import SchemaProblem
from .history import Query
from .names import TableName, index_name, literal

COLUMNS = ("heartbeat_at", "heartbeat_fence")
_RIGHT = {
    "postgresql": {"heartbeat_at": {"timestamp with time zone"}, "heartbeat_fence": {"bigint"}},
    "mariadb": {"heartbeat_at": {"datetime(6)"}, "heartbeat_fence": {"bigint", "bigint(20)"}},
    "sqlite": {"heartbeat_at": {"datetime"}, "heartbeat_fence": {"bigint", "integer", "int"}},
}
# What a job's id can be compared with by an index. The rest of a type's name, as a length, does not count.
_KEYS = {
    "postgresql": {
        "smallint": "integer", "integer": "integer", "bigint": "integer", "uuid": "uuid",
        "text": "text", "character varying": "text", "character": "padded", "citext": "citext",
    },
    "mariadb": {
        **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint"), "integer"),
        **dict.fromkeys(("char", "varchar"), "text"), "uuid": "uuid",
    },
}  # fmt: skip
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "p": "partitioned", "c": "a type"}


class NoTable(SchemaProblem):
    """There is no table of that name."""


@dataclass(frozen=True)
class Column:
    """A column as the database has it: its type in the database's words."""

    type: str
    required: bool
    charset: str | None = None
    collation: str | None = None


@dataclass(frozen=True)
class Key:
    """What a table's rows are told apart by, as the database stores its name."""

    name: str
    kind: str
    """integer, uuid, text, padded, citext or any (SQLite)."""
    column: Column


_NO_KEY = Key("", "any", Column("", False))


@dataclass(frozen=True)
class OwnTable:
    """What was seen of the table. Its name is as the database stores it."""

    dialect: str
    name: TableName
    key: Key
    columns: Mapping[str, Column]
    """Those of COLUMNS that are there."""
    index: str | None = None
    """The definition of the index of running rows."""
    index_valid: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    stranger: str | None = None
    """Whose the table is, where it is not ours to change."""

    @property
    def has(self) -> frozenset[str]:
        """The parts of heartbeats that are there, in the words of the scripts' `unless` and `if`."""
        parts = set(self.columns)
        if self.index is not None:
            parts.add("index")
            parts |= set() if self.index_valid else {"invalid index"}
        if (factor := self.options.get("fillfactor")) is not None:
            parts |= {"fillfactor", f"fillfactor {factor}"}
        return frozenset(parts)

    @property
    def facts(self) -> list[str]:
        """What must stay as the upgrade left it, a line each. The user's own changes to the table are none of ours."""
        lines = [f"column {name} {column.type}" for name, column in self.columns.items()]
        lines.append(f"key {self.key.name} {self.key.column.type}")
        if self.index is not None:
            lines.append(f"index {self.index}{'' if self.index_valid else ' (invalid)'}")
        return sorted(lines)


def look(query: Query, dialect: str, name: TableName, key: str | None) -> OwnTable:
    """Looks at the table. Raises SchemaProblem where it can't be used: one line that says what is wrong with it.

    Without a key it only says what is there of heartbeats.
    """
    found = {"postgresql": _postgresql, "mariadb": _mariadb, "sqlite": _sqlite}[dialect](query, name, key)
    for column, right in _RIGHT[dialect].items() if key is not None else ():
        there = found.columns.get(column)
        if there is not None and there.type.lower() not in right:
            raise SchemaProblem(
                f"{found.name} has a column {column} of type {there.type}, where {min(right)} is needed: rename it first"
            )
        if there is not None and there.required:
            raise SchemaProblem(
                f"{found.name} has a column {column} that can't be null, as it must be: change it first"
            )
    return found


def _no_table(name: TableName) -> NoTable:
    return NoTable(f"there is no table {name}: write its name as the database stores it")


def _key(columns: Mapping[str, Column], key: str, name: TableName, fold: bool = True) -> str:
    """The key as it is stored; MariaDB and SQLite don't tell upper from lower case in names of columns."""
    for column in columns:
        if column == key or (fold and column.lower() == key.lower()):
            return column
    raise SchemaProblem(f"{name} has no column {key!r}: name its key by --key-column")


def _kind(dialect: str, column: Column, what: str) -> str:
    base = column.type.partition("(")[0].partition(" unsigned")[0].strip()
    kind = _KEYS[dialect].get(column.type) or _KEYS[dialect].get(base)
    if kind is None:
        raise SchemaProblem(f"{what} is of type {column.type}: a key must be an integer, a text or a UUID")
    return kind


def _not_unique(what: str) -> SchemaProblem:
    return SchemaProblem(f"{what} is not unique: a beat would be written to several rows")


def _ours(columns: Mapping[str, Column]) -> dict[str, Column]:
    return {name.lower(): column for name, column in columns.items() if name.lower() in COLUMNS}


def _foreign_index(name: TableName) -> SchemaProblem:
    return SchemaProblem(f"there is something else called {index_name(name.table)}: rename it first")


def _postgresql(query: Query, name: TableName, key: str | None) -> OwnTable:
    where = literal(name.quoted("postgresql"), "postgresql")
    rows = query(
        "SELECT c.oid::bigint, n.nspname::text, c.relkind::text, c.relispartition, pg_has_role(c.relowner, 'USAGE'),"
        " pg_get_userbyid(c.relowner)::text, coalesce(array_to_string(c.reloptions, ','), '')"
        f" FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass({where})"
    )
    if not rows:
        raise _no_table(name)
    oid, schema, relkind, partition, owned, owner, options = rows[0]
    name = TableName(schema, name.table)
    if relkind != "r":
        raise SchemaProblem(
            f"{name} is {_KINDS.get(relkind, 'something else')}: only a plain table can hold heartbeats"
        )
    if partition:
        raise SchemaProblem(f"{name} is a partition: only a plain table can hold heartbeats")
    columns = {
        column: Column(type_, required)
        for column, type_, required in query(
            "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
            f" WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped"
        )
    }
    index, valid = _postgresql_index(query, oid, name)
    return OwnTable(
        dialect="postgresql",
        name=name,
        key=_NO_KEY if key is None else _postgresql_key(query, oid, name, columns, key),
        columns={column: columns[column] for column in COLUMNS if column in columns},
        index=index,
        index_valid=valid,
        options=dict(option.split("=", 1) for option in options.split(",") if option),
        stranger=None if owned else owner,
    )


def _postgresql_key(query: Query, oid: int, name: TableName, columns: Mapping[str, Column], key: str) -> Key:
    key = _key(columns, key, name, fold=False)
    column = literal(key, "postgresql")
    ((base, attnum),) = query(  # of a domain, the type below it
        "SELECT coalesce(nullif(typbasetype, 0), t.oid)::regtype::text, attnum FROM pg_attribute JOIN pg_type t"
        f" ON t.oid = atttypid WHERE attrelid = {oid} AND attname = {column}"
    )
    kind = _kind("postgresql", Column(base.rpartition(".")[2], False), f"{name}, column {key}")
    if not query(
        f"SELECT 1 FROM pg_index WHERE indrelid = {oid} AND indisunique AND indisvalid AND indpred IS NULL"
        f" AND indexprs IS NULL AND indnkeyatts = 1 AND indkey[0] = {attnum}"
    ):
        raise _not_unique(f"{name}, column {key}")
    return Key(key, kind, columns[key])


def _postgresql_index(query: Query, oid: int, name: TableName) -> tuple[str | None, bool]:
    """The index of running rows, and whether it is whole. Raises SchemaProblem where its name is taken."""
    rows = query(
        "SELECT indrelid::bigint, indisvalid, pg_get_indexdef(indexrelid), pg_get_expr(indpred, indrelid)"
        " FROM pg_class c LEFT JOIN pg_index ON indexrelid = c.oid JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE c.relname = {literal(index_name(name.table), 'postgresql')}"
        f" AND n.nspname = {literal(name.schema or '', 'postgresql')}"
    )
    if not rows:
        return None, True
    of, valid, definition, condition = rows[0]
    if of != oid or condition != "(heartbeat_fence IS NOT NULL)":
        raise _foreign_index(name)
    return definition, valid


def _mariadb(query: Query, name: TableName, key: str | None) -> OwnTable:
    schema = "DATABASE()" if name.schema is None else literal(name.schema, "mariadb")
    # The names' own collation takes "Jobs" for "jobs", which are two tables.
    where = " AND ".join(
        f"CONVERT({column} USING utf8mb4) COLLATE utf8mb4_bin = {value}"
        for column, value in (("table_schema", schema), ("table_name", literal(name.table, "mariadb")))
    )
    rows = query(
        "SELECT table_type, engine, CONVERT(table_schema USING utf8mb4) COLLATE utf8mb4_bin = DATABASE()"
        f" FROM information_schema.tables WHERE {where}"
    )
    if not rows:
        raise _no_table(name)
    type_, engine, current = rows[0]
    name = TableName(None if current else name.schema, name.table)
    if type_ != "BASE TABLE":
        raise SchemaProblem(f"{name} is a {type_.lower()}: only a plain table can hold heartbeats")
    if engine != "InnoDB":
        raise SchemaProblem(f"{name} is a table of {engine}: only InnoDB adds columns without a copy")
    columns = {
        row[0]: Column(row[1], row[2] == "NO", row[3], row[4])
        for row in query(
            "SELECT column_name, column_type, is_nullable, character_set_name, collation_name"
            f" FROM information_schema.columns WHERE {where} ORDER BY ordinal_position"
        )
    }
    own = _NO_KEY if key is None else _mariadb_key(query, where, name, columns, key)
    return OwnTable("mariadb", name, own, _ours(columns))


def _mariadb_key(query: Query, where: str, name: TableName, columns: Mapping[str, Column], key: str) -> Key:
    key = _key(columns, key, name)
    kind = _kind("mariadb", columns[key], f"{name}, column {key}")
    column = f"CONVERT(min(column_name) USING utf8mb4) = {literal(key, 'mariadb')}"
    if not query(
        f"SELECT index_name FROM information_schema.statistics WHERE {where} GROUP BY index_name"
        f" HAVING count(*) = 1 AND max(non_unique) = 0 AND max(sub_part) IS NULL AND {column}"
    ):
        raise _not_unique(f"{name}, column {key}")
    return Key(key, kind, columns[key])


def _sqlite(query: Query, name: TableName, key: str | None) -> OwnTable:
    if name.schema not in (None, "main"):
        raise SchemaProblem(f"there is no schema {name.schema}: SQLite has `main` alone")
    text = literal(name.table, "sqlite")
    rows = query(f"SELECT name, type, sql FROM sqlite_master WHERE name = {text} COLLATE NOCASE AND type != 'index'")
    if not rows:
        raise _no_table(name)
    name = TableName(None, rows[0][0])
    if rows[0][1] != "table" or rows[0][2].upper().startswith("CREATE VIRTUAL"):
        raise SchemaProblem(f"{name} is a view, or virtual: only a plain table can hold heartbeats")
    if rows[0][2].rpartition(")")[2].upper().replace(",", " ").split().count("STRICT"):
        raise SchemaProblem(f"{name} is STRICT, which knows no datetime: add the columns by other means")
    seen = query(f'SELECT name, type, "notnull", pk FROM pragma_table_info({text})')
    columns = {column: Column(type_, bool(required)) for column, type_, required, _ in seen}
    own = _NO_KEY
    if key is not None:
        key = _key(columns, key, name)
        if not _sqlite_unique(query, text, key, [row[0] for row in seen if row[3]]):
            raise _not_unique(f"{name}, column {key}")
        own = Key(key, "any", columns[key])
    called = literal(index_name(name.table), "sqlite")
    index = query(f"SELECT tbl_name, sql FROM sqlite_master WHERE name = {called} COLLATE NOCASE")
    if index and (index[0][0] != name.table or "heartbeat_fence" not in (index[0][1] or "")):
        raise _foreign_index(name)
    return OwnTable("sqlite", name, own, _ours(columns), index[0][1] if index else None)


def _sqlite_unique(query: Query, table: str, key: str, primary: list[str]) -> bool:
    if primary == [key]:
        return True
    for (index,) in query(f'SELECT name FROM pragma_index_list({table}) WHERE "unique" AND NOT partial'):
        if [row[0] for row in query(f"SELECT name FROM pragma_index_info({literal(index, 'sqlite')})")] == [key]:
            return True
    return False

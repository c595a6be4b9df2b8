"""What a statement does on PostgreSQL: locks as a second connection sees them, rewrites, scans, and what it made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...runtime.redact import redact_text
from .sampling import LOOKING_MS, Gate, Sampler, named
from .watch import Facts, Watched

if TYPE_CHECKING:
    from sqlalchemy import URL

GUARD_MS = 4999  # a lock_timeout of the dry run's own, told from those of files by its odd number
BLOCKS = {
    "AccessShareLock": "",
    "RowShareLock": "",
    "RowExclusiveLock": "",
    "ShareUpdateExclusiveLock": "",
    "ShareLock": "writes",
    "ShareRowExclusiveLock": "writes",
    "ExclusiveLock": "writes",
    "AccessExclusiveLock": "reads and writes",
}
STRENGTH = {mode: rank for rank, mode in enumerate(BLOCKS)}
_WRITING = {mode for mode in BLOCKS if STRENGTH[mode] >= STRENGTH["RowExclusiveLock"]}
# pg_shdepend, too, belongs to all databases, but every table that gets an owner is noted there.
_SHARED = "relisshared AND relname <> 'pg_shdepend' AND relkind = 'r'"
_RELATIONS = """
SELECT c.oid, quote_ident(nspname) || '.' || quote_ident(relname), relname, relkind, relfilenode, i.indrelid
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND relkind IN ('r', 'p', 'i', 'I', 'm', 'S')
"""
_LOCKS = """
SELECT relation, mode FROM pg_locks WHERE pid = %s AND locktype = 'relation'
AND database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_COUNTS = "SELECT relid, seq_tup_read, n_tup_ins, n_tup_upd, n_tup_del FROM {view}"
_KINDS = {"r": "table", "p": "partitioned table", "i": "index", "I": "index", "m": "materialized view", "S": "sequence"}


@dataclass(frozen=True)
class Relation:
    """A table, index or sequence as it stood at one moment."""

    oid: int
    name: str
    bare: str
    """Its name without the schema, not quoted."""
    kind: str
    file: int
    table: int | None
    """The table of an index."""


class PostgresLook:
    """Looks at each statement from within its own connection, and at its locks from a second one."""

    def __init__(self, work: Watched, observer: Any, url: URL) -> None:
        self._work = work
        self._url = url
        self._observer = observer
        self._pid = work.connection.info.backend_pid
        self._notices: list[Facts] = []
        self._whole = True
        self._xid: int | None = None
        self._sampler: Sampler | None = None
        self._first: dict[int, str] = {}
        self._shared = {
            row[0]: row[1] for row in observer.execute(f"SELECT oid, relname FROM pg_class WHERE {_SHARED}")
        }
        self._flushes = work.connection.info.server_version >= 150000
        work.connection.add_notice_handler(self._noticed)
        work.plain("SET idle_in_transaction_session_timeout = 0")  # it idles only while we look

    def _noticed(self, diagnostic: Any) -> None:
        self._notices.append(
            {
                "severity": diagnostic.severity_nonlocalized or diagnostic.severity,
                "code": diagnostic.sqlstate,
                "message": redact_text(diagnostic.message_primary or ""),
            }
        )

    def step(self, whole: bool) -> None:
        """Remembers what is there for all to see, before the file begins."""
        self._whole = whole
        self._xid = None
        self._existed = {row[0] for row in self._observer.execute("SELECT oid FROM pg_class")}
        for oid, one in self._seen_relations().items():
            self._first.setdefault(oid, one.name)

    def before(self, statement: str) -> None:
        """Remembers how things stand; outside a transaction it also begins to sample the locks."""
        self._notices.clear()
        if self._whole and self._xid is None:
            self._xid = self._transaction()
        self._relations = self._seen_relations()
        self._counts = self._seen_counts()
        self._held = self._locks()
        if not self._whole:
            gate, self._timeout = self._gate(statement), self._lock_timeout()
            if gate and self._timeout:  # the gate must not be what makes the statement give up
                self._work.plain(f"SET lock_timeout = {self._longer()}")
            self._sampler = Sampler(self._observer, self._pid, self._locks, gate)

    def called_now(self, name: str) -> str:
        """What that table is called now, for files may rename it."""
        oids = [oid for oid, first in self._first.items() if first == name]
        names = [one.name for oid, one in self._seen_relations().items() if oid in oids]
        return names[0] if names else name

    def kept(self) -> bool:
        """Each transaction has its own id; after a COMMIT in between it is another one."""
        return self._xid is None or self._transaction() == self._xid

    def after(self, failed: bool) -> Facts:
        """What the statement did."""
        now = self._locks()
        if self._sampler is not None:
            now |= self._sampler.stop()
            self._sampler = None
            if not self._work.lost and self._lock_timeout() == self._longer():  # else the statement set it
                self._work.plain(f"SET lock_timeout = {self._timeout}")
        facts: Facts = {"notices": list(self._notices), "shared": self._shared_writes(now)}
        if failed:
            return {**facts, "locks": self._taken(now, self._relations)}
        relations = self._seen_relations()
        both = {**self._relations, **relations}
        timeout = self._lock_timeout()
        return {
            **facts,
            "locks": self._taken(now, both),
            "rewritten": self._rewritten(relations, now),
            "made": self._made(relations),
            "dropped": sorted(old.name for oid, old in self._relations.items() if oid not in relations),
            "lock_timeout_ms": 0 if timeout == GUARD_MS else timeout,
            **self._counted(both, now),
        }

    def abandon(self) -> None:
        """Ends the sampling, which would go on for ever."""
        if self._sampler is not None:
            self._sampler.stop()

    def _gate(self, statement: str) -> Gate | None:
        found = self._relations.values()
        tables = {oid: one.name for oid, one in self._relations.items() if one.kind in "rp"}
        pairs = [(one.bare, tables[oid]) for one in found if (oid := one.table or one.oid) in tables]
        groups: dict[str, list[str]] = {name: [] for name in named(statement, pairs)}
        above = dict(self._observer.execute("SELECT inhrelid, inhparent FROM pg_inherits").fetchall()) if groups else {}
        for oid, name in tables.items() if groups else ():
            top: int | None = oid
            while top is not None and tables.get(top) not in groups:
                top = above.get(top)
            if top is not None:
                groups[tables[top]].append(name)
        return Gate(self._url, groups.values()) if groups else None

    def _longer(self) -> int:
        """The statement's own lock_timeout and what our look may take, in ms."""
        return min(self._timeout + LOOKING_MS, 2**31 - 1)

    def _lock_timeout(self) -> int:
        return int(self._work.query("SELECT setting FROM pg_settings WHERE name = 'lock_timeout'")[0][0])

    def _transaction(self) -> int:
        return int(self._work.query("SELECT txid_current()")[0][0])

    def _seen_relations(self) -> dict[int, Relation]:
        rows = self._work.query(_RELATIONS)
        return {oid: Relation(oid, name, bare, _text(kind), file, table) for oid, name, bare, kind, file, table in rows}

    def _locks(self) -> set[tuple[int, str]]:
        return {(oid, mode) for oid, mode in self._observer.execute(_LOCKS, (self._pid,))}

    def _seen_counts(self) -> dict[int, tuple[int, ...]]:
        if self._whole:
            view = "pg_stat_xact_user_tables"
        elif self._flushes:
            self._work.query("SELECT pg_stat_force_next_flush()")
            view = "pg_stat_user_tables"
        else:
            return {}
        return {row[0]: tuple(row[1:]) for row in self._work.query(_COUNTS.format(view=view))}

    def _taken(self, now: set[tuple[int, str]], relations: dict[int, Relation]) -> list[Facts]:
        """The locks that came with this statement, on what others can see."""
        found = [
            {
                "relation": self._name(oid, relations),
                "mode": mode,
                "blocks": BLOCKS[mode],
                "kind": _KINDS[relations[oid].kind],
                "table": self._table(oid, relations),
            }
            for oid, mode in now - self._held
            if oid in relations and oid in self._existed and mode in BLOCKS
        ]
        return sorted(found, key=lambda lock: (lock["relation"], -STRENGTH[lock["mode"]]))

    def _table(self, oid: int, relations: dict[int, Relation]) -> str:
        table = relations[oid].table
        return self._name(table if table is not None and table in relations else oid, relations)

    def _name(self, oid: int, relations: dict[int, Relation]) -> str:
        """What it was called before any file ran, or before the first that found it there."""
        return self._first.get(oid) or relations[oid].name

    def _shared_writes(self, now: set[tuple[int, str]]) -> list[str]:
        return sorted({self._shared[oid] for oid, mode in now - self._held if oid in self._shared and mode in _WRITING})

    def _rewritten(self, relations: dict[int, Relation], now: set[tuple[int, str]]) -> list[Facts]:
        found = []
        for oid, new in relations.items():
            old = self._relations.get(oid)
            if old is None or old.file == new.file or oid not in self._existed or new.kind == "S":
                continue
            size = self._work.query(f"SELECT pg_table_size({oid})")[0][0]
            found.append(
                {
                    "relation": self._name(oid, relations),
                    "kind": _KINDS[new.kind],
                    "bytes": int(size),
                    "under": self._under(oid, now),
                    "empty": new.kind == "r" and not self._work.query(f"SELECT EXISTS (SELECT FROM {new.name})")[0][0],
                }
            )
        return sorted(found, key=lambda item: item["relation"])

    def _made(self, relations: dict[int, Relation]) -> list[Facts]:
        found = []
        for oid in relations.keys() - self._relations.keys():
            new = relations[oid]
            size = self._work.query(f"SELECT pg_table_size({oid})")[0][0]
            on = self._name(new.table, relations) if new.table in relations and new.table in self._existed else None
            found.append({"relation": new.name, "kind": _KINDS[new.kind], "bytes": int(size), "on_existing": on})
        return sorted(found, key=lambda item: item["relation"])

    def _counted(self, relations: dict[int, Relation], now: set[tuple[int, str]]) -> Facts:
        scanned, changed = [], []
        for oid, counts in self._seen_counts().items():
            was = self._counts.get(oid, (0, 0, 0, 0))
            read, inserted, updated, deleted = (new - old for new, old in zip(counts, was, strict=True))
            if oid not in relations or oid not in self._existed:
                continue
            name = self._name(oid, relations)
            if read > 0:
                scanned.append({"relation": name, "rows": read, "under": self._under(oid, now)})
            if inserted > 0 or updated > 0 or deleted > 0:
                changed.append({"relation": name, "inserted": inserted, "updated": updated, "deleted": deleted})
        return {
            "scanned": sorted(scanned, key=lambda item: item["relation"]),
            "changed": sorted(changed, key=lambda item: item["relation"]),
        }

    def _under(self, oid: int, now: set[tuple[int, str]]) -> str:
        """The strongest lock that is held on it by then, whichever statement took it."""
        modes = [mode for held, mode in now if held == oid and mode in STRENGTH]
        return max(modes, key=STRENGTH.__getitem__, default="")


def _text(kind: Any) -> str:
    return kind.decode() if isinstance(kind, bytes) else str(kind)

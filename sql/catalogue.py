"""What the database itself says about our tables, as lines: columns, constraints, indexes, comments, options."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import unified_diff
from hashlib import sha256

from .history import Query

# Names come from our own files, so they stand in the text as they are.
_POSTGRESQL = """
WITH ours AS (
    SELECT c.oid, c.relname, c.reloptions FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relname IN ({names})
)
SELECT relname || ': table ' || concat_ws(' ', array_to_string(reloptions, ','), obj_description(oid, 'pg_class'))
FROM ours
UNION ALL
SELECT relname || ': column ' || concat_ws(' ', attname, format_type(atttypid, atttypmod),
    CASE WHEN attnotnull THEN 'not null' END, 'default ' || pg_get_expr(adbin, adrelid),
    'identity ' || nullif(attidentity::text, ''), col_description(ours.oid, attnum))
FROM ours JOIN pg_attribute ON attrelid = ours.oid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT relname || ': constraint ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
FROM ours JOIN pg_constraint ON conrelid = ours.oid WHERE contype <> 'n'
UNION ALL
SELECT relname || ': index ' || replace(pg_get_indexdef(indexrelid), quote_ident(current_schema()) || '.', '')
    || CASE WHEN indisvalid THEN '' ELSE ' (invalid)' END
FROM ours JOIN pg_index ON indrelid = ours.oid
UNION ALL
SELECT relname || ': trigger ' || replace(pg_get_triggerdef(pg_trigger.oid), quote_ident(current_schema()) || '.', '')
FROM ours JOIN pg_trigger ON tgrelid = ours.oid WHERE NOT tgisinternal
"""
_SQLITE = "SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name IN ({names}) ORDER BY rowid"
_MARIADB = """
SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN ({names})
"""


def lines(dialect: str, query: Query, tables: Iterable[str]) -> list[str]:
    """What the catalogue holds on those of the tables that are there, one fact a line, sorted."""
    names = ", ".join(f"'{name}'" for name in sorted(tables))
    if dialect == "postgresql":
        return sorted(line for (line,) in query(_POSTGRESQL.format(names=names)))
    if dialect == "sqlite":
        texts = query(_SQLITE.format(names=names))
    else:
        there = query(_MARIADB.format(names=names))
        texts = [query(f"SHOW CREATE TABLE {name}")[0] for (name,) in there]
    return sorted(f"{name}: {line}" for name, text in texts for line in _facts(text))


def _facts(text: str) -> list[str]:
    """The lines of a CREATE statement, without what changes as rows come and go."""
    text = re.sub(r" AUTO_INCREMENT=\d+", "", text)
    return [line.strip().rstrip(",") for line in text.splitlines() if line.strip()]


def fingerprint_of(found: Iterable[str]) -> str:
    """SHA-256 of the lines, as hex."""
    return sha256("\n".join(found).encode()).hexdigest()


def differences(before: Iterable[str], now: Iterable[str]) -> list[str]:
    """The lines that went (`- ...`) and came (`+ ...`)."""
    changes = list(unified_diff(list(before), list(now), n=0, lineterm=""))[2:]
    return [f"{line[0]} {line[1:]}" for line in changes if not line.startswith("@@")]

"""What a whole database looks like, as lines; two databases with the same lines have the same schema.

Attribute numbers are left out, since they differ once a column was dropped, and so is the runner's own table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import unified_diff
from hashlib import sha256

from ...sql.history import TABLE, Query

_OURS = "nspname !~ '^pg_(toast|temp|catalog)' AND nspname <> 'information_schema'"
_FREE = "NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.objid = {oid} AND e.classid = '{kind}'::regclass AND e.deptype = 'e')"
_POSTGRESQL = f"""
WITH ours AS (
    SELECT c.*, quote_ident(nspname) || '.' || quote_ident(relname) AS called FROM pg_class c
    JOIN pg_namespace n ON n.oid = relnamespace
    WHERE {_OURS} AND relname <> '{TABLE}' AND {_FREE.format(oid="c.oid", kind="pg_class")}
)
SELECT called || ': ' || CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
    WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' ELSE 'type' END || ' '
    || concat_ws(' ', 'owner ' || pg_get_userbyid(relowner), 'options ' || array_to_string(reloptions, ','),
    CASE WHEN relpersistence <> 'p' THEN 'not logged' END, CASE WHEN relrowsecurity THEN 'row security' END,
    'rights ' || (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(relacl) a),
    'definition ' || CASE WHEN relkind IN ('v', 'm') THEN md5(pg_get_viewdef(oid)) END,
    'comment ' || obj_description(oid, 'pg_class'))
FROM ours WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
UNION ALL
SELECT called || ': column ' || concat_ws(' ', quote_ident(attname), format_type(atttypid, atttypmod),
    CASE WHEN attnotnull THEN 'not null' END, 'default ' || pg_get_expr(adbin, adrelid),
    'identity ' || nullif(attidentity::text, ''), 'collate ' || (SELECT collname FROM pg_collation k
        WHERE k.oid = attcollation AND collname <> 'default'),
    'rights ' || (SELECT string_agg(b::text, ',' ORDER BY b::text) FROM unnest(attacl) b),
    'comment ' || col_description(ours.oid, attnum))
FROM ours JOIN pg_attribute ON attrelid = ours.oid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
UNION ALL
SELECT called || ': constraint ' || quote_ident(conname) || ' ' || pg_get_constraintdef(k.oid)
FROM ours JOIN pg_constraint k ON conrelid = ours.oid WHERE contype <> 'n'
UNION ALL
SELECT called || ': index ' || pg_get_indexdef(indexrelid) || CASE WHEN indisvalid THEN '' ELSE ' (INVALID)' END
FROM ours JOIN pg_index ON indrelid = ours.oid
UNION ALL
SELECT called || ': trigger ' || pg_get_triggerdef(t.oid) || CASE tgenabled WHEN 'O' THEN '' ELSE ' (' || tgenabled::text || ')' END
FROM ours JOIN pg_trigger t ON tgrelid = ours.oid WHERE NOT tgisinternal
UNION ALL
SELECT called || ': policy ' || concat_ws(' ', polname, polcmd::text, pg_get_expr(polqual, polrelid),
    pg_get_expr(polwithcheck, polrelid))
FROM ours JOIN pg_policy ON polrelid = ours.oid
UNION ALL
SELECT called || ': rule ' || pg_get_ruledef(r.oid) FROM ours JOIN pg_rewrite r ON ev_class = ours.oid
WHERE rulename <> '_RETURN'
UNION ALL
SELECT quote_ident(nspname) || '.' || quote_ident(proname) || '(' || pg_get_function_identity_arguments(p.oid)
    || '): function ' || md5(concat_ws(' ', prosrc, prosqlbody::text, prokind::text, provolatile::text,
    prosecdef::text, pg_get_function_result(p.oid), proacl::text, proconfig::text))
FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
WHERE {_OURS} AND {_FREE.format(oid="p.oid", kind="pg_proc")}
UNION ALL
SELECT quote_ident(nspname) || '.' || quote_ident(typname) || ': ' || CASE typtype WHEN 'e' THEN 'enum ' ||
    coalesce((SELECT string_agg(enumlabel, ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid), '')
    WHEN 'd' THEN 'domain ' || format_type(typbasetype, typtypmod) || coalesce(' default ' || typdefault, '')
    || coalesce((SELECT string_agg(' ' || pg_get_constraintdef(k.oid), '' ORDER BY conname) FROM pg_constraint k
        WHERE contypid = t.oid), '')
    ELSE 'range' END
FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
WHERE {_OURS} AND typtype IN ('e', 'd', 'r') AND {_FREE.format(oid="t.oid", kind="pg_type")}
UNION ALL
SELECT quote_ident(nspname) || ': schema ' || concat_ws(' ', 'owner ' || pg_get_userbyid(nspowner), nspacl::text)
FROM pg_namespace WHERE {_OURS}
UNION ALL
SELECT extname || ': extension ' || extversion FROM pg_extension
"""
_INVALID = f"""
SELECT quote_ident(nspname) || '.' || quote_ident(relname) FROM pg_index
JOIN pg_class c ON c.oid = indexrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE {_OURS} AND NOT (indisvalid AND indisready AND indislive)
"""
_UNVALIDATED = f"""
SELECT quote_ident(nspname) || '.' || quote_ident(relname) || ' ' || quote_ident(conname) FROM pg_constraint
JOIN pg_class c ON c.oid = conrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE {_OURS} AND NOT convalidated
"""
_SEQUENCES = f"""
SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename), coalesce(last_value, 0) FROM pg_sequences
JOIN pg_namespace ON nspname = schemaname WHERE {_OURS}
"""
_MARIADB_OBJECTS = """
SELECT CONCAT(routine_name, ': ', routine_type, ' ', MD5(routine_definition)) FROM information_schema.routines
    WHERE routine_schema = DATABASE()
UNION ALL SELECT CONCAT(event_object_table, ': trigger ', trigger_name, ' ', action_timing, ' ', event_manipulation, ' ',
    action_statement) FROM information_schema.triggers WHERE trigger_schema = DATABASE()
"""


def lines(dialect: str, query: Query) -> list[str]:
    """The facts of the catalogue, one a line, sorted."""
    if dialect == "postgresql":
        return sorted(line for (line,) in query(_POSTGRESQL))
    if dialect == "sqlite":
        texts = query(
            "SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL AND substr(tbl_name, 1, 7) <> 'sqlite_'"
        )
        return sorted(f"{table}: {_one_line(sql)}" for table, sql in texts if table != TABLE)
    found = [line for (line,) in query(_MARIADB_OBJECTS)]
    for name, kind in query("SHOW FULL TABLES"):
        if name != TABLE:
            row = query(f"SHOW CREATE {'VIEW' if kind == 'VIEW' else 'TABLE'} {quoted(name)}")[0]
            text = re.sub(r" AUTO_INCREMENT=\d+", "", row[1])
            found += [f"{name}: {line.strip().rstrip(',')}" for line in text.splitlines()]
    return sorted(found)


def fingerprint(found: Sequence[str]) -> str:
    """SHA-256 of the lines, as hex."""
    return sha256("\n".join(found).encode()).hexdigest()


def diff(before: Sequence[str], after: Sequence[str], old: str = "before", new: str = "after") -> list[str]:
    """The lines of a unified diff; empty where nothing differs."""
    return [line.rstrip("\n") for line in unified_diff(before, after, old, new, n=1, lineterm="")]


def invalid_indexes(dialect: str, query: Query) -> list[str]:
    """Indexes that the database keeps up but does not use."""
    return sorted(name for (name,) in query(_INVALID)) if dialect == "postgresql" else []


def unvalidated_constraints(dialect: str, query: Query) -> list[str]:
    """Constraints that older rows were never held against."""
    return sorted(name for (name,) in query(_UNVALIDATED)) if dialect == "postgresql" else []


def sequences(dialect: str, query: Query) -> dict[str, int]:
    """Where each sequence stands: a rollback does not take it back."""
    return {str(name): int(value) for name, value in query(_SEQUENCES)} if dialect == "postgresql" else {}


def quoted(name: str) -> str:
    """A name of MariaDB, in backticks."""
    return "`" + name.replace("`", "``") + "`"


def _one_line(text: str) -> str:
    """SQLite's text of an object on one line; a plain name bare, for ALTER TABLE ... RENAME leaves it in quotes."""
    parts = re.compile(r"""('(?:[^']|'')*')|--[^\n]*|"([A-Za-z_]\w*)\"""")
    return " ".join(parts.sub(lambda match: match[1] or match[2] or "", text).split())

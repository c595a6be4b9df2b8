"""What the facts of a dry run amount to: a check each, and the verdict. Worked out anew wherever it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PASS, FAIL, NOT_EXECUTED, NO_EVIDENCE, NOTHING = "pass", "fail", "not executed", "no evidence", "nothing to check"
PASSED, FAILED, INCOMPLETE = "passed", "failed", "incomplete"
MANY = 10_000  # rows that are read or changed in well under the time that anybody waits for
GRACE = 5.0  # seconds that a busy machine may add to a timeout
_BLOCKING = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
# "already exists, skipping": of a schema, table, column, other object, function; and MariaDB's.
_SKIPPED = ("42P06", "42P07", "42701", "42710", "42723", "1050", "1060", "1061")
_FALLING_SHORT = (NOT_EXECUTED, NO_EVIDENCE)

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold. `why` is one line."""

    name: str
    status: str
    why: str


def checks(facts: Facts) -> list[Check]:
    """All checks, in the order of the report."""
    if facts["refused"]:
        return [Check("nothing that must not run", FAIL, "; ".join(_refusal(item) for item in facts["refused"]))]
    if not facts["migrations"]:
        return [Check("something to try", NO_EVIDENCE, "nothing is pending, so nothing was tried")]
    if bare := [item["migration"] for item in facts["migrations"] if not item["statements"]]:
        return [Check("something to try", NO_EVIDENCE, f"{bare[0]} holds no statement")]
    return [Check(name, *judge(facts)) for name, judge in _CHECKS]


def verdict(facts: Facts) -> str:
    """PASSED where all held, FAILED where one did not, INCOMPLETE where one could not be tried."""
    found = {check.status for check in checks(facts)}
    if FAIL in found:
        return FAILED
    return INCOMPLETE if found & set(_FALLING_SHORT) else PASSED


def not_executed(facts: Facts) -> int:
    """How many statements did not run."""
    return sum(step.get("not_executed", 0) for step in _steps(facts) if not step["executed"])


def statements(facts: Facts, *phases: str) -> Iterator[tuple[Facts, Facts]]:
    """Each statement that ran, with its step."""
    for step in _steps(facts, *phases):
        for statement in step["statements"]:
            yield step, statement


def touched(facts: Facts) -> list[str]:
    """The tables, there before, on which a file takes more than a reader's lock, or which it reads or changes."""
    names = set()
    for _, statement in statements(facts):
        names |= {lock["table"] for lock in statement["locks"] if lock["mode"] != "AccessShareLock"}
        names |= {item["relation"] for item in (*statement["scanned"], *statement["changed"])}
    known = {table["name"] for table in (facts["contents"] or {"tables": []})["tables"]}
    return sorted(names & known)


def table(facts: Facts, name: str) -> Facts | None:
    """What was there of a table before; None where it was not."""
    tables = (facts["contents"] or {"tables": []})["tables"]
    return next((found for found in tables if found["name"] == name), None)


def empty(facts: Facts) -> bool:
    """Whether not one table of the database held a row."""
    return bool(facts["contents"]) and not any(table["rows"] for table in facts["contents"]["tables"])


def reversibility(facts: Facts, label: str) -> tuple[str, list[str]]:
    """`reversible`, `reversible with data loss` or `not reversible`, and why: from what was seen, not from the text."""
    migration = next(item for item in facts["migrations"] if item["migration"] == label)
    if migration["backout_sha256"] is None:
        return "not reversible", ["it has no backout"]
    up, down = _step(facts, "up", label), _step(facts, "down", label)
    if up is None or down is None or not up["executed"] or not down["executed"] or up["error"]:
        return "not tried", ["its backout did not run"]
    if down["error"]:
        return "not reversible", [f"its backout failed: {down['error']}"]
    if down["fingerprint"] != up["fingerprint_before"]:
        return "not reversible", ["after its backout the schema is not what it was"]
    reasons = [f"{way} drops or changes {what}" for way, step in (("up", up), ("down", down)) for what in step["lost"]]
    for way, step in (("up", up), ("down", down)):
        for statement in step["statements"]:
            reasons += [
                f"{way} changes or deletes {item['updated'] + item['deleted']:,} rows of {item['relation']}"
                for item in statement["changed"]
                if item["updated"] + item["deleted"] and not item["relation"].endswith("unhush_version")
            ]
            reasons += [
                f"{way} empties {item['relation']}"
                for item in statement["rewritten"]
                if item["empty"] and _rows(facts, item["relation"])
            ]
    return ("reversible with data loss", reasons) if reasons else ("reversible", [])


def disk(facts: Facts) -> dict[str, int]:
    """Bytes that the first way up needed at once: new files of rewritten tables and indexes, and new ones."""
    found = {"rewritten": 0, "new_on_existing": 0, "new": 0}
    for _, statement in statements(facts, "up"):
        found["rewritten"] += sum(item["bytes"] for item in statement["rewritten"])
        for item in statement["made"]:
            found["new_on_existing" if item["on_existing"] else "new"] += item["bytes"]
    return found


def _steps(facts: Facts, *phases: str) -> Iterator[Facts]:
    for phase in facts["phases"]:
        if not phases or phase["phase"] in phases:
            yield from phase["steps"]


def _step(facts: Facts, phase: str, label: str) -> Facts | None:
    return next((step for step in _steps(facts, phase) if step["migration"] == label), None)


def _phase(facts: Facts, name: str) -> Facts | None:
    return next((phase for phase in facts["phases"] if phase["phase"] == name), None)


def _refusal(item: Facts) -> str:
    return f"{item['file']}:{item['line']}: {item['message']} ({item['rule']})"


Judge = Callable[[Facts], tuple[str, str]]


def _ran(name: str, words: str) -> Judge:
    def judge(facts: Facts) -> tuple[str, str]:
        phase = _phase(facts, name)
        if phase is None:
            if not _ways_back(facts):
                return NOTHING, "there is no backout for each of them, so there is no way down"
            if name == "down again" and facts["mode"] == "transaction":
                return NOTHING, "the rollback does it"
            return NOT_EXECUTED, "it was not reached"
        if errors := [step["error"] for step in phase["steps"] if step["error"]]:
            return FAIL, errors[0]
        if left := [step for step in phase["steps"] if not step["executed"]]:
            return NOT_EXECUTED, f"{left[0]['migration']}: {left[0]['why']}"
        if short := _cut_short(facts, phase):
            return FAIL, short
        return _same(facts, phase, words)

    return judge


def _cut_short(facts: Facts, phase: Facts) -> str | None:
    """Where fewer statements ran than a file has: in the phases that keep all of them."""
    key = {"up": "statements", "down": "backout_statements"}.get(phase["phase"])
    for step in phase["steps"] if key else ():
        has = next(item[key] for item in facts["migrations"] if item["migration"] == step["migration"])
        if len(step["statements"]) != has:
            return f"{step['migration']}: {len(step['statements']):,} of {has:,} statements ran"
    return None


def _ways_back(facts: Facts) -> bool:
    return all(item["backout_sha256"] for item in facts["migrations"])


def _same(facts: Facts, phase: Facts, words: str) -> tuple[str, str]:
    """Whether the phase left the schema that it should."""
    first = next(iter(_steps(facts, "up")))
    up = _phase(facts, "up")
    assert up is not None
    if phase["phase"] in ("down", "down again"):
        for step in phase["steps"]:
            there = _step(facts, "up", step["migration"])
            if there is None or step["fingerprint"] != there["fingerprint_before"]:
                return FAIL, f"after the backout of {step['migration']} the schema is not what it was before"
        if phase["fingerprint"] != first["fingerprint_before"]:
            return FAIL, "the schema is not what it was before"
    if phase["phase"] in ("up again", "second up") and phase["fingerprint"] != up["fingerprint"]:
        return FAIL, "the schema is not what the first way up made"
    if phase["phase"] == "second up" and (changed := [step for step in phase["steps"] if step["changed"]]):
        return FAIL, f"{changed[0]['migration']} changed the schema again"
    return PASS, words


def _done(facts: Facts) -> tuple[str, str]:
    """Files that leave everything as it was prove nothing by holding."""
    if any(step["changed"] for step in _steps(facts, "up")):
        return PASS, "the files change the schema"
    if any(statement["changed"] or statement["rewritten"] for _, statement in statements(facts, "up")):
        return PASS, "the files change rows"
    if not facts["sees_locks"]:
        return NOTHING, f"rows are not seen on {facts['database']['dialect']}, and the schema did not change"
    return NO_EVIDENCE, "the files changed neither the schema nor a row"


def _sound(facts: Facts) -> tuple[str, str]:
    bad = [f"index {name} is INVALID" for name in facts["invalid_indexes"]]
    bad += [f"constraint {name} is not validated" for name in facts["unvalidated_constraints"]]
    for found in facts["contention"]:
        if not found["gave_up"]:
            continue
        bad += [f"when {found['migration']} gave up it left: {line}" for line in found["left"] if line.startswith("+ ")]
    if not facts["sees_locks"]:
        return NOTHING, f"{facts['database']['dialect']} has no such states"
    return (FAIL, "; ".join(bad)) if bad else (PASS, "each new index is valid, each new constraint validated")


def _transaction(facts: Facts) -> tuple[str, str]:
    for step, statement in statements(facts):
        if statement["ended_transaction"]:
            return FAIL, f"{step['migration']}, statement {statement['number']} ended the transaction that it ran in"
        if statement["shared"]:
            return FAIL, f"{step['migration']}, statement {statement['number']} wrote to what the whole server shares"
    status = facts["target"]["xid_status"]
    if facts["mode"] == "transaction" and status != "aborted":
        return FAIL, f"the server says that the transaction is {status}, not aborted"
    return PASS, "each file stayed in its transaction" + (", which the server says is aborted" if status else "")


def _untouched(facts: Facts) -> tuple[str, str]:
    target = facts["target"]
    if (
        target["fingerprint_before"] == target["fingerprint_after"]
        and target["history_before"] == target["history_after"]
    ):
        return PASS, "the database has the schema and the history that it had"
    if facts["mode"] == "given copy" and not _phase(facts, "down again"):
        return NOTHING, "the copy that was given has the migrations now, since there was no way down"
    changed = [line for line in target["diff"] if line.startswith(("+ ", "- ", "+", "-"))][2:]
    return FAIL, f"the database itself was CHANGED: {'; '.join(changed[:3]) or 'its history differs'}"


def _locks(facts: Facts) -> tuple[str, str]:
    if not facts["sees_locks"]:
        return NOTHING, f"{facts['database']['dialect']} does not show locks"
    bad, seen = [], 0
    for step, statement in statements(facts, "up", "down"):
        where = f"{step['migration']}, statement {statement['number']}"
        seen += sum(1 for lock in statement["locks"] if lock["blocks"])
        bad += [
            f"{where} rewrites {item['relation']} under {item['under']}"
            for item in statement["rewritten"]
            if item["kind"] == "table" and item["under"] in _BLOCKING and _rows(facts, item["relation"]) != 0
        ]
        bad += [
            f"{where} reads {item['rows']:,} rows of {item['relation']} under {item['under']}"
            for item in statement["scanned"]
            if item["under"] in _BLOCKING and item["rows"] >= MANY
        ]
    if bad:
        return FAIL, "; ".join(dict.fromkeys(bad))
    return PASS, f"{_count(seen, 'lock')} that stop others, and no table is rewritten or read whole under one"


def _rows(facts: Facts, name: str) -> int | None:
    found = table(facts, name)
    return found["rows"] if found else 0


def _bounded(facts: Facts) -> tuple[str, str]:
    if not facts["sees_locks"]:
        return NOTHING, f"lock_timeout is of PostgreSQL, not of {facts['database']['dialect']}"
    bad = []
    for step, statement in statements(facts, "up", "down"):
        stops = [
            lock["relation"] for lock in statement["locks"] if lock["blocks"] and not _waits_for_nobody(statement, lock)
        ]
        if stops and statement["lock_timeout_ms"] == 0:
            bad.append(f"{step['migration']}, statement {statement['number']} would wait for {stops[0]} without end")
    if bad:
        return FAIL, f"{bad[0]}: begin the file with SET LOCAL lock_timeout = '5s';"
    return PASS, "each statement that stops others has a lock_timeout"


def _our_history(lock: Facts) -> bool:
    return str(lock["table"]).endswith("unhush_version")


def _waits_for_nobody(statement: Facts, lock: Facts) -> bool:
    """Our own history; and an index that CONCURRENTLY takes last, when nobody uses it. Without that the table counts."""
    if _our_history(lock):
        return True
    return lock["kind"] == "index" and str(statement["text"]).upper().startswith(("CREATE ", "DROP ", "REINDEX "))


def _contention(facts: Facts) -> tuple[str, str]:
    if facts["database"]["dialect"] == "mariadb":
        return NOTHING, "not tried on MariaDB, where a metadata lock is waited for as long as lock_wait_timeout says"
    done = {(found["migration"], found["direction"]) for found in facts["contention"]}
    due = _to_be_held(facts)
    if facts["sees_locks"] and not due and not done:
        copied = "" if facts["contention_possible"] else "; a backout can be tried against a lock only on a copy"
        return NOTHING, f"no table that others use is locked{copied}"
    if not facts["contention_possible"]:
        return NOT_EXECUTED, "others can be kept waiting only on a copy"
    if lacking := sorted(due - done):
        return NOT_EXECUTED, f"{lacking[0][0]} ({lacking[0][1]}) was not tried: it can't be undone to be run again"
    bad = [problem for found in facts["contention"] if (problem := _contended(found))]
    if bad:
        return FAIL, "; ".join(bad)
    given_up = [found["waited_seconds"] for found in facts["contention"] if found["gave_up"]]
    longest = f"gave up after {max(given_up):.1f} s at most" if given_up else "nobody had to give up"
    readers = [found["reader_seconds"] for found in facts["contention"] if found["reader_seconds"] is not None]
    stalled = f", a reader waited {max(readers):.1f} s at most" if readers else ""
    return PASS, f"{_count(len(facts['contention']), 'test')}: {longest}{stalled}"


def _to_be_held(facts: Facts) -> set[tuple[str, str]]:
    """The files, up or down, that lock a table which others use, or on SQLite all of them."""
    due = set()
    for phase in ("up", "down"):
        for step in _steps(facts, phase):
            locks = [lock for statement in step["statements"] for lock in statement["locks"]]
            if not facts["sees_locks"] or any(_can_be_held(lock) for lock in locks):
                due.add((step["migration"], phase))
    return due


def _can_be_held(lock: Facts) -> bool:
    kinds = ("table", "partitioned table")
    return lock["mode"] != "AccessShareLock" and lock["kind"] in kinds and not _our_history(lock)


def _contended(found: Facts) -> str | None:
    """What is wrong with one test against a held lock."""
    limit = found["lock_timeout_ms"] / 1000 + GRACE
    what = f"{found['migration']} ({found['direction']})"
    if not found["blocked"] and found["error"] is None:
        return None
    stalls = [found[f"{who}_seconds"] or 0.0 for who in ("reader", "writer")]
    if not found["gave_up"] and found["mode"] not in _BLOCKING and max(stalls) <= GRACE:
        return None  # as CREATE INDEX CONCURRENTLY: it may wait, since nobody waits for it
    if not found["gave_up"] or found["error"] is None:
        return f"{what} was still waiting for {found['relation']} after {found['waited_seconds']:.1f} s, and was ended"
    if found["waited_seconds"] > limit:
        return f"{what} gave up only after {found['waited_seconds']:.1f} s"
    for who in ("reader", "writer"):
        if (found[f"{who}_seconds"] or 0) > limit:
            return f"{what} kept a {who} waiting for {found[f'{who}_seconds']:.1f} s"
    return None


def _skipped(facts: Facts) -> tuple[str, str]:
    bad = [
        f"{step['migration']}, statement {statement['number']}: {notice['message']}"
        for step, statement in statements(facts, "up")
        for notice in statement["notices"]
        if notice["code"] in _SKIPPED
    ]
    if bad:
        return FAIL, f"IF NOT EXISTS took for its own what was there before: {'; '.join(bad)}"
    return PASS, "IF NOT EXISTS met nothing that was there before"


def _many_rows(facts: Facts) -> tuple[str, str]:
    bad = []
    for step, statement in statements(facts, "up", "down"):
        for item in statement["changed"]:
            count = item["inserted"] + item["updated"] + item["deleted"]
            if count >= MANY:
                where = f"{step['migration']}, statement {statement['number']}"
                bad.append(f"{where} changes {count:,} rows of {item['relation']} in one transaction")
    if not facts["sees_locks"]:
        return NOTHING, f"rows are not counted on {facts['database']['dialect']}"
    return (FAIL, "; ".join(bad)) if bad else (PASS, f"no statement changes {MANY:,} rows or more")


def _squawk(facts: Facts) -> tuple[str, str]:
    squawk = facts["lint"]["squawk"]
    if squawk["version"] is None:
        return NOTHING, f"NOT RUN: {squawk['why']}"
    found = [item for item in facts["lint"]["findings"] if item["tool"] == "squawk"]
    open_ = [item for item in found if not item["ignored"]]
    hidden = len(found) - len(open_)
    comments = len(facts["lint"]["ignores"])
    silenced = f"; {_count(comments, 'ignore comment')} hide {_count(hidden, 'finding')}" if comments else ""
    if open_:
        return FAIL, f"{_count(len(open_), 'finding')}, first {_finding(open_[0])}{silenced}"
    return PASS, f"squawk {squawk['version']} finds nothing{silenced}"


def _own_lint(facts: Facts) -> tuple[str, str]:
    found = [item for item in facts["lint"]["findings"] if item["tool"] == "unhush"]
    errors = [item for item in found if item["level"] == "error"]
    warnings = f"{_count(len(found) - len(errors), 'warning')} to read"
    if errors:
        return FAIL, f"{'; '.join(_finding(item) for item in errors)}; {warnings}"
    return PASS, warnings


def _finding(item: Facts) -> str:
    return f"{item['file']}:{item['line']}: {item['message']} ({item['rule']})"


def _rows_there(facts: Facts) -> tuple[str, str]:
    names = touched(facts)
    if not names:
        return NOTHING, "no table that was there before is touched"
    without = [name for name in names if _rows(facts, name) in (0, None)]
    if without:
        return NO_EVIDENCE, f"no rows are known of {', '.join(without)}"
    return PASS, f"{_count(len(names), 'table')} touched, each with rows"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


_CHECKS: Iterable[tuple[str, Judge]] = (
    ("up", _ran("up", "each file ran")),
    ("something done", _done),
    ("down", _ran("down", "each backout ran, and the schema is what it was before")),
    ("up again", _ran("up again", "the schema is what the first way up made")),
    ("second up", _ran("second up", "run once more, the files change nothing")),
    ("down again", _ran("down again", "the schema is what it was before")),
    ("indexes and constraints", _sound),
    ("transaction", _transaction),
    ("the database itself", _untouched),
    ("locks", _locks),
    ("lock timeout", _bounded),
    ("contention", _contention),
    ("IF NOT EXISTS", _skipped),
    ("rows changed", _many_rows),
    ("rows there", _rows_there),
    ("squawk", _squawk),
    ("own lint", _own_lint),
)

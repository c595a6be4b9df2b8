"""The phases of a dry run: up, down, up again, a second time up, and on a copy down once more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...runtime.redact import redact_text
from ...sql import history, runner
from ...sql.errors import SchemaProblem
from ...sql.files import table_names
from ...sql.session import one_line
from . import contention, schema
from .steps import Step
from .watch import Facts, Watched

if TYPE_CHECKING:
    from sqlalchemy import Engine

PATIENCE = 5.0  # seconds for SQLite's write lock
_ON_SQLITE = 1.0  # the same while a test holds it
UP, DOWN, UP_AGAIN, SECOND_UP, DOWN_AGAIN = "up", "down", "up again", "second up", "down again"


@dataclass
class Trial:
    """One dry run under way. `contended` says whether others may be kept waiting, which needs a copy."""

    engine: Engine
    work: Watched
    steps: Sequence[Step]
    contended: bool
    phases: list[Facts] = field(default_factory=list)
    contention: list[Facts] = field(default_factory=list)
    _locks: dict[tuple[str, str], list[Facts]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What the schema looks like now."""
        return schema.lines(self.work.dialect, self.work.query)

    def run(self, before_last: Callable[[], None], *, last_down: bool) -> None:
        """All phases, as far as they can go. `before_last` is called while the schema is the migrated one."""
        self._make_history()
        if not self._phase(UP, "up", self.steps):
            return
        if not all(step.down for step in self.steps):
            self._phase(SECOND_UP, "again", self.steps)
            return
        back = list(reversed(self.steps))
        if self._phase(DOWN, "down", back) and self._phase(UP_AGAIN, "up", self.steps):
            self._phase(SECOND_UP, "again", self.steps)
            before_last()
            if last_down:
                self._phase(DOWN_AGAIN, "down", back)

    def _make_history(self) -> None:
        if any(step.migration for step in self.steps):
            with self.work.transaction(PATIENCE):
                history.make(self.work.dialect, self.work.run, self.work.query)

    def _phase(self, name: str, act: str, steps: Sequence[Step]) -> bool:
        """Runs an act on each step; False where one failed or could not run, and then the later ones are not reached."""
        facts: list[Facts] = []
        self.phases.append({"phase": name, "steps": facts, "fingerprint": None})
        stopped = None
        for step in steps:
            why = stopped or self._why_not(step, act)
            if why:
                facts.append(_unreached(step, act, why))
                stopped = f"{step.label} did not run" if stopped is None else stopped
                continue
            gone_through = self._contend(step, act, name)
            found = self._step(step, act, gone_through)
            facts.append(found)
            if found["error"]:
                stopped = f"{step.label} failed"
        if not self.work.ended:
            self.phases[-1]["fingerprint"] = schema.fingerprint(self.lines())
        return stopped is None

    def _why_not(self, step: Step, act: str) -> str | None:
        script = step.script("down" if act == "down" else "up")
        if self.work.rolled_back and not script.in_transaction:
            return "it runs outside a transaction, so it can't be rolled back"
        return None

    def _step(self, step: Step, act: str, gone_through: bool) -> Facts:
        script = step.script("down" if act == "down" else "up")
        whole = script.in_transaction and self.work.dialect != "mariadb"
        before, error = self.lines(), None
        started = time.perf_counter()
        with self.work.watching(whole) as statements:
            try:
                if not gone_through:
                    _act(self.work, step, act)
            except SchemaProblem as problem:
                error = redact_text(str(problem))
            except self.work.error as problem:  # the runner's own notes
                error = redact_text(one_line(problem))
        seconds = time.perf_counter() - started
        after = before if self.work.ended else self.lines()
        self._locks.setdefault((step.label, "down" if act == "down" else "up"), list(statements))
        return {
            "migration": step.label,
            "executed": True,
            "why": None,
            "seconds": round(seconds, 6),
            "error": error,
            "statements": list(statements) if self.phases[-1]["phase"] in (UP, DOWN) else _telling(statements),
            "lost": lost(before, after, self.work.dialect),
            "fingerprint_before": schema.fingerprint(before),
            "fingerprint": schema.fingerprint(after),
            "changed": len(schema.diff(before, after)) > 0,
        }

    def _contend(self, step: Step, act: str, phase: str) -> bool:
        """Tries the step against a held lock; True where nothing stopped one whose work can't be rolled back."""
        direction = "down" if act == "down" else "up"
        if not self.contended or phase not in (UP_AGAIN, DOWN_AGAIN, UP) or act == "again":
            return False
        if phase == UP and (all(other.down for other in self.steps) or self.work.dialect != "postgresql"):
            return False
        if self.work.dialect == "sqlite":
            self.contention.append(
                contention.contend_on_sqlite(
                    self.engine, step, direction, _ON_SQLITE, lambda work: _act(work, step, act, _ON_SQLITE)
                )
            )
            return False
        if phase == UP and not self._rehearse(step):
            return False
        lock = contention.strongest(self._locks.get((step.label, direction), []))
        if phase == UP:
            self._locks.pop((step.label, direction), None)
        if lock is None:
            return False
        lock = {**lock, "relation": self.work.look.called_now(lock["relation"])}
        found = contention.contend(self.engine, step, direction, lock, lambda work: _act(work, step, act))
        self.contention.append(found)
        return not found["whole"] and found["error"] is None

    def _rehearse(self, step: Step) -> bool:
        """Runs a step that has no way back once and rolls it back, to learn its locks. False where that can't be."""
        if not step.up.in_transaction:
            return False
        self.work.plain("BEGIN")
        self.work.rolled_back = True
        try:
            found = self._step(step, "up", False)
        finally:
            self.work.rolled_back = False
            if not self.work.ended:
                self.work.plain("ROLLBACK")
        return not found["error"]


def _act(work: Watched, step: Step, act: str, patience: float = PATIENCE) -> None:
    """Does what the runner would do. Raises SchemaProblem."""
    if act == "again":
        runner.carry_out(work, step.up, step.file, _yes, _nothing, patience)
    elif step.migration is None:
        script = step.script(act)
        name = step.file if act == "up" else f"{step.label}.backout.sql"
        runner.carry_out(work, script, name, _yes, _nothing, patience)
    elif act == "up":
        runner.apply(work, step.migration, table_names(work.dialect), patience)
    else:
        runner.back_out(work, step.migration, patience)


def _telling(statements: list[Facts]) -> list[Facts]:
    """Of what was seen before, only what went wrong."""
    return [one for one in statements if one["error"] or one["ended_transaction"] or one["shared"]]


def _yes() -> bool:
    return True


def _nothing() -> None:
    """A file of a user's own leaves no note."""


def _unreached(step: Step, act: str, why: str) -> Facts:
    from ...sql.statements import split

    script = step.script("down" if act == "down" else "up")
    count = len(split(script.text, "postgresql"))
    return {
        "migration": step.label, "executed": False, "why": why, "seconds": None, "error": None, "statements": [],
        "not_executed": count, "lost": [], "fingerprint_before": None, "fingerprint": None, "changed": False,
    }  # fmt: skip


def lost(before: Sequence[str], after: Sequence[str], dialect: str) -> list[str]:
    """Which tables and columns went, and which columns have another type: what their rows held may be lost."""
    there = {line.partition(": ")[0] for line in after}
    tables = sorted({line.partition(": ")[0] for line in before if _is_table(line, dialect)} - there)
    columns = _columns(before, dialect)
    now = _columns(after, dialect)
    found = [f"table {name}" for name in tables]
    for (table, column), kind in sorted(columns.items()):
        if table in tables:
            continue
        if (table, column) not in now:
            found.append(f"column {table}.{column}")
        elif now[table, column] != kind:
            found.append(f"type of {table}.{column}: {kind} to {now[table, column]}")
    return found


def _is_table(line: str, dialect: str) -> bool:
    said = line.partition(": ")[2]
    if dialect == "postgresql":
        return said.startswith(("table ", "partitioned table ", "materialized view "))
    return said.startswith("CREATE TABLE")


def _columns(found: Sequence[str], dialect: str) -> dict[tuple[str, str], str]:
    columns = {}
    for line in found:
        table, _, said = line.partition(": ")
        if dialect == "postgresql" and said.startswith("column "):
            name, _, rest = said.removeprefix("column ").partition(" ")
            columns[table, name] = _type(rest)
        elif dialect == "mariadb" and said.startswith("`"):
            name, _, rest = said[1:].partition("` ")
            columns[table, name] = rest.partition(" ")[0]
    return columns


def _type(rest: str) -> str:
    for word in (" not null", " default ", " identity ", " collate ", " rights ", " comment "):
        rest = rest.partition(word)[0]
    return rest

"""Laws of the fix over generated programs, which are run before and after with exceptions raised in many places.

UNHUSH_EXAMPLES says how many programs each law tries.
"""

from __future__ import annotations

import ast
import io
import logging
import os
from collections.abc import Callable
from typing import Any

from fixcases import everything
from fixprograms import program
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from unhush.codemods import engine
from unhush.codemods.edits import apply, undo
from unhush.codemods.fixer import fix_bytes
from unhush.codemods.fixreport import Changed, Failed
from unhush.codemods.module import Module
from unhush.codemods.plan import plan
from unhush.codemods.prove import ProvedFile, prove_bytes

SETTINGS = everything()
NAME = "/nowhere/generated.py"
KINDS = (ValueError, KeyError, OSError, RuntimeError, KeyboardInterrupt)
LAWS = settings(
    max_examples=int(os.environ.get("UNHUSH_EXAMPLES", "150")), deadline=None, suppress_health_check=list(HealthCheck)
)
PROGRAMS = st.builds(program, st.integers(0, 2**32), st.integers(1, 12))
PLANS = st.tuples(*[st.integers(0, len(KINDS) + 2) for _ in range(10)])


class Run:
    """One execution of a module and its functions: what was noted, returned and raised, and what was logged."""

    def __init__(self, data: bytes, plan: tuple[int, ...]) -> None:
        self.noted: list[object] = []
        self.records: list[logging.LogRecord] = []
        self._plan, self._left = plan, 3000
        space: dict[str, Any] = {
            "__name__": "generated",
            "note": self.note,
            "boom": self.boom,
            "flag": self.flag,
            "keep": self.keep,
        }
        listener = logging.Handler()
        listener.emit = self.records.append  # type: ignore[method-assign]
        root = logging.getLogger()
        root.addHandler(listener)
        try:
            self.guarded(lambda: exec(compile(data, NAME, "exec"), space))
            for name in ("f0", "f1", "f2"):
                if name in space:
                    self.guarded(space[name])
        finally:
            root.removeHandler(listener)
        self.final = {key: value for key, value in space.items() if isinstance(value, (int, str)) and key[0] != "_"}

    def guarded(self, work: Callable[[], object]) -> None:
        """Notes what a call gives, or the whole chain of what it raises."""
        try:
            self.noted.append(("gave", work()))
        except BaseException as error:  # noqa: BLE001 whatever the program raises is what is compared
            chain: BaseException | None = error
            while chain is not None:
                self.noted.append((type(chain).__name__, chain.args))
                chain = chain.__context__

    def note(self, value: object) -> object:
        """Called by the program to leave a trace."""
        self.noted.append(value)
        return value

    def boom(self, number: int) -> None:
        """Raises what the plan says for a number, or nothing."""
        kind = self._plan[number]
        self.note(("boom", number))
        if kind < len(KINDS):
            raise KINDS[kind](number)

    def flag(self, number: int) -> bool:
        """Tells the program which way to go; the plan says."""
        return self._plan[number] % 2 == 0

    def keep(self, function: Callable[[], object]) -> Callable[[], object]:
        """A decorator that calls what it is given at once, as registries do."""
        self.guarded(function)
        return function


def fixed(data: bytes) -> Changed | None:
    """The rewrite of a program, if there is one; it must never fail."""
    try:
        compile(data, NAME, "exec")
    except SyntaxError:
        return None
    report = fix_bytes(data, NAME, SETTINGS)
    assert not isinstance(report, Failed), report.errors
    event(type(report).__name__)
    return report if isinstance(report, Changed) else None


@LAWS
@given(PROGRAMS, st.lists(PLANS, min_size=1, max_size=4))
def test_behaviour_is_the_same(data, plans):
    """Original and rewritten code note, return, raise (with all contexts) and bind the same, whatever is raised."""
    report = fixed(data)
    if report is None:
        return
    for schedule in plans:
        before, after = Run(data, schedule), Run(report.new, schedule)
        assert after.noted == before.noted
        assert after.final == before.final
        events = {fix.event for fix in report.fixed}
        assert {record.getMessage() for record in after.records} <= events
        assert all(record.exc_info for record in after.records)
        assert not before.records
        event("logged" if after.records else "silent")


@LAWS
@given(PROGRAMS)
def test_undo_gives_the_old_bytes(data):
    """Undoing the edits gives the program back, byte for byte."""
    if fixed(data) is None:
        return
    module = Module(data, NAME, SETTINGS)
    findings = [finding for finding in engine.check_bytes(data, NAME, SETTINGS).findings if finding.fix == "safe"]
    edits = plan(module, findings).edits
    new, starts = apply(data, edits)
    assert undo(new, edits, starts) == data


@LAWS
@given(PROGRAMS)
def test_second_run_changes_nothing(data):
    """What was fixed is found no more: a second run has nothing left that it could fix."""
    report = fixed(data)
    if report is not None:
        assert fixed(report.new) is None


@LAWS
@given(PROGRAMS)
def test_prove_accepts_the_fix(data):
    """`prove` finds nothing but inserted logging in what the fixer wrote."""
    report = fixed(data)
    if report is not None:
        found = prove_bytes(data, report.new, NAME, SETTINGS)
        assert isinstance(found, ProvedFile), found


class Bare(ast.NodeTransformer):
    """Takes out of a tree all that a rewrite may have put there, and gives both forms of a suppressed block one."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drops log calls whose event is unhush's, and `...`."""
        if isinstance(node.value, ast.Constant) and node.value.value is ...:
            return None
        return None if "exception_ignored" in ast.unparse(node) and isinstance(node.value, ast.Call) else node

    def visit_Pass(self, node: ast.Pass) -> None:
        """Drops `pass`."""

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        """Drops imports of logging."""
        return None if node.names[0].name == "logging" else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        """Drops logger lines."""
        return None if "getLogger" in ast.unparse(node) else node

    def visit_With(self, node: ast.With) -> ast.AST:
        """Writes `with suppress(...)` as a `try`."""
        self.generic_visit(node)
        call = node.items[0].context_expr
        assert isinstance(call, ast.Call)
        types = call.args[0] if len(call.args) == 1 else ast.Tuple(call.args, ast.Load())
        return ast.Try(node.body, [ast.ExceptHandler(types, None, [])], [], [])


@LAWS
@given(PROGRAMS)
def test_trees_are_equal_but_for_logging(data):
    """An independent look: without log calls, imports and loggers both trees are the same."""
    report = fixed(data)
    if report is not None:
        trees = (ast.parse(io.BytesIO(text).read()) for text in (data, report.new))
        old, new = (ast.dump(Bare().visit(tree)) for tree in trees)
        assert old == new


def test_the_programs_reach_what_matters():
    """Positive control: among generated programs many are rewritten, and their rewrites log."""
    rewritten, logged = [], []

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(PROGRAMS, PLANS)
    def look(data, schedule):
        report = fixed(data)
        if report is not None:
            rewritten.append(data)
            logged.extend(Run(report.new, schedule).records)

    look()
    assert len(rewritten) > 15
    assert len(logged) > 15

"""Laws of the baseline over random programs: edits that leave a handler alone never make it new, and new ones are."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruff.__main__ import find_ruff_bin

from unhush.baseline import Baseline
from unhush.baseline_match import Found, Matched, Reach, found_in, match
from unhush.codemods.engine import check_file
from unhush.codemods.rules import all_rules
from unhush.codemods.settings import Settings

ALL = Settings(select=frozenset(all_rules()), min_severity="low")
HANDLERS = ("except Exception:\n    pass", "except BaseException:\n    answer = 'none'", "except:\n    return None")
CALLS = ("db.commit()", "send(name, {'a': 1})", 'text = "it\'s" + load(name)[0]', "del (name, other)")
FORMATS = (
    [],
    ["--line-length=30", "--config=format.quote-style='single'", "--config=indent-width=2"],
    ["--config=format.indent-style='tab'", "--config=format.skip-magic-trailing-comma=true"],
)


@dataclass
class Block:
    """A `try` with one handler, or a `with suppress`."""

    handler: str
    calls: list[str]

    def lines(self, noise: random.Random | None) -> list[str]:
        """Its text, with a comment that `noise` makes up."""
        comment = f"  # {noise.random()}" if noise else "  # as it was"
        if self.handler == "suppress":
            return [f"with contextlib.suppress(Exception):{comment}", *(f"    {call}" for call in self.calls)]
        head, *rest = self.handler.split("\n")
        return ["try:", *(f"    {call}" for call in self.calls), head + comment, *rest]


@dataclass
class Program:
    """Files of functions of blocks; the names of functions are unique."""

    files: dict[str, list[str]]
    functions: dict[str, list[Block]]
    wrapped: set[str] = field(default_factory=set)

    def write(self, folder: Path, noise: random.Random | None = None) -> None:
        """Puts the files into a folder, with blank lines, comments and statements that `noise` makes up."""
        for old in folder.glob("*.py"):
            old.unlink()
        for file, names in self.files.items():
            text = ["import contextlib", ""]
            for name in names:
                text += self._function(name, noise)
            (folder / file).write_text("\n".join([*text, ""]))

    def _function(self, name: str, noise: random.Random | None) -> list[str]:
        inner = "    if name:\n        " if name in self.wrapped else "    "
        head, margin = inner.split("\n") if "\n" in inner else ("", inner)
        body = []
        for block in self.functions[name]:
            if noise:
                body += noise.choice([[], [""], ["# a comment"], ["other = name", ""]])
            body += block.lines(noise)
        return [f"def {name}(db, name, other):", *filter(None, [head]), *(margin + line for line in body), "", ""]


blocks = st.builds(
    Block, st.sampled_from([*HANDLERS, "suppress"]), st.lists(st.sampled_from(CALLS), min_size=1, max_size=2)
)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    functions = {f"work{at}": draw(st.lists(blocks, min_size=1, max_size=4)) for at in range(draw(st.integers(1, 6)))}
    files: dict[str, list[str]] = {"one.py": [], "two.py": [], "three.py": []}
    for name in functions:
        files[draw(st.sampled_from(sorted(files)))].append(name)
    return Program(files, functions)


def edit(program: Program, how: random.Random) -> None:
    """Moves, renames, wraps and edits, but leaves every handler as it is."""
    for name in sorted(program.functions):
        if how.random() < 0.3:  # to another file, and maybe another place in it
            for names in program.files.values():
                if name in names:
                    names.remove(name)
            names = how.choice(list(program.files.values()))
            names.insert(how.randint(0, len(names)), name)
        elif how.random() < 0.5:
            block = how.choice(program.functions[name])
            block.calls.insert(how.randint(0, len(block.calls)), f"prepare({how.randint(0, 2)})")
        if how.random() < 0.3:
            program.wrapped.add(name)
    for names in program.files.values():
        how.shuffle(names)
    for old in sorted(program.files):
        if how.random() < 0.4:
            program.files[f"renamed_{old}"] = program.files.pop(old)


def reformat(folder: Path, how: random.Random) -> None:
    """Runs the real formatter, with one of several styles."""
    command = [find_ruff_bin(), "format", "--isolated", "--quiet", "--no-cache", *how.choice(FORMATS), str(folder)]
    subprocess.run(command, check=True)


def found(folder: Path, baseline: Baseline) -> list[Found]:
    """All findings of the folder's files."""
    return found_in([check_file(str(path), ALL) for path in sorted(folder.glob("*.py"))], baseline, ALL, jobs=1)


def written(folder: Path) -> Baseline:
    """A baseline of the folder, once it was written and read."""
    baseline = Baseline(str(folder / "known.txt"), None)
    for item in found(folder, baseline):
        baseline.add(item.key, item.finding.severity)
    return baseline


def compared(folder: Path, baseline: Baseline) -> Matched:
    """The folder against the baseline, as a check of all of it does it."""
    reach = Reach(lambda name: True, lambda name: not os.path.lexists(name), ALL.select)
    return match(baseline, found(folder, baseline), reach)


quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(programs(), st.integers())
def test_edits_keep_every_match(program: Program, seed: int) -> None:
    """Whatever is inserted, moved, renamed, wrapped, commented and formatted, no finding is new and no entry stale."""
    how = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        program.write(folder)
        baseline = written(folder)
        assert baseline.counts.total() == sum(map(len, program.functions.values()))
        edit(program, how)
        program.write(folder, how)
        reformat(folder, how)
        matched = compared(folder, baseline)
    assert ([item.key for item in matched.new], matched.stale.total()) == ([], 0)
    assert len(matched.known) == baseline.counts.total()


@quick
@given(programs(), st.integers(), st.integers(1, 3))
def test_a_new_handler_is_new_among_all_edits(program: Program, seed: int, more: int) -> None:
    """Handlers that are added, equal to others or not, come out as so many new ones after all other edits."""
    how = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        program.write(folder)
        baseline = written(folder)
        edit(program, how)
        for _ in range(more):
            copied = how.choice(program.functions[how.choice(sorted(program.functions))])
            name = how.choice([*sorted(program.functions), "work_new"])
            program.functions.setdefault(name, []).append(Block(copied.handler, list(copied.calls)))
            if name == "work_new" and not any(name in names for names in program.files.values()):
                next(iter(program.files.values())).append(name)
        program.write(folder, how)
        reformat(folder, how)
        matched = compared(folder, baseline)
    assert (len(matched.new), matched.stale.total()) == (more, 0)


@quick
@given(programs(), st.integers())
def test_what_is_mended_is_stale(program: Program, seed: int) -> None:
    """A handler that is taken out leaves its entry stale, once, and makes nothing else new."""
    how = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        program.write(folder)
        baseline = written(folder)
        name = how.choice(sorted(program.functions))
        lost = program.functions[name].pop(how.randrange(len(program.functions[name])))
        program.functions[name].append(Block("except Exception:\n    raise", list(lost.calls)))
        program.write(folder, how)
        matched = compared(folder, baseline)
    assert (len(matched.new), matched.stale.total()) == (0, 1)
    [(key, _)] = Counter({key: count for key, count in matched.stale.items() if count}).items()
    assert key.qualname == name

"""Measures unhush against its goals and prints a table.

    python tests/benchmarks/run.py [FOLDER] [--only check,cache,startup,fix,memory,growth,inputs] [--runs 5]

FOLDER is the corpus, at least 100 MB for figures that mean something; without it all installed Python code is taken.
Needs ruff on the path or beside this Python, and an installed unhush.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import inputs
from corpus import build, python_files, size_of
from measure import Cost, interleaved, run

UNHUSH = [sys.executable, "-m", "unhush"]
CHECK = [*UNHUSH, "check", "--no-cache"]
RUFF_RULES = "S110,S112,BLE001,E722,SIM105"
# What unhush leaves out and ruff would read.
RUFF_LEAVES_OUT = "_vendor,*_pb2.py,.nox,.tox"
ROWS = ("check", "cache", "startup", "fix", "memory", "growth", "inputs")
MB = 1_000_000

Row = tuple[str, str, str, bool]


def main() -> int:
    """Builds the corpus, measures the rows asked for, prints the table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", nargs="?", type=Path, metavar="FOLDER")
    parser.add_argument("--only", default=",".join(ROWS), metavar="ROWS")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        # An installed program's modules are compiled: whatever this shell says, those measured here are, after one run.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(work / "compiled")
        parts = build(work / "corpus", options.corpus)
        files = [path for part in parts for path in python_files(part)]
        print(
            f"{len(files):,} files, {size_of(files) / MB:.1f} MB, medians of {options.runs}, Python {sys.version.split()[0]}"
        )
        print("\n| work | measured | goal | met |\n|---|---|---|---|")
        missed = False
        for name in options.only.split(","):
            for what, measured, goal, met in globals()[f"measure_{name}"](work, parts, options.runs):
                print(f"| {what} | {measured} | {goal} | {'yes' if met else 'NO'} |", flush=True)
                missed = missed or not met
    return int(missed)


def measure_check(work: Path, parts: list[Path], runs: int) -> Iterator[Row]:
    """`unhush check` against ruff's five nearest rules, text output, no cache."""
    folder = str(parts[0].parent)
    costs = interleaved({"ruff": [*_ruff(), "--no-cache", folder], "unhush": [*CHECK, folder]}, runs)
    mine, other = costs["unhush"], costs["ruff"]
    for kind in ("wall", "cpu"):
        one, two = getattr(mine, kind), getattr(other, kind)
        yield (
            f"check, {kind}",
            f"{one:.2f} s, ruff {two:.2f} s: {one / two:.2f}",
            "at most 0.75 of ruff",
            one / two <= 0.75,
        )
    yield "check, memory of the biggest process", f"{mine.megabytes:.0f} MB", "under 150 MB", mine.megabytes < 150


def measure_cache(work: Path, parts: list[Path], runs: int) -> Iterator[Row]:
    """A run that finds everything in the cache against one that finds it empty, and against ruff's with a full cache."""
    folder = str(parts[0].parent)
    kept = {name: work / f"cache-{name.replace(' ', '-')}" for name in ("cold", "warm", "ruff warm")}
    commands = {name: [*UNHUSH, "check", "--cache-dir", str(kept[name]), folder] for name in ("cold", "warm")}
    commands["ruff warm"] = [*_ruff(), "--cache-dir", str(kept["ruff warm"]), folder]
    for name in ("warm", "ruff warm"):
        run(commands[name])

    def prepare(name: str) -> None:
        if name == "cold":
            shutil.rmtree(kept[name], ignore_errors=True)

    costs = interleaved(commands, runs, prepare)
    for kind in ("wall", "cpu"):
        cold, warm, other = (getattr(costs[name], kind) for name in ("cold", "warm", "ruff warm"))
        text = f"{warm:.2f} s, cold {cold:.2f} s: {warm / cold:.2f}; ruff warm {other:.2f} s: {warm / other:.2f}"
        met = warm <= 0.4 * cold and warm < other
        yield f"check with a full cache, {kind}", text, "at most 0.4 of cold, below ruff's", met


def _ruff() -> list[str]:
    """`ruff check` with the five nearest rules, on the same files."""
    ruff = shutil.which("ruff") or str(Path(sys.executable).with_name("ruff"))
    return [ruff, "check", "--isolated", "--select", RUFF_RULES, "--extend-exclude", RUFF_LEAVES_OUT]


def measure_startup(work: Path, parts: list[Path], runs: int) -> Iterator[Row]:
    """One small file from start to end, over an interpreter that does nothing."""
    small = work / "small.py"
    small.write_text("def save(path):\n    try:\n        commit(path)\n    except Exception:\n        pass\n")
    check = [*UNHUSH, "check", str(small)]
    costs = interleaved({"python": [sys.executable, "-c", "pass"], "unhush": check}, runs * 4)
    over = (costs["unhush"].wall - costs["python"].wall) * 1000
    yield "one small file, over `python -c pass`", f"{over:.0f} ms", "at most 60 ms", over <= 60
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", *check[1:]], capture_output=True, text=True, check=False
    )
    imported = {line.rpartition("|")[2].strip() for line in traced.stderr.splitlines()}
    unwanted = sorted(imported & {"libcst", "rich", "structlog", "sqlalchemy", "asyncio", "logging"})
    yield (
        "imported for that",
        ", ".join(unwanted) or "none of the heavy ones",
        "no libcst, rich, structlog",
        not unwanted,
    )


def measure_fix(work: Path, parts: list[Path], runs: int) -> Iterator[Row]:
    """`unhush fix`, proof included, against a LibCST codemod of whole modules, on the same files in one process."""
    found = subprocess.run(
        [*CHECK, "--output-format", "json", *map(str, parts)], capture_output=True, text=True, check=False
    )
    names = sorted({one["filename"] for one in json.loads(found.stdout) if one["fix"] == "safe"})[:200]
    origin, target = work / "fix-origin", work / "fix"
    for number, name in enumerate(names):
        (origin / str(number)).mkdir(parents=True)
        shutil.copyfile(name, origin / str(number) / Path(name).name)

    def prepare(name: str) -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(origin, target)

    commands = {
        "unhush": [*UNHUSH, "fix", "--jobs", "1", str(target)],
        "libcst": [sys.executable, str(Path(__file__).with_name("whole_module.py")), str(target)],
    }
    costs = interleaved(commands, runs, prepare)
    times = costs["libcst"].cpu / costs["unhush"].cpu
    size = size_of(list(python_files(origin))) / MB
    text = f"{len(names)} files, {size:.1f} MB: {costs['unhush'].cpu:.2f} s, LibCST {costs['libcst'].cpu:.2f} s: {times:.1f} times"
    yield "fix, CPU", text, "at least 5 times faster", times >= 5


def measure_memory(work: Path, parts: list[Path], runs: int) -> Iterator[Row]:
    """The biggest process of a run on an eighth of the corpus and on all of it."""
    few = run([*CHECK, str(parts[0])]).megabytes
    many = run([*CHECK, *map(str, parts)]).megabytes
    text = f"{few:.0f} MB for an eighth, {many:.0f} MB for all"
    yield "memory of the biggest process", text, "under 150 MB, flat", many < 150 and many < few * 1.3


def measure_growth(work: Path, parts: list[Path], runs: int) -> Iterator[Row]:
    """CPU seconds for one, two, four and eight eighths of the corpus."""
    sizes = {count: size_of([path for part in parts[:count] for path in python_files(part)]) for count in (1, 2, 4, 8)}
    commands = {str(count): [*CHECK, *map(str, parts[:count])] for count in sizes}
    costs = interleaved(commands, runs)
    rates = [costs[str(count)].cpu / sizes[count] * 100 * MB for count in sizes]
    text = ", ".join(f"{count}x {costs[str(count)].cpu:.2f} s" for count in sizes)
    yield "growth, CPU", text, "linear", max(rates[1:]) <= 1.25 * rates[0]


def measure_inputs(work: Path, parts: list[Path], runs: int) -> Iterator[Row]:
    """Files that are made to be slow, once each; seconds for a file, or for 10 MB of it where it is bigger."""
    made = {f"{name}, 10 MB": (lambda make=make: make(10 * MB)) for name, make in inputs.TRAPS.items()}
    made |= {
        "ordinary functions, 10 MB": lambda: inputs.ordinary(10 * MB),
        "50,000 handlers in a function": lambda: inputs.handlers(50_000),
        "50,000 methods with a handler": lambda: inputs.methods(50_000),
        "50,000 handlers at module level": lambda: inputs.module_handlers(50_000),
        "1,000 nested try": lambda: inputs.nested(1_000),
        "1,000 nested functions": lambda: inputs.nested_functions(1_000),
    }
    for name, make in made.items():
        path = work / "input.py"
        path.write_bytes(make())
        cost: Cost = run([*CHECK, "--min-severity", "low", str(path)], limit=120)
        seconds = cost.wall / max(1.0, path.stat().st_size / (10 * MB))
        yield name, f"{seconds:.1f} s", "at most 5 s", cost.status in (0, 1, 2) and seconds <= 5


if __name__ == "__main__":
    sys.exit(main())

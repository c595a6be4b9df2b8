"""The files that the benchmark reads: a folder that is given, or all installed Python code, repeated if that is little."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

LEAST_BYTES = 100_000_000
PARTS = 8


def installed() -> list[Path]:
    """The standard libraries and site-packages of this and other Pythons of the machine."""
    own = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    roots = [Path(prefix) / "lib" for prefix in (sys.base_prefix, "/usr", "/usr/local")]
    others = {str(path) for root in roots for path in root.glob("python3*") if path.is_dir()}
    return sorted({Path(os.path.realpath(path)) for path in own | others})


def python_files(folder: Path) -> Iterator[Path]:
    """The Python files below a folder, in order of name."""
    for top, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(top, name) for name in sorted(files) if name.endswith(".py"))


def size_of(files: list[Path]) -> int:
    """The bytes of some files."""
    return sum(path.stat().st_size for path in files if path.exists())


def build(target: Path, source: Path | None) -> list[Path]:
    """Fills `target` with eight folders that hold an eighth of the corpus each, as links to its files; returns them."""
    sources = [source] if source else installed()
    pairs = [(folder, path) for folder in sources for path in python_files(folder) if path.is_file()]
    total = sum(path.stat().st_size for _, path in pairs)
    repeats = 1 if source else -(-LEAST_BYTES // max(total, 1))
    parts = [target / f"part{number}" for number in range(PARTS)]
    count = 0
    for repeat in range(repeats):
        for folder, path in pairs:
            below = "/".join(path.relative_to(folder).parts).replace("site-packages", "packages")
            name = parts[count % PARTS] / f"{repeat}-{sources.index(folder)}" / below
            name.parent.mkdir(parents=True, exist_ok=True)
            _link(path, name)
            count += 1
    return parts


def _link(path: Path, name: Path) -> None:
    """A hard link, or a copy where the file systems differ."""
    try:
        os.link(path, name)
    except OSError:
        shutil.copyfile(path, name)

"""The fixer over a copy of the installed standard library: every file it rewrites is proved, and still imports.

A slice of the packages by default; the whole library with UNHUSH_FULL=1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from fixcases import everything

from unhush.codemods.fixer import fix_file
from unhush.codemods.fixreport import Changed, Failed, Unchanged
from unhush.codemods.prove import prove_trees
from unhush.codemods.trees import Folder

SETTINGS = everything()
LIBRARY = Path(sysconfig.get_path("stdlib"))
SKIPPED = ("site-packages", "dist-packages", "__pycache__", "lib2to3", "idlelib", "turtledemo")
SLICE = (
    "asyncio",
    "concurrent",
    "ctypes",
    "distutils",
    "email",
    "encodings",
    "http",
    "importlib",
    "json",
    "logging",
    "multiprocessing",
    "urllib",
    "xml",
)
FULL = bool(os.environ.get("UNHUSH_FULL"))


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> tuple[Path, Path]:
    """Two copies of the library: one to stay, one to be fixed."""
    folder = tmp_path_factory.mktemp("library")
    ignored = shutil.ignore_patterns(*SKIPPED, *(() if FULL else ("test", "tests")))
    for name in ("old", "new"):
        shutil.copytree(LIBRARY, folder / name, ignore=ignored)
    return folder / "old", folder / "new"


@pytest.fixture(scope="module")
def reports(copies) -> list[Changed | Unchanged | Failed]:
    """What the fixer says of each file of the second copy, which it writes."""
    _, new = copies
    files = sorted(
        path for path in new.rglob("*.py") if FULL or path.parent == new or path.relative_to(new).parts[0] in SLICE
    )
    return [fix_file(str(path), SETTINGS) for path in files]


def test_every_file_is_proved_or_left_with_a_reason(reports):
    """No rewrite fails; what a file that could be parsed has left says why it can't be fixed."""
    failed = [report for report in reports if isinstance(report, Failed)]
    assert all(
        "can't be parsed" in report.errors[0].reason or "not valid" in report.errors[0].reason for report in failed
    ), failed
    assert not [report for report in failed if "proof" in report.errors[0].reason]
    changed = [report for report in reports if isinstance(report, Changed)]
    assert len(changed) > 40
    assert {report.verdict for report in changed} == {"proved"}
    for report in changed:
        assert Path(report.filename).read_bytes() == report.new
        assert all(finding.fix_reason for finding in report.remaining)


def test_prove_agrees(copies, reports):
    """`prove` finds nothing but inserted logging between both copies, and finds it in every changed file."""
    old, new = copies
    found = prove_trees(Folder(str(old)), Folder(str(new)), SETTINGS)
    assert found.differences == ()
    assert found.errors == ()
    changed = {Path(report.filename).relative_to(new).as_posix() for report in reports if isinstance(report, Changed)}
    assert {file.filename for file in found.files} == changed


def test_the_fixed_library_works(copies, reports):
    """Python runs on the fixed copy: its changed modules import, and logging with a traceback works."""
    _, new = copies
    names = []
    for report in reports:
        parts = Path(report.filename).relative_to(new).with_suffix("").parts
        if isinstance(report, Changed) and not {"test", "tests", "__main__"} & set(parts):
            names.append(".".join(part for part in parts if part != "__init__"))
    assert len(names) > 40
    code = (
        "import importlib, logging, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ImportError as error:\n"
        "        print(name, error)\n"
        "    except BaseException as error:\n"
        "        print('BROKEN', name, repr(error))\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.warning('logs', exc_info=True)\n"
        "print(sys.modules['logging'].__file__)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(new)}
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False, env=env)
    assert str(new) in done.stdout
    assert "BROKEN" not in done.stdout
    assert "exception_ignored" not in done.stdout
    assert "AttributeError" not in done.stderr
    assert "logs" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    unimportable = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False)
    old_failures = {line.split()[0] for line in unimportable.stdout.splitlines()[:-1]}
    new_failures = {line.split()[0] for line in done.stdout.splitlines()[:-1]}
    assert new_failures == old_failures

"""The fix as a LibCST codemod: run by libcst.tool as a user would, with the same result as `unhush fix`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import libcst as cst
import pytest
from fixcases import BEFORE, DATA, case_names, load_case
from libcst.codemod import CodemodContext, SkipFile

from unhush.codemods.fixreport import Changed, Failed
from unhush.codemods.insert_logging import InsertLogging
from unhush.codemods.rules import all_rules

CONFIG = (
    'formatter: ["cat"]\ngenerated_code_marker: "@generated"\nblacklist_patterns: []\nmodules: []\nrepo_root: "."\n'
)
TEXT = "def save(db, row):\n    try:\n        db.write(row)\n        db.commit()\n    except Exception:\n        pass\n"
NAME = "unhush.codemods.insert_logging.InsertLogging"


def tool(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m libcst.tool codemod -x` in a folder with the documented configuration."""
    (folder / ".libcst.codemod.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "libcst.tool", "codemod", "-x", NAME, *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_tool_runs_it(tmp_path, fix):
    """`libcst.tool codemod -x` writes what `unhush fix` would, and skips the file the next time."""
    path = tmp_path / "store.py"
    path.write_text(TEXT)
    report = fix(TEXT)
    done = tool(tmp_path, "store.py")
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == report.new
    assert "Skipped 1 files" in tool(tmp_path, "store.py").stderr
    assert path.read_bytes() == report.new


def test_options_mean_the_same(tmp_path):
    """Levels and selection are the command's own options."""
    path = tmp_path / "store.py"
    path.write_text(TEXT)
    tool(tmp_path, "--select", "UNH101", "store.py")
    assert path.read_text() == TEXT
    tool(tmp_path, "--select", "UNH102", "--level-broad", "error", "store.py")
    assert 'logger.error("save.exception_ignored", exc_info=True)' in path.read_text()


def test_unknown_codes_are_refused():
    """A code that no rule has is named."""
    with pytest.raises(ValueError, match="UNH999"):
        InsertLogging(CodemodContext(), select="UNH999")


def test_same_result_as_the_fixer(tmp_path):
    """Of every case that LibCST gives back as it was, the command's result is that of the fixer."""
    compared = 0
    for name in case_names():
        case = load_case(name)
        try:
            tree = cst.parse_module(case.before)
        except (cst.ParserSyntaxError, UnicodeDecodeError, LookupError):
            continue
        if tree.bytes != case.before:
            continue
        folder = tmp_path / name
        report = case.run(folder)
        settings = case.settings
        command = InsertLogging(
            CodemodContext(filename=str(folder / case.filename)),
            select=",".join(sorted(settings.select & all_rules().keys())),
            min_severity=settings.min_severity,
            backend=settings.backend,
            level_broad=settings.level_broad,
            level_narrow=settings.level_narrow,
            unsafe_fixes=settings.unsafe_fixes,
        )
        if isinstance(report, Changed):
            assert command.transform_module_impl(tree).bytes == report.new, name
            compared += 1
        else:
            with pytest.raises(RuntimeError if isinstance(report, Failed) else SkipFile):
                command.transform_module_impl(tree)
    assert compared > 0.8 * len(list(DATA.glob(f"*{BEFORE}"))) * 0.8

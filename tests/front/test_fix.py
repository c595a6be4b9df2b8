from __future__ import annotations

import hashlib
import json
import subprocess

import pytest

SWALLOWS = """\
import logging

log = logging.getLogger(__name__)


def save(db, rows):
    for row in rows:
        try:
            db.insert(row)
            db.commit()
        except Exception:
            pass
"""
FIXED = SWALLOWS.replace("            pass\n", '            log.warning("save.exception_ignored", exc_info=True)\n')
UNFIXABLE = """\
def save(db):
    try:
        db.commit()
        db.close()
    finally:
        return 1
"""
BROKEN = "def save(db):\n    try:\n        db.commit(\n    except Exception:\n        pass\n"


def test_fix_rewrites_and_exits_with_0(unhush, write_tree):
    """Where nothing is left the exit code is 0; the file holds the log call, stdout says what was done."""
    folder = write_tree({"a.py": SWALLOWS})
    result = unhush("fix")
    assert result.returncode == 0
    assert (folder / "a.py").read_text() == FIXED
    assert result.stdout == b"a.py:11:9: UNH102 fixed: save.exception_ignored (in a loop)\n"
    assert result.stderr == b"Rewrote 1 finding in 1 of 1 file, each file proved.\n"


def test_nothing_to_fix_exits_with_0(unhush, write_tree):
    """A clean tree stays as it is and exits with 0."""
    folder = write_tree({"a.py": FIXED})
    result = unhush("fix")
    assert (result.returncode, result.stdout) == (0, b"")
    assert (folder / "a.py").read_text() == FIXED


def test_findings_that_remain_exit_with_1(unhush, write_tree):
    """What can't be fixed is listed with its reason, and the exit code is 1."""
    folder = write_tree({"a.py": SWALLOWS, "b.py": UNFIXABLE})
    result = unhush("fix")
    assert result.returncode == 1
    assert (folder / "b.py").read_text() == UNFIXABLE
    lines = result.stdout.decode().splitlines()
    assert lines[1].startswith("b.py:6:9: UNH203 ")
    assert lines[2].startswith("    not fixed: ")
    assert b"1 finding remains: " in result.stderr


def test_diff_prints_a_patch_and_writes_nothing(unhush, write_tree):
    """--diff prints what `git apply` takes, writes nothing, and exits with 1 since something would change."""
    folder = write_tree({"app/a.py": SWALLOWS})
    result = unhush("fix", "--diff")
    assert result.returncode == 1
    assert (folder / "app" / "a.py").read_text() == SWALLOWS
    assert result.stdout.startswith(b"--- a/app/a.py\n+++ b/app/a.py\n")
    subprocess.run(["git", "apply"], input=result.stdout, cwd=folder, check=True)
    assert (folder / "app" / "a.py").read_text() == FIXED


def test_diff_of_a_clean_tree_is_empty(unhush, write_tree):
    """Where nothing would change --diff prints nothing and exits with 0."""
    write_tree({"a.py": FIXED})
    result = unhush("fix", "--diff")
    assert (result.returncode, result.stdout) == (0, b"")


def test_broken_file_exits_with_2_and_the_rest_is_fixed(unhush, write_tree):
    """A file that can't be parsed is left alone with one line; the others are still rewritten."""
    folder = write_tree({"a.py": SWALLOWS, "b.py": BROKEN})
    result = unhush("fix")
    assert result.returncode == 2
    assert (folder / "a.py").read_text() == FIXED
    assert (folder / "b.py").read_text() == BROKEN
    assert result.stderr.startswith(b"error: b.py:")
    assert b"1 file left alone because of errors." in result.stderr


def test_report_records_hashes_events_and_verdicts(unhush, write_tree):
    """--report holds, for each file, the hashes before and after, what was fixed with its event, and the verdict."""
    folder = write_tree({"a.py": SWALLOWS, "b.py": UNFIXABLE, "c.py": FIXED, "d.py": BROKEN})
    assert unhush("fix", "--report", "out.json").returncode == 2
    report = json.loads((folder / "out.json").read_text())
    files = {entry["filename"]: entry for entry in report["files"]}
    changed = files[str(folder / "a.py")]
    assert changed["sha256_before"] == hashlib.sha256(SWALLOWS.encode()).hexdigest()
    assert changed["sha256_after"] == hashlib.sha256(FIXED.encode()).hexdigest()
    assert [fixed["event"] for fixed in changed["fixed"]] == ["save.exception_ignored"]
    assert {name.rpartition("/")[2]: entry["verdict"] for name, entry in files.items()} == {
        "a.py": "proved",
        "b.py": "unchanged",
        "d.py": "failed",
    }
    assert [error["filename"] for error in report["errors"]] == [str(folder / "d.py")]


def test_report_that_can_not_be_written_stops_before_any_rewrite(unhush, write_tree):
    """A report in a folder that does not exist is one line and exit code 2, and no file is touched."""
    folder = write_tree({"a.py": SWALLOWS})
    result = unhush("fix", "--report", "nowhere/out.json")
    assert (result.returncode, result.stdout) == (2, b"")
    expected = f"error: {folder}/nowhere/out.json: the report can't be written: No such file or directory\n"
    assert result.stderr.decode() == expected
    assert (folder / "a.py").read_text() == SWALLOWS


def test_report_leaves_no_draft_behind(unhush, write_tree):
    """Beside the files themselves only the report is left, whether the run ends well or not."""
    folder = write_tree({"a.py": SWALLOWS})
    unhush("fix", "--report", "out.json")
    unhush("fix", "--report", "nowhere/out.json")
    assert sorted(path.name for path in folder.iterdir()) == ["a.py", "out.json"]


def test_options_of_the_inserted_call(unhush, write_tree):
    """--backend and the levels decide what is inserted."""
    folder = write_tree({"a.py": SWALLOWS.partition("\n\n\n")[2], "pyproject.toml": "[project]\nname = 'x'\n"
                         "version = '1'\ndependencies = ['loguru']\n"})  # fmt: skip
    assert unhush("fix", "--backend", "loguru", "--level-broad", "error").returncode == 0
    text = (folder / "a.py").read_text()
    assert "from loguru import logger\n" in text
    assert 'logger.opt(exception=True).error("save.exception_ignored")\n' in text


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-"], "error: fix rewrites files; '-' (stdin) has none"),
        (["--backend", "print"], "error: Invalid value for '--backend': 'print' is not one of"),
        (["--level-broad", "loud"], "error: Invalid value for '--level-broad': 'loud' is not one of"),
        (["nowhere.py"], "error: nowhere.py: does not exist"),
    ],
)
def test_wrong_use_exits_with_2(unhush, arguments, line):
    """Wrong use is one line that says so, and exit code 2."""
    result = unhush("fix", "--quiet", *arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode().startswith(line)
    assert result.stderr.count(b"\n") == 1


def test_jobs_do_not_change_the_outcome(unhush, write_tree):
    """Two processes rewrite as one does, and list what they did in the same order."""
    files = {f"m{number:03}.py": SWALLOWS for number in range(120)}
    folder = write_tree(files)
    two = unhush("fix", "-j", "2")
    assert {path.read_text() for path in folder.glob("*.py")} == {FIXED}
    write_tree(files)
    one = unhush("fix", "-j", "1")
    assert one.stdout == two.stdout
    assert one.stdout.count(b"fixed: save.exception_ignored") == 120

"""`unhush baseline` and `unhush check --baseline`: what is tolerated, what fails, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

SILENT = "    try:\n        db.commit()\n    except Exception:\n        pass\n"
ONE = "def save(db):\n" + SILENT
TWO = ONE + SILENT
OTHER = "def drop(db):\n" + SILENT.replace("commit", "delete")
BROKEN = ONE.replace("commit()", "commit(")
NAME = "unhush-baseline.txt"


@pytest.fixture
def unhush(quick):
    """Runs the command line in this process: these tests run it often."""
    return quick


def git(folder: Path, *args: str) -> str:
    """Runs git as somebody."""
    who = ["-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *who, *args], cwd=folder, capture_output=True, check=True, text=True).stdout


def entries(folder: Path) -> list[list[str]]:
    """The fields of the baseline's lines."""
    return [line.split(" ") for line in (folder / NAME).read_text().splitlines() if not line.startswith("#")]


def check(unhush, *more):
    return unhush("check", "--baseline", NAME, *more)


def test_known_findings_are_tolerated_and_new_ones_fail(unhush, write_tree):
    """What the baseline holds is neither shown nor counted; a finding more is, and it alone."""
    folder = write_tree({"a.py": ONE, "b.py": OTHER})
    assert unhush("baseline", "write").returncode == 0
    result = check(unhush)
    assert (result.returncode, result.stdout) == (0, b"")
    assert result.stderr.decode().splitlines() == [
        "No new swallowed exceptions in 2 files.",
        f"{NAME}: 2 known findings tolerated, 0 new, 0 gone.",
    ]
    (folder / "b.py").write_text(OTHER + "\n\ndef more(db):\n" + SILENT)
    result = check(unhush, "--output-format", "json")
    assert result.returncode == 1
    assert [found["qualname"] for found in json.loads(result.stdout)] == ["more"]
    assert b"2 known findings tolerated, 1 new, 0 gone" in result.stderr


def test_equal_handlers_of_a_function_are_counted(unhush, write_tree):
    """Two equal handlers in one function are one line that counts two; a third is new, one less is gone."""
    folder = write_tree({"a.py": TWO})
    unhush("baseline", "write")
    [line] = entries(folder)
    assert line[-1] == "2"
    assert check(unhush).returncode == 0
    (folder / "a.py").write_text(TWO + SILENT)
    assert check(unhush).returncode == 1
    (folder / "a.py").write_text(ONE)
    assert b"1 known finding tolerated, 0 new, 1 gone" in check(unhush).stderr


def test_stale_entries_fail_only_a_strict_run(unhush, write_tree):
    """What was mended is named as gone; with --strict-baseline it fails the run and each entry has its line."""
    folder = write_tree({"a.py": ONE, "b.py": OTHER})
    unhush("baseline", "write")
    (folder / "a.py").write_text("def save(db):\n    db.commit()\n")
    result = check(unhush)
    assert result.returncode == 0
    assert b"1 gone: `unhush baseline update` takes it out" in result.stderr
    strict = check(unhush, "--strict-baseline", "-q")
    assert strict.returncode == 1
    assert strict.stderr.decode() == f"error: {NAME}: gone, but still known: UNH102 a.py save (1)\n"
    assert unhush("baseline", "update").returncode == 0
    assert check(unhush, "--strict-baseline").returncode == 0


def test_update_only_shrinks(unhush, write_tree):
    """`update` takes out what is gone and leaves out what is new, unless --allow-growth adds it."""
    folder = write_tree({"a.py": ONE, "b.py": OTHER})
    unhush("baseline", "write")
    (folder / "a.py").write_text("")
    (folder / "c.py").write_text(ONE.replace("commit", "send"))
    result = unhush("baseline", "update")
    assert result.returncode == 0
    assert b"1 known finding, 2 before; 1 new not added (--allow-growth adds them)." in result.stderr
    assert [line[2] for line in entries(folder)] == ["b.py"]
    unhush("baseline", "update", "--allow-growth")
    assert [line[2] for line in entries(folder)] == ["b.py", "c.py"]
    assert b"nothing to write" in unhush("baseline", "update").stderr


def test_update_of_a_part_keeps_the_rest(unhush, write_tree):
    """With paths `update` and stale entries speak of these alone; what lies elsewhere stays as it was."""
    folder = write_tree({"app/a.py": ONE, "lib/b.py": OTHER})
    unhush("baseline", "write")
    (folder / "app/a.py").write_text("")
    (folder / "lib/b.py").write_text("")
    result = unhush("check", "--baseline", NAME, "--strict-baseline", "app")
    assert result.stderr.decode().count("gone, but still known") == 1
    unhush("baseline", "update", "app")
    assert [line[2] for line in entries(folder)] == ["lib/b.py"]


def test_update_follows_what_was_moved(unhush, write_tree):
    """After a rename and an edit `update` writes the new file and content, and the next rename is followed too."""
    folder = write_tree({"a.py": ONE})
    unhush("baseline", "write")
    (folder / "a.py").unlink()
    (folder / "z.py").write_text(ONE.replace("        db.commit()", "        log(1)\n        db.commit()"))
    assert check(unhush, "--strict-baseline").returncode == 0
    unhush("baseline", "update")
    assert [line[2] for line in entries(folder)] == ["z.py"]


def test_a_copy_in_another_file_is_new(unhush, write_tree):
    """A function that was copied is no moved one: the copy is new while the first file holds its own."""
    folder = write_tree({"a.py": ONE, "b.py": ""})
    unhush("baseline", "write")
    (folder / "b.py").write_text(ONE)
    assert check(unhush).returncode == 1
    assert check(unhush, "b.py").returncode == 1  # also where the first file is not looked at
    (folder / "a.py").write_text("")
    assert check(unhush).returncode == 0


def test_what_a_run_does_not_ask_is_not_stale(unhush, write_tree):
    """Entries of rules, severities and files that a run leaves out are not gone; broken files are not either."""
    folder = write_tree({"a.py": ONE, "b.py": OTHER})
    unhush("baseline", "write")
    assert b"0 gone" in check(unhush, "--select", "UNH3").stderr
    assert b"0 gone" in check(unhush, "a.py").stderr
    (folder / "a.py").write_text(BROKEN)
    result = check(unhush, "--strict-baseline")
    assert result.returncode == 2
    assert b"0 gone" in result.stderr


def test_the_settings_name_a_baseline(unhush, write_tree):
    """`baseline` in the settings is heeded from any folder, and --no-baseline leaves it out."""
    folder = write_tree({"app/a.py": ONE, "pyproject.toml": f"[tool.unhush]\nbaseline = '{NAME}'\n"})
    assert unhush("check").returncode == 2
    assert b"make it with `unhush baseline write`" in unhush("check").stderr
    unhush("baseline", "write", cwd=folder / "app")
    assert entries(folder)[0][2] == "app/a.py"
    assert unhush("check", cwd=folder / "app").returncode == 0
    assert unhush("check", "--no-baseline").returncode == 1


def test_write_refuses_to_overwrite(unhush, write_tree):
    """A baseline that is there stays as it is, unless --force writes it anew."""
    folder = write_tree({"a.py": ONE})
    (folder / NAME).write_text("mine")
    result = unhush("baseline", "write")
    assert (result.returncode, (folder / NAME).read_text()) == (2, "mine")
    assert result.stderr.startswith(f"error: {folder / NAME}: is there already".encode())
    assert unhush("baseline", "write", "--force").returncode == 0
    assert len(entries(folder)) == 1


@pytest.mark.parametrize("act", ["write", "update"])
def test_nothing_is_written_where_a_file_cannot_be_checked(unhush, write_tree, act):
    """A broken file leaves the baseline as it is: what is in it can't be told. Without it the act goes through."""
    folder = write_tree({"a.py": ONE})
    if act == "update":
        unhush("baseline", "write")
    before = sorted(path.name for path in folder.iterdir())
    broken = folder / "broken.py"
    broken.write_text(BROKEN)
    result = unhush("baseline", act)
    assert result.returncode == 2
    assert b"left as it is, for what is named above can't be checked" in result.stderr
    broken.unlink()
    assert sorted(path.name for path in folder.iterdir()) == before
    assert unhush("baseline", act).returncode == 0


def test_the_file_is_sorted_and_the_same_for_any_order(unhush, write_tree):
    """One entry a line, sorted by file and function, with names that hold blanks or no UTF-8 written as in URLs."""
    folder = write_tree({"b dir/x y.py": OTHER, "a.py": ONE + "\n\n" + OTHER, "ü.py": ONE})
    (folder / os.fsdecode(b"raw\xff.py")).write_text(ONE)
    unhush("baseline", "write")
    assert [line[2:4] for line in entries(folder)] == [
        ["a.py", "drop"],
        ["a.py", "save"],
        ["b%20dir/x%20y.py", "drop"],
        ["raw%FF.py", "save"],
        ["ü.py", "save"],
    ]
    assert check(unhush, "--strict-baseline").returncode == 0
    (folder / NAME).write_bytes((folder / NAME).read_bytes().replace(b"\n", b"\r\n"))
    assert check(unhush, "--strict-baseline").returncode == 0


def test_show_counts_the_worst_first(unhush, write_tree):
    """`show` sums up by rule and by file, as a table or as JSON."""
    write_tree({"a.py": ONE, "b.py": TWO})
    unhush("baseline", "write")
    text = unhush("baseline", "show").stdout.decode()
    assert text.startswith(f"{NAME}: 3 known findings\n")
    assert [line.split()[0] for line in text.splitlines() if ".py" in line] == ["b.py", "a.py"]
    shown = json.loads(unhush("baseline", "show", "--json").stdout)
    assert shown["total"] == shown["rules"]["UNH102"]["total"] == 3
    assert shown["files"]["b.py"]["total"] == 2


def bad_baselines():
    """Contents that must not be used, with what the line about them says."""
    head = f"# unhush baseline, format 1\n# repository: unknown\n# {'x' * 9}\n"
    line = "UNH102 high a.py save 0123456789-0123456789 1\n"
    return {
        "newer": (head.replace("format 1", "format 2"), ":1: is of format 2, made by a newer unhush"),
        "conflict": (head + f"<<<<<<< HEAD\n{line}=======\n>>>>>>> other\n", ":4: holds a merge conflict"),
        "conflict in the head": ("<<<<<<< HEAD\n" + head, ":1: holds a merge conflict"),
        "twice": (head + line + line, ":5: repeats line 4"),
        "twice with other counts": (head + line + line.replace(" 1\n", " 2\n"), ":5: repeats line 4"),
        "no count": (head + line.replace(" 1\n", "\n"), ":4: should hold code, severity, file"),
        "count of 0": (head + line.replace(" 1\n", " 0\n"), ":4: '0' is no count"),
        "severity": (head + line.replace("high", "hgih"), ":4: 'hgih' is no severity"),
        "fingerprint": (head + line.replace("0123456789-", "012345678-"), ":4: '012345678-0123456789' is no fingerprint"),
        "no owner": (head.splitlines()[0] + "\n" + line, ":2: should name the repository"),
        "another file": ("[tool.unhush]\n", ":1: is no baseline"),
        "empty": ("", ":1: is no baseline"),
        "binary": (b"\xff\xfe\x00", ": is no baseline: it is not valid UTF-8"),
    }  # fmt: skip


@pytest.mark.parametrize("name", bad_baselines())
@pytest.mark.parametrize("command", [("check", "--baseline", NAME), ("baseline", "update"), ("baseline", "show")])
def test_a_bad_baseline_is_one_line_and_exit_code_2(unhush, write_tree, name, command):
    """What can't be trusted stops the run with one line that names the file, and leaves it as it is."""
    content, said = bad_baselines()[name]
    folder = write_tree({"a.py": ONE, NAME: content})
    before = (folder / NAME).read_bytes()
    result = unhush(*command)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode().startswith(f"error: {folder / NAME}{said}")
    assert result.stderr.count(b"\n") == 1
    assert (folder / NAME).read_bytes() == before


def test_comments_and_blank_lines_are_no_entries(unhush, write_tree):
    """A comment of a reader's own does no harm."""
    folder = write_tree({"a.py": ONE})
    unhush("baseline", "write")
    (folder / NAME).write_text((folder / NAME).read_text() + "\n# by hand\n")
    assert check(unhush, "--strict-baseline").returncode == 0


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_an_unreadable_baseline(unhush, write_tree):
    """A baseline that can't be read is one line and exit code 2."""
    folder = write_tree({"a.py": ONE, NAME: ""})
    (folder / NAME).chmod(0)
    assert b"can't be read: permission denied" in check(unhush).stderr


def test_a_folder_or_nothing_in_its_place(unhush, write_tree):
    """A folder, and a name where nothing is, are one line each."""
    folder = write_tree({"a.py": ONE})
    assert b"does not exist: make it with" in check(unhush).stderr
    (folder / NAME).mkdir()
    result = check(unhush)
    assert result.returncode == 2
    assert b"can't be read: is a directory" in result.stderr


def test_a_baseline_of_another_repository_is_refused(unhush, write_tree):
    """Its first commit is none of this repository's: one line. A clone and a shallow clone of the same are fine."""
    folder = write_tree({"mine/a.py": ONE, "theirs/b.py": OTHER})
    for name in ("mine", "theirs"):
        git(folder / name, "init", "-q")
        git(folder / name, "add", ".")
        git(folder / name, "commit", "-qm", name)
        assert unhush("baseline", "write", cwd=folder / name).returncode == 0
    (folder / "mine" / NAME).write_bytes((folder / "theirs" / NAME).read_bytes())
    result = unhush("check", "--baseline", NAME, cwd=folder / "mine")
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert b"was written for another repository" in result.stderr
    git(folder / "theirs", "add", ".")
    git(folder / "theirs", "commit", "-qm", "second")
    for depth in ([], ["--depth=1"]):
        place = folder / f"clone{len(depth)}"
        git(folder, "clone", "-q", *depth, (folder / "theirs").as_uri(), str(place))
        assert unhush("check", "--baseline", NAME, "--strict-baseline", cwd=place).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--strict-baseline"], "error: --strict-baseline needs a baseline"),
        (["--no-baseline", "--baseline", NAME], "error: --no-baseline can't be combined"),
        (["--baseline", NAME, "-"], "error: --baseline can't be combined with '-' (stdin)"),
        (["--diff-from", "HEAD", "-"], "error: --diff-from can't be combined with '-' (stdin)"),
        (["--staged", "-"], "error: --staged can't be combined with '-' (stdin)"),
        (["--staged", "--diff-from", "HEAD"], "error: --staged can't be combined with --diff-from"),
    ],
)
def test_wrong_use(unhush, arguments, line):
    """Options that don't go together are one line and exit code 2."""
    result = unhush("check", *arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode().startswith(line)


@pytest.mark.parametrize("output_format", ["text", "concise", "json", "jsonl", "github", "sarif"])
def test_every_format_shows_the_new_ones_alone(unhush, write_tree, output_format):
    """In each format the new finding is there and the known one is not."""
    folder = write_tree({"a.py": ONE})
    unhush("baseline", "write")
    (folder / "b.py").write_text(OTHER)
    result = check(unhush, "--output-format", output_format)
    assert result.returncode == 1
    assert b"b.py" in result.stdout
    assert b"a.py" not in result.stdout

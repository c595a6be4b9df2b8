"""`unhush check` with its cache, and `unhush clean`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SILENT = "def save(db):\n    try:\n        db.commit()\n    except Exception:\n        pass\n"
CLEAN = "def add(a, b):\n    return a + b\n"
Unhush = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def tree(write_tree: Callable[[dict[str, str | bytes]], Path]) -> Path:
    """A project with a finding, and its own settings in one folder."""
    return write_tree(
        {
            "pyproject.toml": '[project]\nname = "app"\n',
            "app/store.py": SILENT,
            "app/sum.py": CLEAN,
            "tools/pyproject.toml": '[tool.unhush]\nignore = ["UNH102"]\n',
            "tools/run.py": SILENT,
        }
    )


def same(one: subprocess.CompletedProcess[bytes], other: subprocess.CompletedProcess[bytes]) -> bool:
    return (one.returncode, one.stdout, one.stderr) == (other.returncode, other.stdout, other.stderr)


@pytest.mark.parametrize("output_format", ["text", "json", "sarif"])
def test_results_are_the_same_cold_and_warm(unhush: Unhush, tree: Path, output_format: str) -> None:
    """Without the cache, with an empty one, and with a full one, stdout, stderr and exit code are the same."""
    args = ("check", "--output-format", output_format)
    plain = unhush(*args, "--no-cache")
    assert not (tree / ".unhush_cache").exists()
    assert plain.returncode == 1
    assert same(unhush(*args), plain)
    assert len([*tree.glob(".unhush_cache/unhush-*.cache")]) == 2  # one for each set of settings
    assert same(unhush(*args), plain)


def test_changes_and_settings_are_seen(unhush: Unhush, tree: Path) -> None:
    """After a file, the settings or the command line changed, a warm run says what a cold one says."""
    assert b"store.py" in unhush("check").stdout
    (tree / "app/store.py").write_text(CLEAN)
    assert unhush("check").returncode == 0
    (tree / "app/store.py").write_text(SILENT)
    assert unhush("check").returncode == 1
    assert unhush("check", "--ignore", "UNH102").returncode == 0
    (tree / "tools/pyproject.toml").write_text("[tool.unhush]\n")
    assert b"2 swallowed exceptions" in unhush("check").stderr


def test_git_does_not_see_the_cache(unhush: Unhush, tree: Path) -> None:
    """The folder ignores itself, and says to backup programs what it is."""
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    unhush("check")
    seen = subprocess.run(["git", "status", "--porcelain", "-uall"], cwd=tree, capture_output=True, check=True).stdout
    assert b"app/store.py" in seen
    assert b"cache" not in seen
    assert (
        (tree / ".unhush_cache/CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    )


def test_another_folder_may_be_named(unhush: Unhush, tree: Path) -> None:
    """--cache-dir and UNHUSH_CACHE_DIR name the folder; in one that holds other things only the cache's files are put."""
    other = tree.parent / f"{tree.name}-other"
    unhush("check", "--cache-dir", other)
    assert (other / "CACHEDIR.TAG").exists()
    third = tree.parent / f"{tree.name}-third"
    third.mkdir()
    (third / "notes.txt").write_text("mine")
    unhush("check", env={"UNHUSH_CACHE_DIR": str(third)})
    assert not (third / "CACHEDIR.TAG").exists()
    assert [*third.glob("unhush-*.cache")]
    assert not (tree / ".unhush_cache").exists()
    result = unhush("clean", env={"UNHUSH_CACHE_DIR": str(third)})
    assert (result.returncode, [path.name for path in third.iterdir()]) == (0, ["notes.txt"])


def test_a_few_named_files_need_no_cache(unhush: Unhush, tree: Path) -> None:
    """Named files, and stdin, are checked without; a folder is not."""
    unhush("check", "app/store.py", "app/sum.py")
    unhush("check", "-", stdin=SILENT.encode())
    assert not (tree / ".unhush_cache").exists()
    unhush("check", "app")
    assert (tree / ".unhush_cache").exists()


def test_a_cache_that_cannot_be_written_is_told(unhush: Unhush, tree: Path) -> None:
    """Where the folder can't be made the run goes on as without it, with one line that says so; -q leaves it out."""
    plain = unhush("check", "--no-cache")
    result = unhush("check", "--cache-dir", "pyproject.toml")
    assert (result.returncode, result.stdout) == (plain.returncode, plain.stdout)
    first, rest = result.stderr.split(b"\n", 1)
    assert first.startswith(b"the cache can't be written, see --cache-dir: ")
    assert rest == plain.stderr
    assert unhush("check", "-q", "--cache-dir", "pyproject.toml").stderr == b""


def test_broken_files_of_the_cache_are_no_matter(unhush: Unhush, tree: Path) -> None:
    """A cache full of something else is built anew without a word."""
    plain = unhush("check")
    kept = [*(tree / ".unhush_cache").glob("unhush-*.cache")]
    for path in kept:
        path.write_bytes(b"\0not ours")
    assert same(unhush("check"), plain)
    assert all(b"not ours" not in path.read_bytes() for path in kept)


def test_fix_does_not_ask_the_cache(unhush: Unhush, tree: Path) -> None:
    """`fix` rewrites what is in the file, whatever the cache says of it, and the next check sees the rewritten file."""
    assert unhush("check", "app").returncode == 1
    assert unhush("fix", "app").returncode == 0
    assert b"logger" in (tree / "app/store.py").read_bytes()
    assert unhush("check", "app").returncode == 0


def test_clean_removes_the_cache(unhush: Unhush, tree: Path) -> None:
    """`unhush clean` removes the folder from anywhere in the project, and says so; a second time there is none."""
    unhush("check")
    result = unhush("clean", "app")
    assert (result.returncode, result.stderr) == (0, b".unhush_cache removed.\n")
    assert not (tree / ".unhush_cache").exists()
    result = unhush("clean")
    assert (result.returncode, result.stderr) == (0, b"No cache in .unhush_cache.\n")


def test_clean_leaves_what_is_not_the_caches(unhush: Unhush, tree: Path) -> None:
    """A file that unhush did not write stays, and so does the folder."""
    unhush("check")
    (tree / ".unhush_cache/notes.txt").write_text("mine")
    assert unhush("clean").returncode == 0
    assert [path.name for path in (tree / ".unhush_cache").iterdir()] == ["notes.txt"]

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from unhush.version import __version__

pytestmark = [
    pytest.mark.skipif(not find_spec("pre_commit") or not shutil.which("git"), reason="pre-commit or git is missing"),
]
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", ".*cache*")
OFFLINE = re.compile(r"No matching distribution|Connection|Name or service|Temporary failure|Network is unreachable")
FINDING = "def {name}():\n    try:\n        db.write({name!r})\n    except Exception:\n        pass\n"
Do = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def hooks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository of this source as it is, tagged with its version, for pre-commit to clone."""
    root, copy = request.config.rootpath, tmp_path_factory.mktemp("hooks") / "unhush"
    mapped = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"].values()
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml"):
        shutil.copy(root / name, copy / name)
    for folder in sorted({Path(folder).parts[0] for folder in mapped}):
        shutil.copytree(root / folder, copy / folder, ignore=IGNORED)
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"], ["tag", f"v{__version__}"]):
        subprocess.run(["git", *command], cwd=copy, env=environment(copy.parent), check=True)
    return copy


@pytest.fixture(scope="module")
def home(hooks: Path) -> Path:
    """Where pre-commit keeps its environments: that of the hooks is built once, else the tests are skipped."""
    home, asking = hooks.parent / "home", hooks.parent / "asking"
    asking.mkdir()
    write(asking, ".pre-commit-config.yaml", config(hooks, "unhush"))
    subprocess.run(["git", "init", "--quiet"], cwd=asking, env=environment(home), check=True)
    command = [sys.executable, "-m", "pre_commit", "install-hooks"]
    done = subprocess.run(command, cwd=asking, env=environment(home), capture_output=True, text=True, check=False)
    if done.returncode and OFFLINE.search(done.stdout + done.stderr):
        pytest.skip("pre-commit can't build the hooks' environment here: no package index answers")
    assert done.returncode == 0, done.stdout + done.stderr
    return home


@pytest.fixture
def do(home: Path, tmp_path: Path) -> Do:
    """Runs a command in a fresh repository, with pre-commit's own home."""

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        argv = list(map(str, command))
        return subprocess.run(argv, cwd=tmp_path, env=environment(home), capture_output=True, text=True, check=False)

    assert run("git", "init", "--quiet").returncode == 0
    return run


def environment(home: Path) -> dict[str, str]:
    """The environment for git and pre-commit: nothing of the user's settings, and of a hook that runs the tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PRE_COMMIT"))}
    who = {f"GIT_{role}_{what}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    quiet = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "1",
    }
    return {**clean, **who, **quiet, "PRE_COMMIT_HOME": str(home), "PRE_COMMIT_COLOR": "never"}


def config(hooks: Path, hook: str) -> str:
    """A configuration of pre-commit with one of the hooks."""
    return f"repos:\n- repo: file://{hooks}\n  rev: v{__version__}\n  hooks:\n  - id: {hook}\n"


def write(folder: Path, name: str, text: str) -> None:
    """Writes a file."""
    (folder / name).write_text(text)


def commit(do: Do) -> subprocess.CompletedProcess[str]:
    """Commits all there is, through the hooks."""
    do("git", "add", ".")
    return do("git", "commit", "-m", "change")


def commits(do: Do) -> int:
    """How many commits there are."""
    return len(do("git", "log", "--oneline").stdout.splitlines())


def test_pre_commit_blocks_a_finding(do: Do, hooks: Path, tmp_path: Path) -> None:
    """A commit without a finding goes through, one with a finding does not, and goes through once that is gone."""
    write(tmp_path, ".pre-commit-config.yaml", config(hooks, "unhush"))
    assert do(sys.executable, "-m", "pre_commit", "install").returncode == 0
    write(tmp_path, "clean.py", "x = 1\n")
    assert commit(do).returncode == 0
    write(tmp_path, "store.py", FINDING.format(name="save"))
    blocked = commit(do)
    assert blocked.returncode == 1
    assert re.search(r"^unhush check\.+Failed$", blocked.stderr + blocked.stdout, re.M)
    assert "store.py:4:" in blocked.stderr + blocked.stdout
    assert commits(do) == 1
    write(tmp_path, "store.py", FINDING.format(name="save").replace("pass", "raise"))
    assert commit(do).returncode == 0
    assert commits(do) == 2


def test_pre_commit_tolerates_what_the_baseline_knows(do: Do, hooks: Path, tmp_path: Path) -> None:
    """What `unhush init` sets up lets an old finding through, moved and renamed, and blocks a new one."""
    write(tmp_path, "pyproject.toml", '[project]\nname = "app"\n')
    write(tmp_path, "old.py", FINDING.format(name="save"))
    done = do(sys.executable, "-m", "unhush", "init", "--hook-repo", f"file://{hooks}")
    assert done.returncode == 0
    assert do(sys.executable, "-m", "pre_commit", "install").returncode == 0
    assert commit(do).returncode == 0
    write(tmp_path, "old.py", "import db\n\n\n" + FINDING.format(name="save"))
    moved = commit(do)
    assert (moved.returncode, commits(do)) == (0, 2)
    do("git", "mv", "old.py", "renamed.py")
    assert (commit(do).returncode, commits(do)) == (0, 3)
    write(tmp_path, "renamed.py", FINDING.format(name="save") + "\n\n" + FINDING.format(name="load"))
    blocked = commit(do)
    assert (blocked.returncode, commits(do)) == (1, 3)
    said = blocked.stderr + blocked.stdout
    assert "renamed.py:11:" in said
    assert "renamed.py:4:" not in said


def test_pre_commit_lets_a_fix_be_looked_at(do: Do, hooks: Path, tmp_path: Path) -> None:
    """The hook that rewrites stops the commit that it changed; what it wrote goes through."""
    write(tmp_path, ".pre-commit-config.yaml", config(hooks, "unhush-fix"))
    assert do(sys.executable, "-m", "pre_commit", "install").returncode == 0
    write(tmp_path, "store.py", FINDING.format(name="save"))
    first = commit(do)
    assert first.returncode == 1
    assert "files were modified by this hook" in first.stderr + first.stdout
    assert "save.exception_ignored" in (tmp_path / "store.py").read_text()
    assert (commit(do).returncode, commits(do)) == (0, 1)

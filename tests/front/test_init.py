from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from unhush.insertion import Refusal, with_hook, with_setting
from unhush.version import __version__

SILENT = "def save():\n    try:\n        db.write()\n        db.commit()\n    except Exception:\n        pass\n"
HOOKS = "# ours\nrepos:\n- repo: https://example.org/a\n  rev: v1\n  hooks: [{id: a}]  # first\n\n# stages\ndefault_stages: [pre-commit]\n"
ENTRY = "- repo: here\n  hooks:\n    - id: unhush\n"
MEANT = {"repo": "here", "hooks": [{"id": "unhush"}]}
Write = Callable[[dict[str, str | bytes]], Path]
Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def repository(write_tree: Write) -> Callable[..., Path]:
    """Makes a repository of a file with one finding and the given files."""

    def make(files: dict[str, str | bytes] | None = None) -> Path:
        folder = write_tree({"app/store.py": SILENT, **(files or {})})
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
        return folder

    return make


def contents(folder: Path) -> dict[str, bytes]:
    """Every file outside of git's own folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    }


def test_a_bare_repository_is_set_up_once(repository: Callable[..., Path], unhush: Run) -> None:
    """Baseline, settings and hook are written, one line each; then the gate is clean, and a second run changes nothing."""
    folder = repository()
    assert unhush("check").returncode == 1
    first = unhush("init", cwd=folder / "app")
    assert (first.returncode, first.stdout.decode().splitlines()) == (
        0,
        [
            "../unhush-baseline.txt: written, with 1 known finding",
            "../unhush.toml: written, with the baseline's name",
            "../.pre-commit-config.yaml: written, with the hook unhush",
        ],
    )
    assert unhush("check").returncode == 0
    hook = yaml.safe_load((folder / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"][0]
    assert hook["additional_dependencies"] == [f"unhush=={__version__}"]
    before = contents(folder)
    second = unhush("init")
    assert (second.returncode, contents(folder)) == (0, before)
    assert second.stdout.count(b"left as it is") == 3
    assert b"Nothing to do" in second.stderr


def test_new_findings_do_not_enter_by_a_second_run(repository: Callable[..., Path], unhush: Run) -> None:
    """A baseline that is there does not grow by `init`."""
    folder = repository()
    unhush("init")
    (folder / "app/new.py").write_text(SILENT.replace("save", "store").replace("write", "put"))
    assert unhush("init").returncode == 0
    assert unhush("check").returncode == 1


def test_files_of_people_keep_every_byte(repository: Callable[..., Path], unhush: Run) -> None:
    """Existing files get just the new lines; what they say besides is the same, byte for byte."""
    project = '[project]\r\nname   =  "app" # odd\r\n\r\n[tool.unhush]  # ours\r\nmin-severity = "low"\r\n'
    folder = repository({"pyproject.toml": project, ".pre-commit-config.yaml": HOOKS})
    assert unhush("init", "--hook-repo", "file:///some/where").returncode == 0
    after = (folder / "pyproject.toml").read_bytes().decode()
    assert after.replace('baseline = "unhush-baseline.txt"\r\n', "") == project
    assert tomllib.loads(after)["tool"]["unhush"] == {"baseline": "unhush-baseline.txt", "min-severity": "low"}
    hooks = (folder / ".pre-commit-config.yaml").read_text()
    added = f"- repo: file:///some/where\n  rev: v{__version__}\n  hooks:\n    - id: unhush\n"
    assert hooks.replace(added, "") == HOOKS
    assert hooks.index(added) < hooks.index("# stages")


def test_a_dry_run_writes_nothing(repository: Callable[..., Path], unhush: Run) -> None:
    """`--dry-run` says what would be done, and does not do it; the next run does."""
    folder = repository({"pyproject.toml": '[project]\nname = "app"\n'})
    before = contents(folder)
    dry = unhush("init", "--dry-run")
    assert (dry.returncode, contents(folder)) == (0, before)
    assert dry.stdout.count(b"would be ") == 3
    assert unhush("init").returncode == 0
    assert len(contents(folder)) == len(before) + 2


def test_without_git_there_is_no_hook(write_tree: Write, unhush: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of a repository the baseline and the settings are written, and the missing hook is told."""
    folder = write_tree({"store.py": SILENT})
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
    result = unhush("init")
    assert result.returncode == 0
    assert b".pre-commit-config.yaml: left out" in result.stdout
    assert sorted(contents(folder)) == ["store.py", "unhush-baseline.txt", "unhush.toml"]


def test_a_repository_that_git_refuses_is_not_taken_for_none(
    repository: Callable[..., Path], unhush: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where git does not trust the folder, one line says how to make it, and nothing is written; then all is."""
    folder = repository()
    before = contents(folder)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # what git's own tests use
    result = unhush("init")
    errors = result.stderr.decode().splitlines()
    assert (result.returncode, result.stdout, contents(folder)) == (2, b"", before)
    assert len(errors) == 1
    assert "dubious ownership" in errors[0]
    assert f"git config --global --add safe.directory {folder}" in errors[0]
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    assert unhush("init").returncode == 0
    assert contents(folder) != before


BAD = {
    "broken TOML": ("pyproject.toml", "[project\n", "not valid TOML"),
    "dotted settings": ("pyproject.toml", '[tool]\nunhush = { min-severity = "low" }\n', "by hand"),
    "unknown key": ("unhush.toml", 'min-sevrity = "low"\n', "min-severity"),
    "not UTF-8": ("pyproject.toml", b'[project]\nname = "\xff"\n', "UTF-8"),
    "broken YAML": (".pre-commit-config.yaml", "repos: [\n", "not valid YAML"),
    "another file": (".pre-commit-config.yaml", "- id: a\n", "is no configuration of pre-commit"),
    "hooks on one line": (".pre-commit-config.yaml", "repos: [{repo: a, hooks: [{id: a}]}]\n", "by hand"),
    "hooks that are no list": (
        ".pre-commit-config.yaml",
        "repos:\n- repo: a\n  hooks: 3\n",
        "repo 1 has no list of hooks",
    ),
    "hooks that hold themselves": (".pre-commit-config.yaml", "repos: &r\n- repo: a\n  hooks: *r\n", "by hand"),
    "mixed line ends": ("pyproject.toml", b"[project]\r\nname = 'a'\n", "line ends"),
    "a folder": (".pre-commit-config.yaml/file", "", "can't be read"),
    "a baseline of something else": ("unhush-baseline.txt", "hello\n", "is no baseline"),
    "source that can't be parsed": ("broken.py", "try:\n    f(\nexcept Exception:\n    pass\n", "broken.py"),
}


@pytest.mark.parametrize(("name", "text", "said"), BAD.values(), ids=BAD)
def test_what_is_not_understood_is_left_alone(
    repository: Callable[..., Path], unhush: Run, name: str, text: str | bytes, said: str
) -> None:
    """One line names the file and what to do, the exit code is 2, and no file is written, not even a good one."""
    folder = repository({name: text})
    before = contents(folder)
    result = unhush("init")
    errors = result.stderr.decode().splitlines()
    assert (result.returncode, result.stdout, contents(folder)) == (2, b"", before)
    assert name.split("/")[0] in errors[0]
    assert said in errors[0]
    assert all(line.startswith("error: ") for line in errors)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_file_that_can_not_be_replaced_is_told(repository: Callable[..., Path], unhush: Run) -> None:
    """A settings file that is a link to nowhere stops the run before anything is written."""
    folder = repository()
    (folder / ".pre-commit-config.yaml").symlink_to(folder / "nowhere")
    result = unhush("init")
    assert result.returncode == 2
    assert b".pre-commit-config.yaml: can't be read" in result.stderr
    assert sorted(contents(folder)) == ["app/store.py"]


def test_no_password_is_committed(repository: Callable[..., Path], unhush: Run) -> None:
    """An address with a password is refused without being shown; one with a name alone is written."""
    folder = repository()
    refused = unhush("init", "--hook-repo", "https://me:hunter2@example.org/unhush")
    assert (refused.returncode, sorted(contents(folder))) == (2, ["app/store.py"])
    assert b"holds a password" in refused.stderr
    assert b"hunter2" not in refused.stderr
    assert unhush("init", "--hook-repo", "ssh://git@example.org/unhush").returncode == 0
    assert "ssh://git@example.org/unhush" in (folder / ".pre-commit-config.yaml").read_text()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="modes stop nobody here")
def test_a_read_only_file_stops_all(repository: Callable[..., Path], unhush: Run) -> None:
    """Where one file can't be written none is, and the line says which."""
    folder = repository({"pyproject.toml": '[project]\nname = "app"\n'})
    (folder / "pyproject.toml").chmod(0o400)
    before = contents(folder)
    result = unhush("init")
    assert (result.returncode, contents(folder)) == (2, before)
    assert b"pyproject.toml: can't be written" in result.stderr


def test_a_run_that_was_cut_off_is_finished(repository: Callable[..., Path], unhush: Run) -> None:
    """Where some of the files are written already, the next run writes the others, as the first would have."""
    folder = repository()
    unhush("init")
    whole = contents(folder)
    (folder / "unhush.toml").unlink()
    (folder / ".pre-commit-config.yaml").unlink()
    assert unhush("init").returncode == 0
    assert contents(folder) == whole


KEYS = st.text("abc-", min_size=1, max_size=4).map(lambda key: f"x{key}")
VALUES = st.one_of(
    st.integers(0, 9), st.booleans(), st.text("a\"'#[]\n= ", max_size=6), st.lists(st.integers(0, 9), max_size=2)
)
TABLES = st.dictionaries(KEYS, st.one_of(VALUES, st.dictionaries(KEYS, VALUES, max_size=2)), max_size=3)


@given(tool=TABLES, more=TABLES, ours=st.none() | TABLES, comment=st.sampled_from(["", "# a\n", "\n\n"]))
def test_settings_are_added_to_any_toml(
    tool: dict[str, Any], more: dict[str, Any], ours: dict[str, Any] | None, comment: str
) -> None:
    """Whatever a pyproject.toml says, it says the same afterwards, and the new setting; its lines stand as they stood."""
    tomli_w = pytest.importorskip("tomli_w", reason="tomli-w, which writes the examples, is not installed")
    document = {"project": more, "tool": {**tool, **({} if ours is None else {"unhush": ours})}}
    text = comment + tomli_w.dumps(document)
    try:
        after = with_setting(text, "baseline", "a.txt", own=False)
    except Refusal:
        assert ours is not None  # a table that is there only by its own tables has no head to write below
        return
    document["tool"]["unhush"] = {**(ours or {}), "baseline": "a.txt"}
    assert tomllib.loads(after) == document
    kept = iter(after.splitlines())
    assert all(line in kept for line in text.splitlines())


@pytest.mark.parametrize("depth", [0, 2, 4])
@pytest.mark.parametrize("end", ["", "\n", "\n\n# the end\n", "\nfail_fast: true\n"])
@pytest.mark.parametrize(
    "last",
    [
        "  - id: a",
        "  - id: a\n    args: [--x,\n      y]",
        "  - id: a\n    exclude: |-\n      x\n      y",
        "  - &a\n    id: a\n    args: &x [--x]\n  - *a",
        "  - id: a\n    args: &x [--x]\n  - id: b\n    args: *x",
    ],
)
def test_hooks_are_added_to_any_list(depth: int, end: str, last: str) -> None:
    """However deep the list stands and whatever follows it, the hook becomes its last item and all else stays."""
    item = f"- repo: b\n  hooks:\n{last}"
    text = "repos:\n" + "\n".join(" " * depth + line for line in item.splitlines()) + end
    after = with_hook(text, ENTRY, MEANT)
    before = yaml.safe_load(text)
    assert yaml.safe_load(after) == {**before, "repos": [*before["repos"], MEANT]}
    kept = iter(after.splitlines())
    assert all(line in kept for line in text.splitlines())

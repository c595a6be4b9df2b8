from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import yaml
from services import program

from unhush.cli import cli

PAGES = ("integrations", "howto-pre-commit", "howto-ci-gate", "howto-remediation", "index")
SCHEMAS = {"GitHub Actions": "vendor.github-workflows", "GitLab CI": "vendor.gitlab-ci"}
WORKFLOW = "name: a\non: push\njobs: {one: {runs-on: ubuntu-latest, steps: [{run: make, unknown: 1}]}}\n"
FINDING = "def save():\n    try:\n        db.write()\n    except Exception:\n        pass\n"
PIPELINE = "one: {script: make, artefacts: []}\n"


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def section(root: Path, title: str) -> str:
    """A section of the page with the set-ups."""
    page = (root / "docs/integrations.md").read_text(encoding="utf-8")
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def set_ups(root: Path) -> Iterator[str]:
    """The shell lines of all set-ups: those of shell blocks, of pipelines and of the Makefile."""
    for name in PAGES:
        for block in blocks((root / f"docs/{name}.md").read_text(encoding="utf-8"), "sh"):
            yield from block.splitlines()
    yield from pipelines(root)
    for block in blocks(section(root, "Make"), "make"):
        lines = block.replace("$(UNHUSH)", "unhush").replace("$(BASE)", "main").splitlines()
        yield from (line.strip() for line in lines if line.startswith("\t"))


def pipelines(root: Path) -> Iterator[str]:
    """The shell lines that the pipelines run."""
    for block in blocks(section(root, "GitHub Actions"), "yaml"):
        for job in yaml.safe_load(block)["jobs"].values():
            yield from (step["run"] for step in job["steps"] if "run" in step)
    for block in blocks(section(root, "GitLab CI"), "yaml"):
        for job in yaml.safe_load(block).values():
            yield from job["script"]


def parsed(line: str) -> click.Context:
    """The command line, read by the command that it names; nothing is run. Raises click.UsageError."""
    words = shlex.split(re.split(r" >>? | \|", line)[0])[1:]
    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0]) if words else None
        if found is None:
            raise click.UsageError(f"no such command: {line}")
        command, words = found, words[1:]
    return command.make_context(line, words)


def test_each_command_of_the_set_ups_exists(root: Path) -> None:
    """Every unhush command that the guides and set-ups tell to copy is one that this version understands."""
    lines = [line for line in set_ups(root) if line.startswith("unhush ")]
    for line in lines:
        parsed(line)
    assert len(lines) > 20
    with pytest.raises(click.UsageError):
        parsed("unhush check --no-such-option .")


@pytest.mark.skipif(os.name == "nt" or not shutil.which("git"), reason="needs a POSIX shell and git")
def test_the_pipelines_pass_and_fail_as_they_should(root: Path, tmp_path: Path) -> None:
    """As a runner would run it, each line passes with old findings alone; with a new one just those of a gate fail."""
    lines = [line for line in dict.fromkeys(pipelines(root)) if line.startswith("unhush ")]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/unhush").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m unhush "$@"\n')
    (tmp_path / "bin/unhush").chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    who = {f"GIT_{role}_{what}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    given = {"BASE": "main", "CI_MERGE_REQUEST_DIFF_BASE_SHA": "origin/main", "GITHUB_STEP_SUMMARY": "summary.md"}
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def run(line: str) -> int:
        env = {**os.environ, **who, **given, "PATH": path}
        return subprocess.run(["sh", "-ec", line], cwd=work, env=env, capture_output=True, check=False).returncode

    (work / "old.py").write_text(FINDING)
    begin = (
        "git init -q -b main; unhush init; git add .; git commit -qm all; git update-ref refs/remotes/origin/main HEAD"
    )
    assert run(begin) == 0
    assert [line for line in lines if run(line) != 0] == []
    assert "old.py" in (work / "unhush.sarif").read_text()
    (work / "new.py").write_text(FINDING.replace("save", "load"))
    assert [line for line in lines if run(line) != 1] == [line for line in lines if "--exit-zero" in line]
    assert "new.py" in (work / "gl-code-quality-report.json").read_text()
    assert "old.py" not in (work / "gl-code-quality-report.json").read_text()
    assert len(lines) == 6


def test_all_that_a_gate_needs_is_shown(root: Path) -> None:
    """The set-ups show each format for pipelines, the baseline, changed lines and the cache's folder."""
    page = (root / "docs/integrations.md").read_text(encoding="utf-8")
    wanted = (
        "format github",
        "format gitlab",
        "format sarif",
        "--strict-baseline",
        "--diff-from",
        "pip install unhush",
    )
    assert [word for word in (*wanted, "path: .unhush_cache", "- .unhush_cache/") if word not in page] == []


@pytest.mark.skipif(not find_spec("check_jsonschema"), reason="check-jsonschema is not installed")
@pytest.mark.parametrize("title", SCHEMAS)
def test_set_ups_are_valid_for_their_services(root: Path, tmp_path: Path, title: str) -> None:
    """The service's own schema accepts the set-ups, and refuses one with a key that it does not know."""
    good = blocks(section(root, title), "yaml")
    for number, text in enumerate(good):
        (tmp_path / f"good{number}.yml").write_text(text)
    (tmp_path / "bad.yml").write_text(WORKFLOW if title == "GitHub Actions" else PIPELINE)
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[title]]
    done = subprocess.run([*checker, *sorted(tmp_path.glob("good*"))], capture_output=True, text=True, check=False)
    assert (len(good) > 0, done.returncode) == (True, 0), done.stdout
    refused = subprocess.run([*checker, tmp_path / "bad.yml"], capture_output=True, check=False)
    assert refused.returncode == 1


def test_workflows_are_valid_for_actionlint(root: Path, tmp_path: Path) -> None:
    """actionlint, which also looks into expressions and shell lines, has nothing to say against the workflows."""
    lint = program("actionlint")
    for number, text in enumerate(blocks(section(root, "GitHub Actions"), "yaml")):
        path = tmp_path / f"good{number}.yml"
        path.write_text(text)
        done = subprocess.run([lint, path], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="make is no tool of Windows")
def test_make_reads_the_makefile(root: Path, tmp_path: Path) -> None:
    """make understands each target, and would run the commands that it shows."""
    make = program("make")
    (tmp_path / "Makefile").write_text(blocks(section(root, "Make"), "make")[0])
    targets = ["unhush", "unhush-changed", "unhush-shrink", "unhush-report"]
    done = subprocess.run([make, "-n", *targets], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if "unhush check" in line or "baseline update" in line] == [
        ".venv/bin/unhush check --strict-baseline .",
        ".venv/bin/unhush check --no-baseline --diff-from origin/main .",
        ".venv/bin/unhush baseline update",
        ".venv/bin/unhush check --no-baseline --exit-zero --output-format html . > unhush.html",
    ]
    assert subprocess.run([make, "-n", "nothing"], cwd=tmp_path, capture_output=True, check=False).returncode == 2


def test_the_page_shows_the_hooks(root: Path) -> None:
    """The page names each hook with the command that the manifest gives it."""
    page = (root / "docs/integrations.md").read_text(encoding="utf-8")
    hooks = yaml.safe_load((root / ".pre-commit-hooks.yaml").read_text())
    assert all(f"| `{hook['id']}` | `{hook['entry']}` " in page for hook in hooks)
    assert len(hooks) == 2

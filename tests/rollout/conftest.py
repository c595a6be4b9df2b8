"""A small project in git: a silent handler at the tag `base`, fixed at HEAD, with checks of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SILENT = """\
import logging

log = logging.getLogger(__name__)


def save(job):
    try:
        job.save()
    except Exception:
        pass
"""
FIXED = SILENT.replace("pass", 'log.warning("save.exception_ignored", exc_info=True)')
SETTINGS = """\
[tool.unhush.rollout]
url = "sqlite:///service.db"
unsigned = true
base = "base"

[tool.unhush.rollout.checks.build]
command = ["{python}", "-m", "compileall", "-q", "worker.py"]

[tool.unhush.rollout.checks.tests]
command = ["{python}", "suite.py"]
report = "report.xml"
format = "junit"
minimum = 2
"""
# Writes a report as a test runner does; quicker to start than one.
SUITE = """\
import pathlib

cases = '<testcase classname="worker" name="saves"/><testcase classname="worker" name="logs"/>'
pathlib.Path("report.xml").write_text(
    f'<testsuites><testsuite name="worker" tests="2" failures="0" errors="0" skipped="0">{cases}</testsuite></testsuites>'
)
"""


class Project:
    """The project's folder, and what is done in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def git(self, *args: str) -> str:
        """Runs a git command and returns what it says."""
        who = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        done = subprocess.run(["git", *args], cwd=self.root, env={**os.environ, **who}, capture_output=True, check=True)
        return done.stdout.decode()

    def write(self, name: str, text: str) -> Path:
        """Writes a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def commit(self, message: str = "Change") -> str:
        """Commits all, and returns the commit's id."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD").strip()

    def unhush(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs the command line in the project."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("UNHUSH_", "FEATURE_FLAG_"))}
        return subprocess.run(
            [sys.executable, "-m", "unhush", *args],
            cwd=self.root,
            env={**clean, **env},
            capture_output=True,
            text=True,
            check=False,
        )


def make(folder: Path) -> Project:
    """Makes such a project in a folder."""
    project = Project(folder / "service")
    project.root.mkdir()
    project.git("init", "--quiet", "--template=", "--initial-branch", "main")
    for key, value in {"user.email": "ann@example.test", "user.name": "Ann", "commit.gpgsign": "false"}.items():
        project.git("config", key, value)
    project.write("pyproject.toml", SETTINGS.replace("{python}", sys.executable))
    project.write("suite.py", SUITE)
    project.write("worker.py", SILENT)
    project.write(".gitignore", "/report.xml\n__pycache__/\nservice.db\n")
    project.commit("Add a worker")
    project.git("tag", "base")
    project.write("worker.py", FIXED)
    project.commit("Log what the worker swallowed")
    return project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh project of one's own."""
    return make(tmp_path)


@pytest.fixture(scope="session")
def prepared_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after `unhush rollout prepare`; not to be changed."""
    made = make(tmp_path_factory.mktemp("prepared"))
    done = made.unhush("rollout", "prepare")
    assert done.returncode in (0, 3), done.stdout + done.stderr  # 3: nobody ran the dry run here
    return made


@pytest.fixture
def prepared(prepared_once: Project, tmp_path: Path) -> Project:
    """A copy of the prepared project, to be changed."""
    shutil.copytree(prepared_once.root, tmp_path / "service", symlinks=True)
    return Project(tmp_path / "service")

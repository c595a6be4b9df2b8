from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the runtime extra is not installed")
BASH = shutil.which("bash")


@pytest.fixture
def page(root):
    """The tutorial's text."""
    return (root / "docs" / "tutorial-dlq.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.S | re.M)


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_tutorial_runs_as_it_stands(page, tmp_path):
    """Every shell block runs in an empty folder, from the installation to redriven letters, and prints what it says."""
    (app,) = blocks(page, "python")
    (expected,) = blocks(page, "text")
    (tmp_path / "shop.py").write_text(app, encoding="utf-8")
    here = f'pip() {{ :; }}\npython() {{ "{sys.executable}" "$@"; }}\nunhush() {{ python -m unhush "$@"; }}\n'
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("UNHUSH_", "FEATURE_FLAG_"))}
    result = subprocess.run(
        [BASH, "-euo", "pipefail", "-c", here + "\n".join(blocks(page, "sh"))],
        cwd=tmp_path,
        env={**clean, "XDG_STATE_HOME": str(tmp_path / "state"), "LOCALAPPDATA": str(tmp_path / "state")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("failed, and kept") == 2
    assert "KeyError: 'bob'" in result.stdout
    assert expected in result.stderr
    assert "would redrive 1 letter\n" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["receipts", "0", "0", "0", "2", "0", "0"]


def test_tutorials_app_is_the_example(page, root):
    """The program of the tutorial is the one in examples/."""
    example = Path(root, "examples", "deadletters", "shop.py").read_text(encoding="utf-8")
    assert blocks(page, "python") == [example]

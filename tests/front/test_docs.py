from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

from unhush.cli import COMMANDS, cli
from unhush.codemods.rules import all_rules
from unhush.keys import KEYS
from unhush.reports.markdown import rules_document, rules_table


@pytest.fixture
def options():
    """Every long option of every command."""
    commands = [cli.get_command(None, name) for name in COMMANDS]
    return {
        name for command in commands for parameter in command.params for name in parameter.opts if name.startswith("--")
    }


def test_rules_page_is_up_to_date(root):
    """docs/rules.md is what `unhush rule --all --output-format markdown` prints."""
    page = (root / "docs" / "rules.md").read_text(encoding="utf-8")
    if page != rules_document(all_rules().values()):
        pytest.fail("docs/rules.md is not up to date: write it anew with the command above")


def test_every_option_is_documented(root, options):
    """The page on commands names each option, and no option that does not exist."""
    page = (root / "docs" / "usage.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![-\w])--[a-z][-a-z]*", page))
    assert len(options) > 15
    assert named == options


def test_every_key_is_documented(root):
    """The page on configuration has a row for each key of the settings."""
    page = (root / "docs" / "configuration.md").read_text(encoding="utf-8")
    settings, _, _ = page.partition("## Naming rules")
    assert re.findall(r"^\| `([a-z-]+)` \|", settings, re.M) == list(KEYS)


def test_links_between_pages_lead_somewhere(root):
    """Every relative link in README and docs names a file that exists."""
    pages = [*root.glob("*.md"), *(root / "docs").glob("*.md")]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert len(pages) > 6
    assert broken == []


def test_first_blocks_of_readme_set_up(root):
    """README's first two shell blocks are the set-up commands: the first runs unhush, the second the tests."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (root / "README.md").read_text(encoding="utf-8"), re.S | re.M)
    first, second = blocks[:2]
    assert all(block.startswith("python3 -m venv .venv\n") for block in (first, second))
    assert "unhush check" in first
    assert "examples" in first
    assert "pytest" in second


@pytest.mark.skipif(not find_spec("pre_commit") or not shutil.which("git"), reason="pre-commit or git is not installed")
def test_hooks_are_valid_for_pre_commit(root):
    """pre-commit accepts the manifest of the hooks."""
    command = [sys.executable, "-m", "pre_commit", "validate-manifest", root / ".pre-commit-hooks.yaml"]
    result = subprocess.run(command, capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (0, b"")


def test_readme_lists_the_rules(root):
    """README's table of rules is what `unhush rules --output-format markdown` prints."""
    assert rules_table(all_rules().values()) in (root / "README.md").read_text(encoding="utf-8")


def test_comparison_in_readme_is_measured(root, unhush):
    """README's figures on the sample are what ruff and unhush report there."""
    command = "ruff check --isolated --select S110,S112,BLE001,E722,SIM105 examples/stockroom"
    assert command in (root / "README.md").read_text(encoding="utf-8")
    ruff = [sys.executable, "-m", *command.split(), "--no-cache", "--output-format", "concise"]
    lines = subprocess.run(ruff, cwd=root, capture_output=True, check=False).stdout.decode().splitlines()
    found = [line.split(":")[:2] for line in lines if line.startswith("examples")]
    assert (len(found), len({tuple(place) for place in found})) == (8, 5)
    ours = unhush("check", root / "examples/stockroom", "--output-format", "concise").stdout.splitlines()
    assert (len(ours), sum(b" high [*] " in line for line in ours)) == (6, 6)

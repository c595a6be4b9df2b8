from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from unhush import __version__
from unhush.cli import COMMANDS
from unhush.codemods.rules import all_rules

SWALLOWS = "def f():\n    try:\n        g()\n        h()\n    except Exception:\n        pass\n"
HEAVY = (
    *("libcst", "rich", "structlog", "sqlalchemy", "openfeature", "stamina"),
    *("asyncio", "multiprocessing", "concurrent", "logging", "tomllib"),
)


def test_version(unhush):
    """--version names program and version, for the group and for its commands."""
    assert unhush("--version").stdout.decode() == f"unhush {__version__}\n"
    assert unhush("check", "--version").stdout.decode() == f"unhush {__version__}\n"


def test_help_lists_the_commands_in_order_of_work(unhush):
    """The help of the group lists each command with what it does."""
    result = unhush("--help")
    assert result.returncode == 0
    lines = [line.split() for line in result.stdout.decode().partition("Commands:\n")[2].splitlines()]
    assert [line[0] for line in lines] == list(COMMANDS)
    assert all(len(line) > 3 for line in lines)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["chek"], "error: no such command 'chek'; did you mean 'check'?\n"),
        (["rule", "UNH1O2"], "error: unknown rule 'UNH1O2'; did you mean 'UNH102'?\n"),
        (
            ["rule", "silent-bare-exept"],
            "error: unknown rule 'silent-bare-exept'; did you mean 'silent-bare-except'?\n",
        ),
        (["rule"], "error: name one rule (see `unhush rules`), or say --all\n"),
        (
            ["dlq", "token", "create", "ann"],
            "error: Missing option '--role'. Choose from: viewer, operator\n",  # click writes four lines
        ),
        (["rule", "UNH102", "--all"], "error: name one rule (see `unhush rules`), or say --all\n"),
    ],
)
def test_wrong_use_is_one_line(unhush, arguments, line):
    """Wrong use is one line on stderr with the nearest valid word, and exit code 2."""
    result = unhush(*arguments)
    assert (result.returncode, result.stdout, result.stderr.decode()) == (2, b"", line)


def test_rules_as_text_and_json(unhush):
    """`rules` lists every rule, as a table for people and as JSON for programs."""
    text = unhush("rules").stdout.decode()
    rows = json.loads(unhush("rules", "--output-format", "json").stdout)
    assert [line.split()[0] for line in text.splitlines()] == list(all_rules())
    assert [row["code"] for row in rows] == list(all_rules())
    assert {row["default"] for row in rows} == {True, False}


def test_rule_by_code_and_by_name(unhush):
    """A rule's documentation is found by code and by name, in any case, and has the fixed headings in their order."""
    by_code, by_name = unhush("rule", "unh102"), unhush("rule", "Silent-Broad-Except")
    assert by_code.stdout == by_name.stdout
    headings = [line[3:] for line in by_code.stdout.decode().splitlines() if line.startswith("## ")]
    assert headings[:2] == ["What it does", "Why is this bad"]
    assert json.loads(unhush("rule", "UNH102", "--output-format", "json").stdout)["name"] == "silent-broad-except"


def test_start_up_imports_nothing_heavy(write_tree):
    """Checking one file, findings shown, loads neither LibCST nor rich, nor anything else that costs start-up time."""
    folder = write_tree({"a.py": SWALLOWS})
    script = (
        "import sys\nfrom unhush.__main__ import run\nsys.argv = ['unhush', 'check', 'a.py']\n"
        "code = run()\nprint(sorted({name.partition('.')[0] for name in sys.modules}))\nsys.exit(code)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, check=False)
    assert result.returncode == 1
    loaded = result.stdout.decode().splitlines()[-1]
    assert "'unhush'" in loaded
    assert [name for name in HEAVY if f"'{name}'" in loaded] == []


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_at_once_with_130(tmp_path):
    """An interrupt while stdin is awaited ends the run with one word, no traceback, and 130."""
    script = (
        "import signal, sys, unhush.__main__ as front\n"
        "class Stdin:\n"
        "    buffer = property(lambda self: self)\n"
        "    def read(self):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "sys.stdin, sys.argv[1:] = Stdin(), ['check', '-']\n"
        "front.main()\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, check=False)
    assert result.returncode == 130
    assert result.stderr.split() == [b"interrupted"]


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_reader_that_goes_away_is_no_error(write_tree):
    """When stdout's reader has gone, the run ends quietly with 141, as a shell shows SIGPIPE."""
    folder = write_tree({f"m{number}.py": SWALLOWS * 200 for number in range(5)})
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "unhush", "check", "--quiet"]
    result = subprocess.run(command, cwd=folder, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_full_disk_under_stdout_is_one_line(write_tree):
    """Where stdout can't be written the run ends with exit code 2 and one line that says why."""
    folder = write_tree({"a.py": SWALLOWS})
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "unhush", "check", "--quiet"]
        result = subprocess.run(command, cwd=folder, stdout=full, stderr=subprocess.PIPE, check=False)
    assert result.returncode == 2
    assert result.stderr == b"error: stdout can't be written: No space left on device\n"


def test_names_that_the_terminal_can_not_show(unhush, write_tree):
    """In a locale without the file name's characters the run goes on, the characters escaped."""
    write_tree({"caf\u00e9.py": SWALLOWS})
    result = unhush("check", env={"PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"})
    assert result.returncode == 1
    assert result.stdout.startswith(b"caf\\xe9.py:5:5: UNH102")


def test_a_defect_of_unhush_is_not_taken_for_findings(monkeypatch, capsys):
    """An exception that nobody foresaw ends with its traceback and exit code 2, never with 1."""
    from unhush import __main__, cli

    def broken(**options):
        raise ZeroDivisionError("seen by nobody else")

    monkeypatch.setattr(cli.cli, "main", broken)
    with pytest.raises(SystemExit) as ended:
        __main__.run()
    assert ended.value.code == 2
    assert "seen by nobody else" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["init --environment x", "status", "verify", "rollback --reason x"])
def test_rollout_without_its_packages(write_tree, command):
    """Installed without the extra, a command of the roll-out names it in one line; with it, it says something else."""
    folder = write_tree({"unhush.toml": ""})
    start = "import sys\nfrom unhush.__main__ import run\nsys.argv = ['unhush', 'rollout', *sys.argv[1:]]\n"
    for hidden, says in (("sys.modules['sqlalchemy'] = None\n", True), ("", False)):
        script = start.replace("sys.argv =", f"{hidden}sys.argv =") + "run()\n"
        done = subprocess.run(
            [sys.executable, "-c", script, *command.split()], cwd=folder, capture_output=True, check=False
        )
        told = b"error: sqlalchemy is not installed: pip install 'unhush[runtime]'\n"
        assert (done.stderr == told and done.returncode == 2) is says, done.stderr

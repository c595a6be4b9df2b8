from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from unhush.output import Output

pty = pytest.importorskip("pty", reason="terminals of POSIX")

SWALLOWS = "def f(db):\n    try:\n        db.save()\n        db.commit()\n    except Exception:\n        pass\n"


@pytest.fixture
def in_terminal(write_tree):
    """Runs the command line with stdout and stderr on a terminal, and returns (exit code, what the terminal got)."""

    def run(*args, **env):
        folder = write_tree({"a.py": SWALLOWS})
        master, terminal = pty.openpty()
        clean = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        process = subprocess.Popen(
            [sys.executable, "-m", "unhush", *args],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
            env={**clean, "TERM": "xterm", **env},
        )
        os.close(terminal)
        seen = b""
        while part := _read(master):
            seen += part
        os.close(master)
        return process.wait(), seen

    return run


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError as error:  # Linux says so when the other side is closed
        return b"" if error.errno == 5 else pytest.fail(str(error))


def test_findings_are_coloured_on_a_terminal(in_terminal):
    """On a terminal names, severities and carets are coloured."""
    code, seen = in_terminal("check")
    assert code == 1
    assert b"\033[1ma.py\033[0m:5:5: " in seen
    assert b"\033[31m" in seen


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_where_none_are_wanted(in_terminal, env):
    """NO_COLOR and a dumb terminal get plain text."""
    code, seen = in_terminal("check", **env)
    assert code == 1
    assert b"UNH102" in seen
    assert b"\033" not in seen


def test_empty_no_color_means_nothing(in_terminal):
    """An empty NO_COLOR does not count, as its convention says."""
    assert b"\033[" in in_terminal("check", NO_COLOR="")[1]


def test_documentation_is_laid_out_on_a_terminal(in_terminal):
    """On a terminal a rule's page and the table of rules are laid out by rich; elsewhere they are plain."""
    code, page = in_terminal("rule", "UNH102")
    assert code == 0
    assert b"## What it does" not in page
    assert b"What it does" in page
    assert "\u2502".encode() in in_terminal("rules", PYTHONIOENCODING="utf-8")[1]


def test_progress_shows_after_a_while_and_is_wiped(monkeypatch, capsys):
    """A slow run on a terminal counts its files on one line, which is wiped before anything else is written."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    moments = iter([0.0, 0.1, 0.6, 0.65, 0.8])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    output = Output()
    for number in output.progress(range(4), "checked"):
        if number == 3:
            output.remark("a remark")
    seen = capsys.readouterr().err
    assert "\r\033[Kchecked 2 files\r\033[Ka remark\n" in seen
    assert seen.endswith("\r\033[Kchecked 4 files\r\033[K")


def test_no_progress_where_it_is_not_wanted(monkeypatch, capsys):
    """Neither --quiet nor a redirected stderr gets any progress."""
    monkeypatch.setattr(time, "monotonic", iter(range(0, 100, 10)).__next__)
    assert list(Output().progress(range(3), "checked")) == [0, 1, 2]
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert list(Output(quiet=True).progress(range(3), "checked")) == [0, 1, 2]
    assert capsys.readouterr().err == ""

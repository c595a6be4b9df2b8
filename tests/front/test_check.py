from __future__ import annotations

import json
import os

import pytest

SWALLOWS = """\
def save(db, rows):
    for row in rows:
        try:
            db.insert(row)
            db.commit()
        except Exception:
            pass
"""
LEVELS = ["low", "medium", "high"]
CLEAN = "def add(a, b):\n    return a + b\n"
BROKEN = "def save(db):\n    try:\n        db.commit(\n    except Exception:\n        pass\n"


def test_clean_tree_exits_with_0(unhush, write_tree):
    """Nothing found: exit code 0, nothing on stdout, a summary on stderr."""
    write_tree({"a.py": CLEAN})
    result = unhush("check")
    assert (result.returncode, result.stdout) == (0, b"")
    assert result.stderr == b"No swallowed exceptions in 1 file.\n"


def test_findings_exit_with_1(unhush, write_tree):
    """A finding: exit code 1, the finding with its source on stdout, the summary on stderr."""
    write_tree({"a.py": CLEAN, "app/store.py": SWALLOWS})
    result = unhush("check")
    assert result.returncode == 1
    lines = result.stdout.decode().splitlines()
    assert lines[0].startswith("app/store.py:6:9: UNH102 ")
    assert lines[3:5] == ["   6 |         except Exception:", "     |         ^^^^^^^^^^^^^^^^^"]
    assert result.stderr.startswith(b"1 swallowed exception in 1 of 2 files: 1 ")


def test_exit_zero_hides_findings_only(unhush, write_tree):
    """--exit-zero turns 1 into 0, and leaves 2 alone."""
    write_tree({"a.py": SWALLOWS, "b.py": BROKEN})
    assert unhush("check", "--exit-zero", "a.py").returncode == 0
    assert unhush("check", "--exit-zero", "a.py", "b.py").returncode == 2


def test_readable_files_are_reported_beside_a_broken_one(unhush, write_tree):
    """With exit code 2 the findings of the other files are still printed, and the broken one has its line."""
    folder = write_tree({"a.py": SWALLOWS, "b.py": BROKEN, "c.py": SWALLOWS})
    result = unhush("check", "--output-format", "json")
    assert result.returncode == 2
    assert [os.path.basename(finding["filename"]) for finding in json.loads(result.stdout)] == ["a.py", "c.py"]
    assert all(os.path.isabs(finding["filename"]) for finding in json.loads(result.stdout))
    first, *rest = result.stderr.decode().splitlines()
    assert first.startswith("error: b.py:")
    assert "error" not in "".join(rest)
    assert folder.name not in first


def test_path_that_does_not_exist(unhush):
    """A wrong path is one line that names it, and exit code 2."""
    result = unhush("check", "--quiet", "nowhere.py")
    assert result.returncode == 2
    assert result.stderr.startswith(b"error: nowhere.py: ")
    assert result.stderr.count(b"\n") == 1


def test_broken_links_and_link_loops(unhush, write_tree):
    """A link that leads nowhere or to itself is one line each; the other files are still checked."""
    folder = write_tree({"a.py": SWALLOWS})
    (folder / "gone.py").symlink_to("nowhere.py")
    (folder / "loop.py").symlink_to("loop.py")
    result = unhush("check", "-q")
    assert result.returncode == 2
    assert b"a.py:6:9: UNH102" in result.stdout
    assert [line.split(": ")[:2] for line in result.stderr.decode().splitlines()] == [
        ["error", "gone.py"],
        ["error", "loop.py"],
    ]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_file_without_permission(unhush, write_tree):
    """A file that must not be read is one line and exit code 2."""
    folder = write_tree({"a.py": SWALLOWS})
    (folder / "a.py").chmod(0)
    result = unhush("check", "-q")
    assert (result.returncode, result.stderr) == (2, b"error: a.py: can't be read: permission denied\n")


def test_findings_on_stdout_are_in_order_of_file_and_place(unhush, write_tree):
    """Findings are sorted by file and place, whatever the order of the paths, each file once."""
    write_tree({"b.py": SWALLOWS * 2, "a-b/x.py": SWALLOWS, "a/x.py": SWALLOWS})
    result = unhush("check", "--output-format", "jsonl", "b.py", "a", ".", "a")
    places = [(line["filename"], line["location"]["row"]) for line in map(json.loads, result.stdout.splitlines())]
    assert places == sorted(set(places))
    assert len(places) == 4


@pytest.mark.parametrize("output_format", ["text", "concise", "json", "jsonl", "github", "sarif"])
def test_every_format_names_the_finding(unhush, write_tree, output_format):
    """Each output format carries the finding's code and place."""
    write_tree({"store.py": SWALLOWS})
    result = unhush("check", "--output-format", output_format)
    assert result.returncode == 1
    assert b"UNH102" in result.stdout
    assert b"store.py" in result.stdout


def test_sarif_carries_the_file_errors(unhush, write_tree):
    """In SARIF a broken file is a notification, and the exit code stays 2."""
    write_tree({"a.py": SWALLOWS, "b.py": BROKEN})
    result = unhush("check", "--output-format", "sarif")
    run = json.loads(result.stdout)["runs"][0]
    assert result.returncode == 2
    assert len(run["results"]) == 1
    [note] = run["invocations"][0]["toolExecutionNotifications"]
    assert note["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "b.py"


def test_stdin_is_checked_under_its_name(unhush, tmp_path):
    """`-` reads stdin; the findings carry the name that --stdin-filename gives."""
    arguments = ("check", "-", "--output-format", "json", "--stdin-filename", "app/store.py")
    result = unhush(*arguments, stdin=SWALLOWS.encode())
    assert result.returncode == 1
    [finding] = json.loads(result.stdout)
    assert finding["filename"] == str(tmp_path / "app" / "store.py")
    assert unhush(*arguments, stdin=CLEAN.encode()).returncode == 0


def test_stdin_without_name_shows_its_source(unhush):
    """Source on stdin is shown with the finding, though there is no file."""
    result = unhush("check", "-", stdin=SWALLOWS.encode())
    assert result.stdout.startswith(b"<stdin>:6:9: UNH102")
    assert b"        except Exception:\n" in result.stdout


def test_broken_stdin_exits_with_2(unhush):
    """Source on stdin that can't be parsed is an error like that of a file."""
    result = unhush("check", "-", stdin=BROKEN.encode())
    assert result.returncode == 2
    assert result.stderr.startswith(b"error: <stdin>:")


def test_quiet_leaves_only_errors_on_stderr(unhush, write_tree):
    """--quiet drops the summary; findings and errors stay."""
    write_tree({"a.py": SWALLOWS, "b.py": BROKEN})
    assert unhush("check", "-q", "a.py").stderr == b""
    assert b"UNH102" in unhush("check", "-q", "a.py").stdout
    assert unhush("check", "-q", "b.py").stderr.startswith(b"error: b.py:")


def test_statistics_replace_the_findings(unhush, write_tree):
    """--statistics prints counts by rule and severity; the exit code stays that of the findings."""
    write_tree({"a.py": SWALLOWS * 3})
    result = unhush("check", "--statistics")
    assert result.returncode == 1
    head, row = result.stdout.decode().splitlines()
    assert head.split() == ["code", "name", "high", "medium", "low", "total"]
    assert row.split()[0::5] == ["UNH102", "3"]
    [counts] = json.loads(unhush("check", "--statistics", "--output-format", "json").stdout)
    assert counts["total"] == 3


def test_selection_on_the_command_line(unhush, write_tree):
    """--select, --extend-select and --ignore take codes, families and names, with commas or repeated."""
    write_tree({"a.py": SWALLOWS})
    assert unhush("check", "--select", "UNH101,UNH2").returncode == 0
    assert unhush("check", "--select", "UNH101", "--select", "silent-broad-except").returncode == 1
    assert unhush("check", "--select", "UNH2", "--extend-select", "UNH1").returncode == 1
    assert unhush("check", "--ignore", "unh102").returncode == 0


def test_min_severity_decides_what_is_shown_and_counted(unhush, write_tree):
    """A finding is shown and counted where it is at least as severe as --min-severity, else only its number."""
    write_tree({"a.py": SWALLOWS})
    shown = [unhush("check", "--min-severity", level) for level in LEVELS]
    [finding] = json.loads(unhush("check", "--min-severity", "low", "--output-format", "json").stdout)
    expected = [LEVELS.index(finding["severity"]) >= LEVELS.index(level) for level in LEVELS]
    assert [result.returncode for result in shown] == expected
    assert [b"UNH102" in result.stdout for result in shown] == expected
    assert [b"not shown" not in result.stderr for result in shown] == expected


def test_fail_on_may_ask_for_more(unhush, write_tree):
    """Findings below fail-on are shown but do not fail the run; findings that are not shown never do."""
    write_tree({"a.py": SWALLOWS})
    [finding] = json.loads(unhush("check", "--min-severity", "low", "--output-format", "json").stdout)
    for level in LEVELS:
        write_tree({"pyproject.toml": f"[tool.unhush]\nmin-severity = 'low'\nfail-on = '{level}'\n"})
        result = unhush("check")
        assert b"UNH102" in result.stdout
        assert result.returncode == (LEVELS.index(finding["severity"]) >= LEVELS.index(level))
    write_tree({"pyproject.toml": "[tool.unhush]\nfail-on = 'low'\n", "b.py": CLEAN})
    assert unhush("check", "b.py").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--select", "UNH1O2"], "error: unknown rule 'UNH1O2'; did you mean 'UNH102'?"),
        (["--min-severity", "hgh"], "error: Invalid value for '--min-severity': 'hgh' is not one of"),
        (["--output-format", "xml"], "error: Invalid value for '--output-format': 'xml' is not one of"),
        (["--jobs", "0"], "error: Invalid value for '-j' / '--jobs': 0 is not in the range"),
        (["--jobs", "many"], "error: Invalid value for '-j' / '--jobs': 'many' is not a valid integer"),
        (["--exit-zro"], "error: No such option '--exit-zro'"),
        (["-", "a.py"], "error: '-' (stdin) can't be combined with other paths"),
        (["--stdin-filename", "a.py"], "error: --stdin-filename needs the path '-'"),
        (["--statistics", "--output-format", "sarif"], "error: --statistics has no sarif format"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(unhush, arguments, line):
    """Each wrong use is told in one line on stderr, with nothing on stdout."""
    result = unhush("check", *arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode().startswith(line)
    assert result.stderr.count(b"\n") == 1


def test_bad_settings_exit_with_2(unhush, write_tree):
    """A settings file with an unknown key stops the run before anything is read."""
    folder = write_tree({"pyproject.toml": "[tool.unhush]\nselct = []\n", "a.py": SWALLOWS})
    result = unhush("check")
    assert (result.returncode, result.stdout) == (2, b"")
    expected = (
        f"error: {folder / 'pyproject.toml'}:2: [tool.unhush] has an unknown key 'selct'; did you mean 'select'?\n"
    )
    assert result.stderr.decode() == expected


def test_excluded_files_are_read_where_they_are_named(unhush, write_tree):
    """A file named on the command line is read; --force-exclude makes the excludes hold for it too."""
    write_tree({"gen/a.py": SWALLOWS})
    assert unhush("check", "--exclude", "gen/").returncode == 0
    assert unhush("check", "--exclude", "gen/", "gen/a.py").returncode == 1
    assert unhush("check", "--exclude", "gen/", "--force-exclude", "gen/a.py").returncode == 0


def test_jobs_do_not_change_the_output(unhush, write_tree):
    """One process and two print the same."""
    write_tree({f"m{number}.py": SWALLOWS for number in range(60)})
    one, two = unhush("check", "-j", "1"), unhush("check", "-j", "2")
    assert one.stdout == two.stdout
    assert one.stdout.count(b"UNH102") == 60

"""`unhush check --output-format`: what each format needs of the command."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from unhush.commands.findings_out import FORMATS

SWALLOWS = "def f(db):\n    try:\n        db.commit()\n    except Exception:\n        pass\n"
TWICE = SWALLOWS + "\n\n" + SWALLOWS.replace("def f", "def g")
CLEAN = "x = 1\n"
MILDER = "def f(x):\n    try:\n        x.go()\n    except Exception:\n        print('it failed')\n"
GITHUB = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "acme/app", "GITHUB_SHA": "abc"}
NOBODY = dict.fromkeys((*GITHUB, "CI_PROJECT_URL", "CI_COMMIT_SHA"), "")
WHO = ("-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "init.defaultBranch=main")


@pytest.fixture
def unhush(quick, monkeypatch):
    """Runs the command line in this process, without a pipeline's variables."""
    for name in NOBODY:
        monkeypatch.delenv(name, raising=False)
    return quick


def git(folder, *args, day="2020-03-04"):
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    env |= {"GIT_AUTHOR_DATE": f"{day}T12:00:00Z", "GIT_COMMITTER_DATE": f"{day}T12:00:00Z"}
    subprocess.run(["git", *WHO, *args], cwd=folder, check=True, capture_output=True, env=env)


def entries(page):
    """The findings in an HTML report."""
    text = page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    return json.loads(text)["findings"]


@pytest.mark.parametrize("name", FORMATS)
def test_exit_code_is_the_same_in_every_format(unhush, write_tree, name):
    """Each format ends with 1 where something is found and with 0 where nothing is, and prints something readable."""
    write_tree({"bad.py": SWALLOWS, "good.py": CLEAN})
    found = unhush("check", "bad.py", "--output-format", name)
    clean = unhush("check", "good.py", "--output-format", name)
    assert (found.returncode, clean.returncode) == (1, 0)
    assert b"UNH102" in found.stdout
    assert b"silent-broad-except" not in clean.stdout or name == "sarif"


def test_sarif_holds_the_fix(unhush, write_tree):
    """The log of a file with a safe fix holds the edits that `unhush fix` makes."""
    write_tree({"bad.py": SWALLOWS, "pyproject.toml": "[project]\nname = 'x'\n"})
    log = json.loads(unhush("check", "--output-format", "sarif").stdout)
    (result,) = log["runs"][0]["results"]
    (change,) = result["fixes"][0]["artifactChanges"]
    text = "".join(one["insertedContent"]["text"] for one in change["replacements"])
    assert "import logging" in text
    assert "exc_info=True" in text
    assert result["partialFingerprints"]["unhush/v1"]


def test_sarif_is_the_same_from_several_processes(unhush, write_tree):
    """The fixes of many files are divided among processes, and stand with their findings all the same."""
    write_tree({f"bad{number}.py": "\n" * number + SWALLOWS for number in range(20)})
    one, two = (unhush("check", "--output-format", "sarif", "--jobs", jobs).stdout for jobs in ("1", "2"))
    assert one == two
    assert one.count(b"deletedRegion") >= 20


@pytest.mark.parametrize(
    ("name", "is_loaded"),
    [("sarif", True), ("json", False), ("gitlab", False), ("junit", False), ("markdown", False), ("html", False)],
)
def test_libcst_is_for_fixes_alone(write_tree, name, is_loaded):
    """Only SARIF, which holds fixes, loads LibCST, and no format loads Jinja."""
    import sys

    folder = write_tree({"a.py": SWALLOWS})
    script = (
        f"import sys\nfrom unhush.__main__ import run\nsys.argv = ['unhush', 'check', 'a.py', '--output-format', {name!r}]\n"
        "code = run()\nprint('libcst' in sys.modules, 'jinja2' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, check=True)
    assert done.stderr.decode().splitlines()[-1] == f"{is_loaded} False"


def test_links_come_from_the_pipeline_or_the_option(unhush, write_tree, monkeypatch):
    """Without a URL there are no links; a pipeline's variables give one, and --link-base another that wins."""
    folder = write_tree({"app/bad.py": SWALLOWS})
    (folder / ".git").mkdir()
    assert b"](http" not in unhush("check", "--output-format", "markdown").stdout
    for name, value in GITHUB.items():
        monkeypatch.setenv(name, value)
    assert (
        b"](https://github.com/acme/app/blob/abc/app/bad.py#L4-L5)"
        in unhush("check", "--output-format", "markdown").stdout
    )
    page = unhush("check", "--output-format", "html", "--link-base", "https://git.example/x").stdout.decode()
    assert entries(page)[0]["url"] == "https://git.example/x/app/bad.py#L4-L5"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--age"], "error: --age goes with --output-format html, not text\n"),
        (["--link-base", "https://x"], "error: --link-base goes with --output-format markdown and html, not text\n"),
        (
            ["--link-base", "javascript:1", "--output-format", "html"],
            "error: --link-base 'javascript:1' is no URL: it should begin with https:// or http://\n",
        ),
    ],
)
def test_wrong_use_is_one_line(unhush, write_tree, arguments, line):
    """Options that do nothing in a format, and links that could be scripts, are refused."""
    write_tree({"bad.py": SWALLOWS})
    result = unhush("check", *arguments)
    assert (result.returncode, result.stdout, result.stderr.decode()) == (2, b"", line)


def test_baseline_stands_in_reports(unhush, write_tree):
    """With a baseline the page shows known findings beside new ones with the trend, and the summary has its numbers."""
    folder = write_tree({"bad.py": SWALLOWS})
    assert unhush("baseline", "write").returncode == 0
    (folder / "more.py").write_text(SWALLOWS.replace("commit", "rollback"))
    baseline = ("--baseline", "unhush-baseline.txt")
    page = unhush("check", *baseline, "--output-format", "html").stdout.decode()
    assert [(one["file"], one["state"]) for one in entries(page)] == [("more.py", "new"), ("bad.py", "known")]
    assert "2 now, 1 more than in the baseline: 0 gone, 1 new." in page
    summary = unhush("check", *baseline, "--output-format", "markdown").stdout.decode()
    assert summary.startswith("## unhush: 1 new swallowed exception (1 high)\n")
    assert "| all | 1 | 0 | 1 | 1 | 2 |" in summary


def test_trend_is_of_what_was_looked_at(unhush, write_tree):
    """A run on a part of the tree, or on the severe ones alone, does not count the rest of the baseline as gone."""
    folder = write_tree({"bad.py": SWALLOWS, "other.py": SWALLOWS, "tests/test_a.py": MILDER})
    assert unhush("baseline", "write", "--select", "ALL", "--min-severity", "low").returncode == 0
    arguments = ("check", "--select", "ALL", "--baseline", "unhush-baseline.txt", "--output-format", "markdown")
    arguments += ("--min-severity",)
    assert b"| all | 1 | 0 | 1 | 0 | 1 |" in unhush(*arguments, "low", "bad.py").stdout
    assert b"| all | 3 | 0 | 3 | 0 | 3 |" in unhush(*arguments, "low").stdout
    assert b"| all | 2 | 0 | 2 | 0 | 2 |" in unhush(*arguments, "high").stdout
    (folder / "bad.py").write_text(CLEAN)
    assert b"| all | 2 | 1 | 1 | 0 | 1 |" in unhush(*arguments, "high").stdout


def test_age_is_what_git_says(unhush, write_tree):
    """Each finding has the day of its line, re-indenting apart; a line that is not committed says so."""
    folder = write_tree({"app/bad.py": SWALLOWS})
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one", day="2020-03-04")
    (folder / "app/bad.py").write_text(TWICE)
    git(folder, "commit", "-qam", "two", day="2024-05-06")
    (folder / "app/bad.py").write_text("\n" + TWICE + "\n\n" + SWALLOWS.replace("def f", "def h"))
    (folder / "new.py").write_text(SWALLOWS)
    result = unhush("check", "--output-format", "html", "--age")
    found = {(one["file"], one["qualname"]): one["age"] for one in entries(result.stdout.decode())}
    assert found == {
        ("app/bad.py", "f"): "since 2020-03-04",
        ("app/bad.py", "g"): "since 2024-05-06",
        ("app/bad.py", "h"): "not committed",
        ("new.py", "f"): "not committed",
    }
    assert "age" not in entries(unhush("check", "--output-format", "html").stdout.decode())[0]


def test_age_without_git_says_so(unhush, write_tree, monkeypatch):
    """Outside a repository, and without git, the column says that there is no history."""
    folder = write_tree({"bad.py": SWALLOWS})
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
    page = unhush("check", "--output-format", "html", "--age").stdout.decode()
    assert entries(page)[0]["age"] == "no git history"
    monkeypatch.setenv("PATH", str(folder))
    page = unhush("check", "--output-format", "html", "--age").stdout.decode()
    assert entries(page)[0]["age"] == "no git history"


def test_ages_end_in_time(write_tree, make_finding, capsys):
    """Files that git can't be asked about in time are told as such, the others have their day."""
    from unhush.ages import ages_of
    from unhush.output import Output

    folder = write_tree({"bad.py": SWALLOWS})
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    found = [make_finding(filename=str(folder / "bad.py"))]
    place = (str(folder / "bad.py"), 4)
    assert ages_of(found, Output(), seconds=-1) == {place: "not asked in time"}
    assert "The age of 1 finding is missing: git took longer" in capsys.readouterr().err
    assert ages_of(found, Output()) == {place: "2020-03-04"}

"""Several settings files in one repository: each file goes by its own baseline, whatever files a run is given."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

SILENT = "def save(db):\n    try:\n        db.commit()\n    except Exception:\n        pass\n"
MORE = SILENT + SILENT.replace("save", "drop")
NAMED = 'baseline = "known.txt"\n'


@pytest.fixture
def unhush(quick):
    """Runs the command line in this process: these tests run it often."""
    return quick


def places(result) -> list[str]:
    """Where findings are, as file and function."""
    return [f"{Path(one['filename']).name} {one['qualname']}" for one in json.loads(result.stdout)]


@pytest.fixture
def projects(write_tree, unhush):
    """Two projects with a baseline of their own, and a file beside them, which has none."""
    files = {"one/a.py": SILENT, "two/b.py": SILENT, "c.py": SILENT, "one/unhush.toml": NAMED, "two/unhush.toml": NAMED}
    folder = write_tree(files)
    for name in ("one", "two"):
        assert unhush("baseline", "write", name).returncode == 0
    return folder


@pytest.mark.parametrize("paths", [["one", "two"], ["one/a.py", "two/b.py"], ["two/b.py"]])
def test_each_file_goes_by_the_baseline_of_its_own_settings(projects, unhush, paths):
    """A run over several projects tolerates what each one's baseline knows, and nothing more."""
    assert unhush("check", *paths).returncode == 0
    assert unhush("check", "--no-baseline", *paths).returncode == 1
    (projects / "two/b.py").write_text(MORE)
    result = unhush("check", "--output-format", "json", *paths)
    assert (result.returncode, places(result)) == (1, ["b.py drop"])
    assert f"{Path('two/known.txt')}: 1 known finding tolerated, 1 new, 0 gone." in result.stderr.decode()


def test_a_file_without_baseline_has_none(projects, unhush):
    """What no baseline is named for is new, among projects that have some, and in every format's order of names."""
    result = unhush("check", "--output-format", "json")
    assert (result.returncode, places(result)) == (1, ["c.py save"])
    (projects / "two/b.py").write_text(MORE)
    assert places(unhush("check", "--output-format", "json")) == ["c.py save", "b.py drop"]


@pytest.mark.parametrize("output_format", ["json", "sarif", "gitlab", "junit"])
def test_a_broken_baseline_of_a_project_leaves_no_half_document(projects, unhush, output_format):
    """Programs get nothing but the exit code 2 and the line about it; once it is mended they get all."""
    good = (projects / "two/known.txt").read_text()
    (projects / "two/known.txt").write_text("broken\n")
    result = unhush("check", "--output-format", output_format)
    assert (result.returncode, result.stdout) == (2, b"")
    assert f"{projects / 'two' / 'known.txt'}:1: is no baseline" in result.stderr.decode()
    (projects / "two/known.txt").write_text(good)
    assert b"c.py" in unhush("check", "--output-format", output_format).stdout


def test_the_baseline_of_the_command_line_holds_for_all(projects, unhush):
    """`--baseline` takes the place of every project's own, for writing too."""
    assert unhush("baseline", "write", "--baseline", "all.txt").returncode == 0
    assert (projects / "all.txt").read_text().count("UNH102") == 3
    assert unhush("check", "--baseline", "all.txt").returncode == 0
    (projects / "one/known.txt").write_text("broken\n")
    assert unhush("check", "--baseline", "all.txt").returncode == 0
    assert unhush("check").returncode == 2


def test_a_baseline_leaves_out_what_goes_by_another(projects, unhush):
    """Written for the whole, it holds what no project's own baseline holds, and a check of all is clean."""
    (projects / "unhush.toml").write_text(NAMED)
    assert unhush("baseline", "write").returncode == 0
    entries = [line for line in (projects / "known.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line.split(" ")[2] for line in entries] == ["c.py"]
    assert unhush("check", "--strict-baseline").returncode == 0
    assert unhush("baseline", "update", "--allow-growth").returncode == 0
    assert (projects / "known.txt").read_text().count("UNH102") == 1


@pytest.fixture
def nested(write_tree, unhush):
    """A repository set up by `init`, with a project whose own settings say nothing of a baseline."""
    folder = write_tree({"a.py": SILENT, "sub/b.py": SILENT, "sub/unhush.toml": 'min-severity = "high"\n'})
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    assert unhush("init").returncode == 0
    return folder


@pytest.mark.parametrize("paths", [[], ["sub"], ["sub/b.py"], ["a.py", "sub/b.py"]])
def test_settings_without_baseline_take_that_of_the_settings_above(nested, unhush, paths):
    """After `init` a check of any part is clean, as hooks ask for; a new finding there fails as anywhere."""
    assert unhush("check", *paths).returncode == 0
    (nested / "sub/b.py").write_text(MORE)
    result = unhush("check", "--output-format", "json", *paths)
    assert (result.returncode, places(result)) == (1, ["b.py drop"])


def test_the_baseline_above_ends_at_the_repository(nested, unhush):
    """`config` tells where it comes from; a repository within, and a folder of none, take none from outside."""
    shown = unhush("config", "sub").stdout.decode()
    assert "baseline = " in shown
    assert "# unhush.toml:1" in shown
    subprocess.run(["git", "init", "--quiet", str(nested / "sub")], check=True)
    assert "baseline = unset" in unhush("config", "sub").stdout.decode()
    assert unhush("check", "sub").returncode == 1

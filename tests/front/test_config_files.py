"""Which settings file holds for which file, what files extend, and the lines that errors name."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unhush.codemods.rules import all_rules, default_codes
from unhush.config import ConfigError, Nearest, Selection, load_settings
from unhush.configfile import line_of

Write = Callable[[dict[str, str | bytes]], Path]
Run = Callable[..., subprocess.CompletedProcess[bytes]]

BROAD = "def save():\n    try:\n        db.write()\n        db.commit()\n    except Exception:\n        pass\n"
BARE = BROAD.replace("except Exception", "except")
NARROW = BROAD.replace("except Exception", "except OSError")


def found(run: Run, *args: str | Path) -> list[str]:
    """What `check` finds, as `name:code`."""
    result = run("check", "--output-format", "concise", *args)
    assert result.returncode in (0, 1), result.stderr.decode()
    lines = result.stdout.decode().splitlines()
    return [f"{line.split(':')[0]}:{line.split(': ', 1)[1].split()[0]}" for line in lines]


@pytest.mark.parametrize("name", ["unhush.toml", ".unhush.toml"])
def test_own_files_hold_the_keys_at_their_top(write_tree: Write, name: str) -> None:
    """An unhush.toml needs no table, and its errors speak of none."""
    folder = write_tree({name: 'fail-on = "high"\n', "mod.py": ""})
    assert load_settings([str(folder)]).fail_on == "high"
    (folder / name).write_text("\nfail_on = 'high'\n")
    with pytest.raises(ConfigError) as refused:
        load_settings([str(folder)])
    assert str(refused.value) == f"{folder / name}:2: unknown key 'fail_on'; did you mean 'fail-on'?"


def test_of_several_files_in_a_folder_one_counts(write_tree: Write) -> None:
    """.unhush.toml goes before unhush.toml, and that before pyproject.toml; nothing is merged."""
    tree = {".unhush.toml": "fail-on = 'low'", "unhush.toml": "fail-on = 'medium'\nbackend = 'loguru'"}
    folder = write_tree({**tree, "pyproject.toml": "[tool.unhush]\nfail-on = 'high'"})
    for name, least in ((".unhush.toml", "low"), ("unhush.toml", "medium"), ("pyproject.toml", "high")):
        assert load_settings([str(folder)]).fail_on == least
        (folder / name).unlink()
    assert load_settings([str(folder)]).fail_on is None


def test_each_file_goes_by_its_own_nearest_settings(write_tree: Write, unhush: Run) -> None:
    """One run over folders with settings of their own checks each by these, whichever way the paths are given."""
    folder = write_tree(
        {
            "pyproject.toml": "[tool.unhush]\nignore = ['UNH101']\n",
            "a.py": BROAD + BARE,
            "sub/unhush.toml": "select = ['UNH101']\nexclude = ['skipped/']\n",
            "sub/b.py": BROAD + BARE,
            "sub/skipped/c.py": BARE,
            "sub/deep/d.py": BROAD + BARE,
            "sub/deep/pyproject.toml": "[project]\nname = 'says-nothing'\n",
            "skipped/e.py": BROAD,
        }
    )
    whole = ["a.py:UNH102", "skipped/e.py:UNH102", "sub/b.py:UNH101", "sub/deep/d.py:UNH101"]
    assert found(unhush) == whole
    assert sorted(found(unhush, folder / "a.py", folder / "skipped", folder / "sub")) == whole
    assert found(unhush, "sub/deep/d.py", "a.py") == ["a.py:UNH102", "sub/deep/d.py:UNH101"]
    assert found(unhush, "--select", "UNH102")[2:] == ["sub/b.py:UNH102", "sub/deep/d.py:UNH102"]
    assert found(unhush, "--force-exclude", "sub/skipped/c.py", "a.py") == ["a.py:UNH102"]
    (folder / "pyproject.toml").write_text("[tool.unhush]\nexclude = ['sub']\nignore = ['UNH101']")
    assert found(unhush) == whole[:2] == found(unhush, "--force-exclude", "a.py", "skipped", "sub/b.py", "sub/deep")


def test_own_settings_travel_to_worker_processes(write_tree: Write, unhush: Run) -> None:
    """Also where files are spread over processes each goes by its own settings, for check and for fix."""
    tree: dict[str, str | bytes] = {f"a{number:03}.py": BARE for number in range(120)}
    tree |= {f"sub/b{number:03}.py": BARE for number in range(120)}
    folder = write_tree({**tree, "pyproject.toml": "[tool.unhush]\n", "sub/unhush.toml": "ignore = ['UNH101']\n"})
    assert len(found(unhush, "-j", "2")) == 120
    (folder / "sub" / "unhush.toml").write_text("min-severity = 'high'\nlevel-broad = 'critical'")
    result = unhush("fix", "-j", "2")
    assert result.returncode == 0, result.stdout
    assert b"logger.critical(" in (folder / "sub" / "b000.py").read_bytes()
    assert b"logger.warning(" in (folder / "a000.py").read_bytes()


def test_the_exit_code_goes_by_each_files_settings(write_tree: Write, unhush: Run) -> None:
    """`fail-on` of a folder decides about its own findings alone."""
    medium = "def load():\n    try:\n        return parse()\n    finally:\n        return None\n"
    folder = write_tree({"unhush.toml": "", "a/unhush.toml": "fail-on = 'high'", "a/m.py": NARROW, "b.py": ""})
    (folder / "a" / "m.py").write_text(medium.replace("    finally", "    except Exception:\n        x()\n    finally"))
    assert unhush("check").returncode == 0
    assert b"UNH203" in unhush("check").stdout
    (folder / "b.py").write_bytes((folder / "a" / "m.py").read_bytes())
    assert unhush("check").returncode == 1


def test_bad_settings_of_a_folder_stop_the_run(write_tree: Write, unhush: Run) -> None:
    """A wrong settings file below is found on the way, and the gate does not pass."""
    folder = write_tree({"unhush.toml": "", "a.py": "", "sub/unhush.toml": "\nexclude = 'a'\n", "sub/b.py": ""})
    result = unhush("check")
    expected = f"error: {folder / 'sub' / 'unhush.toml'}:2: exclude must be a list of strings, not 'a'\n"
    assert (result.returncode, result.stderr.decode()) == (2, expected)


def test_extend_inherits_what_is_not_said(write_tree: Write) -> None:
    """Of a key that both files have the nearer counts; selections are layers; extend-exclude adds; patterns stay put."""
    folder = write_tree(
        {
            "base.toml": "preset = 'strict'\nignore = ['UNH4']\nfail-on = 'high'\nlogger-names = ['a']\n"
            "exclude = ['gen/', 'top/x.py']\nbaseline = 'known.txt'\napp = 'a:b'\n",
            "top/unhush.toml": "extend = '../base.toml'\nignore = ['UNH5']\nlogger-names = ['b']\n"
            "extend-exclude = ['own/']\n",
            "top/sub/unhush.toml": "extend = '../unhush.toml'\nselect = ['UNH101']\nexclude = ['z']\n",
        }
    )
    top = load_settings([str(folder / "top")])
    assert top.select == {code for code in all_rules() if not code.startswith(("UNH4", "UNH5"))}
    assert (top.fail_on, top.logger_names, top.exclude) == ("high", ("b",), ("own/",))
    assert top.excludes == ((str(folder), ("gen/", "top/x.py")),)
    assert top.baseline == str(folder / "known.txt")
    sub = load_settings([str(folder / "top" / "sub")])
    assert (sub.select, sub.fail_on, sub.exclude, sub.excludes) == ({"UNH101"}, "high", ("z",), ())


def test_patterns_of_an_extended_file_hold(write_tree: Write, unhush: Run) -> None:
    """Excludes of a file elsewhere hold here if tied to no folder, and in its own folder as they stand."""
    tree = dict.fromkeys(("app/a.py", "app/gen/b.py", "app/sub/c.py", "app/sub/d.py"), BROAD)
    write_tree({**tree, "shared/base.toml": "exclude = ['gen/', 'sub/c.py']\n"})
    folder = write_tree({"app/unhush.toml": "extend = '../shared/base.toml'\n"})
    assert found(unhush, "app") == ["app/a.py:UNH102", "app/sub/c.py:UNH102", "app/sub/d.py:UNH102"]
    shared = "exclude = ['gen/', 'sub/c.py']\n[per-file-ignores]\n'**/d.py' = ['UNH102']\n'!a.py' = ['UNH101']\n'/a.py' = ['UNH1']\n"
    (folder / "shared" / "base.toml").write_text(shared)
    assert found(unhush, "app") == ["app/a.py:UNH102", "app/sub/c.py:UNH102"]
    (folder / "shared" / "base.toml").write_text("exclude = ['gen/', 'sub/c.py']")
    (folder / "app" / "base.toml").write_bytes((folder / "shared" / "base.toml").read_bytes())
    (folder / "app" / "unhush.toml").write_text("extend = 'base.toml'\n")
    assert found(unhush, "app") == ["app/a.py:UNH102", "app/sub/d.py:UNH102"]


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (
            {"a.toml": "extend = 'unhush.toml'"},
            "a.toml:1: extend goes round in a circle: unhush.toml -> a.toml -> unhush.toml",
        ),
        ({}, "unhush.toml:2: extend names 'a.toml', which is no file"),
        ({"a.toml": "slect = []"}, "a.toml:1: unknown key 'slect'; did you mean 'select'?"),
        ({"a.toml": "\nselect = ['UNH9999']"}, "a.toml:2: unknown rule 'UNH9999'"),
    ],
)
def test_bad_extends_are_one_line(write_tree: Write, files: dict[str, str | bytes], text: str) -> None:
    """Circles, missing files and mistakes in an extended file are told with the place."""
    folder = write_tree({**files, "unhush.toml": "\nextend = 'a.toml'"})
    with pytest.raises(ConfigError) as refused:
        load_settings([str(folder)])
    assert str(refused.value).startswith(f"{folder}/{text}")
    assert "\n" not in str(refused.value)


def test_extend_of_a_pyproject_without_the_table_is_refused(write_tree: Write) -> None:
    """Who extends a file that says nothing has made a mistake."""
    folder = write_tree({"a/unhush.toml": "extend = '../pyproject.toml'", "pyproject.toml": "[project]\n"})
    with pytest.raises(ConfigError, match=r"has no \[tool\.unhush\] table"):
        load_settings([str(folder / "a")])
    (folder / "pyproject.toml").write_text("[tool.unhush]\nfail-on = 'low'")
    assert load_settings([str(folder / "a")]).fail_on == "low"


def test_per_file_ignores(write_tree: Write, unhush: Run) -> None:
    """Rules are left out where a pattern fits: by folder, by name, turned round, for a less specific rule's sake."""
    tree = dict.fromkeys(("a.py", "tests/b.py", "tests/deep/c.py", "pkg/conftest.py"), BROAD + BARE)
    folder = write_tree({**tree, "unhush.toml": ""})
    lines = {
        "'tests/' = ['UNH102']": ["a.py:UNH102", "pkg/conftest.py:UNH102"],
        "'conftest.py' = ['silent-broad-except']": ["a.py:UNH102", "tests/b.py:UNH102", "tests/deep/c.py:UNH102"],
        "'!tests/**' = ['UNH102']": ["tests/b.py:UNH102", "tests/deep/c.py:UNH102"],
        "'*.py' = ['UNH1']": [],
        "'deep' = ['UNH101']": [f"{name}:UNH102" for name in sorted(tree)],
    }
    for line, expected in lines.items():
        (folder / "unhush.toml").write_text(f"[per-file-ignores]\n{line}\n")
        assert [one for one in sorted(found(unhush)) if one.endswith("UNH102")] == expected, line
    (folder / "unhush.toml").write_text("[per-file-ignores]\n'a.py' = ['UNH101']\n'b.py' = ['UNH1O1']\n")
    result = unhush("check")
    assert result.returncode == 2
    assert f"{folder / 'unhush.toml'}:3: unknown rule 'UNH1O1'; did you mean 'UNH101'?" in result.stderr.decode()


def test_preset_is_what_select_stands_for(write_tree: Write) -> None:
    """`strict` brings every rule, unless `select` says which; the command line's selection goes above both."""
    folder = write_tree({"unhush.toml": "preset = 'strict'\nignore = ['UNH103']"})
    assert load_settings([str(folder)]).select == set(all_rules()) - {"UNH103"}
    assert load_settings([str(folder)], Selection(select=("default",))).select == default_codes()
    (folder / "unhush.toml").write_text("preset = 'strict'\nselect = ['UNH103']")
    assert load_settings([str(folder)]).select == {"UNH103"}


def test_foreign_suppressions_can_be_switched_off(write_tree: Write, unhush: Run) -> None:
    """The key is what the option of the same name says for one run."""
    folder = write_tree({"a.py": BROAD.replace("pass", "pass  # noqa: S110"), "unhush.toml": ""})
    assert found(unhush) == []
    (folder / "unhush.toml").write_text("foreign-suppressions = false")
    assert found(unhush) == ["a.py:UNH102"]


def test_logger_calls_are_records(write_tree: Write, unhush: Run) -> None:
    """A function that logs counts as a log record: heard, and asked for its traceback by the rules on evidence."""
    quiet = BROAD.replace("pass", "audit.note('failed')")
    folder = write_tree({"a.py": quiet, "unhush.toml": "select = ['UNH104', 'UNH401']"})
    assert found(unhush) == ["a.py:UNH104"]
    (folder / "unhush.toml").write_text("select = ['UNH104', 'UNH401']\nlogger-calls = ['audit.note']")
    assert found(unhush) == []
    (folder / "a.py").write_text(quiet.replace("note", "warning"))
    (folder / "unhush.toml").write_text("select = ['UNH104', 'UNH401']\nlogger-calls = ['audit.warning']")
    assert found(unhush) == ["a.py:UNH401"]


def test_syntax_beyond_the_target_is_an_error(write_tree: Write, unhush: Run) -> None:
    """What this Python and the target do not parse is no newer Python's syntax, but a mistake."""
    folder = write_tree({"a.py": BROAD.replace("except Exception", "except Exception, OSError"), "unhush.toml": ""})
    assert found(unhush) == ["a.py:UNH102"]
    (folder / "unhush.toml").write_text("target-version = 'py310'")
    result = unhush("check")
    assert result.returncode == 2
    assert b"a.py:1: can't be parsed: syntax of a newer Python than the target-version, 3.10" in result.stderr
    (folder / "unhush.toml").write_text("target-version = 'py315'")
    assert unhush("check").returncode == 1


def test_folders_are_asked_once(write_tree: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files of a folder are named, its settings are looked for once."""
    folder = write_tree({"unhush.toml": "", "a/b/unhush.toml": "", "a/b/c/x.py": "", "y.py": ""})
    nearest = Nearest([str(folder)])
    asked: list[str] = []
    own = nearest.own
    monkeypatch.setattr(nearest, "own", lambda at: asked.append(at) or own(at))
    found = {id(nearest.above(str(folder / "a" / "b" / "c"))) for _ in range(5)}
    assert len(found) == 1
    assert nearest.base is nearest.above(str(folder))
    assert asked == [str(folder / "a" / "b" / "c"), str(folder / "a" / "b")]


_VALUES = st.sampled_from(
    ["1", '"a"', "[\n  1,\n  2, # two\n]", "'''\nx = 1\n[tool]\n'''", "{ a = 1 }", '"""\\\n  text"""', "[[1], [\n2]]"]
)
_FILLER = st.sampled_from(["", "# a comment", "   ", "# x = 1"])


@given(st.lists(st.tuples(_VALUES, st.lists(_FILLER, max_size=3)), min_size=1, max_size=6), st.integers(0, 5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_line_of_a_key_is_found(tmp_path_factory: pytest.TempPathFactory, rows: list, which: int) -> None:
    """Whatever stands around a key, in comments, strings and lists of several lines, its own line is told."""
    lines, places = ["[project]", "x = 0", "[tool.unhush]"], {}
    for number, (value, filler) in enumerate(rows):
        lines += filler
        places[f"x{number}"] = len(lines) + 1
        lines += f"x{number} = {value}".split("\n")
    file = tmp_path_factory.mktemp("lines") / "pyproject.toml"
    file.write_text("\n".join([*lines, "[other]", "x0 = 1", ""]))
    key = f"x{which % len(rows)}"
    assert line_of(str(file), (key,)) == places[key]
    assert line_of(str(file), ("absent",)) is None

from __future__ import annotations

import click
import pytest

from unhush.codemods.rules import all_rules, default_codes
from unhush.codemods.settings import Settings
from unhush.config import ConfigError, Selection, load_settings
from unhush.keys import KEYS


@pytest.fixture
def project(write_tree, monkeypatch):
    """Writes a pyproject.toml with this `[tool.unhush]` table, moves there, and returns the folder."""

    def make(table: str, head: str = "[tool.unhush]\n", name: str = "pyproject.toml"):
        folder = write_tree({name: head + table, "pkg/mod.py": ""})
        monkeypatch.chdir(folder)
        return folder

    return make


def test_defaults_without_any_file(write_tree):
    """Where no file speaks, the default rules and the documented defaults hold."""
    folder = write_tree({"mod.py": ""})
    settings = load_settings([str(folder)])
    assert settings == Settings(select=default_codes(), root=str(folder))
    assert (settings.min_severity, settings.backend, settings.level_broad) == ("medium", "auto", "warning")


def test_every_key_reaches_the_settings(project):
    """Each documented key sets its field."""
    folder = project(
        """
        select = ["UNH101", "UNH102", "UNH103"]
        extend-select = ["suppress-broad"]
        ignore = ["UNH103"]
        exclude = ["gen/"]
        backend = "loguru"
        logger-names = ["app.audit"]
        reporting-calls = ["app.report"]
        level-broad = "error"
        level-narrow = "info"
        min-severity = "low"
        fail-on = "high"
        """
    )
    assert load_settings(["pkg"]) == Settings(
        select=frozenset({"UNH101", "UNH102", "UNH201"}),
        min_severity="low",
        fail_on="high",
        exclude=("gen/",),
        logger_names=("app.audit",),
        reporting_calls=("app.report",),
        backend="loguru",
        level_broad="error",
        level_narrow="info",
        root=str(folder),
    )


def test_nearest_table_upward_wins(write_tree):
    """The table nearest to the paths holds; files without one are passed by."""
    folder = write_tree(
        {
            "pyproject.toml": "[tool.unhush]\nmin-severity = 'low'\n",
            "a/pyproject.toml": "[tool.unhush]\nmin-severity = 'high'\n",
            "a/b/pyproject.toml": "[project]\nname = 'unhush-user'\n",
            "a/b/mod.py": "",
        }
    )
    assert load_settings([str(folder / "a" / "b" / "mod.py")]).min_severity == "high"
    assert load_settings([str(folder / "a" / "b"), str(folder)]).min_severity == "low"


def test_root_without_table_is_the_project(write_tree):
    """Without a table the root is the nearest folder with a pyproject.toml or a repository."""
    folder = write_tree({".git/HEAD": "", "src/mod.py": ""})
    assert load_settings([str(folder / "src" / "mod.py")]).root == str(folder)


def test_command_line_overrides_the_file(project):
    """What the command line says holds against the file; what it leaves out stays the file's."""
    project('min-severity = "low"\nbackend = "loguru"\nexclude = ["a"]\n')
    settings = load_settings(["pkg"], exclude=["b"], min_severity="high", backend=None)
    assert (settings.min_severity, settings.backend, settings.exclude) == ("high", "loguru", ("a", "b"))


@pytest.mark.parametrize(
    ("table", "selection", "codes"),
    [
        ('select = ["UNH101"]', Selection(), {"UNH101"}),
        ('select = ["UNH101"]', Selection(select=("UNH102",)), {"UNH102"}),
        ('ignore = ["UNH102"]', Selection(select=("UNH102",)), {"UNH102"}),
        ('select = ["UNH101"]', Selection(extend_select=("UNH103",)), {"UNH101", "UNH103"}),
        ('select = ["UNH101", "UNH102"]', Selection(ignore=("UNH102",)), {"UNH101"}),
        ('select = ["UNH1"]\nignore = ["UNH10"]', Selection(), set()),
    ],
)
def test_layers_of_selection(project, table, selection, codes):
    """In each layer ignore beats select; the command line's layer lies over the file's."""
    project(table)
    assert load_settings(["pkg"], selection).select == codes


@pytest.mark.parametrize(
    ("selector", "codes"),
    [
        ("UNH102", {"UNH102"}),
        ("unh102", {"UNH102"}),
        ("silent-broad-except", {"UNH102"}),
        ("UNH20", {code for code in all_rules() if code.startswith("UNH20")}),
        ("ALL", set(all_rules())),
        ("strict", set(all_rules())),
        ("default", set(default_codes())),
    ],
)
def test_selectors(write_tree, selector, codes):
    """Rules are named by code, family, name or preset, in any case."""
    assert load_settings([str(write_tree({}))], Selection(select=(selector,))).select == codes


@pytest.mark.parametrize(
    ("selector", "nearest"),
    [("UNH1O2", "UNH102"), ("silent-brod-except", "silent-broad-except"), ("al", "ALL"), ("qqqqqqqqqq", None)],
)
def test_unknown_rule_on_the_command_line(write_tree, selector, nearest):
    """An unknown rule is refused with the nearest one that exists."""
    with pytest.raises(click.UsageError) as refused:
        load_settings([str(write_tree({}))], Selection(ignore=(selector,)))
    hint = f"; did you mean {nearest!r}?" if nearest else ""
    assert str(refused.value) == f"unknown rule {selector!r}{hint}"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('selct = ["UNH1"]', "[tool.unhush] has an unknown key 'selct'; did you mean 'select'?"),
        ("levels = {}", "[tool.unhush] has an unknown key 'levels'; did you mean 'level-"),
        ('logger_names = ["a"]', "[tool.unhush] has an unknown key 'logger_names'; did you mean 'logger-names'?"),
        ("zzz = 1", f"[tool.unhush] has an unknown key 'zzz'; valid keys: {', '.join(KEYS)}"),
        ('select = "UNH1"', "[tool.unhush] select must be a list of strings, not 'UNH1'"),
        ("ignore = [1]", "[tool.unhush] ignore must be a list of strings, not a list that holds a number"),
        ("min-severity = 3", "[tool.unhush] min-severity must be one of low, medium, high, not a number"),
        ('fail-on = "hgh"', "[tool.unhush] fail-on must be one of low, medium, high, not 'hgh'"),
        ("reporting-calls = ['a.b', 'a:b']", "must be a list of dotted names, not a list that holds 'a:b'"),
        ("logger-names = ['log()']", "logger-names must be a list of dotted names, not a list that holds 'log()'"),
        ("logger-calls = ['']", "logger-calls must be a list of dotted names, not a list that holds ''"),
        ('baseline = "a\\u0000"', "[tool.unhush] baseline must be a path, not 'a\\x00'"),
        ('extend = "a\\u0000"', "[tool.unhush] extend must be a path, not 'a\\x00'"),
        ('backend = ["loguru"]', "[tool.unhush] backend must be one of auto, structlog, stdlib, loguru, not a list"),
        ("backend = 2020-01-01", "backend must be one of auto, structlog, stdlib, loguru, not a date or time"),
        ('select = ["UNH999"]', "unknown rule 'UNH999'; did you mean "),
    ],
)
def test_bad_settings_are_one_line_that_names_the_file(project, table, message):
    """A wrong key, type or value is refused in one line with the file's name and what would be right."""
    folder = project(table)
    with pytest.raises(ConfigError) as refused:
        load_settings(["pkg"])
    text = str(refused.value)
    assert text.startswith(f"{folder / 'pyproject.toml'}:2: ")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize("head", ["[tool]\nunhush = 3\n", "[tool.unhush\n", "x = '\xff' # unhush\n"])
def test_broken_files_are_one_line(project, write_tree, head):
    """A file that is no TOML, no UTF-8, or whose table is no table is refused in one line."""
    folder = project("", head=head)
    (folder / "pyproject.toml").write_bytes(head.encode("latin-1"))
    with pytest.raises(ConfigError) as refused:
        load_settings(["pkg"])
    assert str(refused.value).startswith(f"{folder / 'pyproject.toml'}:")
    assert "\n" not in str(refused.value)


def test_broken_file_that_does_not_speak_of_us_is_left_alone(project):
    """A broken pyproject.toml that never names unhush is none of our business."""
    project("", head="[broken\n")
    assert load_settings(["pkg"]).select == default_codes()


def test_table_may_be_spelled_in_any_toml_way(project):
    """Quoted, dotted and inline spellings of the table are read alike."""
    for head in ('[tool."unhush"]\nfail-on = "high"', "[tool]\nunhush.fail-on = 'high'", "tool.unhush.fail-on='high'"):
        project("", head=head)
        assert load_settings(["pkg"]).fail_on == "high"

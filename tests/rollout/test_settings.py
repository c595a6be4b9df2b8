from __future__ import annotations

import re

import pytest

from unhush.config import ConfigError, load_settings
from unhush.rollout import settings


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Loads the settings of a project with this table."""
    monkeypatch.delenv(settings.DATABASE_VARIABLE, raising=False)

    def load(text, head="[tool.unhush.rollout]\n"):
        (tmp_path / "pyproject.toml").write_text(head + text)
        return settings.load(tmp_path)

    return load


def test_each_key_reaches_its_field(table, tmp_path):
    """What stands in the table is what holds."""
    found = table(
        """
        url = "postgresql://app@db/jobs"
        staging-url = "postgresql://app@staging/jobs"
        base = "v1"
        unsigned = true
        templates = "papers"
        prometheus = "http://prometheus:9090"
        soak = 60
        owner = "us"
        escalation = "them"
        roles = { operator = ["ann@example.test"] }
        schedule = { start = "Monday" }
        checks.tests = { command = "pytest --junitxml=r.xml", report = "r.xml", format = "junit", minimum = 5, timeout = 9 }
        checks.build = { command = ["make", "a wheel"] }
        """
    )
    assert found == settings.RolloutSettings(
        root=tmp_path,
        url="postgresql://app@db/jobs",
        staging_url="postgresql://app@staging/jobs",
        base="v1",
        unsigned=True,
        templates="papers",
        prometheus="http://prometheus:9090",
        soak=60,
        owner="us",
        escalation="them",
        roles={"operator": ("ann@example.test",)},
        schedule={"start": "Monday"},
        checks={
            "tests": settings.Check(
                name="tests",
                command=("pytest", "--junitxml=r.xml"),
                report="r.xml",
                format="junit",
                minimum=5,
                timeout=9.0,
            ),
            "build": settings.Check(name="build", command=("make", "a wheel")),
        },
    )


def test_the_environment_names_the_database(table, monkeypatch):
    """The variable wins over the file, and an empty one says nothing."""
    monkeypatch.setenv(settings.DATABASE_VARIABLE, "sqlite:///other.db")
    assert table('url = "sqlite:///own.db"').url == "sqlite:///other.db"
    monkeypatch.setenv(settings.DATABASE_VARIABLE, "")
    assert table('url = "sqlite:///own.db"').url == "sqlite:///own.db"


def test_without_a_table_the_defaults_hold(table, tmp_path):
    """A project that says nothing has the defaults, and its own folder as root."""
    assert table("", head="[project]\nname = 'x'\n") == settings.RolloutSettings(root=tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sook = 1", r"unknown key 'sook'; did you mean 'soak'\?"),
        ("soak = -1", "soak must be a whole number of seconds"),
        ("soak = true", "soak must be a whole number of seconds"),
        ("unsigned = 'no'", "unsigned must be true or false"),
        ("base = ''", "base must be a string that says something"),
        ("roles = ['ann']", "roles must be a table"),
        ("roles = {operator = 'ann'}", "roles.operator must be a list of persons"),
        ("checks = 1", "checks must be a table of checks"),
        ("checks.a = {}", "checks.a must be a table with a command"),
        ("checks.a = {command = ''}", "command must be a command"),
        ('checks.a = {command = "\'"}', "command can't be split"),
        ("checks.a = {command = 'x', repport = 'y'}", "unknown key 'repport'; did you mean 'report'"),
        ("checks.a = {command = 'x', report = 'y'}", "format = 'junit' and report go together"),
        ("checks.a = {command = 'x', minimum = 0}", "minimum must be a whole number from 1 on"),
        ("checks.a = {command = 'x', timeout = 0}", "timeout must be a number of seconds"),
        ("checks.handlers = {command = 'x'}", "that name is taken"),
        ("checks.'a/b' = {command = 'x'}", "that name is taken|has a `/`"),
        ("checks.'A b' = {command = 'x'}", "is no name for evidence"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(table, tmp_path, text, why):
    """A key or value that is not valid ends the run with one line that names the file."""
    with pytest.raises(ConfigError, match=why) as caught:
        table(text)
    assert caught.value.message.startswith(f"{tmp_path / 'pyproject.toml'}: [tool.unhush.rollout]")
    assert "\n" not in caught.value.message


def test_every_key_is_documented(root):
    """The page on the roll-out has a row for each key, and none for keys that do not exist."""
    page = (root / "docs" / "rollout.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*) \|", page.partition("## Settings")[2].partition("## Evidence")[0], re.MULTILINE)
    named = {name.partition(".")[0] for row in rows for name in re.findall(r"`([a-z.A-Z-]+)`", row)}
    assert named == set(settings._KEYS)


def test_other_commands_do_not_mind_the_table(table, tmp_path):
    """`unhush check` reads the same file and leaves the roll-out's settings alone."""
    table("soak = 1\n[tool.unhush]\nfail-on = 'high'")
    assert load_settings([str(tmp_path)]).fail_on == "high"


def test_the_table_must_be_one(table):
    """A roll-out that is no table is refused."""
    with pytest.raises(ConfigError, match="rollout must be a table"):
        table("rollout = 1", head="[tool.unhush]\n")


def test_an_environment_is_a_name_and_no_path(project):
    """A name that no database can have is wrong use, and writes nothing; one that fits gets as far as the plan."""
    for words in (("approve", "--role", "operator"), ("verify",)):
        for name in ("../elsewhere", "/tmp", "Production", ""):
            done = project.unhush("rollout", *words, "--environment", name)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
            assert "'--environment': lower case letters" in done.stderr
        assert project.unhush("rollout", *words, "--environment", "eu-1").returncode == 3
    assert not (project.root / "rollout" / "elsewhere").exists()

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from brokenservice import age, broken, well
from services import fresh_database, program
from sqlalchemy import Engine

from unhush.__main__ import run as main_run
from unhush.reports import alerts, runbooks
from unhush.rollout import documents, environment
from unhush.rollout import runbooks as rollout_runbooks
from unhush.rollout.errors import RolloutProblem
from unhush.rollout.settings import RolloutSettings
from unhush.runtime import flag_rows
from unhush.runtime.engine import make_engine

DATA = {
    "owner": "payments team, room 4",
    "escalation": "+1 555 0100 (24 h)",
    "variable": "UNHUSH_DATABASE_URL",
    "dialect": "postgresql",
    "prometheus": None,
    "version": "1",
    "commit": "0123456789abcdef",
    "handlers": [
        {
            "event": "save.exception_ignored",
            "logger": "shop.store",
            "level": "warning",
            "severity": "high",
            "new": True,
            "places": [{"file": "shop/store.py", "line": 4}, {"file": "shop/store.py", "line": 14}],
        },
        {
            "event": "a|b`c.exception_ignored",
            "logger": "",
            "level": "debug",
            "severity": "unknown",
            "new": False,
            "places": [{"file": "shop/<b>.py", "line": 1}],
        },
    ],
}
STEPPED = [name for name in runbooks.NAMES if name != runbooks.WATCHLIST]
HEADINGS = ["What it means", "Impact", "Owner and escalation", "Trigger", "Is it real?", "Steps", "What not to do"]


@dataclass(frozen=True)
class Step:
    """A step of a runbook: the command, what it should print, and what on a database that is well."""

    runbook: str
    number: int
    command: str
    expected: str
    healthy: str
    otherwise: str


def steps(name: str, **changed: object) -> list[Step]:
    """The steps of a runbook."""
    text = runbooks.render(name, {**DATA, **changed})
    found = []
    for part in re.split(r"^### Step ", text, flags=re.M)[1:]:
        blocks = re.findall(r"^```(bash|text)\n(.*?)^```", part, flags=re.M | re.S)
        assert [kind for kind, _ in blocks][:2] == ["bash", "text"]
        texts = [content.strip("\n") for _, content in blocks] + [""]
        otherwise = re.search(r"^If not: (.*)$", part, flags=re.M)
        assert otherwise
        found.append(Step(name, int(part.partition(":")[0]), texts[0], texts[1], texts[2], otherwise[1]))
    return found


@pytest.mark.parametrize("name", runbooks.NAMES)
def test_rendered(name, snapshot):
    """Each runbook as an on-call person reads it."""
    assert runbooks.render(name, DATA) == snapshot


@pytest.mark.parametrize("name", STEPPED)
def test_nothing_is_missing_at_three_in_the_morning(name):
    """Meaning, impact, owner, trigger, check, the way back before the steps, what not to do, silencing, rehearsal."""
    text = runbooks.render(name, DATA)
    headings = re.findall(r"^## (.*)$", text, flags=re.M)
    assert [heading for heading in headings if heading in HEADINGS] == HEADINGS
    assert headings[-2:] == ["Silencing", "Rehearsed"]
    assert headings.index("First: undo what was changed last") < headings.index("Steps")
    assert "payments team, room 4" in text
    assert r"\+1 555" in text or "+1 555 0100" in text
    for alert in alerts.alerts():
        assert (f"**{alert.name}**" in text) == (alert.runbook == f"{name}.md")
    for alert in (alert for alert in alerts.alerts() if alert.runbook == f"{name}.md"):
        assert alert.note in text


@pytest.mark.parametrize("name", STEPPED)
def test_each_step_is_one_action_and_says_what_if_not(name):
    """Steps count up from 1; each is one command on one line, and its other way out leads to a step that exists."""
    found = steps(name)
    assert [step.number for step in found] == list(range(1, len(found) + 1))
    for step in found:
        assert "\n" not in step.command
        assert step.otherwise
        for number in re.findall(r"[Gg]o to step (\d+)", step.otherwise):
            assert 1 <= int(number) <= len(found)


@pytest.mark.parametrize("name", runbooks.NAMES)
def test_links_lead_to_runbooks(name):
    """Every relative link of a runbook names another one."""
    targets = re.findall(r"\]\(([^)]+)\)", runbooks.render(name, DATA))
    assert {target.removesuffix(".md") for target in targets} <= set(runbooks.NAMES)
    assert name == runbooks.WATCHLIST or targets


def test_documents_come_from_the_settings(tmp_path):
    """Owner, escalation and rules come from the settings, on one line and without a password, or say what to set."""
    settings = RolloutSettings(
        root=tmp_path,
        owner="pay\n## Steps\n`rm -rf /` [x](http://evil)",
        prometheus="http://me:secret@prom:9090",
        runbooks="https://wiki.example.org/runbooks/",
    )
    for name in STEPPED:
        text = rollout_runbooks.render(name, {}, {}, settings)
        assert "secret" not in text
        assert text.count("\n## Steps\n") == 1
        assert "\\`rm" in text
        assert "not said: the setting escalation of" in text
    assert "runbook_url: https://wiki.example.org/runbooks/dlq_growing.md" in rollout_runbooks.rules({}, {}, settings)
    assert "runbook_url: runbooks/dlq_growing.md" in rollout_runbooks.rules({}, {}, RolloutSettings(root=tmp_path))


def test_each_runbook_is_a_document_of_the_plan():
    """The plan covers each runbook and the rules, by a function that is there."""
    paths = {f"runbooks/{name}.md" for name in runbooks.NAMES} | {alerts.DOCUMENT}
    assert paths <= set(documents.COVERED)
    for path in paths:
        assert callable(documents._renderer(documents.COVERED[path]))


def test_templates_of_a_team_win(tmp_path):
    """A template of the team's own is used; a broken one is one line with its name, and a rule of another form too."""
    settings = RolloutSettings(root=tmp_path, templates="ours")
    (tmp_path / "ours" / "runbooks").mkdir(parents=True)
    own = tmp_path / "ours" / "runbooks" / "dlq_growing.md.j2"
    own.write_text("# Ours: {{ owner | line }}\n")
    assert rollout_runbooks.render("dlq_growing", {}, {}, settings).startswith("# Ours: not said")
    for text in ("{{ owners }}", "{% if %}", "{% include 'none.j2' %}"):
        own.write_text(text)
        with pytest.raises(RolloutProblem) as problem:
            rollout_runbooks.render("dlq_growing", {}, {}, settings)
        assert problem.value.message.startswith("template ")
        assert "\n" not in problem.value.message


def test_shell_blocks_pass_shellcheck(tmp_path):
    """shellcheck has nothing to say of any block, and does of a bad one."""
    tool = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if tool is None:
        pytest.skip("shellcheck is not installed")
    blocks = [
        block
        for name in runbooks.NAMES
        for dialect in ("postgresql", "sqlite")
        for block in re.findall(
            r"^```bash\n(.*?)^```", runbooks.render(name, {**DATA, "dialect": dialect}), re.M | re.S
        )
    ]
    names = []
    for number, block in enumerate([*blocks, "cd $1\nrm -rf $1/*\n"]):
        (tmp_path / f"{number}.sh").write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{block}")
        names.append(f"{number}.sh")
    assert len(blocks) > 40
    done = subprocess.run([tool, "--format=gcc", *names], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert {line.partition(":")[0] for line in done.stdout.splitlines()} == {names[-1]}, done.stdout


def matches(expected: str, output: str) -> bool:
    """Whether the lines come in this order; `...` stands for anything, a line of it for any lines, also none."""
    parts = [
        re.sub(r"(\\ )+", r" +", re.escape(line)).replace(r"\.\.\.", ".*")
        for line in expected.splitlines()
        if line != "..."
    ]
    at = 0
    lines = output.splitlines()
    for part in parts:
        while at < len(lines) and not re.fullmatch(part, lines[at]):
            at += 1
        if at == len(lines):
            return False
        at += 1
    return True


def test_expected_lines_are_told_from_others():
    """The comparison takes placeholders and order seriously."""
    assert matches("a ... c\n...\nd", "a b c\nx\nd\n")
    assert not matches("a ... c\nd", "d\na b c\n")
    assert not matches("stored ... records", "stored nothing")


class Shell:
    """Runs blocks as a person would paste them, on one database: in bash, or within this process, which is quicker."""

    bash = False

    def __init__(self, folder: Path, url: str, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        (folder / "pyproject.toml").write_text(
            '[project]\nname = "shop"\n[tool.unhush]\napp = "shop:dlq"\n[tool.unhush.rollout]\n'
        )
        (folder / "shop.py").write_text(
            "from unhush.runtime import DeadLetterQueue\n\ndlq = DeadLetterQueue()\ndlq.register('mail', lambda letter: None)\n"
        )
        (folder / "store.py").write_text("import logging\nlogging.getLogger().info('save.exception_ignored')\n")
        (folder / "app.log").write_text("2999-01-01T00:00:00Z save.exception_ignored\n")
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        subprocess.run(["git", "add", "store.py"], cwd=folder, check=True)
        patch.chdir(folder)
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        for name, value in {
            "UNHUSH_DATABASE_URL": url,
            "QUEUE": "mail",
            "JOB": "42",
            "EVENT": "save.exception_ignored",
            "LOG": "app.log",
        }.items():
            patch.setenv(name, value)

    def run(self, command: str) -> str:
        """What a command prints on both streams. Wrong use of a command fails the test."""
        quick = command.replace("timeout 3600", "timeout 3").replace("--rate 1 ", "")
        inside = not self.bash and quick.startswith("unhush ")
        code, said = self._inside(quick) if inside else self._outside(quick)
        assert code in (0, 1, 124), f"{command}: exit code {code}: {said}"
        assert not re.search(r"No such (option|command)|no such command|Usage:", said), said
        return said

    def _outside(self, command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def _inside(self, command: str) -> tuple[int, str]:
        words = shlex.split(re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: os.environ[found[1]], command))
        structlog.reset_defaults()
        self.patch.setattr(sys, "argv", words)
        self.patch.setattr(sys, "stdin", io.StringIO())
        path, said = list(sys.path), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = main_run()
            except SystemExit as ended:
                code = int(ended.code or 0)
        sys.path[:] = path
        sys.modules.pop("shop", None)
        return code, said.getvalue()


@pytest.fixture(params=["sqlite", "postgresql"])
def shell(request, tmp_path, monkeypatch) -> Iterator[Shell]:
    """A shell on a new database of each kind."""
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "true")
    monkeypatch.setenv("UNHUSH_SPOOL", str(tmp_path / "spool"))
    with fresh_database(request.param, str(tmp_path)) as url:
        yield Shell(tmp_path, url, monkeypatch)


@pytest.fixture
def engine(shell) -> Iterator[Engine]:
    """The shell's database."""
    made = make_engine(os.environ["UNHUSH_DATABASE_URL"])
    yield made
    made.dispose()


# In this order each leaves the trouble of the next one there: the last one redrives the letters.
PLAYED = ("ignored_exceptions", "stuck_jobs", "watchdog_silent", "spool_in_use", "dlq_growing")
# Comes to its expected end only once a person has done what the page asks for before it.
EXEMPT = {("watchdog_silent", 4)}


def test_played_on_a_broken_service(shell, engine):
    """Each command of each runbook does what the page says, from the alarm to the end, on a service that is broken."""
    broken(os.environ["UNHUSH_DATABASE_URL"])
    shell.patch.delenv("FEATURE_FLAG_JOB_HEARTBEAT")  # an on-call person's shell has none of the service's variables
    shell.patch.setenv("LETTER", shell.run("unhush dlq groups").splitlines()[1].split()[-2])
    wrong = []
    for name in PLAYED:
        if name in ("stuck_jobs", "watchdog_silent"):
            age(engine)
        for step in steps(name):
            said = shell.run(step.command)
            if (name, step.number) not in EXEMPT and not matches(step.expected, said):
                wrong.append(f"{name}, step {step.number}: {step.command}\nexpected:\n{step.expected}\ngot:\n{said}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("shell", ["sqlite"], indirect=True)
def test_on_a_service_that_is_well(shell):
    """The commands that look print what the page says of a service that is well."""
    well(os.environ["UNHUSH_DATABASE_URL"])
    shell.patch.delenv("FEATURE_FLAG_JOB_HEARTBEAT")
    played = 0
    for name in PLAYED:
        for step in steps(name):
            if step.healthy and "${" not in step.command:
                said = shell.run(step.command)
                assert matches(step.healthy, said), f"{name}, step {step.number}: {step.command}\n{said}"
                played += 1
    assert played > 12


def test_the_way_back_leads_back(shell, engine):
    """Each step of the way back does what it says, whether the one before it worked or not: the flags are OFF then."""
    well(os.environ["UNHUSH_DATABASE_URL"])
    shell.patch.delenv("FEATURE_FLAG_JOB_HEARTBEAT")
    environment.name(engine, "staging", "ann@example.test")
    shell.bash = True
    dialect = engine.dialect.name
    first, second, third = steps("roll_back", dialect=dialect)
    (shell.folder / "backout_command.txt").write_text("set the flags to false\n")
    for step in (first, second, first):
        with engine.begin() as connection:
            connection.execute(flag_rows.flags.update().values(state="on", percentage=100.0))
        if step is second and dialect == "postgresql":
            program("psql")
        assert matches(step.expected, said := shell.run(step.command)), said
        if step is first or dialect == "postgresql":
            with engine.connect() as connection:
                assert {row.state for row in flag_rows.read(connection).values()} == {"off"}
    assert matches(third.expected, shell.run(third.command))

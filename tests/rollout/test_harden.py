"""`unhush harden`: each run goes as far as it can, says what is next, and can be begun again at any point."""

from __future__ import annotations

import json

from rollout.conftest import SILENT, Project


def harden(project: Project, *args: str, code: int = 0, **env: str) -> dict[str, tuple[str, str]]:
    """Runs it; for each step its state and what was said."""
    done = project.unhush("harden", "--json", *args, **env)
    assert done.returncode == code, done.stdout + done.stderr
    return {step["step"]: (step["state"], step["said"]) for step in json.loads(done.stdout)}


def at_the_beginning(project: Project) -> Project:
    """The project before anybody changed it."""
    project.git("reset", "--quiet", "--hard", "base")
    text = (project.root / "pyproject.toml").read_text(encoding="utf-8")
    project.write("pyproject.toml", text.replace('base = "base"\n', ""))
    project.commit("Say no base")
    return project


def test_the_whole_way(project: Project) -> None:
    """Scan, fix, proof, commit, dry run, evidence: each run takes the way up from where it is, and ends at a person's step."""
    at_the_beginning(project)
    before = (project.root / "worker.py").read_bytes()
    seen = harden(project)
    assert seen["scan"][0] == "done"
    assert seen["fix"] == ("next", "1 handlers can be rewritten")
    assert (project.root / "worker.py").read_bytes() == before

    seen = harden(project, "--yes")
    assert [state for state, _ in seen.values()] == ["done", "done", "done", "next"]
    assert seen["prove"][1] == "1 files differ by inserted logging alone"
    assert seen["commit"][1].startswith("worker.py")
    assert (project.root / "worker.py").read_bytes() != before

    assert harden(project, "--yes")["commit"][0] == "next"
    project.git("commit", "--quiet", "--all", "--message", "Log")
    assert harden(project, code=1)["dry run"][0] == "failed"  # there is no database yet
    project.unhush("db", "upgrade", "--to", "1", UNHUSH_DATABASE_URL="sqlite:///service.db")
    seen = harden(project)
    assert (seen["dry run"][0], seen["prepare"][0]) == ("done", "done"), seen
    assert seen["staging"][0] == "next"
    assert list(seen)[-1] == "staging"
    again = harden(project)  # the dry run is kept: another one would be other evidence
    assert (again["dry run"][1].endswith("(kept)"), again["staging"][0]) == (True, "next")


def test_what_is_not_committed_holds_the_fix(project: Project) -> None:
    """A changed file must not be mixed with the rewrite: nothing is written, and its name is said."""
    at_the_beginning(project)
    project.write("worker.py", SILENT + "\n# more\n")
    before = (project.root / "worker.py").read_bytes()
    seen = harden(project, "--yes", code=1)
    assert seen["fix"] == ("failed", "worker.py is not as committed: commit it first, so that the fix stands alone")
    assert (project.root / "worker.py").read_bytes() == before


def test_a_broken_file_ends_it(project: Project) -> None:
    """A file that can't be parsed fails the scan with its line, and nothing comes after it."""
    at_the_beginning(project)
    project.write("broken.py", "try:\n    x(\nexcept Exception:\n    pass\n")
    project.commit()
    seen = harden(project, code=1)
    assert list(seen) == ["scan"]
    assert seen["scan"][0] == "failed"


def test_text_names_the_command(project: Project) -> None:
    """For people each step is a line, with the command to run under it where there is one."""
    at_the_beginning(project)
    done = project.unhush("harden")
    assert done.stdout.splitlines()[-2:] == ["next     fix: 1 handlers can be rewritten", "         run: unhush fix ."]
    outside = project.root.parent
    (outside / "empty").mkdir()
    assert Project(outside / "empty").unhush("harden").returncode == 1

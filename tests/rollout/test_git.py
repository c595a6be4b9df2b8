from __future__ import annotations

import os
from fnmatch import fnmatch

import pytest

from unhush.rollout import documents, git, scans
from unhush.rollout.errors import RolloutProblem


def test_everybody_who_had_a_hand_in_it_is_named(project):
    """Authors, committers and co-authors count, by address and by name, also where a trailer stands in the text."""
    project.git("commit", "--allow-empty", "-qm", "One\n\nCo-authored-by: Bob B <Bob@Example.test>\n\nMore text")
    project.git("-c", "user.email=carl@example.test", "-c", "user.name=Carl", "commit", "--allow-empty", "-qm", "Two")
    project.git("commit", "--allow-empty", "-qm", "Three", "--author", "Dora <dora@example.test>")
    found = git.people(project.root, "base", "HEAD")
    assert {"ann@example.test", "bob@example.test", "bob b", "carl@example.test", "dora@example.test", "dora"} <= found


def test_who_came_before_the_base_is_not_named(project):
    """Only the change's own commits count."""
    project.git("-c", "user.email=old@example.test", "commit", "--allow-empty", "-qm", "Old")
    project.git("commit", "--allow-empty", "-qm", "New")
    assert "old@example.test" not in git.people(project.root, "HEAD~1", "HEAD")
    assert "old@example.test" in git.people(project.root, "HEAD~2", "HEAD")


def test_an_export_holds_what_is_committed(project, tmp_path):
    """Files as committed, whatever lies in the working tree; not what the roll-out made."""
    project.write("rollout/plan.json", "{}")
    project.write("runbooks/dlq.md", "x")
    project.write("rollout/code.py", "x = 1\n")
    project.commit("Add")
    project.write("worker.py", "edited\n")
    project.write("untracked.py", "")
    git.export(project.root, "HEAD", tmp_path / "out")
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert names == {".gitignore", "pyproject.toml", "suite.py", "worker.py", "rollout/code.py"}
    assert "edited" not in (tmp_path / "out/worker.py").read_text()
    assert git.run(project.root, "status", "--short").split() == ["M", "worker.py", "??", "untracked.py"]


@pytest.mark.parametrize(
    ("name", "text"),
    [(".gitattributes", "worker.py export-ignore\n"), (".gitignore", "worker.py\n")],
)
def test_no_file_can_be_kept_away_from_the_scan(project, name, text):
    """A silent handler is found also where git is told to leave its file out, or to ignore it."""
    project.git("checkout", "--quiet", "base")
    project.write(name, text + "report.xml\n")
    project.commit("Look away")
    seen = scans.compare(project.root, git.resolve(project.root, "base"), "HEAD")
    assert (seen.counts["before"], seen.counts["fixed"], seen.counts["remaining"]) == (1, 0, 1)


@pytest.mark.parametrize("pattern", git.GENERATED)
def test_what_the_roll_out_makes_does_not_make_the_tree_another_one(project, pattern):
    """Each file that the roll-out makes may lie there, and be committed, without a difference; code may not."""
    project.write(pattern.replace("**", "a/b.json").replace("*", "any"), "x")
    assert git.dirty(project.root) == []
    before = git.head(project.root)
    project.commit("Add")
    assert git.same_source(project.root, before, "HEAD")
    project.write(os.path.join(os.path.dirname(pattern.replace("/**", "")), "code.py"), "x = 1\n")
    assert len(git.dirty(project.root)) == 1
    project.commit("Add code")
    assert not git.same_source(project.root, before, "HEAD")


def test_every_document_is_among_what_the_roll_out_makes():
    """No document that is rendered makes the working tree another one than the commit."""
    paths = [*documents.COVERED, *documents.STATUS]
    assert paths
    assert [path for path in paths if not any(fnmatch(path, pattern) for pattern in git.GENERATED)] == []
    assert not any(fnmatch("worker.py", pattern) for pattern in git.GENERATED)


def test_a_change_that_keeps_size_and_time_is_seen(project):
    """A file written with the same length and the same time stamp is not as committed."""
    path = project.root / "suite.py"
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"logs", b"logz"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    project.git("config", "core.trustctime", "false")
    project.git("config", "core.checkStat", "minimal")
    assert git.dirty(project.root) == ["suite.py"]


def test_what_is_no_commit_is_named(project):
    """A revision that git does not know, or an option in its place, is refused in words."""
    for ref in ("nonsense", "--all", "HEAD:worker.py", ""):
        with pytest.raises(RolloutProblem, match=r"no commit|no revision"):
            git.resolve(project.root, ref)
    assert git.resolve(project.root, "base") == project.git("rev-parse", "base").strip()


def test_variables_of_a_hook_do_not_lead_elsewhere(project, monkeypatch):
    """`GIT_DIR` and its kin, which git sets for hooks, are not heeded."""
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    assert git.dirty(project.root) == []

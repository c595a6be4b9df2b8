"""`unhush check --diff-from` and `--staged`, with the real git."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

SILENT = "    try:\n        db.commit()\n    except Exception:\n        pass\n"
OLD = f"def old(db):\n{SILENT}\n\ndef calm(db):\n    return db\n"
NEW = f"\n\ndef new(db):\n{SILENT}"
OTHER = f"import os\n\n\nasync def other(db):\n{SILENT.replace('commit', 'send')}"
LOUD = (
    "def old(db):\n    try:\n        db.commit()\n    except Exception:\n        note()\n        raise\n    return 1\n"
)
WHO = ["-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "init.defaultBranch=main"]
WHO += ["-c", "protocol.file.allow=always"]


@pytest.fixture
def unhush(quick):
    """Runs the command line in this process: these tests run it often."""
    return quick


def git(folder: Path, *args: str, data: bytes = b"") -> str:
    """Runs git as somebody, with no settings of this machine's user."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", *WHO, *args], cwd=folder, capture_output=True, check=True, input=data, env=env)
    return done.stdout.decode()


def commit(folder: Path, **kinds: str) -> None:
    """Commits all there is."""
    git(folder, "add", "--all")
    git(folder, "commit", "-qm", "more")


@pytest.fixture
def repo(write_tree) -> Path:
    """A repository with a commit on main, that holds an old finding, on a branch of its own."""
    folder = write_tree({"app/a.py": OLD})
    git(folder, "init", "-q")
    commit(folder)
    git(folder, "checkout", "-qb", "work")
    return folder


def names(result) -> list[str]:
    """File and function of each finding shown."""
    assert result.returncode in (0, 1), result.stderr
    found = [(os.path.basename(item["filename"]), item["qualname"]) for item in json.loads(result.stdout)]
    assert result.returncode == bool(found)
    return [f"{file}:{function}" for file, function in found]


@pytest.fixture
def since(unhush):
    """The findings in lines changed since main."""
    return lambda *more, **where: names(
        unhush("check", "--diff-from", "main", "--output-format", "json", *more, **where)
    )


@pytest.fixture
def staged(unhush):
    """The findings in staged lines."""
    return lambda *more, **where: names(unhush("check", "--staged", "--output-format", "json", *more, **where))


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_only_changed_lines_count(repo, since, staged):
    """The old finding is not shown; a new one in the same file is, committed, staged or neither."""
    assert since() == []
    append(repo / "app/a.py", NEW)
    assert (since(), staged()) == (["a.py:new"], [])
    git(repo, "add", ".")
    assert (since(), staged()) == (["a.py:new"], ["a.py:new"])
    commit(repo)
    assert (since(), staged()) == (["a.py:new"], [])


def test_what_main_did_since_does_not_count(repo, since):
    """Lines are compared with the merge base: what came into main later is no change of the branch."""
    append(repo / "app/a.py", NEW)
    commit(repo)
    git(repo, "checkout", "-q", "main")
    (repo / "app/a.py").write_text(OLD.replace("def old", "def older"))
    commit(repo)
    git(repo, "checkout", "-q", "work")
    assert since() == ["a.py:new"]


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("except Exception", "except BaseException", True),
        ("        pass", "        pass  # why", True),
        ("        pass", "        pass\n        # a comment at the end", False),
        ("        db.commit()", "        db.commit(1)", False),
        ("def old", "def older", False),
        ("    return db", "    return None", False),
    ],
)
def test_which_changes_touch_a_finding(repo, since, old, new, counts):
    """A finding counts where a line of its header or body is new, not where only the code around it is."""
    (repo / "app/a.py").write_text(OLD.replace(old, new, 1))
    assert bool(since()) == counts


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("        note()\n        raise\n", "        pass\n", True),
        ("        raise\n", "", False),
        ("        note()\n        raise\n", "        answer = 1\n        raise\n", False),
        ("        note()\n        raise\n    return 1\n", "        pass\n    return 2\n", True),
    ],
)
def test_a_handler_that_was_made_silent(repo, since, old, new, counts):
    """A handler whose report was replaced counts; one that still reports is no finding."""
    (repo / "app/a.py").write_text(LOUD)
    commit(repo)
    git(repo, "branch", "-f", "main")
    (repo / "app/a.py").write_text(LOUD.replace(old, new))
    assert bool(since()) == counts


@pytest.mark.parametrize("after", ["    return 1\n", "    return 2\n", ""])
def test_a_handler_that_lost_its_last_line(repo, since, after):
    """Taking out the `raise` alone makes the handler count, whatever becomes of the line behind it."""
    loud = f"def old(db):\n{SILENT}        raise\n    return 1\n"
    (repo / "app/a.py").write_text(loud)
    commit(repo)
    git(repo, "branch", "-f", "main")
    (repo / "app/a.py").write_text(f"def old(db):\n{SILENT}{after}")
    assert since() == ["a.py:old"]


def test_lines_taken_out_behind_a_handler(repo, since):
    """Taking out what stands behind a handler, not in it, leaves the handler as it was."""
    (repo / "app/a.py").write_text(OLD.replace("\n\ndef calm(db):\n    return db\n", ""))
    assert since() == []


def test_renames_and_new_and_deleted_files(repo, since, staged):
    """A renamed file counts by its changed lines, a new one whole, untracked too, a deleted one not at all."""
    git(repo, "mv", "app/a.py", "app/b.py")
    assert (since(), staged()) == ([], [])
    append(repo / "app/b.py", NEW)
    assert since() == ["b.py:new"]
    git(repo, "add", ".")
    assert (since(), staged()) == (["b.py:new"], ["b.py:new"])
    (repo / "c.py").write_text(OTHER)
    assert (since(), staged()) == (["b.py:new", "c.py:other"], ["b.py:new"])
    git(repo, "add", "--intent-to-add", "c.py")
    assert (since(), staged()) == (["b.py:new", "c.py:other"], ["b.py:new"])
    (repo / "c.py").unlink()
    git(repo, "rm", "-qf", "app/b.py")
    git(repo, "rm", "-q", "--cached", "c.py")
    assert (since(), staged()) == ([], [])


def test_paths_and_excludes_hold(repo, since, staged):
    """Changed files that the paths, the settings or .gitignore leave out do not count."""
    for name in ("app/n.py", "lib/n.py", "gen/n.py", "out/n.py"):
        (repo / name).parent.mkdir(exist_ok=True)
        (repo / name).write_text(OLD)
    (repo / ".gitignore").write_text("out/\n")
    git(repo, "add", ".")
    for shown in (since, staged):
        assert shown("app") == ["n.py:old"]
        assert shown("--exclude", "gen/") == ["n.py:old", "n.py:old"]
        assert shown(".", cwd=repo / "lib") == ["n.py:old"]


@pytest.mark.parametrize("output_format", ["text", "json", "sarif"])
def test_staged_in_part_is_refused(repo, unhush, output_format):
    """A file that is staged and changed after that is one line: what lies there is not what would be committed."""
    path = repo / "app/a.py"
    append(path, NEW)
    git(repo, "add", ".")
    path.write_text("# mended here, but not staged\n" + OLD)
    result = unhush("check", "--staged", "--output-format", output_format)
    one_line(result, f"{path}: is staged, and was changed after that")
    (repo / "b.py").write_text(OTHER)
    git(repo, "add", "b.py")
    append(repo / "b.py", NEW)
    one_line(unhush("check", "--staged"), f"{path} (and 1 more): is staged")
    assert names(unhush("check", "--diff-from", "main", "--output-format", "json")) == ["b.py:other", "b.py:new"]
    git(repo, "add", ".")
    assert unhush("check", "--staged").returncode == 1


def test_what_is_changed_elsewhere_does_not_matter(repo, staged, unhush):
    """Staged only in part is no matter in files that are not checked, and changed but not staged in no file at all."""
    files = {"app/a.py": NEW, "note.txt": "more\n", "skip/c.py": "", "other/d.py": ""}
    for name in files:
        (repo / name).parent.mkdir(exist_ok=True)
        append(repo / name, "x = 1\n") if (repo / name).exists() else (repo / name).write_text("x = 1\n")
    git(repo, "add", "note.txt", "skip", "other")
    for name, more in files.items():
        append(repo / name, more or "y = 2\n")
    assert staged("app", ".", "--exclude", "skip,other") == []
    one_line(unhush("check", "--staged", "--exclude", "skip"), "d.py: is staged")


def test_staged_and_gone_from_the_working_tree(repo, staged, unhush):
    """A file that is staged and was removed from the working tree is refused too, where it is asked for."""
    (repo / "n.py").write_text(OLD)
    git(repo, "add", ".")
    (repo / "n.py").unlink()
    one_line(unhush("check", "--staged"), "n.py: is staged")
    assert staged("app") == []


def test_the_index_of_a_hook(repo, unhush, monkeypatch):
    """In a hook of `git commit FILE` the index that git names is looked at, and its other variables mislead nobody."""
    append(repo / "app/a.py", NEW)
    own = repo / ".git" / "next-index"
    own.write_bytes((repo / ".git/index").read_bytes())
    subprocess.run(["git", "add", "app/a.py"], cwd=repo, check=True, env={**os.environ, "GIT_INDEX_FILE": str(own)})
    assert unhush("check", "--staged").returncode == 0
    monkeypatch.setenv("GIT_INDEX_FILE", ".git/next-index")
    monkeypatch.setenv("GIT_DIR", ".git")
    assert unhush("check", "--staged").returncode == 1
    assert unhush("check", "--staged", cwd=repo / "app").returncode == 0  # GIT_DIR is not of that folder's repository
    monkeypatch.delenv("GIT_DIR")
    assert unhush("check", "--staged", cwd=repo / "app").returncode == 1


def test_settings_of_git_have_no_say(repo, since, staged, monkeypatch):
    """Prefixes, external and textual converters, quoting, context, colours and renames as git is told change nothing."""
    settings = {
        "diff.noprefix": "true",
        "diff.mnemonicPrefix": "true",
        "diff.external": "false",
        "diff.renames": "false",
        "diff.context": "9",
        "diff.interHunkContext": "9",
        "diff.relative": "true",
        "diff.submodule": "log",
        "diff.algorithm": "patience",
        "diff.py.textconv": "false",
        "diff.py.binary": "true",
        "color.ui": "always",
        "core.quotePath": "false",
    }
    for name, value in settings.items():
        git(repo, "config", name, value)
    (repo / ".gitattributes").write_text("*.py diff=py -diff\n")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    monkeypatch.setenv("GIT_DIFF_OPTS", "-u9")
    git(repo, "mv", "app/a.py", "app/é b.py")
    append(repo / "app/é b.py", NEW)
    git(repo, "add", ".")
    for shown in (since, staged):
        assert shown() == ["é b.py:new"]
        assert shown(cwd=repo / "app") == ["é b.py:new"]


@pytest.mark.parametrize(
    "name", [b"a b.py", b"tab\there.py", b'quo"te\\.py', "ü.py".encode(), b"raw\xff.py", b"new\nline.py"]
)
def test_any_name_of_a_file(repo, unhush, name):
    """Names with blanks, quotes, line breaks or bytes that are no UTF-8 are told apart and found."""
    path = repo / os.fsdecode(name)
    path.write_text(OLD)
    (repo / "other.py").write_text(OLD)
    commit(repo)
    git(repo, "branch", "-f", "main")
    append(path, NEW)
    git(repo, "add", ".")
    for mode in (["--diff-from", "main"], ["--staged"]):
        result = unhush("check", *mode, "--output-format", "json")
        assert [item["qualname"] for item in json.loads(result.stdout)] == ["new"]


def test_line_endings(repo, since, staged):
    """CRLF does not move the lines, a changed line ending is no change, and lone carriage returns let nothing slip."""
    path = repo / "app/a.py"
    path.write_bytes(OLD.replace("\n", "\r\n").encode())
    git(repo, "add", ".")
    assert (since(), staged()) == ([], [])
    path.write_bytes((OLD + NEW).replace("\n", "\r\n").encode())
    git(repo, "add", ".")
    assert (since(), staged()) == (["a.py:new"], ["a.py:new"])
    path.write_bytes((OLD + NEW).replace("\n", "\r").encode())
    git(repo, "add", ".")
    assert (since(), staged()) == (["a.py:old", "a.py:new"], ["a.py:old", "a.py:new"])


def test_a_file_without_a_last_newline(repo, since):
    """A missing newline at the end of the file, before or after, does not hide the next file's changes."""
    (repo / "b.py").write_text(OLD)
    (repo / "app/a.py").write_text(OLD.rstrip("\n"))
    commit(repo)
    git(repo, "branch", "-f", "main")
    append(repo / "app/a.py", "  # more")
    append(repo / "b.py", NEW)
    assert since() == ["b.py:new"]


def test_lines_that_look_like_a_patch(repo, since):
    """Lines of a file that read as headers of a patch are taken for what they are."""
    path = repo / "app/a.py"
    path.write_text(OLD + '\n\nTEXT = """\n++ b/other.py\n-- a/other.py\n@@ -1 +1 @@\n"""\n' + NEW)
    assert since() == ["a.py:new"]
    commit(repo)
    git(repo, "branch", "-f", "main")
    path.write_text(path.read_text().replace("++ b/other.py\n-- a/other.py\n", ""))
    assert since() == []


def test_worktrees(repo, since, staged, tmp_path):
    """A linked worktree is looked at by its own index and HEAD."""
    git(repo, "worktree", "add", "-qb", "linked", str(tmp_path / "linked"), "main")
    append(tmp_path / "linked/app/a.py", NEW)
    git(tmp_path / "linked", "add", ".")
    assert since(cwd=tmp_path / "linked") == staged(cwd=tmp_path / "linked") == ["a.py:new"]


def test_submodules(repo, since, staged, unhush, tmp_path):
    """A submodule is its own repository: looked at from within, and named as not looked into from outside."""
    inner = tmp_path.parent / f"{tmp_path.name}-inner"
    inner.mkdir()
    (inner / "s.py").write_text(OLD)
    git(inner, "init", "-q")
    commit(inner)
    git(repo, "submodule", "--quiet", "add", str(inner), "sub")
    commit(repo)
    result = unhush("check", "--diff-from", "main")
    assert result.returncode == 0
    assert b"1 changed submodule not looked into" in result.stderr
    append(repo / "sub/s.py", NEW)
    git(repo / "sub", "add", ".")
    assert since("sub") == since(cwd=repo / "sub") == staged("sub") == ["s.py:new"]
    refused = unhush("check", "--staged", "app/a.py", "sub/s.py")
    assert refused.returncode == 2
    assert b"lies outside of the repository" in refused.stderr


def test_links(repo, since, staged, tmp_path):
    """A repository that is reached by a link is the same; a link among the changes is no file of its own."""
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(repo / "app", target_is_directory=True)
    append(repo / "app/a.py", NEW)
    (repo / "app/same.py").symlink_to("a.py")
    git(repo, "add", "app")
    assert since(link) == staged(link) == since(cwd=link) == ["a.py:new"]


def test_a_link_that_became_a_file(repo, since, staged):
    """A file in the place of a link is new as a whole."""
    (repo / "b.py").symlink_to("app/a.py")
    commit(repo)
    git(repo, "branch", "-f", "main")
    (repo / "b.py").unlink()
    (repo / "b.py").write_text(OLD)
    git(repo, "add", ".")
    assert since() == staged() == ["b.py:old"]


def test_together_with_a_baseline(repo, unhush):
    """A changed line whose finding is known passes; of equal findings it is the changed one that is new."""
    path = repo / "app/a.py"
    assert unhush("baseline", "write", "-q").returncode == 0
    known = ("check", "--diff-from", "main", "--baseline", "unhush-baseline.txt", "--output-format", "json")
    path.write_text(OLD.replace("        pass", "        pass  # why"))
    assert unhush("check", "--diff-from", "main").returncode == 1
    assert names(unhush(*known)) == []
    path.write_text(OLD.replace(SILENT, SILENT.replace("commit", "send") + SILENT))
    [found] = json.loads(unhush(*known).stdout)
    assert found["location"]["row"] == 4
    assert b"1 known finding tolerated, 1 new, 0 gone" in unhush(*known).stderr


def test_stale_entries_of_a_diff_are_those_of_changed_files(repo, unhush):
    """With --diff-from a strict baseline speaks of the changed files alone."""
    (repo / "b.py").write_text(OLD)
    commit(repo)
    git(repo, "branch", "-f", "main")
    unhush("baseline", "write")
    (repo / "app/a.py").write_text("")
    result = unhush("check", "--diff-from", "main", "--baseline", "unhush-baseline.txt", "--strict-baseline")
    assert result.returncode == 1
    assert result.stderr.count(b"gone, but still known: UNH102 app/a.py") == 1
    assert b" b.py" not in result.stderr


@pytest.mark.parametrize("output_format", ["text", "concise", "json", "jsonl", "github", "sarif"])
def test_every_format(repo, unhush, output_format):
    """In each format the finding in changed lines is there, and the old one is not."""
    append(repo / "app/a.py", NEW)
    git(repo, "add", ".")
    for mode in (["--diff-from", "main"], ["--staged"]):
        result = unhush("check", *mode, "--output-format", output_format)
        assert result.returncode == 1
        sign = b'"ruleId"' if output_format == "sarif" else b"swallows the exception"
        assert result.stdout.count(sign) == 1


def test_errors_of_changed_files_count(repo, unhush):
    """A changed file that can't be parsed is an error, staged or not; one that did not change is not looked at."""
    (repo / "app/a.py").write_text(OLD.replace("commit()", "commit("))
    git(repo, "add", ".")
    for mode in (["--diff-from", "main"], ["--staged"]):
        result = unhush("check", *mode)
        assert result.returncode == 2
        assert result.stderr.startswith(b"error: app/a.py:")
    commit(repo)
    assert unhush("check", "--staged").returncode == 0


def one_line(result, said: str) -> None:
    """Asserts that a run was refused by one line, and found nothing out."""
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (2, b"", 1), result.stderr
    assert said in result.stderr.decode()


@pytest.mark.parametrize("ref", ["mian", "", "main..HEAD", "--all", "HEAD:app"])
def test_a_revision_that_does_not_exist(repo, unhush, ref):
    """What names no commit is one line and exit code 2, never a run in which nothing changed."""
    append(repo / "app/a.py", NEW)
    one_line(unhush("check", f"--diff-from={ref}"), f"{ref!r} is no revision that git knows here: check the spelling")


def test_no_repository_and_no_commits(unhush, write_tree):
    """Outside of a repository both are refused; before the first commit there is nothing to compare with."""
    folder = write_tree({"a.py": OLD})
    for mode in (["--diff-from", "main"], ["--staged"]):
        one_line(unhush("check", *mode), "not a git repository")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    for mode in (["--diff-from", "main"], ["--diff-from", "HEAD"], ["--staged"]):
        one_line(unhush("check", *mode), "the repository has no commits yet")
    git(folder, "commit", "-qm", "first")
    assert unhush("check", "--staged").returncode == 0


def test_a_bare_repository(unhush, tmp_path):
    """A repository without a working tree is one line."""
    git(tmp_path, "init", "-q", "--bare")
    one_line(unhush("check", "--staged"), "must be run in a work tree")


def test_a_shallow_clone(repo, unhush, tmp_path):
    """Where the history ends before the merge base the run is refused, with the way out; after that it goes through."""
    append(repo / "app/a.py", NEW)
    commit(repo)
    git(repo, "checkout", "-q", "main")
    (repo / "more.py").write_text("")
    commit(repo)
    git(tmp_path, "clone", "-q", "--depth=1", "--no-single-branch", repo.as_uri(), "clone")
    clone = tmp_path / "clone"
    git(clone, "checkout", "-q", "work")
    one_line(unhush("check", "--diff-from", "origin/main", cwd=clone), "the clone is shallow, and its history ends")
    one_line(unhush("check", "--diff-from", "origin/mian", cwd=clone), "(the clone is shallow)")
    git(clone, "fetch", "-q", "--unshallow")
    assert names(unhush("check", "--diff-from", "origin/main", "--output-format", "json", cwd=clone)) == ["a.py:new"]


def test_histories_without_a_common_commit(repo, unhush):
    """A revision of an unrelated history is refused."""
    git(repo, "checkout", "-q", "--orphan", "alone")
    append(repo / "app/a.py", NEW)
    commit(repo)
    one_line(unhush("check", "--diff-from", "main"), "have no commit in common")


def test_a_merge_that_is_not_settled(repo, unhush):
    """With conflicts in the index both are refused: what will be committed can't be told."""
    (repo / "app/a.py").write_text(OLD + "here = 1\n")
    commit(repo)
    git(repo, "checkout", "-q", "main")
    (repo / "app/a.py").write_text(OLD + "there = 1\n")
    commit(repo)
    assert subprocess.run(["git", *WHO, "merge", "-q", "work"], cwd=repo, capture_output=True, check=False).returncode
    for mode in (["--diff-from", "HEAD"], ["--staged"]):
        one_line(unhush("check", *mode), "a merge is not settled")


def test_without_git(repo, unhush, monkeypatch):
    """Where git is not installed that is said in one line."""
    monkeypatch.setenv("PATH", "")
    one_line(unhush("check", "--staged"), "git is not installed")

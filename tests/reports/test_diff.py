from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unhush.reports.diff import unified

OLD = b"def f():\n    try:\n        g()\n    except Exception:\n        pass\n    return 1\n"
NEW = OLD.replace(b"pass", b'log.warning("f", exc_info=True)')
LINES = st.lists(st.sampled_from([b"a\n", b"b\r\n", b"c\rd\n", b"\n", b"\xff\x0c\n", b"e\n"]), max_size=30)


def patched(old: bytes, diff: bytes, folder, name: str = "file.py") -> bytes:
    path = folder / name
    path.write_bytes(old)
    command = ["patch", "--quiet", "--binary", "-p1"] if shutil.which("patch") else ["git", "apply", "--unsafe-paths"]
    subprocess.run(command, input=diff, cwd=folder, check=True, capture_output=True)
    return path.read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which patches are applied."""
    if not shutil.which("patch") and not shutil.which("git"):
        pytest.skip("neither patch nor git is installed")
    return tmp_path_factory.mktemp("patch")


def test_diff_is_as_people_know_it(snapshot):
    """The diff has names, hunks with context, and the changed lines."""
    assert unified(OLD, NEW, "pkg/mod.py").decode() == snapshot


def test_equal_texts_have_no_diff():
    """Where nothing changed nothing is printed."""
    assert unified(OLD, OLD, "a.py") == b""
    assert unified(b"", b"", "a.py") == b""


@pytest.mark.parametrize("old", [OLD, OLD[:-1], OLD.replace(b"\n", b"\r\n"), OLD.replace(b"\n", b"\r"), b"", b"pass"])
def test_patch_makes_the_new_file_byte_for_byte(folder, old):
    """Newlines of any kind, a missing last one, and empty files survive the way through `patch`."""
    new = old.replace(b"pass", b"log()") + b"# more"
    assert patched(old, unified(old, new, "file.py"), folder) == new


@settings(max_examples=60, deadline=None)
@given(LINES, LINES, LINES)
def test_any_diff_can_be_applied(folder, one, two, three):
    """Whatever lines are inserted, dropped or replaced, the patch turns the old text into the new one."""
    old, new = b"x\n" + b"".join(one + two), b"x\n" + b"".join(two + three + one)
    if diff := unified(old, new, "file.py"):
        assert patched(old, diff, folder) == new
    else:
        assert old == new


def test_texts_that_never_agree_again(folder):
    """Texts with nothing in common make one diff that still applies."""
    old, new = b"".join(b"a%d\n" % n for n in range(500)), b"".join(b"b%d\n" % n for n in range(400))
    assert patched(old, unified(old, new, "file.py"), folder) == new


def test_many_edits_stay_small():
    """A file with thousands of like handlers yields a diff of just the inserted lines with their context."""
    old = b"".join(b"try:\n    f(%d)\nexcept E:\n    pass\n" % (n % 7) for n in range(5000))
    new = old.replace(b"    pass\n", b"    log()\n")
    diff = unified(old, new, "file.py")
    assert diff.count(b"\n+    log()\n") == 5000
    assert diff.count(b"\n-    pass\n") == 5000


def test_odd_names_are_quoted():
    """Names with spaces or control characters can't be misread."""
    assert b"--- a/my mod.py\t\n" in unified(OLD, NEW, "my mod.py")
    assert b'--- "a/a\\012b.py"\n' in unified(OLD, NEW, "a\nb.py")
    assert b"--- a/caf\xc3\xa9.py\n" in unified(OLD, NEW, "caf\u00e9.py")

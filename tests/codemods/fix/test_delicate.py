"""Where a log call could do harm: such fixes are unsafe, and the same code elsewhere is safe."""

import pytest

from unhush.codemods.engine import check_bytes
from unhush.codemods.settings import Settings

ALL = Settings(select=frozenset({"UNH102"}), min_severity="low")
BODY = "    try:\n        db.send(row)\n        db.commit()\n    except Exception:\n        pass\n"


def fix(source):
    return check_bytes(source.encode(), "app.py", ALL).findings[0].fix


@pytest.mark.parametrize(
    "source",
    [
        f"import os\ndef child(db, row, fd):\n    os.dup2(fd, 2)\n{BODY}    os.execv(row, [])\n",
        f"import os\ndef leave(db, row):\n{BODY}    os._exit(1)\n",
        f"import os\ndef after(db=1, row=2):\n{BODY}os.register_at_fork(after_in_child=after)\n",
        f"import subprocess\ndef prepare(db=1, row=2):\n{BODY}subprocess.Popen(['x'], preexec_fn=prepare)\n",
        "class File:\n    def rollback(self, db, row):\n"
        + BODY.replace("\n    ", "\n        ").replace("    try", "        try", 1)
        + "    __del__ = rollback\n",
    ],
    ids=["exec", "exit", "at-fork", "preexec", "alias-of-del"],
)
def test_delicate_places_are_unsafe(source):
    """A handler in a forked child, before an exec or an exit, or in a method that is __del__ too is no safe fix."""
    assert fix(source) == "unsafe"


def test_the_same_handler_elsewhere_is_safe():
    """The positive control: without fork, exec or __del__ the fix is safe."""
    assert fix(f"import os\ndef save(db, row):\n{BODY}    os.getpid()\n") == "safe"

"""What `unhush fix` loads: the rewriting side only once there is something to rewrite."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = (
    "import sys\nfrom unhush.__main__ import run\nsys.argv = ['unhush', 'fix', '--diff', 'a.py']\n"
    "run()\nprint('libcst' in sys.modules)\n"
)


@pytest.mark.parametrize(("handler", "loaded"), [("raise", b"False"), ("pass", b"True")])
def test_fix_loads_libcst_only_for_a_rewrite(write_tree, handler, loaded):
    """A run that finds nothing to rewrite does not import LibCST; one that does find something imports it."""
    text = "def f(db):\n    try:\n        db.write()\n        db.commit()\n    except Exception:\n        "
    folder = write_tree({"a.py": f"{text}{handler}\n"})
    result = subprocess.run([sys.executable, "-c", SCRIPT], cwd=folder, capture_output=True, check=True)
    assert result.stdout.splitlines()[-1] == loaded

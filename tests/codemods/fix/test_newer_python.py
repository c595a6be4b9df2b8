"""What the fixer makes of code that only newer versions of Python take, where one of them runs the tests."""

from __future__ import annotations

import sys

import pytest
from fixcases import everything

from unhush.codemods.fixer import fix_bytes
from unhush.codemods.fixreport import Changed

GENERIC = b"""\
import logging

logger = logging.getLogger(__name__)


def save[%s](db, row):
    try:
        db.write(row)
        db.commit()
    except Exception:
        pass
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters need Python 3.12")
@pytest.mark.parametrize(("parameter", "used"), [(b"logger", b"_logger"), (b"T", b"logger")])
def test_type_parameter_hides_a_logger(tmp_path, parameter, used):
    """A logger whose name is a type parameter of the function is not used there, any other is."""
    report = fix_bytes(GENERIC % parameter, str(tmp_path / "store.py"), everything())
    assert isinstance(report, Changed)
    assert b'        %s.warning("save.exception_ignored", exc_info=True)\n' % used in report.new

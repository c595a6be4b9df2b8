from __future__ import annotations

from unhush.codemods.model import FileReport
from unhush.reports import github


def render(*findings):
    return "".join(github.render([FileReport("/app/store.py", findings)], "/app"))


def test_severity_becomes_the_annotation_level(make_finding, snapshot):
    """High findings are errors, medium ones warnings, low ones notices."""
    assert render(*(make_finding(severity=level) for level in ("high", "medium", "low"))) == snapshot


def test_columns_only_on_one_line(make_finding):
    """Columns are given where the place is one line, since GitHub refuses them elsewhere."""
    assert ",col=5,endColumn=9," in render(make_finding(end_row=4, end_column=9))
    assert "col=" not in render(make_finding(end_row=5)).replace("endLine", "")


def test_what_would_end_a_command_is_escaped(make_finding):
    """Percent signs, newlines, colons and commas can't end a command or forge another."""
    line = render(make_finding(filename="/app/a,b:c.py", message="50%\n::error::forged"))
    assert "file=a%2Cb%3Ac.py," in line
    assert line.endswith("::50%25%0A::error::forged\n")
    assert line.count("\n") == 1

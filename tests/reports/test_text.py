from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unhush.codemods.model import FileReport
from unhush.codemods.source import DecodeFailure, Source
from unhush.reports import concise, text
from unhush.reports.excerpt import WIDTH, excerpt, shown, width

STORE = b"""class Store:
    def save(self):
        try:
            self.db.commit()
        except Exception:
            pass
"""


def render(findings, data=STORE, color=False, base="/app"):
    report = FileReport(findings[0].filename if findings else "/app/store.py", tuple(findings))
    return "".join(text.render([report], base, lambda name: Source(data, name), color))


@pytest.fixture
def in_store(make_finding):
    """A finding at the handler of STORE."""
    return lambda **fields: make_finding(row=5, column=9, end_row=6, end_column=17, **fields)


def test_text_shows_source_caret_place_and_reasons(in_store, snapshot):
    """A finding is shown with its place, its source, a caret under the header, its function and the reasons."""
    assert render([in_store()]) == snapshot


def test_text_says_how_each_finding_is_fixed(in_store, snapshot):
    """Safe fixes carry a mark, unsafe ones and those that are not offered say why."""
    findings = [
        in_store(fix="safe"),
        in_store(fix="unsafe", fix_reason="it would log inside __del__", severity="medium"),
        in_store(fix=None, fix_reason="numba compiles this function", severity="low", severity_reasons=()),
        in_store(fix=None, in_loop=True, qualname="<module>"),
    ]
    assert render(findings) == snapshot


def test_colours_only_when_asked(in_store):
    """Escape sequences stand in coloured text and in no other."""
    assert "\033[1;31mhigh\033[0m" in render([in_store()], color=True)
    assert "\033" not in render([in_store()])


def test_report_without_findings_yields_nothing():
    """A clean file leaves no trace in the text."""
    assert render([]) == ""


def test_reports_stream_one_chunk_each(in_store):
    """Each report's text comes before the next report is asked for."""
    asked = []

    def reports():
        for name in ("/app/a.py", "/app/b.py"):
            asked.append(name)
            yield FileReport(name, (in_store(filename=name),))

    chunks = text.render(reports(), "/app", lambda name: Source(STORE, name))
    assert next(chunks).startswith("a.py:5:9: UNH102")
    assert asked == ["/app/a.py"]


@pytest.mark.parametrize(
    "failure", [FileNotFoundError(2, "No such file or directory"), DecodeFailure("not valid utf-8", 3)]
)
def test_vanished_source_is_said(in_store, failure):
    """A file that changed since it was checked leaves its finding, and a line that says what went wrong."""

    def gone(name):
        raise failure

    shown_text = "".join(text.render([FileReport("/app/store.py", (in_store(),))], "/app", gone))
    assert shown_text.startswith("store.py:5:9: UNH102 high")
    assert "the source can't be shown: " in shown_text


def test_rows_beyond_the_end_are_left_out(in_store):
    """A file that shrank since it was checked is no error."""
    assert "store.py:5:9" in render([in_store()], data=b"x = 1\n")


def test_names_outside_the_base_stay_absolute(in_store):
    """Only files below the working directory are shown relative to it."""
    assert render([in_store(filename="/other/store.py")]).startswith("/other/store.py:5:9")
    assert render([in_store(filename="/app/sub/store.py")]).startswith("sub/store.py:5:9")


def test_tabs_and_wide_characters_keep_the_caret_in_place(make_finding, snapshot):
    """The caret stands below the blamed text in the cells of a terminal, whatever stands before it."""
    line = "\tif x: suppress(ValueError)  # tab\n" + "名 = '値'; suppress(E)\n"
    findings = [
        make_finding(row=1, column=8, end_row=1, end_column=28),
        make_finding(row=2, column=10, end_row=2, end_column=21),
    ]
    assert render(findings, data=line.encode()) == snapshot


def test_control_characters_are_not_passed_on(make_finding):
    """Source and file names can't rewrite the terminal that shows them."""
    finding = make_finding(filename="/app/a\033[2Jb.py", row=1, column=1, end_row=1, end_column=3)
    result = render([finding], data=b"x = '\x1b[31m\xe2\x80\xae'\n")
    assert "\033" not in result
    assert "\u202e" not in result
    assert "x = '?[31m?'" in result


def test_long_lines_are_cut(make_finding):
    """A line of a megabyte is shown as a window around the blamed text."""
    data = b"a = 1; " * 150_000 + b"suppress(Exception)\n"
    finding = make_finding(row=1, column=1_050_001, end_row=1, end_column=1_050_020)
    result = render([finding], data=data)
    assert len(result) < 1000
    source_line, carets = result.splitlines()[1:3]
    assert source_line[carets.index("^") :].startswith("suppress(Exception)"[: carets.count("^")])


def test_concise_is_one_line_a_finding(in_store, snapshot):
    """Concise output has one line for each finding."""
    reports = [FileReport("/app/store.py", (in_store(), in_store(severity="low", fix=None))), FileReport("/app/x.py")]
    assert "".join(concise.render(reports, "/app")) == snapshot


@given(st.text(max_size=200), st.data())
def test_excerpt_never_breaks(line, data):
    """Whatever a line holds, its excerpt is printable, and as wide as it may be."""
    line = line.replace("\n", " ").replace("\r", " ")
    column = data.draw(st.integers(1, len(line) + 1))
    end = data.draw(st.integers(column, len(line) + 2))
    for _, row in excerpt([line.encode("utf-8", "replace")], 1, column, 1, end):
        assert "\n" not in row
        assert "\x1b" not in row
        assert len(row) <= 4 * WIDTH


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=80))
def test_plain_text_is_shown_as_it_is(line):
    """Printable text is shown unchanged, one cell a character."""
    assert shown(line) == line
    assert width(line) == len(line)

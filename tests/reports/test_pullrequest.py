from __future__ import annotations

import re
from collections import Counter

import pytest

from unhush.codemods.model import FileError, FileReport
from unhush.reports.ci import Links, checkout, link_base
from unhush.reports.pullrequest import LIMIT, code, inline, render
from unhush.reports.standing import Standing

BASE = "https://git.example/acme/app/blob/abc"


def summary(*findings, errors=(), links=None, standing=None, limit=LIMIT):
    reports = [FileReport("/app/store.py", findings)]
    return "".join(render(reports, errors, "/app", links or Links(None, "/app"), lambda: standing, limit))


def test_worst_first_with_links(make_finding, snapshot):
    """Counts by rule and severity, then the findings, the high ones first, each with a link to its lines."""
    found = [
        make_finding(severity="low", row=1, end_row=1),
        make_finding(severity="high", filename="/app/a|b_c.py"),
        make_finding(severity="medium", code="UNH101", name="silent-bare-except", qualname="<module>"),
    ]
    assert summary(*found, links=Links(BASE, "/app")) == snapshot


def test_without_a_url_there_are_no_links(make_finding):
    """Places stand as code where no base URL is known."""
    assert "](http" not in summary(make_finding())
    assert "](http" in summary(make_finding(), links=Links(BASE, "/app"))


def test_baseline_stands_in_numbers(make_finding, snapshot):
    """With a baseline the headline counts new ones, and a table says what is gone, known and new."""
    standing = Standing(Counter(high=3), Counter(high=1), Counter(high=2), Counter(high=1))
    assert summary(make_finding(), standing=standing) == snapshot


def test_clean_run_and_errors():
    """Nothing found is one line; files that could not be checked are named."""
    assert summary() == "## unhush: no swallowed exceptions\n"
    said = summary(errors=[FileError("/app/bad.py", "syntax error: invalid")])
    assert "**1 file could not be checked:** the first is <code>/app/bad.py</code>, syntax error: invalid." in said


@pytest.mark.parametrize("count", [300, 5000])
def test_length_is_bounded(make_finding, count):
    """However many findings, the text fits GitHub's comment, and says how many are left out."""
    found = [make_finding(qualname=f"function{at}", severity=("high", "low")[at % 2]) for at in range(count)]
    text = summary(*found)
    assert len(text) <= LIMIT < 65_536
    assert len(text.encode()) < 1 << 20
    left = re.search(r"\n([\d,]+) more are not listed here", text)
    listed = text.count("swallows the exception |")
    assert listed + (int(left[1].replace(",", "")) if left else 0) == count
    assert bool(left) == (count == 5000)


def test_nothing_of_the_code_becomes_markdown():
    """Pipes, backticks, tags, links and mentions of the code are plain text in tables."""
    assert code("a|b`<x>@me_[l](u)\n") == "<code>a&#124;b&#96;&#60;x&#62;&#64;me&#95;&#91;l&#93;(u)?</code>"
    assert inline("`except A` <b>") == "<code>except A</code> &#60;b&#62;"
    assert inline("odd ` one") == "odd &#96; one"


def test_a_reader_of_markdown_sees_three_cells_in_each_row(make_finding):
    """Whatever names hold, a parser of GitHub's tables finds a row for each finding, and no markup but ours."""
    from markdown_it import MarkdownIt

    odd = "a|b`c`<img src=x>|\\|**d**\n| e [f](g)"
    text = summary(*(make_finding(qualname=odd, filename=f"/app/{odd}{at}.py", row=at) for at in range(1, 4)))
    page = MarkdownIt("commonmark").enable("table").render(text)
    rows = page.rpartition("<tbody>")[2].split("</tr>")[:-1]
    assert [row.count("<td>") for row in rows] == [3, 3, 3]
    assert not re.search("<img|<strong>d|href", page)


def test_base_url_is_told_by_the_pipeline():
    """GitHub Actions and GitLab CI say where the commit can be read; elsewhere there is nothing to link to."""
    github = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "a/b", "GITHUB_SHA": "abc"}
    gitlab = {"CI_PROJECT_URL": "https://gitlab.com/a/b", "CI_COMMIT_SHA": "abc"}
    assert link_base(github) == "https://github.com/a/b/blob/abc"
    assert link_base(gitlab) == "https://gitlab.com/a/b/-/blob/abc"
    assert link_base({"GITHUB_SHA": "abc"}) is None


def test_links_name_rows_as_the_host_does():
    """GitHub and GitLab write ranges of lines differently; files outside the checkout have no link."""
    assert Links("https://gitlab.com/a/b/-/blob/abc", "/app").to("/app/x.py", 3, 5).endswith("/x.py#L3-5")
    assert Links(BASE, "/app").to("/app/x.py", 3, 5) == f"{BASE}/x.py#L3-L5"
    assert Links(BASE, "/app").to("/app/x.py", 3, 3) == f"{BASE}/x.py#L3"
    assert Links(BASE, "/app").to("/other/x.py", 3, 3) is None


def test_checkout_is_the_folder_with_git(tmp_path):
    """Links are relative to the root of the checkout, wherever the command runs."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert checkout(str(tmp_path / "a" / "b")) == str(tmp_path)

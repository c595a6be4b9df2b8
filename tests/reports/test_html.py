from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from unhush.codemods.model import FileError
from unhush.codemods.source import Source
from unhush.reports.ci import Links
from unhush.reports.html import Page, render
from unhush.reports.standing import Standing

SOURCE = b"import os\n\n\ndef f():\n\ttry:\n\t\tg('</script><!--')\n\texcept Exception:\n\t\tpass\n"
EVIL = "/app/</script><img src=x onerror=alert(1)>.py"
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def page(**fields):
    values = {
        "base": "/app",
        "version": "1.2.3",
        "links": Links(None, "/app"),
        "read": lambda name: Source(SOURCE, name),
    }
    return Page(**{**values, "made_at": NOW, **fields})


def html(findings, known=(), errors=(), **fields):
    return "".join(render(findings, known, errors, page(**fields)))


def entries(document):
    """The findings that the page's script reads, found as a browser finds them."""
    scripts = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            scripts.append("") if tag == "script" else None
            self.inside = tag == "script"

        def handle_endtag(self, tag):
            self.inside = False

        def handle_data(self, data):
            if self.inside:
                scripts[-1] += data

    reader = Reader()
    reader.inside = False
    reader.feed(document)
    assert len(scripts) == 2
    return json.loads(scripts[0])["findings"]


def row(document, head):
    """The numbers of a table's row."""
    found = re.search(rf'<th scope="row">(?:<button[^>]*>)?{head}(?:</button>)?</th>(.*?)</tr>', document)
    return re.findall(r'class="number">([\d,]+)<', found[1])


def test_counts_by_severity_rule_and_package_stand_in_the_page(make_finding):
    """The tables hold the numbers without any script: by severity, rule and package, with sums."""
    found = [
        make_finding(filename="/app/src/shop/a.py"),
        make_finding(filename="/app/src/shop/b.py", severity="low"),
        make_finding(filename="/app/b.py", code="UNH101", name="silent-bare-except"),
    ]
    document = html(found)
    assert row(document, "high") == ["2"]
    assert row(document, "UNH102 silent-broad-except") == ["1", "0", "1", "2"]
    assert row(document, "shop") == ["1", "0", "1", "2"]
    assert row(document, "\\.") == ["1", "0", "0", "1"]
    assert row(document, "all") == ["3"]


def test_each_finding_has_its_source(make_finding):
    """A finding brings the rows around it, what is blamed in its first row apart, tabs widened."""
    (entry,) = entries(html([make_finding(row=7, column=2, end_row=8, end_column=7)]))
    source = entry["source"]
    assert (source["first"], source["from"], source["to"]) == (4, 7, 8)
    assert source["rows"] == [
        "def f():",
        "    try:",
        "        g('</script><!--')",
        ["    ", "except Exception:", ""],
        "        pass",
    ]


def test_shared_indentation_is_left_out(make_finding):
    """Deeply indented source begins at the left, with its own steps kept."""
    deep = b"\n\n\n            try:\n                g()\n            except Exception:\n                pass\n"
    found = make_finding(row=6, column=13, end_row=7, end_column=21)
    (entry,) = entries(html([found], read=lambda name: Source(deep, name)))
    assert entry["source"]["rows"] == ["", "try:", "    g()", ["", "except Exception:", ""], "    pass"]


def test_source_that_is_gone_has_its_reason(make_finding):
    """Where a file can't be read again the reason stands in place of the source, and the report is made."""

    def gone(name):
        raise FileNotFoundError(2, "No such file or directory")

    (entry,) = entries(html([make_finding()], read=gone))
    assert "No such file" in entry["problem"]
    assert "source" not in entry


def test_nothing_of_the_code_becomes_markup(make_finding):
    """Names, messages and source can't end the script, open a tag or leave ASCII; they arrive as they are."""
    found = make_finding(filename=EVIL, row=7, end_row=8, message="<b>\u2028", qualname="<script>")
    document = html([found], errors=[FileError(EVIL, "<i>bad</i>")])
    (entry,) = entries(document)
    assert document.isascii()
    assert (entry["file"], entry["qualname"]) == (EVIL.removeprefix("/app/"), "<script>")
    assert document.count("</script>") == 2
    assert not re.search("<img|<i>|<b>", document)


def test_no_network_and_no_script_but_its_own(make_finding):
    """The policy allows the page's own style and script by their hashes and nothing else, and no URL is loaded."""
    document = html([make_finding()])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', document)[1]
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/]+=*'; script-src 'sha256-[\w+/]+=*'; "
        "base-uri 'none'; form-action 'none'",
        policy,
    )
    assert not re.search(r"""(src|href)=["'](?!#)|url\(|@import|style=|onclick""", document)


def test_trend_against_the_baseline(make_finding):
    """With a baseline the page has its numbers, and says of each finding whether it is new or known."""
    standing = Standing(Counter(high=3), Counter(high=1), Counter(high=2), Counter(medium=1))
    new, old = make_finding(severity="medium"), make_finding(filename="/app/old.py")
    document = html([new], [old], standing=standing)
    assert row(document, "high")[:5] == ["3", "2", "1", "0", "1"]
    assert "2 now, 1 fewer than in the baseline: 2 gone, 1 new." in document
    assert [(entry["file"], entry["state"]) for entry in entries(document)] == [
        ("store.py", "new"),
        ("old.py", "known"),
    ]
    assert "Against the baseline" not in html([new])


def test_ages_are_days_or_words(make_finding):
    """With ages asked for, each finding has its day and group or the reason why not; else there is no such table."""
    found = [make_finding(row=at) for at in (1, 2, 3, 4)]
    ages = {
        ("/app/store.py", 1): "2026-11-28",
        ("/app/store.py", 2): "2019-01-01",
        ("/app/store.py", 3): "no git history",
    }
    document = html(found, ages=ages)
    got = [(entry["age"], entry["agegroup"]) for entry in entries(document)]
    assert got == [
        ("since 2026-11-28", "up to a week"),
        ("since 2019-01-01", "over a year"),
        ("no git history", "no git history"),
        ("unknown", "unknown"),
    ]
    assert "By age" in document
    assert "By age" not in html(found)


def test_links_lead_to_the_lines(make_finding):
    """With a base URL each finding links to its lines, names escaped."""
    links = Links("https://git.example/acme/app/blob/abc/", "/app")
    assert entries(html([make_finding(filename="/app/a b.py")], links=links))[0]["url"] == (
        "https://git.example/acme/app/blob/abc/a%20b.py#L4-L5"
    )
    assert "url" not in entries(html([make_finding()]))[0]


def test_empty_report_is_a_page():
    """Without findings the page says so, with all its parts."""
    document = html([])
    assert "0 findings, as of 2026-11-29 12:00 UTC" in document
    assert entries(document) == []


@pytest.mark.parametrize("name", ["report.html", "report_end.html", "report.css", "report.js"])
def test_parts_are_ascii(root, name):
    """The parts of the page are ASCII, so that the whole is, whatever the terminal's encoding."""
    assert (root / "reports" / "templates" / name).read_text(encoding="utf-8").isascii()

"""The HTML report in a real browser: headless Chromium, where one is installed."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from unhush.codemods.source import Source
from unhush.reports.ci import Links
from unhush.reports.html import Page, render
from unhush.reports.standing import Standing

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TESTER = find_spec("axe_playwright_python")
REASON = "Chromium is not installed" if CHROMIUM is None else "axe-playwright-python is not installed"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None or TESTER is None, reason=REASON),
]

EVIL = "/app/</script><img src=x onerror=document.title='forged'>.py"
SOURCE = b"def f():\n    try:\n        g('</script><script>document.title=\"forged\"</script>')\n    except Exception:\n        pass\n"
MANY = 5_000


@pytest.fixture(scope="module")
def browser():
    """One Chromium for all tests of the module."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        sandbox = [] if os.name != "posix" or os.getuid() else ["--no-sandbox"]  # Chromium refuses root its sandbox
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, tmp_path, make_finding):
    """Opens the report on some findings; `said` collects what the page asks for, logs or throws."""
    pages = []

    def show(findings, known=(), scheme="light", width=1280, **fields):
        values = {"base": "/app", "version": "1.2.3", "read": lambda name: Source(SOURCE, name)}
        values |= {
            "links": Links("https://git.example/app/blob/abc", "/app"),
            "made_at": datetime(2026, 11, 29, tzinfo=UTC),
        }
        report = tmp_path / "report.html"
        report.write_text("".join(render(findings, known, [], Page(**values, **fields))), encoding="ascii")
        tab = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
        tab.said = []
        tab.on("request", lambda request: tab.said.append(request.url) if request.url != report.as_uri() else None)
        tab.on("console", lambda message: tab.said.append(message.text))
        tab.on("pageerror", lambda error: tab.said.append(str(error)))
        tab.goto(report.as_uri())
        pages.append(tab)
        return tab

    yield show
    for tab in pages:
        tab.close()


@pytest.fixture
def many(make_finding):
    """5,000 findings: 50 files of 5 packages, three severities, two rules."""
    rules = [("UNH102", "silent-broad-except"), ("UNH201", "suppress-broad")]
    return [
        make_finding(
            filename=f"/app/shop/{'abcde'[at % 5]}/file{at % 50}.py",
            row=4,
            end_row=5,
            code=rules[at % 2][0],
            name=rules[at % 2][1],
            severity=("high", "medium", "low")[at % 3],
            qualname=f"function{at}",
        )
        for at in range(MANY)
    ]


def count_says(tab, text):
    """Waits until the line with the count says something."""
    from playwright.sync_api import expect

    expect(tab.locator("#count")).to_have_text(text)


def axe(tab):
    """What axe-core (Deque) finds wrong, in short."""
    source = (Path(next(iter(TESTER.submodule_search_locations))) / "axe.min.js").read_text(encoding="utf-8")
    tab.evaluate(source)
    found = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert len(found["passes"]) > 20
    return [(wrong["id"], wrong["nodes"][0]["html"]) for wrong in found["violations"]]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_wrong(opened, many, scheme, width):
    """5,000 findings with baseline and ages: no violation, light and dark, and nothing wider than a phone."""
    counts = Counter(finding.severity for finding in many)
    ages = {(finding.filename, finding.row): "2026-11-01" for finding in many}
    tab = opened(many[10:], many[:10], scheme, width, standing=Standing(counts, counts, counts, counts), ages=ages)
    count_says(tab, "5,000 findings")
    assert axe(tab) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.said == []


def test_axe_finds_what_is_wrong(opened, make_finding):
    """The same check sees a button without a name."""
    tab = opened([make_finding()])
    tab.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert [name for name, _ in axe(tab)] == ["button-name"]


def test_filters_go_together(opened, many):
    """Severity, rule, package and text narrow the list together, the count says how far, and all comes back."""
    tab = opened(many)
    assert tab.locator("article").count() == 25
    tab.select_option("#by-severity", "high")
    count_says(tab, "1,667 of 5,000 findings")
    tab.select_option("#by-rule", "UNH201")
    count_says(tab, "833 of 5,000 findings")
    tab.select_option("#by-package", "shop.a")
    count_says(tab, "167 of 5,000 findings")
    tab.fill("#text", "function15 FILE15")
    count_says(tab, "2 of 5,000 findings")
    assert set(tab.locator("article .level").all_inner_texts()) == {"high"}
    tab.fill("#text", "no such text")
    count_says(tab, "0 of 5,000 findings")
    tab.click("#reset")
    count_says(tab, "5,000 findings")
    assert tab.get_attribute("#count", "aria-live") == "polite"


def test_pages_and_order(opened, many):
    """The list is paged, the worst first; another order begins anew."""
    tab = opened(many)
    assert tab.locator("#page").inner_text() == "Page 1 of 200"
    assert tab.is_disabled("#before")
    tab.click("#after")
    assert tab.locator("#page").inner_text() == "Page 2 of 200"
    assert tab.evaluate("document.activeElement.id") == "findings"
    tab.select_option("#order", "file")
    assert tab.locator("#page").inner_text() == "Page 1 of 200"
    assert "file0.py" in tab.locator("article").first.inner_text()


def test_keyboard_reaches_all(opened, many):
    """By keyboard alone: skip link, search by `/`, a filter from the tables, the next page."""
    tab = opened(many)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "findings"
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.id") == "text"
    tab.keyboard.type("function7/")
    count_says(tab, "0 of 5,000 findings")
    assert tab.input_value("#text") == "function7/"
    tab.focus("#reset")
    tab.keyboard.press("Enter")
    tab.focus("button.pick[data-filter=rule]")
    tab.keyboard.press("Enter")
    count_says(tab, "2,500 of 5,000 findings")
    tab.focus("#after")
    tab.keyboard.press("Space")
    assert tab.locator("#page").inner_text() == "Page 2 of 100"


def test_theme_follows_the_system_and_the_switch(opened, make_finding):
    """The system's scheme holds until another is chosen, which is kept for the next page."""
    color = "getComputedStyle(document.body).backgroundColor"
    tab = opened([make_finding()], scheme="dark")
    dark = tab.evaluate(color)
    tab.select_option("#theme", "light")
    light = tab.evaluate(color)
    assert dark != light
    tab.reload()
    assert tab.evaluate(color) == light
    tab.select_option("#theme", "")
    assert tab.evaluate(color) == dark


def test_code_stays_text(opened, make_finding):
    """A file's name and source that hold markup are shown as text, run nothing and load nothing."""
    tab = opened([make_finding(filename=EVIL, row=4, end_row=5, message="<b>bold</b>")])
    text = tab.locator("article").inner_text()
    assert "onerror=document.title" in text
    assert "</script><script>" in text
    assert "<b>bold</b>" in text
    assert tab.locator("article img, article b, article script").count() == 0
    assert tab.title() == "Swallowed exceptions in app"
    assert tab.said == []


def test_policy_stops_what_is_not_the_page_own(opened, make_finding):
    """An image and a script that somebody slips into the page are stopped by its policy."""
    tab = opened([make_finding()])
    tab.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = 'document.title = "forged"';
            document.body.append(script);
            const image = new Image();
            image.src = 'https://git.example/x.png';
            document.body.append(image);
        }"""
    )
    assert tab.title() == "Swallowed exceptions in app"
    assert any("Content Security Policy" in said for said in tab.said)

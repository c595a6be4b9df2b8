from __future__ import annotations

from collections import Counter

import figures
import measure
import pytest
import tools
from corpus import fetch
from labelled import KINDS, LABELS, PARTS, Labelled, blamed, blamed_in, read_table

LOSES = """\
def store(client, rows):
    for row in rows:
        try:
            client.insert(row)
            client.commit()
        except Exception:
            pass
"""
TELLS = """\
import logging

logger = logging.getLogger(__name__)


def store(client, rows):
    try:
        client.insert(rows)
    except Exception:
        logger.exception("not stored")
"""


def row(path, line, label_a, label_b="", kind="silent", package="shop", part="held-out"):
    return Labelled(package, "1.0", path, line, kind, label_a, label_b, part)


@pytest.fixture
def corpus(write_tree):
    """Two files of a package: one loses every failure, the other logs it."""
    return write_tree({"shop-1.0/shop/loses.py": LOSES, "shop-1.0/shop/tells.py": TELLS})


@pytest.fixture
def handlers():
    """A clear case that unhush reports, and one that is no case and that it does not report."""
    return [row("shop/loses.py", 6, "clear", "clear"), row("shop/tells.py", 9, "none", "none", "acts")]


def test_sample_is_large_enough():
    """At least 300 handlers of at least 10 packages were labelled by two readers."""
    twice = [one for one in read_table() if one.part == "held-out"]
    assert len(twice) >= 300
    assert len({one.package for one in twice}) >= 10
    assert all(one.label_b for one in twice)


def test_table_is_well_formed():
    """Each place stands in the table once, and every cell holds a word that is allowed there."""
    table = read_table()
    assert Counter(Counter(one.place for one in table).values()) == {1: len(table)}
    assert {one.kind for one in table} == set(KINDS)
    assert {one.part for one in table} == set(PARTS)
    assert {one.label_a for one in table} == set(LABELS)
    assert {one.label_b for one in table} == {*LABELS, ""}
    assert all(one.line > 0 and one.path.endswith(".py") and ".." not in one.path for one in table)


def test_no_label_of_the_held_out_part_is_fitted():
    """Every package has one version, and only the fitted part has a single reader."""
    table = read_table()
    assert len({one.package for one in table}) == len({one.folder for one in table})
    assert {one.part for one in table if not one.label_b} == {"fitted"}


def test_lines_that_tools_report_lead_to_the_handler():
    """The header's lines, and the try of an only handler, stand for the `except`; other lines do not."""
    source = b"try:\n    f()\nexcept (\n    A,\n    B,\n):\n    pass\ntry: f()\nexcept A: pass\nexcept B:\n    pass\n"
    assert blamed(source) == {1: 3, 3: 3, 4: 3, 5: 3, 6: 3, 9: 9, 10: 10}


def test_places_resolve(corpus, handlers):
    """A line that holds the handler is accepted; another line and a missing file end the run with one line."""
    assert set(blamed_in(corpus, handlers)) == {"shop-1.0/shop/loses.py", "shop-1.0/shop/tells.py"}
    with pytest.raises(SystemExit, match=r"loses\.py:5: no silent handler"):
        blamed_in(corpus, [row("shop/loses.py", 5, "none")])
    with pytest.raises(SystemExit, match=r"gone\.py: can't be read"):
        blamed_in(corpus, [row("shop/gone.py", 1, "none")])


def test_unhush_is_measured_in_process(corpus, handlers):
    """The handler that loses data is reported as high, the one that logs is not reported."""
    reported = tools.run_unhush(corpus, list(blamed_in(corpus, handlers)))
    assert reported == {("shop-1.0/shop/loses.py", 6): ("UNH102", "high")}


def test_figures_count_what_they_say():
    """False alarms are of the reported, recall is of the clear, and a split label is neither."""
    agreed = [("clear", "clear"), ("clear", "clear"), ("clear", "none"), ("none", "none"), ("none", "none")]
    labels = [*agreed, ("arguable", "")]
    handlers = [row(f"{at}.py", 1, *pair) for at, pair in enumerate(labels)]
    reported = {
        handlers[0].place: ("UNH102", "high"),
        handlers[2].place: ("UNH102", "medium"),
        handlers[3].place: ("UNH101", "high"),
        handlers[5].place: ("UNH102", "medium"),
        ("elsewhere.py", 1): ("UNH102", "high"),
    }
    found = figures.figures(handlers, reported)
    assert found.false_alarms == figures.Share(1, 4)
    assert found.recall == figures.Share(1, 2)
    assert found.clear_high == figures.Share(1, 2)
    assert found.rest_high == figures.Share(1, 4)
    assert found.rest_reported_high == figures.Share(1, 3)
    assert figures.counts(handlers, reported)["UNH102", "medium", "split"] == 1


def test_figures_of_a_silent_tool():
    """A tool that reports nothing has no false alarms, and no recall."""
    found = figures.figures([row("a.py", 1, "clear", "clear"), row("b.py", 1, "none", "none")], {})
    assert (found.false_alarms, found.recall) == (figures.Share(0, 0), figures.Share(0, 1))


def test_packages_count_alike():
    """The mean over packages gives a package with one handler the weight of one with three."""
    large = [row(f"{at}.py", 1, "none", package="large") for at in range(3)]
    handlers = [*large, row("a.py", 1, "clear", package="small")]
    reported = {one.place: ("UNH102", "high") for one in handlers}
    assert figures.figures(handlers, reported).false_alarms == figures.Share(3, 4)
    assert figures.package_means(handlers, reported) == (0.5, 1.0, 2)


def test_agreement_of_readers():
    """Readers who always agree have kappa 1, readers who agree by chance alone 0; single readers do not count."""
    alike = [row("a.py", at, label, label) for at, label in enumerate(("clear", "none"), 1)]
    assert figures.agreement(alike) == (figures.Share(2, 2), 1.0)
    pairs = [("clear", "clear"), ("clear", "none"), ("none", "clear"), ("none", "none")]
    chance = [row("a.py", at, *pair) for at, pair in enumerate(pairs, 1)]
    assert figures.agreement([*chance, row("b.py", 1, "clear")]) == (figures.Share(2, 4), 0.0)


def test_interval_holds_the_share():
    """The interval lies around the share, and narrows with the number of handlers."""
    small, large = figures.Share(9, 10).interval(), figures.Share(900, 1000).interval()
    assert small[0] < large[0] < 0.9 < large[1] < small[1] < 1


def test_what_is_there_is_not_fetched_again(corpus, handlers):
    """A corpus that holds every package is used as it is."""
    assert fetch(handlers, corpus) == corpus


def test_report_names_every_part(corpus, handlers):
    """The report on a part holds its size, the readers' agreement, a row for each tool and the counts by rule."""
    reported = tools.run_unhush(corpus, list(blamed_in(corpus, handlers)))
    text = "\n".join(measure.describe("held-out", handlers, {"unhush": reported, "other": {}}))
    assert "== held-out: 2 handlers of 1 packages: 1 clear, 0 arguable, 1 none, 0 split" in text
    assert "readers agree: 100.0% (2/2), kappa 1.00" in text
    assert "0.0% (0/1)" in text
    assert "100.0% (1/1)" in text
    assert "UNH102 high    clear         1" in text


def test_wrong_use_is_told():
    """More than one argument, or an option, prints what the command is for."""
    with pytest.raises(SystemExit, match="CORPUS"):
        measure.main(["one", "two"])

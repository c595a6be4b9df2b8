from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml


class Loader(yaml.SafeLoader):
    """Reads the site's settings without what they ask Python for."""


Loader.add_multi_constructor("!!python/", lambda loader, suffix, node: None)
Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


@pytest.fixture
def site(root: Path) -> dict[str, Any]:
    """The site's settings."""
    settings: dict[str, Any] = yaml.load((root / "docs/site/mkdocs.yml").read_text(encoding="utf-8"), Loader=Loader)
    return settings


@pytest.fixture
def hooks(root: Path) -> ModuleType:
    """The module of the site's hooks."""
    spec = importlib.util.spec_from_file_location("site_hooks", root / "docs/site/hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages(nav: Any) -> list[str]:
    """The pages of a navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages(part)]


def test_every_page_is_in_the_navigation(root: Path, site: dict[str, Any]) -> None:
    """Each page stands in the navigation once, under one of the parts that the start page names."""
    found = pages(site["nav"])
    assert sorted(found) == sorted(path.name for path in (root / "docs").glob("*.md"))
    start = (root / "docs/index.md").read_text(encoding="utf-8")
    parts = [next(iter(part)) for part in site["nav"]]
    assert len(parts) == 6
    assert [part for part in parts[1:] if f"| {part} |" not in start] == []


def test_the_sites_build_is_strict_about_links(site: dict[str, Any]) -> None:
    """Pages that are left out and links and anchors that lead nowhere are warnings, which end a strict build."""
    assert set(site["validation"]["links"].values()) == {"warn"}
    assert site["validation"]["nav"]["omitted_files"] == "warn"
    assert site["theme"]["font"] is False


def test_tables_show_pipes(hooks: ModuleType) -> None:
    """A pipe that is escaped in a table's code is shown as it is; elsewhere nothing changes."""
    assert hooks.on_page_markdown("| `a\\|b` | c \\| d |") == "| `a|b` | c \\| d |"
    assert hooks.on_page_markdown("`a\\|b`") == "`a\\|b`"


def test_links_out_of_the_pages_become_names(hooks: ModuleType) -> None:
    """What lies elsewhere in the repository is named; a link to what is not there stays, for the check to see."""
    assert hooks.on_page_markdown("see [it](../README.md)") == "see it (`README.md`)"
    assert hooks.on_page_markdown("[`examples`](../examples)") == "`examples`"
    assert hooks.on_page_markdown("[it](../nowhere.md)") == "[it](../nowhere.md)"
    assert hooks.on_page_markdown("[it](rules.md)") == "[it](rules.md)"


def test_what_a_page_loads_from_elsewhere_is_seen(hooks: ModuleType) -> None:
    """Scripts, styles and pictures of other hosts are told, links that a reader may follow are not."""
    assert hooks.fetched('<script async src="//a.example/x.js"></script><img src=https://b.example/y.png>') == [
        "//a.example/x.js",
        "https://b.example/y.png",
    ]
    assert hooks.fetched('<a href="https://a.example">a</a><script src="assets/x.js"></script>') == []

"""What the site reads otherwise than the places where the pages are read as they lie in the repository."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

_LOG = logging.getLogger("mkdocs.hooks.unhush")
_DOCS = Path(__file__).parent.parent
_CODE = re.compile(r"`[^`\n]+`")
_OUTSIDE = re.compile(r"\[([^\]\n]+)\]\(\.\./([^)#\n]+)\)")
_FETCHED = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)""")


def on_page_markdown(markdown: str, **_: Any) -> str:
    r"""In a table's code a pipe is written `\|`, of which Python-Markdown would show the backslash.

    And what lies outside of the pages is no link, but named.
    """
    lines = (_unescaped(line) if line.startswith("|") else line for line in markdown.split("\n"))
    return _OUTSIDE.sub(_named, "\n".join(lines))


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Warns, which ends a strict build, of what a reader's browser would fetch from elsewhere."""
    for url in fetched(output):
        _LOG.warning("%s would fetch %s", page.file.src_uri, url)
    return output


def fetched(html: str) -> list[str]:
    """The URLs of other hosts that a page loads by itself."""
    return _FETCHED.findall(html)


def _unescaped(line: str) -> str:
    return _CODE.sub(lambda code: code[0].replace("\\|", "|"), line)


def _named(link: re.Match[str]) -> str:
    text, target = link.groups()
    if not (_DOCS.parent / target).exists():
        return link[0]  # left to the check of links
    return text if text.strip("`") in target else f"{text} (`{target}`)"

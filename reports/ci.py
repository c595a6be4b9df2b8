"""Links to lines of a repository, as its host shows them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote

from .paths import relative, uri


def link_base(environment: Mapping[str, str]) -> str | None:
    """The URL below which a pipeline's commit can be read, as GitHub Actions and GitLab CI tell it; None elsewhere."""
    try:
        server, repository, commit = (environment[f"GITHUB_{name}"] for name in ("SERVER_URL", "REPOSITORY", "SHA"))
    except KeyError:
        pass
    else:
        return f"{server}/{repository}/blob/{commit}"
    if "CI_PROJECT_URL" in environment and "CI_COMMIT_SHA" in environment:
        return f"{environment['CI_PROJECT_URL']}/-/blob/{environment['CI_COMMIT_SHA']}"
    return None


def checkout(folder: str) -> str:
    """The root of the checkout that a folder lies in: the nearest folder that holds `.git`, or else the folder itself."""
    above = folder
    while not os.path.lexists(os.path.join(above, ".git")):
        parent = os.path.dirname(above)
        if parent == above:
            return folder
        above = parent
    return above


class Links:
    """Makes links to lines of files below `root`, the checkout; without a `base` URL there are none."""

    def __init__(self, base: str | None, root: str) -> None:
        self._base, self._root = quote(base.rstrip("/"), safe=":/?[]@!$&*+,;=~%") if base else None, root

    def to(self, filename: str, row: int, end_row: int) -> str | None:
        """The URL of some rows of a file; None where there is none."""
        name = relative(filename, self._root)
        if self._base is None or name == filename:
            return None
        end = f"-{end_row}" if "/-/blob/" in self._base else f"-L{end_row}"
        return f"{self._base}/{uri(name)}#L{row}{end if end_row > row else ''}"

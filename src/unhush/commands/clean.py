"""`unhush clean`: removes the cache."""

from __future__ import annotations

import os

import click

from ..caching import folder_for
from ..codemods.cache import clear
from ..config import common_folder, project_root
from ..configfile import find_layers
from ..options import cache_dir_option, paths_argument, quiet_option, version_option
from ..output import Failure, Output


@click.command("clean")
@paths_argument
@cache_dir_option
@quiet_option
@version_option
def command(paths: tuple[str, ...], cache_dir: str | None, quiet: bool) -> None:
    """Removes the cache of the project that holds PATHS (default: the working directory).

    Only files that unhush wrote are removed, and the folder once it is empty. Exits with 0 also where there is none.
    """
    output = Output(quiet)
    folder = folder_for(_root(paths), cache_dir)
    try:
        is_there = clear(folder)
    except OSError as error:
        raise Failure(f"{os.path.relpath(folder)}: can't be removed: {error.strerror}") from error
    output.remark(f"{os.path.relpath(folder)} removed." if is_there else f"No cache in {os.path.relpath(folder)}.")


def _root(paths: tuple[str, ...]) -> str:
    folder = common_folder(paths)
    layers = find_layers(folder)
    return layers[0].folder if layers else project_root(folder)

"""Fetches the labelled packages: their wheels by pip, of which only the Python files are unpacked."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from labelled import Labelled


def cache_folder() -> Path:
    """Where the packages are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unhush-accuracy"


def fetch(handlers: Iterable[Labelled], corpus: Path) -> Path:
    """Downloads each package that `corpus` lacks into a folder of its own, and returns `corpus`. Raises SystemExit."""
    corpus.mkdir(parents=True, exist_ok=True)
    wanted = {handler.folder: f"{handler.package}=={handler.version}" for handler in handlers}
    missing = {folder: name for folder, name in sorted(wanted.items()) if not (corpus / folder).is_dir()}
    for at, (folder, requirement) in enumerate(missing.items(), 1):
        print(f"{at}/{len(missing)} {requirement}", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=corpus) as scratch:
            wheel = _download(requirement, Path(scratch))
            unpacked = Path(scratch) / folder
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(unpacked, [name for name in archive.namelist() if name.endswith(".py")])
            unpacked.rename(corpus / folder)
    return corpus


def _download(requirement: str, folder: Path) -> Path:
    options = ["-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise SystemExit(f"{requirement}: can't be downloaded ({reason}); what was fetched before is kept")
    return next(folder.glob("*.whl"))

"""The one place that writes files of the roll-out, and the canonical bytes of what is hashed and signed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import RolloutProblem

SHA256 = re.compile(r"[0-9a-f]{64}\Z")
MODE = 0o644  # made to be committed and read by others
EXECUTABLE = 0o755


def canonical(data: Any) -> bytes:
    """JSON in one form: sorted keys, no spaces, no NaN, one newline. Raises ValueError for what JSON can't say."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def sha256_bytes(data: bytes) -> str:
    """The SHA-256 in hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hex digits. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def within(root: Path, name: str) -> Path:
    """The file of that name (posix, relative) below the root.

    Raises RolloutProblem where the name leads elsewhere, by `..`, from `/`, or by a symbolic link on the way: what is
    hashed must be what the project holds.
    """
    parts = PurePosixPath(name).parts
    if not parts or name != "/".join(parts) or ".." in parts or parts[0] == "/" or "\\" in name or "\0" in name:
        raise RolloutProblem(f"{name!r} is no plain path below the project's folder")
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise RolloutProblem(
                f"{name}: {path.relative_to(root).as_posix()} is a symbolic link; put the file itself there"
            )
    return path


def relative(root: Path, path: Path) -> str:
    """A file's name as seen from the root, with slashes. Raises RolloutProblem where it lies elsewhere."""
    try:
        return Path(os.path.abspath(path)).relative_to(root).as_posix()
    except ValueError:
        raise RolloutProblem(f"{path} does not lie in the project's folder") from None


def write_bytes(path: Path, data: bytes, mode: int = MODE) -> None:
    """Puts a file in its place as a whole, on the disk; its folder is made. Raises RolloutProblem."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RolloutProblem(f"{path}: is no regular file, left as it is")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".unhush", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.chmod(draft, mode)
                os.fsync(file.fileno())
            os.replace(draft, path)
        finally:
            if os.path.exists(draft):
                os.unlink(draft)
        _sync_folder(path.parent)
    except OSError as error:
        raise RolloutProblem(f"{path}: can't be written: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str, mode: int = MODE) -> None:
    """Puts a text file in its place, in UTF-8. Raises RolloutProblem."""
    write_bytes(path, text.encode(), mode)


def write_json(path: Path, data: Any) -> None:
    """Puts a JSON file in its place, for people to read. Raises RolloutProblem."""
    write_text(path, pretty(data))


def pretty(data: Any) -> str:
    """JSON for people: sorted keys, two spaces. Raises ValueError for what JSON can't say."""
    return json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """What a JSON file says. Raises RolloutProblem for one that is not there, broken, or says a key twice."""
    try:
        return parse_json(path.read_bytes())
    except OSError as error:
        raise RolloutProblem(f"{path}: can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RolloutProblem(f"{path}: not valid JSON: {error}") from error


def parse_json(data: bytes) -> Any:
    """What JSON says, read strictly: no key twice, no NaN, nothing that could not be written again. Raises ValueError."""
    found = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    canonical(found)  # a number beyond a float's, half a surrogate pair
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # two readers could each believe another one
        raise ValueError("an object says a key twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def hashes(root: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each of these files below the root. Raises RolloutProblem for one that can't be read."""
    found = {}
    for name in sorted(set(names)):
        try:
            found[name] = sha256_file(within(root, name))
        except OSError as error:
            raise RolloutProblem(f"{name}: can't be read: {error.strerror}") from error
    return found

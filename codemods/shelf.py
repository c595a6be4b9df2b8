"""One file of the cache: what was found in files under the same settings, by the same tool.

Such a file may come with a repository, from anybody: it holds no code, and what is not just as it was written counts
for nothing.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from .model import SEVERITY_RANK, Finding

STATE, RECORD = 32, 48  # bytes: a file's state, and the state with its content's digest
UNSETTLED = bytes(STATE)  # in place of a state that does not tell whether the content is the same
MAGIC = b"unhush cache 1\n"
PREFIX, SUFFIX, SPARE = "unhush-", ".cache", ".tmp"
_SECTIONS = 5
_NOTHING = type(None)
_ROW: tuple[tuple[type, ...], ...] = (
    (str,), (str,), (str,), (int,), (int,), (int,), (int,), (str,), (str, _NOTHING), (list,), (str,), (list,), (str,),
    (bool,), (str, _NOTHING), (str, _NOTHING),
)  # fmt: skip
_pack = struct.Struct("<qqQQ").pack


def state_of(status: os.stat_result) -> bytes:
    """What tells cheaply that a file is unchanged: times of its content and of its entry, size, number."""
    return _pack(status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino & 0xFFFFFFFFFFFFFFFF)


def last_change(state: bytes) -> int:
    """The later of a state's two times, in ns."""
    changed, entry_changed = struct.unpack_from("<qq", state)
    return max(int(changed), int(entry_changed))


@dataclass
class Content:
    """Records by file name, and the findings of those files that have any, as JSON."""

    records: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def shelf_file(folder: str, key: str) -> str:
    """The name of the file for a key. Keys that share it drive each other out, no more: the file holds the key too."""
    return os.path.join(folder, f"{PREFIX}{zlib.crc32(key.encode()):08x}{SUFFIX}")


def load(path: str, key: str) -> Content:
    """What a file of the cache holds; nothing where there is none, it is broken, or it is for another key."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return Content()
    start = len(MAGIC) + 4
    if not data.startswith(MAGIC) or zlib.crc32(data[start:]) != int.from_bytes(data[len(MAGIC) : start], "little"):
        return Content()
    parts = list(_sections(data, start))
    if len(parts) != _SECTIONS or parts[0] != key.encode():
        return Content()
    return _content(*parts[1:])


def _sections(data: bytes, at: int) -> Iterator[bytes]:
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        yield data[at + 8 : at + 8 + size]
        at += 8 + size


def _content(names: bytes, blob: bytes, dirty: bytes, texts: bytes) -> Content:
    try:
        keys, marked, rows = _words(names), _words(dirty), texts.decode("ascii").split("\n") if texts else []
    except UnicodeDecodeError:
        return Content()
    if len(keys) * RECORD != len(blob) or len(marked) != len(rows):
        return Content()
    records = [blob[at : at + RECORD] for at in range(0, len(blob), RECORD)]
    return Content(dict(zip(keys, records, strict=True)), dict(zip(marked, rows, strict=True)))


def _words(data: bytes) -> list[str]:
    return data.decode("utf-8", "surrogatepass").split("\0") if data else []


def save(path: str, key: str, content: Content) -> None:
    """Puts a new file in the old one's place at once, so that who reads meanwhile sees one of them. Raises OSError."""
    parts = (
        key.encode(),
        "\0".join(content.records).encode("utf-8", "surrogatepass"),
        b"".join(content.records.values()),
        "\0".join(content.texts).encode("utf-8", "surrogatepass"),
        "\n".join(content.texts.values()).encode("ascii"),
    )
    body = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    handle, spare = tempfile.mkstemp(prefix=PREFIX, suffix=SPARE, dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + zlib.crc32(body).to_bytes(4, "little") + body)
        os.replace(spare, path)  # no fsync: a file that a crash cuts short is told by its checksum
    finally:
        if os.path.exists(spare):
            os.unlink(spare)


def dump(findings: tuple[Finding, ...]) -> str:
    """Findings as one line of ASCII, without the file's name."""
    import json

    return json.dumps([[getattr(finding, name) for name in _FIELDS] for finding in findings], separators=(",", ":"))


def parse(text: str, filename: str) -> tuple[Finding, ...] | None:
    """The findings of such a line; None where it holds anything else."""
    import json

    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        return None
    return tuple(_finding(row, filename) for row in rows)


_FIELDS = tuple(name for name in Finding.__dataclass_fields__ if name != "filename")


def _is_row(row: object) -> bool:
    """Whether a value is a finding's: of the right types, of a known rule, and fit to be shown on a terminal."""
    from .rules import all_rules

    if not isinstance(row, list) or len(row) != len(_ROW):
        return False
    if any(type(value) not in types for value, types in zip(row, _ROW, strict=True)):
        return False
    words = [*row[9], *row[11]]
    texts = [value for value in (*row, *words) if isinstance(value, str)]
    if any(type(word) is not str for word in words) or not all(map(str.isprintable, texts)):
        return False
    return (
        row[0] in all_rules() and row[10] in SEVERITY_RANK and row[14] in (None, "safe", "unsafe") and min(row[3:7]) > 0
    )


def _finding(row: list[object], filename: str) -> Finding:
    values = dict(zip(_FIELDS, row, strict=True))
    values["caught"], values["severity_reasons"] = tuple(row[9]), tuple(row[11])  # type: ignore[arg-type]
    return Finding(filename=filename, **values)  # type: ignore[arg-type]

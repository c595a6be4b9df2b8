"""Writing: a file is at any moment the old one or the new one, and keeps its mode, owner and links."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from unhush.codemods import atomic
from unhush.codemods.atomic import WriteFailure, write_atomic

OLD, NEW = b"old\n", b"new and longer\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that holds the old text."""
    path = tmp_path / "store.py"
    path.write_bytes(OLD)
    return path


def only(path: Path) -> bool:
    """Whether the file's folder holds nothing else, so that no temporary file was left."""
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_writes_and_leaves_nothing_behind(path):
    """The new text is written, and no temporary file stays."""
    write_atomic(str(path), NEW, OLD)
    assert path.read_bytes() == NEW
    assert only(path)


@pytest.mark.parametrize("mode", [0o644, 0o755, 0o600, 0o664])
def test_keeps_the_mode(path, mode):
    """A file's permissions stay as they were."""
    path.chmod(mode)
    write_atomic(str(path), NEW, OLD)
    assert path.stat().st_mode & 0o7777 == mode


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="giving files away needs root")
def test_keeps_the_owner(path):
    """A file's owner and group stay as they were."""
    os.chown(path, 12345, 23456)
    write_atomic(str(path), NEW, OLD)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)
    assert path.read_bytes() == NEW


def test_writes_through_a_symbolic_link(path, tmp_path):
    """A symbolic link stays a link, and the file that it points to is written."""
    folder = tmp_path / "links"
    folder.mkdir()
    link = folder / "link.py"
    link.symlink_to(path)
    write_atomic(str(link), NEW, OLD)
    assert link.is_symlink()
    assert path.read_bytes() == NEW


def test_keeps_hard_links(path, tmp_path):
    """All names of a file with several hard links show the new text."""
    other = tmp_path / "other.py"
    os.link(path, other)
    write_atomic(str(path), NEW, OLD)
    assert other.read_bytes() == NEW
    assert path.stat().st_ino == other.stat().st_ino
    write_atomic(str(path), OLD, NEW)
    assert other.read_bytes() == OLD
    assert len(list(tmp_path.iterdir())) == 2


def test_refuses_a_file_that_changed(path):
    """A file that no longer holds what was read is left as it is."""
    path.write_bytes(OLD + b"more\n")
    with pytest.raises(WriteFailure, match="changed since it was read"):
        write_atomic(str(path), NEW, OLD)
    assert path.read_bytes() == OLD + b"more\n"
    assert only(path)


def test_refuses_a_file_that_changes_at_the_last_moment(path, monkeypatch):
    """The file is looked at once more when the new text lies ready beside it."""
    laid_down = atomic._spare

    def slow(*args):
        path.write_bytes(b"changed\n")
        return laid_down(*args)

    monkeypatch.setattr(atomic, "_spare", slow)
    with pytest.raises(WriteFailure, match="changed since it was read"):
        write_atomic(str(path), NEW, OLD)
    assert path.read_bytes() == b"changed\n"
    assert only(path)


def test_refuses_what_is_gone_or_no_file(path, tmp_path):
    """A file that is gone, or a folder in its place, gives one clear line."""
    with pytest.raises(WriteFailure, match="no regular file"):
        write_atomic(str(tmp_path), NEW, OLD)
    path.unlink()
    with pytest.raises(WriteFailure, match="No such file"):
        write_atomic(str(path), NEW, OLD)


@pytest.mark.parametrize("links", [1, 2])
def test_full_disk(path, tmp_path, monkeypatch, links):
    """On a full disk the file stays as it was, nothing is left beside it, and the reason is named."""
    if links == 2:
        os.link(path, tmp_path / "other.py")

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteFailure, match="No space left"):
        write_atomic(str(path), NEW, OLD)
    assert path.read_bytes() == OLD
    assert len(list(tmp_path.iterdir())) == links


def test_a_linked_file_is_put_back_when_writing_fails(path, tmp_path, monkeypatch):
    """Where a file is overwritten in place and that fails, the old text is put back."""
    os.link(path, tmp_path / "other.py")
    written = []
    true_write = os.write

    def failing(handle, data):
        written.append(bytes(data))
        if len(written) == 1:
            true_write(handle, data[:3])
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return true_write(handle, data)

    monkeypatch.setattr(os, "write", failing)
    with pytest.raises(WriteFailure, match="left as it was"):
        write_atomic(str(path), NEW, OLD)
    assert path.read_bytes() == OLD


def test_a_real_full_disk(tmp_path):
    """On a file system without room the file stays as it was, and the next one is still written."""
    mount = tmp_path / "small"
    mount.mkdir()
    if os.name != "posix" or os.system(f"mount -t tmpfs -o size=64k tmpfs {mount} 2>/dev/null") != 0:
        pytest.skip("no small file system can be mounted here")
    try:
        path = mount / "store.py"
        path.write_bytes(OLD)
        with pytest.raises(WriteFailure, match="No space left"):
            write_atomic(str(path), b"x" * 100_000, OLD)
        assert path.read_bytes() == OLD
        assert only(path)
        write_atomic(str(path), NEW, OLD)
        assert path.read_bytes() == NEW
    finally:
        os.system(f"umount {mount}")


def test_read_only_files_are_left(path, monkeypatch):
    """A file without write permission is refused, though its folder would allow a replacement."""
    monkeypatch.setattr(os, "access", lambda name, mode: mode != os.W_OK)
    with pytest.raises(WriteFailure, match="read-only"):
        write_atomic(str(path), NEW, OLD)
    assert path.read_bytes() == OLD

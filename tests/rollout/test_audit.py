from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from unhush.rollout import audit, store


@pytest.fixture
def log(tmp_path):
    """A folder whose log has five entries."""
    for number in range(5):
        audit.append(tmp_path, "advanced", "ann", stage=number)
    return tmp_path


def lines(root):
    return (root / audit.FILE).read_bytes().splitlines(keepends=True)


def rewrite(root, new):
    (root / audit.FILE).write_bytes(b"".join(new))


def test_a_log_that_nobody_touched_holds(log):
    """The chain of entries holds, and each head that was signed is in it."""
    assert audit.check(log, audit.heads(log)) == []
    assert [entry["n"] for entry in audit.entries(log)] == [1, 2, 3, 4, 5]
    assert audit.head(log) == audit.heads(log)[-1]


def test_a_log_that_is_not_there_has_nothing_wrong_but_lacks_what_was_signed(tmp_path):
    """Without a log nothing is wrong, unless somebody signed a head of it."""
    assert audit.check(tmp_path) == []
    assert audit.head(tmp_path) == audit.START
    assert "cut or built anew" in audit.check(tmp_path, ["f" * 64])[0]


@pytest.mark.parametrize("number", range(5))
def test_an_edited_entry_is_seen(log, number):
    """One byte of any line, changed, is seen."""
    new = lines(log)
    new[number] = new[number].replace(b'"ann"', b'"eve"')
    rewrite(log, new)
    assert any("edited" in line or "does not follow" in line for line in audit.check(log))


@pytest.mark.parametrize("number", range(4))
def test_a_removed_entry_is_seen(log, number):
    """A line that is missing before the end is seen."""
    new = lines(log)
    del new[number]
    rewrite(log, new)
    assert "does not follow" in audit.check(log)[0]


def test_a_line_end_of_another_kind_is_seen(log):
    """Even what most readers skip is seen."""
    rewrite(log, [line.replace(b"\n", b"\r\n") for line in lines(log)])
    assert len(audit.check(log)) == 5


def test_a_cut_tail_is_seen_by_the_signed_head_alone(log):
    """The chain itself holds after a cut, which is why approvals sign its head."""
    signed = audit.head(log)
    rewrite(log, lines(log)[:3])
    assert audit.check(log) == []
    assert "cut or built anew" in audit.check(log, [signed])[0]


def test_a_chain_built_anew_is_seen_by_the_signed_head_alone(log):
    """A chain with other words holds in itself, but no signed head is in it."""
    signed = audit.heads(log)[2]
    (log / audit.FILE).unlink()
    for number in range(5):
        audit.append(log, "advanced", "eve", stage=number)
    assert audit.check(log) == []
    assert audit.check(log, [signed]) != []


def test_a_clock_that_went_back_is_recorded(log):
    """An entry is never older than the one before; the clock's own word is kept, and told."""
    entry = audit.entries(log)[-1]
    late = {**entry, "n": 6, "at": "2999-01-01T00:00:00.000000+00:00", "previous": entry["hash"]}
    with (log / audit.FILE).open("ab") as file:
        file.write(store.canonical({**late, "hash": audit.hash_of(late)}))
    assert audit.clock_behind(log) > 0
    audit.append(log, "paused", "ann")
    last = audit.entries(log)[-1]
    assert last["at"] == late["at"]
    assert datetime.fromisoformat(last["facts"]["clock_went_back_to"]) < datetime.now(UTC) + timedelta(minutes=1)
    assert "clock had gone back" in audit.check(log)[0]


def test_the_clock_is_not_behind_where_it_goes_on(log):
    """With a clock that goes on, nothing is behind."""
    assert audit.clock_behind(log) == 0


def test_an_entry_that_a_crash_cut_short_keeps_nobody_from_writing(log):
    """A torn last line is told of, and the next entry follows the last whole one."""
    rewrite(log, [*lines(log), b'{"act":"adva'])
    audit.append(log, "rolled back", "ann")
    assert audit.check(log) == [f"{audit.FILE}:6: is no entry"]
    assert audit.entries(log)[-1]["act"] == "rolled back"


def test_secrets_stay_out_of_the_log(log):
    """What looks like a secret is masked, and the rest is kept."""
    audit.append(log, "advanced", "ann", url="postgresql://ann:hunter2@db/jobs", stage=3)
    assert b"hunter2" not in (log / audit.FILE).read_bytes()
    assert audit.entries(log)[-1]["facts"]["stage"] == 3


APPEND = """
import sys
from pathlib import Path
from unhush.rollout import audit

for index in range(20):
    audit.append(Path(sys.argv[1]), "advanced", f"person {sys.argv[2]}", index=index)
"""


def test_two_processes_write_one_chain(tmp_path):
    """Entries of processes that write at once form one chain."""
    workers = [subprocess.Popen([sys.executable, "-c", APPEND, tmp_path, str(number)]) for number in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    assert audit.check(tmp_path) == []
    assert len(audit.heads(tmp_path)) == 40


def test_an_entry_is_one_line_of_json(log):
    """Each line is JSON of its own, for any program."""
    assert all(set(json.loads(line)) == {"n", "at", "act", "actor", "facts", "previous", "hash"} for line in lines(log))

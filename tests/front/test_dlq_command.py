from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

pytest.importorskip("sqlalchemy", reason="the runtime extra is not installed")

from deadletters import add, add_many, kinds, state

from unhush.commands.dlq import command
from unhush.commands.dlq.options import OPERATION_STATUSES, STATUSES
from unhush.commands.dlq.tokens import ROLES

NO_LETTER = "01a20f7d-bf11-71a0-b5b5-eede29ed610c"


def columns(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()[1:]]


def test_words_for_statuses_are_the_tables_own():
    """The statuses and roles that options take are those that the tables hold."""
    from unhush.runtime import tables

    assert (STATUSES, OPERATION_STATUSES, ROLES) == (tables.STATUSES, tables.OPERATION_STATUSES, tables.ROLES)


def test_every_option_and_command_is_documented(root):
    """The page on the commands names each of them and each option, and none that does not exist."""
    page = (root / "docs" / "dlq.md").read_text(encoding="utf-8")
    pairs = [*command.commands.items()]
    pairs += [pair for _, group in pairs for pair in getattr(group, "commands", {}).items()]
    options = {name for _, each in pairs for option in each.params for name in option.opts if name.startswith("--")}
    assert set(re.findall(r"(?<![-\w])--[a-z][-a-z]*", page)) == options - {"--output"}
    assert [name for name, _ in pairs if not re.search(rf"`{name}\b", page)] == []
    assert len(options) > 25


def test_list_filters_and_pages(cli, queue):
    """A list holds what matches, the newest first; pages follow each other by the cursor on stderr."""
    first, second, third = add_many(
        queue, [{"queue": "mail"}, {"queue": "mail", "status": "parked"}, {"queue": "sms", "job_id": "7"}]
    )
    assert [row[0] for row in columns(cli("dlq", "list").out)] == [third, second, first]
    assert [row[0] for row in columns(cli("dlq", "list", "--queue", "mail", "--status", "dead").out)] == [first]
    assert [letter["id"] for letter in cli("dlq", "list", "--job-id", "7", "--json").data["letters"]] == [third]
    page = cli("dlq", "list", "--limit", "2", "--since", "2026-01-01")
    assert [row[0] for row in columns(page.out)] == [third, second]
    again = page.err.removeprefix("next page: ").split()
    assert again[2:] == ["--since", "2026-01-01T00:00:00.000000Z"]
    rest = cli("dlq", "list", "--limit", "2", *again)
    assert ([row[0] for row in columns(rest.out)], rest.err) == ([first], "")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--since", "2026-03-01T13:00+02:00"], True),
        (["--since", "2026-03-01T12:00"], False),
        (["--until", "2026-03-01T12:00:01Z"], True),
        (["--until", "1h"], True),
        (["--since", "999999w"], None),
        (["--since", "yesterday"], None),
    ],
)
def test_times_and_ages(cli, queue, options, found):
    """Times are ISO, UTC where no zone is said, or ages; anything else is told in one line."""
    add(queue)
    result = cli("dlq", "list", "--json", *options)
    if found is None:
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert "neither a time such as 2026-03-01T12:00Z nor an age" in result.err
    else:
        assert bool(result.data["letters"]) is found


def test_empty_is_done(cli, queue):
    """An empty list, no groups, no counts, no bulk acts, nothing to drain: exit code 0, said in words and in JSON."""
    for arguments, text, key in (
        (["list"], "no letters\n", "letters"),
        (["groups"], "no letters\n", "groups"),
        (["stats"], "no letters\n", "depths"),
        (["history"], "nothing\n", "events"),
        (["operations", "list"], "no bulk acts\n", "operations"),
    ):
        plain = cli("dlq", *arguments)
        assert (plain.code, plain.out, plain.err) == (0, text, "")
        assert cli("dlq", *arguments, "--json").data[key] == []
    assert cli("dlq", "drain").out == "stored 0 records\n"


def test_show_marks_as_seen_and_hides_secrets(cli, queue):
    """A letter is shown whole, what was redacted stays so, control characters are not obeyed, and it counts as seen."""
    try:
        raise ValueError("\x1b[31mred\x1b[0m")
    except ValueError as error:
        letter = queue.put(queue="mail", job_name="send", payload={"password": "hunter2", "to": "ann"}, error=error)
    shown = cli("dlq", "show", letter.id)
    assert shown.code == 0
    assert "hunter2" not in shown.out
    assert '"to": "ann"' in shown.out
    assert "Traceback (most recent call last)" in shown.out
    assert "\x1b" not in shown.out
    assert state(queue, letter.id).seen_at is not None
    data = cli("dlq", "show", letter.id, "--json").data
    assert data["letter"]["payload"]["to"] == "ann"
    assert data["letter"]["redrivable"] is False
    assert [event["kind"] for event in data["history"]] == ["captured"]


def test_unknown_letter(cli, queue):
    """A letter that is not there is one line and exit code 1; so is one whose history nobody wrote."""
    for arguments in (["show", NO_LETTER], ["history", NO_LETTER], ["edit", NO_LETTER, "--payload", "-"]):
        result = cli("dlq", *arguments, stdin="{}")
        assert (result.code, result.out, result.err.count("\n")) == (1, "", 1), result.err
        assert "there is no letter '01a20f7d" in result.err


def test_groups_and_stats(cli, queue):
    """Letters are grouped by bug and counted by queue and status."""
    add_many(queue, [{"fingerprint": "f" * 32}, {"fingerprint": "f" * 32, "queue": "sms"}, {"fingerprint": "e" * 32}])
    assert [row[:2] for row in columns(cli("dlq", "groups").out)] == [["f" * 32, "2"], ["e" * 32, "1"]]
    assert [row[:2] for row in columns(cli("dlq", "stats").out)[:2]] == [["mail", "2"], ["sms", "1"]]
    counted = cli("dlq", "stats", "--json").data
    assert counted["depths"][0] == {"queue": "mail", "status": "dead", "count": 2, "exact": True}
    assert counted["oldest_dead_at"] == "2026-03-01T12:00:00.000000Z"


@pytest.mark.parametrize("attribute", ["dlq", "waiting"])
def test_redrive_by_id(cli, queue, app, attribute):
    """Named letters are put back to work by the app's handlers, blocking or not; any that fails makes exit code 1."""
    pytest.importorskip("aiosqlite")
    good, bad = add(queue, payload="good"), add(queue, payload="bad")
    name = app.replace(":dlq", f":{attribute}")
    done = cli("dlq", "redrive", good, "--app", name, "--actor", "ann", "--reason", "fixed")
    assert (done.code, done.out, done.err) == (0, f"{good}  redriven\n", "handling good\n")
    assert (queue.history(good)[-1].actor, queue.history(good)[-1].reason) == ("ann", "fixed")
    failed = cli("dlq", "redrive", bad, good, NO_LETTER, "--app", name, "--json")
    assert failed.code == 1
    assert [each["result"] for each in failed.data["outcomes"]] == ["failed", "wrong_state", "unknown"]


def test_redrive_by_filter(cli, queue, app):
    """A bulk redrive gives an outcome for each letter as text and JSON, and exits with 1 where one failed."""
    first, second = add(queue, payload="good"), add(queue, payload="bad")
    other = add(queue, queue="sms")
    options = ["redrive", "--queue", "mail", "--app", app, "--rate", "1000", "--jitter", "0"]
    assert cli("dlq", *options, "--dry-run").out == "would redrive 2 letters\n"
    assert state(queue, first).status == "dead"
    refused = cli("dlq", *options)
    assert (refused.code, refused.err) == (2, "error: this would redrive 2 letters: say --yes\n")
    done = cli("dlq", *options, "--yes", "--json")
    assert done.code == 1
    assert [(each["letter_id"], each["result"]) for each in done.data["outcomes"]] == [
        (first, "redriven"),
        (second, "failed"),
    ]
    operation = done.data["operation"]
    assert (operation["status"], operation["total"], operation["succeeded"], operation["failed"]) == ("done", 2, 1, 1)
    assert operation["options"]["rate"] == 1000
    assert state(queue, other).status == "dead"
    assert [row[2:4] for row in columns(cli("dlq", "operations", "list").out)] == [["done", "1"]]
    told = cli("dlq", "history", "--operation", operation["id"], "--kind", "redriven", "--json").data
    assert [event["letter_id"] for event in told["events"]] == [first]


def test_max_redrives_parks(cli, queue, app):
    """--max-redrives parks a letter that failed after so many redrives; without it the app's own limit holds."""
    one, other = add(queue, payload="bad"), add(queue, payload="bad")
    assert cli("dlq", "redrive", one, "--app", app, "--max-redrives", "1").out.split()[1] == "parked"
    assert cli("dlq", "redrive", other, "--app", app).out.split()[1] == "failed"


def test_breaker_stops_and_resume_goes_on(cli, queue, app):
    """A bulk redrive stops when too many fail again, and is taken up again where it stopped."""
    add_many(queue, [{"payload": "bad"}] * 3 + [{"payload": "good"}])
    stopped = cli("dlq", "redrive", "--all", "--yes", "--app", app, "--max-failures", "0.5", "--window", "3")
    assert stopped.code == 1
    assert "is stopped: 0 done, 3 failed, 0 skipped of 4 letters: 3 of the last 3 redrives failed" in stopped.out
    operation = cli("dlq", "operations", "list", "--status", "stopped", "--json").data["operations"][0]["id"]
    without = cli("dlq", "operations", "resume", operation)
    assert (without.code, without.err.startswith("error: resuming a redrive runs your handlers")) == (2, True)
    resumed = cli("dlq", "operations", "resume", operation, "--app", app)
    assert resumed.code == 1  # three failed
    assert "is done: 1 done, 3 failed" in resumed.out


def test_operations_are_steered(cli, queue):
    """A bulk act is paused, taken up again and cancelled; what its status does not allow is refused."""
    from unhush.runtime import Filter

    letter = add(queue)
    act = queue.start("discard", Filter(queue="mail"), actor="ann", reason="old")
    assert "is paused: 0 done" in cli("dlq", "operations", "pause", act.id).out
    refused = cli("dlq", "operations", "pause", act.id)
    assert (refused.code, refused.err) == (1, "error: the bulk act is paused: only running ones can be paused\n")
    assert state(queue, letter).status == "dead"
    done = cli("dlq", "operations", "resume", act.id)
    assert (done.code, done.out) == (0, f"discard {act.id} is done: 1 done, 0 failed, 0 skipped of 1 letter\n")
    assert state(queue, letter).status == "discarded"
    other = queue.start("restore", Filter(queue="mail"), actor="ann")
    assert cli("dlq", "operations", "cancel", other.id, "--json").data["operation"]["status"] == "cancelled"
    assert cli("dlq", "operations", "resume", other.id).code == 1
    assert cli("dlq", "operations", "pause", "nonsense").code == 1


def test_discard_and_restore(cli, queue):
    """Letters are dropped with a reason and restored, by ids and by filter; a refused one makes exit code 1."""
    one, two = add(queue), add(queue, queue="sms")
    assert cli("dlq", "discard", one).code == 2
    assert cli("dlq", "discard", one, "--reason", " ").code == 2
    assert state(queue, one).status == "dead"
    done = cli("dlq", "discard", one, "--reason", "a duplicate")
    assert (done.code, done.out) == (0, f"{one}  discarded\n")
    again = cli("dlq", "discard", one, "--reason", "a duplicate", "--json")
    assert (again.code, again.data["outcomes"][0]["result"]) == (1, "wrong_state")
    assert cli("dlq", "discard", "--queue", "sms", "--reason", "old", "--yes").code == 0
    assert state(queue, two).status == "discarded"
    assert cli("dlq", "restore", "--all", "--yes").code == 0
    assert [state(queue, letter).status for letter in (one, two)] == ["dead", "dead"]
    assert kinds(queue, one) == ["discarded", "restored"]


def test_letters_that_another_act_holds_are_told(cli, queue):
    """Where nothing is left to take but what an unfinished bulk act holds, as after a kill, the line names that act."""
    from unhush.runtime import Filter

    add(queue, status="parked")
    held = queue.start("restore", Filter(queue="mail"), actor="ann").id
    refused = cli("dlq", "restore", "--queue", "mail", "--yes")
    assert (refused.code, refused.out, refused.err) == (
        1,
        "",
        "error: no letter matches that restore could take; an unfinished bulk act holds some that match, resume or cancel"
        f" it: {held}\n",
    )
    assert cli("dlq", "restore", "--queue", "none", "--yes").err == "error: no letter matches that restore could take\n"
    assert cli("dlq", "operations", "cancel", held).code == 0
    assert cli("dlq", "restore", "--queue", "mail", "--yes").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (
            ["restore", "--yes"],
            2,
            "this would restore every letter: name a queue or another filter, or say that you mean",
        ),
        (["restore", "--queue", "none", "--yes"], 1, "no letter matches that restore could take"),
        (["restore", NO_LETTER, "--queue", "mail"], 2, "name letters or say a filter, not both"),
        (["restore", NO_LETTER, "--all"], 2, "name letters or say a filter, not both"),
        (["restore", NO_LETTER, "--dry-run"], 2, "--dry-run goes with a filter, not with named letters"),
        (["restore", "--status", "dead", "--queue", "mail", "--yes"], 1, "restore takes letters that are parked"),
        (["list", "--status", "deaf"], 2, "Invalid value for '--status'"),
        (["list", "--cursor", "nonsense"], 2, "the cursor is not one of this list"),
        (["list", "--url", "hush-1"], 2, "--url: that is no database URL"),
        (["redrive", "--all"], 2, "redrive runs your handlers: name the queue that has them by --app module:attr"),
        (["redrive", "--all", "--url", "sqlite:///unhush.db"], 2, "redrive runs your handlers"),
        (["list", "--url", "sqlite:///unhush.db", "--app", "a:b"], 2, "say --url or --app, not both"),
        (["history", NO_LETTER, "--by", "ann"], 2, "a letter's history is shown whole"),
        (["edit", NO_LETTER, "--payload", "nowhere.json"], 2, "Invalid value for '--payload'"),
    ],
)
def test_wrong_use_is_one_line(cli, queue, arguments, code, line):
    """What can't be done is one line that says why, with the documented exit code, and nothing changed."""
    add(queue, status="discarded")
    result = cli("dlq", *arguments)
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1), result.err
    assert f"error: {line}" in result.err
    assert queue.operations().operations == []


def test_letters_named_take_no_bulk_options(cli, queue, app):
    """Rate and breaker are for bulk acts: with named letters they are refused."""
    result = cli("dlq", "redrive", add(queue), "--max-failures", "0.1", "--app", app)
    assert (result.code, result.err) == (2, "error: --max-failures goes with a filter, not with named letters\n")


def test_purge_passes_over_the_unseen(cli, queue):
    """Letters that nobody looked at stay unless --unseen is said, and their history stays in any case."""
    letter = add(queue, status="discarded")
    assert cli("dlq", "purge", "--until", "30d", "--dry-run").out == (
        "would purge 1 letter, and surely refuse 1 of them\n"
    )
    assert cli("dlq", "purge", "--until", "30d", "--yes").code == 1
    assert state(queue, letter).status == "discarded"
    assert cli("dlq", "purge", "--until", "30d", "--yes", "--unseen").code == 0
    assert columns(cli("dlq", "list").out) == []
    assert "purged" in cli("dlq", "history", letter).out


def test_edit(cli, queue, tmp_path):
    """A payload is taken from a file or stdin as `show --json` prints it; an older version of the letter is refused."""
    letter = add(queue, payload={"at": datetime(2026, 3, 1, tzinfo=UTC)}, redrivable=False, changed_paths=["$.to"])
    payload = cli("dlq", "show", letter, "--json").data["letter"]["payload"]
    (tmp_path / "new.json").write_text(json.dumps(payload | {"to": "ann"}))
    stale = cli("dlq", "edit", letter, "--payload", "new.json", "--if-match", "7")
    assert (stale.code, "it has changed since" in stale.err) == (1, True)
    done = cli("dlq", "edit", letter, "--payload", "new.json", "--if-match", "0", "--reason", "known now")
    assert (done.code, done.out) == (0, f"edited {letter}: it can be redriven\n")
    assert queue.get(letter).payload == {"at": datetime(2026, 3, 1, tzinfo=UTC), "to": "ann"}
    broken = cli("dlq", "edit", letter, "--payload", "-", stdin="{")
    assert (broken.code, broken.err.startswith("error: --payload is not JSON")) == (2, True), broken.err
    assert cli("dlq", "edit", letter, "--payload", "-", stdin=b'"\xff"').code == 2
    assert cli("dlq", "edit", letter, "--payload", "-", stdin="[" * 100_000).code == 2
    secret = cli("dlq", "edit", letter, "--payload", "-", stdin='{"password": "hunter2"}')
    assert (secret.code, "it can't be redriven yet (changed: $.password)" in secret.out) == (0, True)
    assert (
        cli("dlq", "edit", letter).err == "error: there is no terminal to edit on: give the payload by --payload FILE\n"
    )


def test_export_and_import(cli, queue, tmp_path):
    """An export is a file for its owner alone, whole; importing it stores what is missing and names broken lines."""
    letter = add(queue, payload={"to": "ann"})
    assert json.loads(cli("dlq", "export").out)["letter"]["id"] == letter
    done = cli("dlq", "export", "-o", "letters.jsonl")
    assert (done.code, done.out, done.err) == (0, "", "exported 1 letter\n")
    file = tmp_path / "letters.jsonl"
    if os.name != "nt":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(tmp_path.glob(".letters*"))
    assert cli("dlq", "export", "-o", "letters.jsonl", "--queue", "none", "--json").data == {"exported": 0}
    assert file.read_bytes() == b""
    cli("dlq", "export", "-o", "letters.jsonl")
    assert cli("db", "upgrade", "--url", "sqlite:///other.db").code == 0
    stdin = file.read_bytes() + b"{}\n\xff\n"
    stored = cli("dlq", "import", "-", "--url", "sqlite:///other.db", stdin=stdin)
    assert (stored.code, stored.out) == (1, "stored 1 letter, 0 there already, 2 broken\n")
    assert [line.partition(": it is")[0] for line in stored.err.splitlines()] == [
        "error: <stdin>:2",
        "error: <stdin>:3",
    ]
    again = cli("dlq", "import", "letters.jsonl", "--url", "sqlite:///other.db", "--json")
    assert (again.code, again.data) == (0, {"stored": 0, "present": 1, "broken": []})
    assert (
        cli("dlq", "export", "-o", "nowhere/x").err == "error: nowhere/x can't be written: No such file or directory\n"
    )


def test_an_export_replaces_nothing_but_files(cli, queue, tmp_path):
    """A folder, a pipe or a device under the name of an export is told in one line, and left as it is."""
    add(queue)
    (tmp_path / "folder").mkdir()
    names = ["folder", ".", "..", "/", ""]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        names.append("pipe")
    for name in names:
        done = cli("dlq", "export", "-o", name)
        assert (done.code, done.out) == (2, "")
        assert done.err == f"error: {name or '.'} can't be written: it is there, and is no regular file\n"
    assert (tmp_path / "folder").is_dir()
    assert not (tmp_path / "pipe").is_file()
    assert cli("dlq", "export", "-o", "file").code == 0


def test_drain(cli, queue, tmp_path):
    """What waits in the spool is stored; a damaged line is kept aside and makes exit code 1."""
    from unhush.runtime import DeadLetterQueue

    url = f"sqlite:///{tmp_path}/missing/unhush.db"
    with DeadLetterQueue(url, spool=tmp_path / "mine") as lost:
        letter = lost.put(queue="mail", job_name="send", error=ValueError("x"))
    drained = cli("dlq", "drain", "--spool", "mine", "--url", f"sqlite:///{tmp_path}/unhush.db")
    assert (drained.code, drained.out) == (0, "stored 1 record\n")
    assert state(queue, letter.id).status == "dead"
    with DeadLetterQueue(url, spool=tmp_path / "mine") as lost:
        lost.put(queue="mail", job_name="send", error=ValueError("x"))
    (spooled,) = (tmp_path / "mine").glob("letters-*")
    spooled.write_bytes(spooled.read_bytes()[:-9] + b"\n")
    damaged = cli("dlq", "drain", "--spool", "mine", "--url", f"sqlite:///{tmp_path}/unhush.db", "--json")
    assert (damaged.code, damaged.data["corrupt"], damaged.data["stored"]) == (1, 1, 0)
    assert cli("dlq", "drain", "--spool", "nowhere").code == 2


def test_tokens(cli, queue):
    """A token is printed once and never again, listed, revoked; a name that is taken, and one unknown, are refused."""
    from unhush.runtime import tokens

    made = cli("dlq", "token", "create", "ann", "--role", "operator", "--expires", "90d")
    assert (made.code, made.err) == (0, "keep it safe: it is not shown again\n")
    text = made.out.strip()
    assert queue._read(tokens.check, text).name == "ann"
    other = cli("dlq", "token", "create", "bob", "--role", "viewer", "--json").data
    assert (other["token"]["role"], other["token"]["expires_at"]) == ("viewer", None)
    assert cli("dlq", "token", "create", "ann", "--role", "viewer").code == 1
    assert cli("dlq", "token", "create", "eve", "--role", "viewer", "--expires", "soon").code == 2
    assert cli("dlq", "token", "revoke", "ann", "--reason", "left").out == "revoked ann\n"
    assert queue._read(tokens.check, text) is None
    assert cli("dlq", "token", "revoke", "nobody").code == 1
    listed = cli("dlq", "token", "list")
    assert [row[:3] for row in columns(listed.out)] == [["ann", "operator", "revoked"], ["bob", "viewer", "valid"]]
    assert text not in listed.out + cli("dlq", "token", "list", "--json").out + cli("dlq", "history", "--json").out


def test_no_database_is_told(cli, tmp_path):
    """A file that is not there is not made, and tables that are missing are told: exit code 2 and one line."""
    missing = "error: there is no SQLite file 'unhush.db'; `unhush db upgrade` makes it\n"
    commands = (["list"], ["stats"], ["show", NO_LETTER], ["drain"], ["restore", "--all", "--yes"], ["export"])
    for arguments in commands:
        result = cli("dlq", *arguments)
        assert (result.code, result.out, result.err) == (2, "", missing)
    assert not (tmp_path / "unhush.db").exists()
    (tmp_path / "unhush.db").touch()
    for arguments in commands:
        result = cli("dlq", *arguments)
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result.err
        assert "unhush db upgrade" in result.err


def test_newer_database_is_told(cli, queue):
    """A database with a migration that this unhush does not know is told: exit code 2 and one line."""
    queue._write(
        lambda connection: connection.exec_driver_sql(
            "INSERT INTO unhush_version (version, name, checksum, applied_at, applied_by, duration) "
            "SELECT 999, 'later', checksum, applied_at, applied_by, duration FROM unhush_version WHERE version = 1"
        )
    )
    result = cli("dlq", "list")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert "999" in result.err


def test_servers(cli, server_url, tmp_path):
    """The commands do the same on the servers; a wrong password is told, never printed."""
    from sqlalchemy import make_url

    from unhush.runtime import DeadLetterQueue

    assert cli("db", "upgrade", "--url", server_url).code == 0
    with DeadLetterQueue(server_url, spool=tmp_path / "spool") as dlq:
        letter = add(dlq, payload={"to": "ann"})
        add(dlq, queue="sms")
    (tmp_path / "served.py").write_text(
        "from unhush.runtime import DeadLetterQueue\n"
        f"dlq = DeadLetterQueue({server_url!r})\ndlq.register('mail', print)\n"
    )
    assert cli("dlq", "redrive", "--queue", "mail", "--yes", "--app", "served:dlq").code == 0
    listed = cli("dlq", "list", "--url", server_url, "--status", "redriven", "--json").data["letters"]
    assert [found["id"] for found in listed] == [letter]
    assert cli("dlq", "discard", "--queue", "sms", "--reason", "old", "--yes", "--url", server_url).code == 0
    assert cli("dlq", "purge", "--queue", "sms", "--unseen", "--yes", "--url", server_url).code == 0
    wrong = make_url(server_url).set(username="nobody", password="hunter2", port=1)
    refused = cli("dlq", "list", "--url", wrong.render_as_string(hide_password=False))
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert "hunter2" not in refused.err
    assert "***" in refused.err


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("shop", "--app: 'shop' names no queue: say module:attribute"),
        ("no_such_module:dlq", "--app: there is no module 'no_such_module' in the working directory or installed"),
        ("broken:dlq", "--app: 'broken' can't be imported: ValueError: postgresql://[redacted]@host/db"),
        ("lacking:dlq", "--app: 'lacking' needs the module 'no_such_module', which is not installed"),
        ("ending:dlq", "--app: 'ending' can't be imported: SystemExit: 3"),
        ("app_of_test:nowhere", "--app: module 'app_of_test' has no 'nowhere'"),
        ("app_of_test:nothing", "--app: 'app_of_test:nothing' is of type object, not a DeadLetterQueue"),
    ],
)
def test_app_that_is_none(cli, app, name, line, write_tree):
    """An app that can't be imported, lacks the attribute or is no queue is one line and exit code 2."""
    write_tree(
        {
            "broken.py": "raise ValueError('postgresql://ann:hunter2@host/db')\n",
            "lacking.py": "import no_such_module\n",
            "ending.py": "import sys\nsys.exit(3)\n",
        }
    )
    result = cli("dlq", "list", "--app", name)
    assert (result.code, result.out, result.err) == (2, "", f"error: {line}\n")


def test_app_of_settings(cli, queue, app, write_tree):
    """`app` in [tool.unhush] names the queue where the command line names none; a wrong one is told."""
    letter = add(queue, payload="good")
    write_tree({"pyproject.toml": f"[tool.unhush]\napp = '{app}'\n"})
    assert cli("dlq", "redrive", letter).code == 0
    write_tree({"pyproject.toml": "[tool.unhush]\napp = 3\n"})
    wrong = cli("dlq", "list")
    assert (wrong.code, "app must be a string such as 'module:attribute', not a number" in wrong.err) == (2, True)
    assert cli("dlq", "list", "--url", "sqlite:///unhush.db").code == 0


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("attribute", ["dlq", "waiting"])
def test_ctrl_c_leaves_a_redrive_to_be_resumed(cli, queue, tmp_path, write_tree, attribute):
    """Ctrl-C pauses a bulk redrive, says how to go on, and leaves the letter whose handler was cut off in doubt."""
    import signal

    write_tree({"slow.py": SLOW})
    add_many(queue, [{"payload": "slow"}, {"payload": "good"}])
    process = subprocess.Popen(
        [sys.executable, "-m", "unhush", "dlq", "redrive", "--all", "--yes", "--app", f"slow:{attribute}"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "begun").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = (text.decode() for text in process.communicate())
    assert process.returncode == 130, out + err
    told = re.search(rf"`unhush (dlq operations resume \S+ --app slow:{attribute})` goes on", err)
    assert told, err
    assert "is paused" in out
    assert sorted(row[1] for row in columns(cli("dlq", "list").out)) == ["dead", "in_doubt"]
    resumed = cli(*told[1].split())
    assert "is done: 1 done" in resumed.out, resumed.err


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
def test_terminal_asks_and_fits(cli, queue, tmp_path):
    """On a terminal a bulk act asks first, tables fit its width, and only there is colour."""
    import pty

    add(queue, queue="a-queue-with-a-very-long-name", job_name="a-job-with-a-very-long-name" * 3)
    for arguments, answer, code in (
        (["discard", "--all", "--reason", "old"], b"n\n", 2),
        (["list"], b"", 0),
        (["discard", "--all", "--reason", "old"], b"y\n", 0),
    ):
        ours, theirs = pty.openpty()
        os.write(ours, answer)
        clean = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        process = subprocess.Popen(
            [sys.executable, "-m", "unhush", "dlq", *arguments],
            cwd=tmp_path,
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env={**clean, "COLUMNS": "90", "TERM": "xterm"},
        )
        _, err = process.communicate()
        assert process.returncode == code, err
        if answer:
            assert b"Discard 1 letter? [y/N]" in err
        os.close(theirs)
        shown = b""
        if not answer:
            shown = os.read(ours, 65536)
            plain = re.sub(rb"\x1b\[[0-9;]*m", b"", shown).decode().splitlines()
            assert b"\x1b[31mdead" in shown
            assert max(map(len, plain)) <= 90
        os.close(ours)
    assert columns(cli("dlq", "list").out)[0][1] == "discarded"


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
def test_edit_in_the_editor(cli, queue, tmp_path):
    """On a terminal the payload is edited in the user's editor; leaving it unsaved changes nothing."""
    import pty

    letter = add(queue, payload={"to": "ann"}, redrivable=False)
    for editor, code, payload in (("true", 2, "ann"), ("sed -i.bak s/ann/bob/", 0, "bob")):
        ours, theirs = pty.openpty()
        result = subprocess.run(
            [sys.executable, "-m", "unhush", "dlq", "edit", letter],
            cwd=tmp_path,
            stdin=theirs,
            capture_output=True,
            env={**os.environ, "VISUAL": editor, "EDITOR": editor},
            check=False,
        )
        os.close(ours)
        os.close(theirs)
        assert (result.returncode, queue.get(letter).payload) == (code, {"to": payload}), result.stderr


def test_encrypted_payloads_stay_hidden(cli, queue, write_tree):
    """With the app's keys a redrive has the whole payload; shown, exported or without keys it is masked or refused."""
    key = pytest.importorskip("cryptography.fernet").Fernet.generate_key().decode()
    write_tree({"sealed.py": SEALED.format(key=key)})
    from unhush.runtime import DeadLetterQueue

    with DeadLetterQueue(queue.engine, encryption_keys=[key]) as sealing:
        letter = sealing.put(queue="mail", job_name="send", payload={"password": "hunter2"}, error=ValueError("x")).id
    seen = [cli("dlq", *arguments) for arguments in (["show", letter], ["show", letter, "--json"], ["export"])]
    assert [each.code for each in seen] == [0, 0, 0]
    assert not any("hunter2" in each.out + each.err for each in seen)
    refused = cli("dlq", "edit", letter, "--payload", "-", stdin="{}")
    assert (refused.code, "encryption_keys" in refused.err) == (1, True)
    done = cli("dlq", "redrive", letter, "--app", "sealed:dlq")
    assert (done.code, done.err) == (0, "7 characters\n")


def test_help_needs_no_database_library(tmp_path):
    """The help of the commands loads no SQLAlchemy, structlog or rich."""
    script = (
        "import sys\nfrom unhush.__main__ import run\nsys.argv = ['unhush', 'dlq', 'redrive', '--help']\n"
        "run()\nprint(sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, check=True)
    loaded = result.stdout.decode().splitlines()[-1]
    assert "'click'" in loaded
    heavy = ("sqlalchemy", "structlog", "openfeature", "stamina", "rich", "libcst")
    assert [name for name in heavy if f"'{name}'" in loaded] == []


SEALED = """
from unhush.runtime import DeadLetterQueue

dlq = DeadLetterQueue("sqlite:///unhush.db", encryption_keys=["{key}"])
dlq.register("mail", lambda letter: print(len(letter.payload["password"]), "characters"))
"""
SLOW = """
import asyncio, pathlib, time
from unhush.runtime import AsyncDeadLetterQueue, DeadLetterQueue

dlq = DeadLetterQueue("sqlite:///unhush.db")
waiting = AsyncDeadLetterQueue("sqlite:///unhush.db")

def handle(letter):
    if letter.payload == "slow":
        pathlib.Path("begun").touch()
        time.sleep(60)

async def handle_waiting(letter):
    if letter.payload == "slow":
        pathlib.Path("begun").touch()
        await asyncio.sleep(60)

dlq.register("mail", handle)
waiting.register("mail", handle_waiting)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from unhush.runtime import beats
from unhush.runtime.engine import make_engine
from unhush.sql.runner import upgrade

Cli = Callable[..., Any]
LONG_AGO = "2026-01-01 00:00:00.000000"


@pytest.fixture
def with_jobs(cli: Cli, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database in which job 42 beats, 43 is dead and 44 has ended."""
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "true")
    url = f"sqlite:///{tmp_path}/unhush.db"
    engine = make_engine(url)
    upgrade(engine)
    for number, name in ((1, "well"), (2, "dead")):
        process = beats.Process(
            id=f"0190aaaa-0000-7000-8000-00000000000{number}", name=name, host="web", pid=number, every=15
        )
        with engine.begin() as connection:
            beats.beat_process(connection, process)
            for job_id in {"well": ("42", "44"), "dead": ("43",)}[name]:
                claim = beats.claim(connection, beats.Terms(kind="mail", job_id=job_id), process, {beats.Claim("", 0)})
                beats.beat_jobs(connection, [beats.Pulse(claim=claim, progress=0.4, moved=True, note="page 3")])
                if job_id == "44":
                    beats.end(connection, claim, "finished")
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE unhush_job SET beat_at = '{LONG_AGO}' WHERE job_id = '43'"))
        connection.execute(text(f"UPDATE unhush_process SET beat_at = '{LONG_AGO}' WHERE name = 'dead'"))
    engine.dispose()
    return url


def test_jobs_are_listed(cli: Cli, with_jobs: str) -> None:
    """Running jobs with how they stand; by kind and state; those that ended when asked for; as JSON and in pages."""
    listed = cli("jobs", "list")
    assert (listed.code, listed.err) == (0, "")
    title, *lines = listed.out.splitlines()
    assert title.split() == ["job", "kind", "state", "progress", "beat", "age", "process", "note"]
    assert [line.split()[:4] for line in lines] == [["42", "mail", "alive", "0.4"], ["43", "mail", "lost", "0.4"]]

    def ids(*options: str) -> list[str]:
        return [job["job_id"] for job in cli("jobs", "list", "--json", *options).data["jobs"]]

    assert ids() == ["42", "43"]
    assert ids("--state", "lost") == ["43"]
    assert ids("--kind", "video") == []
    assert ids("--ended") == ["42", "44", "43"]
    assert ids("--ended", "--state", "finished") == ["44"]
    first = cli("jobs", "list", "--limit", "1", "--json").data
    assert [job["job_id"] for job in first["jobs"]] == ["42"]
    assert ids("--cursor", first["next"]) == ["43"]
    assert cli("jobs", "list", "--kind", "video").out == "no jobs\n"


def test_one_job_is_shown(cli: Cli, with_jobs: str) -> None:
    """A job whole, as text and as JSON; exit code 1 where there is none."""
    shown = cli("jobs", "show", "43")
    assert (shown.code, shown.err) == (0, "")
    assert "state:        lost\n" in shown.out
    assert "note:         page 3\n" in shown.out
    assert cli("jobs", "show", "43", "--json").data["jobs"][0]["state"] == "lost"
    missing = cli("jobs", "show", "99")
    assert (missing.code, missing.out, missing.err) == (1, "", "error: there is no job '99'\n")


def test_words_that_no_column_holds_are_refused(cli: Cli, with_jobs: str) -> None:
    """A cursor that no page gave, and half a surrogate pair in an id or kind, are one line, on any database."""
    no_text = "holds NUL or half a surrogate pair, which no database stores"
    for arguments, line in (
        (["list", "--cursor", "x"], "the cursor is not one of this list: leave it out to begin at the first page"),
        (["list", "--kind", "\udcff"], f"kind {no_text}"),
        (["show", "\udcff"], f"the job's id {no_text}"),
        (["show", "42", "--kind", "\udcff"], f"kind {no_text}"),
    ):
        ended = cli("jobs", *arguments)
        assert (ended.code, ended.out, ended.err) == (2, "", f"error: {line}\n")
    assert cli("jobs", "show", "42", "--kind", "mail").code == 0


def test_watchdog_looks_once(cli: Cli, with_jobs: str) -> None:
    """A run tells what it saw, with exit code 1 where that is bad; a later one acts, where an action says so."""
    engine = create_engine(with_jobs)

    def later() -> None:
        """As if the watchdog had run steadily for long, and a while ago."""
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE unhush_watchdog SET steady_since = '{LONG_AGO}'"))
            connection.execute(text("UPDATE unhush_watchdog SET lease_until = last_run_at"))
            connection.execute(text(f"UPDATE unhush_job SET suspected_at = '{LONG_AGO[:-1]}1' WHERE job_id = '43'"))

    first = cli("watchdog", "once", "--action", "mail=requeue", "--every", "1")
    assert first.code == 1
    assert first.out.splitlines()[1].split()[:4] == ["43", "mail", "lost", "suspected"]
    later()
    second = cli("watchdog", "once", "--action", "mail=requeue", "--every", "1", "--json")
    assert [(one["job_id"], one["done"]) for one in second.data["verdicts"]] == [("43", "requeued")]
    later()
    third = cli("watchdog", "once", "--action", "mail=requeue")
    assert (third.code, third.out) == (0, "no job is in a bad state\n")
    engine.dispose()


def test_watchdog_with_the_flag_off(cli: Cli, with_jobs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the flag off nothing is looked at, and a remark says so."""
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "false")
    ended = cli("watchdog", "once")
    assert (ended.code, ended.out) == (0, "no job is in a bad state\n")
    assert "JOB_HEARTBEAT is off" in ended.err


def test_watchdog_of_an_app(cli: Cli, with_jobs: str, tmp_path: Any) -> None:
    """An app's own watchdog is used with its options; something else under that name is refused."""
    (tmp_path / "mine.py").write_text(
        f"from unhush.runtime import Watchdog\ndog = Watchdog({with_jobs!r}, stuck_after=1e9, every=1)\nnone = 3\n",
        encoding="utf-8",
    )
    assert cli("watchdog", "once", "--app", "mine:dog").out == "no job is in a bad state\n"
    refused = cli("watchdog", "once", "--app", "mine:none")
    assert (refused.code, refused.err) == (2, "error: --app: 'mine:none' is of type int, not a Watchdog\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["jobs", "list"], "there is no SQLite file 'unhush.db'; `unhush db upgrade` makes it"),
        (["jobs", "show", "42"], "there is no SQLite file 'unhush.db'; `unhush db upgrade` makes it"),
        (["watchdog", "once"], "there is no SQLite file 'unhush.db'; `unhush db upgrade` makes it"),
        (["watchdog", "once", "--url", "hush-1"], "--url: that is no database URL, such as postgresql://user@host/name"),
        (["watchdog", "once", "--action", "mail=stop"], "'mail=stop' is not KIND=report, KIND=requeue or KIND=dead_letter"),
        (["watchdog", "once", "--stuck-after", "nan"], "Invalid value for '--stuck-after': 'nan' is no number of seconds"),
        (["watchdog", "once", "--stuck-after", "1e300"], "Invalid value for '--stuck-after': 1e+300 is not in the range"),
        (["watchdog", "run", "--every", "inf"], "Invalid value for '--every': inf is not in the range"),
        (["watchdog", "once", "--app", "mine"], "--app: 'mine' names no watchdog: say module:attribute"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(
    cli: Cli, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, arguments: Any, line: str
) -> None:
    """What a user can put right is exit code 2 and one line; no file is made."""
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "true")
    ended = cli(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert line in ended.err
    assert list(tmp_path.iterdir()) == []


def test_threshold_and_schema_are_told(cli: Cli, with_jobs: str, tmp_path: Any) -> None:
    """A threshold shorter than two intervals, and a database without the tables, are refused by one line."""
    short = cli("watchdog", "once", "--stuck-after", "20")
    assert (short.code, short.out, short.err.count("\n")) == (2, "", 1)
    assert "stuck_after is 20 s, shorter than two intervals of a job that beats every 15 s" in short.err
    engine = make_engine(f"sqlite:///{tmp_path}/one.db")
    upgrade(engine, to=1)
    engine.dispose()
    for command in (["jobs", "list"], ["jobs", "show", "42"], ["watchdog", "once"]):
        old = cli(*command, "--url", f"sqlite:///{tmp_path}/one.db")
        assert (old.code, old.out, old.err.count("\n")) == (2, "", 1), old.err
        assert "lacks migration 2: run `unhush db upgrade" in old.err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM on Windows")
def test_watchdog_runs_until_it_is_told(with_jobs: str, tmp_path: Any) -> None:
    """`watchdog run` acts by itself, and ends with 0 on SIGTERM."""
    command = [sys.executable, "-m", "unhush", "watchdog", "run", "--action", "mail=requeue", "--every", "0.2"]
    engine = create_engine(with_jobs)
    status = text("SELECT suspected_state FROM unhush_job WHERE job_id = '43'")
    with subprocess.Popen(
        command, cwd=tmp_path, env=dict(os.environ), stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as run:
        while run.poll() is None:
            with engine.connect() as connection:
                if connection.execute(status).scalar_one() == "lost":
                    break
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 0
    engine.dispose()

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import structlog
from beatworld import World
from sqlalchemy import Engine, func, select

from unhush.runtime import DeadLetterQueue, Verdict, Watchdog, acts, beats, watching
from unhush.runtime.beat_errors import AlreadyRunning, HeartbeatError, ThresholdTooShort
from unhush.runtime.beat_tables import jobs, processes
from unhush.runtime.flags import Flag, State
from unhush.runtime.rounds import Round


@pytest.fixture
def world(engine: Engine) -> World:
    """A world on each of the three databases."""
    return World(engine)


@pytest.fixture
def steady(world: World) -> Iterator[Callable[..., Watchdog]]:
    """Makes a watchdog that has run for a while, so that silence means something."""

    def watchdog(**options: Any) -> Watchdog:
        made = world.watchdog(**{"actions": {"mail": "requeue"}, **options})
        world.pass_time(75, made)
        return made

    return watchdog


def done(verdicts: list[Verdict]) -> list[tuple[str, str, str]]:
    return [(one.job_id, one.state, one.done) for one in verdicts]


def acted(verdicts: list[Verdict]) -> list[tuple[str, str]]:
    return [
        (one.job_id, one.done) for one in verdicts if one.done in ("requeued", "dead_lettered", "parked", "handed_over")
    ]


def test_lost_job_is_given_away_once(world: World, steady: Any) -> None:
    """A job of a dead process is seen twice before it is given away, in time, once; its neighbour is left alone."""
    watchdog = steady()
    dead, well = world.worker("42"), world.worker("43")
    dead.die()
    assert done(world.pass_time(60, watchdog)) == []
    assert done(world.pass_time(30, watchdog)) == [("42", "lost", "suspected"), ("42", "lost", "requeued")]
    row = world.row("42")
    assert (row.status, row.fence, row.rescues) == ("given_away", 2, 1)
    assert world.pass_time(300, watchdog) == []
    assert not dead.finish("42")
    assert well.finish("43")
    again = world.worker("42")
    assert again.claims["42"].fence == 3
    assert again.finish("42")


def test_report_is_the_default(world: World, engine: Engine) -> None:
    """Without an action a bad state is told with each run, logged once, and nothing is changed."""
    watchdog = world.watchdog(actions={"mail": "report"})
    world.worker("42").die()
    with structlog.testing.capture_logs() as logs:
        verdicts = world.pass_time(150, watchdog)
    assert [one.done for one in verdicts][:3] == ["suspected", "reported", "reported"]
    assert [line["event"] for line in logs if line["event"] == "watchdog.job_lost"] == ["watchdog.job_lost"]
    assert (world.row("42").status, world.row("42").fence) == ("running", 1)


def test_recovered_job_is_well(world: World, steady: Any) -> None:
    """A job that beats again after the first look is looked at afresh when it is silent once more."""
    watchdog = steady()
    worker = world.worker("42")
    worker.die()
    assert done(world.pass_time(75, watchdog)) == [("42", "lost", "suspected")]
    worker.beating = True
    assert world.pass_time(30, watchdog) == []
    assert world.row("42").suspected_at is None
    worker.die()
    assert done(world.pass_time(75, watchdog)) == [("42", "lost", "suspected")]
    assert done(world.pass_time(15, watchdog)) == [("42", "lost", "requeued")]


def test_long_job_is_left_alone(world: World, steady: Any) -> None:
    """hexpm#1825: a job that beats is not rescued however long it runs, without a deadline."""
    watchdog = steady()
    worker = world.worker("42")
    world.worker("43").die()
    assert acted(world.pass_time(24 * 3600, watchdog, step=600)) == [("43", "requeued")]
    assert worker.finish("42")


def test_stuck_and_stalled(world: World, steady: Any) -> None:
    """hermes-agent#100971: beats alone don't save a job that is past its deadline, orphaned, or gets nowhere."""
    watchdog = steady(brake_least=100)
    world.worker("42", deadline=120)
    world.worker("43", stalled_after=120).moving = False
    world.worker("44", stalled_after=120, deadline=3600)
    orphaned = world.worker("45")
    world.act(beats.mark_orphaned, orphaned.claims.pop("45"), world.clock)
    verdicts = world.pass_time(300, watchdog)
    assert sorted(acted(verdicts)) == [("42", "requeued"), ("43", "requeued"), ("45", "requeued")]
    assert {one.job_id: one.state for one in verdicts} == {"42": "stuck", "43": "stalled", "45": "stuck"}


def test_dead_letter(world: World, steady: Any, tmp_path: Any) -> None:
    """A job whose kind says so goes to the dead letter queue, with its id, in the transaction that takes it away."""
    with DeadLetterQueue(world.engine, spool=tmp_path) as dlq:
        watchdog = steady(actions={"mail": "dead_letter"}, dlq=dlq)
        world.worker("42").die()
        assert acted(world.pass_time(120, watchdog)) == [("42", "dead_lettered")]
        (letter,) = dlq.list(queue="mail").letters
        assert (letter.job_id, letter.error_type.split(".")[-1], letter.status) == ("42", "JobLost", "dead")
        assert world.row("42").status == "parked"
        assert world.pass_time(120, watchdog) == []
        assert len(dlq.list().letters) == 1


def test_rescued_too_often_is_parked(world: World, steady: Any, tmp_path: Any) -> None:
    """A job that dies again and again is given away three times, then parked as a dead letter; success counts anew."""
    with DeadLetterQueue(world.engine, spool=tmp_path) as dlq:
        watchdog = steady(dlq=dlq)
        outcomes = []
        for _ in range(4):
            world.worker("42").die()
            outcomes += acted(world.pass_time(120, watchdog))
        assert outcomes == [("42", "requeued")] * 3 + [("42", "parked")]
        assert [letter.job_id for letter in dlq.list().letters] == ["42"]
        assert world.worker("42").finish("42")
        world.worker("42").die()
        assert acted(world.pass_time(120, watchdog)) == [("42", "requeued")]


def test_hook_is_called_until_it_returns(world: World, steady: Any) -> None:
    """A hook gets the verdict after the job was given away; if it raises it is called again, and holds up no other."""
    called: list[Verdict] = []

    def hook(verdict: Verdict) -> None:
        called.append(verdict)
        if len([one for one in called if one.job_id == verdict.job_id]) == 1 and verdict.job_id == "42":
            raise OSError("no broker")

    watchdog = steady(actions={"mail": hook})
    world.worker("42").die()
    world.worker("43").die()
    verdicts = world.pass_time(90, watchdog)
    assert [(one.job_id, one.done) for one in verdicts if one.done != "suspected"] == [
        ("42", "hook_failed"),
        ("43", "handed_over"),
    ]
    assert world.row("42").status == "rescuing"
    assert acted(world.pass_time(60, watchdog)) == [("42", "handed_over")]
    assert [(one.job_id, one.fence, one.rescues) for one in called] == [("42", 2, 1), ("43", 2, 1), ("42", 2, 1)]
    assert (world.row("42").status, world.row("42").fence) == ("given_away", 2)
    assert world.pass_time(60, watchdog) == []


def test_unknown_kind_is_left_alone(world: World, steady: Any) -> None:
    """river#1105: jobs of a kind that this watchdog doesn't know are reported and left for one that does."""
    watchdog = steady()
    world.worker("42", kind="video").die()
    world.worker("43").die()
    verdicts = world.pass_time(150, watchdog)
    assert ("42", "lost", "unknown_kind") in done(verdicts)
    assert acted(verdicts) == [("43", "requeued")]
    assert world.row("42").status == "running"


def test_rows_that_stay_starve_none(world: World, steady: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """river PR#1318: however many jobs can't be rescued, the one behind them is."""
    monkeypatch.setattr(watching, "BATCH", 3)
    watchdog = steady(brake_share=1)
    world.worker(*range(10), kind="video").die()
    world.worker("42").die()
    assert acted(world.pass_time(120, watchdog)) == [("42", "requeued")]


@pytest.mark.parametrize("way", ["finish", "end", "claim"])
def test_finished_meanwhile_is_not_touched(world: World, steady: Any, way: str) -> None:
    """river#1302, rq#2424: a job that ends or is claimed between the look and the act stays as it is."""
    workers = {}

    def hook(verdict: Verdict) -> None:
        other = workers["43"]
        if way == "claim":
            other.end("43")
            other.begin("43")
        else:
            getattr(other, way)("43")

    watchdog = steady(actions={"mail": "requeue", "first": hook})
    world.worker("42", kind="first").die()
    workers["43"] = world.worker("43")
    workers["43"].die()
    verdicts = world.pass_time(90, watchdog)
    assert [(one.job_id, one.done) for one in verdicts][-2:] == [("42", "handed_over"), ("43", "locked")]
    row = world.row("43")
    assert (row.status, row.fence, row.rescues) == (("running", 2, 0) if way == "claim" else ("finished", 1, 0))


def test_outage_kills_nobody(world: World, steady: Any) -> None:
    """shakenfist#3789: after five minutes without the database 32 healthy daemons live, and one that died is found."""
    watchdog = steady(brake_share=1)
    daemons = [world.worker(number) for number in range(32)]
    world.pass_time(60, watchdog)
    daemons[0].die()
    world.now += timedelta(minutes=5)  # nobody reaches the database, the watchdog neither
    held = done(watchdog.run_once())  # and it is the first to be back
    assert {state for _, state, _ in held} == {"lost"}
    world.now += timedelta(seconds=15)
    held = done(watchdog.run_once())
    assert ("1", "lost", "held") in held
    assert acted(world.pass_time(600, watchdog)) == [("0", "requeued")]
    assert all(daemon.finish(number) for number, daemon in enumerate(daemons) if number)


def test_failed_run_is_an_outage(world: World, steady: Any) -> None:
    """A run that failed makes silence count anew, however short it was."""
    watchdog = steady()
    world.worker("42").die()
    world.pass_time(75, watchdog)
    watchdog._unsteady = True
    assert done(world.pass_time(75, watchdog)) == [("42", "lost", "held")] * 5
    assert acted(world.pass_time(15, watchdog)) == [("42", "requeued")]


def test_brake(world: World, steady: Any) -> None:
    """When too many are silent at once nothing is touched, the alarm is given once, and it ends with the trouble."""
    watchdog = steady()
    paused = [world.worker(number) for number in range(8)]
    for number in range(8, 20):
        world.worker(number)
    for worker in paused:
        worker.die()
    with structlog.testing.capture_logs() as logs:
        verdicts = world.pass_time(150, watchdog)
        assert {one.done for one in verdicts} == {"suspected", "braked"}
        for worker in paused[1:]:
            worker.beating = True
        assert acted(world.pass_time(75, watchdog)) == []  # they get the whole threshold to be heard
        assert acted(world.pass_time(15, watchdog)) == [("0", "requeued")]
    events = [line["event"] for line in logs if line["event"].startswith("watchdog.brake")]
    assert events == ["watchdog.braked", "watchdog.brake_released"]
    assert not any(worker.lost for worker in paused[1:])


def test_brake_is_lifted_by_a_person(world: World, steady: Any) -> None:
    """A run without the brake acts on all of them."""
    watchdog = steady()
    world.worker(*range(10)).die()
    assert acted(world.pass_time(120, watchdog)) == []
    world.now += timedelta(seconds=15)
    assert len(acted(watchdog.run_once(brake=False))) == 10


def test_old_reports_hold_no_brake(world: World, steady: Any) -> None:
    """Jobs that are only reported and left lying don't hold the brake for ever."""
    watchdog = steady(actions={"mail": "requeue", "video": "report"})
    world.worker(*range(10), kind="video").die()
    world.pass_time(300, watchdog)
    world.worker("42").die()
    assert acted(world.pass_time(120, watchdog)) == [("42", "requeued")]


def test_restart_of_the_database_runs_nothing_twice(world: World, steady: Any) -> None:
    """good_job#90: connections that are cut free no job: it is not rescued, and no second run begins."""
    watchdog = steady()
    worker = world.worker("42")
    world.engine.dispose()
    world.pass_time(60, watchdog)
    with pytest.raises(AlreadyRunning):
        world.worker("42")
    assert worker.finish("42")


def test_same_host_and_pid_again(world: World, steady: Any) -> None:
    """procrastinate#1518, oban#862: a new process with the old one's host and pid does not keep its job alive."""
    watchdog = steady()
    world.worker("42").die()
    world.worker("43")
    assert acted(world.pass_time(120, watchdog)) == [("42", "requeued")]


def test_second_watchdog_takes_over(world: World, steady: Any) -> None:
    """procrastinate#1408: where the leader is dead itself the next one leads, and one alone at any time."""
    first, second = steady(), world.watchdog(actions={"mail": "requeue"})
    world.worker("42").die()
    assert second.run_once() == []
    assert world.pass_time(30, second) == []  # the first one died
    assert acted(world.pass_time(120, second)) == [("42", "requeued")]
    assert first.run_once() == []


def test_dead_leader_costs_a_quarter_of_an_interval(world: World, steady: Any) -> None:
    """Who waits looks again when the leader's lease is over, and goes on where the dead one was: without a hold."""
    steady()
    second = world.watchdog(actions={"mail": "requeue"})
    world.worker("42").die()
    assert second.run_once() == []
    assert second.pause == 15  # the lease goes on for longer
    world.pass_time(15, second)
    assert second.pause == 3.75
    world.pass_time(3.75, second, step=3.75)
    assert second.pause == 15
    assert acted(world.pass_time(75, second)) == [("42", "requeued")]


def test_stopped_watchdog_leaves_the_lead(world: World, steady: Any) -> None:
    """A watchdog that is stopped lets the next one lead at once; one that doesn't lead leaves the lead alone."""
    first, second, third = steady(), world.watchdog(), world.watchdog()
    world.worker("42").die()
    world.pass_time(75, first)
    assert second.run_once() == []
    second._leave()
    assert third.run_once() == []
    first._leave()
    assert done(second.run_once()) != []


def test_leader_that_was_replaced_acts_no_more(world: World, steady: Any) -> None:
    """A leader that was slow finds before each act that another one leads."""
    other = world.watchdog(actions={"mail": "requeue"})

    def hook(verdict: Verdict) -> None:
        world.now += timedelta(minutes=10)
        world.beat_all()
        assert other.run_once() != []

    first = steady(actions={"mail": "requeue", "first": hook})
    world.worker("42", kind="first").die()
    world.worker("43").die()
    assert acted(world.pass_time(90, first)) == [("42", "handed_over")]
    assert world.row("43").status == "running"
    assert acted(world.pass_time(90, other)) == [("43", "requeued")]


def test_two_watchdogs_at_once(world: World, steady: Any) -> None:
    """Of watchdogs that run at the same moment one leads, and each job is given away once."""
    first = steady(brake_share=1)
    rivals = [first, *(world.watchdog(actions={"mail": "requeue"}, brake_share=1) for _ in range(3))]
    world.worker(*range(20)).die()
    outcomes: list[tuple[str, str]] = []
    for _ in range(7):
        world.now += timedelta(seconds=15)
        with ThreadPoolExecutor(len(rivals)) as pool:
            for verdicts in pool.map(Watchdog.run_once, rivals):
                outcomes += acted(verdicts)
    assert sorted(job_id for job_id, _ in outcomes) == sorted(str(number) for number in range(20))
    assert {world.row(number).fence for number in range(20)} == {2}


def test_late_leader_changes_nothing(world: World, steady: Any) -> None:
    """The act of a run whose number is too old is refused by the database itself."""
    watchdog = steady()
    stale = watching.Lead(99, world.now, world.now, False)
    world.worker("42")
    with world.engine.connect() as connection:
        row = connection.execute(watching._SIGHT.where(jobs.c.job_id == "42")).one()
    with pytest.raises(watching.NotLeading):
        acts.write(world.engine, Round(watchdog)._give_away, row, None, "requeue", stale)
    assert world.row("42").fence == 1


@pytest.mark.parametrize("hours", [2, -2])
def test_clock_jumps(world: World, steady: Any, hours: int) -> None:
    """When the database's clock jumps by hours nobody living is rescued, and who is dead soon is."""
    watchdog = steady()
    living = [world.worker(number, deadline=3600) for number in range(10)]
    dead = world.worker("dead")
    world.pass_time(30, watchdog)
    dead.die()
    world.now += timedelta(hours=hours, seconds=15)
    for worker in living:
        worker.left = lambda job_id: 3500.0  # type: ignore[method-assign]  # by a clock that did not jump
    assert acted(watchdog.run_once()) == []
    assert acted(world.pass_time(150, watchdog)) == [("dead", "requeued")]
    assert not any(worker.lost for worker in living)


def test_threshold_is_checked(world: World, steady: Any) -> None:
    """A threshold shorter than two intervals is refused at the start, and later for the job alone that is too slow."""
    watchdog = steady()
    world.worker("42", every=31).die()
    world.worker("43").die()
    fresh = world.watchdog(name="other", actions={"mail": "requeue"})
    line = "stuck_after is 60 s, shorter than two intervals of a job that beats every 31 s"
    with pytest.raises(ThresholdTooShort, match=line):
        fresh.run_once()
    verdicts = world.pass_time(150, watchdog)
    assert ("42", "lost", "refused") in done(verdicts)
    assert {one.detail for one in verdicts if one.done == "refused"} == {line}
    assert acted(verdicts) == [("43", "requeued")]


def test_flag_stops_the_watchdog(world: World, steady: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An explicit OFF stops every act, and so does a flag that can't be asked; back on, it acts."""
    flag = Flag("JOB_HEARTBEAT")
    watchdog = steady(flag=flag)
    world.worker("42").die()
    world.pass_time(60, watchdog)
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "false")
    assert world.pass_time(120, watchdog) == []
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "true")
    with monkeypatch.context() as patch:
        patch.setattr(flag, "state", lambda job_id=None: State.UNREACHABLE_WAS_ON)
        assert world.pass_time(120, watchdog) == []
    assert world.row("42").status == "running"
    assert acted(world.pass_time(180, watchdog)) == [("42", "requeued")]


def test_job_in_its_own_transaction_is_left(world: World, steady: Any) -> None:
    """While a silent job holds its row under guard, nobody gives it away: it is writing."""
    if world.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time, so the watchdog waits there")
    watchdog = steady()
    worker = world.worker("42")
    worker.die()
    world.pass_time(75, watchdog)
    with world.engine.begin() as connection:
        connection.execute(jobs.update().where(jobs.c.id == worker.claims["42"].id).values(note="held"))
        world.now += timedelta(seconds=15)
        assert done(watchdog.run_once()) == [("42", "lost", "locked")]
    world.now += timedelta(seconds=15)
    assert done(watchdog.run_once()) == [("42", "lost", "requeued")]


def test_row_that_stays_locked_is_told(world: World, steady: Any) -> None:
    """A silent job whose row somebody has locked from the first look on is told as locked, once in the log, then acted on."""
    if world.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time, so the watchdog waits there")
    watchdog = steady()
    worker = world.worker("42")
    worker.die()
    with structlog.testing.capture_logs() as logs, world.engine.begin() as connection:
        connection.execute(jobs.update().where(jobs.c.id == worker.claims["42"].id).values(note="held"))
        assert done(world.pass_time(120, watchdog)) == [("42", "lost", "locked")] * 4
    assert [line["event"] for line in logs] == ["watchdog.job_locked"]
    assert done(world.pass_time(30, watchdog)) == [("42", "lost", "suspected"), ("42", "lost", "requeued")]


def test_old_runs_are_deleted(world: World, steady: Any) -> None:
    """Ended runs and silent processes go after a week; what runs stays."""
    watchdog = steady(keep=3600)
    worker = world.worker("42", "43")
    worker.finish("42")
    world.pass_time(1800, watchdog, step=300)
    with world.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(jobs)).scalar_one() == 2
    world.pass_time(3600, watchdog, step=300)
    world.worker("44").die()
    with world.engine.connect() as connection:
        assert sorted(connection.execute(select(jobs.c.job_id)).scalars()) == ["43", "44"]
        assert connection.execute(select(func.count()).select_from(processes)).scalar_one() == 2


def test_wrong_words_are_refused(engine: Engine) -> None:
    """An action that is none, and a threshold of nothing, are refused when the watchdog is made."""
    with pytest.raises(ValueError, match="the action for 'mail' must be report, requeue, dead_letter or a function"):
        Watchdog(engine, actions={"mail": "restart"})
    for seconds in (0, -1.0, float("nan"), float("inf"), 1e300):
        with pytest.raises(ValueError, match="stuck_after must be"):
            Watchdog(engine, stuck_after=seconds)
        with pytest.raises(ValueError, match="every must be"):
            Watchdog(engine, every=seconds)


def test_a_threshold_of_years_is_served(engine: Engine) -> None:
    """A threshold beyond what a server takes for its own timeouts is one: who waits for years may."""
    with Watchdog(engine.url, stuck_after=50 * 365 * 24 * 3600.0) as watchdog:
        assert watchdog.run_once() == []
        assert watchdog.run_once() == []


def test_missing_tables_are_told(tmp_path: Any) -> None:
    """Without the migration a run says in one line what to do."""
    with (
        Watchdog(f"sqlite:///{tmp_path}/x.db") as watchdog,
        pytest.raises(HeartbeatError, match="run `unhush db upgrade"),
    ):
        watchdog.run_once()


def test_loop_with_real_time(database: str, wait: Any) -> None:
    """`run()` goes on by itself until it is stopped, by the database's own clock."""
    watchdog = Watchdog(database, stuck_after=1, every=0.1, actions={"mail": "requeue"})
    world = World(watchdog.engine)
    process = beats.Process(id="0190aaaa-0000-7000-8000-000000000001", name=None, host="h", pid=1, every=0.2)
    world.act(beats.claim, beats.Terms(kind="mail", job_id="42"), process)
    thread = threading.Thread(target=watchdog.run)
    thread.start()
    wait(lambda: world.row("42").status, lambda status: status == "given_away")
    watchdog.close()
    thread.join(10)
    assert not thread.is_alive()

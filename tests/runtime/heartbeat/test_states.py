from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unhush.runtime.states import ALIVE, BAD, LATE, LOST, STALLED, STATES, STUCK, Signs, state_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)
EVERY, STUCK_AFTER = 15.0, 60.0


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def signs(beat: float = 1, process: float | None = 1, **more: Any) -> Signs:
    """A job that beat so many seconds ago, and its process."""
    ages = {name: None if value is None else ago(value) for name, value in more.items() if name.endswith("_at")}
    given = {name: value for name, value in more.items() if not name.endswith("_at")}
    known = {"beat_at": ago(beat), "every": EVERY, "progress_at": ago(beat)}
    return Signs(**{**known, "process_beat_at": None if process is None else ago(process), **ages, **given})


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (signs(), ALIVE),
        (signs(beat=30), ALIVE),
        (signs(beat=31), LATE),
        (signs(beat=61), LATE),  # its process beats
        (signs(beat=61, process=61), LOST),
        (signs(beat=60, process=61), LATE),
        (signs(beat=61, process=None), LOST),
        (signs(beat=61, process_stopped_at=50), LOST),
        (signs(process_stopped_at=50), ALIVE),
        (signs(deadline_at=1), STUCK),
        (signs(deadline_at=-1), ALIVE),
        (signs(beat=31, deadline_at=1), STUCK),
        (signs(beat=61, process=61, deadline_at=1), LOST),
        (signs(beat=40, process=None, deadline_at=1), LATE),
        (signs(orphaned_at=1), STUCK),
        (signs(stalled_after=600, progress_at=601), STALLED),
        (signs(stalled_after=600, progress_at=600), ALIVE),
        (signs(stalled_after=None, progress_at=10_000), ALIVE),
        (signs(beat=31, stalled_after=600, progress_at=601), LATE),
    ],
)
def test_each_state(found: Signs, state: str) -> None:
    """Each state is told from its neighbours to the second."""
    assert state_of(found, NOW, STUCK_AFTER) == state


def test_outage_proves_nothing() -> None:
    """Silence before the last outage counts for nothing; what was heard since then does."""
    lost = signs(beat=500, process=500)
    assert state_of(lost, NOW, STUCK_AFTER) == LOST
    assert state_of(lost, NOW, STUCK_AFTER, ago(60)) == LATE
    assert state_of(lost, NOW, STUCK_AFTER, ago(61)) == LOST
    for late in (signs(beat=20, deadline_at=5), signs(beat=20, stalled_after=60, progress_at=400)):
        assert state_of(late, NOW, STUCK_AFTER, ago(10)) not in (STALLED,)
    stuck = signs(beat=20, process=20, deadline_at=5)
    assert state_of(stuck, NOW, STUCK_AFTER, ago(10)) == ALIVE
    assert state_of(stuck, NOW, STUCK_AFTER, ago(30)) == STUCK


ages = st.floats(min_value=-100, max_value=10_000)
maybe = st.none() | ages


@given(
    st.builds(
        signs, beat=ages, process=maybe, deadline_at=maybe, orphaned_at=maybe, progress_at=ages, process_stopped_at=maybe,
        stalled_after=st.none() | st.floats(min_value=1, max_value=1000),
    ),
    ages,
)  # fmt: skip
def test_laws(found: Signs, steady: float) -> None:
    """A job whose process was heard of lately is never lost, and an outage makes no job worse than it was."""
    plain = state_of(found, NOW, STUCK_AFTER)
    held = state_of(found, NOW, STUCK_AFTER, ago(steady))
    assert plain in STATES
    if held in BAD:
        assert plain in BAD
    if (NOW - found.beat_at).total_seconds() <= 2 * EVERY:
        assert plain != LOST
    heard = found.process_beat_at is not None and found.process_stopped_at is None
    if heard and found.process_beat_at and (NOW - found.process_beat_at).total_seconds() <= STUCK_AFTER:
        assert plain != LOST

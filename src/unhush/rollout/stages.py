"""The stages of a roll-out: which flags each sets, and what must hold before the next."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import gates, statistics
from .errors import Refused

if TYPE_CHECKING:
    from .settings import RolloutSettings

DLQ, HEARTBEAT = "DLQ_ENABLED", "JOB_HEARTBEAT"
FLAGS = (DLQ, HEARTBEAT)
OFF = "off"  # for every job, whatever else says; not the same as 0%


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: its number, its name, and what the flags are in it, a percentage or OFF."""

    number: int
    name: str
    dlq: float | str
    heartbeat: float | str

    def of(self, flag: str) -> float | str:
        """What a flag is in this stage."""
        return self.dlq if flag == DLQ else self.heartbeat

    @property
    def percentage(self) -> float | None:
        """The part of all jobs that this stage adds to, where it is not all of them."""
        parts = [part for part in (self.dlq, self.heartbeat) if isinstance(part, float) and 0 < part < 100]
        return parts[0] if parts else None


STAGES = (
    Stage(0, "deploy with flags OFF", OFF, OFF),
    Stage(1, "migrations", OFF, OFF),
    Stage(2, "dead letter queue 5%", 5.0, OFF),
    Stage(3, "dead letter queue 100%", 100.0, OFF),
    Stage(4, "heartbeat 5%", 100.0, 5.0),
    Stage(5, "heartbeat 100%", 100.0, 100.0),
)
LAST = STAGES[-1].number


def flags(before: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a plan: for each its salt, drawn once and kept, and what it is in each stage."""
    return {
        flag: {
            "salt": before.get(flag, {}).get("salt") or secrets.token_hex(8),
            "stages": [stage.of(flag) for stage in STAGES],
        }
        for flag in FLAGS
    }


def planned(settings: RolloutSettings) -> list[dict[str, Any]]:
    """The stages of a plan: number, name, seconds of soak, least number of jobs, gates."""
    found = []
    for stage in STAGES:
        chosen = gates.of_stage(stage.number, settings.gates)
        limits = [gate.threshold for gate in chosen if gate.kind == gates.SHARE]
        found.append(
            {
                "number": stage.number,
                "name": stage.name,
                "soak": settings.soak,
                "minimum_jobs": max((statistics.looks(limit)[0] for limit in limits), default=0),
                "gates": [gate.as_data() for gate in chosen],
            }
        )
    return found


def next_after(stage: int | None, wanted: int | None = None) -> int:
    """The stage after this one (None: before the first). Raises Refused where another one is wanted."""
    following = 0 if stage is None else stage + 1
    if following > LAST:
        raise Refused(f"stage {LAST} is the last one")
    if wanted is not None and wanted != following:
        at = "no stage is reached yet" if stage is None else f"stage {stage} is reached"
        raise Refused(f"stage {wanted} can't be next: {at}, so the next one is {following}")
    return following

"""What a number of failures among a number of jobs says of the true rate: exact bounds, and when to look at all.

A gate that is looked at again and again passes or breaks by chance sooner or later. So a stage is looked at after fixed
numbers of jobs, and the risk of error is split between the looks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

RISK = (
    0.05  # the chance that a stage which is as bad as the limit passes, or one that is as good breaks, over all looks
)
LOOKS = (1, 2, 4)  # when a stage is looked at, in multiples of the least number of jobs
_STEPS = 60  # halvings of the interval: more than a double can tell apart


def minimum(limit: float, risk: float = RISK) -> int:
    """How many jobs without a failure show that the rate lies below `limit`, but for the risk.

    59, 149 and 299 for 5, 2 and 1% at a risk of 5%: n with (1 - limit)^n <= risk. Raises ValueError.
    """
    if not (0 < limit < 1 and 0 < risk < 1):
        raise ValueError("limit and risk must lie between 0 and 1")
    n = math.ceil(math.log(risk) / math.log1p(-limit))
    # The logarithms may be off by a hair where n is whole.
    while n > 1 and (1 - limit) ** (n - 1) <= risk:
        n -= 1
    return n


def looks(limit: float, risk: float = RISK) -> tuple[int, ...]:
    """After how many jobs a stage is looked at: the least number that can pass at a look's part of the risk, 2x and 4x."""
    least = minimum(limit, risk / len(LOOKS))
    return tuple(least * factor for factor in LOOKS)


def upper_bound(failures: int, jobs: int, risk: float = RISK) -> float:
    """The rate that is exceeded only with `risk`, given what was seen: the exact one-sided bound of Clopper and Pearson.

    1.0 where all failed. Raises ValueError for counts that can't be.
    """
    _check(failures, jobs)
    if failures == jobs:
        return 1.0
    return _root(lambda rate: tail(failures, jobs, rate) - risk)


def lower_bound(failures: int, jobs: int, risk: float = RISK) -> float:
    """The rate that is fallen short of only with `risk`; 0.0 where none failed. Raises ValueError."""
    _check(failures, jobs)
    return 1 - upper_bound(jobs - failures, jobs, risk) if failures else 0.0


def mismatch(arrived: int, total: int, asked: float, risk: float = 0.001) -> bool:
    """Whether so many of all jobs are no chance any more where `asked` (0 to 1) of them should have come."""
    if not 0 < asked < 1:
        return arrived != round(asked) * total
    return not lower_bound(arrived, total, risk / 2) <= asked <= upper_bound(arrived, total, risk / 2)


def tail(failures: int, jobs: int, rate: float) -> float:
    """The chance of at most so many failures among so many jobs at that rate."""
    if rate <= 0:
        return 1.0
    if rate >= 1:
        return 1.0 if failures >= jobs else 0.0
    log_rate, log_rest = math.log(rate), math.log1p(-rate)
    total = math.lgamma(jobs + 1)
    return math.fsum(
        math.exp(total - math.lgamma(k + 1) - math.lgamma(jobs - k + 1) + k * log_rate + (jobs - k) * log_rest)
        for k in range(failures + 1)
    )


def _root(falling: Callable[[float], float]) -> float:
    """Where a falling function of a rate crosses 0."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return high


def _check(failures: int, jobs: int) -> None:
    if jobs < 1 or not 0 <= failures <= jobs:
        raise ValueError(f"{failures} failures of {jobs} jobs can't be")

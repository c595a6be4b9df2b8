"""What the roll-out refuses and what it finds wrong. Each is one line for the user, and an exit code."""

from __future__ import annotations

from ..output import Failure


class RolloutProblem(Failure):
    """Something that was checked does not hold, or a file of the roll-out can't be used: exit code 1."""

    exit_code = 1


class Refused(Failure):
    """An act that is not done for want of an approval or of evidence; the line names what is missing: exit code 3."""

    exit_code = 3

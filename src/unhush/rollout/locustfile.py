"""What Locust's users do where a team has no locust file of its own: they get the paths that are named, one by one."""

from __future__ import annotations

import json
import os
import random

import gevent
from locust import HttpUser, between, events, task

PATHS = json.loads(os.environ.get("UNHUSH_LOAD_PATHS", '["/"]'))


@events.init.add_listener  # type: ignore[untyped-decorator]
def _set_clock(**_: object) -> None:
    """Timers count from the loop's last look at the clock: on a busy machine imports alone would use up the run."""
    gevent.get_hub().loop.update_now()


class Visitor(HttpUser):
    """Gets one of the paths about twice a second."""

    wait_time = between(0.2, 0.8)

    @task
    def visit(self) -> None:
        """One request."""
        self.client.get(random.choice(PATHS))

"""A worker of RQ whose jobs beat: `beating_rq.py QUEUE...`, those of a queue that ends in `dark` without the database."""

from __future__ import annotations

import os
import sys

import beating_bodies
from redis import Redis

from unhush.runtime.integrations.rq import worker_class

dark = sys.argv[1].endswith("dark")
limits = {f"beating_bodies.{kind}": limit for kind, limit in beating_bodies.LIMITS.items()}
heartbeats = beating_bodies.in_the_dark if dark else beating_bodies.heartbeats
worker = worker_class(beating_bodies.dlq, queue="mail", heartbeats=heartbeats, limits=limits)
worker(sys.argv[1:], connection=Redis.from_url(os.environ["JOBS_BROKER"])).work()

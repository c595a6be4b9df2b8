"""Dramatiq actors that beat."""

from __future__ import annotations

import os

import beating_bodies
import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from unhush.runtime.integrations.dramatiq import connect

URL = os.environ["JOBS_BROKER"]
KINDS = ["work", "bound"]

redis = URL.startswith("redis")
broker = RedisBroker(url=URL, heartbeat_timeout=2000, maintenance_chance=500000) if redis else RabbitmqBroker(url=URL)
dramatiq.set_broker(broker)
connect(
    broker,
    beating_bodies.dlq,
    queue="mail",
    actors=KINDS,
    heartbeats=beating_bodies.heartbeats,
    limits=beating_bodies.LIMITS,
)
connect(broker, beating_bodies.dlq, queue="mail", actors=["dark"], heartbeats=beating_bodies.in_the_dark)

for kind in (*KINDS, "dark"):
    dramatiq.actor(beating_bodies.work, actor_name=kind, queue_name=os.environ["JOBS_QUEUE"], max_retries=0)
broker.declare_queue(os.environ["JOBS_QUEUE"] + "-well")

"""Redis as a broker that must not get the same job twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry


@contextmanager
def sends_once(client: Redis) -> Iterator[Redis]:
    """A client of the same server that sends no command again: where only the answer was lost, the job would be twice.

    What such a client can't send is in doubt, and that is what a redrive says.
    """
    pool = client.connection_pool
    kwargs = pool.connection_kwargs | {"retry": Retry(NoBackoff(), 0)}
    own = ConnectionPool(connection_class=pool.connection_class, **kwargs)
    try:
        yield Redis(connection_pool=own)
    finally:
        own.disconnect()

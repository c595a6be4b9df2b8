"""The real servers that tests meet: each is used where it answers, and otherwise skips its tests with a reason.

UNHUSH_REQUIRE_SERVICES names those that must be there (`postgresql,mariadb,redis,rabbitmq`): a test that would have been
skipped for want of one of them fails. UNHUSH_TEST_<NAME> gives another address than the standard port on loopback.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

ADDRESSES = {
    "postgresql": "postgresql+psycopg://postgres@127.0.0.1:5432/postgres",
    "mariadb": "mariadb+pymysql://root@127.0.0.1:3306/",
    "redis": "redis://127.0.0.1:6379/0",
    "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//",
}


def service(name: str) -> str:
    """The address of a server that answers. Skips the test where none does, or fails where it must be there."""
    address = os.environ.get(f"UNHUSH_TEST_{name.upper()}") or ADDRESSES[name]
    if not answers(address):
        required = os.environ.get("UNHUSH_REQUIRE_SERVICES", "").split(",")
        (pytest.fail if name in required else pytest.skip)(f"{name} does not answer")
    return address


def program(name: str) -> str:
    """The path of a program. Skips the test where there is none, or fails where UNHUSH_REQUIRE_SERVICES names it."""
    path = shutil.which(name)
    if path is None:
        required = os.environ.get("UNHUSH_REQUIRE_SERVICES", "").split(",")
        (pytest.fail if name in required else pytest.skip)(f"{name} is not installed")
    return str(path)


@cache
def answers(address: str) -> bool:
    """Whether something listens there."""
    parts = urlsplit(address)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), timeout=2).close()
    except OSError:
        return False
    return True


@contextmanager
def fresh_database(dialect: str, folder: str) -> Iterator[str]:
    """The URL of a new, empty database (`sqlite`, `postgresql`, `mariadb`), dropped at the end."""
    if dialect == "sqlite":
        yield f"sqlite:///{folder}/test.db"
        return
    from sqlalchemy import create_engine, make_url, text

    server = make_url(service(dialect))
    name = f"unhush_test_{uuid4().hex[:12]}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    force = " WITH (FORCE)" if dialect == "postgresql" else ""
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}{force}"))
        engine.dispose()

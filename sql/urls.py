"""A database's address: as it is understood, and as it may be shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from .errors import SchemaProblem

if TYPE_CHECKING:
    from sqlalchemy import URL

# The drivers of our extras, where a URL names none: SQLAlchemy's own choice depends on its version.
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
_SECRET = re.compile(r"pass|pwd|secret|token|key", re.IGNORECASE)
_MASK = "***"  # SQLAlchemy's own


def parsed(text: str) -> URL:
    """A database URL. Raises SchemaProblem, without a word of the text, which may hold a password."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise SchemaProblem("that is no database URL, such as postgresql://user@host/name or sqlite:///file") from error
    return url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))


def shown(url: URL) -> str:
    """The URL with `***` for its password and for what looks like a secret among its options."""
    query = {name: _MASK if _SECRET.search(name) else value for name, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True).replace(quote_plus(_MASK), _MASK)

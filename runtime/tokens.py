"""Tokens of the admin API: made once, shown once, and stored as a hash from which nobody can make them again."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError
from uuid_utils import uuid7

from .claims import moment
from .columns import database_now
from .history import note
from .letters import DeadLetterError
from .tables import ROLES, tokens

PREFIX = "unhush_"  # so that secret scanners, and people, know it when they see one
NAME_LIMIT = 100
LIFETIME_LIMIT = timedelta(days=36_500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a token; not the token itself."""

    id: str
    name: str
    role: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


_SHOWN = tuple(tokens.c[field.name] for field in fields(Token))


def create(
    connection: Connection, name: str, role: str, *, actor: str, lifetime: timedelta | None = None
) -> tuple[Token, str]:
    """Makes a token for a name (who acts, in the audit) and a role; it lasts for `lifetime`, or until it is revoked.

    The second value is the token's text: 256 random bits, which can't be had again. Raises DeadLetterError for a name
    that is blank, too long or taken (also by a revoked token: the audit must not mean two), an unknown role, or a
    lifetime that is not between 0 and 100 years.
    """
    _check(name, role, lifetime)
    text = PREFIX + secrets.token_urlsafe(32)
    now = moment(connection)
    row = {
        "id": str(uuid7()),
        "name": name,
        "role": role,
        "token_hash": _hash(text),
        "created_at": now,
        "expires_at": None if lifetime is None else now + lifetime,
    }
    try:
        with connection.begin_nested():
            connection.execute(insert(tokens).values(row))
    except IntegrityError:
        raise DeadLetterError(f"there is a token {name!r} already: take another name") from None
    note(connection, "token_created", actor=actor, detail={"name": name, "role": role})
    return _token(connection.execute(select(*_SHOWN).where(tokens.c.id == row["id"])).one()), text


def _check(name: str, role: str, lifetime: timedelta | None) -> None:
    if not name.strip() or len(name) > NAME_LIMIT or not name.isprintable():
        raise DeadLetterError(f"a token needs a name of 1 to {NAME_LIMIT} printable characters: who will use it")
    if role not in ROLES:
        raise DeadLetterError(f"{role!r} is no role: it is one of {', '.join(ROLES)}")
    if lifetime is not None and not timedelta() < lifetime <= LIFETIME_LIMIT:
        raise DeadLetterError("a token's lifetime must be above 0 and at most 100 years")


def list_tokens(connection: Connection) -> list[Token]:
    """All tokens, oldest first, also those that are revoked or expired."""
    return [_token(row) for row in connection.execute(select(*_SHOWN).order_by(tokens.c.id))]


def revoke(connection: Connection, name: str, *, actor: str, reason: str | None = None) -> Token:
    """Ends a token for good. One that is revoked stays so. Raises DeadLetterError for a name that no token has."""
    done = connection.execute(
        update(tokens).where(tokens.c.name == name, tokens.c.revoked_at.is_(None)).values(revoked_at=database_now())
    )
    row = connection.execute(select(*_SHOWN).where(tokens.c.name == name)).first()
    if row is None:
        raise DeadLetterError(f"there is no token {name[:NAME_LIMIT]!r}: look its name up in the list")
    if done.rowcount:
        note(connection, "token_revoked", actor=actor, reason=reason, detail={"name": name, "role": row.role})
    return _token(row)


def check(connection: Connection, text: str) -> Token | None:
    """The token with this text, if it may be used now; None for any other text, a blank one too.

    Looked up by its hash, of which no part can be guessed from how long that takes.
    """
    if not text.startswith(PREFIX):
        return None
    digest = _hash(text)
    row = connection.execute(select(*_SHOWN, tokens.c.token_hash).where(tokens.c.token_hash == digest)).first()
    if row is None or not hmac.compare_digest(row.token_hash, digest) or row.revoked_at is not None:
        return None
    if row.expires_at is not None and row.expires_at <= moment(connection):
        return None
    return _token(row)


def used(connection: Connection, token_id: str) -> None:
    """Notes that a token was used."""
    connection.execute(update(tokens).where(tokens.c.id == token_id).values(last_used_at=database_now()))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _token(row: Any) -> Token:
    return Token(**{field.name: row._mapping[field.name] for field in fields(Token)})

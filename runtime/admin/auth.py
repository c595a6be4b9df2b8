"""Who calls the admin API, and what that role may do: by tokens of `job_dlq_token`, or by the host's own dependency."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from .. import tokens
from ..letters import DeadLetterError
from ..tables import ROLES
from .desk import Desk
from .problems import Problem, unauthenticated

VIEWER, OPERATOR = ROLES
Auth = Literal["tokens"] | Callable[..., Any]
USED_AGAIN_SECONDS = 60.0  # how exact a token's `last_used_at` is


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: a name, which the audit keeps, and a role: `viewer` or `operator`."""

    name: str
    role: str

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > tokens.NAME_LIMIT:
            raise ValueError(f"a principal needs a name of 1 to {tokens.NAME_LIMIT} characters: the audit keeps it")
        if self.role not in ROLES:
            raise ValueError(f"a principal's role is one of {', '.join(ROLES)}")


@dataclass(frozen=True, slots=True)
class Roles:
    """The dependencies that give the caller, if known (any role), or if an operator."""

    viewer: Callable[..., Any]
    operator: Callable[..., Any]


def roles(desk: Desk, auth: Auth | None) -> Roles:
    """What routes depend on. Raises DeadLetterError where it is not said how callers are known."""
    if auth != "tokens" and not callable(auth):
        raise DeadLetterError(
            "the admin API needs authentication: auth='tokens', or a dependency that returns a Principal"
        )
    identify = _by_token(desk) if auth == "tokens" else auth

    async def viewer(caller: Any = Depends(identify)) -> Principal:
        if caller is None:
            raise unauthenticated("say who you are")
        if not isinstance(caller, Principal):
            raise TypeError(f"the auth dependency must return a Principal, not {type(caller).__name__}")
        return caller

    async def operator(caller: Principal = Depends(viewer)) -> Principal:
        demand_operator(caller)
        return caller

    return Roles(viewer, operator)


def demand_operator(caller: Principal) -> None:
    """Raises a 403 for a caller who is no operator."""
    if caller.role != OPERATOR:
        raise Problem("forbidden", f"{caller.name} is a {caller.role}, and this needs an {OPERATOR}")


def _by_token(desk: Desk) -> Callable[..., Any]:
    scheme = HTTPBearer(
        auto_error=False,
        scheme_name="unhushToken",
        description="A token made by `unhush dlq token create`.",
    )
    noted: dict[str, float] = {}

    async def identify(credentials: HTTPAuthorizationCredentials | None = Depends(scheme)) -> Principal:
        token = None
        if credentials is not None and credentials.credentials.strip():
            token = await desk.read(tokens.check, credentials.credentials)
        if token is None:
            raise unauthenticated("send a token that is neither revoked nor expired, as `Authorization: Bearer ...`")
        now = time.monotonic()
        if now - noted.get(token.id, -USED_AGAIN_SECONDS) >= USED_AGAIN_SECONDS:
            noted[token.id] = now
            await desk.write(tokens.used, token.id)
        return Principal(token.name, token.role)

    return identify

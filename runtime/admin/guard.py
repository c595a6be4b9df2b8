"""What stands before and around each route: the flag, errors as problems, headers, and what no route takes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from ..failure import describe
from ..redact import redact_text
from .desk import Desk
from .problems import Problem, bad_key, to_response

_SECURITY = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_log = structlog.get_logger("unhush.runtime")


def guarded_routes(desk: Desk) -> type[APIRoute]:
    """Routes that are there while the flag is, and whose errors are problems, also in a host's app."""

    class Guarded(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            """The handler of FastAPI's own, guarded."""
            handler = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                return await _answer(desk, request, handler)

            return guarded

    return Guarded


async def _answer(
    desk: Desk, request: Request, handler: Callable[[Request], Coroutine[Any, Any, Response]]
) -> Response:
    try:
        if await run_in_threadpool(desk.core.flag.wholly_off):
            raise Problem("not-found", "there is no such resource")
        response = await handler(request)
    except Exception as error:  # noqa: BLE001 - becomes the answer, and is logged where nobody expected it
        response = _missing(error) or to_response(error) or _failed(request, error)
    response.headers.update(_SECURITY)
    return response


def _missing(error: Exception) -> Response | None:
    """The answer where one of the headers that make changes safe is missing."""
    if isinstance(error, RequestValidationError):
        missing = {each["loc"][-1] for each in error.errors() if each["type"] == "missing"}
        if "If-Match" in missing:
            return Problem("if-match-missing", "send the ETag of the letter, as you saw it, in If-Match").response
        if "Idempotency-Key" in missing:
            return bad_key().response
    return None


def _failed(request: Request, error: Exception) -> Response:
    failure = describe(error)
    _log.error(
        "admin.request_failed",
        method=request.method,
        path=request.url.path,
        error_type=failure.type,
        traceback=redact_text(failure.traceback),
    )
    return Problem("internal", "the server failed, and its log says why").response


class Unknown:
    """Whatever no route takes: 405 where another method would do, else 404."""

    def __init__(self, api: APIRouter, desk: Desk) -> None:
        self.prefix = api.prefix
        self.routes = [route for route in api.routes if isinstance(route, APIRoute)]
        self.desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, as ASGI has it."""
        request = Request(scope, receive)
        response = await _answer(self.desk, request, self.refuse)
        await response(scope, receive, send)

    async def refuse(self, request: Request) -> Response:
        """Raises the Problem that says so."""
        path = f"{self.prefix}/{request.path_params.get('path', '')}"
        methods = sorted(
            {name for route in self.routes if route.path_regex.match(path) for name in route.methods or ()}
        )
        if methods:
            allow = ", ".join(methods)
            raise Problem("method-not-allowed", f"this resource has {allow}", headers={"Allow": allow})
        raise Problem("not-found", "there is no such resource")

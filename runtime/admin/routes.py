"""The routes of the admin API."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse

from ... import version
from .. import bulk, edits, lookup, payload, redrive
from ..async_dlq import AsyncDeadLetterQueue
from ..dlq import DeadLetterQueue
from ..letters import (
    Act,
    EventFilter,
    EventPage,
    Filter,
    Letter,
    LetterSummary,
    Operation,
    OperationPage,
    Outcome,
    Page,
    Stats,
)
from ..tables import DISCARDED
from . import bodies, schemas
from .auth import Auth, Principal, demand_operator, roles
from .desk import Desk
from .guard import Unknown, guarded_routes
from .problems import Problem, bad_key, documented, refused
from .redrives import begin, demand_handler, looked

PREFIX = "/api/admin/dlq"
BODY_LIMIT = 1024 * 1024

LetterId = Annotated[str, Path(json_schema_extra={"format": "uuid"})]
OperationId = Annotated[str, Path(json_schema_extra={"format": "uuid"})]
IfMatch = Annotated[
    str,
    Header(
        alias="If-Match",
        description="The letter's ETag as it was seen.",
        examples=['"0"'],
        json_schema_extra={"pattern": '^"[0-9]{1,18}"$'},
    ),
]
Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        description="New for each act, the same when it is sent again: 1 to 255 visible characters.",
        json_schema_extra={"pattern": "^[!-~]{1,255}$"},
    ),
]

_ALWAYS = ("unauthenticated", "forbidden", "not-found", "invalid", "unavailable")
_CHANGING = ("body-too-large", "not-json")
_ETAG = {"ETag": {"description": "For If-Match.", "required": True, "schema": {"type": "string"}}}
_LOCATION = {"Location": {"description": "Where the bulk act is.", "required": True, "schema": {"type": "string"}}}


def router(
    dlq: DeadLetterQueue | AsyncDeadLetterQueue, *, auth: Auth | None = None, body_limit: int = BODY_LIMIT
) -> APIRouter:
    """The admin API under `/api/admin/dlq`, to be included in a FastAPI app.

    `auth` is "tokens" (those of `unhush dlq token`), or a dependency of the app's own that returns a `Principal`.
    `body_limit` is in bytes. Raises DeadLetterError without `auth`: there is no API that is open to everybody.
    """
    desk = Desk(dlq)
    allowed = roles(desk, auth)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        await desk.close()

    api = APIRouter(prefix=PREFIX, tags=["dead letters"], route_class=guarded_routes(desk), lifespan=lifespan)
    _looking(api, desk, allowed.viewer)
    _acting(api, desk, allowed.operator, body_limit)
    _redriving(api, desk, allowed.operator, body_limit)
    _operations(api, desk, allowed.viewer)
    _steering(api, desk, allowed.operator, body_limit)
    unknown: Any = Unknown(api, desk)
    api.add_route(PREFIX, unknown, include_in_schema=False)
    api.add_route(PREFIX + "/{path:path}", unknown, include_in_schema=False)
    return api


def app(
    dlq: DeadLetterQueue | AsyncDeadLetterQueue, *, auth: Auth | None = None, body_limit: int = BODY_LIMIT
) -> FastAPI:
    """The admin API as an app by itself, without pages of documentation; arguments as for `router`."""
    api = FastAPI(title="unhush admin API", version=version.__version__, docs_url=None, redoc_url=None)
    api.include_router(router(dlq, auth=auth, body_limit=body_limit))
    return api


def _looking(api: APIRouter, desk: Desk, viewer: Callable[..., Any]) -> None:
    """What reads and changes nothing."""

    @api.get(
        "/letters", operation_id="listLetters", summary="Letters, newest first", responses=_problems("no-such-page")
    )
    async def letters(asked: Annotated[schemas.LettersQuery, Query()], _: Principal = Depends(viewer)) -> Page:
        return await desk.call("list", asked.filter, limit=asked.limit, cursor=asked.cursor)

    @api.get(
        "/letters/{letter_id}",
        operation_id="showLetter",
        summary="A letter; its payload and headers for operators who ask for them",
        responses=_problems() | {200: {"headers": _ETAG}},
    )
    async def letter(
        letter_id: LetterId,
        asked: Annotated[schemas.LetterQuery, Query()],
        response: Response,
        caller: Principal = Depends(viewer),
    ) -> schemas.LetterDetail:
        if asked.payload:
            demand_operator(caller)
        found = await desk.read(lookup.get, letter_id)
        if asked.payload or found.seen_at is None:
            await desk.write(looked, found, caller.name, payload=asked.payload)
        return _shown(found, response, payload_shown=asked.payload)

    @api.get(
        "/letters/{letter_id}/history",
        operation_id="letterHistory",
        summary="What happened to a letter, newest first; also to one that is purged",
        responses=_problems("no-such-page"),
    )
    async def history(
        letter_id: LetterId, asked: Annotated[schemas.PageQuery, Query()], _: Principal = Depends(viewer)
    ) -> EventPage:
        of_letter = EventFilter(letter_id=lookup.as_id(letter_id))
        page = await desk.call("audit", of_letter, limit=asked.limit, cursor=asked.cursor)
        if not page.events and asked.cursor is None:
            await desk.read(lookup.get, letter_id)
        return page

    @api.get("/groups", operation_id="listGroups", summary="Letters by bug, most letters first", responses=_problems())
    async def groups(asked: Annotated[schemas.GroupsQuery, Query()], _: Principal = Depends(viewer)) -> schemas.Groups:
        return schemas.Groups(groups=await desk.call("groups", status=asked.status, limit=asked.limit))

    @api.get("/stats", operation_id="showStats", summary="How many letters there are", responses=_problems())
    async def stats(_query: Annotated[schemas.NoQuery, Query()], _: Principal = Depends(viewer)) -> Stats:
        return await desk.call("stats")

    @api.get(
        "/audit", operation_id="listAudit", summary="Who did what, newest first", responses=_problems("no-such-page")
    )
    async def audit(asked: Annotated[schemas.AuditQuery, Query()], _: Principal = Depends(viewer)) -> EventPage:
        return await desk.call("audit", asked.filter, limit=asked.limit, cursor=asked.cursor)


def _acting(api: APIRouter, desk: Desk, operator: Callable[..., Any], body_limit: int) -> None:
    """Changes of one letter, each by If-Match."""
    responses = _problems("wrong-state", "refused", "changed", "if-match-missing", *_CHANGING)
    responses[200] = {"headers": _ETAG}

    @api.put(
        "/letters/{letter_id}/payload",
        operation_id="editLetter",
        summary="Gives a dead or parked letter another payload",
        responses=responses,
        openapi_extra=bodies.documented(schemas.NewPayload),
    )
    async def edit(
        letter_id: LetterId,
        if_match: IfMatch,
        response: Response,
        caller: Principal = Depends(operator),
        body: Any = Depends(bodies.reader(schemas.NewPayload, body_limit)),
    ) -> schemas.LetterDetail:
        new, fence = payload.decode(body.payload), _fence(if_match)
        edited = await desk.call("edit", letter_id, new, actor=caller.name, reason=body.reason, if_match=fence)
        return _shown(edited, response)

    @api.post(
        "/letters/{letter_id}/discard",
        operation_id="discardLetter",
        summary="Drops a dead, parked or doubtful letter: it is kept, but not redriven",
        responses=responses,
        openapi_extra=bodies.documented(schemas.NeedsReason),
    )
    async def discard(
        letter_id: LetterId,
        if_match: IfMatch,
        response: Response,
        caller: Principal = Depends(operator),
        body: Any = Depends(bodies.reader(schemas.NeedsReason, body_limit)),
    ) -> schemas.LetterDetail:
        moved = await desk.call(
            "discard", [letter_id], actor=caller.name, reason=body.reason, if_match=_fence(if_match)
        )
        return await _moved(desk, moved[0], DISCARDED, response)

    @api.post(
        "/letters/{letter_id}/restore",
        operation_id="restoreLetter",
        summary="Makes a parked, discarded or doubtful letter dead again",
        responses=responses,
        openapi_extra=bodies.documented(schemas.MaybeReason),
    )
    async def restore(
        letter_id: LetterId,
        if_match: IfMatch,
        response: Response,
        caller: Principal = Depends(operator),
        body: Any = Depends(bodies.reader(schemas.MaybeReason, body_limit)),
    ) -> schemas.LetterDetail:
        moved = await desk.call(
            "restore", [letter_id], actor=caller.name, reason=body.reason, if_match=_fence(if_match)
        )
        return await _moved(desk, moved[0], edits.RESTORED, response)


def _redriving(api: APIRouter, desk: Desk, operator: Callable[..., Any], body_limit: int) -> None:
    """Redrives: bulk acts by an idempotency key, worked on beside the request."""
    problems = ("wrong-state", "no-handler", "key-reused", "refused", "changed", "bad-idempotency-key", *_CHANGING)
    begun: dict[int | str, dict[str, Any]] = {
        202: {"description": "Begun, or begun before under this key", "headers": _LOCATION}
    }

    @api.post(
        "/letters/{letter_id}/redrive",
        operation_id="redriveLetter",
        summary="Puts a letter back to work",
        status_code=202,
        responses=_problems(*problems, "if-match-missing") | begun,
        openapi_extra=bodies.documented(schemas.MaybeReason),
    )
    async def one(
        letter_id: LetterId,
        if_match: IfMatch,
        idempotency_key: Key,
        request: Request,
        response: Response,
        caller: Principal = Depends(operator),
        body: Any = Depends(bodies.reader(schemas.MaybeReason, body_limit)),
    ) -> Operation:
        asked, act = Filter(ids=(lookup.as_id(letter_id),)), Act(actor=caller.name, reason=body.reason)
        fence, key = _fence(if_match), _key(idempotency_key)
        operation = await desk.write(begin, asked, act, desk.core, key=key, if_match=fence)
        return _begun(desk, operation, request, response)

    @api.post(
        "/redrive",
        operation_id="redriveLetters",
        summary="Puts letters back to work, by their ids or by what they have in common",
        status_code=202,
        responses=_problems(*problems)
        | begun
        | {200: {"description": "What would be done (dry_run)", "model": schemas.DryRun}},
        response_model=Operation,
        openapi_extra=bodies.documented(schemas.Redrive),
    )
    async def many(
        idempotency_key: Key,
        request: Request,
        response: Response,
        caller: Principal = Depends(operator),
        body: Any = Depends(bodies.reader(schemas.Redrive, body_limit)),
    ) -> Operation | Response:
        asked, everything, key = _asked(body), isinstance(body, schemas.RedriveAll), _key(idempotency_key)
        if body.dry_run:
            return JSONResponse(jsonable_encoder(await _dry_run(desk, asked, caller, everything=everything)))
        act = Act(actor=caller.name, reason=body.reason)
        operation = await desk.write(
            begin, asked, act, desk.core, key=key, options=body.options.bulk, everything=everything
        )
        return _begun(desk, operation, request, response)


def _operations(api: APIRouter, desk: Desk, viewer: Callable[..., Any]) -> None:
    """Bulk acts, seen."""

    @api.get(
        "/operations",
        operation_id="listOperations",
        summary="Bulk acts, newest first",
        responses=_problems("no-such-page"),
    )
    async def operations(
        asked: Annotated[schemas.OperationsQuery, Query()], _: Principal = Depends(viewer)
    ) -> OperationPage:
        return await desk.call("operations", status=asked.status, limit=asked.limit, cursor=asked.cursor)

    @api.get(
        "/operations/{operation_id}",
        operation_id="showOperation",
        summary="A bulk act, and how far it is",
        responses=_problems(),
    )
    async def operation(
        operation_id: OperationId, _query: Annotated[schemas.NoQuery, Query()], _: Principal = Depends(viewer)
    ) -> Operation:
        return await desk.call("operation", operation_id)


def _steering(api: APIRouter, desk: Desk, operator: Callable[..., Any], body_limit: int) -> None:
    """Bulk acts, steered."""
    responses = _problems("wrong-state", "no-handler", "refused", *_CHANGING)

    def steer(verb: str, summary: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return api.post(
            f"/operations/{{operation_id}}/{verb}",
            operation_id=f"{verb}Operation",
            summary=summary,
            responses=responses,
            openapi_extra=bodies.documented(schemas.MaybeReason),
        )

    reading = Depends(bodies.reader(schemas.MaybeReason, body_limit))

    @steer("pause", "Stops a bulk act before its next letter")
    async def pause(operation_id: OperationId, caller: Principal = Depends(operator), body: Any = reading) -> Operation:
        return await desk.call("pause", operation_id, actor=caller.name, reason=body.reason)

    @steer("resume", "Lets a bulk act go on that is paused, or was stopped, or whose process is gone")
    async def resume(
        operation_id: OperationId, caller: Principal = Depends(operator), body: Any = reading
    ) -> Operation:
        found = await desk.call("operation", operation_id)
        if found.kind != bulk.REDRIVE:
            raise Problem("refused", f"the API redrives, and this is to {found.kind}: resume it by `unhush dlq`")
        demand_handler(desk.core, found.filter.get("queue"))
        if found.status != "running":
            found = await desk.call("resume", operation_id, actor=caller.name, reason=body.reason)
        desk.begin_work(found.id)
        return found

    @steer("cancel", "Ends a bulk act before its next letter, for good")
    async def cancel(
        operation_id: OperationId, caller: Principal = Depends(operator), body: Any = reading
    ) -> Operation:
        return await desk.call("cancel", operation_id, actor=caller.name, reason=body.reason)


def _problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    return documented(*_ALWAYS, *kinds)


def _fence(if_match: str) -> int:
    """The letter's version that an If-Match header names. What is no ETag of a letter matches none."""
    found = re.fullmatch(r'"([0-9]{1,18})"', if_match)
    if found is None:
        raise Problem("changed", "If-Match must be the letter's ETag, as it was seen")
    return int(found[1])


def _key(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,255}", text):
        raise bad_key()
    return text


def _shown(letter: Letter, response: Response, *, payload_shown: bool = False) -> schemas.LetterDetail:
    response.headers["ETag"] = f'"{letter.fence}"'
    summary = {field.name: getattr(letter, field.name) for field in fields(LetterSummary)}
    return schemas.LetterDetail(
        **summary,
        error_message=letter.error_message,
        traceback=letter.traceback,
        changed_paths=letter.changed_paths,
        payload_shown=payload_shown,
        headers=payload.encode(letter.headers).data if payload_shown else None,
        payload=payload.encode(letter.payload).data if payload_shown else None,
    )


async def _moved(desk: Desk, outcome: Outcome, expected: str, response: Response) -> schemas.LetterDetail:
    if outcome.result != expected:
        raise refused([outcome])
    return _shown(await desk.read(lookup.get, outcome.letter_id), response)


def _asked(body: schemas.Redrive) -> Filter:
    match body:
        case schemas.RedriveIds():
            return Filter(ids=tuple(dict.fromkeys(lookup.as_id(letter_id) for letter_id in body.ids)))
        case schemas.RedriveMatching():
            return body.filter.filter
        case schemas.RedriveAll():
            return Filter()


async def _dry_run(desk: Desk, asked: Filter, caller: Principal, *, everything: bool) -> schemas.DryRun:
    if asked.ids is None:
        preview = await desk.call("preview", bulk.REDRIVE, asked, everything=everything)
        return schemas.DryRun(total=preview.total, refused=preview.refused, outcomes=[])
    outcomes = await desk.call("redrive", asked.ids, actor=caller.name, dry_run=True)
    bad = sum(outcome.result != redrive.WOULD_REDRIVE for outcome in outcomes)
    return schemas.DryRun(total=len(outcomes), refused=bad, outcomes=outcomes)


def _begun(desk: Desk, operation: Operation, request: Request, response: Response) -> Operation:
    """Has a bulk act worked on that still runs; the answer says where it can be watched."""
    if operation.status == "running":
        desk.begin_work(operation.id)
    above = request.url.path.partition(PREFIX)[0]  # of a host that mounts its app elsewhere
    response.headers["Location"] = f"{above}{PREFIX}/operations/{operation.id}"
    return operation

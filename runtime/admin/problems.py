"""Errors as RFC 9457 problem details: what the API says in place of any other error, and how it is documented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from starlette.exceptions import HTTPException

from .. import letters
from ..letters import DeadLetterError, Outcome

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """One kind of problem: its status and a title that never changes."""

    status: int
    title: str


KINDS = {
    "bad-idempotency-key": Kind(400, "The Idempotency-Key header is missing, or not 1 to 255 visible characters"),
    "unauthenticated": Kind(401, "No valid credentials"),
    "forbidden": Kind(403, "The role does not allow this"),
    "not-found": Kind(404, "There is no such thing"),
    "no-such-page": Kind(404, "The cursor is not one of this list"),
    "method-not-allowed": Kind(405, "The resource does not have this method"),
    "wrong-state": Kind(409, "The status does not allow the act"),
    "no-handler": Kind(409, "No handler is registered for the queue"),
    "key-reused": Kind(409, "The idempotency key belongs to another request"),
    "refused": Kind(409, "The queue refused the act"),
    "changed": Kind(412, "The letter is not as the If-Match header says"),
    "body-too-large": Kind(413, "The body is too large"),
    "not-json": Kind(415, "The body must be application/json"),
    "invalid": Kind(422, "The request does not say what is needed"),
    "if-match-missing": Kind(428, "The If-Match header is missing"),
    "internal": Kind(500, "The server failed"),
    "unavailable": Kind(503, "The database can't be used"),
}
# Problems of a host's own dependencies, by status.
_BY_STATUS = {kind.status: name for name, kind in reversed(KINDS.items())}
_OF_ERRORS: tuple[tuple[type[DeadLetterError], str], ...] = (
    (letters.NoSuchLetter, "not-found"),
    (letters.BadCursor, "no-such-page"),
    (letters.WrongState, "wrong-state"),
    (letters.LeaseLost, "changed"),
    (letters.KeyReused, "key-reused"),
    (letters.NoHandler, "no-handler"),
    (letters.EmptyFilter, "invalid"),
    (letters.SchemaProblem, "unavailable"),
)
# What refuses an act on one letter, by the outcome's word; any other word is `refused`.
_OF_OUTCOMES = {
    "unknown": "not-found",
    "changed": "changed",
    "no_handler": "no-handler",
    "wrong_state": "wrong-state",
    "busy": "wrong-state",
}


class Problem(Exception):
    """A problem to answer with: its kind, one line for a person, and further members."""

    def __init__(self, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.kind = kind
        self.headers = headers
        self.members = members

    @property
    def response(self) -> JSONResponse:
        """The problem as a response."""
        status, title = KINDS[self.kind]
        return _response(_type(self.kind), title, status, str(self), self.headers, **self.members)


def unauthenticated(detail: str) -> Problem:
    """The problem of a caller whom nobody knows."""
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="unhush"'})


def bad_key() -> Problem:
    """The problem of a request whose idempotency key can't be used."""
    return Problem("bad-idempotency-key", "send an Idempotency-Key: new for each act, the same when it is sent again")


def refused(outcomes: Sequence[Outcome]) -> Problem:
    """The problem of an act that some letters refuse: of the first of them, with all of them as `outcomes`."""
    first = outcomes[0]
    told = [{"letter_id": each.letter_id, "result": each.result, "detail": each.detail} for each in outcomes]
    return Problem(
        _OF_OUTCOMES.get(first.result, "refused"), f"letter {first.letter_id}: {first.detail}", outcomes=told
    )


def to_response(error: Exception) -> JSONResponse | None:
    """What to answer for an error; None for one that nobody expected."""
    match error:
        case Problem():
            return error.response
        case RequestValidationError():
            return Problem("invalid", "parameters are wrong", errors=told(error.errors())).response
        case HTTPException():
            return _of_host(error)
        case DeadLetterError():
            kind = next((kind for of, kind in _OF_ERRORS if isinstance(error, of)), "refused")
            return Problem(kind, str(error)).response
        case DBAPIError() | NoFreeConnection():
            return Problem(
                "unavailable", "the database did not answer: try again", headers={"Retry-After": "5"}
            ).response
    return None


def told(errors: Sequence[Any]) -> list[dict[str, str]]:
    """Validation errors without what was sent: that may be a secret."""
    return [{"where": ".".join(str(part) for part in each["loc"]), "problem": str(each["msg"])} for each in errors]


def _of_host(error: HTTPException) -> JSONResponse:
    """An error that the host's own dependency raised, with its status and headers."""
    kind = _BY_STATUS.get(error.status_code)
    title = KINDS[kind].title if kind else _phrase(error.status_code)
    detail = error.detail if isinstance(error.detail, str) else title
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.UNAUTHORIZED and not any(name.lower() == "www-authenticate" for name in headers):
        headers["WWW-Authenticate"] = 'Bearer realm="unhush"'
    return _response(_type(kind) if kind else "about:blank", title, error.status_code, detail, headers)


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in {each.value for each in HTTPStatus} else "Error"


def _type(kind: str) -> str:
    return f"urn:unhush:problem:{kind}"


def _response(
    type_: str, title: str, status: int, detail: str, headers: Mapping[str, str] | None, **members: Any
) -> JSONResponse:
    content = {"type": type_, "title": title, "status": status, "detail": detail, **members}
    return JSONResponse(content, status, dict(headers or {}), MEDIA_TYPE)


def documented(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """These problems as OpenAPI responses, by status: which types each status may have, and an example."""
    statuses: dict[int | str, list[str]] = {}
    for kind in kinds:
        statuses.setdefault(KINDS[kind].status, []).append(kind)
    return {status: _documented(int(status), of) for status, of in sorted(statuses.items())}


def _documented(status: int, kinds: list[str]) -> dict[str, Any]:
    example = {"type": _type(kinds[0]), "title": KINDS[kinds[0]].title, "status": status, "detail": "..."}
    content = {MEDIA_TYPE: {"schema": _schema(status, kinds), "example": example}}
    shown: dict[str, Any] = {"description": "; ".join(KINDS[kind].title for kind in kinds), "content": content}
    header = {401: "WWW-Authenticate", 503: "Retry-After"}.get(status)
    if header:
        shown["headers"] = {header: {"schema": {"type": "string"}, "required": status == HTTPStatus.UNAUTHORIZED}}
    return shown


def _schema(status: int, kinds: list[str]) -> dict[str, Any]:
    text = {"type": "string"}
    types: dict[str, Any] = {"type": "string", "format": "uri"}
    # A host's own dependency says 401 and 403 in its own words, but by the same types.
    types |= {"enum": [_type(kind) for kind in kinds]}
    properties = {"type": types, "title": text, "status": {"const": status}, "detail": text}
    required = list(properties)
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        properties["errors"] = _listed("where", "problem")
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED):
        properties["outcomes"] = _listed("letter_id", "result", "detail")
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _listed(*names: str) -> dict[str, Any]:
    item = {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": list(names)}
    return {"type": "array", "items": item}

"""Reading a request's body, after the caller is known: its type, its size, its fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from .problems import Problem, told


def reader(model: Any, limit_bytes: int) -> Callable[[Request], Any]:
    """A dependency that gives the body as that model."""
    adapter = TypeAdapter(model)

    async def read(request: Request) -> Any:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Problem("not-json", "send the body with `Content-Type: application/json`")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit_bytes:
                raise Problem("body-too-large", f"at most {limit_bytes} bytes")
        try:
            return adapter.validate_json(bytes(body), strict=True)
        except ValidationError as error:
            errors = told(error.errors(include_input=False, include_context=False, include_url=False))
            raise Problem("invalid", "the body is wrong", errors=errors) from None

    return read


def documented(model: Any) -> dict[str, Any]:
    """The body as OpenAPI has it."""
    schema = TypeAdapter(model).json_schema()
    named = schema.pop("$defs", {})
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _inlined(schema, named)}}}}


def _inlined(schema: Any, named: dict[str, Any]) -> Any:
    """The schema without references to others: what a router adds to its host's document must stand for itself."""
    if isinstance(schema, list):
        return [_inlined(item, named) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inlined = {key: _inlined(value, named) for key, value in schema.items() if key != "$ref"}
    if "$ref" in schema:
        inlined = _inlined(named[schema["$ref"].rpartition("/")[2]], named) | inlined
    return inlined

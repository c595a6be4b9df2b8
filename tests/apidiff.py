"""What of an OpenAPI document clients rely on, and which changes of it break them."""

from __future__ import annotations

from typing import Any

# Words for people, which may change at will.
_WORDS = {"title", "description", "summary", "example", "examples"}


def comparable(document: dict[str, Any]) -> dict[str, Any]:
    """The document without words for people and without the version of the program."""
    return {name: _bare(document[name]) for name in ("openapi", "paths", "components")}


def _bare(value: Any, *, names: bool = False) -> Any:
    """`names` says that the keys are names of fields: one may well be called `title`."""
    if isinstance(value, list):
        return [_bare(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: item for key, item in value.items() if names or key not in _WORDS}
    return {key: _bare(item, names=key in ("properties", "headers", "schemas")) for key, item in kept.items()}


def breaking(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The changes from one document to the other that break clients, one line each."""
    found = []
    for path, item in old["paths"].items():
        for method, operation in item.items():
            where = f"{method.upper()} {path}"
            now = new["paths"].get(path, {}).get(method)
            found += [f"{where}: gone"] if now is None else _operation(where, operation, now)
    for name, schema in old["components"]["schemas"].items():
        found += _answer(name, schema, new["components"]["schemas"].get(name))
    return found


def _operation(where: str, old: Any, new: Any) -> list[str]:
    found = [] if old["operationId"] == new["operationId"] else [f"{where}: another operationId"]
    if old.get("security") != new.get("security"):
        found.append(f"{where}: other security")
    before, now = (_parameters(operation) for operation in (old, new))
    for key, parameter in before.items():
        if key not in now:
            found.append(f"{where}: parameter {key} gone")
        elif now[key] != parameter:
            found.append(f"{where}: parameter {key} is another")
    found += [f"{where}: new parameter {key} is demanded" for key in now if key not in before and _demanded(now[key])]
    found += _body(f"{where}: body", _schema_asked(old), _schema_asked(new))
    for status, response in old["responses"].items():
        found += _response(f"{where}: {status}", response, new["responses"].get(status))
    return found


def _parameters(operation: Any) -> dict[str, Any]:
    return {f"{each['in']}.{each['name']}": each for each in operation.get("parameters", ())}


def _demanded(parameter: Any) -> bool:
    return bool(parameter.get("required"))


def _schema_asked(operation: Any) -> Any:
    content = operation.get("requestBody", {}).get("content", {})
    return content.get("application/json", {}).get("schema")


def _body(where: str, old: Any, new: Any) -> list[str]:
    """What a body may no longer hold, or must hold by now: optional fields may be added, and nothing else may change."""
    choices, others = (old or {}).get("anyOf", ()), (new or {}).get("anyOf", ())
    if "properties" not in (old or {}) and 0 < len(choices) <= len(others):
        pairs = zip(choices, others, strict=False)
        return [line for before, now in pairs for line in _body(where, before, now)]
    if not (isinstance(old, dict) and isinstance(new, dict) and "properties" in old):
        return [] if old == new else [f"{where}: is another"]
    found = [f"{where}.{name}: is demanded" for name in new.get("required", ()) if name not in old.get("required", ())]
    for name, schema in old["properties"].items():
        found += _body(f"{where}.{name}", schema, new.get("properties", {}).get(name))
    return found


def _response(where: str, old: Any, new: Any) -> list[str]:
    if new is None:
        return [f"{where} gone"]
    found = [f"{where}: header {name} gone" for name in old.get("headers", {}) if name not in new.get("headers", {})]
    for media, content in old.get("content", {}).items():
        found += _answer(f"{where} {media}", content["schema"], new.get("content", {}).get(media, {}).get("schema"))
    return found


def _answer(where: str, old: Any, new: Any) -> list[str]:
    """What an answer no longer holds: fields may be added, and nothing else may change."""
    if new is None:
        return [f"{where}: gone"]
    if not isinstance(old, dict) or "properties" not in old:
        return [] if old == new else [f"{where}: is another"]
    found = []
    for name, schema in old["properties"].items():
        found += _answer(f"{where}.{name}", schema, new.get("properties", {}).get(name))
    missing = [name for name in old.get("required", ()) if name not in new.get("required", ())]
    return found + [f"{where}.{name}: may be missing" for name in missing]

"""The JSON schema of the settings, for editors: made from the declared keys and the rules that there are."""

from __future__ import annotations

import json
import re
from typing import Any

from .codemods.rules import all_rules
from .keys import DECLARED, Key
from .selectors import valid_selectors

FILE = "unhush.schema.json"  # within the package
_DOTTED = r"^[^\W\d]\w*(\.[^\W\d]\w*)*$"
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


def schema() -> dict[str, Any]:
    """The schema (draft 7, which editors know best) of an unhush.toml, and of the table in a pyproject.toml."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Settings of unhush",
        "description": "An unhush.toml or .unhush.toml, or the table [tool.unhush] of a pyproject.toml.",
        "type": "object",
        "additionalProperties": False,
        "properties": {key.name: _property(key) for key in DECLARED},
        "definitions": {
            "strings": {"type": "array", "items": {"type": "string"}},
            "rules": {
                "type": "array",
                "items": {"type": "string", "anyOf": [{"enum": valid_selectors()}, {"pattern": _pattern()}]},
            },
        },
    }


def schema_text() -> str:
    """The schema as the file has it."""
    return json.dumps(schema(), indent=2) + "\n"


def _property(key: Key) -> dict[str, Any]:
    words = _LINK.sub(r"\1", key.doc)
    found: dict[str, Any] = {"description": words, **_shape(key)}
    if key.default is not None:
        found["default"] = list(key.default) if isinstance(key.default, tuple) else key.default
    return found


def _shape(key: Key) -> dict[str, Any]:
    """What values a key may have. A reference is no place for siblings in this draft, so that it stands in `allOf`."""
    rules = {"allOf": [{"$ref": "#/definitions/rules"}]}
    shapes: dict[str, dict[str, Any]] = {
        "rules": rules,
        "patterns": {"allOf": [{"$ref": "#/definitions/strings"}]},
        "names": {"type": "array", "items": {"type": "string", "pattern": _DOTTED}},
        "ignores": {"type": "object", "additionalProperties": rules},
        "choice": {"enum": list(key.choices)},
        "boolean": {"type": "boolean"},
        "path": {"type": "string", "minLength": 1},
        "reference": {"type": "string", "pattern": ".:."},
        "table": {"type": "object"},
    }
    return shapes[key.kind]


def _pattern() -> str:
    """What may stand where rules are named, beside the words an editor offers: the same in any case, and every beginning of a code."""
    codes = {code[:length] for code in all_rules() for length in range(3, len(code) + 1)}
    return f"^(?:{'|'.join(_any_case(word) for word in sorted({*codes, *valid_selectors()}))})$"


def _any_case(word: str) -> str:
    return "".join(f"[{letter.upper()}{letter.lower()}]" if letter.isalpha() else letter for letter in word)

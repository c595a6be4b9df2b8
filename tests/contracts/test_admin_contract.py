"""The recorded contract of the admin API: whoever changes it says so, and breaking changes are named.

To record it anew: UNHUSH_RECORD_CONTRACT=1 python -m pytest tests/contracts/test_admin_contract.py
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apidiff import breaking, comparable

from unhush.runtime.admin import PREFIX, app
from unhush.runtime.dlq import DeadLetterQueue

RECORDED = Path(__file__).with_name("admin-openapi.json")
LETTER = f"{PREFIX}/letters/{{letter_id}}"


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    """The document as the code has it now."""
    with DeadLetterQueue(f"sqlite:///{tmp_path}/none.db") as queue:
        return comparable(app(queue, auth="tokens").openapi())


def test_the_contract_is_the_recorded_one(document):
    """Clients find what was recorded; a change of the API is recorded with it, and says what it breaks."""
    if os.environ.get("UNHUSH_RECORD_CONTRACT"):
        RECORDED.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    recorded = json.loads(RECORDED.read_text())
    broken = breaking(recorded, document)
    assert not broken, "breaking changes:\n" + "\n".join(broken)
    assert document == recorded, f"the API has changed, and breaks no client: record it anew ({__doc__})"


BREAKING: dict[str, Callable[[Any], Any]] = {
    "operation gone": lambda d: d["paths"].pop(f"{PREFIX}/stats"),
    "method gone": lambda d: d["paths"][LETTER].pop("get"),
    "name of an operation": lambda d: d["paths"][LETTER]["get"].update(operationId="other"),
    "status gone": lambda d: d["paths"][f"{LETTER}/discard"]["post"]["responses"].pop("412"),
    "parameter gone": lambda d: d["paths"][f"{PREFIX}/letters"]["get"]["parameters"].pop(),
    "parameter demanded": lambda d: d["paths"][f"{PREFIX}/letters"]["get"]["parameters"][0].update(required=True),
    "field of an answer gone": lambda d: d["components"]["schemas"]["LetterSummary"]["properties"].pop("fence"),
    "type of a field": lambda d: d["components"]["schemas"]["LetterSummary"]["properties"].update(fence={}),
    "field of a body demanded": lambda d: body(d)["required"].append("reason"),
    "field of a body gone": lambda d: body(d)["properties"].pop("reason"),
    "limit of a body": lambda d: body(d)["properties"]["reason"].update(maxLength=5),
    "kind of problem gone": lambda d: d["paths"][f"{LETTER}/discard"]["post"]["responses"]["409"].pop("content"),
}


def body(document: Any) -> Any:
    """The schema of a body."""
    return document["paths"][f"{LETTER}/payload"]["put"]["requestBody"]["content"]["application/json"]["schema"]


@pytest.mark.parametrize("change", BREAKING)
def test_breaking_changes_are_seen(document, change):
    """Whatever a client may rely on is named when it goes."""
    changed = copy.deepcopy(document)
    BREAKING[change](changed)
    assert breaking(document, changed)


def test_additions_break_nobody(document):
    """New operations, optional parameters and fields are changes, but break no client."""
    changed = copy.deepcopy(document)
    changed["paths"][f"{PREFIX}/new"] = {"get": {"operationId": "new", "responses": {}}}
    changed["paths"][f"{PREFIX}/letters"]["get"]["parameters"].append({"name": "new", "in": "query", "schema": {}})
    body(changed)["properties"]["new"] = {"type": "string"}
    changed["components"]["schemas"]["LetterSummary"]["properties"]["new"] = {"type": "string"}
    assert changed != document
    assert breaking(document, changed) == []

"""Whether the admin API does what its OpenAPI document says: schemathesis, all of it. UNHUSH_WHOLE=1 sends more."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from adminserver import Counted, peopled, schemathesis, served
from fastapi import FastAPI
from schemathesis import openapi
from services import fresh_database

from unhush.runtime.admin import PREFIX, desk
from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.engine import make_engine
from unhush.sql.runner import upgrade

WHOLE = bool(os.environ.get("UNHUSH_WHOLE"))


@pytest.fixture(params=["sqlite", "postgresql"])
def dlq(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeadLetterQueue]:
    """A queue with its tables, and the flag on."""
    monkeypatch.setenv("FEATURE_FLAG_DLQ_ENABLED", "true")
    monkeypatch.setattr(desk, "SHUTDOWN_SECONDS", 1.0)  # a bulk act of a letter an hour sleeps long
    with fresh_database(request.param, str(tmp_path)) as url:
        engine = make_engine(url)
        upgrade(engine)
        engine.dispose()
        with DeadLetterQueue(url, spool=tmp_path / "spool") as queue:
            yield queue


@pytest.mark.timeout(3600 if WHOLE else 300)
def test_the_api_does_what_its_document_says(dlq, tmp_path):
    """Schemathesis finds nothing wrong with any operation, and each of them was also seen to do its work."""
    api, ids, token = peopled(dlq)
    counted = Counted(api)
    with served(counted) as url:
        changed(api, url, token, ids["letter_id"])
        code, told = schemathesis(url, tmp_path, ids=ids, token=token, examples=100 if WHOLE else 3)
    assert code == 0, told
    operations = [(method.upper(), path) for path, item in api.openapi()["paths"].items() for method in item]
    assert f"Selected: {len(operations)}/{len(operations)}" in told
    assert f"Tested: {len(operations)}" in told
    done = {(method, path) for method, path, status in counted.answers if status < 300}
    assert [each for each in operations if (each[0], re.sub(r"\{\w+\}", "{}", each[1])) not in done] == []
    seen = {status for _, _, status in counted.answers}
    assert seen >= {200, 202, 400, 401, 404, 405, 409, 412, 415, 422, 428}


def changed(api: FastAPI, url: str, token: str, letters: list[str]) -> None:
    """Does each change of a letter once, as random requests may not, and holds the answers against the document."""
    document = openapi.from_dict(api.openapi())
    dead, parked = letters[0], letters[1]  # in the order of adminserver.STATUSES
    steps = [
        ("PUT", "payload", dead, '"0"', {"payload": {"to": "b"}}),
        ("POST", "discard", dead, '"1"', {"reason": "old"}),
        ("POST", "restore", dead, '"2"', {}),
        ("POST", "redrive", dead, '"3"', {"reason": "mended"}),
        ("POST", "discard", parked, '"0"', {"reason": "old"}),
    ]
    for method, verb, letter, etag, body in steps:
        headers = {"Authorization": f"Bearer {token}", "If-Match": etag, "Idempotency-Key": letter}
        answer = httpx.request(method, f"{url}{PREFIX}/letters/{letter}/{verb}", json=body, headers=headers)
        assert answer.status_code in (200, 202), answer.text
        document[f"{PREFIX}/letters/{{letter_id}}/{verb}"][method].validate_response(answer)


@pytest.mark.parametrize("dlq", ["sqlite"], indirect=True)
@pytest.mark.parametrize("fault", ["undocumented status", "undocumented answer", "nothing"])
def test_schemathesis_finds_faults(dlq, tmp_path, fault):
    """A route whose document is wrong is found, by its status or its answer, and one that is right is not."""
    api: FastAPI = peopled(dlq)[0]

    @api.get("/probe", status_code=200)
    async def probe() -> int:
        return 1

    described = api.openapi()["paths"]["/probe"]["get"]["responses"]
    if fault == "undocumented status":
        described["201"] = described.pop("200")
    elif fault == "undocumented answer":
        described["200"]["content"]["application/json"]["schema"] = {"type": "string"}
    with served(api) as url:
        code, told = schemathesis(
            url,
            tmp_path,
            "--include-path=/probe",
            ids={"letter_id": ["x"], "operation_id": ["x"]},
            token="none",
            examples=3,
        )
    expected = {"undocumented status": "Undocumented status code", "undocumented answer": "Response violates schema"}
    assert (code, expected.get(fault, "") in told) == (0 if fault == "nothing" else 1, True), told

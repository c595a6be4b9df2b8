"""The admin API as a client meets it: roles, safe changes, idempotent redrives, and what it never says."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from deadletters import add, add_many, kinds, state
from fastapi import Depends, FastAPI, Header, HTTPException

from unhush.runtime import tokens
from unhush.runtime.admin import PREFIX, Principal, app, router
from unhush.runtime.admin.desk import Desk
from unhush.runtime.async_dlq import AsyncDeadLetterQueue
from unhush.runtime.dlq import DeadLetterQueue
from unhush.runtime.letters import DeadLetterError, EventFilter, Filter
from unhush.runtime.tables import operations
from unhush.runtime.tables import tokens as token_table

SECRET = "hunter2-the-secret"


class Client:
    """Calls the API as somebody with a role, each call on an event loop of its own."""

    def __init__(self, api: FastAPI, token: str = "") -> None:
        self.api = api
        self.token = token

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """One request; underscores in names of headers stand for dashes."""
        return asyncio.run(self.call(method, path, body, **headers))

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """The same from a coroutine."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token and "Authorization" not in named:
            named["Authorization"] = f"Bearer {self.token}"
        transport = httpx.ASGITransport(self.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            content = None if body is None else json.dumps(body)
            if content is not None:
                named.setdefault("Content-Type", "application/json")
            return await client.request(method, PREFIX + path, content=content, headers=named)


@pytest.fixture(autouse=True)
def _flag_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_FLAG_DLQ_ENABLED", "true")


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """A file, and a server: what differs between databases is tested with the acts themselves."""
    return request.param


@pytest.fixture
def token(dlq: DeadLetterQueue) -> Callable[..., str]:
    """Makes a token of a role."""

    def make(role: str, name: str = "", **options: Any) -> str:
        return dlq._write(tokens.create, name or f"the {role}", role, actor="test", **options)[1]

    return make


@pytest.fixture
def operator(dlq: DeadLetterQueue, token: Callable[..., str]) -> Client:
    """An operator's client."""
    return Client(app(dlq, auth="tokens"), token("operator", "ann"))


@pytest.fixture
def viewer(operator: Client, token: Callable[..., str]) -> Client:
    """A viewer's client of the same app."""
    return Client(operator.api, token("viewer", "vic"))


@pytest.fixture
def done(dlq: DeadLetterQueue) -> Callable[[str], Any]:
    """Waits until a bulk act has ended, and gives it."""

    def wait(operation_id: str) -> Any:
        end = time.monotonic() + 20
        while (found := dlq.operation(operation_id)).status in ("running", "paused"):
            assert time.monotonic() < end, found
            time.sleep(0.02)
        return found

    return wait


CHANGES = [
    ("PUT", "/letters/{}/payload", {"payload": {"to": "b"}}),
    ("POST", "/letters/{}/discard", {"reason": "old"}),
    ("POST", "/letters/{}/restore", {}),
    ("POST", "/letters/{}/redrive", {}),
]
ACTS = [*CHANGES, ("POST", "/redrive", {"filter": {"queue": "mail"}}), ("GET", "/letters/{}?payload=true", None)]
LOOKS = ["/letters", "/letters/{}", "/letters/{}/history", "/groups", "/stats", "/audit", "/operations"]


def problem(response: httpx.Response) -> tuple[int, str]:
    """The status and the kind of a problem, which must be one in all respects."""
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["status"] == response.status_code
    assert {"type", "title", "status", "detail"} <= set(told)
    return response.status_code, told["type"].removeprefix("urn:unhush:problem:")


def test_viewers_look_and_operators_act(dlq, operator, viewer):
    """A viewer's role opens what only reads, and is refused by the server for every act and for payloads."""
    letter = add(dlq, payload={"to": "a"})
    for path in LOOKS:
        assert viewer("GET", path.format(letter)).status_code == 200, path
    before = state(dlq, letter)
    for method, path, body in ACTS:
        answer = viewer(method, path.format(letter), body, If_Match='"0"', Idempotency_Key="k")
        assert problem(answer) == (403, "forbidden"), path
    assert state(dlq, letter) == before
    dlq.register("mail", lambda letter: None)
    assert operator("PUT", f"/letters/{letter}/payload", {"payload": 1}, If_Match='"0"').status_code == 200


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer ", "Bearer  ", "Bearer unhush_", "Bearer x", "Basic eDp5"])
def test_nobody_comes_in_without_a_token(dlq, operator, sent):
    """Every route answers 401 and says how to authenticate where there is no token, a blank or an unknown one."""
    letter = add(dlq)
    for method, path, body in [*ACTS, *(("GET", path, None) for path in LOOKS)]:
        answer = operator(method, path.format(letter), body, Authorization=sent, If_Match='"0"', Idempotency_Key="k")
        assert problem(answer) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert kinds(dlq, letter) == []
    assert operator("GET", "/letters").status_code == 200


def test_tokens_end(dlq, operator, token, rows):
    """A token that is revoked or expired no longer opens anything; only its hash was ever stored."""
    short, gone = token("viewer", "short", lifetime=timedelta(microseconds=1)), token("viewer", "gone")
    assert operator("GET", "/stats", Authorization=f"Bearer {gone}").status_code == 200
    dlq._write(tokens.revoke, "gone", actor="test")
    for ended in (short, gone):
        assert operator("GET", "/stats", Authorization=f"Bearer {ended}").status_code == 401
    stored = repr(rows(dlq, token_table))
    assert operator.token not in stored
    assert operator.token.startswith("unhush_")
    for wrong in (("", "viewer"), ("gone", "viewer"), ("x", "root")):
        with pytest.raises(DeadLetterError):
            dlq._write(tokens.create, *wrong, actor="test")
    audit = dlq.audit(EventFilter(actor="test")).events
    assert [event.kind for event in audit if event.kind == "token_revoked"] == ["token_revoked"]
    assert "unhush_" not in repr(audit)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize("auth", [None, "", "token", False, ()])
def test_it_refuses_to_start_without_authentication(dlq, auth):
    """Nothing is served where it is not said how callers are known; the error is one line."""
    with pytest.raises(DeadLetterError, match="needs authentication") as caught:
        router(dlq, auth=auth)
    assert "\n" not in str(caught.value)
    with pytest.raises(DeadLetterError):
        router(dlq)
    assert router(dlq, auth="tokens").routes


def test_it_is_not_there_while_the_flag_is_off(dlq, operator, monkeypatch):
    """Every path answers 404 while DLQ_ENABLED is wholly off, asked anew with each request; on a percentage it is there."""
    letter = add(dlq)
    monkeypatch.setenv("FEATURE_FLAG_DLQ_ENABLED", "false")
    for method, path, body in [*ACTS, *(("GET", path, None) for path in LOOKS), ("GET", "/x", None), ("PUT", "", 1)]:
        answer = operator(method, path.format(letter), body, If_Match='"0"', Idempotency_Key="k")
        assert problem(answer) == (404, "not-found")
    monkeypatch.setenv("FEATURE_FLAG_DLQ_ENABLED", "1%")
    assert operator("GET", "/letters").status_code == 200


def test_changes_need_the_version_that_was_seen(dlq, operator):
    """A change without If-Match is 428, with an old version 412, and changes nothing; with the ETag it is done."""
    dlq.register("mail", lambda letter: None)
    for method, path, body in CHANGES:
        letter = add(dlq, status="parked" if "restore" in path else "dead")
        where = path.format(letter)
        assert problem(operator(method, where, body, Idempotency_Key=letter)) == (428, "if-match-missing")
        for stale in ('"7"', '"x"', 'W/"0"', "*", '"0", "7"'):
            answer = operator(method, where, body, If_Match=stale, Idempotency_Key=letter)
            assert problem(answer) == (412, "changed"), (path, stale)
        assert kinds(dlq, letter) == []
        etag = operator("GET", f"/letters/{letter}").headers["etag"]
        assert operator(method, where, body, If_Match=etag, Idempotency_Key=letter).status_code in (200, 202)


def test_an_answer_carries_the_next_version(dlq, operator):
    """The ETag of one change serves the next, and each is in the history with who and why."""
    letter = add(dlq)
    first = operator("POST", f"/letters/{letter}/discard", {"reason": "old"}, If_Match='"0"')
    assert (first.json()["status"], first.headers["etag"]) == ("discarded", '"1"')
    again = operator("POST", f"/letters/{letter}/restore", {"reason": "not so old"}, If_Match=first.headers["etag"])
    assert (again.json()["status"], again.headers["etag"]) == ("dead", '"2"')
    told = operator("GET", f"/letters/{letter}/history").json()["events"]
    assert [(e["kind"], e["actor"], e["reason"]) for e in told] == [
        ("restored", "ann", "not so old"),
        ("discarded", "ann", "old"),
    ]
    wrong = operator("POST", f"/letters/{letter}/restore", {}, If_Match='"2"')
    assert problem(wrong) == (409, "wrong-state")
    assert wrong.json()["outcomes"][0]["letter_id"] == letter


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mariadb"], indirect=True)
def test_a_redrive_is_one_act_for_one_key(dlq, operator, done, rows):
    """The same key and request give the same act, by another server too; another request under it is refused."""
    run: list[str] = []
    dlq.register("mail", lambda letter: run.append(letter.id))
    letters = add_many(dlq, [{}, {}])
    body = {"ids": letters, "reason": "fixed"}
    first = operator("POST", "/redrive", body, Idempotency_Key="k1")
    assert first.status_code == 202
    where = first.headers["location"].removeprefix(PREFIX)
    assert done(first.json()["id"]).succeeded == 2
    assert operator("GET", where).json()["status"] == "done"
    restarted = Client(app(dlq, auth="tokens"), operator.token)
    again = restarted("POST", "/redrive", body, Idempotency_Key="k1")
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    other = restarted("POST", "/redrive", {**body, "reason": "else"}, Idempotency_Key="k1")
    assert problem(other) == (409, "key-reused")
    assert sorted(run) == sorted(letters)
    assert len(rows(dlq, operations)) == 1
    assert problem(operator("POST", "/redrive", body)) == (400, "bad-idempotency-key")
    assert problem(operator("POST", "/redrive", body, Idempotency_Key="a b")) == (400, "bad-idempotency-key")


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mariadb"], indirect=True)
def test_two_requests_at_once_are_one_act(dlq, operator, done, rows):
    """Requests with the same key that arrive together begin one act, and run each job once."""
    run: list[str] = []
    dlq.register("mail", lambda letter: run.append(letter.id))
    letter = add(dlq)

    async def together() -> list[httpx.Response]:
        sent = [
            operator.call("POST", f"/letters/{letter}/redrive", {}, If_Match='"0"', Idempotency_Key="k")
            for _ in range(5)
        ]
        return await asyncio.gather(*sent)

    answers = asyncio.run(together())
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    done(answers[0].json()["id"])
    assert run == [letter]
    assert len(rows(dlq, operations)) == 1


def test_refused_redrives_leave_the_key_free(dlq, operator, done):
    """What can't be redriven is told with its reason, begins nothing, and the key may be used again."""
    letter, parked = add(dlq), add(dlq, status="parked")
    one = f"/letters/{letter}/redrive"
    assert problem(operator("POST", one, {}, If_Match='"0"', Idempotency_Key="k")) == (409, "no-handler")
    by_filter = operator("POST", "/redrive", {"filter": {"queue": "mail"}}, Idempotency_Key="k")
    assert problem(by_filter) == (409, "no-handler")
    dlq.register("mail", lambda letter: None)
    for ids, expected in [([parked], (409, "wrong-state")), ([letter, parked], (409, "wrong-state"))]:
        assert problem(operator("POST", "/redrive", {"ids": ids}, Idempotency_Key="k")) == expected
    unknown = "01957f3c-0000-7000-8000-000000000000"
    assert problem(operator("POST", "/redrive", {"ids": [unknown]}, Idempotency_Key="k")) == (404, "not-found")
    assert dlq.operations().operations == []
    done(operator("POST", one, {}, If_Match='"0"', Idempotency_Key="k").json()["id"])
    assert state(dlq, letter).status == "redriven"


def test_a_redrive_does_not_hold_the_server(dlq, operator, done):
    """While a handler works, the API answers; a pause is seen before the next letter, and resumed it goes on."""
    began, go_on = threading.Event(), threading.Event()

    def slow(letter: Any) -> None:
        began.set()
        assert go_on.wait(20)

    dlq.register("mail", slow)
    add_many(dlq, [{}, {}])
    begun = operator("POST", "/redrive", {"filter": {"queue": "mail"}}, Idempotency_Key="k").json()
    assert began.wait(20)
    where = f"/operations/{begun['id']}"
    assert operator("GET", where).json()["status"] == "running"
    assert operator("POST", f"{where}/pause", {"reason": "wait"}).json()["status"] == "paused"
    go_on.set()
    end = time.monotonic() + 20
    while dlq.operation(begun["id"]).succeeded < 1 and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.2)
    assert dlq.operation(begun["id"]).succeeded == 1
    assert problem(operator("POST", f"{where}/pause", {})) == (409, "wrong-state")
    while operator("POST", f"{where}/resume", {}).status_code != 200 and time.monotonic() < end:
        time.sleep(0.02)
    assert done(begun["id"]).succeeded == 2
    assert problem(operator("POST", f"{where}/cancel", {})) == (409, "wrong-state")
    told = {(event.kind, event.actor) for event in dlq.audit(EventFilter(operation_id=begun["id"])).events}
    assert told >= {("bulk_started", "ann"), ("bulk_paused", "ann"), ("bulk_resumed", "ann"), ("redriven", "ann")}


def test_a_dry_run_changes_nothing(dlq, operator):
    """A dry run says what would be done, by ids and by filter, and writes nothing."""
    dlq.register("mail", lambda letter: None)
    letter, masked = add_many(dlq, [{}, {"redrivable": False}])
    by_ids = operator("POST", "/redrive", {"ids": [letter, masked], "dry_run": True}, Idempotency_Key="k")
    told = by_ids.json()
    assert (by_ids.status_code, told["total"], told["refused"]) == (200, 2, 1)
    assert [each["result"] for each in told["outcomes"]] == ["would_redrive", "not_redrivable"]
    every = operator("POST", "/redrive", {"all": True, "dry_run": True}, Idempotency_Key="k").json()
    assert (every["total"], every["refused"]) == (2, 1)
    assert dlq.audit(EventFilter(actor="ann")).events == []
    assert problem(operator("POST", "/redrive", {"filter": {}}, Idempotency_Key="k"))[0] == 422


def test_payloads_are_never_in_lists_and_their_reading_is_audited(dlq, operator, viewer):
    """Lists and a plain look hold no payload or headers; who asks for them is an operator, and in the audit."""
    letter = add(dlq, payload={"to": "marker-in-payload"}, headers={"x": "marker-in-headers"})
    for path in LOOKS:
        for client in (viewer, operator):
            assert "marker" not in client("GET", path.format(letter)).text
    assert [(e.kind, e.actor) for e in dlq.history(letter)] == [("seen", "vic")]
    shown = operator("GET", f"/letters/{letter}?payload=true").json()
    assert (shown["payload"], shown["headers"]) == ({"to": "marker-in-payload"}, {"x": "marker-in-headers"})
    assert [(e.kind, e.actor) for e in dlq.history(letter)] == [("seen", "vic"), ("payload_seen", "ann")]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_secrets_are_never_told(dlq, operator, failed, capsys):
    """A secret in a job, a request or a token shows in no answer and no log, though the API fails in every way."""
    letter = dlq.put(
        queue="mail",
        job_name="send",
        payload={"password": SECRET, "to": "ann"},
        headers={"Authorization": f"Bearer {SECRET}"},
        error=failed(ValueError(f"login with password={SECRET}")),
    )
    answers = [operator("GET", path.format(letter.id)).text for path in [*LOOKS, "/letters/{}?payload=true"]]
    assert "ann" in answers[-1]
    answers.append(operator("POST", f"/letters/{letter.id}/discard", {"reason": 1, SECRET[:0] + "x": SECRET}).text)
    answers.append(operator("GET", f"/letters?limit={SECRET}").text)
    answers.append(operator("GET", "/letters", Authorization=f"Bearer unhush_{SECRET}").text)
    broken = Client(app(dlq, auth=_broken))
    answers.append(broken("GET", "/letters", X_Secret=SECRET).text)
    assert problem(broken("GET", "/letters", X_Secret=SECRET)) == (500, "internal")
    log = capsys.readouterr()
    assert "admin.request_failed" in log.out + log.err
    for text in [*answers, log.out, log.err]:
        assert SECRET not in text
        assert operator.token not in text
    assert all("Traceback" not in text for text in answers[-4:])


def _broken(x_secret: str = Header()) -> Principal:
    raise RuntimeError(f"no such user: password={x_secret}")


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_a_host_brings_its_own_authentication(dlq):
    """A host's dependency says who calls; its errors become problems, and what is no Principal opens nothing."""

    def session(x_user: str = Header(default="")) -> Any:
        if x_user == "":
            raise HTTPException(401, "log in first")
        if x_user == "locked":
            raise HTTPException(418, {"secret": SECRET})
        return {"none": None, "text": "ann"}.get(x_user, Principal(x_user, "operator"))

    def caller(principal: Any = Depends(session)) -> Any:  # noqa: B008 - as FastAPI has it
        return principal

    host = FastAPI()
    host.include_router(router(dlq, auth=caller))

    @host.get("/own")
    def own() -> int:
        raise HTTPException(400, "own")

    client = Client(host)
    letter = add(dlq)
    assert problem(client("GET", "/letters")) == (401, "unauthenticated")
    assert problem(client("GET", "/letters", X_User="none")) == (401, "unauthenticated")
    assert problem(client("GET", "/letters", X_User="text")) == (500, "internal")
    locked = client("GET", "/letters", X_User="locked")
    assert (locked.status_code, locked.json()["type"], SECRET in locked.text) == (418, "about:blank", False)
    assert (
        client("POST", f"/letters/{letter}/discard", {"reason": "r"}, X_User="bob", If_Match='"0"').status_code == 200
    )
    assert [event.actor for event in dlq.history(letter)] == ["bob"]
    for name, role in [("", "viewer"), ("x" * 101, "viewer"), ("ann", "root")]:
        with pytest.raises(ValueError, match="principal"):
            Principal(name, role)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "", (404, "not-found")),
        ("GET", "/", (404, "not-found")),
        ("GET", "/nothing/here", (404, "not-found")),
        ("GET", "/letters/", (404, "not-found")),
        ("GET", "/letters/x", (404, "not-found")),
        ("GET", "/letters/01957f3c-0000-7000-8000-000000000000/history", (404, "not-found")),
        ("GET", "/operations/x", (404, "not-found")),
        ("DELETE", "/letters", (405, "method-not-allowed")),
        ("TRACE", "/letters", (405, "method-not-allowed")),
        ("GET", "/letters?limit=201", (422, "invalid")),
        ("GET", "/letters?limit=0", (422, "invalid")),
        ("GET", "/letters?surprise=1", (422, "invalid")),
        ("GET", "/letters?queue=a%00", (422, "invalid")),
        ("GET", "/letters?cursor=x", (404, "no-such-page")),
        ("GET", "/letters?failed_before=2026-01-01", (422, "invalid")),
        ("GET", "/letters?failed_before=0001-01-01T00:00:00%2B23:59", (422, "invalid")),
        ("GET", "/stats?x=1", (422, "invalid")),
    ],
)
def test_every_error_is_a_problem(operator, method, path, expected):
    """Unknown paths, other methods and wrong parameters are told as problem details, under headers for JSON."""
    answer = operator(method, path)
    assert problem(answer) == expected
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    if expected[0] == 405:
        assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("content", "headers", "expected"),
    [
        (b'{"reason": "r"}', {"Content-Type": "text/plain"}, (415, "not-json")),
        (b"{", {}, (422, "invalid")),
        (b"", {}, (422, "invalid")),
        (b'{"reason": "r", "x": 1}', {}, (422, "invalid")),
        (b'{"reason": " \\n"}', {}, (422, "invalid")),
        (b'{"reason": "a\\u0000"}', {}, (422, "invalid")),
        (b'{"reason": "\\ud800"}', {}, (422, "invalid")),
        (b'{"reason": ' + b"[" * 5000 + b"]" * 5000 + b"}", {}, (422, "invalid")),
        (b'{"reason": "' + b"x" * 2**20 + b'"}', {}, (413, "body-too-large")),
    ],
)
def test_bodies_are_read_strictly(dlq, operator, content, headers, expected):
    """A body of another type, too large, unreadable, with unknown fields or texts that can't be stored is refused."""
    letter = add(dlq)

    async def send() -> httpx.Response:
        own = {"Authorization": f"Bearer {operator.token}", "If-Match": '"0"', "Content-Type": "application/json"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(operator.api), base_url="http://test") as client:
            return await client.post(f"{PREFIX}/letters/{letter}/discard", content=content, headers=own | headers)

    assert problem(asyncio.run(send())) == expected
    assert kinds(dlq, letter) == []


def test_pages_go_through_all_letters(dlq, operator):
    """The cursor of each page leads to the next until all letters were listed once."""
    letters = add_many(dlq, [{} for _ in range(5)])
    seen, cursor = [], ""
    while True:
        page = operator("GET", f"/letters?queue=mail&limit=2{cursor}").json()
        seen += [letter["id"] for letter in page["letters"]]
        if page["cursor"] is None:
            break
        cursor = f"&cursor={page['cursor']}"
    assert seen == letters[::-1]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_an_edit_gives_back_what_was_shown(dlq, operator):
    """Values that JSON lacks are shown tagged, and taken so: an edit of one field leaves the others what they were."""
    letter = add(dlq, payload={"at": timedelta(1), "raw": b"\0", "to": "a"})
    shown = operator("GET", f"/letters/{letter}?payload=true")
    payload = shown.json()["payload"] | {"to": "b"}
    edited = operator("PUT", f"/letters/{letter}/payload", {"payload": payload}, If_Match=shown.headers["etag"])
    assert (edited.status_code, edited.json()["redrivable"], edited.json()["payload"]) == (200, True, None)
    assert dlq.get(letter).payload == {"at": timedelta(1), "raw": b"\0", "to": "b"}


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_a_server_that_shuts_down_leaves_its_acts_paused(dlq, operator, done):
    """What a server works on is paused when it shuts down, with a note, and no handler is cut off."""
    began, go_on = threading.Event(), threading.Event()
    dlq.register("mail", lambda letter: (began.set(), go_on.wait(20)))
    add_many(dlq, [{}, {}])

    async def serve() -> str:
        async with operator.api.router.lifespan_context(operator.api):
            begun = await operator.call("POST", "/redrive", {"all": True}, Idempotency_Key="k")
            await asyncio.to_thread(began.wait, 20)
            threading.Timer(0.2, go_on.set).start()
            return begun.json()["id"]

    act = dlq.operation(asyncio.run(serve()))
    assert (act.status, act.succeeded) == ("paused", 1)
    assert "shut down" in act.note


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_an_act_is_resumed_while_its_worker_leaves_it(database, tmp_path, done):
    """Who resumes a paused act just as its worker goes finds it worked on: none is left running with nobody at it."""
    left: list[str] = []

    class Leaving(DeadLetterQueue):
        def work(self, operation_id: str, **options: Any) -> Any:
            found = super().work(operation_id, **options)
            if not left:
                left.append(found.status)
                self.resume(operation_id, actor="bob")
                desk.begin_work(operation_id)
            return found

    with Leaving(database, spool=tmp_path / "spool") as queue:
        desk = Desk(queue)
        add_many(queue, [{}, {}])
        act = queue.start("redrive", Filter(queue="mail"), actor="ann")
        queue.register("mail", lambda letter: left or queue.pause(act.id, actor="ann"))
        desk.begin_work(act.id)
        assert (done(act.id).succeeded, left) == (2, ["paused"])


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_an_asyncio_queue_serves_the_same(dlq, operator, database, tmp_path):
    """With an AsyncDeadLetterQueue the API lists, edits and redrives as with a blocking one."""
    letter, run = add(dlq, payload={"n": 1}), []

    async def all_of_it() -> list[Any]:
        async with AsyncDeadLetterQueue(database, spool=tmp_path / "other") as queue:

            async def handler(letter: Any) -> None:
                run.append(letter.payload)

            queue.register("mail", handler)
            client = Client(app(queue, auth="tokens"), operator.token)
            listed = await client.call("GET", "/letters")
            edited = await client.call("PUT", f"/letters/{letter}/payload", {"payload": {"n": 2}}, If_Match='"0"')
            etag = edited.headers["etag"]
            begun = await client.call("POST", f"/letters/{letter}/redrive", {}, If_Match=etag, Idempotency_Key="k")
            while (await queue.operation(begun.json()["id"])).status == "running":
                await asyncio.sleep(0.02)
            return [listed.json()["letters"][0]["id"], begun.status_code, (await client.call("GET", "/stats")).json()]

    listed, status, stats = asyncio.run(all_of_it())
    assert (listed, status, run) == (letter, 202, [{"n": 2}])
    assert [(d["status"], d["count"]) for d in stats["depths"]] == [("redriven", 1)]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_a_database_without_tables_is_told(empty_database, tmp_path):
    """A database that lacks the migration, or does not answer, is 503 with what to do, and no trace of where it is."""

    def anybody() -> Principal:
        return Principal("ann", "operator")

    with DeadLetterQueue(empty_database, spool=tmp_path / "spool") as queue:
        answer = Client(app(queue, auth=anybody))("GET", "/letters")
    assert problem(answer) == (503, "unavailable")
    assert "unhush db upgrade" in answer.json()["detail"]
    with DeadLetterQueue("sqlite:////no/such/folder/x.db", spool=tmp_path / "spool") as queue:
        answer = Client(app(queue, auth=anybody))("GET", "/letters")
    assert problem(answer) == (503, "unavailable")
    assert "folder" not in answer.text


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_letters_may_be_frozen_by_their_ids(dlq):
    """A filter of ids means those letters and no others; no ids mean none."""
    first, *_ = add_many(dlq, [{}, {}])
    assert [letter.id for letter in dlq.list(Filter(ids=(first,))).letters] == [first]
    assert dlq.list(Filter(ids=())).letters == []

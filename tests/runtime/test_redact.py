"""Redaction: what is masked, what is left alone, and that nothing else changes."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import traceback
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unhush.runtime.redact import MASK, redact, redact_text, step
from unhush.runtime.redact_names import secret_kind
from unhush.runtime.redact_texts import is_card_number

# Made up, and written in two halves, so that no scanner of repositories takes them for real ones.
DIGITS_40 = "wJalrXUtnFEMIK7MDENGbPxRfiCYzEXAMPLEKEYa"
VENDOR_KEYS = [
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ASIA" + "IOSFODNN7EXAMPLE",
    "AKIA" + "IOSFODNN7EXAMPLE" + ":" + DIGITS_40,
    "AIza" + "SyA1234567890abcdefghijklmnopqrstu_",
    "ya29." + "a0AfH6SMBx-abcdefghijklmnop",
    "GOCSPX-" + "abcdefghijklmnopqrstuvwx",
    "ghp_" + "a1B2" * 9,
    "gho_" + "a1B2" * 9,
    "github_pat_" + "11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz",
    "glpat-" + "abcdefghij1234567890",
    "xoxb-" + "123456789012-abcdefghijkl",
    "xapp-" + "1-A0123456789-abcdefghij",
    "sk_live_" + "a1B2c3D4e5F6g7H8i9J0",
    "rk_test_" + "a1B2c3D4e5F6g7H8i9J0",
    "whsec_" + "a1B2c3D4e5F6g7H8i9J0k1L2",
    "npm_" + "a1B2" * 9,
    "pypi-" + "AgEIcHlwaS5vcmc" + "a1B2" * 15,
    "sk-" + "proj-" + "a1B2" * 10,
    "sk-" + "ant-api03-" + "a1B2" * 10,
    "SK" + "0123456789abcdef" * 2,
    "SG." + "a1B2c3D4e5F6g7H8i9J0kL" + "." + "a1B2" * 10 + "xyz",
    "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "dop_v1_" + "0123456789abcdef" * 4,
    "dckr_pat_" + "abcdefghijklmnopqrst_uv",
    "hvs." + "CAESIabcdefghijklmnopqrstuv",
    "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0" + ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "4111111111111111",
    "5555555555554444",
    "378282246310005",
    "3782 822463 10005",
    "6011111111111117",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc=\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNzaC1rZXktdjE\\n-----END OPENSSH PRIVATE KEY-----",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOYBF\n-----END PGP PRIVATE KEY BLOCK-----",
]


@pytest.mark.parametrize("secret", VENDOR_KEYS)
@pytest.mark.parametrize("around", ["{}", "it is {}, he said", "<{}>", "a='{}'", "x: {}\ny", '"{}"', "({})."])
def test_secrets_that_are_known_by_themselves_are_masked_wherever_they_stand(secret: str, around: str) -> None:
    """A key of a vendor, a JWT, a card number and a private key are masked, and the text around them is kept."""
    assert redact_text(around.format(secret)) == around.format(MASK)
    assert redact([1, {"it": around.format(secret)}]).paths == ("$[1].it",)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password=hunter2", "password=*"),
        ("password: hunter2 and more", "password: * and more"),
        ("token: x", "token: *"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=* psql"),
        ("DB_PASSWORD_PROD='hunter 2'", "DB_PASSWORD_PROD='*'"),
        ('{"password": "hun\\"ter", "a": 1}', '{"password": "*", "a": 1}'),
        ('"{\\"password\\": \\"hunter2\\", \\"a\\": 1}"', '"{\\"password\\": \\"*\\", \\"a\\": 1}"'),
        ("{'password': ['hunter2'], 'b': b'x'}", "{'password': ['*'], 'b': b'x'}"),
        ("{'token': b'hunter2'}", "{'token': b'*'}"),
        ('{"api_key": "cut off in the mid', '{"api_key": "*'),
        ("secret => 'hunter2'", "secret => '*'"),
        ("Key (token)=(deadbeef) already exists", "Key (token)=(*) already exists"),
        ('headers["x-api-key"] = "hunter2"', 'headers["x-api-key"] = "*"'),
        ("?access_token=abc&page=2", "?access_token=*&page=2"),
        ("run --password hunter2 -v", "run --password * -v"),
        ("run --password=hunter2 -v", "run --password=* -v"),
        ("java -Ddb.password=hunter2 Main", "java -Ddb.password=* Main"),
        ("<password>hunter2</password>", "<password>*</password>"),
        ("Server=x;User Id=sa;Password=hunter2;Encrypt=1", "Server=x;User Id=sa;Password=*;Encrypt=1"),
        ("AccountName=a;AccountKey=abc/def+g==;Suffix=b", "AccountName=a;AccountKey=*;Suffix=b"),
        ("SharedAccessKeyName=Root;SharedAccessKey=abc=", "SharedAccessKeyName=Root;SharedAccessKey=*"),
        (f"https://a.b/c?sv=2022&sig={'a1' * 20}%3D&se=1", "https://a.b/c?sv=2022&sig=*&se=1"),
        ("aws_secret_access_key = " + DIGITS_40, "aws_secret_access_key = *"),
        ("Authorization: Bearer abc", "Authorization: Bearer *"),
        ("Authorization: Basic dXNlcjpwYXNz\nHost: a", "Authorization: Basic *\nHost: a"),
        ('Authorization: Digest username="a", response="b"\nHost: a', "Authorization: Digest *\nHost: a"),
        ("Proxy-Authorization: Own a1b2c3", "Proxy-Authorization: *"),
        ("curl -H 'Authorization: token abc' x", "curl -H 'Authorization: token *' x"),
        ('"Authorization": "Bearer abc"', '"Authorization": "*"'),
        ("sent Bearer a1b2c3d4e5 to it", "sent Bearer * to it"),
        ("Cookie: a=b; c=d\nHost: a", "Cookie: *\nHost: a"),
        ("Set-Cookie: sid=abc; Path=/\r\nX: y", "Set-Cookie: *\r\nX: y"),
        ("postgresql://ann:hunter2@db:5432/shop?a=b", "postgresql://*@db:5432/shop?a=b"),
        ("redis://:hunter2@cache/0", "redis://*@cache/0"),
        ("see https://u:p@h/x, or https://h/y", "see https://*@h/x, or https://h/y"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEvQ, cut", "*"),
        ("card number: 4111 1111 1111 1111", "card number: *"),
    ],
)
def test_secrets_that_a_name_or_place_gives_away_are_masked(text: str, masked: str) -> None:
    """Only the secret goes: its name, its scheme, the host and what follows stay."""
    expected = masked.replace("*", MASK).replace(f"Digest {MASK}", MASK)
    assert redact_text(text) == expected
    assert redact({"it": text.encode()}) == redact({"it": expected.encode()}) or redact({"it": text}).paths == ("$.it",)


HARMLESS_TEXTS = [
    "",
    "order 4111-22 of 7",
    "123e4567-e89b-12d3-a456-426614174000",
    "d41d8cd98f00b204e9800998ecf8427e",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "f2d9c1ab04e8b5d7fb4f65a4c1d2d4a3d5f8e9a0",
    "978-3-16-148410-0",
    "9783161484100",
    "+49 30 123456 78",
    "+1 (555) 010-9999",
    "2026-11-24T20:52:45.123456+00:00",
    "1764017565123456",
    "20261124205245123",
    "4111111111111112",
    "41111111111111111",
    "1234 4111 1111 1111 1111",
    "4111 1111 1111 1111 1234",
    "order_id=4111111111111111",
    "order no 4111111111111111",
    "x4111111111111111",
    "123e4567-e89b-12d3-a456-4111111111111111",
    "0.4111111111111111",
    "490154203237518",
    "DE89370400440532013000",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "eyJhbGciOiJIUzI1NiJ9",
    "https://example.org/a?b=c@d.e&f=g:h",
    "http://host:80?email=a@b.org",
    "ssh://git@example.org/a.git",
    "ann@example.org: hello",
    "the secret of success is a token of love",
    "Please enter your password",
    "password reset was requested for ann",
    "the author: Ann, secretary: Bob",
    "token_count=5, max_tokens: 1000, tokens=12",
    "primary_key=id, sort_key: name, key=abc",
    "password_reset_url=https://example.org/reset",
    "next_page_token=abc",
    "password=None, token=null, secret=${SECRET}, api_key={{ key }}, pwd=***",
    "password: \"\", token = ''",
    "usage: login [--password PASSWORD] [--token TOKEN]",
    "if token == expected or token > 5: pass",
    "postgresql://ann:***@db/shop",
    "postgresql://{user}:{password}@db/shop",
    "Bearer authentication is required, Basic authentication is not",
    "PWD=/home/ann OLDPWD=/tmp",
    "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ ann@host",
    "sk-circle-fade-animation-delay-of-the-third-dot",
    "task-9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
    "npm_config_registry=https://example.org",
    "SELECT password_hash IS NULL FROM users WHERE token IS NOT NULL",
    "TypeError: login() missing 1 required positional argument: 'password'",
    "KeyError: 'token'",
    'column "password" of relation "users" does not exist',
    "cookie: chocolate",
    "{'token_type': 'bearer', 'expires_in': 3600}",
    "token = next(tokens), password = config['password'], secret: f(x)",
    'print("token=" + repr(token))',
]


@pytest.mark.parametrize("text", HARMLESS_TEXTS)
def test_ordinary_texts_are_left_alone(text: str) -> None:
    """Ids, hashes, numbers, addresses, dates and prose are no secrets, alone, in bytes and within a payload."""
    assert redact_text(text) == text
    payload = {"items": [text, text.encode()], "note": f"before {text} after"[: len(text) + 7]}
    assert redact(payload).paths == ()
    assert redact(payload).value is payload


def test_a_secret_within_a_literal_of_a_source_line_is_masked() -> None:
    """A traceback shows the line that raised: what its literals say of a secret goes, names and calls stay."""
    line = '  File "a.py", line 1, in f\n    raise ValueError("it\'s password={} here", password=pw, token=load())\n'
    assert redact_text(line.format("hunter2")) == line.format(MASK)


def test_messages_in_the_margin_of_an_exception_group_are_no_source_lines() -> None:
    """Of a group's members, however deep, the messages are masked as any text's, and the source lines as code."""

    def fail(password: str) -> None:
        raise RuntimeError(f"login failed, password={password}")

    def grouped(depth: int) -> Exception:
        try:
            fail(password="hun" + "ter2")
        except RuntimeError as error:
            group: Exception = error
        for _ in range(depth):
            group = ExceptionGroup("jobs", [group])
        return group

    for depth in range(5):
        text = "".join(traceback.format_exception(grouped(depth)))
        assert 'fail(password="hun" + "ter2")' in text
        assert text.count("hunter2") == 1
        redacted = redact_text(text)
        assert f"login failed, password={MASK}\n" in redacted
        assert 'fail(password="' in redacted
    code = '  | File "a.py", line 1, in f\n  |   connect(user, password=given)\n  | ValueError: password=given\n'
    assert redact_text(code) == code.replace("ValueError: password=given", f"ValueError: password={MASK}")


def test_tracebacks_of_ordinary_errors_are_left_alone() -> None:
    """Code that handles secrets by variable is no secret; a literal in it, and the message, are."""

    def login(password: str, token: str | None = None) -> None:
        settings = {"password": password, "token": token}
        raise PermissionError(f"{settings['token']!r} of {len(settings)}")

    text = ""
    try:
        login(password=str(1), token=None)
    except PermissionError:
        text = traceback.format_exc()
    assert "login(password=str(1), token=None)" in text
    assert redact_text(text) == text
    code = '  File "a.py", line 1, in f\n    connect(user, password={})\nValueError: password={}\n'
    assert redact_text(code.format("password", "x")) == code.format("password", MASK)
    assert redact_text(code.format("'x'", "None")) == code.format(f"'{MASK}'", "None")
    group = '  |   File "a.py", line 1, in f\n  |     connect(password=pw)\n  | ValueError: password=x\n'
    assert redact_text(group) == group.replace("=x", f"={MASK}")


SECRET_NAMES = """password passwd pwd Password PASSWORD db_password dbPassword DBPassword password1 old_password
    password_hash passwordConfirmation user-password passphrase secret secrets client_secret clientSecret webhookSecret
    token access_token accessToken x-auth-token csrf_token id_token password_reset_token auth_tokens api_key apiKey
    APIKey apikey X-Api-Key api_keys secret_access_key aws_secret_access_key private_key privateKey signing_key
    authorization Authorization proxy-authorization cookie cookies set-cookie Set-Cookie session_id sessionId sessionid
    credential credentials creds jwt otp cvv db_pass smtpPass pass token_value stripe.secret xsrfToken""".split()
HARMLESS_NAMES = """token_count max_tokens tokens prompt_tokens author secretary primary_key key keys foreign_key
    password_reset_url password_policy password_hint has_password show_password is_secret secret_santa secret_name
    token_type tokenizer next_token next_page_token pad_token cookie_consent cookie_policy accept_cookies passport
    passenger compass boarding_pass pass_rate bypass session sessions authority authorization_status public_key sort_key
    idempotency_key cache_key routing_key order_id monkey keyboard credit spinner description apikey_url
    password_changed_at token_expires_at invalid_token""".split()


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_that_mean_a_secret(name: str) -> None:
    """A text, bytes or a container under such a name is masked whole, in dicts, pairs and named values."""
    assert redact({name: "x"}) == redact({name: "y"})
    assert redact({name: "x"}).value == {name: MASK}
    assert redact({name: b"x"}).value == {name: MASK.encode()}
    assert redact({name: ["x"]}).value == {name: MASK}
    assert redact([(name, "x"), ("a", "b")]).value == [(name, MASK), ("a", "b")]
    assert redact({"name": name, "value": "x"}).value == {"name": name, "value": MASK}
    for nothing in (None, True, False, "", " ", MASK, "***", "${VARIABLE}", [], {}, [None]):
        assert redact({name: nothing}).paths == ()


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_names_that_mean_no_secret(name: str) -> None:
    """A value under such a name is left alone."""
    assert secret_kind(name) == ""
    assert redact({name: "x", "n": [(name, "x"), ("a", "b")]}).paths == ()


def test_numbers_are_masked_only_as_passwords() -> None:
    """A number is never a card, a token or a session; under a password's name it is one."""
    value = {"card": 4111111111111111, "token": 12345678, "session_id": 7, "amount": 4111111111111111.0, "secret": 5}
    assert redact(value).paths == ()
    assert redact({"password": 12345678, "otp": 4711}).paths == ("$.password", "$.otp")


def test_digits_under_an_ids_name_are_no_card() -> None:
    """What a key calls an id, a reference or a serial number stays, whatever its sum."""
    number = "4111111111111111"
    for name in ("id", "order_id", "orderId", "ids", "invoice_no", "tracking_number", "imei", "ref", "sku"):
        assert redact({name: number, "n": {name: [number]}}).paths == ()
    for name in ("card", "number", "paid", "value", "note"):
        assert redact({name: number}).paths == (f"$.{name}",)


@pytest.mark.parametrize(
    ("digits", "is_card"),
    [
        ("4111111111111111", True),
        ("378282246310005", True),
        ("2221000000000009", True),
        ("3530111333300000", True),
        ("4111111111111112", False),
        ("411111111111116", False),
        ("0000000000000000", False),
        ("1234567812345670", False),
    ],
)
def test_card_numbers_have_an_issuer_and_a_right_sum(digits: str, is_card: bool) -> None:
    """Both are needed, and the length that the issuer uses."""
    assert is_card_number(digits) is is_card


def test_arguments_of_a_command_line_are_masked() -> None:
    """After an option that names a secret its value is masked, the next option is not."""
    arguments = ["run", "--password", "x", "--token", "--verbose", "--api-key=x", "--name", "x"]
    masked = ["run", "--password", MASK, "--token", "--verbose", f"--api-key={MASK}", "--name", "x"]
    assert redact(arguments).value == masked
    assert redact(arguments).paths == ("$[2]", "$[5]")


def test_paths_name_each_changed_place_in_order() -> None:
    """Paths are those of the value, with quoted keys where a dot would not do."""
    value = {
        "user": {"password": "x", "n": 1},
        "items": ["a", ("b", "token=x")],
        "a key": {"x y": "pwd=x"},
        3: b"pwd=x",
    }
    redacted = redact(value)
    assert redacted.paths == ("$.user.password", "$.items[1][1]", '$["a key"]["x y"]', "$[3]")
    assert redacted.value == {
        "user": {"password": MASK, "n": 1},
        "items": ["a", ("b", f"token={MASK}")],
        "a key": {"x y": f"pwd={MASK}"},
        3: f"pwd={MASK}".encode(),
    }
    assert step("a-b") == ".a-b"
    assert step("pwd=x") == f'["pwd={MASK}"]'


def test_secrets_in_keys_are_masked_and_no_entry_is_lost() -> None:
    """Two keys that become the same are told apart, and no path shows what they were."""
    value = {"pwd=x": 1, "pwd=y": 2, b"pwd=z": {"secret": "x"}, "c": 3}
    redacted = redact(value)
    assert list(redacted.value.values()) == [1, 2, {"secret": MASK}, 3]
    assert not re.search("=[xyz]", repr(redacted))
    assert redact(redacted.value).value == redacted.value


def test_the_given_value_is_not_changed_and_no_part_of_it_is_handed_out() -> None:
    """Changing the masked copy leaves the caller's value alone, and other objects are passed through."""
    thing = object()
    value: dict[str, Any] = {"password": ["x"], "deep": [{"b": ({"c": thing},)}]}
    before = copy.copy(value["deep"][0])
    redacted = redact(value)
    redacted.value["deep"][0]["b"][0]["d"] = 1
    assert value == {"password": ["x"], "deep": [before]}
    assert value["deep"][0]["b"][0] == {"c": thing}
    assert redacted.value["deep"][0]["b"][0]["c"] is thing


def test_cycles_shared_and_deep_values_end() -> None:
    """A value that holds itself comes back holding its copy; 10,000 levels and shared halves are walked once."""
    loop: dict[str, Any] = {"password": "x"}
    loop["tuple"] = ([loop], {"again": loop})
    masked = redact(loop).value
    assert masked["password"] == MASK
    assert masked["tuple"][0][0] is masked
    assert isinstance(masked["tuple"], tuple)
    deep: Any = {"token": "x"}
    for level in range(10_000):
        deep = [(deep,), {"a": deep}, [deep]][level % 3]
    assert len(redact(deep).paths) == 1
    shared: Any = ("token=x",)
    for level in range(60):
        shared = [(shared, shared), {"a": shared, "b": shared}][level % 2]
    result = redact(shared).value
    while not isinstance(result, str):
        result = result["b"] if isinstance(result, dict) else result[-1]
    assert result == f"token={MASK}"
    barren: Any = {}
    for _ in range(3_000):
        barren = {"password": barren}
    assert redact(barren).paths == ()


STARTS = ["password", "token", "--secret", "Cookie", "https://", "Authorization: ", "Bearer ", "a1b2c3d4", "-----END"]
CODE = ['  File "a.py", line 1\n    ', "-----BEGIN PRIVATE KEY-----"]
fragments = st.sampled_from([*VENDOR_KEYS, *HARMLESS_TEXTS, *STARTS, *CODE, MASK, *"'\"\\=:;&?@/<>{}[]() \n-"])
texts = st.lists(fragments | st.text(max_size=6), max_size=12).map("".join)
payloads = st.recursive(
    st.none() | st.booleans() | st.integers() | texts | texts.map(lambda text: text.encode("utf-8", "replace")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(
            texts | st.sampled_from([*SECRET_NAMES, *HARMLESS_NAMES, "$tuple", "$dict"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@given(texts)
@settings(max_examples=300, deadline=None)
def test_masking_a_text_twice_is_the_same_as_once(text: str) -> None:
    """What was masked stays as it is."""
    once = redact_text(text)
    assert redact_text(once) == once


@given(payloads)
@settings(max_examples=200, deadline=None)
def test_masking_a_value_twice_is_the_same_as_once(value: object) -> None:
    """The masked value has nothing left to mask, and the given one is as it was."""
    before = copy.deepcopy(value)
    redacted = redact(value)
    assert value == before
    assert redact(redacted.value).value == redacted.value
    assert bool(redacted.paths) == (redacted.value != value)


ADVERSARIAL = [
    "a", "A1", "eyJ", "eyJhbGciOi.", "://a:", "://", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", 'password="', "password='\\\"",
    "password=", "token\\", "\\", "password:", "Authorization: ", "Authorization: Digest ", "Cookie: a=", "--token ", "<token>",
    "4111 ", "1", "1-", "sk-", "sk-1", "AKIA", "Bearer ", "Bearer a", 'File "', '  File "a", line 1\n    ', "|    ", "sig=", "[",
    "a.a-", "password " * 3, "x\n", '"', "secret=[[", "Own 1", "\0", "é", "hooks.slack.com/services/",
    "cookie: ", "cookie:", "token={", "--token [", "password=\"+ ", "password=f(", "token=x", "authorization:a ", "-", "(token)=(",
]  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ADVERSARIAL)
def test_no_text_makes_it_slow(piece: str) -> None:
    """A text of repeated beginnings of secrets is read in linear time: a quadratic pattern would not end here."""
    text = piece * (1_000_000 // len(piece))
    masked = redact_text(text)
    assert len(masked) > 0


@pytest.mark.timeout(120)
def test_ten_megabytes_of_traps_are_read() -> None:
    """All the traps in one text of 10 MB, with a secret at its end that is found."""
    text = "".join(piece * (10_000_000 // len(ADVERSARIAL) // len(piece)) for piece in ADVERSARIAL)
    assert redact_text(text + "\n\nAKIA" + "IOSFODNN7EXAMPLE").endswith(MASK)


def test_it_stands_on_the_standard_library_alone() -> None:
    """Importing it loads no other module of the project than its own, and nothing that is installed."""
    code = (
        "import sys; before = set(sys.modules); import unhush.runtime.redact\n"
        "new = {name for name in set(sys.modules) - before if name.partition('.')[0] not in sys.stdlib_module_names}\n"
        "print(sorted(new))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own = [
        "unhush",
        "unhush.runtime",
        "unhush.runtime.redact",
        "unhush.runtime.redact_names",
        "unhush.runtime.redact_texts",
    ]
    assert set(done.stdout[2:-3].split("', '")) <= {*own, "unhush.version"}

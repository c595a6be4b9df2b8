"""Payloads as JSON values: what comes back equal, through each database, and what becomes of the rest."""

from __future__ import annotations

import copy
import json
import sys
from collections import Counter, OrderedDict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import attrs
import pydantic
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from services import fresh_database
from sqlalchemy import Column, Connection, Integer, MetaData, Table, create_engine, select

from unhush.runtime.columns import Json
from unhush.runtime.payload import Lost, decode, encode, register_type
from unhush.runtime.redact import redact

BERLIN = ZoneInfo("Europe/Berlin")


def through_json(value: object, **options: int) -> Any:
    """What decode gives back after a trip through JSON text, as strict as jsonb."""
    text = json.dumps(encode(value, **options).data, allow_nan=False)
    assert "\\u0000" not in text.replace("\\\\", "")
    assert "\\ud8" not in text.replace("\\\\", "") or text.encode()
    return decode(json.loads(text))


# -- the law ----------------------------------------------------------------------------------------------------------

any_text = st.text(st.characters(), max_size=20) | st.sampled_from(["\0", "\ud800", "\\u0000\0", "\\", "$uuid", "$$a"])
hashables = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | any_text
    | st.binary(max_size=20)
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.complex_numbers(allow_nan=False)
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.datetimes(timezones=st.timezones(), allow_imaginary=True)
    | st.datetimes(timezones=st.just(BERLIN))
    | st.timedeltas(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
values = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(any_text, inner, max_size=4)
        | st.dictionaries(hashables, inner, max_size=3)
        | st.builds(lambda key, item: {f"${key}": item}, any_text, inner)
        | st.sets(hashables, max_size=3)
        | st.builds(deque, st.lists(inner, max_size=3))
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same type all the way down: True is not 1, 1.0 is not 1, -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        # Two keys that are equal but of two types (1 and True) can't both be there.
        return left == right and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple, deque)):
        return len(left) == len(right) and all(map(same, left, right))
    return repr(left) == repr(right) if isinstance(left, (float, complex)) else left == right


@given(values)
@example({"$uuid": "x"})
@example({"$$": {"$part": 1}})
@example({"$parts": [1]})
@example({"$dict": [["a", 1]]})
@example([1e16, 1e300, 5e-324, -0.0, float("inf"), 2**63, -(2**63) - 1, 10**5000])
@example({b"authorization": b"Bearer", ("a", 1): {frozenset({1}): "b"}})
@example(datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1))
@example(datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_what_is_supported_comes_back_equal(value: object) -> None:
    """Encoded, written as JSON text, read and decoded: the same value with the same types, and nothing degraded."""
    assert encode(value).degraded == ()
    assert same(through_json(value), value)


def test_nan_comes_back_as_nan() -> None:
    """NaN, which equals nothing, is still NaN, in float and Decimal."""
    number, exact = through_json([float("nan"), Decimal("NaN")])
    assert number != number
    assert exact.is_nan()


@pytest.mark.parametrize(
    "value",
    [
        PurePosixPath("/srv/a b"),
        PureWindowsPath(r"c:\data\x"),
        Path("x/y"),
        Path("/srv/\udc80"),
        datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=5, minutes=30, seconds=7))),
        time(1, 2, 3, tzinfo=UTC),
    ],
)
def test_paths_and_zones_come_back_equal(value: object) -> None:
    """Paths of both flavours, also with bytes that are no text, and times with odd offsets come back equal."""
    assert through_json(value) == value


def test_the_zone_comes_back_and_not_just_its_offset() -> None:
    """A datetime in a named zone goes on counting by that zone's rules; the second hour of autumn stays the second."""
    before = datetime(2026, 10, 24, 12, tzinfo=BERLIN)
    assert through_json(before) + timedelta(days=1) == before + timedelta(days=1)
    assert through_json(before).tzinfo is BERLIN
    assert through_json(datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)).fold == 1


Point = namedtuple("Point", "x y")


class Text(str):
    """A text of a framework's own kind."""


class Day(date):
    """A day that knows more than its date."""

    note = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Day) and self.note == other.note

    __hash__ = date.__hash__


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (OrderedDict(a=1), {"a": 1}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (MappingProxyType({"a": [1]}), {"a": [1]}),
        (Point(1, 2), (1, 2)),
        (Text("x"), "x"),
        ({Text("k"): 1}, {"k": 1}),
        (bytearray(b"\xff\0"), b"\xff\0"),
        (memoryview(b"text"), b"text"),
    ],
)
def test_subclasses_come_back_as_their_plain_type(value: object, plain: object) -> None:
    """A value of a subclass comes back as the plain value that it equals, and does not count as degraded."""
    assert encode(value).degraded == ()
    assert same(through_json(value), plain)


def test_a_subclass_that_holds_more_is_not_taken_for_the_plain_type() -> None:
    """A date that does not equal what its text says becomes a marked repr."""
    assert encode(Day(2026, 1, 2)).degraded == ("$",)
    assert encode(date(2026, 1, 2)).degraded == ()


# -- through the databases --------------------------------------------------------------------------------------------

rows = Table("payload", MetaData(), Column("id", Integer, primary_key=True), Column("payload", Json))


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def connection(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A connection to a fresh database of each kind, with one row."""
    with fresh_database(request.param, str(tmp_path_factory.mktemp("payload"))) as url:
        engine = create_engine(url)
        with engine.connect() as opened:
            rows.create(opened)
            opened.execute(rows.insert().values(id=1, payload=None))
            opened.commit()
            yield opened
        engine.dispose()


def through_column(connection: Connection, value: object) -> Any:
    """What decode gives back after a trip through the database."""
    connection.execute(rows.update().values(payload=encode(value).data))
    connection.commit()
    return decode(connection.execute(select(rows.c.payload)).scalar())


@given(value=values)
@example(value=[1e16, 1e300, 5e-324, -0.0, 0.1, 2**63 - 1, 2**64, {"": "\0\ud800"}])
@example(value=0.0)
@example(value=-0.0)
@example(value=1e300)
@example(value=2**64)
@example(value=2**53 + 1)
@example(value="12345678901234567890")
@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
def test_every_database_gives_back_what_it_was_given(connection: Connection, value: object) -> None:
    """Through a real JSON column of each database the value comes back the same."""
    assert same(through_column(connection, value), value)


def test_every_database_takes_a_payload_10_000_deep(connection: Connection) -> None:
    """MariaDB's limit of 31 levels, and Python's own, are not met, whatever the containers are."""
    value: Any = "the end"
    for level in range(10_000):
        value = [[value], {"a": value}, (value,), {1: value}][level % 4]
    assert encode(value).degraded == ()
    found, levels = through_column(connection, value), 0
    while found != "the end":
        found = next(iter(found.values())) if isinstance(found, dict) else found[0]
        levels += 1
    assert levels == 10_000


# -- objects ----------------------------------------------------------------------------------------------------------


@dataclass
class Order:
    """A mutable dataclass with a field that its constructor does not take."""

    number: int
    lines: list[Any] = field(default_factory=list)
    total: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.total = -1


@dataclass(frozen=True, slots=True)
class Item:
    """A frozen one."""

    name: str


@attrs.frozen
class Place:
    """A frozen attrs class."""

    name: str
    at: datetime | None = None


class Form(pydantic.BaseModel):
    """A model that allows fields beside its own."""

    model_config = pydantic.ConfigDict(extra="allow")
    name: str
    day: date


class Colour(Enum):
    """An enum of plain values."""

    RED = "r"


class Level(IntEnum):
    """An enum of numbers."""

    HIGH = 3


class Word(StrEnum):
    """An enum of texts."""

    GO = "go"


class Right(Flag):
    """A flag."""

    READ = 1
    WRITE = 2


OBJECTS: list[tuple[Any, Any]] = [
    (Order(1, [Item("a")]), {"number": 1, "lines": [{"name": "a"}], "total": -1}),
    (Item("a"), {"name": "a"}),
    (Place("b", datetime(2026, 1, 2)), {"name": "b", "at": datetime(2026, 1, 2)}),
    (Form(name="c", day=date(2026, 1, 2), more=1), {"name": "c", "day": date(2026, 1, 2), "more": 1}),
    (Point(1, 2), (1, 2)),
    (Colour.RED, "r"),
    (Level.HIGH, 3),
    (Word.GO, "go"),
    (Right.READ | Right.WRITE, 3),
]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """The registered types, none at first and none left behind."""
    names: dict[str, type] = {}
    monkeypatch.setattr("unhush.runtime.payload_types._registered", names)
    return names


@pytest.mark.parametrize(("value", "plain"), OBJECTS, ids=lambda value: type(value).__name__)
def test_objects_come_back_as_dicts_unless_registered(value: Any, plain: Any, registry: dict[str, type]) -> None:
    """Without registration the fields come back, and an enum's value; with it the object, once its type is known."""
    data = json.loads(json.dumps(encode(value).data))
    assert encode(value).degraded == ()
    assert same(decode(data), plain)
    for cls in (Item, type(value)):
        assert register_type(cls) is cls
    back = decode(json.loads(json.dumps(encode(value).data)))
    assert type(back) is type(value)
    assert back == value


def test_a_registered_type_comes_back_in_sets_and_keys(registry: dict[str, type]) -> None:
    """A frozen dataclass as a key or member comes back where it is registered, and is a marked repr elsewhere."""
    value = {Item("a"): {Item("b"), (Item("c"), 1)}}
    assert len(encode(value).degraded) == 3
    assert decode(encode({Item("a")}).data) == {"Item(name='a')"}
    register_type(Item)
    assert encode(value).degraded == ()
    assert through_json(value) == value


def test_a_class_that_gained_a_field_takes_its_default(registry: dict[str, type]) -> None:
    """What an older version captured is made by the constructor; where that fails the fields come back as a dict."""
    register_type(Place)
    name = f"$object:{Place.__module__}.{Place.__qualname__}"
    assert decode({name: {"name": "x"}}) == Place("x")
    assert decode({name: {"title": "x"}}) == {name: {"title": "x"}}


def test_nothing_is_imported_by_a_name_in_the_data() -> None:
    """A name of a module that is not loaded stays a name; a class that can't be registered is refused."""
    assert "antigravity" not in sys.modules
    assert decode({"$object:antigravity.Fly": {"a": 1}}) == {"a": 1}
    assert decode({"$enum:antigravity.Fly": 1}) == 1
    assert "antigravity" not in sys.modules
    with pytest.raises(TypeError, match="int is no dataclass"):
        register_type(int)


def test_what_looks_like_a_tag_and_is_none_comes_back_as_it_stands() -> None:
    """Unknown tags, and tags whose content was masked or edited by hand, are shown rather than refused."""
    for data in ({"$new": 1}, {"$uuid": "[redacted]"}, {"$part": 7}, {"$set": [[]]}, {"$datetime": 5}, {"$parts": 1}):
        assert decode(data) == data


# -- what can't be kept -----------------------------------------------------------------------------------------------


class Silent:
    """Has nothing that could be kept."""

    def __repr__(self) -> str:
        return "<a silent thing>"


class Raising:
    """Raises from its repr what few would catch."""

    def __repr__(self) -> str:
        raise SystemExit(1)


class Looping:
    """Its repr asks for itself."""

    def __repr__(self) -> str:
        return f"<{self!r}>"


class Huge:
    """Its repr is a million characters."""

    def __repr__(self) -> str:
        return "h\0" * 500_000


class Proxy:
    """Raises from whatever it is asked, as a proxy outside its context does."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("outside of its context")


class Refusing(dict[str, int]):
    """A mapping whose methods raise."""

    def items(self) -> Any:
        """Nothing."""
        raise RuntimeError("no")


def test_what_cannot_be_serialised_becomes_a_marked_repr() -> None:
    """The value's repr stands in its place, its path is named, and all beside it is kept."""
    encoded = encode({"keep": [1, {"it": Silent()}], "a b": Silent(), "kept": 2})
    assert encoded.degraded == ("$.keep[1].it", '$["a b"]')
    back = decode(encoded.data)
    assert back == {"keep": [1, {"it": "<a silent thing>"}], "a b": "<a silent thing>", "kept": 2}
    assert isinstance(back["a b"], Lost)
    assert encode(back).degraded == encoded.degraded


@pytest.mark.parametrize("cls", [Raising, Looping, Huge, Proxy, Silent])
def test_a_hostile_value_is_marked_like_any_other(cls: type) -> None:
    """A repr that raises, asks for itself or is huge ends in a short text, and nothing is raised."""
    encoded = encode([cls(), 1])
    assert encoded.degraded == ("$[0]",)
    back = decode(json.loads(json.dumps(encoded.data)))
    assert back[1] == 1
    assert 5 < len(back[0]) < 7000


def test_a_dict_whose_methods_raise_is_read_all_the_same() -> None:
    """A dict's own content is taken without a call of what a subclass made of it."""
    assert same(decode(encode(Refusing(a=1)).data), {"a": 1})


def test_many_lost_values_are_counted_rather_than_named() -> None:
    """After a hundred paths the rest is one line."""
    encoded = encode([Silent()] * 1000)
    assert len(encoded.degraded) == 101
    assert encoded.degraded[-1] == "... and 900 more"


def test_cycles_end() -> None:
    """A container that holds itself, near or far, is cut where it comes round, and shared ones are not."""
    near: list[Any] = [1]
    near.append(near)
    assert encode(near).degraded == ("$[1]",)
    far: dict[str, Any] = {}
    inner = far
    for _ in range(100):
        inner["in"] = {}
        inner = inner["in"]
    inner["in"] = far
    encoded = encode(far)
    assert len(encoded.degraded) == 1
    assert json.dumps(encoded.data).count('"in"') == 101
    shared = [1]
    assert encode([shared, shared, {"a": shared}]).degraded == ()


def test_the_callers_objects_stay_as_they_are() -> None:
    """Neither encoding nor changing what came of it touches the value."""
    value = {"a": [1, {"b": (2, {3})}], "c": OrderedDict(d=[b"x"])}
    before = copy.deepcopy(value)
    encoded = encode(value)
    encoded.data["a"].append("changed")
    encoded.data["c"]["d"].clear()
    assert value == before


# -- limits -----------------------------------------------------------------------------------------------------------


@given(values, st.integers(0, 300))
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_over_the_limit_something_is_cut_and_named(value: object, limit: int) -> None:
    """Whatever the limit, the result decodes; it is whole where no path is named."""
    encoded = encode(value, limit_bytes=limit)
    back = decode(json.loads(json.dumps(encoded.data, allow_nan=False)))
    assert encoded.degraded or same(back, value)


def test_the_limit_holds_and_says_what_is_missing() -> None:
    """Texts, lists, dicts, keys and bytes beyond the limit are cut, and each text says how much."""
    for value in ("x" * 10_000, "é" * 10_000, ["ab"] * 10_000, {str(n): n for n in range(9999)}, b"\xff" * 9999):
        encoded = encode({"before": 1, "it": value, "after": 2}, limit_bytes=1000)
        assert encoded.degraded[0] == "$.it"
        assert len(json.dumps(encoded.data, ensure_ascii=False)) < 2500
        assert "cut" in json.dumps(encoded.data)
        assert encoded.data["before"] == 1
    assert encode({"k" * 5000: 1, "b": 2}, limit_bytes=1000).degraded == ("$",)
    assert len(str(encode({"k" * 5000: 1}, limit_bytes=1000).data)) < 1000
    assert encode({1: "a" * 5000, 2: "b"}, limit_bytes=1000).degraded == ("$[1]", "$")


def test_a_payload_of_50_megabytes_comes_back_whole() -> None:
    """The default limit leaves a payload of 50 MB alone."""
    value = {"blob": "x" * 50_000_000, "id": uuid4()}
    assert encode(value).degraded == ()
    assert through_json(value) == value
    assert encode(value, limit_bytes=1_000_000).degraded == ("$.blob", "$")


# -- with redaction ---------------------------------------------------------------------------------------------------


def test_redaction_sees_through_the_tags() -> None:
    """Secrets in bytes, tuples, objects, odd keys, pairs and deep parts are masked, under the paths of the value."""
    deep: Any = {"password": {"of": [[{"the": ["hunter2"]}]]}}
    for _ in range(21):
        deep = {"a": deep}
    value = {
        "login": Place("token=hunter2"),
        "headers": [(b"authorization", b"hunter2"), (b"accept", b"*/*")],
        "odd": {1: b"password=hunter2", b"password": "hunter2"},
        "form": ({"api_key": UUID(int=1)},),
        "deep": deep,
    }
    data = encode(value).data
    redacted = redact(data)
    assert json.dumps(data).count("hunter2") == 5
    assert json.dumps(data).count("$part") > 1
    assert "hunter2" not in json.dumps(redacted.value)
    assert redacted.paths == (
        "$.login.name",
        "$.headers[0][1]",
        "$.odd[1]",
        "$.odd.password",
        "$.form[0].api_key",
        f"$.deep{'.a' * 21}.password",
    )
    back = decode(redacted.value)
    assert back["headers"][1] == (b"accept", b"*/*")
    assert back["odd"][1] == b"password=[redacted]"

"""What requests hold, strictly: no field that is not named here, no text that a database would refuse."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)

from ..bulk import BulkOptions
from ..letters import EventFilter, Filter, Group, Json, LetterSummary, Outcome

PAGE_LIMIT = 200
Status = Literal["dead", "redriving", "in_doubt", "redriven", "parked", "discarded"]
OperationStatus = Literal["running", "paused", "stopped", "cancelled", "done"]

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


def _time(value: object) -> datetime:
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except OverflowError as error:
            raise ValueError("the time lies beyond the calendar") from error
    raise ValueError("a time looks like 2026-03-01T12:00:00Z, with its zone")


def _id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError("an id looks like 01957f3c-0000-7000-8000-000000000000")
    return value


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("no NUL in texts")
    return value


def _plain(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise ValueError("printable ASCII characters only")
    return value


def _telling(value: str) -> str:
    if not value.strip():
        raise ValueError("a reason is not blank")
    return value


def _whole(value: object) -> object:
    """A number as a query writes it, where pydantic alone takes ` 5` too; in JSON, 5.0 is a whole number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise ValueError("a whole number")
    return value


def _yes_or_no(value: object) -> object:
    if isinstance(value, str) and value not in ("true", "false"):
        raise ValueError("true or false")
    return value


@dataclass(frozen=True)
class _Shown:
    """Further members of a field's JSON schema."""

    name: str
    value: str

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return {**handler(core), self.name: self.value}


Time = Annotated[datetime, PlainValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]
Id = Annotated[str, AfterValidator(_id), _Shown("format", "uuid")]
Text = Annotated[str, Field(max_length=255), AfterValidator(_without_nul), _Shown("pattern", "^[^\\u0000]*$")]
Word = Annotated[str, Field(max_length=64), AfterValidator(_plain), _Shown("pattern", "^[ -~]*$")]
Reason = Annotated[
    str,
    Field(min_length=1, max_length=2000),
    AfterValidator(_without_nul),
    AfterValidator(_telling),
    _Shown("pattern", "^[^\\u0000]*[^\\u0000\\s][^\\u0000]*$"),
]
Flag = Annotated[bool, BeforeValidator(_yes_or_no)]
Limit = Annotated[int, Field(ge=1, le=PAGE_LIMIT), BeforeValidator(_whole)]


def optional(description: str | None = None) -> Any:
    """A field that may be left out, and is then None; null is not taken for that."""
    return Field(default=None, description=description, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class Strict(BaseModel):
    """Refuses fields that it does not know."""

    model_config = ConfigDict(extra="forbid")


class _Letters(Strict):
    queue: Text = optional()
    status: Status = optional()
    job_name: Text = optional()
    job_id: Text = optional("The job's own id.")
    fingerprint: Word = optional("Same bug, same fingerprint.")
    error_type: Text = optional()
    operation_id: Id = optional("The bulk act that holds them.")
    failed_before: Time = optional()
    failed_after: Time = optional()
    redrivable: Flag = optional("Whether the stored payload is the job's own.")

    @property
    def filter(self) -> Filter:
        """As the queue knows it."""
        return Filter(**{field.name: getattr(self, field.name, None) for field in fields(Filter)})


class _Paged(Strict):
    limit: Limit = 50
    cursor: Text = optional("The `cursor` of the page before.")


class LettersQuery(_Letters, _Paged):
    """Which letters, and which page of them."""


class LetterQuery(Strict):
    """Whether the payload is wanted."""

    payload: Flag = Field(default=False, description="With the payload and headers; operators only, and audited.")


class PageQuery(_Paged):
    """Which page."""


class GroupsQuery(Strict):
    """Groups of which letters."""

    status: Status = "dead"
    limit: Limit = 50


class AuditQuery(_Paged):
    """Which events, and which page of them."""

    letter_id: Id = optional()
    operation_id: Id = optional()
    kind: Word = optional()
    actor: Text = optional()
    since: Time = optional("From then on.")
    until: Time = optional("Before then.")

    @property
    def filter(self) -> EventFilter:
        """As the queue knows it."""
        return EventFilter(**{field.name: getattr(self, field.name) for field in fields(EventFilter)})


class OperationsQuery(_Paged):
    """Which bulk acts, and which page of them."""

    status: OperationStatus = optional()


class NoQuery(Strict):
    """No parameters at all."""


class MaybeReason(Strict):
    """Why, if there is something to say."""

    reason: Reason = optional()


class NeedsReason(Strict):
    """Why."""

    reason: Reason


class NewPayload(MaybeReason):
    """A payload with the type tags with which it is shown (`{"$uuid": "..."}`)."""

    payload: Any


class MatchingFilter(_Letters):
    """Which letters. A filter that names no more than a status would mean all: that is said by `all`."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [name]} for name in sorted(_Letters.model_fields) if name != "status"]
        }
    )


class Options(Strict):
    """How a redrive goes: see `BulkOptions`."""

    rate: Annotated[float, Field(ge=0.001, le=10_000)] = optional("Letters per second.")
    jitter: Annotated[float, Field(ge=0, le=1)] = Field(default=0.1, description="Share of each pause that varies.")
    stop_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="Above this share of renewed failures it stops; 1 never stops it."
    )
    window: Annotated[int, Field(ge=1, le=10_000), BeforeValidator(_whole)] = Field(
        default=20, description="How many redrives that share is of."
    )

    @property
    def bulk(self) -> BulkOptions:
        """As the queue knows them."""
        return BulkOptions(**self.model_dump())


class _Redrive(MaybeReason):
    options: Options = Options()
    dry_run: bool = Field(default=False, description="Only say what would be done.")


class RedriveIds(_Redrive):
    """These letters: all of them, or none."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=PAGE_LIMIT)]


class RedriveMatching(_Redrive):
    """The letters that match now."""

    filter: MatchingFilter


class RedriveAll(_Redrive):
    """Every dead letter."""

    all: Literal[True]


Redrive = RedriveIds | RedriveMatching | RedriveAll


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterDetail(LetterSummary):
    """A dead letter. `headers` and `payload` are there where `payload_shown`; else null."""

    error_message: str
    traceback: str
    changed_paths: Sequence[str]
    payload_shown: bool
    headers: Json
    payload: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The bugs with the most letters, biggest first."""

    groups: Sequence[Group]


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a redrive would take, and how many of that it would surely refuse; `outcomes` where ids were given."""

    total: int
    refused: int
    outcomes: Sequence[Outcome]

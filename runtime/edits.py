"""What a person decides about letters: another payload, dropping them, taking them up again."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row

from .claims import UNKNOWN, WRONG_STATE, busy, change, locked, original, stale, write
from .letters import Act, DeadLetterError, LeaseLost, Letter, NoSuchLetter, Outcome, WrongState
from .lookup import SUMMARY, get
from .payload import PATHS_LIMIT, decode, encode
from .record import payload_fields
from .redact import MASK, step
from .tables import DEAD, DISCARDED, IN_DOUBT, PARKED

if TYPE_CHECKING:
    from .secrecy import Vault

RESTORED = "restored"
# From which statuses a person may move a letter to which.
DISCARDABLE = (DEAD, PARKED, IN_DOUBT)
RESTORABLE = (PARKED, DISCARDED, IN_DOUBT)
EDITABLE = (DEAD, PARKED)


def discard(
    connection: Connection, letter_ids: Sequence[str], act: Act, *, if_match: int | None = None
) -> list[Outcome]:
    """Drops letters: they are kept, and restored at will, but not redriven. Raises DeadLetterError without a reason.

    `if_match`, the fencing number that the caller saw, goes with one letter.
    """
    check_reason(act)
    return [_move(connection, letter_id, act, DISCARDED, if_match) for letter_id in _unique(letter_ids, if_match)]


def restore(
    connection: Connection, letter_ids: Sequence[str], act: Act, *, if_match: int | None = None
) -> list[Outcome]:
    """Makes parked, discarded and doubtful letters dead again, so that they can be redriven.

    A parked letter may then be redriven once more, and is parked again if that fails. `if_match` as for `discard`.
    """
    return [_move(connection, letter_id, act, DEAD, if_match) for letter_id in _unique(letter_ids, if_match)]


def check_reason(act: Act) -> None:
    """Raises DeadLetterError where no reason is given."""
    if not (act.reason or "").strip():
        raise DeadLetterError("discarding needs a reason: say why these jobs need not run")


def _unique(letter_ids: Sequence[str], if_match: int | None) -> list[str]:
    wanted = list(dict.fromkeys(letter_ids))
    if if_match is not None and len(wanted) != 1:
        raise DeadLetterError("if_match belongs to one letter: give one id")
    return wanted


def _move(connection: Connection, letter_id: str, act: Act, to: str, if_match: int | None) -> Outcome:
    kind, allowed = ("discarded", DISCARDABLE) if to == DISCARDED else (RESTORED, RESTORABLE)
    row = locked(connection, letter_id, SUMMARY)
    if isinstance(row, Outcome):
        return row
    if if_match is not None and row.fence != if_match:
        return stale(row)
    if row.status not in allowed:
        return Outcome(row.id, WRONG_STATE, f"it is {row.status}; only {', '.join(allowed)} ones can be {kind}")
    if not change(connection, row, status=to, operation_id=act.operation_id):
        return busy(row.id)
    write(connection, kind, row.id, row.fence + 1, act, {"was": row.status})
    return Outcome(row.id, kind)


def edit(
    connection: Connection,
    letter_id: str,
    payload: Any,
    act: Act,
    *,
    vault: Vault | None,
    limit_bytes: int,
    if_match: int | None = None,
) -> Letter:
    """Gives a dead or parked letter another payload, whole; the letter returned says whether it is redrivable now.

    A masked value that is handed back where it stood keeps its original, if that is stored encrypted. Where masks or
    lost values are left, or the new payload has secrets and there is no key to encrypt them, the letter is not
    redrivable: such a payload can be given to the redrive itself. The history says which paths changed, and no values.
    Raises NoSuchLetter, WrongState, and LeaseLost where the letter's fence is not `if_match` any more.
    """
    row = locked(connection, letter_id)
    if isinstance(row, Outcome):
        raise (NoSuchLetter if row.result == UNKNOWN else WrongState)(row.detail)
    if if_match is not None and row.fence != if_match:
        raise LeaseLost(f"letter {row.id}: {stale(row).detail}")
    if row.status not in EDITABLE:
        raise WrongState(f"letter {row.id} is {row.status}; only {' and '.join(EDITABLE)} ones can be edited")
    before = decode(original(row, vault))
    merged = _kept(payload, decode(row.payload), before)
    paths = list(islice(_differences(encode(before).data, encode(merged).data, "$"), PATHS_LIMIT))
    fields = payload_fields(merged, vault, limit_bytes)
    masked = _masked(encode(merged).data, row, before)
    sealed = fields["secret_payload"]
    changed = change(
        connection,
        row,
        payload=fields["payload"],
        secret_payload=None if sealed is None else base64.b64decode(sealed),
        redrivable=fields["redrivable"] and not masked,
        changed_paths=sorted({*(fields["changed_paths"] or ()), *masked}) or None,
        operation_id=None,
    )
    if not changed:
        raise WrongState(f"letter {row.id}: {busy(row.id).detail}")
    write(connection, "edited", row.id, row.fence + 1, act, {"paths": paths})
    return get(connection, row.id)


def _kept(new: Any, shown: Any, whole: Any) -> Any:
    """The new value, with the original wherever it is what was shown of that."""
    if type(new) is not type(shown):
        return new
    if isinstance(new, dict) and isinstance(whole, dict):
        both = shown.keys() & whole.keys()
        return {key: _kept(item, shown[key], whole[key]) if key in both else item for key, item in new.items()}
    if isinstance(new, list) and isinstance(whole, list) and len(new) == len(shown) == len(whole):
        return [_kept(*items) for items in zip(new, shown, whole, strict=True)]
    return whole if new == shown else new


def _masked(data: Any, row: Row[Any], before: Any) -> list[str]:
    """Where the payload still has a mask that stands for a value nobody supplied."""
    known = row.secret_payload is not None or row.redrivable
    own = {text for _, text in _texts(encode(before).data, "$")} if known else set()
    return [path for path, text in _texts(data, "$") if MASK in text and text not in own]


def _texts(data: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(data, str):
        yield path, data
    for key, item in _items(data):
        yield from _texts(item, path + step(key))


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    """The paths at which two payloads differ."""
    inner, other = dict(_items(old)), dict(_items(new))
    if type(old) is not type(new) or not (inner and other):
        if type(old) is not type(new) or old != new:
            yield path
        return
    for key in [*inner, *(key for key in other if key not in inner)]:
        if key in inner and key in other:
            yield from _differences(inner[key], other[key], path + step(key))
        else:
            yield path + step(key)


def _items(data: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(data, dict):
        yield from data.items()
    elif isinstance(data, list):
        yield from enumerate(data)

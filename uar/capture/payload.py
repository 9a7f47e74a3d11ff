"""From raw bytes to a decoded payload that holds no surprise, and the typed look-ups that every source uses.

`read_payload` is strict where readers differ: a body that two parsers would read differently (equal keys, numbers beyond 64 bits) is
`Unreadable`, and so is one that the store could not hold. The look-ups raise `Unreadable` where a value is of the wrong type.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from uar.activity import Activity, ActivityType, ActorKind, Source, Twin, believable_time
from uar.capture.catalog import Entry, lookup
from uar.capture.delivery import Delivery, Unreadable

Payload = Mapping[str, Any]

MAX_DEPTH = 64
MAX_NAME = 255
MAX_TITLE = 1024
INT64_MAX = 2**63 - 1
MOST_DIGITS = 18  # that surely fit into 64 bits
INT64_MIN = -(2**63)
BOM = b"\xef\xbb\xbf"
# Every digit becomes 0, all else a blank: nineteen zeros in a row may be a number beyond 64 bits.
DIGITS = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Subject:
    """The object an activity is about, as far as the payload tells."""

    content_id: str | None = None
    title: str | None = None
    space_key: str | None = None
    space_name: str | None = None


def read_payload(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; raises `Unreadable` with the reason in words."""
    text = body.removeprefix(BOM)
    if not text.strip():
        raise Unreadable("The body is empty.")
    try:
        payload = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"The body is not JSON: {error.msg}.") from None
    if not isinstance(payload, dict):
        raise Unreadable("The body is JSON, but not an object.")
    if text.count(b"{") + text.count(b"[") > MAX_DEPTH and _depth_exceeds(payload, MAX_DEPTH):
        raise Unreadable(f"The body is nested deeper than {MAX_DEPTH} levels.")
    if _is_suspicious(text, payload):
        _check_slowly(text)
    return payload


def _is_suspicious(text: bytes, payload: dict[str, Any]) -> bool:
    """Whether equal keys or huge numbers are possible; cheap, and never False when there are some.

    Each member has one colon outside of strings, and writing the payload again escapes no colon. So if the text has no escaped colon,
    both have equally many colons unless the parser dropped a member.
    """
    if b"\\u003" in text or b"0" * 19 in text.translate(DIGITS):
        return True
    return text.count(b":") != orjson.dumps(payload).count(b":")


def _check_slowly(text: bytes) -> None:
    json.loads(text, object_pairs_hook=_distinct_keys, parse_int=_int64)


def _distinct_keys(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise Unreadable("An object in the body has the same key twice.")


def _int64(digits: str) -> int:
    if len(digits) > 20 or not INT64_MIN <= int(digits) <= INT64_MAX:
        raise Unreadable("The body holds a whole number beyond 64 bits.")
    return int(digits)


def _depth_exceeds(payload: Any, limit: int) -> bool:
    level: list[Any] = [payload]
    for _ in range(limit):
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node) if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def canonical(payload: Payload) -> bytes:
    """One spelling of a payload: sorted keys, no white space."""
    return orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)


def known_entry(source: Source, event_name: str) -> Entry:
    """The catalogue's entry; raises `Unreadable` if there is none."""
    entry = lookup(source, event_name)
    if entry is None:
        raise Unreadable("The event name is not in the catalogue.", clean(event_name, MAX_NAME))
    return entry


@contextmanager
def about_event(event_name: str) -> Iterator[None]:
    """Adds the event's name to every `Unreadable` raised inside."""
    try:
        yield
    except Unreadable as error:
        error.event_name = event_name
        raise


def clean(text: str, limit: int) -> str:
    """Text that both databases can hold and a page can show: cut, and NUL replaced by the replacement character."""
    return text[:limit].replace("\0", "\ufffd")


def object_at(payload: Payload, name: str) -> Payload | None:
    """The object under `name`; None if missing or null."""
    value = payload.get(name)
    if value is None or isinstance(value, dict):
        return value
    raise Unreadable(f"`{name}` is not an object.")


def text_at(payload: Payload, name: str, limit: int = MAX_NAME) -> str | None:
    """The text under `name`, cleaned; None if missing, null or empty."""
    value = payload.get(name)
    if value is None or isinstance(value, str):
        return clean(value, limit) if value else None
    raise Unreadable(f"`{name}` is not text.")


def event_name_at(payload: Payload, name: str) -> str | None:
    """The event's name under `name`, as it stands; None if missing, null or empty."""
    value = payload.get(name)
    if value is None or isinstance(value, str):
        return value or None
    raise Unreadable(f"`{name}` is not text.")


def id_at(payload: Payload) -> str | None:
    """The id of an object as text; None if it has none.

    Cloud sends numbers and strings; `idAsString` was added because JavaScript cannot hold the large numbers
    (community.developer.atlassian.com/t/temporary-idasstring-field-in-confluence-webhooks/57993).
    """
    value = payload.get("idAsString")
    if value is None or value == "":
        value = payload.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None or isinstance(value, str):
        return clean(value, MAX_NAME) if value else None
    raise Unreadable("`id` is neither text nor a number.")


def account_at(payload: Payload, name: str) -> str | None:
    """The acting account under `name`; None if nobody is named. An id that could not be kept exactly is `Unreadable`."""
    value = payload.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Unreadable(f"`{name}` is not text.")
    if "\0" in value or len(value) > MAX_NAME:
        raise Unreadable(f"`{name}` is no account id: it is longer than {MAX_NAME} characters or holds a NUL.")
    return value if value.strip() else None


def epoch_ms_at(payload: Payload, name: str) -> int | None:
    """Epoch milliseconds under `name`, also as digits in text; None if it is missing or no number, so that the arrival time stands in."""
    value = payload.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not INT64_MIN <= value <= INT64_MAX:
        raise Unreadable(f"`{name}` is a number beyond 64 bits.")
    return int(value)


def iso_ms_at(payload: Payload, name: str) -> int | None:
    """An ISO 8601 instant under `name` as epoch milliseconds; None if it is missing, has no offset, or is no instant."""
    value = payload.get(name)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return None if moment.tzinfo is None else (moment - EPOCH) // MILLISECOND
    except (ValueError, OverflowError):
        return None


def names_app(payload: Any, account: str | None, body: bytes) -> bool:
    """Whether any user object of the payload that is the actor's calls itself an app."""
    if account is None or b'"app"' not in body:
        return False
    nodes = [payload]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            if node.get("accountId") == account and node.get("accountType") == "app":
                return True
            nodes.extend(node.values())
        elif isinstance(node, list):
            nodes.extend(node)
    return False


def make_activity(
    delivery: Delivery,
    event_name: str,
    type_: ActivityType,
    *,
    account: str | None,
    is_app: bool,
    occurred_at: int | None,
    key: bytes,
    subject: Subject,
    twin: Twin | None = None,
) -> Activity:
    """The row of one act; a missing or absurd time gives way to the arrival time."""
    moment, is_event_time = believable_time(occurred_at, delivery.received_at)
    return Activity(
        site=delivery.site,
        source=delivery.source,
        event_name=event_name,
        type=type_,
        account=account,
        occurred_at=moment,
        received_at=delivery.received_at,
        is_event_time=is_event_time,
        key=key,
        actor_kind=ActorKind.APP if is_app else ActorKind.PERSON,
        space_key=subject.space_key,
        space_name=subject.space_name,
        content_id=subject.content_id,
        title=subject.title,
        twin=twin,
    )


def without_title(subject: Subject, store_titles: bool) -> Subject:
    """Titles are personal data of the site: kept only if the settings say so."""
    return subject if store_titles or subject.title is None else replace(subject, title=None)

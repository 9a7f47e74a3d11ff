"""Forge triggers through Forge Remote: proof is a short-lived token signed by Atlassian; the body is the event, flat or wrapped.

Fields of the body: developer.atlassian.com/platform/forge/events-reference/confluence. The token: `uar.capture.forge_token`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import orjson

from uar.activity import Activity, ActivityType, Source, Twin, identity
from uar.capture.delivery import ANOTHER_BODY, REUSED_TOKEN, Delivery, Unreadable
from uar.capture.forge_token import TrustedTokens
from uar.capture.payload import (
    MAX_TITLE,
    Payload,
    Subject,
    about_event,
    account_at,
    canonical,
    event_name_at,
    id_at,
    iso_ms_at,
    known_entry,
    make_activity,
    names_app,
    object_at,
    read_payload,
    text_at,
    without_title,
)

__all__ = ["TrustedTokens", "normalize"]

# A second try differs from the first in these only; the wrapper is taken off before.
NOT_PART_OF_THE_ACT = ("retryContext", "selfGenerated")
OBJECTS = ("content", "attachment", "space", "label", "user", "group", "task", "template")
NEEDS_CONTENT = ("page", "blogpost", "comment", "whiteboard", "database", "folder", "embed", "custom_content")
RELATION_CREATED = "avi:confluence:created:relation"
SMALL_BODY = 64 * 1024
LIKED = "avi:confluence:liked:"


def normalize(delivery: Delivery, *, store_titles: bool) -> list[Activity]:
    """The activity of one delivery, or none; raises `Unreadable`."""
    if delivery.delivery_id == REUSED_TOKEN:
        raise Unreadable(ANOTHER_BODY)
    payload = unwrapped(read_payload(delivery.body))
    event_name = event_name_at(payload, "eventType")
    if event_name is None:
        raise Unreadable("The body does not name its event (`eventType`).")
    entry = known_entry(Source.FORGE, event_name)
    if not entry.is_activity:
        return []
    with about_event(event_name):
        account = account_at(payload, "atlassianId")
        subject = event_subject(payload, entry.object)
        is_like = event_name == RELATION_CREATED and relation_name(payload) == "like"
        return [
            make_activity(
                delivery,
                event_name,
                ActivityType.LIKE if is_like else entry.type,
                account=account,
                is_app=is_app(payload, account, delivery.body),
                occurred_at=iso_ms_at(payload, "eventCreatedDate"),
                key=act_key(delivery.site, event_name, account, payload),
                subject=without_title(subject, store_titles),
                twin=twin(event_name, is_like, subject.content_id),
            )
        ]


def said(body: bytes) -> bytes:
    """A digest of what a body says: the same for a second try, however it is spelled. A large one, long to read, says its bytes."""
    if len(body) > SMALL_BODY:
        return blake2b(body, digest_size=16).digest()
    try:
        payload = orjson.loads(body)
        if isinstance(payload, dict):
            body = canonical(without_retry(unwrapped(payload)))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass  # what is not JSON, or too deep to write, says its bytes
    return blake2b(body, digest_size=16).digest()


def without_retry(payload: Payload) -> dict[str, Any]:
    """What a second try has in common with the first."""
    return {name: value for name, value in payload.items() if name not in NOT_PART_OF_THE_ACT}


def unwrapped(payload: dict[str, Any]) -> dict[str, Any]:
    """The event itself: the remote guide shows it under `payload`, receivers in production see it at the top."""
    inner = payload.get("payload")
    return inner if isinstance(inner, dict) and "eventType" in inner else payload


def is_app(payload: Payload, account: str | None, body: bytes) -> bool:
    """Whether an app acted: by the payload's own word, or because it was our own app."""
    return payload.get("selfGenerated") is True or text_at(payload, "accountType") == "app" or names_app(payload, account, body)


def act_key(site: str, event_name: str, account: str | None, payload: Payload) -> bytes:
    """The identity of the act. Where the payload has no time or no object, everything in it that a retry keeps takes their place."""
    occurred_at = iso_ms_at(payload, "eventCreatedDate")
    ids = object_ids(payload)
    version = None
    for name in ("content", "attachment"):
        version = version or (object_at(object_at(payload, name) or {}, "version") or {}).get("number")
    rest = None
    if occurred_at is None or not ids:
        rest = canonical(without_retry(payload))
    return identity("forge", site, event_name, account, occurred_at, "\n".join(ids), repr(version), rest)


def object_ids(payload: Payload) -> list[str]:
    """The ids of every object the event names, each with its role."""
    ids = [f"{name} {found}" for name in OBJECTS if (found := _any_id(object_at(payload, name))) is not None]
    for side in ("source", "target"):
        if (found := _any_id(object_at(payload, side))) is not None:
            ids.append(f"{side} {found}")
        for kind, value in sorted((object_at(payload, side) or {}).items()):
            if isinstance(value, dict) and (found := _any_id(value)) is not None:
                ids.append(f"{side} {kind} {found}")
    ids += [f"{name} {payload[name]!r}" for name in ("relationName", "query") if name in payload]
    return ids


def event_subject(payload: Payload, kind: str) -> Subject:
    """The content, file or space that the event is about."""
    if kind == "attachment":
        return _content_subject(object_at(payload, "attachment"), kind)
    target = object_at(payload, "target") if kind == "relation" else payload
    content = object_at(target or {}, "content")
    if kind == "relation" and target and content is None and target.get("id") is not None:
        content = target
    if content is not None or kind in NEEDS_CONTENT:
        return _content_subject(content, kind)
    space = object_at(target or {}, "space")
    if space is None and kind == "space":
        raise Unreadable("The event does not say which space it is about.")
    return Subject(None, None, *_space(space or {}))


def relation_name(payload: Payload) -> str | None:
    """What kind of relation it is, such as `like` or `watching`."""
    return text_at(payload, "relationName") or text_at(object_at(payload, "relationData") or {}, "relationName")


def twin(event_name: str, is_like: bool, content_id: str | None) -> Twin | None:
    """A like comes as `liked:*` and again as a relation; the relation is the vaguer notice."""
    if content_id is None or not (is_like or event_name.startswith(LIKED)):
        return None
    return Twin(f"like:{content_id}", is_generic=is_like)


def _content_subject(content: Payload | None, kind: str) -> Subject:
    content_id = id_at(content) if content is not None else None
    if content is None or content_id is None:
        raise Unreadable(f"The {kind} has no id.")
    key, name = _space(object_at(content, "space") or {})
    if key is None:
        container = object_at(content, "container") or {}
        key, name = _space(object_at(container, "space") or container)
    return Subject(content_id, text_at(content, "title", MAX_TITLE), key, name)


def _space(space: Payload) -> tuple[str | None, str | None]:
    return text_at(space, "key"), text_at(space, "name")


def _any_id(found: Payload | None) -> str | None:
    if found is None:
        return None
    return id_at(found) or text_at(found, "accountId") or text_at(found, "uuid") or text_at(found, "key") or text_at(found, "name")

"""Webhooks that an admin registers on a Cloud site: proof is a long random token in the address, which also names the event.

The vendor does not document them; bodies are those of Connect apps (captures: github.com/crewlet/crewlet, and
community.developer.atlassian.com/t/temporary-idasstring-field-in-confluence-webhooks/57993). Two different events can have the same
body, so the identity of an act holds the event's name.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from uar.activity import Activity, ActivityType, Source, identity
from uar.capture.delivery import UNKNOWN_SITE, Delivery, Refused, Unreadable
from uar.capture.payload import (
    MAX_NAME,
    MAX_TITLE,
    Payload,
    Subject,
    about_event,
    account_at,
    canonical,
    epoch_ms_at,
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
from uar.capture.sources.webhook_body import space_key, subjects

# Apps keep their settings as content properties; those are no act of anybody
# (developer.atlassian.com/cloud/confluence/confluence-entity-properties).
PROPERTY_STORAGE = "content-property"
# The last version's author acted only if the event made that version; whoever removed the content is not told.
VERSION_IS_THE_ACT = ("content_created", "content_updated", "content_restored")


def verify(query: bytes, tokens: Sequence[bytes]) -> None:
    """Raises `Refused` unless the query holds one `token` and it is one of the site's live tokens."""
    found = [value for name, _, value in (part.partition(b"=") for part in query.split(b"&")) if name == b"token"]
    if not tokens:
        raise Refused(UNKNOWN_SITE)
    if len(found) != 1 or not found[0]:
        raise Refused("several tokens in the address" if found else "no token in the address")
    given = unquote_to_bytes(found[0]) if b"%" in found[0] else found[0]
    is_right = False
    for token in tokens:
        is_right |= hmac.compare_digest(given, token)
    if not is_right:
        raise Refused("wrong token")


def normalize(delivery: Delivery, *, store_titles: bool) -> list[Activity]:
    """The activities of one delivery: none, one, or one for each attachment; raises `Unreadable`."""
    payload = read_payload(delivery.body)
    event_name = delivery.event_name
    if not event_name:
        raise Unreadable("The address does not name the event.")
    entry = known_entry(Source.CONNECT, event_name)
    if not entry.is_activity:
        return []
    with about_event(event_name):
        if event_name.startswith("content_") and is_app_storage(payload):
            return []
        account, occurred_at = act(payload, event_name)
        is_app = text_at(payload, "accountType") == "app" or names_app(payload, account, delivery.body)
        spelled = canonical(payload)
        return [
            make_activity(
                delivery,
                event_name,
                ActivityType.LIKE if is_like(payload, event_name) else entry.type,
                account=account,
                is_app=is_app,
                occurred_at=occurred_at,
                key=identity("connect", event_name, delivery.site, spelled, part),
                subject=without_title(subject, store_titles),
            )
            for part, subject in _subjects(payload, event_name, entry.object)
        ]


def act(payload: Payload, event_name: str) -> tuple[str | None, int | None]:
    """Who acted and when (epoch milliseconds); both None where the body does not tell.

    The bodies of `content_*` are bare content objects: they know their last version's author and time only.
    """
    account, occurred_at = account_at(payload, "userAccountId"), epoch_ms_at(payload, "timestamp")
    if account is None and occurred_at is None and event_name in VERSION_IS_THE_ACT:
        version = object_at(_bare_content(payload), "version") or {}
        account, occurred_at = account_at(object_at(version, "by") or {}, "accountId"), iso_ms_at(version, "when")
    return account, occurred_at


def is_app_storage(payload: Payload) -> bool:
    """Whether a content object is a content property that an app stored, not content that a person made."""
    return PROPERTY_STORAGE in (text_at(_bare_content(payload), "type", MAX_NAME) or "")


def is_like(payload: Payload, event_name: str) -> bool:
    """Whether a relation event is the only trace of a like; an unlike stays what it is."""
    if event_name != "relation_created":
        return False
    relation = object_at(payload, "relationData") or {}
    return (text_at(payload, "relationName") or text_at(relation, "relationName")) == "like"


def _subjects(payload: Payload, event_name: str, kind: str) -> list[tuple[str | None, Subject]]:
    if kind == "relation":
        return [(None, _relation_subject(payload))]
    if event_name.startswith("content_") and object_at(payload, "content") is None:
        return [(None, _bare_subject(payload))]
    return subjects(payload, kind)


def _relation_subject(payload: Payload) -> Subject:
    target = object_at(object_at(payload, "relationData") or {}, "target") or object_at(payload, "target") or {}
    target = object_at(target, "content") or target
    space = object_at(target, "space") or {}
    key = text_at(target, "spaceKey") or text_at(space, "key")
    return Subject(id_at(target), text_at(target, "title", MAX_TITLE), key, text_at(space, "name"))


def _bare_content(payload: Payload) -> Payload:
    return object_at(payload, "content") or payload


def _bare_subject(payload: Payload) -> Subject:
    content_id = id_at(payload)
    if content_id is None:
        raise Unreadable("The content has no id.")
    space = object_at(payload, "space") or {}
    return Subject(content_id, text_at(payload, "title", MAX_TITLE), space_key(payload), text_at(space, "name"))

"""Confluence Data Center webhooks: proof is an HMAC of the raw body; the body names the event and carries ids only by default.

Names, headers and the connection test: confluence.atlassian.com/doc/managing-webhooks-1021225606.html. Which fields a body has:
the mapping of `WebhookJsonEventFactory` (docs.atlassian.com/ConfluenceServer/javadoc/7.19.14).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache

import orjson

from uar.activity import Activity, Source, Twin, identity
from uar.capture.delivery import UNKNOWN_SITE, Delivery, Refused, Unreadable, sole_header
from uar.capture.payload import (
    MAX_NAME,
    about_event,
    account_at,
    canonical,
    clean,
    epoch_ms_at,
    event_name_at,
    known_entry,
    make_activity,
    names_app,
    read_payload,
    without_title,
)
from uar.capture.sources.webhook_body import subjects

SIGNATURE = b"x-hub-signature"
PREFIX = b"sha256="
PING_EVENT = b"diagnostics:ping"
MAX_PING = 64
# A content_* event may be a second notice next to one of these with the same content id and verb.
TWIN_FAMILIES = ("page", "blog", "comment")
TWIN_VERBS = ("created", "updated", "restored", "trashed")


def verify(headers: list[tuple[bytes, bytes]], body: bytes, secrets: Sequence[bytes]) -> bool:
    """Raises `Refused` unless the body is signed with one of the site's live secrets; True for the connection test.

    The test button of the administration sends `{"test": true}`, signed or not; it is answered 200 and stored nowhere.
    """
    if not secrets:
        raise Refused(UNKNOWN_SITE)
    is_test = is_connection_test(body)
    if is_test and all(name != SIGNATURE for name, _ in headers):
        return True
    verify_signature(sole_header(headers, SIGNATURE), body, secrets)
    return is_test or (b"x-event-key", PING_EVENT) in headers


def verify_signature(signature: bytes, body: bytes, secrets: Sequence[bytes]) -> None:
    """Raises `Refused` unless `signature` is `sha256=` and the hex HMAC of the body under one of the secrets."""
    if not signature.startswith(PREFIX):
        raise Refused("signature without sha256=")
    given = signature[len(PREFIX) :].lower()
    is_right = False
    for secret in secrets:
        made = _keyed(secret).copy()
        made.update(body)
        is_right |= hmac.compare_digest(given, made.hexdigest().encode())
    if not is_right:
        raise Refused("wrong signature")


@lru_cache(1024)
def _keyed(secret: bytes) -> hmac.HMAC:
    """To be copied: that takes a third of the time of beginning with the key."""
    return hmac.new(secret, digestmod=hashlib.sha256)


def is_connection_test(body: bytes) -> bool:
    """Whether the body is exactly `{"test": true}`, however it is spaced."""
    if len(body) > MAX_PING or b"test" not in body:
        return False
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(payload, dict) and len(payload) == 1 and payload.get("test") is True


def normalize(delivery: Delivery, *, store_titles: bool) -> list[Activity]:
    """The activities of one delivery: none, one, or one for each attachment; raises `Unreadable`."""
    payload = read_payload(delivery.body)
    event_name = event_name_at(payload, "event") or delivery.event_name
    if event_name is None:
        raise Unreadable("The body does not name its event.")
    entry = known_entry(Source.DATACENTER, event_name)
    if not entry.is_activity:
        return []
    with about_event(event_name):
        account = account_at(payload, "userKey")
        is_app = names_app(payload, account, delivery.body)
        spelled = canonical(payload)
        return [
            make_activity(
                delivery,
                event_name,
                entry.type,
                account=account,
                is_app=is_app,
                occurred_at=epoch_ms_at(payload, "timestamp"),
                key=identity("datacenter", delivery.site, delivery.delivery_id, spelled, part),
                subject=without_title(subject, store_titles),
                twin=twin(event_name, subject.content_id),
            )
            for part, subject in subjects(payload, entry.object)
        ]


def twin(event_name: str, content_id: str | None) -> Twin | None:
    """What an event shares with its second notice."""
    family, _, verb = event_name.partition("_")
    if content_id is None or verb not in TWIN_VERBS:
        return None
    if family == "content":
        return Twin(f"{verb}:{content_id}", is_generic=True)
    return Twin(f"{verb}:{content_id}", is_generic=False) if family in TWIN_FAMILIES else None


def header_event(headers: list[tuple[bytes, bytes]]) -> str | None:
    """The event's name as the header tells it, for a body without one."""
    return _header_text(headers, b"x-event-key")


def request_id(headers: list[tuple[bytes, bytes]]) -> str | None:
    """The sender's id of this delivery."""
    return _header_text(headers, b"x-request-id")


def _header_text(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    for key, value in headers:
        if key == name and value:
            return clean(value.decode("latin-1"), MAX_NAME)
    return None

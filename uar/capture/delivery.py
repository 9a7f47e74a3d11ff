"""One HTTP call from a source, and the three ways in which it can fail to become activities.

`Refused` (401) and `Undecided` (503) are answers to the sender and leave no row; `Unreadable` is about a delivery that was proven
genuine and is kept in quarantine.
"""

from __future__ import annotations

from dataclasses import dataclass

from uar.activity import Source

# In place of a delivery id, which Forge does not give; kept by the spool and by the quarantine, so that no replay ever counts it.
REUSED_TOKEN = "token-used-before"
UNKNOWN_SITE = "the address names a site that is not configured"
ANOTHER_BODY = "Its token had come before with another body, so it may not be from Atlassian. It is never counted."


@dataclass(frozen=True, slots=True)
class Delivery:
    """A verified HTTP call: raw body, and what the proof and the address say about it.

    `event_name` is the name in the address (Cloud webhooks) or header (Data Center); None for Forge, which tells it in the body.
    `delivery_id` is the sender's own id of the call, if it gives one. `received_at` is epoch milliseconds, UTC.
    """

    source: Source
    site: str
    event_name: str | None
    delivery_id: str | None
    received_at: int
    body: bytes


class Refused(Exception):
    """The proof of the sender is wrong. The message says why in words without any value of the request."""


class Undecided(Exception):
    """Nobody can say now whether the proof is right; the sender should come again after `retry_after_s` seconds."""

    def __init__(self, reason: str, retry_after_s: int) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Unreadable(Exception):
    """A genuine delivery that nobody can read or count; `reason` is a sentence for the Collection page."""

    def __init__(self, reason: str, event_name: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.event_name = event_name


def sole_header(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The value of a header that must stand exactly once; raises `Refused`. Names are in lower case, as ASGI gives them."""
    found = [value for key, value in headers if key == name]
    if len(found) != 1:
        raise Refused(f"{'several headers' if found else 'no header'} {name.decode()}")
    return found[0]

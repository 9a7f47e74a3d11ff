"""The noun everything else speaks of: one thing that one person did at one instant.

An *event* is what a source says happened, in the source's own spelling; an `Activity` is our normalised row of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum, StrEnum

DAY_MS = 86_400_000
# The first public beta of Confluence was in 2004 (en.wikipedia.org/wiki/Confluence_(software)); nothing can have happened before.
EARLIEST = date(2004, 1, 1)
EARLIEST_MS = 1_072_915_200_000  # its midnight in UTC
LATEST_AHEAD_MS = int(timedelta(days=1).total_seconds() * 1000)


class ActivityType(IntEnum):
    """The ten event types, in the order in which they are shown everywhere. The numbers are stored: never renumber."""

    VIEW = 0
    CREATE = 1
    UPDATE = 2
    DELETE = 3
    COMMENT = 4
    LIKE = 5
    ATTACHMENT = 6
    LABEL = 7
    SPACE = 8
    OTHER = 9

    @property
    def key(self) -> str:
        """The lower-case word of the type, as in exports, addresses and the catalogue."""
        return self.name.lower()

    @property
    def label(self) -> str:
        """The word of the type on screen."""
        return self.name.capitalize()


class Source(IntEnum):
    """Where an activity comes from. The numbers are stored: never renumber."""

    FORGE = 1
    CONNECT = 2
    DATACENTER = 3
    IMPORT = 4
    DEMO = 5
    BACKFILL = 6
    ACCESS_LOG = 7
    PIPELINE = 8

    @property
    def key(self) -> str:
        """The lower-case word of the source, as in addresses, metrics and the view `activity_log`."""
        return self.name.lower()


class ActorKind(StrEnum):
    """What kind of account acted. Apps are left out of people counts and, by default, of totals."""

    PERSON = "person"
    APP = "app"
    GUEST = "guest"


@dataclass(frozen=True, slots=True)
class Activity:
    """One act of one account, as stored.

    `site` is the site's name or, for Forge, its cloud id. `account` is the account id (Cloud) or user key (Data Center) of the
    acting account only, None if the source names nobody. `occurred_at` and `received_at` are epoch milliseconds, UTC;
    `is_event_time` is False where the source's time was missing or absurd and the arrival time stands in for it.
    `key` is the 16-byte identity of the act (see `identity`): the same act again has the same key.
    `twin` names acts that a source may announce twice (see `uar.store.twins`); None for all others.
    """

    site: str
    source: Source
    event_name: str
    type: ActivityType
    account: str | None
    occurred_at: int
    received_at: int
    is_event_time: bool
    key: bytes
    actor_kind: ActorKind = ActorKind.PERSON
    display_name: str | None = None
    space_key: str | None = None
    space_name: str | None = None
    content_id: str | None = None
    title: str | None = None
    twin: Twin | None = None


@dataclass(frozen=True, slots=True)
class Twin:
    """A second notice of one act: what both notices share, and whether this one is the vaguer of the two.

    Two activities of one site and account are one act if their `act` is equal, one is generic and the other is not, and their
    times are less than a minute apart. The specific one decides the type.
    """

    act: str
    is_generic: bool


def identity(*parts: str | int | bytes | None) -> bytes:
    """The 16-byte key of an act from the parts that identify it; the parts' borders and types matter."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part if isinstance(part, bytes) else repr(part).encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return digest.digest()[:16]


def believable_time(occurred_at: int | None, received_at: int) -> tuple[int, bool]:
    """The time to store and whether it is the event's own: a missing or absurd one gives way to the arrival time."""
    if occurred_at is None or not EARLIEST_MS <= occurred_at <= received_at + LATEST_AHEAD_MS:
        return received_at, False
    return occurred_at, True

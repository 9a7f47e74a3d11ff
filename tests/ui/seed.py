"""A small site in a SQLite store of its own: eight people and one app over 100 days up to today, a quiet Sunday every week."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from uar.activity import Activity, ActivityType, ActorKind, Source, identity
from uar.store.database import Engine, migrate, open_store, write_transaction
from uar.store.writes import record_activities

DAYS = 100
PEOPLE = 8
HOUR_MS = 3_600_000
HOSTILE = "<script>alert(1)</script> **Docs** [x](javascript:alert(1))"
EVENTS = {
    ActivityType.VIEW: "avi:confluence:viewed:page",
    ActivityType.CREATE: "avi:confluence:created:page",
    ActivityType.UPDATE: "avi:confluence:updated:page",
    ActivityType.COMMENT: "avi:confluence:created:comment",
    ActivityType.LIKE: "avi:confluence:liked:page",
}


def new_store(folder: Path) -> Engine:
    """An empty store where the settings expect it below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = open_store(f"sqlite:///{folder / 'uar.db'}")
    migrate(engine)
    return engine


def fill(engine: Engine, site: str = "wiki") -> None:
    """Record the site's activities."""
    with write_transaction(engine) as connection:
        record_activities(connection, activities(site))


def activities(site: str) -> list[Activity]:
    """Person p acts on every (p + 1)th day back from today, at p + 8 o'clock UTC; the last days come first in the list."""
    midnight = datetime.fromtimestamp(time.time(), UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = int(midnight.weekday() == 6)  # else who acts once a week would act on quiet Sundays only
    found = []
    for back in range(first, DAYS):
        day = midnight - timedelta(days=back)
        if day.weekday() == 6:
            continue
        for person in range(PEOPLE + 1):
            if (back - first) % (person + 1) == 0:
                found.extend(_of_day(site, person, day))
    now = int(time.time() * 1000)
    return [act for act in found if act.occurred_at <= now]


def _of_day(site: str, person: int, day: datetime) -> list[Activity]:
    """One activity of the first `person % 5 + 1` types, a quarter of an hour apart, each in one of two spaces."""
    start = int(day.timestamp() * 1000) + (person + 8) * HOUR_MS
    types = list(EVENTS)[: person % len(EVENTS) + 1]
    return [_activity(site, person, kind, start + number * HOUR_MS // 4) for number, kind in enumerate(types)]


def _activity(site: str, person: int, kind: ActivityType, at: int) -> Activity:
    return Activity(
        site=site,
        source=Source.IMPORT,
        event_name=EVENTS[kind],
        type=kind,
        account=f"account-{person}",
        occurred_at=at,
        received_at=at + 1_000,
        is_event_time=True,
        key=identity(site, person, at, kind.value),
        actor_kind=ActorKind.APP if person == PEOPLE else ActorKind.PERSON,
        display_name=f"Person Number{person}",
        space_key="DOCS" if person % 2 else "ENG",
        space_name=HOSTILE if person % 2 else "Engineering",
    )

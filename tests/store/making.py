"""Activities for tests of the store, and whole tables to compare with literals."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from uar.activity import Activity, ActivityType, ActorKind, Source, Twin, identity
from uar.store.database import Engine, read_transaction, write_transaction
from uar.store.writes import Recorded, record_activities

T0 = 1_779_999_300_000  # 2026-05-28T20:15:00Z, the start of a quarter of an hour


def act(
    number: int,
    *,
    at: int = 0,
    site: str = "acme",
    account: str | None = "ann",
    type: ActivityType = ActivityType.VIEW,
    twin: Twin | None = None,
    **other: Any,
) -> Activity:
    """The activity whose key is made of `number`, `at` milliseconds after `T0`."""
    given: dict[str, Any] = {
        "source": Source.FORGE,
        "event_name": "avi:confluence:viewed:page",
        "received_at": T0 + at + 5,
        "is_event_time": True,
        "actor_kind": ActorKind.PERSON,
    }
    key = identity(number)
    return Activity(site=site, account=account, occurred_at=T0 + at, type=type, twin=twin, key=key, **(given | other))


def specific(number: int, at: int = 0, type: ActivityType = ActivityType.LIKE, **other: Any) -> Activity:
    """The notice that decides."""
    return act(number, at=at, type=type, twin=Twin("like:7", is_generic=False), **other)


def generic(number: int, at: int = 0, type: ActivityType = ActivityType.LIKE, **other: Any) -> Activity:
    """The vaguer notice of the same act."""
    return act(number, at=at, type=type, twin=Twin("like:7", is_generic=True), **other)


def record(store: Engine, *activities: Activity) -> tuple[int, int]:
    """Record in a transaction of their own; how many were inserted and how many were duplicates."""
    with write_transaction(store) as connection:
        recorded: Recorded = record_activities(connection, activities)
    return recorded.inserted, recorded.duplicates


def rows(store: Engine, query: str) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    with read_transaction(store) as connection:
        return [tuple(row) for row in connection.execute(text(query))]

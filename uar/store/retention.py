"""Retention: activities that occurred before an instant leave the store, a few thousand in each transaction.

    count_older   how many there are
    prune         removes them; may be interrupted at any moment, the next run goes on with what is left

They are sought person by person, as the index of time lines leads to a person's oldest rows; nothing else of the table is read. People keep
the instants of their first and last activity.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Engine, Select, delete, func, select, tuple_

from uar.store.database import read_transaction, write_transaction
from uar.store.dialects import chunks
from uar.store.schema import activities, people
from uar.store.writes import bump_generation

BATCH = 5_000  # activities removed by one transaction
PEOPLE = 500  # sought by one query
PAUSE_S = 0.05  # between two transactions, so that the drain gets its turn

Progress = Callable[[int, int], None]


def count_older(engine: Engine, before: int) -> int:
    """How many activities occurred before the instant (epoch ms). Raises `StoreUnavailable` or `StoreError`."""
    total = 0
    for part in chunks(_people(engine), PEOPLE):
        with read_transaction(engine) as connection:
            total += int(connection.scalar(_older(part, before, func.count())) or 0)
    return total


def prune(engine: Engine, before: int, progress: Progress | None = None, pause: Callable[[], object] = lambda: time.sleep(PAUSE_S)) -> int:
    """Remove the activities that occurred before the instant (epoch ms); returns how many.

    Mirrors are told with the first batch, so that even a killed run has told them, and again after the last one, also when `progress` or
    `pause` raises. Raises `StoreUnavailable` or `StoreError`.
    """
    removed = batches = 0
    known = _people(engine)
    try:
        for place, part in enumerate(chunks(known, PEOPLE)):
            while batch := _remove(engine, part, before, is_told=batches > 0):
                removed, batches = removed + batch, batches + 1
                pause()
            if progress is not None:
                progress(min(len(known), (place + 1) * PEOPLE), len(known))
    finally:
        if batches > 1:
            with write_transaction(engine) as connection:
                bump_generation(connection)
    return removed


def _people(engine: Engine) -> list[int]:
    with read_transaction(engine) as connection:
        return list(connection.scalars(select(people.c.id).order_by(people.c.id)))


def _older(person_ids: Sequence[int], before: int, *columns: Any) -> Select[Any]:
    return select(*columns).where(activities.c.person_id.in_(person_ids), activities.c.occurred_at < before)


def _remove(engine: Engine, person_ids: Sequence[int], before: int, *, is_told: bool) -> int:
    """One batch; returns how many rows are gone. Only who has old rows costs a transaction that writes."""
    identity = activities.c.person_id, activities.c.id
    with read_transaction(engine) as connection:
        if connection.execute(_older(person_ids, before, *identity).limit(1)).first() is None:
            return 0
    with write_transaction(engine) as connection:
        old = _older(person_ids, before, *identity).limit(BATCH)
        removed = connection.execute(delete(activities).where(tuple_(*identity).in_(old))).rowcount
        if removed and not is_told:
            bump_generation(connection)
        return int(removed)

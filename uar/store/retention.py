"""Retention: activities that occurred before an instant leave the store, a few thousand in each transaction.

    kept_from     the instant from which on activities count; what is older is pruned, or is going to be
    keep_from     moves it back, for older activities that are brought in on purpose
    count_older   how many there are
    prune         removes them; may be killed at any moment, the next run goes on with what is left

The first batch that leaves moves `kept_from`, in the same transaction. Mirrors leave out what is older, so they show no day of which a part
is gone and need not read anything again. Old rows are sought person by person, as the index of time lines leads to a person's oldest ones;
nothing else of the table is read. People keep the instants of their first and last activity.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Select, delete, func, select, tuple_

from uar.store.database import read_transaction, write_transaction
from uar.store.dialects import chunks
from uar.store.schema import activities, meta, people
from uar.store.sync_state import set_meta
from uar.store.writes import bump_generation

BATCH = 5_000  # activities removed by one transaction
PEOPLE = 500  # sought by one query
PAUSE_S = 0.05  # between two transactions, so that the drain gets its turn
KEPT_FROM = "kept_from"
CLOCK_MOVED_AT = "clock_moved_at"

Progress = Callable[[int, int], None]


def kept_from(connection: Connection) -> int:
    """The instant (epoch ms) before which activities were pruned and count no more; 0 if none ever was."""
    return int(connection.scalar(select(meta.c.value).where(meta.c.name == KEPT_FROM)) or 0)


def keep_from(connection: Connection, at: int) -> None:
    """Let activities count from `at` (epoch ms) on again, if only later ones do. Mirrors that still hold what was pruned read anew."""
    if at < kept_from(connection):
        set_meta(connection, KEPT_FROM, str(at))
        bump_generation(connection)


def clock_moved_at(connection: Connection) -> int | None:
    """When a clock was last noticed to have moved by itself (epoch ms, by that clock); None if none ever did."""
    found = connection.scalar(select(meta.c.value).where(meta.c.name == CLOCK_MOVED_AT))
    return None if found is None else int(found)


def note_moved_clock(connection: Connection, at: int) -> None:
    """Keep that a clock moved, by which it is `at` (epoch ms) now."""
    set_meta(connection, CLOCK_MOVED_AT, str(at))


def count_older(engine: Engine, before: int) -> int:
    """How many activities `prune` would remove. Raises `StoreUnavailable` or `StoreError`."""
    before, total = _edge(engine, before), 0
    for part in chunks(_people(engine), PEOPLE):
        with read_transaction(engine) as connection:
            total += int(connection.scalar(_older(part, before, func.count())) or 0)
    return total


def prune(engine: Engine, before: int, progress: Progress | None = None, pause: Callable[[], object] = lambda: time.sleep(PAUSE_S)) -> int:
    """Remove the activities that occurred before the instant (epoch ms), or before `kept_from` if that is later: then an earlier run was
    interrupted. Returns how many. Raises `StoreUnavailable` or `StoreError`.
    """
    before, removed, known = _edge(engine, before), 0, _people(engine)
    for place, part in enumerate(chunks(known, PEOPLE)):
        while batch := _remove(engine, part, before):
            removed += batch
            pause()
        if progress is not None:
            progress(min(len(known), (place + 1) * PEOPLE), len(known))
    return removed


def _edge(engine: Engine, before: int) -> int:
    with read_transaction(engine) as connection:
        return max(before, kept_from(connection))


def _people(engine: Engine) -> list[int]:
    with read_transaction(engine) as connection:
        return list(connection.scalars(select(people.c.id).order_by(people.c.id)))


def _older(person_ids: Sequence[int], before: int, *columns: Any) -> Select[Any]:
    return select(*columns).where(activities.c.person_id.in_(person_ids), activities.c.occurred_at < before)


def _remove(engine: Engine, person_ids: Sequence[int], before: int) -> int:
    """One batch; returns how many rows are gone. Only who has old rows costs a transaction that writes."""
    identity = activities.c.person_id, activities.c.id
    with read_transaction(engine) as connection:
        if connection.execute(_older(person_ids, before, *identity).limit(1)).first() is None:
            return 0
    with write_transaction(engine) as connection:
        old = _older(person_ids, before, *identity).limit(BATCH)
        removed = connection.execute(delete(activities).where(tuple_(*identity).in_(old))).rowcount
        if removed and kept_from(connection) < before:
            set_meta(connection, KEPT_FROM, str(before))
        return int(removed)

"""Reads spooled deliveries in order, normalizes them and writes each batch into the store in one transaction.

    StoreWriter       what the drain asks for, one batch a call
    read_deliveries   deliveries to rows; what cannot be read goes into quarantine
    write_batch       rows and counts into the store

It runs in a process of its own (`uar.capture.writer_process`), because it would take the interpreter from those who acknowledge.
"""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uar.activity import Activity, Source
from uar.capture.delivery import Delivery, Unreadable
from uar.capture.payload import clean
from uar.capture.sources import connect, datacenter, forge
from uar.capture.spool_file import APART_MS, Mark, Spooled, SpoolReader, arrived
from uar.store.arrivals import last_arrivals
from uar.store.database import Connection, Engine, StoreUnavailable, migrate, write_transaction
from uar.store.writes import (
    Quarantined,
    count_deliveries,
    cover_again,
    extend_coverage,
    record_activities,
    record_quarantined,
    start_coverage,
)

BATCH_COUNT = 1_000
BATCH_BYTES = 8 * 1024 * 1024
MAX_NAME = 255

NORMALIZERS = {Source.FORGE: forge.normalize, Source.CONNECT: connect.normalize, Source.DATACENTER: datacenter.normalize}

log = logging.getLogger(__name__)

Counts = Mapping[tuple[Source, str, str], int]


@dataclass(slots=True)
class Batch:
    """What a number of deliveries came to: rows to write, and how each ended, per source and site."""

    activities: list[Activity] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    counts: Tally[tuple[Source, str, str]] = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class Opened:
    """The note that a worker began to record, and when the store had the last delivery of each source before (epoch milliseconds)."""

    coverage_id: int
    last_arrivals: dict[Source, int]


@dataclass(frozen=True, slots=True)
class Brought:
    """One batch that is in the store now: how many deliveries, whether none waited behind them, and up to where the spool is drained.

    `newest_received_at` is the arrival of the last one (epoch milliseconds), `outcomes` how many ended how per source.
    """

    count: int
    is_all: bool
    until: Mark
    newest_received_at: int
    outcomes: dict[tuple[Source, str], int]


def read_deliveries(deliveries: Sequence[Delivery], store_titles: bool) -> Batch:
    """Normalizes each delivery; whatever goes wrong with one is a reason for its quarantine and no harm to the others."""
    batch = Batch()
    for delivery in deliveries:
        try:
            found = NORMALIZERS[delivery.source](delivery, store_titles=store_titles)
        except Unreadable as error:
            quarantine(batch, delivery, error.reason, error.event_name)
        except Exception as error:
            log.exception("A delivery could not be read because of a defect; it is in quarantine.")
            quarantine(batch, delivery, f"A defect of this version stopped the reading ({type(error).__name__}).", None)
        else:
            batch.activities += found
            batch.counts[delivery.source, delivery.site, "accepted" if found else "ignored"] += 1
    return batch


def quarantine(batch: Batch, delivery: Delivery, reason: str, event_name: str | None) -> None:
    """Keeps a delivery whole, with the reason in words."""
    name = event_name or delivery.event_name
    batch.quarantined.append(
        Quarantined(
            source=delivery.source,
            site=delivery.site,
            event_name=None if name is None else clean(name, MAX_NAME),
            delivery_id=delivery.delivery_id,
            received_at=delivery.received_at,
            reason=reason,
            body=delivery.body,
        )
    )
    batch.counts[delivery.source, delivery.site, "quarantined"] += 1


def write_batch(connection: Connection, batch: Batch, refused: Counts, at: int) -> None:
    """Writes a batch and the counts, those of refused senders included; moves what was there already from accepted to duplicate."""
    for source, site in {(activity.source, activity.site) for activity in batch.activities}:
        rows = [activity for activity in batch.activities if activity.source is source and activity.site == site]
        duplicates = min(record_activities(connection, rows).duplicates, batch.counts[source, site, "accepted"])
        batch.counts[source, site, "accepted"] -= duplicates
        batch.counts[source, site, "duplicate"] += duplicates
    if batch.quarantined:
        record_quarantined(connection, batch.quarantined)
    counts = {key: count for key, count in (batch.counts + Tally(refused)).items() if count}
    if counts:
        count_deliveries(connection, counts, at)


class StoreWriter:
    """Brings what waits in a spool file into the store. For one thread; raises `StoreUnavailable`, `StoreError` and `SpoolBroken`.

    Instants are epoch milliseconds. `refused` counts senders that were refused, per source, site and reason; they are written along.
    """

    def __init__(self, spool_path: Path, make_engine: Callable[[], Engine], store_titles: bool) -> None:
        self._spool_path = spool_path
        self._reader = SpoolReader(spool_path)
        self._make_engine = make_engine
        self._engine: Engine | None = None
        self._store_titles = store_titles
        self._until = Mark()
        self._most = BATCH_COUNT

    def open(self, worker: str, started_at: int) -> Opened:
        """Makes the store ready and notes that a worker began to record.

        What waits from an earlier run tells that a worker was up when it came, even if the store was not and never heard of it.
        """
        migrate(self._store())
        earlier = arrived(self._spool_path, started_at)
        with write_transaction(self._store()) as connection:
            cover_again(connection, worker, earlier, APART_MS)
            return Opened(start_coverage(connection, worker, started_at), last_arrivals(connection))

    def bring(self, refused: Counts, at: int) -> Brought | None:
        """Brings the next batch into the store; None if nothing waits, and then nothing was written."""
        taken = self._reader.take(self._until, self._most, BATCH_BYTES)
        if not taken:
            return None
        is_all = len(taken) < self._most
        stored, batch = self._stored(taken, refused, at)
        self._until = stored[-1].mark
        self._most = min(2 * self._most, BATCH_COUNT)
        outcomes: Tally[tuple[Source, str]] = Tally()
        for (source, _, outcome), count in batch.counts.items():
            outcomes[source, outcome] += count
        newest = stored[-1].delivery.received_at
        return Brought(len(stored), is_all and len(stored) == len(taken), self._until, newest, dict(outcomes))

    def beat(self, coverage_id: int, refused: Counts, at: int) -> None:
        """Notes that the worker is up."""
        with write_transaction(self._store()) as connection:
            extend_coverage(connection, coverage_id, at)
            if refused:
                count_deliveries(connection, refused, at)

    def close(self) -> None:
        """Closes the spool's file."""
        self._reader.close()

    def _stored(self, taken: Sequence[Spooled], refused: Counts, at: int) -> tuple[Sequence[Spooled], Batch]:
        """Writes all of them; if the store refuses the values, the first half, and so on, until the one that it refuses is alone."""
        try:
            batch = read_deliveries([spooled.delivery for spooled in taken], self._store_titles)
            self._write(batch, refused, at)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, one delivery must not block those behind it
            if len(taken) > 1:
                self._most = len(taken) // 2
                return self._stored(taken[: self._most], refused, at)
            log.error("The store refuses a delivery (%s); it is in quarantine.", type(error).__name__)
            batch = Batch()
            quarantine(batch, taken[0].delivery, "The store refuses the values of this delivery.", None)
            self._write(batch, refused, at)
        return taken, batch

    def _write(self, batch: Batch, refused: Counts, at: int) -> None:
        with write_transaction(self._store()) as connection:
            write_batch(connection, batch, refused, at)

    def _store(self) -> Engine:
        if self._engine is None:
            self._engine = self._make_engine()
        return self._engine

"""From the spool to the store: a thread that reads deliveries in order, normalizes them and writes each batch in one transaction.

    Drain    the thread; the store may be down for hours, then it tries again after 1 to 30 seconds
    replay   reads the quarantine again, after an upgrade that understands more

A batch is written first and deleted from the spool afterwards. A crash in between repeats it, and unique keys make that harmless.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

from uar.activity import Activity, Source
from uar.capture.delivery import Delivery, Unreadable
from uar.capture.metrics import Counts, Metrics
from uar.capture.payload import clean
from uar.capture.sources import connect, datacenter, forge
from uar.capture.spool import Spool, SpoolBroken, Spooled
from uar.config import Settings
from uar.store.database import Connection, Engine, StoreError, StoreUnavailable, migrate, read_transaction, write_transaction
from uar.store.reads import QuarantinedRow, quarantined
from uar.store.writes import (
    Quarantined,
    count_deliveries,
    extend_coverage,
    forget_quarantined,
    record_activities,
    record_quarantined,
    start_coverage,
)

BATCH_COUNT = 1_000
BATCH_BYTES = 8 * 1024 * 1024
# A short pause after each small batch gathers what comes meanwhile: one transaction instead of many.
GATHER_S = 0.1
# While senders queue for their answers, acknowledging goes first, because both share one interpreter: the drain then rests this many
# times as long as its last batch took, and less once deliveries wait so long that a report would be late. In a storm it stands back
# longer: what senders do not get answered in seconds is lost to them, what waits in the spool is not.
BUSY_BATCH = 250
BUSY_REST = 4.0
LATE_S, LATE_IN_STORM_S = 1.5, 10.0
LATE_REST = 0.3
LONGEST_REST_S = 1.0
HEARTBEAT_S = 30.0
FINISH_S = 3.0
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 30.0
MAX_NAME = 255
REPLAY_BATCH = 500

NORMALIZERS = {Source.FORGE: forge.normalize, Source.CONNECT: connect.normalize, Source.DATACENTER: datacenter.normalize}

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Batch:
    """What a number of deliveries came to: rows to write, and how each ended, per source and site."""

    activities: list[Activity] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    counts: Tally[tuple[Source, str, str]] = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What `replay` did: deliveries that are read now (and left the quarantine), rows stored, deliveries that stay."""

    read: int
    stored: int
    remaining: int


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


def write_batch(connection: Connection, batch: Batch, extra: Counts, at: int) -> None:
    """Writes a batch and the counts; moves what was there already from accepted to duplicate."""
    for source, site in {(activity.source, activity.site) for activity in batch.activities}:
        rows = [activity for activity in batch.activities if activity.source is source and activity.site == site]
        duplicates = min(record_activities(connection, rows).duplicates, batch.counts[source, site, "accepted"])
        batch.counts[source, site, "accepted"] -= duplicates
        batch.counts[source, site, "duplicate"] += duplicates
    if batch.quarantined:
        record_quarantined(connection, batch.quarantined)
    counts = {key: count for key, count in (batch.counts + Tally(extra)).items() if count}
    if counts:
        count_deliveries(connection, counts, at)


class Drain:
    """The thread between spool and store. `is_degraded` is True while the store cannot be used."""

    def __init__(
        self, spool: Spool, make_engine: Callable[[], Engine], settings: Settings, metrics: Metrics, worker: str, now_ms: Callable[[], int]
    ) -> None:
        self._spool = spool
        self._make_engine = make_engine
        self._engine: Engine | None = None
        self._store_titles = settings.store_titles
        self._metrics = metrics
        self._worker = worker
        self._now_ms = now_ms
        self._started_at = now_ms()
        self._coverage_id: int | None = None
        self._last_id = 0
        self._beat_at = 0.0  # monotonic
        self._stopping = threading.Event()
        self.is_degraded = False
        self.oldest_received_at: int | None = None
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Lets the batch in hand end and the last counts be written; what remains is drained by the next start."""
        self._stopping.set()
        self._spool.arrived.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._stopping.is_set():
            try:
                self._step()
                retry_s = FIRST_RETRY_S
            except (StoreUnavailable, StoreError, SpoolBroken) as error:
                self._failed(error)
                self._stopping.wait(retry_s * random.uniform(0.5, 1.0))
                retry_s = min(2 * retry_s, LAST_RETRY_S)
            except Exception:
                log.exception("The drain failed because of a defect; it tries again.")
                self._stopping.wait(LAST_RETRY_S)
        if self._coverage_id is not None and not self.is_degraded:
            self._finish()

    def _step(self) -> None:
        """Waits for deliveries, or for the next heartbeat, and brings one batch into the store."""
        self._open()
        self._spool.arrived.wait(max(0.0, self._beat_at + HEARTBEAT_S - time.monotonic()))
        began_at = time.monotonic()
        count = self._bring()
        if time.monotonic() - self._beat_at >= HEARTBEAT_S:
            self._beat()
        if self.is_degraded:
            log.info("The store can be used again; the spool drains.")
            self.is_degraded = False
        if count and self._spool.is_busy():
            rest = LATE_REST if self._is_late() else BUSY_REST
            self._stopping.wait(min(rest * (time.monotonic() - began_at), LONGEST_REST_S))
        elif 0 < count < BATCH_COUNT / 4:
            self._stopping.wait(GATHER_S)

    def _open(self) -> None:
        """Makes the store ready and notes the start of the recording, once."""
        if self._coverage_id is None:
            engine = self._make_engine()
            migrate(engine)
            with write_transaction(engine) as connection:
                self._coverage_id = start_coverage(connection, self._worker, self._started_at)
            self._engine = engine
            self._beat_at = time.monotonic()

    def _bring(self) -> int:
        """Brings the next batch into the store; returns how many deliveries it was."""
        self._spool.arrived.clear()
        is_short = self._spool.is_busy() and not self._is_late()
        taken = self._spool.take(self._last_id, BUSY_BATCH if is_short else BATCH_COUNT, BATCH_BYTES)
        self.oldest_received_at = taken[0].delivery.received_at if taken else None
        if taken:
            self._store(taken)
            self._spool.arrived.set()
        return len(taken)

    def _is_late(self) -> bool:
        """Whether what was taken last had waited longer than a report should be behind."""
        late_s = LATE_IN_STORM_S if self._spool.is_stormy() else LATE_S
        return self.oldest_received_at is not None and self._now_ms() - self.oldest_received_at > late_s * 1000

    def _finish(self) -> None:
        """At the end: what little waits still, and the last counts."""
        deadline = time.monotonic() + FINISH_S
        try:
            while time.monotonic() < deadline and self._bring():
                pass
            self._beat()
        except (StoreUnavailable, StoreError, SpoolBroken) as error:
            log.warning("%s What waits in the spool is stored by the next start.", error)

    def _store(self, taken: Sequence[Spooled]) -> None:
        """One transaction for all of them; if the store refuses the values, halves, until the one that it refuses is alone."""
        try:
            batch = self._write(read_deliveries([spooled.delivery for spooled in taken], self._store_titles))
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, one delivery must not block those behind it
            if len(taken) > 1:
                middle = len(taken) // 2
                self._store(taken[:middle])
                self._store(taken[middle:])
                return
            batch = self._set_aside(taken[0].delivery, error)
        for (source, _, outcome), count in batch.counts.items():
            self._metrics.drained(source, outcome, count)
        self._last_id = taken[-1].id
        self._spool.forget(self._last_id)
        self._metrics.show(drain_lag_seconds=max(0.0, (self._now_ms() - taken[-1].delivery.received_at) / 1000))

    def _set_aside(self, delivery: Delivery, error: Exception) -> Batch:
        log.error("The store refuses a delivery (%s); it is in quarantine.", type(error).__name__)
        batch = Batch()
        quarantine(batch, delivery, "The store refuses the values of this delivery.", None)
        return self._write(batch)

    def _write(self, batch: Batch) -> Batch:
        extra = self._metrics.take_counts()
        try:
            with self._transaction() as connection:
                write_batch(connection, batch, extra, self._now_ms())
        except BaseException:
            self._metrics.give_back(extra)
            raise
        return batch

    def _beat(self) -> None:
        """Tells the store that the worker is up, and how many senders were refused."""
        extra = self._metrics.take_counts()
        try:
            with self._transaction() as connection:
                if self._coverage_id is not None:
                    extend_coverage(connection, self._coverage_id, self._now_ms())
                if extra:
                    count_deliveries(connection, extra, self._now_ms())
        except BaseException:
            self._metrics.give_back(extra)
            raise
        self._beat_at = time.monotonic()

    def _transaction(self) -> AbstractContextManager[Connection]:
        if self._engine is None:
            raise StoreUnavailable("The store has not been opened yet.")
        return write_transaction(self._engine)

    def _failed(self, error: Exception) -> None:
        if not self.is_degraded:
            log.error("%s Deliveries wait in the spool meanwhile.", error)
        self.is_degraded = True
        self._metrics.store_failed()
        self._spool.arrived.set()
        with suppress(SpoolBroken):
            taken = self._spool.take(self._last_id, 1, 1)
            self.oldest_received_at = taken[0].delivery.received_at if taken else None


def replay(engine: Engine, settings: Settings) -> Replayed:
    """Reads every quarantined delivery again and stores what can be read now. Idempotent; raises the store's exceptions."""
    read = stored = remaining = 0
    after_id = 0
    while rows := _quarantined_after(engine, after_id):
        after_id = rows[-1].id
        now_read, now_stored = _replay_batch(engine, rows, settings.store_titles)
        read, stored, remaining = read + now_read, stored + now_stored, remaining + len(rows) - now_read
    return Replayed(read, stored, remaining)


def _quarantined_after(engine: Engine, after_id: int) -> list[QuarantinedRow]:
    with read_transaction(engine) as connection:
        return quarantined(connection, REPLAY_BATCH, after_id)


def _replay_batch(engine: Engine, rows: Sequence[QuarantinedRow], store_titles: bool) -> tuple[int, int]:
    activities: list[Activity] = []
    readable: list[int] = []
    for row in rows:
        delivery = Delivery(row.source, row.site, row.event_name, row.delivery_id, row.received_at, row.body)
        batch = read_deliveries([delivery], store_titles)
        if not batch.quarantined:
            activities += batch.activities
            readable.append(row.id)
    if not readable:
        return 0, 0
    try:
        with write_transaction(engine) as connection:
            stored = record_activities(connection, activities).inserted if activities else 0
            forget_quarantined(connection, readable)
    except StoreUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, one delivery must not keep the others back
        if len(rows) == 1:
            log.error("The store refuses a delivery of the quarantine (%s); it stays there.", type(error).__name__)
            return 0, 0
        halves = [_replay_batch(engine, part, store_titles) for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :])]
        return sum(read for read, _ in halves), sum(stored for _, stored in halves)
    return len(readable), stored

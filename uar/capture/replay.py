"""Reads the quarantine again, after an upgrade that understands more."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from uar.activity import Activity
from uar.capture.delivery import Delivery
from uar.capture.store_writer import read_deliveries
from uar.config import Settings
from uar.store.database import Engine, StoreUnavailable, read_transaction, write_transaction
from uar.store.reads import QuarantinedRow, quarantined
from uar.store.writes import forget_quarantined, record_activities

REPLAY_BATCH = 500

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What `replay` did: deliveries that are read now (and left the quarantine), rows stored, deliveries that stay."""

    read: int
    stored: int
    remaining: int


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

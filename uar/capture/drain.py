"""From the spool to the store: a thread that decides when the next batch is brought; `uar.capture.store_writer` does the bringing.

The store may be down for hours: then it tries again after 1 to 30 seconds. A batch is written first and deleted from the spool
afterwards. A crash in between repeats it, and unique keys make that harmless.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from uar.capture.metrics import Metrics
from uar.capture.spool import Spool, SpoolBroken
from uar.capture.store_writer import Brought, Counts, Opened
from uar.store.database import StoreError, StoreUnavailable

# A short pause after a batch that left nothing behind gathers what comes meanwhile: one transaction instead of many.
GATHER_S = 0.1
# Acknowledging goes first: in a burst that keeps the worker's process this busy (in cores), bringing gets this share of the time, unless
# the store falls behind this much.
BUSY, SHARE, LATE_S = 0.7, 0.1, 30.0
HEARTBEAT_S = 30.0
MOVED_MS = 60_000
FINISH_S = 1.5
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 30.0

log = logging.getLogger(__name__)


class Writer(Protocol):
    """A `StoreWriter`, here or in another process."""

    def open(self, worker: str, started_at: int) -> Opened: ...

    def bring(self, refused: Counts, at: int) -> Brought | None: ...

    def beat(self, coverage_id: int, refused: Counts, at: int) -> None: ...

    def close(self) -> None: ...


class Drain:
    """The thread between spool and store. `is_degraded` is True while the store cannot be used."""

    def __init__(self, spool: Spool, writer: Writer, metrics: Metrics, worker: str, now_ms: Callable[[], int]) -> None:
        self._spool = spool
        self._writer = writer
        self._metrics = metrics
        self._worker = worker
        self._now_ms = now_ms
        self._started_at = now_ms()
        self._offset_ms = self._clock_offset_ms()  # of the clock from the time that goes by
        self._coverage_id: int | None = None
        self._beat_at = 0.0  # monotonic
        self._paced_at = self._paced_cpu_s = 0.0  # monotonic, and the process's time
        self._stopping = threading.Event()
        self.is_degraded = False
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Lets the batch in hand end and the last counts be written; what remains is drained by the next start."""
        self._stopping.set()
        self._spool.arrived.set()
        self._thread.join(timeout_s)
        self._writer.close()

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
        """Waits for deliveries, or for the next heartbeat, and has one batch brought into the store."""
        if self._coverage_id is None:
            opened = self._writer.open(self._worker, self._started_at)
            self._metrics.arrived_earlier(opened.last_arrivals)
            self._coverage_id = opened.coverage_id
            self._beat_at = time.monotonic()
        self._spool.arrived.wait(max(0.0, self._beat_at + HEARTBEAT_S - time.monotonic()))
        began_at = time.monotonic()
        brought = self._bring()
        pause_s = self._pause_s(brought, began_at)
        if time.monotonic() - self._beat_at >= HEARTBEAT_S:
            self._beat()
        if self.is_degraded:
            log.info("The store can be used again; the spool drains.")
            self.is_degraded = False
        self._stopping.wait(pause_s)

    def _pause_s(self, brought: Brought | None, began_at: float) -> float:
        """How long to wait behind a batch."""
        now, cpu_s = time.monotonic(), time.process_time()
        cores = (cpu_s - self._paced_cpu_s) / max(now - self._paced_at, 1e-3)
        self._paced_at, self._paced_cpu_s = now, cpu_s
        if brought is None:
            return 0.0
        late_s = (self._now_ms() - brought.newest_received_at) / 1000
        return GATHER_S if brought.is_all else rest_s(now - began_at, cores, late_s)

    def _bring(self) -> Brought | None:
        """Has the next batch brought into the store and then deleted from the spool; None if nothing waited."""
        self._spool.arrived.clear()
        refused = self._metrics.take_counts()
        brought = None
        try:
            brought = self._writer.bring(refused, self._now_ms())
        finally:
            if brought is None:
                self._metrics.give_back(refused)
        if brought is not None:
            for (source, outcome), count in brought.outcomes.items():
                self._metrics.drained(source, outcome, count)
            self._metrics.show(drain_lag_seconds=max(0.0, (self._now_ms() - brought.newest_received_at) / 1000))
            self._spool.forget(brought.until)
            self._spool.arrived.set()
        return brought

    def _beat(self) -> None:
        """Tells the store that the worker is up, and how many senders were refused.

        A clock that moved begins another note: else the worker would have been up for as long as the clock moved.
        """
        if abs(self._clock_offset_ms() - self._offset_ms) > MOVED_MS:
            self._coverage_id = self._writer.open(self._worker, self._now_ms()).coverage_id
            self._offset_ms = self._clock_offset_ms()
        assert self._coverage_id is not None
        refused = self._metrics.take_counts()
        try:
            self._writer.beat(self._coverage_id, refused, self._now_ms())
        except BaseException:
            self._metrics.give_back(refused)
            raise
        self._beat_at = time.monotonic()

    def _clock_offset_ms(self) -> float:
        return self._now_ms() - 1000 * time.monotonic()

    def _finish(self) -> None:
        """At the end: what little waits still, and the last counts."""
        deadline = time.monotonic() + FINISH_S
        try:
            while time.monotonic() < deadline and self._bring() is not None:
                pass
            self._beat()
        except (StoreUnavailable, StoreError, SpoolBroken) as error:
            log.warning("%s What waits in the spool is stored by the next start.", error)

    def _failed(self, error: Exception) -> None:
        if not self.is_degraded:
            log.error("%s Deliveries wait in the spool meanwhile.", error)
        self.is_degraded = True
        self._metrics.store_failed()
        self._spool.arrived.set()


def rest_s(took_s: float, cores: float, late_s: float) -> float:
    """How long to leave the machine to those who acknowledge, behind a batch that took so long and was so late."""
    return took_s * (1 / SHARE - 1) if cores >= BUSY and late_s < LATE_S else 0.0

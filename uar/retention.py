"""How long activities are kept: `UAR_RETENTION_MONTHS` calendar months back from now, in UTC.

oldest_kept       the instant before which activities are too old
RetentionThread   the worker's own pruning, once a day, beside the capture of deliveries, which never waits for it
"""

from __future__ import annotations

import calendar
import logging
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime

from uar.config import Settings
from uar.store.database import Engine, StoreError, StoreUnavailable, open_store, write_transaction
from uar.store.reads import last_up
from uar.store.retention import PAUSE_S, clock_moved_at, note_moved_clock, prune

logger = logging.getLogger(__name__)

FIRST_S = 60.0  # whoever drains the spool makes the tables first
DAY_S = 86_400.0
RETRY_S = 3_600.0  # after a failure
STOP_WITHIN_S = 0.5  # a batch that is cut off is rolled back
# A clock that is years ahead would have everything removed. So nothing is until it has gone on steadily for a while: since the last look it
# must have moved as much as time went by, and at the first look not be further than that from when a worker was last up.
MOVED_MS = 3_600_000
STEADY_MS = 7 * 86_400_000
OWN_START_MS = 60_000


def now_ms() -> int:
    """This instant as epoch milliseconds."""
    return time.time_ns() // 1_000_000


def oldest_kept(at: int, months: int) -> int:
    """The start of the same day (UTC) so many calendar months before `at`; a day that month lacks is its last one. Both epoch ms."""
    today = datetime.fromtimestamp(at // 1_000, UTC)
    year, month = divmod(today.year * 12 + today.month - 1 - months, 12)
    day = min(today.day, calendar.monthrange(year, month + 1)[1])
    return int(datetime(year, month + 1, day, tzinfo=UTC).timestamp()) * 1_000


class Stopping(Exception):
    """The worker ends while activities are being removed."""


class RetentionThread:
    """Runs until `stop`: prunes a minute after the start and then once a day.

    Without an engine it opens the store of the settings itself.
    """

    def __init__(self, settings: Settings, engine: Engine | None = None, now: Callable[[], int] = now_ms, first_s: float = FIRST_S) -> None:
        self.settings = settings
        self._engine = engine
        self.now = now
        self.first_s = first_s
        self._began_at = time.monotonic()
        self._offset_ms: int | None = None  # of the clock from the time that goes by
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def stop(self, timeout_s: float = STOP_WITHIN_S) -> None:
        """Ask to end and wait a little; what is not removed yet is left to the next run."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def round(self) -> float:
        """Prune once; returns after how many seconds to come again. What goes wrong is one line in the log."""
        try:
            removed = self._prune()
        except Stopping:
            return 0.0
        except (StoreUnavailable, StoreError) as error:
            logger.warning("Activities older than the retention time stay for now: %s", error)
            return RETRY_S
        except Exception as error:  # noqa: BLE001 - the thread must outlive what nobody thought of
            place = traceback.extract_tb(error.__traceback__)[-1]  # the message might hold values, so it is not logged
            logger.error("Pruning failed (%s in %s:%s) and is tried again later.", type(error).__name__, place.name, place.lineno)
            return RETRY_S
        if removed:
            logger.info("%d activities older than %d months were removed.", removed, self.settings.retention_months)
        return DAY_S

    def _prune(self) -> int:
        if self._engine is None:
            self._engine = open_store(self.settings.database_url.reveal())
        now = self.now()
        if not self._is_steady(self._engine, now):
            return 0
        return prune(self._engine, oldest_kept(now, self.settings.retention_months), pause=self._pause)

    def _is_steady(self, engine: Engine, now: int) -> bool:
        """Whether the clock can be believed; that it cannot is kept in the store, as a restart knows of no time before it."""
        went_by_ms = int(time.monotonic() * 1_000)
        with write_transaction(engine) as connection:
            if self._offset_ms is None:
                seen_at = last_up(connection, now - (went_by_ms - int(self._began_at * 1_000)) - OWN_START_MS)
                has_moved = seen_at is not None and abs(now - seen_at) > STEADY_MS
            else:
                has_moved = abs(now - went_by_ms - self._offset_ms) > MOVED_MS
            if has_moved:
                note_moved_clock(connection, now)
                logger.warning("The clock has moved, or no worker was up for long. Activities that are too old stay for another week.")
            moved_at = clock_moved_at(connection)
        self._offset_ms = now - went_by_ms
        return moved_at is None or not 0 <= now - moved_at < STEADY_MS

    def _pause(self) -> None:
        if self._stopping.wait(PAUSE_S):
            raise Stopping

    def _run(self) -> None:
        wait_s = self.first_s
        while not self._stopping.wait(wait_s):
            wait_s = self.round()
